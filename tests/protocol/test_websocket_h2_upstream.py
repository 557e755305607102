"""WebSockets to servers that speak HTTP/2: by an extended CONNECT (RFC 8441), for clients of HTTP/1.1 and of HTTP/2."""

import base64
import hashlib
import os
import signal
import struct

import pytest
import websockets
from websockets.frames import Frame, Opcode

from harness import wait_until
from harness.h2_server import H2Server
from harness.http_backend import pattern
from harness.raw_client import build_request
from test_h2 import CANCEL
from test_websocket import GUID, UPGRADE, WebSocketBackend, open_socket, run
from test_websocket_goodbye import CLOSE, GOING_AWAY, told
from test_websocket_h2 import Socket

CONNECT_PROTOCOL = 8


def over_h2(address, **more):
    return {"servers": [address], "protocol": "http2", **more}


# -- through two of them: the second is the server ---------------------------------------------------------------------------

@pytest.fixture(scope="module")
def backend():
    it = WebSocketBackend()
    yield it
    it.close()


@pytest.fixture(scope="module")
def inner(module_site, backend):
    return module_site([{"upstream": "ws"}], {"ws": backend.address}, workers=1)


@pytest.fixture(scope="module")
def weir(module_site, inner):
    return module_site([{"upstream": "inner"}], {"inner": over_h2(f"127.0.0.1:{inner.port()}")}, workers=1)


def test_a_library_talks_through(weir):
    async def talk():
        async with open_socket(weir, subprotocols=["chat"], compression="deflate") as socket:
            assert socket.subprotocol == "chat" and [e.name for e in socket.extensions] == ["permessage-deflate"]
            for message in ("hello", "", "x" * 126, "y" * 70_000, b"\x00\xff", pattern(1_000_000)):
                await socket.send(message)
                assert await socket.recv() == message
            await (await socket.ping())
            await socket.send("close")
            assert await told(socket) == 4001
    run(talk())


def test_many_sockets_and_requests_share_a_connection(weir):
    async def talk():
        sockets = [await open_socket(weir) for _ in range(20)]
        for number in range(10):
            for at, socket in enumerate(sockets):
                await socket.send(f"{at}-{number}")
        for at, socket in enumerate(sockets):
            assert [await socket.recv() for _ in range(10)] == [f"{at}-{n}" for n in range(10)]
            await socket.close()
    run(talk())
    assert weir.get("/plain").status == 426
    assert 1 <= weir.admin.metrics().sum("weir_upstream_connections_opened_total", upstream="inner") <= 2


def test_http_2_on_both_sides(weir):
    with Socket(weir) as client:
        client.open()
        for payload in (b"hello", b"y" * 70_000, pattern(1_000_000)):
            client.put(Opcode.BINARY, payload)
            assert client.frames(1) == [(Opcode.BINARY, payload)]


def test_a_client_that_leaves_is_gone_at_the_server(weir, backend):
    wait_until(lambda: backend.live == 0)

    async def talk():
        socket = await open_socket(weir)
        await socket.send("x")
        await socket.recv()
        assert backend.live == 1
        socket.transport.abort()
    run(talk())
    wait_until(lambda: backend.live == 0)


def test_a_stop_tells_both_sides(site, inner, backend):
    weir = site([{"upstream": "inner"}], {"inner": over_h2(f"127.0.0.1:{inner.port()}")}, timeouts={"drain": "4s"})
    wait_until(lambda: backend.live == 0)
    backend.codes.clear()

    async def talk():
        async with open_socket(weir) as socket:
            await socket.send("x")
            await socket.recv()
            weir.signal(signal.SIGTERM)
            assert await told(socket) == 1001
    run(talk())
    assert weir.wait() == 0
    assert "is cut" not in weir.log()
    wait_until(lambda: backend.codes == [1001])


# -- by hand -------------------------------------------------------------------------------------------------------------------

@pytest.fixture
def server():
    with H2Server(settings={CONNECT_PROTOCOL: 1}) as it:
        yield it


@pytest.fixture
def raw(site, server):
    return site([{"path": "/socket", "upstream": "app"}], {"app": over_h2(server.address)}, timeouts={"drain": "4s"}), server


