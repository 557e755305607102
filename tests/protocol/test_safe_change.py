"""Safe change: reloads on trial that fall back by themselves, the last ten configurations, rolling back, and what is told of each."""

import json
import os
import random
import re
import signal
import socket
import threading
import time

import pytest

from harness import Reply, wait_until
from harness.http_backend import HttpBackend
from harness.weir import run_cli


def says(text):
    return [{"name": "only", "respond": {"status": 200, "body": text}}]


def post(weir, path, body=None):
    answer = weir.admin.request("POST", path, body)
    return answer, json.loads(answer.body)


def trial(weir, confirm="60s", status=200, **limits):
    """The answer to a reload on trial."""
    answer, told = post(weir, "/api/v1/reload", {"confirm": confirm, **({"limits": limits} if limits else {})})
    assert answer.status == status, (answer.status, answer.text)
    return told


def config(weir, generation=None):
    return weir.admin.json("/api/v1/config" + (f"?generation={generation}" if generation else ""))


def entry(weir, generation):
    found = [g for g in config(weir)["history"] if g["generation"] == generation]
    return found[0] if found else None


def await_result(weir, generation, result, seconds=10):
    def reached():
        got = entry(weir, generation)
        assert got["result"] == result, got
        return got
    return wait_until(reached, seconds, f"generation {generation} {result}")


class Visitor:
    """Asks without pause on one connection that must stay open; every request must be answered."""

    def __init__(self, weir, target="/", count=1):
        self.statuses, self.bodies, self.faults = [], [], []
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(weir, target)) for _ in range(count)]

    def __enter__(self):
        [t.start() for t in self._threads]
        return self

    def __exit__(self, *_):
        self._done.set()
        [t.join() for t in self._threads]

    def _ask(self, weir, target):
        try:
            with weir.client() as client:
                while not self._done.is_set():
                    answer = client.get(target)
                    self.statuses.append(answer.status)
                    self.bodies.append(answer.body)
                    assert not answer.will_close, "asked to leave"
        except Exception as error:
            self.faults.append(repr(error))

    def await_more(self, count):
        wanted = len(self.statuses) + count
        wait_until(lambda: self.faults or len(self.statuses) >= wanted, 20, f"{count} more answers")
        assert not self.faults, self.faults


def notices(weir):
    """What /api/v1/events has told so far."""
    with socket.create_connection(("127.0.0.1", weir.port("admin")), timeout=10) as s:
        token = f"Authorization: Bearer {weir.admin.token}\r\n" if weir.admin.token else ""
        s.sendall(f"GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n{token}\r\n".encode())
        text = b""
        while b"event: status" not in text:
            text += s.recv(65536)
    return [json.loads(n) for n in re.findall(rb"event: notice\ndata: (\{.*\})", text)]


# -- a trial that does worse ---------------------------------------------------------------------------------------------------------

def test_a_trial_with_errors_falls_back_and_no_connection_is_lost(site, http_backend):
    good, bad = http_backend("good"), http_backend(handler=lambda r: Reply(status="500 No", body=b"bad"))
    weir = site([{"name": "all", "upstream": "app"}], {"app": good.address})
    with Visitor(weir) as visitor:
        visitor.await_more(50)
        weir.change(upstreams={"app": {"servers": [bad.address]}})
        told = trial(weir)
        assert told["trial"]["falls_back_to"] == 1 and told["generation"] == 2
        got = await_result(weir, 2, "rolled back", 20)
        wait_until(lambda: visitor.statuses[-20:] == [200] * 20, 20)
    assert "errors" in got["reason"] and "requests" in got["reason"]
    assert not visitor.faults and 500 in visitor.statuses
    back = entry(weir, 3)
    assert back["by"] == "trial" and back["text_of"] == 1 and back["result"] == "active"
    weir.await_metric("weir_config_trials_total", 1, result="worse")
    weir.await_metric("weir_config_rollbacks_total", 1)


def test_a_trial_with_as_many_errors_as_before_goes_on(site, http_backend):
    both = [http_backend(handler=lambda r: Reply(status="500 No")) for _ in range(2)]
    weir = site([{"upstream": "app"}], {"app": both[0].address})
    with Visitor(weir) as visitor:
        visitor.await_more(100)
        weir.change(upstreams={"app": {"servers": [both[1].address]}})
        trial(weir)
        visitor.await_more(200)
        wait_until(lambda: config(weir)["trial"]["now"]["requests"] >= 100)
        assert post(weir, "/api/v1/confirm")[0].status == 200
    assert entry(weir, 2)["result"] == "confirmed"


