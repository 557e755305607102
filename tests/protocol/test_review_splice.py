"""What splice(2) and a late registration with the event loop could lose: bytes behind an urgent mark, a request that was in the
socket before the loop knew of it, answers behind those that wait in a pipe, and the ends of clients that nobody reads."""

import resource
import socket
import threading

import pytest

from harness.http_backend import pattern

KiB, MiB = 1 << 10, 1 << 20


@pytest.fixture
def raw(site, server):
    """(weir with one worker, the scripted server of its one upstream)"""
    return site([{"upstream": "app"}], {"app": server.address}, workers=1), server


@pytest.fixture
def stream(site, server):
    """(weir, client, the server's end) of one TCP stream."""
    weir = site(None, {"db": server.address}, {"db": {"protocol": "tcp", "upstream": "db"}}, workers=1)
    with weir.client("db") as client:
        client.send(b"!")
        up = server.accept()
        up.read_exact(1)
        yield weir, client, up


def in_background(run):
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def send_with_mark(peer, data, at):
    """`data`, with a byte of urgent data, which is none of the stream's, in it."""
    peer.sock.settimeout(60)
    peer.sock.sendall(data[:at])
    peer.sock.send(b"!", socket.MSG_OOB)
    peer.sock.sendall(data[at:])


# -- urgent data: splice() does not go past its mark, and says that there is nothing ------------------------------------------------

@pytest.mark.parametrize("who", ["client", "server"])
@pytest.mark.parametrize("at", [64 * KiB, 4 * MiB - 100 * KiB])
def test_a_stream_goes_on_behind_an_urgent_mark(stream, who, at):
    weir, client, up = stream
    sender, reader = (client, up) if who == "client" else (up, client)
    data = pattern(4 * MiB)
    thread = in_background(lambda: send_with_mark(sender, data, at))
    assert reader.read_exact(len(data), 20) == data
    thread.join()


@pytest.mark.parametrize("at", [64 * KiB, 2 * MiB - 100 * KiB])
def test_a_response_goes_on_behind_an_urgent_mark(raw, at):
    weir, server = raw
    body = pattern(2 * MiB)
    with weir.client() as client:
        client.send_request()
        up = server.accept()
        up.read_request()
        up.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
        thread = in_background(lambda: send_with_mark(up, body, at))
        assert client.read_response(seconds=20).body == body
        thread.join()


@pytest.mark.parametrize("at", [256 * KiB, 2 * MiB - 100 * KiB])
def test_a_request_goes_on_behind_an_urgent_mark(raw, at):
    weir, server = raw
    body = pattern(2 * MiB)
    with weir.client() as client:
        client.send_request("PUT", "/", [("Content-Length", str(len(body)))])
        up = server.accept()
        up.read_request_head()
        thread = in_background(lambda: send_with_mark(client, body, at))
        assert up.read_exact(len(body), 20) == body
        thread.join()


# -- cut ----------------------------------------------------------------------------------------------------------------------------

def test_a_response_until_close_that_is_reset_is_no_whole_one_for_an_http_1_0_client(raw):
    weir, server = raw
    with weir.client() as client:
        client.send(b"GET / HTTP/1.0\r\nHost: t.example\r\n\r\n")
        up = server.accept()
        up.read_request()
        up.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + pattern(MiB))
        client.read_until(b"\r\n\r\n")
        client.read_exact(MiB, 20)
        up.reset()
        client.read_to_end(20)
        assert client.ended == "reset"


@pytest.mark.parametrize("used", [False, True], ids=["its first request", "a later one"])
def test_who_sends_on_behind_his_last_request_sees_the_end_and_no_reset(site, http_backend, used):
    weir = site([{"upstream": "app"}], {"app": http_backend().address}, workers=1)
    seen = set()
    for _ in range(200):
        with weir.client() as client:
            if used:
                client.get("/bytes/5")
            client.send_request("GET", "/bytes/5", [("Connection", "close")])
            for _ in range(3):
                client.send_quietly(b"GET /x HTTP/1.1\r\nHost: t.example\r\n\r\n")
            assert client.read_response().body == pattern(5)
            client.read_to_end()
            seen.add(client.ended)
    assert seen == {"closed"}


def test_a_client_that_resets_at_once_ends_its_request(raw):
    weir, server = raw
    with weir.client() as client:
        client.send_request()
        up = server.accept()
        up.read_request()
        client.reset()
        up.expect_end(20)


def test_a_client_that_resets_at_once_ends_its_stream(stream):
    weir, client, up = stream
    client.reset()
    up.read_to_end(20)
    assert up.ended == "reset"


# -- bounds -------------------------------------------------------------------------------------------------------------------------

def test_a_stream_without_descriptors_is_copied_both_ways_and_spliced_again_later(stream):
    weir, client, up = stream
    data = pattern(4 * MiB)
    limits = resource.prlimit(weir.pid, resource.RLIMIT_NOFILE)
    for limit in ((3, limits[1]), limits):
        resource.prlimit(weir.pid, resource.RLIMIT_NOFILE, limit)
        for sender, reader in ((client, up), (up, client)):
            thread = in_background(lambda: sender.send(data, seconds=60))
            assert reader.read_exact(len(data), 20) == data
            thread.join()
    resource.prlimit(weir.pid, resource.RLIMIT_NOFILE, limits)
