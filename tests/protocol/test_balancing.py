"""Which server gets a request: policies, backups, limits, health, and what happens when one cannot be reached."""

import collections
import threading

import pytest

from harness import HttpBackend, Reply, SCALE, free_port, wait_until
from harness.raw_server import serving

FAST = {"interval": "100ms", "timeout": "3s", "rise": 2, "fall": 2}


def balanced(site, servers, routes=None, **upstream):
    rest = {k: upstream.pop(k) for k in ("workers", "timeouts") if k in upstream}
    return site(routes or [{"upstream": "app"}], {"app": {"servers": [s if isinstance(s, dict) else {"address": s} for s in servers], **upstream}}, **rest)


def ask(weir, count):
    """The names of the servers that answered, over one connection."""
    with weir.client() as client:
        return [client.get().text for _ in range(count)]


@pytest.fixture
def three(http_backend):
    return [http_backend(name) for name in "abc"]


class Holding:
    """A backend that holds every request until release() - the one in flight is counted."""

    def __init__(self, make, name):
        self.gate = threading.Event()
        self.now = self.most = 0
        self.lock = threading.Lock()
        self.backend = make(name, handler=self._handle)
        self.address = self.backend.address

    def _handle(self, request):
        if request.target.startswith("/quick"):
            return Reply(body=self.backend.name.encode())
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self.gate.wait(30 * SCALE)
        with self.lock:
            self.now -= 1
        return Reply(body=self.backend.name.encode())

    def release(self):
        self.gate.set()


@pytest.fixture
def holding(http_backend):
    made = []

    def make(name):
        made.append(Holding(http_backend, name))
        return made[-1]
    yield make
    for each in made:
        each.release()


# -- round robin -------------------------------------------------------------------------------------------------------------

def test_round_robin_takes_servers_in_turn(site, three):
    got = ask(balanced(site, [b.address for b in three], workers=1), 12)
    assert all(set(got[n:n + 3]) == set("abc") for n in range(10))


def test_round_robin_weights_are_kept_and_spread_smoothly(site, three):
    weir = balanced(site, [{"address": b.address, "weight": w} for b, w in zip(three, (5, 1, 1))], workers=1)
    got = ask(weir, 28)
    for n in range(0, 28, 7):
        assert collections.Counter(got[n:n + 7]) == {"a": 5, "b": 1, "c": 1}
    assert "bb" not in "".join(got) and "cc" not in "".join(got) and "aaaaa" not in "".join(got)
    assert "bc" not in "".join(got), "smooth: the light ones do not stand together"


def test_weights_of_1_and_3_are_kept(site, three):
    weir = balanced(site, [{"address": three[0].address, "weight": 1}, {"address": three[1].address, "weight": 3}], workers=1)
    assert collections.Counter(ask(weir, 40)) == {"a": 10, "b": 30}


def test_round_robin_over_workers_is_even(site, three):
    weir = balanced(site, [b.address for b in three])
    for _ in range(60):
        weir.get()
    counts = [len(b.requests) for b in three]
    assert sum(counts) == 60 and max(counts) - min(counts) <= 12


# -- least connections ------------------------------------------------------------------------------------------------------------

def in_flight(weir, count):
    clients = [weir.client() for _ in range(count)]
    for client in clients:
        client.send_request()
    return clients


def test_least_connections_are_exact_across_workers(site, holding):
    servers = [holding(name) for name in "ab"]
    weir = balanced(site, [s.address for s in servers], balance="least_connections")
    clients = in_flight(weir, 12)
    wait_until(lambda: sum(s.now for s in servers) == 12)
    assert [s.now for s in servers] == [6, 6]
    for server in servers:
        server.release()
    assert all(c.read_response().status == 200 for c in clients)


def test_least_connections_count_weights(site, holding):
    servers = [holding(name) for name in "ab"]
    weir = balanced(site, [{"address": servers[0].address, "weight": 2}, {"address": servers[1].address, "weight": 1}], balance="least_connections")
    in_flight(weir, 9)
    wait_until(lambda: sum(s.now for s in servers) == 9)
    assert [s.now for s in servers] == [6, 3]
    for server in servers:
        server.release()