def test_a_trial_with_slow_answers_falls_back(site, http_backend):
    def late(request):
        time.sleep(0.15)
        return Reply(body=b"late")
    fast, slow = http_backend("fast"), http_backend(handler=late)
    weir = site([{"upstream": "app"}], {"app": fast.address})
    with Visitor(weir, count=4) as visitor:
        visitor.await_more(100)
        weir.change(upstreams={"app": {"servers": [slow.address]}})
        trial(weir, latency_requests=20)
        got = await_result(weir, 2, "rolled back", 20)
        wait_until(lambda: visitor.bodies[-20:] == [b"fast"] * 20, 20)
    assert "p95" in got["reason"] and not visitor.faults


def test_slow_answers_within_the_limits_that_were_asked_for_are_no_reason(site, http_backend):
    def late(request):
        time.sleep(0.15)
        return Reply(body=b"late")
    fast, slow = http_backend("fast"), http_backend(handler=late)
    weir = site([{"upstream": "app"}], {"app": fast.address})
    with Visitor(weir, count=4) as visitor:
        visitor.await_more(100)
        weir.change(upstreams={"app": {"servers": [slow.address]}})
        trial(weir, latency_requests=20, latency_ms=5000)
        visitor.await_more(60)
        wait_until(lambda: config(weir)["trial"]["now"]["requests"] >= 40)
        assert config(weir)["trial"] and config(weir)["generation"] == 2
        assert post(weir, "/api/v1/confirm")[0].status == 200


def checked(*backends):
    return {"servers": [b.address for b in backends],
            "health_check": {"type": "http", "path": "/healthz", "interval": "100ms", "timeout": "2s", "rise": 1, "fall": 2}}


def test_a_trial_in_which_servers_fall_ill_falls_back(site, http_backend):
    ill = threading.Event()
    first, second = http_backend("first"), http_backend(
        handler=lambda r: Reply(status="500 Ill" if ill.is_set() and r.target == "/healthz" else "200 OK", body=b"second"))
    weir = site([{"upstream": "app"}], {"app": checked(first, second)})
    with Visitor(weir) as visitor:
        visitor.await_more(20)
        weir.change(routes=[{"name": "changed", "upstream": "app"}])
        trial(weir)
        ill.set()
        got = await_result(weir, 2, "rolled back", 20)
        visitor.await_more(20)
    assert "servers: 1 of 2" in got["reason"] and second.address in got["reason"]
    assert not visitor.faults and set(visitor.statuses) == {200}
    assert weir.admin.server_is_up("app", second.address) is False  # its state is kept over the fall back


def test_a_trial_that_leaves_an_upstream_without_a_server_falls_back(site, http_backend):
    good, gone = http_backend("good"), HttpBackend("gone")
    gone.close()
    weir = site([{"upstream": "app"}], {"app": checked(good)})
    weir.change(upstreams={"app": {**checked(gone), "servers": [gone.address]}})
    with Visitor(weir) as visitor:
        trial(weir, errors=100)
        got = await_result(weir, 2, "rolled back", 20)
        wait_until(lambda: visitor.statuses[-5:] == [200] * 5, 20)
    assert "upstream app" in got["reason"] and not visitor.faults


def test_a_server_that_a_human_drains_is_no_reason_to_fall_back(site, http_backend):
    ill = threading.Event()
    good, drained = http_backend("ok"), http_backend(handler=lambda r: Reply(status="500 Ill" if ill.is_set() else "200 OK"))
    weir = site([{"upstream": "app"}], {"app": checked(good, drained)})
    weir.change(routes=[{"name": "changed", "upstream": "app"}])
    trial(weir, "7s")
    assert weir.admin.request("PATCH", f"/api/v1/upstreams/app/servers/{drained.address}", {"state": "drain"}).status == 200
    ill.set()
    assert "confirmed" in await_result(weir, 2, "rolled back", 20)["reason"]
    assert weir.admin.server_is_up("app", drained.address) is False


# -- confirming ----------------------------------------------------------------------------------------------------------------------

def test_a_trial_that_nobody_confirms_falls_back_and_a_connection_stays_open(site):
    weir = site(says("old"))
    weir.change(routes=says("new"))
    with weir.client() as client, Visitor(weir) as visitor:
        assert client.get().text == "old"
        told = trial(weir, "2s")
        assert told["changes"] == ["route only: changed (respond.body: old -> new)"]
        assert 0 < told["trial"]["remaining_seconds"] <= 2
        assert client.get().text == "new"
        await_result(weir, 2, "rolled back")
        assert client.get().text == "old"
        visitor.await_more(5)
    assert not visitor.faults and {b"old", b"new"} == set(visitor.bodies)
    weir.await_metric("weir_config_trials_total", 1, result="expired")
    assert config(weir)["trial"] is None and config(weir)["file_differs"] is True


