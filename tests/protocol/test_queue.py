"""Waiting for a server while all are at max_connections: order, bounds, and who leaves."""

import struct
import threading

import pytest

from harness import Reply, SCALE, free_port, wait_until
from harness.admin import find
from test_h2 import CANCEL, H2, RST_STREAM, frame


class Gated:
    """A backend that answers as many requests as it is let."""

    def __init__(self, make, name="gated"):
        self.places = threading.Semaphore(0)
        self.seen = []
        self.backend = make(name, handler=self._handle)
        self.address = self.backend.address

    def _handle(self, request):
        self.seen.append(request.target)
        self.places.acquire(timeout=30 * SCALE)
        return Reply(body=request.target.encode())

    def let(self, count=1):
        self.places.release(count)


@pytest.fixture
def gated(http_backend):
    made = []

    def make(*arguments):
        made.append(Gated(http_backend, *arguments))
        return made[-1]
    yield make
    for each in made:
        each.let(1000)


def queued(site, *servers, workers=1, most=1, queue=None, **upstream):
    upstream = {"servers": [{"address": s.address, "max_connections": most} for s in servers], **upstream}
    if queue is not False:
        upstream["queue"] = {"timeout": "60s", **(queue or {})}
    return site([{"upstream": "app"}], {"app": upstream}, workers=workers)


def waiting(weir):
    return weir.admin.metrics().sum("weir_upstream_queue", upstream="app")


def send(weir, target):
    client = weir.client()
    client.send_request(target=target)
    return client


def test_first_come_first_served(site, gated):
    server = gated()
    weir = queued(site, server)
    clients = []
    for n in range(5):
        clients.append(send(weir, f"/{n}"))
        wait_until(lambda: len(server.seen) == 1 and waiting(weir) == n)
    assert find(weir.admin.upstreams(), name="app")[0]["queue"] == {"waiting": 4, "size": 1024}
    for n in range(5):
        wait_until(lambda: server.seen == [f"/{k}" for k in range(n + 1)])
        server.let()
        answer = clients[n].read_response()
        assert (answer.status, answer.text) == (200, f"/{n}")
        clients[n].close()
    wait_until(lambda: waiting(weir) == 0)


def test_routes_of_high_priority_go_first(site, gated):
    server = gated()
    weir = site([{"path": f"/{p}", "upstream": "app", "priority": p} for p in ("high", "normal", "low")] + [{"path": "/", "upstream": "app"}],
                {"app": {"servers": [{"address": server.address, "max_connections": 1}], "queue": {"timeout": "60s"}}}, workers=1)
    clients = []
    for n, target in enumerate(["/first", "/low", "/other", "/normal", "/high"]):
        clients.append(send(weir, target))
        wait_until(lambda: len(server.seen) == 1 and waiting(weir) == n)
    server.let(5)
    for client in clients:
        assert client.read_response().status == 200
    assert server.seen == ["/first", "/high", "/other", "/normal", "/low"]


@pytest.mark.parametrize("protocol", ["http", "tcp"])
def test_who_has_tried_as_many_servers_as_it_may_waits_for_no_other(site, tcp_backend, protocol):
    servers = [{"address": tcp_backend(b"hello").address, "max_connections": 1}] + [f"127.0.0.1:{free_port()}" for _ in range(12)]
    upstreams = {"app": {"servers": servers, "queue": {"timeout": "60s"}}}
    weir = site([{"upstream": "app"}], upstreams, {"web": {}, "raw": {"protocol": "tcp", "upstream": "app"}}, workers=1)
    holder = weir.client("raw")
    assert holder.read_exact(5) == b"hello"
    if protocol == "http":
        assert weir.get("/").status == 502
    else:
        assert weir.client("raw").read_to_end() == b""
    assert weir.admin.metrics().sum("weir_upstream_queued_total", upstream="app") == 0


