"""Servers that are taken out because of how their requests end, how they come back, and what happens when too few are well."""

import collections

import pytest

from harness import Reply, SCALE, free_port, wait_until
from harness.admin import find

SECONDS = max(1, round(SCALE))
FAST = {"interval": "50ms", "timeout": "3s", "rise": 1, "fall": 1}


class Moody:
    """A backend that answers its checks and requests as it is told to."""

    def __init__(self, make, name, **options):
        self.status, self.health = "200 OK", "200 OK"
        self.served = 0
        self.backend = make(name, handler=self._handle, **options)
        self.address = self.backend.address

    def _handle(self, request):
        if request.target == "/healthz":
            return Reply(status=self.health)
        self.served += 1
        return Reply(status=self.status, body=self.backend.name.encode())


@pytest.fixture
def moody(http_backend):
    return lambda name, **options: Moody(http_backend, name, **options)


def balanced(site, servers, **upstream):
    rest = {k: upstream.pop(k) for k in ("workers", "timeouts") if k in upstream}
    routes = upstream.pop("routes", [{"upstream": "app"}])
    servers = [s if isinstance(s, (str, dict)) else s.address for s in servers]
    return site(routes, {"app": {"servers": servers, **upstream}}, **rest)


def ask(weir, count):
    with weir.client() as client:
        return [client.get() for _ in range(count)]


def texts(answers):
    return collections.Counter(a.text for a in answers)


def server_of(weir, address):
    return find(weir.admin.upstreams(), address=address)[0]


def ejections(weir, address, **labels):
    return weir.admin.metrics().sum("weir_upstream_ejections_total", upstream="app", server=address, **labels)


def test_errors_in_a_row_eject_a_server_and_time_lets_it_back(site, moody):
    good, bad = moody("good"), moody("bad")
    weir = balanced(site, [good, bad], outlier={"errors": 5, "eject": f"{SECONDS}s"}, workers=1)
    bad.status = "503 Sick"
    answers = ask(weir, 40)
    assert bad.served == 5 and texts(answers)["good"] == 35
    shown = server_of(weir, bad.address)
    if shown["state"] == "ejected":
        assert shown["reason"] == f"ejected for {SECONDS} s: 5 errors in a row, the last: status 503" and not shown["usable"]
        assert weir.admin.server_is_up("app", bad.address) is False
    assert ejections(weir, bad.address, reason="5xx") == 1
    weir.await_log("server is ejected", "5 errors in a row, the last: status 503")

    bad.status = "200 OK"
    wait_until(lambda: weir.admin.server_is_up("app", bad.address) is True, 10)
    weir.await_log("server is let back")
    assert set(texts(ask(weir, 6))) == {"good", "bad"}


def test_while_it_is_ejected_the_api_and_the_metrics_say_so(site, moody):
    good, bad = moody("good"), moody("bad")
    weir = balanced(site, [good, bad], outlier={"errors": 2, "eject": "1h"}, workers=2)
    bad.status = "500 Sick"
    wait_until(lambda: ask(weir, 4) and weir.admin.server_is_up("app", bad.address) is False)
    shown = server_of(weir, bad.address)
    assert shown["state"] == "ejected" and shown["ejected"] and shown["ejections"] == 1
    assert shown["reason"] == "ejected for 3600 s: 2 errors in a row, the last: status 500"
    assert weir.admin.upstreams()["upstreams"][0]["state"] == "degraded"
    assert set(texts(ask(weir, 20))) == {"good"}


def test_without_outlier_nothing_is_ejected(site, moody):
    good, bad = moody("good"), moody("bad")
    weir = balanced(site, [good, bad], workers=1)
    bad.status = "500 Sick"
    assert texts(ask(weir, 40)) == {"good": 20, "bad": 20}


def test_a_success_ends_the_row(site, http_backend):
    turn = []

    def every_third_is_good(request):
        turn.append(request)
        return Reply(status="200 OK" if len(turn) % 3 == 0 else "500 Oops")
    bad = http_backend("bad", handler=every_third_is_good)
    good = http_backend("good")
    weir = balanced(site, [good, bad], outlier={"errors": 3, "eject": "1h"}, workers=1)
    ask(weir, 40)
    assert len(turn) == 20 and weir.admin.server_is_up("app", bad.address) is True