def test_a_trial_that_is_confirmed_stays(site):
    weir = site(says("old"))
    weir.change(routes=says("new"))
    trial(weir, "2s")
    assert weir.cli("confirm").returncode == 0
    assert config(weir)["trial"] is None
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began > 2.5)
    assert weir.get().text == "new" and config(weir)["generation"] == 2
    assert entry(weir, 2)["result"] == "confirmed" and "by command" in entry(weir, 2)["reason"]
    weir.await_metric("weir_config_trials_total", 1, result="confirmed")
    weir.reload(routes=says("newer"))
    assert entry(weir, 2)["result"] == "replaced"


def test_the_command_says_what_changed_and_how_to_confirm(site):
    weir = site(says("old"))
    weir.change(routes=says("new"))
    done = weir.cli("reload", "--confirm", "60s")
    assert done.returncode == 0 and "old -> new" in done.stdout and "weir confirm" in done.stdout and "60s" in done.stdout
    shown = weir.cli("status").stdout
    assert re.search(r"generation 2, .*on trial for \d+ s more", shown), shown
    status = weir.admin.status()["trial"]
    assert status["generation"] == 2 and status["falls_back_to"] == 1 and 0 < status["remaining_seconds"] <= 60
    assert weir.admin.metrics().sum("weir_config_on_trial") == 1
    assert weir.cli("rollback").returncode == 0


@pytest.mark.parametrize("ends,code", [("confirm", 0), ("expires", 1), ("rollback", 1)])
def test_the_command_can_wait_for_the_verdict(site, ends, code):
    weir = site(says("old"))
    weir.change(routes=says("new"))
    done = []
    waiting = threading.Thread(target=lambda: done.append(weir.cli("reload", "--confirm", "2s" if ends == "expires" else "60s", "--wait")))
    waiting.start()
    wait_until(lambda: config(weir)["trial"])
    if ends != "expires":
        assert weir.cli(ends).returncode == 0
    waiting.join()
    assert done[0].returncode == code, done[0]
    assert ("generation 2: confirmed" if code == 0 else "generation 2: rolled back") in done[0].stdout


def test_nothing_to_confirm_is_said(site):
    weir = site(says("old"))
    assert post(weir, "/api/v1/confirm")[0].status == 409
    done = weir.cli("confirm")
    assert done.returncode == 1 and "no configuration is on trial" in done.stderr


def test_a_file_with_faults_begins_no_trial(site):
    weir = site(says("old"))
    weir.change(routes=[{"upstream": "missing"}])
    told = trial(weir, status=422)
    assert "missing" in json.dumps(told) and config(weir)["trial"] is None


@pytest.mark.parametrize("body", [
    {"confirm": 60}, {"confirm": "60"}, {"confirm": "10ms"}, {"confirm": "2d"}, {"confirm": None}, {"limits": {"errors": 1}},
    {"confirm": "60s", "limits": {"errors": -1}}, {"confirm": "60s", "limits": {"errors": 101}}, {"confirm": "60s", "limits": {"eror": 1}},
    {"confirm": "60s", "limits": {"latency": 0.5}}, {"confirm": "60s", "limits": {"requests": 0}}, {"confirm": "60s", "limits": [1]},
    {"confirm": "60s", "limits": {"unhealthy": "x"}}, {"confirm": "60s", "limits": {"requests": 1.5}}, {"confrm": "60s"}])
def test_a_question_that_makes_no_sense_is_refused(shared_site, body):
    answer, told = post(shared_site, "/api/v1/reload", body)
    assert answer.status == 400 and told["detail"], answer.text
    assert config(shared_site)["generation"] == 1


@pytest.fixture(scope="module")
def shared_site(module_site):
    return module_site(says("shared"))


@pytest.mark.parametrize("arguments,word", [
    (["reload", "--wait"], "--confirm"), (["reload", "--max-errors", "5"], "--confirm"), (["rollback", "x"], "number"),
    (["rollback", "0"], "number"), (["history", "-1"], "option"), (["diff", "1", "b"], "number"), (["confirm", "1"], "unexpected")])
def test_a_wrong_call_is_said(shared_site, arguments, word):
    done = shared_site.cli(*arguments)
    assert done.returncode == 2 and word in done.stderr, done


def test_limits_are_taken_from_the_command_line(site):
    weir = site(says("x"))
    done = weir.cli("reload", "--confirm", "5m", "--max-errors", "1.5%", "--max-unhealthy", "50", "--max-latency", "3x", "--min-latency-ms",
                    "20", "--min-requests", "7", "--min-latency-requests", "9")
    assert done.returncode == 0, done
    assert config(weir)["trial"]["limits"] == {"errors": 1.5, "unhealthy": 50, "latency": 3, "latency_ms": 20, "requests": 7,
                                               "latency_requests": 9}
    assert config(weir)["trial"]["seconds"] == 300