def test_without_a_queue_it_is_a_503_at_once(site, gated):
    server = gated()
    weir = queued(site, server, queue=False)
    with send(weir, "/first") as first:
        wait_until(lambda: server.seen)
        answer = weir.get("/second")
        assert answer.status == 503 and answer["retry-after"]
        server.let()
        assert first.read_response().status == 200


def test_who_waits_too_long_gets_a_503_that_says_when_to_come_again(site, gated):
    server = gated()
    weir = queued(site, server, queue={"timeout": "150ms"})
    with send(weir, "/first") as first:
        wait_until(lambda: server.seen)
        answer = weir.get("/second")
        assert answer.status == 503 and answer["retry-after"]
        assert weir.admin.metrics().sum("weir_upstream_queue_timeouts_total", upstream="app") == 1
        assert waiting(weir) == 0
        server.let()
        assert first.read_response().status == 200
    assert server.seen == ["/first"]


def test_past_its_size_it_is_a_503_at_once(site, gated):
    server = gated()
    weir = queued(site, server, queue={"size": 2}, workers=2)
    clients = [send(weir, "/0")]
    wait_until(lambda: server.seen)
    for n in (1, 2):
        clients.append(send(weir, f"/{n}"))
        wait_until(lambda: waiting(weir) == n)
    answer = weir.get("/3")
    assert answer.status == 503 and answer["retry-after"]
    assert weir.admin.metrics().sum("weir_upstream_queue_refused_total", upstream="app") == 1
    server.let(3)
    for client in clients:
        assert client.read_response().status == 200
        client.close()


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_leaves_leaves_the_queue(site, gated, how):
    server = gated()
    weir = queued(site, server)
    with send(weir, "/first") as first:
        wait_until(lambda: server.seen)
        gone, patient = send(weir, "/gone"), None
        wait_until(lambda: waiting(weir) == 1)
        patient = send(weir, "/patient")
        wait_until(lambda: waiting(weir) == 2)
        getattr(gone, how)()
        wait_until(lambda: waiting(weir) == 1)
        server.let(2)
        assert first.read_response().status == 200
        assert patient.read_response().text == "/patient"
        patient.close()
    assert server.seen == ["/first", "/patient"]


def test_a_stream_of_http2_that_is_cancelled_leaves_the_queue(site, gated):
    server = gated()
    weir = queued(site, server)
    with H2(weir.port()) as client:
        first = client.request(path="/first")
        wait_until(lambda: server.seen)
        gone, patient = client.request(path="/gone"), client.request(path="/patient")
        wait_until(lambda: waiting(weir) == 2)
        client.send(frame(RST_STREAM, 0, gone, struct.pack(">I", CANCEL)))
        wait_until(lambda: waiting(weir) == 1)
        server.let(2)
        assert client.answer(first).status == client.answer(patient).status == 200
        client.request(path="/left"), [client.request(path=f"/behind/{n}") for n in range(5)]
        wait_until(lambda: waiting(weir) == 5)
    wait_until(lambda: waiting(weir) == 0)
    assert server.seen == ["/first", "/patient", "/left"]


def test_a_body_that_comes_while_it_waits_arrives(site, http_backend):
    gate = threading.Event()

    def handle(request):
        if request.target == "/first":
            gate.wait(30 * SCALE)
            return Reply(body=b"first")
        return Reply(body=request.body)
    server = http_backend("app", handler=handle)
    weir = queued(site, server)
    body = b"x" * 300_000
    with send(weir, "/first") as first, weir.client() as second:
        wait_until(lambda: server.requests)
        sender = threading.Thread(target=lambda: second.send_request("POST", "/echo", body=body))
        sender.start()
        wait_until(lambda: waiting(weir) == 1)
        gate.set()
        assert first.read_response().status == 200
        answer = second.read_response()
        sender.join()
        assert answer.status == 200 and answer.body == body


