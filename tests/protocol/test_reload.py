"""Reload: a new configuration takes effect, and nothing that is open is disturbed. An invalid one changes nothing."""

import os
import signal
import socket
import threading

import pytest

from harness import Deadline, RawClient, Reply, wait_until
from harness.http_backend import pattern
from harness.raw_client import trusting
from harness.wire import Closed


def says(text):
    return [{"name": "only", "respond": {"status": 200, "body": text}}]


# -- ways to ask for it --------------------------------------------------------------------------------------------------------

def test_sighup_reloads(site):
    weir = site(says("old"))
    weir.change(routes=says("new"))
    weir.signal(signal.SIGHUP)
    wait_until(lambda: weir.get().text == "new")


def test_the_command_reload_reloads_and_waits(site):
    weir = site(says("old"))
    weir.change(routes=says("new"))
    done = weir.cli("reload")
    assert done.returncode == 0, done
    assert weir.get().text == "new"


def test_the_admin_interface_reloads_and_waits(site):
    weir = site(says("old"))
    weir.reload(routes=says("new"))
    assert weir.get().text == "new"


def test_a_reload_says_what_changed(site, http_backend):
    backend = http_backend()
    weir = site([{"name": "alpha", "path": "/a", "respond": {"body": "a"}}], {"app": backend.address})
    weir.change(routes=[{"name": "beta", "path": "/b", "upstream": "extra"}], upstreams={
        "app": {"servers": [backend.address]}, "extra": {"servers": [backend.address]}})
    done = weir.cli("reload")
    said = done.stdout + done.stderr
    assert done.returncode == 0 and "alpha" in said and "beta" in said and "extra" in said


def test_a_reload_of_the_same_file_changes_nothing(site):
    weir = site(says("same"))
    assert weir.cli("reload").returncode == 0
    assert weir.get().text == "same"


def test_successful_reloads_are_counted(site):
    weir = site(says("x"))
    before = weir.generation()
    for _ in range(3):
        weir.reload()
    assert weir.generation() == before + 3
    assert weir.admin.metrics().sum("weir_config_reload_failures_total") == 0


# -- an invalid file --------------------------------------------------------------------------------------------------------------

BROKEN = {
    "no-yaml": "listeners: [\n",
    "unknown-key": "listenrs: {}\n",
    "tabs": "listeners:\n\tweb: {}\n",
    "empty": "",
    "binary": "\x00\x01\x02",
    "no-such-upstream": None,
}


def broken(weir, how):
    if how == "no-such-upstream":
        weir.change(routes=[{"upstream": "missing"}])
    else:
        weir.write(BROKEN[how])


@pytest.mark.parametrize("how", BROKEN)
def test_an_invalid_file_leaves_the_running_configuration(site, how):
    weir = site(says("old"))
    with weir.client() as client:
        assert client.get().text == "old"
        broken(weir, how)
        assert not weir.hang_up()
        assert client.get().text == "old" and weir.get().text == "old"
    assert weir.admin.metrics().sum("weir_config_reload_failures_total") == 1


def test_the_command_reload_fails_and_tells_the_error(site):
    weir = site(says("old"))
    weir.change(routes=[{"name": "r", "upstream": "missing"}])
    done = weir.cli("reload")
    assert done.returncode != 0 and "missing" in done.stdout + done.stderr
    assert weir.get().text == "old"


def test_the_admin_interface_answers_422_with_the_errors(site):
    weir = site(says("old"))
    weir.change(routes=[{"upstream": "missing"}], timeouts={"drain": "2s", "conect": "1s"})
    answer = weir.admin.reload()
    assert answer.status == 422 and "missing" in answer.text and "conect" in answer.text


def test_a_file_that_is_gone_leaves_the_running_configuration(site):
    weir = site(says("old"))
    os.rename(weir.config_file, weir.config_file + ".away")
    assert not weir.hang_up()
    assert weir.get().text == "old"
    os.rename(weir.config_file + ".away", weir.config_file)


def test_a_valid_file_is_taken_up_after_an_invalid_one(site):
    weir = site(says("old"))
    config = weir.config
    weir.write("{")
    assert not weir.hang_up()
    weir.write(config)
    weir.reload(routes=says("new"))
    assert weir.get().text == "new"


def test_an_invalid_reload_is_in_the_log(site):
    weir = site(says("old"))
    weir.change(routes=[{"upstream": "missing"}])
    weir.admin.reload()
    wait_until(lambda: "missing" in weir.log())


def test_a_failing_test_in_the_file_refuses_it(site):
    weir = site(says("old"))
    weir.change(routes=says("new"), tests=[{"request": "GET http://t.example/", "expect": {"route": "another"}}])
    assert weir.admin.reload().status == 422
    assert weir.get().text == "old"