# -- meanwhile -----------------------------------------------------------------------------------------------------------------------

def test_reloads_and_upgrades_are_refused_while_a_trial_is_on(site):
    weir = site(says("old"))
    weir.change(routes=says("new"))
    trial(weir)
    weir.change(routes=says("newer"))
    answer, told = post(weir, "/api/v1/reload")
    assert answer.status == 409 and "on trial" in told["detail"] and "weir confirm" in told["detail"]
    assert trial(weir, status=409)
    weir.signal(signal.SIGHUP)
    wait_until(lambda: [g for g in config(weir)["history"] if g["by"] == "signal" and g["result"] == "refused"])
    done = weir.cli("upgrade")
    assert done.returncode == 1 and "on trial" in done.stderr
    assert weir.get().text == "new"
    assert post(weir, "/api/v1/confirm")[0].status == 200
    weir.reload()
    assert weir.get().text == "newer"


def test_a_stop_ends_a_trial(site):
    weir = site(says("old"))
    weir.change(routes=says("new"))
    trial(weir, "1s")
    assert weir.cli("stop").returncode == 0


def test_what_was_set_by_hand_stays_over_a_fall_back(site, http_backend):
    backends = [http_backend() for _ in range(2)]
    weir = site([{"name": "r", "upstream": "app"}], {"app": {"servers": [b.address for b in backends]}})
    path = f"/api/v1/upstreams/app/servers/{backends[0].address}"
    assert weir.admin.request("PATCH", path, {"weight": 7}).status == 200
    weir.change(routes=[{"name": "s", "upstream": "app"}])
    trial(weir, "1s")
    await_result(weir, 2, "rolled back")
    servers = weir.admin.upstreams()["upstreams"][0]["servers"]
    assert [s["weight"] for s in servers if s["address"] == backends[0].address] == [7]


def test_a_failed_trial_is_no_part_of_what_the_next_one_is_compared_with(site, http_backend):
    good, bad = http_backend("good"), http_backend(handler=lambda r: Reply(status="500 No"))
    weir = site([{"upstream": "app"}], {"app": good.address})
    with Visitor(weir) as visitor:
        visitor.await_more(50)
        weir.change(upstreams={"app": {"servers": [bad.address]}})
        for generation in (2, 4):
            trial(weir)
            assert config(weir)["trial"]["before"]["error_percent"] < 5
            await_result(weir, generation, "rolled back", 20)
    assert not visitor.faults


# -- generations -----------------------------------------------------------------------------------------------------------------------

def test_ten_generations_are_kept(site):
    weir = site(says("1"))
    for n in range(2, 13):
        weir.reload(routes=says(str(n)))
    kept = [g["generation"] for g in config(weir)["history"]]
    assert kept == list(range(3, 13))
    assert post(weir, "/api/v1/rollback", {"generation": 2})[0].status == 409
    answer, told = post(weir, "/api/v1/rollback", {"generation": 3})
    assert answer.status == 200 and weir.get().text == "3"
    assert [g["generation"] for g in config(weir)["history"]] == list(range(4, 14))


def test_refused_reloads_stand_in_the_history_and_push_no_generation_out(site):
    weir = site(says("1"))
    good = weir.config
    for n in range(2, 7):
        weir.reload(routes=says(str(n)))
    weir.write("listeners: [")
    for _ in range(30):
        assert weir.admin.reload().status == 422
    history = config(weir)["history"]
    refused = [g for g in history if g["generation"] is None]
    assert [g["generation"] for g in history if g["generation"]] == [1, 2, 3, 4, 5, 6] and 1 <= len(refused) <= 20
    assert refused[-1]["result"] == "refused" and "weir.yaml" in refused[-1]["reason"]
    weir.write(good)


def test_a_rollback_brings_the_one_before_back_though_the_file_is_broken(site):
    weir = site(says("one"))
    weir.reload(routes=says("two"))
    weir.write("listeners: [")
    with weir.client() as client:
        assert client.get().text == "two"
        done = run_cli("rollback", "-s", weir.socket_file)
        assert done.returncode == 0, done
        assert client.get().text == "one"
    assert "two -> one" in done.stdout and "configuration of generation 1" in done.stdout
    assert "differs from what is in force; the next reload takes it up" in done.stdout
    assert weir.admin.reload().status == 422 and weir.get().text == "one"


