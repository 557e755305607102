"""What tests/soak/chaos.py has found: a request fails only when no server could have answered it."""

import threading

import pytest

from harness import Reply, wait_until
from harness.admin import find

FAST = {"interval": "50ms", "timeout": "10s", "fall": 1}


class Backend:
    """Answers its checks and its requests as it is told to."""

    def __init__(self, make, name):
        self.status, self.health, self.headers = "200 OK", "200 OK", []
        self.served, self.fickle = 0, False  # it closes a connection instead of answering a second request on it
        self.gate = threading.Event()
        self.gate.set()
        self.backend = make(name, handler=self._handle)
        self.address, self.name = self.backend.address, name

    def _handle(self, request):
        if request.target == "/healthz":
            return Reply(status=self.health)
        self.gate.wait(60)
        self.served += 1
        if self.fickle and self.backend.per_connection[request.connection_index] > 1:
            return None
        return Reply(status=self.status, headers=self.headers, body=self.name.encode())


@pytest.fixture
def backend(http_backend):
    return lambda name: Backend(http_backend, name)


def serve(site, servers, **upstream):
    return site([{"upstream": "app", "retries": {"attempts": 3, "on": ["connect", "reset", "503"]}}],
                {"app": {"servers": [s.address for s in servers], **upstream}}, workers=1)


def state(weir, server):
    return find(weir.admin.upstreams(), address=server.address)[0]["state"]


def eject(weir, server):
    server.status = "500 Sick"
    wait_until(lambda: weir.get() and state(weir, server) == "ejected")
    server.status = "200 OK"


@pytest.mark.parametrize("check", [{}, {"health_check": {"path": "/healthz", "rise": 1, **FAST}}])
def test_an_ejected_server_is_asked_when_no_other_is_left(site, backend, check):
    a, b = backend("a"), backend("b")
    weir = serve(site, [a, b], outlier={"errors": 1, "eject": "1h"}, **check)
    eject(weir, a)
    assert {weir.get().text for _ in range(6)} == {"b"}
    b.backend.close()
    answers = [weir.get() for _ in range(6)]
    assert [(x.status, x.text) for x in answers] == [(200, "a")] * 6
    if check:
        wait_until(lambda: state(weir, b) == "down")
        assert weir.get().text == "a"
        assert state(weir, a) == "ejected"


def test_an_ejected_server_is_asked_again_after_an_answer_that_is_no_good(site, backend):
    a, b = backend("a"), backend("b")
    weir = serve(site, [a, b], outlier={"errors": 1, "eject": "1h"})
    eject(weir, a)
    b.status = "503 Busy"
    assert [weir.get().text for _ in range(6)] == ["a"] * 6


def test_an_ejected_server_whose_check_fails_is_not_asked(site, backend):
    a, b = backend("a"), backend("b")
    weir = serve(site, [a, b], outlier={"errors": 1, "eject": "1h"}, health_check={"path": "/healthz", "rise": 1, **FAST})
    eject(weir, a)
    a.health = b.health = "500 Sick"
    wait_until(lambda: find(weir.admin.upstreams(), address=a.address)[0]["state"] == "down" and state(weir, b) == "down")
    assert weir.get().status == 503


def test_a_server_that_has_yet_to_prove_itself_is_asked_when_no_other_is_left(site, backend):
    a, b = backend("a"), backend("b")
    a.health = "500 Sick"
    weir = serve(site, [a, b], health_check={"path": "/healthz", "rise": 1000, **FAST})
    wait_until(lambda: state(weir, a) == "down")
    a.health = "200 OK"
    wait_until(lambda: find(weir.admin.upstreams(), address=a.address)[0]["check"]["ok"])
    assert {weir.get().text for _ in range(6)} == {"b"}
    b.backend.close()
    wait_until(lambda: state(weir, b) == "down")
    assert [(x.status, x.text) for x in [weir.get() for _ in range(6)]] == [(200, "a")] * 6