def test_least_connections_avoid_a_busy_server(site, holding):
    busy, free = holding("busy"), holding("free")
    weir = balanced(site, [busy.address, free.address], balance="least_connections")
    first = in_flight(weir, 1)
    wait_until(lambda: busy.now + free.now == 1)
    idle = "free" if busy.now else "busy"
    with weir.client() as client:
        assert {client.get("/quick").text for _ in range(10)} == {idle}
    busy.release()
    free.release()
    assert first[0].read_response().status == 200


# -- backup and max_connections --------------------------------------------------------------------------------------------------------

def test_a_backup_gets_nothing_while_others_live(site, three):
    weir = balanced(site, [three[0].address, {"address": three[1].address, "backup": True}], workers=1)
    assert set(ask(weir, 20)) == {"a"}


def test_a_backup_takes_over_when_no_other_lives(site, three):
    weir = balanced(site, [f"127.0.0.1:{free_port()}", {"address": three[1].address, "backup": True}],
                    health_check={"type": "tcp", **FAST}, workers=1)
    wait_until(lambda: set(ask(weir, 3)) == {"b"})


def test_max_connections_are_never_exceeded(site, holding):
    servers = [holding(name) for name in "ab"]
    weir = balanced(site, [{"address": s.address, "max_connections": 2} for s in servers])
    clients = in_flight(weir, 8)
    wait_until(lambda: sum(s.now for s in servers) == 4)
    for server in servers:
        server.release()
    statuses = [c.read_response(seconds=10).status for c in clients]
    assert all(s.most <= 2 for s in servers)
    assert statuses.count(200) >= 4 and set(statuses) <= {200, 503}


def test_max_connections_leave_room_again_when_a_request_has_ended(site, holding):
    server = holding("a")
    weir = balanced(site, [{"address": server.address, "max_connections": 1}])
    clients = in_flight(weir, 3)
    wait_until(lambda: server.now == 1)
    server.release()
    assert 200 in [c.read_response(seconds=10).status for c in clients]
    assert server.most == 1
    assert weir.get().status == 200


# -- health -------------------------------------------------------------------------------------------------------------------------------

class Patient:
    """A backend whose /healthz says what the test wants."""

    def __init__(self, make, name):
        self.status, self.probes = "200 OK", []
        self.backend = make(name, handler=self._handle)
        self.address, self.name = self.backend.address, name

    def _handle(self, request):
        if request.target == "/healthz":
            self.probes.append(request)
            return Reply(status=self.status) if self.status else None
        return Reply(body=self.name.encode())


@pytest.fixture
def patient(http_backend):
    return lambda name: Patient(http_backend, name)


HTTP_CHECK = {"type": "http", "path": "/healthz", **FAST}


def test_a_server_that_fails_its_check_leaves_and_returns(site, patient):
    good, bad = patient("good"), patient("bad")
    weir = balanced(site, [good.address, bad.address], health_check=HTTP_CHECK, workers=1)
    wait_until(lambda: set(ask(weir, 4)) == {"good", "bad"})
    bad.status = "500 Sick"
    wait_until(lambda: weir.admin.server_is_up("app", bad.address) is False)
    assert set(ask(weir, 10)) == {"good"}
    bad.status = "200 OK"
    wait_until(lambda: weir.admin.server_is_up("app", bad.address) is True)
    assert set(ask(weir, 4)) == {"good", "bad"}


def test_one_failed_check_is_not_enough(site, patient):
    good, blip = patient("good"), patient("blip")
    weir = balanced(site, [good.address, blip.address], health_check={**HTTP_CHECK, "fall": 3}, workers=1)
    wait_until(lambda: len(blip.probes) >= 3)
    count = len(blip.probes)
    blip.status = "500 Blip"
    wait_until(lambda: len(blip.probes) == count + 1, every=0.002)
    blip.status = "200 OK"
    wait_until(lambda: len(blip.probes) >= count + 5)
    assert weir.admin.server_is_up("app", blip.address) is True