def test_places_go_round_among_two_workers(site, http_backend):
    server = http_backend("app")
    weir = queued(site, server, workers=2, queue={"timeout": "120s"})
    statuses = []

    def client():
        for _ in range(20):
            statuses.append(weir.get("/").status)
    threads = [threading.Thread(target=client) for _ in range(10)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert statuses == [200] * 200
    wait_until(lambda: waiting(weir) == 0)
    metrics = weir.admin.metrics()
    assert metrics.sum("weir_upstream_queued_total", upstream="app") > 0
    assert metrics.sum("weir_upstream_queue_timeouts_total", upstream="app") == 0


def test_a_reload_that_makes_room_lets_them_in(site, gated):
    server = gated()
    weir = queued(site, server)
    with send(weir, "/first") as first:
        wait_until(lambda: server.seen)
        with send(weir, "/second") as second:
            wait_until(lambda: waiting(weir) == 1)
            weir.reload(upstreams={"app": {"servers": [{"address": server.address, "max_connections": 2}], "queue": True}})
            wait_until(lambda: server.seen == ["/first", "/second"])
            server.let(2)
            assert first.read_response().status == second.read_response().status == 200


def test_who_waits_since_before_a_reload_does_not_hold_up_those_for_whom_it_made_room(site, gated):
    old, fresh = gated("old"), gated("fresh")
    weir = queued(site, old)
    both = [{"address": s.address, "max_connections": 1} for s in (old, fresh)]
    with send(weir, "/first") as first:
        wait_until(lambda: old.seen)
        with send(weir, "/second") as second:
            wait_until(lambda: waiting(weir) == 1)
            weir.reload(upstreams={"app": {"servers": both, "queue": {"timeout": "60s"}}})
            for target in ("/third", "/fourth"):
                fresh.let()
                assert weir.get(target).status == 200
            assert fresh.seen == ["/third", "/fourth"] and waiting(weir) == 1
            old.let(2)
            assert first.read_response().status == second.read_response().status == 200


def test_when_the_last_server_goes_down_those_that_wait_are_told(site, gated):
    server = gated()
    weir = queued(site, server)
    with send(weir, "/first") as first:
        wait_until(lambda: server.seen)
        with send(weir, "/second") as second:
            wait_until(lambda: waiting(weir) == 1)
            weir.admin.request("PATCH", f"/api/v1/upstreams/app/servers/{server.address}", body={"state": "drain"})
            assert second.read_response().status == 503
            server.let()
            assert first.read_response().status == 200


def test_streams_that_wait_get_to_a_server_that_is_added(site, tcp_backend):
    servers = [tcp_backend(b"hello") for _ in range(2)]
    weir = site([], {"db": {"servers": [{"address": servers[0].address, "max_connections": 1}], "queue": {"timeout": "60s"}}},
                {"db": {"protocol": "tcp", "upstream": "db"}})
    first = weir.client("db")
    assert first.read_exact(5) == b"hello"
    second = weir.client("db")
    wait_until(lambda: weir.admin.metrics().sum("weir_upstream_queue", upstream="db") == 1)
    assert weir.admin.request("POST", "/api/v1/upstreams/db/servers", body={"address": servers[1].address}).status == 201
    assert second.read_exact(5) == b"hello"


def test_streams_wait_too(site, tcp_backend):
    server = tcp_backend(b"hello")
    weir = site([], {"db": {"servers": [{"address": server.address, "max_connections": 1}], "queue": {"timeout": "60s"}}},
                {"db": {"protocol": "tcp", "upstream": "db"}}, workers=2)
    line = lambda: weir.admin.metrics().sum("weir_upstream_queue", upstream="db")
    first = weir.client("db")
    assert first.read_exact(5) == b"hello"
    second = weir.client("db")
    wait_until(lambda: line() == 1)
    gone = weir.client("db")
    wait_until(lambda: line() == 2)
    gone.reset()
    wait_until(lambda: line() == 1)
    gone = weir.client("db")
    wait_until(lambda: line() == 2)
    gone.close()
    wait_until(lambda: line() == 1)
    first.close()
    assert second.read_exact(5) == b"hello"
    second.close()
    wait_until(lambda: line() == 0)