def test_a_check_that_is_good_again_ends_what_was_held_against_a_server(site, backend):
    a, b = backend("a"), backend("b")
    weir = serve(site, [a, b], health_check={"path": "/healthz", "rise": 1, **FAST})
    a.status, a.headers = "503 Busy", [("Retry-After", "3600")]
    assert [weir.get().text for _ in range(6)] == ["b"] * 6
    a.status = "200 OK"
    assert [weir.get().text for _ in range(6)] == ["b"] * 6
    a.health = "500 Sick"
    wait_until(lambda: state(weir, a) == "down")
    a.health = "200 OK"
    wait_until(lambda: state(weir, a) == "up")
    assert {weir.get().text for _ in range(6)} == {"a", "b"}


def test_a_server_that_returns_is_not_shunned_for_what_it_took_before(site, backend):
    a, b = backend("a"), backend("b")
    weir = serve(site, [a, b], balance="ewma", health_check={"path": "/healthz", "rise": 1, **FAST})
    a.status = a.health = "500 Sick"
    wait_until(lambda: weir.get() and state(weir, a) == "down")
    a.status = a.health = "200 OK"
    wait_until(lambda: state(weir, a) == "up")
    wait_until(lambda: [weir.get().text for _ in range(40)].count("a") >= 8, 5)


def test_requests_wait_for_an_ejected_server_that_is_full(site, backend):
    a, b = backend("a"), backend("b")
    entries = [{"address": s.address, "max_connections": 1} for s in (a, b)]
    weir = site([{"upstream": "app"}], {"app": {"servers": entries, "outlier": {"errors": 1, "eject": "1h"}, "queue": {"timeout": "1h"},
                                                "health_check": {"path": "/healthz", "rise": 1, **FAST}}}, workers=1)
    eject(weir, a)
    b.health = "500 Sick"
    wait_until(lambda: state(weir, b) == "down")
    a.gate.clear()
    clients = [weir.client() for _ in range(3)]
    for client in clients:
        client.send_request()
    wait_until(lambda: weir.admin.metrics().sum("weir_upstream_queue", upstream="app") == 2)
    a.gate.set()
    assert [client.read_response().text for client in clients] == ["a"] * 3


def test_what_one_server_answers_with_an_error_waits_for_a_place_at_another(site, backend):
    a, b = backend("a"), backend("b")
    weir = site([{"upstream": "app", "retries": {"on": ["503"]}}],
                {"app": {"servers": [{"address": a.address, "max_connections": 1}, b.address], "queue": {"timeout": "1h"}}}, workers=1)
    b.status = "503 Busy"
    a.gate.clear()
    clients = [weir.client() for _ in range(3)]
    for client in clients:
        client.send_request()
    wait_until(lambda: weir.admin.metrics().sum("weir_upstream_queue", upstream="app") == 2)
    a.gate.set()
    assert [client.read_response(seconds=20).text for client in clients] == ["a"] * 3


def test_a_server_that_only_closed_an_idle_connection_is_asked_again_ahead_of_an_ejected_one(site, backend):
    a, b = backend("a"), backend("b")
    weir = serve(site, [a, b], outlier={"errors": 1, "eject": "1h"})
    eject(weir, a)
    a.status, b.fickle = "500 Sick", True
    assert [weir.get().text for _ in range(8)] == ["b"] * 8
    assert len(b.backend.requests) > 8


def test_a_failing_server_that_may_not_be_ejected_is_passed_over_while_another_one_serves(site, backend):
    out, bad, good = backend("out"), backend("bad"), backend("good")
    weir = site([{"upstream": "app", "retries": {"on": ["500"], "budget": "0%"}}],
                {"app": {"servers": [s.address for s in (out, bad, good)], "outlier": {"errors": 1, "eject": "1h", "max_ejected": "34%"}}},
                workers=1)
    eject(weir, out)
    bad.status = "500 Sick"
    before = bad.served
    wait_until(lambda: weir.get() and bad.served > before)
    before = bad.served
    answers = [weir.get().text for _ in range(100)]
    assert answers.count("good") > 80 and bad.served - before < 20
    assert state(weir, bad) == "up"
