"""Every limit and timeout of the reference, with its status code. Timeouts are set short; how soon they strike is bounded loosely above
and, where that matters, below."""

import socket
import time

import pytest

from harness import RawClient, Reply, SCALE, free_port, wait_until
from harness.wire import Closed

OK = {"respond": {"status": 200, "body": "ok"}}


class Stopwatch:
    def __enter__(self):
        self.begin = time.monotonic()
        return self

    def __exit__(self, *_):
        self.seconds = time.monotonic() - self.begin


# -- sizes -------------------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def small(module_site, module_backend):
    """Every size limit set low, globally; the listener `wide` and the route /wide have wider ones."""
    return module_site(
        [{"upstream": "app"}, {"path": "/wide", "upstream": "app", "limits": {"body_size": 5000}}],
        {"app": module_backend.address},
        {"web": {}, "wide": {"limits": {"request_line": 4000, "header_size": 16000, "header_count": 60, "body_size": 2000}}},
        limits={"request_line": 200, "header_size": 2000, "header_count": 20, "body_size": 1000})


def line_of(size):
    """A request target that makes the request line `size` bytes long, CRLF included."""
    return "/" + "a" * (size - len("GET / HTTP/1.1\r\n"))


def test_a_request_line_within_the_limit_is_served(small):
    assert small.get(line_of(190)).status == 200


def test_a_request_line_past_the_limit_is_a_414(small):
    assert small.get(line_of(210)).status == 414


def test_a_listener_may_allow_a_longer_request_line(small):
    assert small.get(line_of(3000), "wide").status == 200
    assert small.get(line_of(5000), "wide").status == 414


def test_a_head_past_the_limit_is_a_431(small):
    assert small.get(headers=[("X-A", "a" * 1500)]).status == 200
    assert small.get(headers=[("X-A", "a" * 2500)]).status == 431


def test_a_listener_may_allow_a_larger_head(small):
    assert small.get(listener="wide", headers=[("X-A", "a" * 8000)]).status == 200


def test_too_many_headers_are_a_431(small):
    assert small.get(headers=[(f"X-{n}", "y") for n in range(15)]).status == 200
    assert small.get(headers=[(f"X-{n}", "y") for n in range(25)]).status == 431


def test_a_listener_may_allow_more_headers(small):
    assert small.get(listener="wide", headers=[(f"X-{n}", "y") for n in range(50)]).status == 200
    assert small.get(listener="wide", headers=[(f"X-{n}", "y") for n in range(70)]).status == 431


@pytest.mark.parametrize("listener,path,fits,exceeds", [("web", "/echo", 1000, 1001), ("wide", "/echo", 2000, 2001), ("web", "/wide/echo", 5000, 5001)])
def test_a_length_past_body_size_is_a_413(small, listener, path, fits, exceeds):
    with small.client(listener) as client:
        assert client.request("POST", path, body=b"x" * fits).body == b"x" * fits
        assert client.request("POST", path, body=b"x" * exceeds).status == 413


def test_a_length_past_body_size_is_refused_before_the_body_is_sent(small, module_backend):
    module_backend.forget()
    with small.client() as client:
        client.send_request("POST", "/echo", [("Content-Length", "1000000"), ("Expect", "100-continue")])
        answer = client.read_response("POST")
    assert answer.status == 413 and answer.interim == []
    assert not module_backend.requests


def test_a_chunked_body_past_body_size_is_a_413(small, module_backend):
    module_backend.forget()
    with small.client() as client:
        client.send_request("POST", "/echo", [("Transfer-Encoding", "chunked")])
        client.send_quietly(*[b"64\r\n%s\r\n" % (b"x" * 100)] * 20, b"0\r\n\r\n")
        assert client.read_response("POST").status == 413
    assert not any(r.is_complete for r in module_backend.requests)


def test_a_chunked_body_within_body_size_is_served(small):
    with small.client() as client:
        client.send_request("POST", "/echo", [("Transfer-Encoding", "chunked")])
        client.send(*[b"64\r\n%s\r\n" % (b"x" * 100)] * 10, b"0\r\n\r\n")
        assert client.read_response("POST").body == b"x" * 1000


def test_an_unknown_expectation_is_a_417(small):
    assert small.get(headers=[("Expect", "200-maybe")]).status == 417


# -- the client is slow -----------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def hasty(module_site, module_backend):
    return module_site([{"upstream": "app"}], {"app": module_backend.address},
                       timeouts={"header": "400ms", "body": "400ms", "keepalive": "600ms"})