def test_a_rollback_of_includes_is_of_their_text_as_it_was(site, tmp_path):
    folder = tmp_path / "conf.d"
    folder.mkdir()
    (folder / "a.yaml").write_text("routes: [{name: a, path: /a, respond: {body: a1}}]\n")
    (folder / "b.yaml").write_text("routes: [{name: b, path: /b, respond: {body: b1}}]\n")
    weir = site(None, include=str(folder / "*.yaml"))
    assert weir.get("/a").text == "a1" and weir.get("/b").text == "b1"
    (folder / "a.yaml").write_text("routes: [{name: a, path: /a, respond: {body: a2}}]\n")
    (folder / "b.yaml").unlink()
    (folder / "c.yaml").write_text("routes: [{name: c, path: /c, respond: {body: c2}}]\n")
    weir.reload()
    assert weir.get("/a").text == "a2" and weir.get("/c").text == "c2" and weir.get("/b").status == 404
    (folder / "a.yaml").write_text("nonsense: [")
    assert post(weir, "/api/v1/rollback")[0].status == 200
    assert weir.get("/a").text == "a1" and weir.get("/b").text == "b1" and weir.get("/c").status == 404
    assert "b1" in config(weir)["yaml"] and "c2" in config(weir, 2)["yaml"]


def test_rollbacks_go_further_and_further_back(site):
    weir = site(says("1"))
    for n in (2, 3, 4):
        weir.reload(routes=says(str(n)))
    for expected in ("3", "2", "1"):
        assert weir.cli("rollback").returncode == 0
        assert weir.get().text == expected
    done = weir.cli("rollback")
    assert done.returncode == 1 and "no generation before" in done.stderr and weir.get().text == "1"


def test_a_rollback_after_a_trial_that_failed_does_not_bring_it_back(site):
    weir = site(says("1"))
    weir.reload(routes=says("2"))
    weir.change(routes=says("bad"))
    trial(weir, "1s")
    await_result(weir, 3, "rolled back")
    assert weir.cli("rollback").returncode == 0 and weir.get().text == "1"


def test_a_rollback_to_any_generation_also_one_that_was_taken_back(site):
    weir = site(says("1"))
    weir.reload(routes=says("2"))
    weir.reload(routes=says("3"))
    for number, text in ((1, "1"), (3, "3"), (2, "2")):
        answer, told = post(weir, "/api/v1/rollback", {"generation": number})
        assert answer.status == 200 and weir.get().text == text
    answer, told = post(weir, "/api/v1/rollback", {"generation": config(weir)["generation"]})
    assert answer.status == 409 and "in force already" in told["detail"]


def test_a_rollback_ends_a_trial(site):
    weir = site(says("1"))
    weir.change(routes=says("2"))
    trial(weir)
    assert weir.cli("rollback").returncode == 0
    assert weir.get().text == "1" and config(weir)["trial"] is None
    assert entry(weir, 2)["result"] == "rolled back" and "by command" in entry(weir, 2)["reason"]
    weir.await_metric("weir_config_trials_total", 1, result="rolled_back")
    weir.reload()
    assert weir.get().text == "2"


def test_certificates_are_read_as_they_are_now_and_missing_ones_refuse(site, tmp_path, localhost_cert):
    for name, source in (("cert.pem", localhost_cert[0]), ("key.pem", localhost_cert[1])):
        (tmp_path / name).write_bytes(open(source, "rb").read())
    tls = {"tls": {"certificates": [{"cert": str(tmp_path / "cert.pem"), "key": str(tmp_path / "key.pem")}]}}
    weir = site(says("one"), listeners={"web": {}, "safe": tls})
    weir.reload(routes=says("two"), listeners={"web": {}})
    os.rename(tmp_path / "key.pem", tmp_path / "away.pem")
    answer, told = post(weir, "/api/v1/rollback")
    assert answer.status == 422 and "key.pem" in json.dumps(told["errors"]), answer.text
    assert weir.get().text == "two" and config(weir)["generation"] == 2
    os.rename(tmp_path / "away.pem", tmp_path / "key.pem")
    (tmp_path / "cert.pem").write_bytes((tmp_path / "cert.pem").read_bytes() + b"\n")
    answer, told = post(weir, "/api/v1/rollback")
    assert answer.status == 200 and weir.get().text == "one"
    assert [n for n in told["notes"] if "cert.pem: has changed since generation 1" in n], told