def upgraded(raw):
    weir, server = raw
    key = base64.b64encode(os.urandom(16))
    client = weir.client()
    client.send(build_request("GET", "/socket?a=b", UPGRADE[:3] + [("Sec-WebSocket-Key", key.decode())]))
    request = server.next_request()
    request.head(200, [("sec-websocket-protocol", "chat")])
    status, _, _, fields, _ = client.read_head()
    assert status == 101 and fields.get("upgrade") == "websocket" and "upgrade" in fields.tokens("connection")
    assert fields.get("sec-websocket-accept") == base64.b64encode(hashlib.sha1(key + GUID).digest()).decode()
    assert fields.get("sec-websocket-protocol") == "chat" and "transfer-encoding" not in fields and "content-length" not in fields
    return client, request


def test_the_server_sees_an_extended_connect(raw):
    client, request = upgraded(raw)
    assert (request[":method"], request[":protocol"], request[":path"], request[":scheme"]) == ("CONNECT", "websocket", "/socket?a=b", "http")
    assert request["sec-websocket-version"] == "13" and not request.ended
    for name in ("upgrade", "connection", "sec-websocket-key", "content-length", "host"):
        assert request[name] is None
    client.close()


def test_bytes_go_both_ways_and_the_end_of_the_client_is_one(raw):
    client, request = upgraded(raw)
    client.send(b"to the server")
    assert request.read(13) == b"to the server"
    request.data(b"to the client")
    assert client.read_exact(13) == b"to the client"
    client.half_close()
    request.peer.wait(lambda: request.ended)
    request.data(b"bye", end=True)
    assert client.read_to_end() == b"bye"


def test_the_end_of_the_server_ends_the_client(raw):
    client, request = upgraded(raw)
    request.data(b"bye", end=True)
    assert client.read_to_end() == b"bye"


def test_a_reset_of_the_server_ends_the_client(raw):
    client, request = upgraded(raw)
    request.refuse(CANCEL)
    assert client.read_to_end() == b""


@pytest.mark.parametrize("status", [403, 404, 302])
def test_a_refusal_is_the_answer(raw, status):
    weir, server = raw
    with weir.client() as client:
        client.send(build_request("GET", "/socket", UPGRADE))
        server.next_request().respond(status, body="no")
        answer = client.read_response()
        assert answer.status == status and answer.body == b"no"


def test_a_server_that_takes_nothing_stops_the_client(raw):
    client, request = upgraded(raw)
    request.peer.window = False
    client.sock.settimeout(1)
    sent = 0
    with pytest.raises(TimeoutError):
        while sent < 64 << 20:
            sent += client.sock.send(bytes(1 << 16))
    assert raw[0].get("/elsewhere").status == 404
    client.close()


def test_a_client_that_takes_nothing_stops_the_server(raw):
    client, request = upgraded(raw)
    with pytest.raises(TimeoutError):
        for _ in range(64):
            request.data(bytes(1 << 20), seconds=1)
    assert raw[0].get("/elsewhere").status == 404
    client.close()


def test_the_close_stands_behind_the_frame_that_is_on_its_way(raw):
    client, request = upgraded(raw)
    message = Frame(Opcode.BINARY, bytes(1000)).serialize(mask=False)
    request.data(message[:500])
    assert client.read_exact(500) == message[:500]
    raw[0].signal(signal.SIGTERM)
    assert request.read(8, 20)[:2] == b"\x88\x82"
    request.data(message[500:])
    assert client.read_exact(504 + len(CLOSE)) == message[500:] + CLOSE
    client.send(Frame(Opcode.CLOSE, GOING_AWAY).serialize(mask=True))
    request.data(CLOSE)
    assert client.read_to_end() == b""
    assert raw[0].wait() == 0


@pytest.mark.parametrize("how", ["http/1.1", "h2"])
def test_a_server_that_does_not_offer_it_is_not_asked(site, how):
    with H2Server(settings={}) as server:
        weir = site([{"upstream": "app"}], {"app": over_h2(server.address)})
        if how == "h2":
            with Socket(weir) as client:
                client.ask_for()
                assert client.answer(client.id).status == 502
        else:
            with weir.client() as client:
                client.send(build_request("GET", "/socket", UPGRADE))
                assert client.read_response().status == 502
        assert not [r for p in server.peers for r in p.order]