def test_a_listener_that_cannot_be_bound_refuses_the_file(site):
    weir = site(says("old"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        weir.change(routes=says("new"), listeners={**weir.config["listeners"], "more": {"bind": [f"127.0.0.1:{taken.getsockname()[1]}"]}})
        assert weir.admin.reload().status >= 400
        assert weir.get().text == "old"


def test_what_a_reload_cannot_change_is_said(site):
    weir = site(says("old"), workers=2)
    weir.change(workers=3, routes=says("new"))
    done = weir.cli("reload")
    assert "workers" in done.stdout + done.stderr
    assert weir.is_running() and weir.get().status == 200


# -- listeners --------------------------------------------------------------------------------------------------------------------

def test_a_new_listener_serves(site):
    weir = site(says("x"))
    weir.reload(listeners={"web": {}, "more": {}})
    assert weir.get(listener="more").text == "x" and weir.get().text == "x"


def test_a_removed_listener_accepts_no_more_and_its_connections_live_on(site, server):
    weir = site([{"upstream": "app"}], {"app": server.address}, {"web": {}, "more": {}})
    with weir.client("more") as client:
        client.send_request()
        up = server.accept()
        up.read_request()
        weir.reload(listeners={"web": {}})
        wait_until(lambda: _is_refused(weir.port("more")))
        up.respond(body="answered")
        assert client.read_response().body == b"answered"


def test_a_listener_may_change_its_protocol(site, tcp_backend):
    weir = site(says("http"), {"db": tcp_backend(b"tcp").address})
    assert weir.get().text == "http"
    weir.reload(listeners={"web": {"protocol": "tcp", "upstream": "db"}}, routes=[])
    with weir.client() as client:
        assert client.read_exact(3) == b"tcp"


def test_a_listener_may_be_put_under_tls(site, authority, localhost_cert):
    weir = site(says("x"))
    weir.reload(listeners={"web": {"tls": {"certificates": [{"cert": localhost_cert[0], "key": localhost_cert[1]}]}}})
    with RawClient(weir.port(), tls=trusting(authority.file), server_name="localhost") as client:
        assert client.get().text == "x"


def test_listener_limits_change(site):
    weir = site(says("x"))
    assert weir.get(headers=[("X-A", "y" * 3000)]).status == 200
    weir.reload(limits={"header_size": "1KiB"})
    assert weir.get(headers=[("X-A", "y" * 3000)]).status == 431


def _is_refused(port):
    try:
        RawClient(port).close()
        return False
    except ConnectionRefusedError:
        return True


# -- what is open ---------------------------------------------------------------------------------------------------------------------

def test_a_keep_alive_client_is_served_across_20_reloads(site, http_backend):
    backend = http_backend()
    weir = site([{"upstream": "app"}], {"app": backend.address})
    with weir.client() as client:
        for n in range(20):
            assert client.get(f"/bytes/{n}").body == pattern(n)
            weir.reload(routes=[{"name": f"r{n}", "upstream": "app"}])
        assert client.get("/bytes/3").body == pattern(3)


def test_a_new_configuration_is_met_at_the_next_request_of_an_open_connection(site):
    weir = site(says("old"))
    with weir.client() as client:
        assert client.get().text == "old"
        weir.reload(routes=says("new"))
        assert client.get().text == "new"


def test_a_download_goes_on_across_reloads_that_take_its_route_away(site, server):
    weir = site([{"upstream": "app"}], {"app": server.address})
    data = pattern(400_000)
    with weir.client() as client:
        client.send_request()
        up = server.accept()
        up.read_request()
        up.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data))
        for n in range(4):
            up.send(data[n * 100_000:(n + 1) * 100_000])
            weir.reload(routes=says(str(n)), upstreams=None)
        answer = client.read_response()
    assert answer.body == data and answer.is_complete


def test_an_upload_goes_on_across_a_reload(site, server):
    weir = site([{"upstream": "app"}], {"app": server.address})
    with weir.client() as client:
        client.send_request("POST", "/", [("Content-Length", "10")])
        client.send(b"first")
        up = server.accept()
        up.read_request_head()
        weir.reload(routes=says("x"), upstreams=None)
        client.send(b"other")
        assert up.read_exact(10) == b"firstother"
        up.respond(body="done")
        assert client.read_response("POST").body == b"done"


def test_a_request_that_waits_for_its_response_is_answered_after_a_reload(site, server):
    weir = site([{"upstream": "app"}], {"app": server.address})
    with weir.client() as client:
        client.send_request()
        up = server.accept()
        up.read_request()
        weir.reload(routes=says("x"), upstreams=None)
        up.respond(body="late")
        assert client.read_response().body == b"late"