def test_a_trial_that_cannot_fall_back_says_so_and_tries_again(site, tmp_path, localhost_cert):
    for name, source in (("cert.pem", localhost_cert[0]), ("key.pem", localhost_cert[1])):
        (tmp_path / name).write_bytes(open(source, "rb").read())
    tls = {"tls": {"certificates": [{"cert": str(tmp_path / "cert.pem"), "key": str(tmp_path / "key.pem")}]}}
    weir = site(says("one"), listeners={"web": {}, "safe": tls})
    weir.change(routes=says("two"), listeners={"web": {}})
    os.rename(tmp_path / "key.pem", tmp_path / "away.pem")
    trial(weir, "1s")
    stuck = wait_until(lambda: (config(weir)["trial"] or {}).get("cannot_fall_back"), 10)
    assert "confirmed" in stuck and weir.get().text == "two"
    assert [n for n in notices(weir) if n["kind"] == "rollback failed" and "key.pem" in n["text"]]
    os.rename(tmp_path / "away.pem", tmp_path / "key.pem")
    await_result(weir, 2, "rolled back", 30)
    assert weir.get().text == "one" and config(weir)["trial"] is None


def test_an_upgrade_begins_a_history_of_its_own(site):
    weir = site(says("one"))
    weir.reload(routes=says("two"))
    weir.upgrade()
    assert [(g["generation"], g["by"], g["result"]) for g in config(weir)["history"]] == [(1, "upgrade", "active")]


def test_a_very_long_diff_is_kept_in_part(site):
    weir = site([{"name": f"a-route-with-a-long-name-{n}", "path": f"/{n}", "respond": {"body": "x"}} for n in range(2500)])
    weir.reload(routes=says("x"))
    diff = entry(weir, 2)["diff"]
    assert diff[-1] == "… and more" and 500 < len(diff) < 2500 and diff[-2].endswith(": removed")


def test_renewed_certificates_take_up_no_file_that_nobody_reloaded(site, tmp_path, localhost_cert):
    for name, source in (("cert.pem", localhost_cert[0]), ("key.pem", localhost_cert[1])):
        (tmp_path / name).write_bytes(open(source, "rb").read())
    tls = {"tls": {"certificates": [{"cert": str(tmp_path / "cert.pem"), "key": str(tmp_path / "key.pem")}]}}
    weir = site(says("one"), listeners={"web": {}, "safe": tls})
    weir.change(routes=says("two"))
    (tmp_path / "cert.pem").write_bytes((tmp_path / "cert.pem").read_bytes() + b"\n")
    got = wait_until(lambda: entry(weir, 2), 40, "the reload of the certificate", every=0.2)
    assert got["by"] == "watch" and got["diff"] == [] and weir.get().text == "one"


# -- in words ----------------------------------------------------------------------------------------------------------------------------

def test_a_diff_says_old_and_new_values(site, http_backend):
    first, second = http_backend(), http_backend()
    weir = site([{"name": "api", "path": "/api", "upstream": "app", "timeouts": {"response": "30s"}}, {"name": "gone", "respond": {"body": "x"}}],
                {"app": {"servers": [first.address], "balance": "round_robin"}}, {"web": {}, "more": {}})
    listeners = {"web": {**weir.config["listeners"]["web"], "http2": False, "timeouts": {"idle": "7s"}}}
    weir.change(listeners=listeners, workers=3,
                routes=[{"name": "api", "path": "/api/v2", "upstream": "app", "timeouts": {"response": "10s"}}, {"name": "new", "upstream": "other"}],
                upstreams={"app": {"servers": [{"address": first.address, "weight": 3}, second.address], "balance": "random_two"},
                           "other": {"servers": [second.address]}})
    with weir.client("more") as client:
        client.get("/gone")
        lines = weir.cli("diff").stdout.splitlines()
    assert "route api: changed (path: /api -> /api/v2, timeouts.response: 30s -> 10s)" in lines, lines
    assert "route gone: removed" in lines and "route new: added" in lines and "upstream other: added" in lines
    assert "listener more: removed; 1 connections drain" in lines
    web = [l for l in lines if l.startswith("listener web: changed")][0]
    assert "http2: not set -> false" in web and "timeouts.idle: not set -> 7s" in web
    assert f"upstream app: server {first.address} weight 1 -> 3" in lines and f"upstream app: server {second.address} added" in lines
    assert "upstream app: changed (balance: round_robin -> random_two)" in lines
    assert "workers: 2 -> 3" in lines


def test_keys_of_the_top_are_compared_value_by_value(site):
    weir = site(says("x"), timeouts={"idle": "5s"}, log={"level": "info"})
    weir.change(timeouts={"idle": "7s", "header": "3s"}, log={"level": "debug"}, sandbox=False,
                tests=[{"request": "GET http://a.example/", "expect": {"route": "only"}}], cache={"memory": "8MiB"})
    lines = weir.cli("diff").stdout.splitlines()
    for line in ("timeouts.idle: 5s -> 7s", "timeouts.header: not set -> 3s", "log.level: info -> debug", "tests: changed",
                 "cache.memory: not set -> 8MiB", "sandbox: not set -> false"):
        assert line in lines, lines