def test_a_check_that_gets_no_answer_fails(site, raw_server, patient):
    mute = raw_server()
    good = patient("good")
    weir = balanced(site, [good.address, mute.address], health_check=HTTP_CHECK, workers=1)
    wait_until(lambda: weir.admin.server_is_up("app", mute.address) is False, 30)
    assert set(ask(weir, 6)) == {"good"}


@pytest.mark.parametrize("status,expect,up", [("204 X", [204], True), ("200 X", [204], False), ("302 X", ["200-399"], True), ("404 X", ["200-399"], False)])
def test_expect_says_which_status_is_healthy(site, patient, status, expect, up):
    server = patient("a")
    server.status = status
    weir = balanced(site, [server.address], health_check={**HTTP_CHECK, "expect": expect})
    wait_until(lambda: len(server.probes) >= 4)
    wait_until(lambda: weir.admin.server_is_up("app", server.address) is up)


def test_the_check_asks_for_its_path_and_host(site, patient):
    server = patient("a")
    balanced(site, [server.address], health_check={**HTTP_CHECK, "headers": {"host": "api.internal", "x-check": "1"}})
    wait_until(lambda: server.probes)
    assert server.probes[0].method in ("GET", "HEAD") and server.probes[0]["host"] == "api.internal" and server.probes[0]["x-check"] == "1"


def test_a_tcp_check_follows_the_port(site, http_backend):
    good = http_backend("good")
    port = free_port()
    weir = balanced(site, [good.address, f"127.0.0.1:{port}"], health_check={"type": "tcp", **FAST}, workers=1)
    wait_until(lambda: weir.admin.server_is_up("app", f"127.0.0.1:{port}") is False)
    with HttpBackend("late", port=port) as late:
        wait_until(lambda: weir.admin.server_is_up("app", late.address) is True)
        assert set(ask(weir, 4)) == {"good", "late"}
    wait_until(lambda: weir.admin.server_is_up("app", f"127.0.0.1:{port}") is False)
    assert set(ask(weir, 4)) == {"good"}


def test_a_tls_check_needs_a_handshake(site, http_backend, tcp_backend, authority):
    secure = http_backend("secure", tls=serving(*authority.leaf("localhost")))
    plain = tcp_backend()
    weir = balanced(site, [secure.address, plain.address], health_check={"type": "tls", **FAST}, tls={"verify": False})
    wait_until(lambda: weir.admin.server_is_up("app", plain.address) is False)
    assert weir.admin.server_is_up("app", secure.address) is True


def test_with_no_healthy_server_it_is_a_503(site, patient):
    server = patient("a")
    server.status = "500 Sick"
    weir = balanced(site, [server.address], health_check=HTTP_CHECK)
    wait_until(lambda: weir.admin.server_is_up("app", server.address) is False)
    assert weir.get().status == 503


def test_a_dead_server_costs_no_request_even_before_it_is_found_dead(site, three):
    """Connect failures go on to the next server while the checks still believe in the dead one."""
    weir = balanced(site, [b.address for b in three], health_check={"type": "tcp", "interval": "30s", "fall": 3}, workers=1)
    assert set(ask(weir, 6)) == set("abc")
    three[0].close()
    assert set(ask(weir, 20)) == {"b", "c"}


# -- servers that cannot be reached -------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_connect_failure_goes_on_to_the_next_server(site, three, method):
    weir = balanced(site, [f"127.0.0.1:{free_port()}", three[0].address], workers=1)
    with weir.client() as client:
        for _ in range(6):
            answer = client.request(method, "/echo", body=b"body" if method == "POST" else None)
            assert answer.status == 200 and (method == "GET" or answer.body == b"body")