def test_a_dead_server_is_ejected_and_not_tried_again(site, moody):
    good, dead = moody("good"), f"127.0.0.1:{free_port()}"
    weir = balanced(site, [good, dead], outlier={"errors": 3, "eject": "1h"}, workers=1)
    def asked_until_ejected():
        assert texts(ask(weir, 6)) == {"good": 6}
        return ejections(weir, dead, reason="connect") == 1
    wait_until(asked_until_ejected, 20, "the server to be tried three times")
    assert "the last: no connection" in server_of(weir, dead)["reason"]
    assert server_of(weir, dead)["connections"]["failed"] == 3


def test_a_server_that_resets_is_ejected(site, moody, raw_server):
    def slam(connection):
        connection.read_request_head()
        connection.reset()
    good, bad = moody("good"), raw_server(slam)
    weir = balanced(site, [good, bad], outlier={"errors": 3, "eject": "1h"}, workers=1)
    ask(weir, 30)
    assert ejections(weir, bad.address, reason="reset") == 1
    assert "the last: the connection broke" in server_of(weir, bad.address)["reason"]


def test_a_server_that_does_not_answer_is_ejected(site, moody, raw_server):
    good, mute = moody("good"), raw_server()
    weir = balanced(site, [good, mute], outlier={"errors": 2, "eject": "1h"}, workers=1, timeouts={"response": "200ms"})
    wait_until(lambda: ask(weir, 2) and ejections(weir, mute.address, reason="timeout") == 1)
    assert texts(ask(weir, 10)) == {"good": 10}


def test_answers_that_are_tried_again_elsewhere_count_as_well(site, moody):
    good, bad = moody("good"), moody("bad")
    weir = balanced(site, [good, bad], outlier={"errors": 3, "eject": "1h"}, workers=1,
                    routes=[{"upstream": "app", "retries": {"attempts": 1, "on": ["503"], "budget": "100%"}}])
    bad.status = "503 Sick"
    assert texts(ask(weir, 20)) == {"good": 20}
    assert bad.served == 3 and ejections(weir, bad.address, reason="5xx") == 1


def test_never_more_than_max_ejected(site, moody):
    servers = [moody(name) for name in "abcd"]
    weir = balanced(site, servers, outlier={"errors": 2, "eject": "1h", "max_ejected": "50%"}, workers=2)
    for server in servers:
        server.status = "500 Sick"
    assert all(a.status == 500 for a in ask(weir, 60))
    states = [server_of(weir, s.address)["state"] for s in servers]
    assert sorted(states) == ["ejected", "ejected", "up", "up"]


def test_a_lone_server_is_not_ejected(site, moody):
    bad = moody("bad")
    weir = balanced(site, [bad], outlier={"errors": 1, "eject": "1h"})
    bad.status = "500 Sick"
    assert all(a.status == 500 for a in ask(weir, 10))


def test_a_hand_ends_an_ejection(site, moody):
    good, bad = moody("good"), moody("bad")
    weir = balanced(site, [good, bad], outlier={"errors": 1, "eject": "1h"}, workers=1)
    bad.status = "500 Sick"
    ask(weir, 4)
    assert weir.admin.server_is_up("app", bad.address) is False
    bad.status = "200 OK"
    answer = weir.admin.request("PATCH", f"/api/v1/upstreams/app/servers/{bad.address}", body={"state": "up"})
    assert answer.status == 200, answer.body
    assert weir.admin.server_is_up("app", bad.address) is True
    assert set(texts(ask(weir, 4))) == {"good", "bad"}


def test_a_reload_keeps_an_ejection(site, moody):
    good, bad = moody("good"), moody("bad")
    weir = balanced(site, [good, bad], outlier={"errors": 1, "eject": "1h"}, workers=1)
    bad.status = "500 Sick"
    ask(weir, 4)
    weir.reload(upstreams={"app": {"servers": [good.address, bad.address], "outlier": {"errors": 1, "eject": "2h"}}})
    assert server_of(weir, bad.address)["state"] == "ejected"
    weir.reload(upstreams={"app": {"servers": [good.address, bad.address]}})
    wait_until(lambda: server_of(weir, bad.address)["state"] == "up")


def test_a_stream_s_dead_server_is_ejected(site, tcp_backend):
    good, dead = tcp_backend(b"hello"), f"127.0.0.1:{free_port()}"
    weir = site([], {"db": {"servers": [dead, good.address], "outlier": {"errors": 3, "eject": "1h"}}},
                {"db": {"protocol": "tcp", "upstream": "db"}}, workers=1)
    def asked_until_ejected():
        for _ in range(4):
            with weir.client("db") as client:
                assert client.read_exact(5) == b"hello"
        return weir.admin.metrics().sum("weir_upstream_ejections_total", upstream="db", server=dead, reason="connect") == 1
    wait_until(asked_until_ejected, 20, "the server to be tried three times")
    assert find(weir.admin.upstreams(), address=dead)[0]["connections"]["failed"] == 3