@pytest.mark.parametrize("start", [b"G", b"GET / HTTP/1.1", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: t.example\r\nX-"])
def test_a_head_that_does_not_end_in_time_is_a_408(hasty, start):
    with hasty.client() as client:
        client.send(start)
        with Stopwatch() as watch:
            answer = client.read_response()
        assert answer.status == 408 and answer.will_close
        client.expect_end()
    assert 0.2 < watch.seconds < 4 * SCALE


def test_a_head_that_trickles_in_is_not_given_more_time(hasty):
    with hasty.client() as client, Stopwatch() as watch:
        client.send(b"GET / HTTP/1.1\r\n")
        answer = None
        for n in range(400):
            if not client.send_quietly(b"X-%d: y\r\n" % n):
                break
            try:
                client.expect_silence(0.05)
            except AssertionError:
                answer = client.read_response_or_end()
                break
    assert watch.seconds < 5 * SCALE
    assert answer is None or answer.status == 408


def test_a_second_head_on_a_connection_is_timed_too(hasty):
    with hasty.client() as client:
        assert client.get("/bytes/1").status == 200
        client.send(b"GET / HT")
        assert client.read_response().status == 408


def test_a_client_that_sends_nothing_is_closed_without_an_answer(hasty):
    with hasty.client() as client:
        assert client.expect_end() == "closed"


def test_an_idle_client_connection_is_closed_without_an_answer(hasty):
    with hasty.client() as client:
        assert client.get("/bytes/1").status == 200
        with Stopwatch() as watch:
            assert client.expect_end() == "closed"
    assert 0.3 < watch.seconds < 4 * SCALE


def test_a_client_connection_in_use_is_not_idle(hasty):
    """Requests within the keepalive time, for longer than it."""
    with hasty.client() as client:
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            assert client.get("/bytes/1").status == 200


def test_a_request_body_that_stalls_is_a_408_and_never_complete(hasty, module_backend):
    module_backend.forget()
    with hasty.client() as client:
        client.send_request("POST", "/echo", [("Content-Length", "100")])
        client.send(b"only a part")
        answer = client.read_response_or_end("POST")
        assert answer is not None and answer.status == 408
        client.read_to_end()
    wait_until(lambda: not any(r.is_complete for r in module_backend.requests))


def test_a_request_body_that_moves_may_take_longer_than_the_timeout(hasty):
    with hasty.client() as client:
        client.send_request("POST", "/echo", [("Content-Length", "10")])
        for n in range(10):
            client.send(b"x")
            try:
                client.expect_silence(0.1 / SCALE)
            except AssertionError:
                assert n == 9
                break
        assert client.read_response("POST").body == b"x" * 10


def test_a_tls_handshake_that_does_not_come_is_ended(site, localhost_cert):
    weir = site([OK], listeners={"web": {"tls": {"certificates": [{"cert": localhost_cert[0], "key": localhost_cert[1]}]}}},
                timeouts={"header": "400ms", "keepalive": "600ms"})
    with weir.client() as client:
        client.send(b"\x16\x03\x01")
        client.read_to_end(8)


# -- the server is slow -------------------------------------------------------------------------------------------------------------

def test_a_response_that_does_not_come_in_time_is_a_504(site, server):
    weir = site([{"upstream": "app"}], {"app": server.address}, timeouts={"response": "400ms"})
    with weir.client() as client, Stopwatch() as watch:
        client.send_request("POST", "/", body=b"x")
        up = server.accept()
        up.read_request()
        assert client.read_response("POST").status == 504
        up.expect_end()
    assert 0.2 < watch.seconds < 4 * SCALE


def test_a_response_head_that_trickles_is_a_504(site, server):
    weir = site([{"upstream": "app"}], {"app": server.address}, timeouts={"response": "400ms"})
    with weir.client() as client:
        client.send_request("POST", "/", body=b"x")
        up = server.accept()
        up.read_request()
        up.send(b"HTTP/1.1 200 OK\r\nX-A: ")
        assert client.read_response("POST").status == 504


def test_a_route_may_wait_longer_for_its_response(site, http_backend):
    import threading
    gate = threading.Event()
    backend = http_backend(handler=lambda r: (gate.wait(0.7), Reply(body=b"late"))[1])
    weir = site([{"upstream": "app"}, {"path": "/slow", "upstream": "app", "timeouts": {"response": "30s"}}],
                {"app": backend.address}, timeouts={"response": "200ms"})
    assert weir.get("/slow", seconds=10).body == b"late"
    assert weir.get("/fast", seconds=10).status == 504


def test_the_timeout_of_a_route_bounds_the_whole_exchange(site, server):
    weir = site([{"upstream": "app", "timeout": "500ms"}], {"app": server.address})
    with weir.client() as client:
        client.send_request("POST", "/", body=b"x")
        server.accept().read_request()
        assert client.read_response("POST").status == 504


def test_the_timeout_of_a_route_cuts_a_response_that_has_begun(site, server):
    weir = site([{"upstream": "app", "timeout": "500ms"}], {"app": server.address})
    with weir.client() as client:
        client.send_request()
        up = server.accept()
        up.read_request()
        up.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart")
        answer = client.read_response()
        assert answer.status == 200 and not answer.is_complete


def test_a_response_body_that_stalls_is_cut(site, server):
    weir = site([{"upstream": "app"}], {"app": server.address}, timeouts={"body": "400ms"})
    with weir.client() as client:
        client.send_request()
        up = server.accept()
        up.read_request()
        up.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n")
        answer = client.read_response()
        assert answer.status == 200 and not answer.is_complete
        up.expect_end()


def test_a_connect_that_hangs_is_ended_in_time(site):
    """A listening socket whose queue is full drops SYNs: connecting to it hangs."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
            fillers.append(filler)
        weir = site([{"upstream": "app"}], {"app": f"127.0.0.1:{full.getsockname()[1]}"}, timeouts={"connect": "400ms"})
        with Stopwatch() as watch:
            assert weir.get(seconds=10).status in (502, 504)
        assert watch.seconds < 6 * SCALE
        for filler in fillers:
            filler.close()


def test_an_idle_upstream_connection_is_closed(site, server):
    weir = site([{"upstream": "app"}], {"app": server.address}, timeouts={"upstream_keepalive": "500ms"})
    with weir.client() as client:
        client.send_request()
        up = server.accept()
        up.read_request()
        up.respond()
        assert client.read_response().status == 200
        with Stopwatch() as watch:
            assert up.expect_end() == "closed"
        assert 0.2 < watch.seconds < 4 * SCALE


# -- numbers of connections ----------------------------------------------------------------------------------------------------------

def assert_refused(port, **options):
    """A connection past a limit is closed, at most with a 503 or 429."""
    with RawClient(port, **options) as client:
        client.send_quietly(b"GET / HTTP/1.1\r\nHost: t.example\r\n\r\n")
        try:
            assert client.read_response().status in (429, 503)
        except Closed:
            pass


def test_connections_past_the_limit_are_refused_and_later_ones_served(site):
    weir = site([OK], limits={"connections": 3})
    clients = [weir.client() for _ in range(3)]
    for client in clients:
        assert client.get().status == 200
    for _ in range(3):
        assert_refused(weir.port())
    for client in clients:
        assert client.get().status == 200
        client.close()
    wait_until(lambda: weir.get().status == 200)


def test_connections_per_ip_limit_one_address_alone(site):
    weir = site([OK], limits={"connections_per_ip": 2})
    clients = [weir.client(source="127.0.0.2") for _ in range(2)]
    for client in clients:
        assert client.get().status == 200
    assert_refused(weir.port(), source="127.0.0.2")
    assert weir.get(source="127.0.0.3").status == 200
    for client in clients:
        client.close()
    wait_until(lambda: weir.get(source="127.0.0.2").status == 200)


def test_a_listener_may_have_a_connection_limit_of_its_own(site):
    weir = site([OK], listeners={"web": {"limits": {"connections": 1}}, "other": {}})
    with weir.client() as client:
        assert client.get().status == 200
        assert_refused(weir.port())
        assert weir.get(listener="other").status == 200


def test_a_tcp_listener_has_a_connection_limit_too(site, tcp_backend):
    weir = site(None, {"db": tcp_backend().address},
                {"db": {"protocol": "tcp", "upstream": "db", "limits": {"connections": 1}}})
    with weir.client("db") as first:
        first.send(b"x")
        first.read_exact(1)
        with weir.client("db") as second:
            second.send_quietly(b"y")
            assert second.read_to_end() == b""


def test_a_dead_upstream_answers_at_once(site):
    weir = site([{"upstream": "app"}], {"app": f"127.0.0.1:{free_port()}"})
    with Stopwatch() as watch:
        assert weir.get().status in (502, 503)
    assert watch.seconds < 3 * SCALE
