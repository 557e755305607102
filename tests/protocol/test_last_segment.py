"""A connection's last bytes and its end leave in one segment: no packet of its own for the end, and none to acknowledge it."""

import socket
import ssl
import struct

import pytest

from harness.http_backend import pattern

TRIES = 20


def segments_in(sock):
    """How many segments have come, by the kernel's count (struct tcp_info)."""
    return struct.unpack_from("I", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192), 140)[0]


def fewest_segments(weir, listener, ask):
    """Of some tries: the kernel may acknowledge the request apart, or again."""
    counts = []
    for _ in range(TRIES):
        with weir.client(listener) as client:
            ask(client)
            client.read_to_end(20)
            assert client.ended == "closed"
            counts.append(segments_in(client.sock))
    return min(counts)


def ask_and_close(target):
    return lambda client: client.send(f"GET {target} HTTP/1.1\r\nHost: t.example\r\nConnection: close\r\n\r\n".encode())


@pytest.mark.parametrize("target", ["/app/bytes/1024", "/own", "/app/chunked/1024"])
def test_an_answer_that_ends_its_connection_comes_with_the_end(site, http_backend, target):
    routes = [{"path": "/app", "upstream": "app", "rewrite": {"prefix": "/"}}, {"path": "/own", "respond": {"body": "own\n"}}]
    weir = site(routes, {"app": http_backend().address}, workers=1)
    # SYN and ACK, the acknowledgement of the request, the answer with its end; chunks may come in two
    assert fewest_segments(weir, "web", ask_and_close(target)) <= 3


def test_an_answer_over_tls_comes_with_both_ends(site, http_backend):
    tls = {"tls": {"self_signed": ["localhost"]}}
    weir = site([{"upstream": "app"}], {"app": http_backend().address}, {"plain": {}, "web": tls}, workers=1)
    context = ssl._create_unverified_context()

    def ended_early(close):
        counts = []
        for _ in range(TRIES):
            with weir.client("web", tls=context) as client:
                client.get("/bytes/1")
                before = segments_in(client.sock)
                client.send_request("GET", "/bytes/1024", [("Connection", "close")] if close else [])
                client.read_response()
                if close:
                    client.read_to_end(20)
                counts.append(segments_in(client.sock) - before)
        return min(counts)

    assert ended_early(True) == ended_early(False) == 1


def test_an_answer_over_tcp_comes_with_its_end_when_both_are_there(site, server):
    weir = site(None, {"db": server.address}, {"db": {"protocol": "tcp", "upstream": "db"}}, workers=1)

    def ask(client):
        client.send(b"?")
        up = server.accept()
        up.read_exact(1)
        up.sock.send(pattern(1024), socket.MSG_MORE)
        up.sock.shutdown(socket.SHUT_WR)

    assert fewest_segments(weir, "db", ask) <= 3