def test_an_address_that_a_listener_gives_up_is_said(site):
    weir = site(says("x"))
    weir.change(listeners={"web": {"bind": [f"127.0.0.1:{weir.port('other')}"]}})
    with weir.client() as client:
        client.get()
        lines = weir.cli("diff").stdout.splitlines()
    assert [l for l in lines if l.startswith(f"listener web: no more on 127.0.0.1:{weir.port()}; its connections drain")], lines


def test_routes_in_another_order_are_said(site):
    routes = [{"name": "a", "path": "/a", "respond": {"body": "a"}}, {"name": "b", "path": "/b", "respond": {"body": "b"}}]
    weir = site(routes)
    weir.change(routes=routes[::-1])
    assert weir.cli("diff").stdout.splitlines() == ["routes: in another order"]
    weir.change(routes=routes)
    assert weir.cli("diff").stdout.splitlines() == ["a reload would change nothing"]


def test_generations_are_compared(site):
    weir = site(says("one"))
    weir.reload(routes=says("two"))
    weir.reload(routes=says("three"))
    assert "one -> two" in weir.cli("diff", "1", "2").stdout and "two -> one" in weir.cli("diff", "2", "1").stdout
    assert "one -> three" in weir.cli("diff", "1").stdout
    assert "they are the same" in weir.cli("diff", "2", "2").stdout
    done = weir.cli("diff", "1", "9")
    assert done.returncode == 1 and "generation 9 is not kept" in done.stderr


def test_every_reload_leaves_an_event_with_the_diff_in_words(site):
    weir = site(says("one"))
    weir.reload(routes=says("two"))
    weir.reload()
    weir.change(routes=[{"upstream": "missing"}])
    assert weir.admin.reload().status == 422
    weir.change(routes=says("three"))
    assert weir.hang_up()
    assert weir.cli("rollback").returncode == 0
    weir.change(routes=says("four"))
    trial(weir)
    assert weir.cli("confirm").returncode == 0
    told = [(n["kind"], n["text"]) for n in notices(weir)]
    expected = [("reload", "generation 2, by api: route only: changed (respond.body: one -> two)"),
                ("reload", "generation 3, by api: nothing changed"),
                ("reload failed", "missing"),
                ("reload", "generation 4, by signal: route only: changed (respond.body: two -> three)"),
                ("rollback", "generation 5, by command, has the configuration of 3 (in place of generation 4): "
                             "route only: changed (respond.body: three -> two)"),
                ("trial", "generation 6, by api, on trial: route only: changed (respond.body: two -> four)"),
                ("confirmed", "generation 6 stays")]
    assert [k for k, _ in told] == [k for k, _ in expected], told
    for (_, text), (_, words) in zip(told, expected):
        assert words in text
    weir.await_log("respond.body: one -> two", "respond.body: two -> three", "respond.body: three -> two", "generation=6")
    diffs = [g["diff"] for g in config(weir)["history"] if g["generation"]]
    assert diffs == [[], ["route only: changed (respond.body: one -> two)"], [], ["route only: changed (respond.body: two -> three)"],
                     ["route only: changed (respond.body: three -> two)"], ["route only: changed (respond.body: two -> four)"]]


def test_an_event_of_many_changes_says_how_many_more(site):
    weir = site([{"name": f"route-number-{n}", "path": f"/{n}", "respond": {"body": "x"}} for n in range(200)])
    weir.reload(routes=[{"name": f"another-number-{n}", "path": f"/{n}", "respond": {"body": "x"}} for n in range(200)])
    text = [n["text"] for n in notices(weir) if n["kind"] == "reload"][0]
    assert re.search(r"; and \d{3} more$", text), text
    assert len(entry(weir, 2)["diff"]) == 400


def test_the_history_is_printed(site):
    weir = site(says("one"))
    weir.reload(routes=says("two"))
    weir.write("listeners: [")
    weir.admin.reload()
    shown = run_cli("history", "-s", weir.socket_file).stdout
    assert re.search(r"generation 1, \S+Z, by start: replaced\ngeneration 2, \S+Z, by api: active\n    route only: changed", shown), shown
    assert re.search(r"refused, \S+Z, by api:", shown) and "differs from what is in force" in shown
    text = run_cli("history", "-s", weir.socket_file, "1").stdout
    assert text.startswith("# generation 1") and "body: one" in text
    assert json.loads(run_cli("history", "-s", weir.socket_file, "--json").stdout)["generation"] == 2
    assert weir.admin.request("GET", "/api/v1/config?generation=77").status == 404
    assert weir.admin.request("GET", "/api/v1/config?generation=x").status == 400


# -- secrets -------------------------------------------------------------------------------------------------------------------------------

