"""The harness itself: what the other tests stand on. Needs no binary."""

import threading

import pytest

from harness import CacheStatus, Fields, HttpBackend, Metrics, ProtocolError, RawClient, RawServer, TcpBackend, cache_status, free_port
from harness import message
from harness.http_backend import pattern
from harness.raw_client import trusting
from harness.raw_server import serving
from harness.wire import Closed


def exchange(answer, method="GET", end="close"):
    with RawServer() as server, RawClient(server.port) as client:
        client.send_request(method)
        connection = server.accept()
        assert connection.read_request().method == method
        connection.send(answer)
        getattr(connection, end)()
        return client.read_response(method)


def test_a_request_and_its_answer_are_read_on_both_ends():
    answer = exchange(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert (answer.status, answer.body, answer.is_complete, answer.framing) == (200, b"ok", True, "length")


def test_a_cut_length_body_is_seen_as_cut():
    assert not exchange(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok").is_complete


@pytest.mark.parametrize("body", [b"5\r\nab", b"2\r\nab\r\n", b"2\r\nab\r\n0\r\n", b""])
def test_a_cut_chunked_body_is_seen_as_cut(body):
    assert not exchange(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body).is_complete


def test_a_chunked_body_with_trailers_is_read():
    answer = exchange(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX-T: 1\r\n\r\n")
    assert (answer.body, answer.trailers, answer.is_complete) == (b"ab", [("X-T", "1")], True)


def test_a_body_until_close_is_complete_by_fin_and_not_by_rst():
    head = b"HTTP/1.1 200 OK\r\n\r\n"
    assert exchange(head + b"all").is_complete
    with RawServer() as server, RawClient(server.port) as client:
        client.send_request()
        connection = server.accept()
        connection.read_request()
        connection.send(head)
        client.read_until(b"\r\n\r\n")
        connection.reset()
        assert client.expect_end() == "reset"


def test_interim_responses_are_kept_apart():
    answer = exchange(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n")
    assert answer.status == 204 and answer.interim == [(103, [("Link", "x")])]


@pytest.mark.parametrize("answer", [
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nbad name: 1\r\n\r\n",
    b"HTTP/1.1 204 X\r\nContent-Length: 1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"HTTQ/1.1 200 OK\r\n\r\n",
])
def test_a_malformed_answer_is_an_error(answer):
    with pytest.raises(ProtocolError):
        exchange(answer)


def test_the_backend_keeps_connections_and_counts():
    with HttpBackend("b") as backend, RawClient(backend.port) as client:
        assert client.get("/").body == b"b"
        assert client.request("POST", "/echo", body=b"xyz").body == b"xyz"
        assert client.get("/chunked/3000").body == pattern(3000)
        assert client.request("HEAD", "/").body == b""
        assert client.get("/status/404").status == 404
        assert backend.per_connection == [5] and not backend.violations


def test_the_backend_tells_of_garbage():
    with HttpBackend("b") as backend, RawClient(backend.port) as client:
        client.send(b"garbage\r\n\r\n")
        client.read_to_end()
        assert backend.violations


def test_the_tcp_backend_echoes_and_half_closes():
    with TcpBackend(b"hi ") as backend, RawClient(backend.port) as client:
        client.send(b"there")
        client.half_close()
        assert client.read_to_end() == b"hi there"


def test_silence_and_no_silence():
    with RawServer() as server, RawClient(server.port) as client:
        connection = server.accept()
        client.expect_silence(0.05)
        connection.send(b"x")
        with pytest.raises(AssertionError):
            client.expect_silence(1)


def test_deadlines_pass():
    with RawServer() as server, RawClient(server.port) as client:
        server.accept()
        with pytest.raises(TimeoutError):
            client.read_exact(1, 0.05)


def test_a_peer_that_goes_is_told():
    with RawServer() as server, RawClient(server.port) as client:
        server.accept().close()
        with pytest.raises(Closed):
            client.read_exact(1)


def test_tls_end_to_end(authority):
    cert, key = authority.leaf("t.example", kind="rsa")
    with HttpBackend("tls", tls=serving(cert, key)) as backend:
        with RawClient(backend.port, tls=trusting(authority.file), server_name="t.example") as client:
            assert client.get("/").body == b"tls"


def test_a_truncated_tls_stream_is_told(authority):
    cert, key = authority.leaf("t.example")
    with RawServer(tls=serving(cert, key)) as server:
        with RawClient(server.port, tls=trusting(authority.file), server_name="t.example") as client:
            connection = server.accept()
            connection.send(b"abc")
            connection.sock.shutdown(2)
            client.read_exact(3)
            client.read_to_end()
            assert client.ended == "truncated"


def test_ports_are_never_given_twice():
    found = []
    threads = [threading.Thread(target=lambda: found.append(free_port())) for _ in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert len(set(found)) == 8


def test_metrics_are_parsed_and_summed():
    m = Metrics('# TYPE a counter\na{x="1",y="a\\"b"} 2\na{x="2"} 3\nb 1.5\n')
    assert m.sum("a") == 5 and m.sum("a", x=1) == 2 and m.sum("b") == 1.5 and m.types["a"] == "counter"
    with pytest.raises(AssertionError):
        Metrics("a b c\n")


def test_framing_of_requests():
    fields = message.parse_fields(b"Content-Length: 3\r\n")
    assert message.framing(fields) == ("length", 3)
    assert message.framing(message.Fields()) == ("none", 0)


def test_cache_status_is_read_strictly():
    status = CacheStatus('weir; fwd=uri-miss; stored; ttl=-5; detail="a \\"b, c"; key=abc/d')
    assert status == {"fwd": "uri-miss", "stored": True, "ttl": -5, "detail": 'a "b, c', "key": "abc/d"} and status.name == "weir"
    status = cache_status(Fields([("Cache-Status", 'first; hit, "Weir x"; hit; ttl=3; detail="x, y"')]))
    assert status.name == "Weir x" and status.is_hit and status["ttl"] == 3
    for bad in ("weir; hit; fwd=miss", "weir", "weir; Hit", "weir hit", ""):
        with pytest.raises(ProtocolError):
            cache_status(Fields([("Cache-Status", bad)]))
