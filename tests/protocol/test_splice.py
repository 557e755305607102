"""Large bodies between plain sockets go by splice(2): they arrive as they were sent, nothing is left behind or taken too much, and
what goes wrong in their middle looks as it does with a copy. A pipe that weir has open afterwards tells that one was used."""

import os
import resource
import threading

import pytest

from harness import SCALE, wait_until
from harness.http_backend import Reply, pattern
from harness.ports import listening_ports
from harness.raw_client import trusting
from harness.wire import Closed

KiB, MiB = 1 << 10, 1 << 20
LARGE = 2 * MiB
# Around the first read, the least that is spliced, the rest that is read, a pipe, a read buffer, and a turn.
SIZES = sorted({base + d for base in (4 * KiB, 16 * KiB, 20 * KiB, 32 * KiB, 64 * KiB, 80 * KiB, 128 * KiB, 256 * KiB, 512 * KiB)
                for d in (-201, -1, 0, 1, 200)} | {100 * KiB, MiB, 3 * MiB + 7})


def descriptors(weir):
    folder = f"/proc/{weir.pid}/fd"
    found = []
    for name in os.listdir(folder):
        try:
            found.append(os.readlink(f"{folder}/{name}"))
        except FileNotFoundError:
            pass
    return found


def pipes(weir):
    return sum(d.startswith("pipe:") for d in descriptors(weir))


def sockets(weir):
    return sum(d.startswith("socket:") for d in descriptors(weir))


def answer_head(size, *fields):
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n" % (size, b"".join(f + b"\r\n" for f in fields))


@pytest.fixture
def raw(site, server):
    """(weir with one worker, the scripted server of its one upstream)"""
    return site([{"upstream": "app"}], {"app": server.address}, workers=1), server


@pytest.fixture
def echo(site, http_backend):
    return site([{"upstream": "app"}], {"app": http_backend().address}, workers=1)


@pytest.fixture
def stream(site, server):
    """(weir, client, the server's end) of one TCP stream."""
    weir = site(None, {"db": server.address}, {"db": {"protocol": "tcp", "upstream": "db"}}, workers=1)
    with weir.client("db") as client:
        client.send(b"!")
        up = server.accept()
        up.read_exact(1)
        yield weir, client, up


def sending(peer, data, then=None):
    """Sends in a thread of its own: the other side reads, or does not."""
    def run():
        peer.send_quietly(data, seconds=60)
        if then:
            then()
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def stalled(peer):
    """Sends until nothing more is taken; the number of bytes."""
    sent = 0
    peer.sock.settimeout(0.3 * SCALE)
    try:
        while sent < 256 * MiB:
            sent += peer.sock.send(b"x" * 65536)
    except OSError:
        pass
    return sent


# -- as they were sent ------------------------------------------------------------------------------------------------------------

def test_responses_of_every_size_arrive_on_one_connection(echo):
    with echo.client() as client:
        for size in SIZES:
            answer = client.get(f"/bytes/{size}", seconds=20)
            assert answer.is_complete and answer.body == pattern(size), size


def test_requests_of_every_size_arrive_on_one_connection(echo):
    with echo.client() as client:
        for size in SIZES:
            answer = client.request("POST", "/echo", body=pattern(size), seconds=20)
            assert answer.is_complete and answer.body == pattern(size), size