def test_load_fails_no_request_during_reloads(site, http_backend):
    """Keep-alive and new connections, while routes, servers and listeners come and go."""
    backends = [http_backend("ok") for _ in range(2)]
    upstreams = [{"app": {"servers": [b.address for b in backends]}}, {"app": {"servers": [backends[0].address]}}]
    weir = site([{"upstream": "app"}], upstreams[0])
    failures, served, done = [], [0], threading.Event()

    def keep_alive():
        try:
            with weir.client() as client:
                while not done.is_set():
                    answer = client.get()
                    assert answer.status == 200 and answer.body == b"ok", answer
                    served[0] += 1
                    if answer.will_close:
                        return
        except Exception as error:
            failures.append(error)

    def fresh():
        while not done.is_set():
            try:
                assert weir.get().body == b"ok"
                served[0] += 1
            except Exception as error:
                failures.append(error)
                return

    threads = [threading.Thread(target=t) for t in (keep_alive, keep_alive, fresh, fresh)]
    [t.start() for t in threads]
    for n in range(20):
        weir.reload(upstreams=upstreams[n % 2], listeners={"web": {}, f"extra{n % 3}": {}})
    done.set()
    [t.join() for t in threads]
    assert not failures and served[0] > 50


# -- state that survives ----------------------------------------------------------------------------------------------------------------

def test_a_server_that_is_down_is_still_down_after_a_reload(site, http_backend):
    def answer(name, status):
        return lambda r: Reply(status=status) if r.target == "/healthz" else Reply(body=name)
    good, bad = http_backend(handler=answer(b"good", "200 OK")), http_backend(handler=answer(b"bad", "500 X"))
    check = {"type": "http", "path": "/healthz", "interval": "200ms", "timeout": "1s", "rise": 2, "fall": 2}
    weir = site([{"upstream": "app"}], {"app": {"servers": [good.address, bad.address], "health_check": check}}, workers=1)
    wait_until(lambda: weir.admin.server_is_up("app", bad.address) is False)
    for n in range(5):
        weir.reload(routes=[{"name": f"r{n}", "upstream": "app"}])
        assert weir.admin.server_is_up("app", bad.address) is False
        with weir.client() as client:
            assert {client.get().text for _ in range(6)} == {"good"}


def test_requests_in_flight_still_count_after_a_reload(site, raw_server):
    first, second = raw_server(), raw_server()
    weir = site([{"upstream": "app"}], {"app": {"servers": [first.address, second.address], "balance": "least_connections"}})
    held = [weir.client() for _ in range(2)]
    for client in held:
        client.send_request()
    ends = [first.accept(), second.accept()]
    for end in ends:
        end.read_request()
    ends[0].respond(body="x")
    wait_until(lambda: any(_has_answer(c) for c in held))
    weir.reload(routes=[{"name": "again", "upstream": "app"}])
    with weir.client() as client:
        client.send_request(target="/third")
        wait_until(lambda: b"/third" in first.received + second.received or _pump(first) or _pump(second))
        assert b"/third" in first.received and b"/third" not in second.received


def _has_answer(client):
    try:
        return client.buffer or client.fill(Deadline(0.05))
    except TimeoutError:
        return False


def _pump(server):
    """Reads what came on any connection of a server that the test plays."""
    for connection in server.connections:
        try:
            connection.fill(Deadline(0.02))
        except (TimeoutError, OSError):
            pass
    return False


def test_upstream_connections_are_kept_across_a_reload(site, http_backend):
    backend = http_backend()
    weir = site([{"upstream": "app"}], {"app": backend.address})
    with weir.client() as client:
        for n in range(5):
            assert client.get().status == 200
            weir.reload(routes=[{"name": f"r{n}", "upstream": "app"}])
    assert backend.connection_count == 1


def test_counters_go_on_across_a_reload(site):
    weir = site(says("x"))
    weir.get()
    weir.reload()
    weir.get()
    weir.await_metric("weir_requests_total", 2, listener="web", route="only", status=200)


def test_a_reload_leaves_no_memory_behind(site, http_backend):
    backend = http_backend()
    routes = [{"host": f"h{n}.example", "upstream": "app"} for n in range(500)]
    weir = site(routes, {"app": backend.address})
    for _ in range(10):
        weir.reload(routes=routes)
        weir.get(host="h1.example")
    before = weir.rss_bytes()
    for _ in range(30):
        weir.reload(routes=routes)
        weir.get(host="h1.example")
    if not weir.is_sanitized:
        assert weir.rss_bytes() - before < 4 << 20


def test_an_idle_keep_alive_client_is_not_reset_into_its_request(site):
    """Reloads while a request is on its way: it is answered, or the connection was closed before it was sent - never after."""
    weir = site(says("x"))
    for _ in range(10):
        with weir.client() as client:
            assert client.get().status == 200
            reloading = threading.Thread(target=weir.reload)
            reloading.start()
            try:
                for _ in range(20):
                    assert client.get().status == 200
            except Closed as error:
                pytest.fail(f"reset into a request: {error}")
            reloading.join()