def test_with_every_server_dead_it_is_a_502(site):
    weir = balanced(site, [f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"])
    for _ in range(3):
        assert weir.get().status in (502, 503)


def test_a_name_that_does_not_resolve_is_a_server_that_is_down(site, three):
    weir = balanced(site, ["no-such-name.invalid:80", three[0].address], workers=1)
    assert set(ask(weir, 6)) == {"a"}


def test_a_name_that_does_not_resolve_alone_is_no_failed_start(site):
    weir = balanced(site, ["no-such-name.invalid:80"])
    assert weir.get().status in (502, 503)


def test_a_name_is_resolved(site, three):
    weir = balanced(site, [f"localhost:{three[0].port}"])
    wait_until(lambda: weir.get().text == "a")


def test_a_unix_socket_is_a_server(site, tmp_path):
    import socket
    path = str(tmp_path / "app.sock")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()

        def serve():
            connection, _ = listening.accept()
            data = b""
            while b"\r\n\r\n" not in data:
                data += connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nunix")
            connection.close()
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        weir = balanced(site, [f"unix:{path}"])
        assert weir.get().body == b"unix"


# -- retries -----------------------------------------------------------------------------------------------------------------------------------------

def closing_after(raw_server, count):
    """A server that answers `count` requests on a connection and closes without a word when the next comes. Records what it got."""
    got = []

    def serve(connection):
        for _ in range(count):
            request = connection.read_request(30)
            got.append(request)
            connection.respond(body="ok")
        got.append(connection.read_request(30))
    return raw_server(serve), got


def test_a_request_on_a_kept_connection_that_was_closed_is_sent_again(site, raw_server):
    server, got = closing_after(raw_server, 1)
    weir = balanced(site, [server.address], workers=1)
    with weir.client() as client:
        for n in range(6):
            assert client.get(f"/{n}").status == 200
    assert [r.target for r in got].count("/1") == 2, "sent once in vain and once more"


def test_a_post_on_a_kept_connection_that_was_closed_is_not_sent_twice(site, raw_server):
    server, got = closing_after(raw_server, 1)
    weir = balanced(site, [server.address], workers=1)
    with weir.client() as client:
        assert client.get("/first").status == 200
        assert client.request("POST", "/once", body=b"x").status in (200, 502)
    assert [r.target for r in got].count("/once") == 1


def test_a_kept_connection_closed_while_idle_harms_no_request(site, http_backend):
    backend = http_backend()
    weir = balanced(site, [backend.address], workers=1)
    with weir.client() as client:
        for n in range(10):
            assert client.request("POST", "/echo", body=b"%d" % n).body == b"%d" % n
            backend.drop_connections()
            wait_until(lambda: weir.admin.metrics().sum("weir_upstream_connections", upstream="app", state="idle") == 0)


def test_a_post_is_not_retried_once_it_was_sent(site, http_backend):
    seen = []
    first = http_backend("first", handler=lambda r: seen.append("first"))
    second = http_backend("second", handler=lambda r: seen.append("second"))
    weir = balanced(site, [first.address, second.address], workers=1)
    answer = weir.get(method="POST", body=b"charge the card")
    assert answer.status == 502 and len(seen) == 1


def test_a_post_without_a_body_is_not_retried_either(site, raw_server):
    seen = []

    def serve(connection):
        seen.append(connection.read_request_head())

    first, second = raw_server(serve), raw_server(serve)
    weir = balanced(site, [first.address, second.address], workers=1)
    with weir.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: t.example\r\n\r\n")
        assert client.read_response("POST").status == 502
    assert len(seen) == 1


def test_a_response_that_has_begun_is_never_retried(site, raw_server, http_backend):
    def serve(connection):
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\npart")

    other = http_backend("other")
    weir = balanced(site, [raw_server(serve).address, other.address], workers=1)
    answers = [weir.get(), weir.get()]
    cut = [a for a in answers if not a.is_complete]
    assert len(cut) == 1 and cut[0].body == b"part" and len(other.requests) == 1


def test_requests_of_a_server_are_counted_by_status(site, three):
    weir = balanced(site, [three[0].address])
    with weir.client() as client:
        client.get("/status/200")
        client.get("/status/404")
    weir.await_metric("weir_upstream_requests_total", 1, upstream="app", server=three[0].address, status=404)
    weir.await_metric("weir_upstream_requests_total", 2, upstream="app")


def test_a_dead_server_without_a_check_costs_a_try_now_and_then_and_not_every_other_request(site, http_backend):
    good, dead = http_backend("good"), f"127.0.0.1:{free_port()}"
    weir = balanced(site, [dead, good.address], workers=1)
    assert ask(weir, 200) == ["good"] * 200
    assert weir.admin.metrics().sum("weir_upstream_connect_failures_total", upstream="app", server=dead) < 30