@pytest.mark.parametrize("size", [15 * KiB, 100 * KiB, MiB])
def test_a_response_that_comes_in_pieces_arrives(raw, size):
    weir, server = raw
    body = pattern(size)
    with weir.client() as client:
        client.send_request()
        up = server.accept()
        up.read_request()
        up.send(answer_head(size))
        client.read_until(b"\r\n\r\n")
        got = b""
        for at in range(0, size, size // 5 + 1):
            up.send(body[at:at + size // 5 + 1])
            got += client.read_exact(len(body[at:at + size // 5 + 1]))
        assert got == body
        client.send_request()
        up.read_request()  # on the same connection


def test_a_response_until_close_arrives_whole_for_an_http_1_0_client(raw):
    weir, server = raw
    body = pattern(LARGE)
    with weir.client() as client:
        client.send(b"GET / HTTP/1.0\r\nHost: t.example\r\n\r\n")
        up = server.accept()
        up.read_request()
        sending(up, b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body, up.close)
        client.read_until(b"\r\n\r\n")
        assert client.read_to_end(20) == body
        assert client.ended == "closed"
    assert pipes(weir) >= 2


def test_a_stream_arrives_both_ways_at_once(stream):
    weir, client, up = stream
    data = pattern(8 * MiB)
    threads = [sending(client, data, client.half_close), sending(up, data[::-1], up.half_close)]
    got = []
    reader = threading.Thread(target=lambda: got.append(up.read_to_end(60)), daemon=True)
    reader.start()
    assert client.read_to_end(60) == data[::-1]
    reader.join(60 * SCALE)
    assert got == [data]
    [t.join() for t in threads]
    assert pipes(weir) >= 2


def test_small_and_large_messages_take_turns_on_a_stream(stream):
    weir, client, up = stream
    for size in (1, 100, 16 * KiB, 1, 16 * KiB + 1, MiB, 3, 300 * KiB, 1, 16 * KiB - 1):
        data = pattern(size)
        thread = sending(up, data)
        assert client.read_exact(size, 20) == data
        thread.join()
        thread = sending(client, data)
        assert up.read_exact(size, 20) == data
        thread.join()


# -- spliced, or not -------------------------------------------------------------------------------------------------------------------

def test_a_large_response_is_spliced_and_a_small_one_is_not(echo):
    before = pipes(echo)
    with echo.client() as client:
        for size in (0, 1, KiB, 8 * KiB, 15 * KiB):
            client.get(f"/bytes/{size}")
        assert pipes(echo) == before
        client.get(f"/bytes/{LARGE}", seconds=20)
        assert pipes(echo) == before + 2


def test_a_large_request_is_spliced_and_a_small_one_is_not(raw):
    weir, server = raw
    before = pipes(weir)
    with weir.client() as client:
        for size, used in ((KiB, 0), (60 * KiB, 0), (LARGE, 2)):
            thread = sending(client, b"PUT / HTTP/1.1\r\nHost: t.example\r\nContent-Length: %d\r\n\r\n" % size + pattern(size))
            up = up if size != KiB else server.accept()
            assert up.read_request(20).body == pattern(size)
            thread.join()
            up.respond()
            client.read_response("PUT")
            assert pipes(weir) == before + used


def test_small_messages_on_a_stream_are_not_spliced(stream):
    weir, client, up = stream
    before = pipes(weir)
    for _ in range(20):
        up.send(pattern(KiB))
        client.read_exact(KiB)
    assert pipes(weir) == before


@pytest.mark.parametrize("path", ["chunked", "tls"])
def test_what_does_not_go_on_as_it_is_is_not_spliced(site, http_backend, authority, localhost_cert, path):
    listener = {"tls": {"certificates": [{"cert": localhost_cert[0], "key": localhost_cert[1]}]}} if path == "tls" else {}
    tls = trusting(authority.file) if path == "tls" else None
    weir = site([{"upstream": "app"}], {"app": http_backend().address}, {"web": listener}, workers=1)
    before = pipes(weir)
    with weir.client(tls=tls, server_name="localhost" if tls else None) as client:
        for _ in range(2):
            answer = client.get(f"/{'chunked' if path == 'chunked' else 'bytes'}/{LARGE}", seconds=20)
            assert answer.is_complete and answer.body == pattern(LARGE)
        assert pipes(weir) == before


def test_a_fill_of_the_cache_is_not_spliced(site, http_backend):
    backend = http_backend(handler=lambda r: Reply(body=pattern(300 * KiB), headers=[("Cache-Control", "max-age=60")]))
    weir = site([{"upstream": "app", "cache": True}], {"app": backend.address}, workers=1, cache={"memory": "64MiB"})
    with weir.client() as client:
        for _ in range(2):
            assert client.get(seconds=20).body == pattern(300 * KiB)
    assert len(backend.requests) == 1


# -- ends and what is behind them ------------------------------------------------------------------------------------------------------

def test_connections_are_used_again_after_a_spliced_body(raw):
    weir, server = raw
    with weir.client() as client:
        for n in range(5):
            client.send_request(target=f"/{n}")
            up = server.accept() if n == 0 else up
            assert up.read_request().target == f"/{n}"
            thread = sending(up, answer_head(LARGE) + pattern(LARGE))
            answer = client.read_response(seconds=20)
            assert answer.is_complete and answer.body == pattern(LARGE)
            thread.join()


def test_requests_pipelined_behind_a_spliced_body_are_answered_in_order(echo):
    sizes = (LARGE, 10, LARGE, 100 * KiB)
    with echo.client() as client:
        thread = sending(client, b"".join(b"POST /echo HTTP/1.1\r\nHost: t.example\r\nContent-Length: %d\r\n\r\n%s" % (n, pattern(n))
                                          for n in sizes) + b"GET /bytes/7 HTTP/1.1\r\nHost: t.example\r\n\r\n")
        for size in sizes:
            assert client.read_response("POST", 20).body == pattern(size)
        assert client.read_response().body == pattern(7)
        thread.join()


def test_bytes_behind_a_spliced_response_reach_nobody(raw):
    weir, server = raw
    with weir.client() as client:
        client.send_request()
        up = server.accept()
        up.read_request()
        thread = sending(up, answer_head(LARGE) + pattern(LARGE) + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        answer = client.read_response(seconds=20)
        assert answer.body == pattern(LARGE)
        thread.join()
        client.send_request()
        other = server.accept()  # the connection is not used again
        other.read_request()
        other.respond(body="good")
        assert client.read_response().body == b"good"


@pytest.mark.parametrize("method,status", [("HEAD", "200 OK"), ("GET", "304 Not Modified")])
def test_a_length_without_a_body_is_not_waited_for(raw, method, status):
    weir, server = raw
    with weir.client() as client:
        client.send_request(method)
        up = server.accept()
        up.read_request()
        up.send(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n" % (status.encode(), LARGE))
        answer = client.read_response(method)
        assert answer["content-length"] == str(LARGE) and answer.body == b""
        client.send_request()
        up.read_request()
        up.send(b"HTTP/1.1 204 No Content\r\n\r\n")
        assert client.read_response().status == 204


def test_a_range_arrives(raw):
    weir, server = raw
    with weir.client() as client:
        client.send_request(headers=[("Range", "bytes=0-99999")])
        up = server.accept()
        assert up.read_request()["range"] == "bytes=0-99999"
        sending(up, b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-99999/%d\r\nContent-Length: 100000\r\n\r\n" % LARGE +
                pattern(100000))
        answer = client.read_response(seconds=20)
        assert answer.status == 206 and answer.body == pattern(100000)


def test_an_upload_that_waits_for_100_continue_arrives(raw):
    weir, server = raw
    with weir.client() as client:
        client.send_request("PUT", "/", [("Content-Length", str(LARGE)), ("Expect", "100-continue")])
        up = server.accept()
        up.read_request_head()
        up.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert client.read_head()[0] == 100
        thread = sending(client, pattern(LARGE))
        assert up.read_exact(LARGE, 20) == pattern(LARGE)
        up.respond(body="got it")
        assert client.read_response("PUT").body == b"got it"
        thread.join()


def test_an_answer_in_the_middle_of_an_upload_reaches_the_client(raw):
    weir, server = raw
    with weir.client() as client:
        client.send_request("PUT", "/", [("Content-Length", str(64 * MiB))])
        client.send(pattern(MiB))
        up = server.accept()
        up.read_request_head()
        up.read_exact(512 * KiB)
        up.respond("413 Content Too Large", body="enough")
        sending(client, pattern(4 * MiB))
        answer = client.read_response("PUT")
        assert answer.status == 413 and answer.body == b"enough"


def test_a_client_that_half_closes_gets_all_of_a_large_answer(raw):
    weir, server = raw
    with weir.client() as client:
        client.send_request()
        client.half_close()
        up = server.accept()
        up.read_request()
        sending(up, answer_head(LARGE) + pattern(LARGE))
        answer = client.read_response(seconds=20)
        assert answer.is_complete and answer.body == pattern(LARGE)
        client.expect_end()


# -- what goes wrong in the middle ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_spliced_response_that_is_cut_never_looks_complete(raw, how):
    weir, server = raw
    with weir.client() as client:
        client.send_request()
        up = server.accept()
        up.read_request()
        up.send(answer_head(LARGE) + pattern(LARGE)[:-5000])
        client.read_until(b"\r\n\r\n")
        client.read_exact(LARGE - 5000, 20)
        getattr(up, how)()
        assert client.read_to_end() == b""
    weir.await_metric("weir_upstream_in_flight", 0)


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_leaves_in_a_large_response_ends_it(raw, how):
    weir, server = raw
    before = sockets(weir)
    client = weir.client(receive_buffer=65536)
    client.send_request()
    up = server.accept()
    up.read_request()
    up.send(answer_head(256 * MiB))
    client.read_until(b"\r\n\r\n")
    stalled(up)
    getattr(client, how)()
    up.sock.settimeout(10 * SCALE)
    with pytest.raises(OSError):
        while True:
            up.sock.send(b"x" * 65536)
    wait_until(lambda: sockets(weir) <= before + 1, 10, "the connections' end")  # the server's end is ours


def test_a_client_that_resets_in_a_large_upload_cuts_it(raw):
    weir, server = raw
    client = weir.client()
    client.send_request("PUT", "/", [("Content-Length", str(LARGE))])
    client.send(pattern(LARGE)[:-5000])
    up = server.accept()
    up.read_request_head()
    up.read_exact(LARGE - 5000, 20)
    client.reset()
    assert up.read_to_end() == b""


def test_a_server_that_resets_in_a_large_upload_is_a_502(raw):
    weir, server = raw
    with weir.client() as client:
        client.send_request("PUT", "/", [("Content-Length", str(64 * MiB))])
        up = server.accept()
        up.read_request_head()
        thread = sending(client, pattern(2 * MiB))
        up.read_exact(MiB, 20)
        up.reset()
        try:
            assert client.read_response("PUT").status == 502
        except Closed:
            pass  # the client's bytes were still coming when weir closed
        thread.join()


@pytest.mark.parametrize("who", ["client", "server"])
def test_a_reset_in_a_large_stream_reaches_the_other_side(stream, who):
    weir, client, up = stream
    sender, reader = (client, up) if who == "client" else (up, client)
    thread = sending(sender, pattern(LARGE), sender.reset)
    reader.read_to_end(20)
    assert reader.ended == "reset"
    thread.join()


def test_a_response_that_stands_still_is_cut_after_the_time_for_a_body(site, server):
    weir = site([{"upstream": "app"}], {"app": server.address}, workers=1, timeouts={"body": f"{int(500 * SCALE)}ms"})
    with weir.client() as client:
        client.send_request()
        up = server.accept()
        up.read_request()
        up.send(answer_head(LARGE) + pattern(LARGE // 2))
        client.read_until(b"\r\n\r\n")
        client.read_exact(LARGE // 2, 20)
        assert client.read_to_end(20) == b""
        up.expect_end()


def test_a_client_that_takes_nothing_of_a_large_response_is_given_up(site, server):
    weir = site([{"upstream": "app"}], {"app": server.address}, workers=1, timeouts={"body": f"{int(500 * SCALE)}ms"})
    with weir.client(receive_buffer=65536) as client:
        client.send_request()
        up = server.accept()
        up.read_request()
        up.send(answer_head(256 * MiB))
        client.read_until(b"\r\n\r\n")
        stalled(up)
        up.expect_end(20)


# -- bounds ----------------------------------------------------------------------------------------------------------------------------

def test_a_client_that_stands_still_stops_the_server_and_costs_no_memory(raw):
    weir, server = raw
    before = weir.rss_bytes()
    with weir.client(receive_buffer=65536) as client:
        client.send_request()
        up = server.accept()
        up.read_request()
        up.send(answer_head(256 * MiB))
        client.read_until(b"\r\n\r\n")
        assert stalled(up) < 48 * MiB
        if not weir.is_sanitized:
            assert weir.rss_bytes() - before < 4 * MiB
        client.reset()


def test_no_descriptors_are_left_over(raw):
    weir, server = raw

    def cut_ones():
        for n in range(8):
            client = weir.client(receive_buffer=65536)
            client.send_request()
            up = server.accept()
            up.read_request()
            sending(up, answer_head(64 * MiB) + pattern(4 * MiB))
            client.read_until(b"\r\n\r\n")
            client.read_exact(100 * KiB, 20)
            client.reset() if n % 2 else up.reset()
            client.close()
            up.close()

    base = sockets(weir)
    for _ in range(3):
        cut_ones()
    wait_until(lambda: sockets(weir) <= base, 20, "every socket closed")  # the harness's look at the port may still count in `base`
    assert pipes(weir) <= 2 * 16 + 4


def test_without_descriptors_bodies_are_copied(raw):
    weir, server = raw
    body = pattern(LARGE)
    before = pipes(weir)
    with weir.client() as client:
        client.send_request()
        up = server.accept()
        up.read_request()
        limits = resource.prlimit(weir.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(weir.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
        for n in range(2):
            thread = sending(up, answer_head(LARGE) + body)
            answer = client.read_response(seconds=20)
            assert answer.is_complete and answer.body == body
            thread.join()
            client.send_request()
            up.read_request()
        resource.prlimit(weir.pid, resource.RLIMIT_NOFILE, limits)
        assert pipes(weir) == before
        thread = sending(up, answer_head(LARGE) + body)
        assert client.read_response(seconds=20).body == body
        thread.join()
        assert pipes(weir) == before + 2


def test_bytes_of_spliced_bodies_are_counted(raw):
    weir, server = raw
    with weir.client() as client:
        request = b"PUT / HTTP/1.1\r\nHost: t.example\r\nContent-Length: %d\r\n\r\n" % LARGE + pattern(LARGE)
        thread = sending(client, request)
        up = server.accept()
        up.read_request(20)
        thread.join()
        thread = sending(up, answer_head(3 * MiB) + pattern(3 * MiB))
        client.read_response("PUT", seconds=20)
        thread.join()
        sent, received = len(request), len(client.received)
    weir.await_metric("weir_bytes_total", received, listener="web", direction="out")
    weir.await_metric("weir_bytes_total", sent, listener="web", direction="in")


# -- while weir changes --------------------------------------------------------------------------------------------------------------

def test_a_large_body_lives_through_a_reload_and_a_drain(site, server):
    weir = site([{"upstream": "app"}], {"app": server.address}, workers=1, timeouts={"drain": "30s"})
    body = pattern(LARGE)
    with weir.client() as client:
        client.send_request()
        up = server.accept()
        up.read_request()
        up.send(answer_head(LARGE) + body[:MiB])
        client.read_until(b"\r\n\r\n")
        assert client.read_exact(MiB, 20) == body[:MiB]
        weir.reload(timeouts={"drain": "30s", "header": "7s"})
        up.send(body[MiB:MiB + 512 * KiB])
        assert client.read_exact(512 * KiB, 20) == body[MiB:MiB + 512 * KiB]
        weir.signal(15)
        wait_until(lambda: weir.port() not in listening_ports(), 10, "the listener's end")
        up.send(body[MiB + 512 * KiB:])
        assert client.read_exact(512 * KiB, 20) == body[MiB + 512 * KiB:]
        client.expect_end()
    assert weir.wait() == 0