SECRETS = {"token": "tok-4711-admin", "sticky": "sticky-4711-secret", "basic": "Basic NDcxMTpzZWNyZXQ=", "key": "key-4711-api", "comment": "cmt-4711",
           "default": "dflt-4711", "changed": "chg-4711"}


def test_secrets_are_in_no_answer(site, http_backend):
    backend = http_backend()
    weir = site([{"name": "r", "upstream": "app", "request_headers": {"set": {"Authorization": SECRETS["basic"], "X-Api-Key": SECRETS["key"], "X-Plain": "plain-value"}}}],
                {"app": {"servers": [backend.address], "sticky": {"cookie": "c", "secret": "${STICKY:-" + SECRETS["default"] + "}"}}},
                environment={"ADMIN_TOKEN": SECRETS["token"], "STICKY": SECRETS["sticky"]}, admin={"token": SECRETS["token"]})
    first = weir.config

    def written(**parts):
        weir.change(**parts)
        with open(weir.config_file) as f:
            text = f.read()
        with open(weir.config_file, "w") as f:
            f.write(f"# {SECRETS['comment']}\n" + text.replace(f"token: {SECRETS['token']}", "token: ${ADMIN_TOKEN}"))
    admin = weir.admin  # with the token, whatever the file says
    answers = []
    written()
    answers.append(admin.reload())
    written(upstreams={"app": {**first["upstreams"]["app"], "sticky": {"cookie": "c", "secret": SECRETS["changed"]}}},
            routes=[{"name": "r", "upstream": "app", "request_headers": {"set": {"Authorization": SECRETS["changed"], "X-Plain": "other-value"}}}])
    diff = weir.cli("diff")
    answers.append(admin.reload())
    written(admin={**first["admin"], "token": [SECRETS["changed"]]}, upstreams={"app": {**first["upstreams"]["app"], "sticky": {"cookie": "c", "secret": {"a": SECRETS["changed"]}}}},
            routes=[{"name": "r", "upstream": "app", "headers": {"authorization": {"regex": "(" + SECRETS["changed"]}}}])
    answers.append(admin.reload())
    assert answers[-1].status == 422
    weir.config = first
    answers.append(admin.request("POST", "/api/v1/rollback"))
    answers += [admin.request("GET", p) for p in ("/api/v1/config", "/api/v1/config?generation=1", "/api/v1/config?generation=2", "/api/v1/status")]
    shown = [a.text for a in answers] + [json.dumps(notices(weir)), diff.stdout, weir.log(), weir.cli("history").stdout]
    for answer in answers:
        assert answer.status in (200, 422), (answer.status, answer.text)
    for name, secret in SECRETS.items():
        for text in shown:
            assert secret not in text, (name, text)
    yaml = config(weir, 2)["yaml"]
    assert "token: ${ADMIN_TOKEN}" in yaml and "${STICKY:-•••}" in yaml and "plain-value" in yaml and "Authorization: •••" in yaml
    assert "changed (a secret)" in diff.stdout and "plain-value -> other-value" in diff.stdout


# -- all at once ---------------------------------------------------------------------------------------------------------------------------

def test_a_storm_of_reloads_trials_and_rollbacks_loses_no_request(site, http_backend):
    backends = [http_backend("ok") for _ in range(3)]
    weir = site([{"upstream": "app"}], {"app": {"servers": [b.address for b in backends]}})
    over = threading.Event()
    unexpected = []

    def pester(seed):
        chance = random.Random(seed)
        while not over.is_set():
            path, body = chance.choice([("/api/v1/reload", None), ("/api/v1/reload", {"confirm": "1s"}), ("/api/v1/confirm", None),
                                        ("/api/v1/rollback", None), ("/api/v1/rollback", {"generation": chance.randrange(1, 60)})])
            try:
                answer = weir.admin.request("POST", path, body)
                if answer.status not in (200, 409):
                    unexpected.append((path, body, answer.status, answer.text))
                config(weir)
            except Exception as error:
                unexpected.append(repr(error))

    threads = [threading.Thread(target=pester, args=(n,)) for n in range(3)]
    with Visitor(weir, count=3) as visitor:
        [t.start() for t in threads]
        for n in range(30):
            servers = [b.address for b in backends[:1 + n % 3]]
            weir.change(upstreams={"app": {"servers": servers}}, routes=[{"name": f"r{n % 4}", "upstream": "app"}])
            if n % 5 == 0:
                weir.signal(signal.SIGHUP)
            visitor.await_more(10)
        over.set()
        [t.join() for t in threads]
    assert not unexpected, unexpected[:3]
    assert not visitor.faults and set(visitor.statuses) == {200}
    assert sum(g["generation"] is not None for g in config(weir)["history"]) == 10