def test_a_slow_server_is_ejected_for_its_latency(site, http_backend):
    import time

    def slow(request):
        time.sleep(0.03 * SCALE)
        return Reply(body=b"slow")
    servers = [http_backend("slow", handler=slow), http_backend("a"), http_backend("b")]
    weir = balanced(site, servers, outlier={"latency": "3x", "eject": "1h"}, workers=1)
    wait_until(lambda: ask(weir, 30) and ejections(weir, servers[0].address, reason="latency") == 1, 60)
    assert "ms a response, its peers take" in server_of(weir, servers[0].address)["reason"]
    assert set(texts(ask(weir, 10))) == {"a", "b"}


# -- panic ----------------------------------------------------------------------------------------------------------------------

def test_when_too_few_are_healthy_all_are_used(site, moody):
    servers = [moody(name) for name in "abc"]
    drained = moody("drained")
    weir = balanced(site, [*servers, drained], panic_threshold="50%", health_check={"path": "/healthz", **FAST}, workers=1)
    weir.admin.request("PATCH", f"/api/v1/upstreams/app/servers/{drained.address}", body={"state": "drain"})

    def panic():
        value = weir.admin.metrics().sum("weir_upstream_panic", upstream="app")
        assert weir.admin.upstreams()["upstreams"][0]["panic"] in (True, False)
        return value == 1
    servers[0].health = "500 Sick"
    wait_until(lambda: weir.admin.server_is_up("app", servers[0].address) is False)
    wait_until(lambda: set(texts(ask(weir, 8))) == {"b", "c"})
    assert not panic()
    servers[1].health = "500 Sick"
    wait_until(panic)
    assert weir.admin.upstreams()["upstreams"][0]["panic"] is True
    assert set(texts(ask(weir, 9))) == {"a", "b", "c"}
    servers[1].health = "200 OK"
    wait_until(lambda: not panic())
    wait_until(lambda: set(texts(ask(weir, 8))) == {"b", "c"})
    weir.await_log("enough servers are healthy again")
    assert weir.log().count("too few servers are healthy") == 1 and weir.log().count("enough servers are healthy again") == 1


# -- slow start -----------------------------------------------------------------------------------------------------------------

def test_a_server_that_returns_starts_slowly(site, moody):
    old, back = moody("old"), moody("back")
    weir = balanced(site, [old, back], slow_start=f"{2 * SECONDS}s", health_check={"path": "/healthz", **FAST}, workers=1)
    assert texts(ask(weir, 20)) == {"old": 10, "back": 10}, "not at the process's start"
    back.health = "500 Sick"
    wait_until(lambda: weir.admin.server_is_up("app", back.address) is False)
    wait_until(lambda: set(texts(ask(weir, 10))) == {"old"})
    back.health = "200 OK"
    wait_until(lambda: weir.admin.server_is_up("app", back.address) is True)

    def weight():
        return server_of(weir, back.address)["effective_weight"]
    seen = []
    while True:
        before = weight()
        share = texts(ask(weir, 100))["back"] / 100
        after = weight()
        seen.append(share)
        assert before / (1 + before) - 0.12 <= share <= after / (1 + after) + 0.12, (before, share, after)
        if before == 1:
            break
    assert seen[0] < 0.45 and len(seen) > 2
    assert server_of(weir, back.address)["weight"] == 1


# -- a check that flaps ---------------------------------------------------------------------------------------------------------

def test_a_check_that_flaps_must_be_good_for_longer(site, moody):
    good, bad = moody("good"), moody("bad")
    weir = balanced(site, [good, bad], health_check={"path": "/healthz", **FAST, "interval": f"{100 * SECONDS}ms"}, workers=1)
    is_up = lambda: weir.admin.server_is_up("app", bad.address)
    for turn in range(3):
        bad.health = "500 Sick"
        wait_until(lambda: is_up() is False, 10)
        if turn < 2:
            bad.health = "200 OK"
            wait_until(lambda: is_up() is True, 10)
    bad.health = "200 OK"
    def flaps():
        reason = server_of(weir, bad.address)["reason"]
        return "flapping: 5 changes in" in reason and "2 good checks needed, 1 so far" in reason
    wait_until(flaps, 10)
    wait_until(lambda: is_up() is True, 10)
