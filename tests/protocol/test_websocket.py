"""Upgraded connections: a two-way stream once the server has agreed."""

import asyncio
import base64
import hashlib
import os
import threading

import pytest
import websockets

from harness import Deadline, RawClient, SCALE, wait_until
from harness.http_backend import pattern
from harness.raw_client import build_request, trusting

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
UPGRADE = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")]
AGREE = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"


class WebSocketBackend:
    """A server of the websockets library in a thread: echoes; the message `close` closes with 4001."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.started = threading.Event()
        self.live, self.codes = 0, []
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        assert self.started.wait(10 * SCALE)
        self.address = f"127.0.0.1:{self.port}"

    def _run(self):
        asyncio.set_event_loop(self.loop)

        async def serve():
            self._server = await websockets.serve(self._echo, "127.0.0.1", 0, max_size=None, ping_interval=None,
                                                  subprotocols=["chat"])
            self.port = self._server.sockets[0].getsockname()[1]
            self.started.set()

        async def stop():
            self._server.close()
            await self._server.wait_closed()
        self.loop.run_until_complete(serve())
        self.loop.run_forever()
        self.loop.run_until_complete(asyncio.wait_for(stop(), 10 * SCALE))
        self.loop.close()

    async def _echo(self, socket, *_):
        self.live += 1
        try:
            async for message in socket:
                if message == "close":
                    await socket.close(4001, "as asked")
                else:
                    await socket.send(message)
        except websockets.ConnectionClosed:
            pass
        finally:
            self.live -= 1
            self.codes.append(socket.close_rcvd.code if socket.close_rcvd else None)

    def close(self):
        if self.thread.is_alive():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join(10 * SCALE)


@pytest.fixture(scope="module")
def backend():
    it = WebSocketBackend()
    yield it
    it.close()


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 30 * SCALE))


def open_socket(weir, **options):
    options.setdefault("ping_interval", None)
    options.setdefault("max_size", None)
    scheme = "wss" if "ssl" in options else "ws"
    return websockets.connect(f"{scheme}://127.0.0.1:{weir.port()}/socket", **options)


@pytest.fixture(scope="module")
def weir(module_site, backend):
    return module_site([{"upstream": "ws"}], {"ws": backend.address})


# -- with the library on both ends ------------------------------------------------------------------------------------------

def test_messages_are_echoed(weir):
    async def talk():
        async with open_socket(weir) as socket:
            for message in ("hello", "", "x" * 126, "y" * 70_000, b"\x00\xff", pattern(1_000_000)):
                await socket.send(message)
                assert await socket.recv() == message
    run(talk())


def test_pings_are_answered(weir):
    async def talk():
        async with open_socket(weir) as socket:
            await (await socket.ping())
    run(talk())


def test_the_close_code_of_the_server_arrives(weir):
    async def talk():
        async with open_socket(weir) as socket:
            await socket.send("close")
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await socket.recv()
            assert closed.value.code == 4001
    run(talk())


def test_a_client_that_leaves_is_gone_at_the_server(weir, backend):
    async def talk():
        async with open_socket(weir) as socket:
            await socket.send("x")
            await socket.recv()
            assert backend.live >= 1
    run(talk())
    wait_until(lambda: backend.live == 0)


def test_many_sockets_at_once_do_not_mix(weir):
    async def talk(number):
        async with open_socket(weir) as socket:
            for n in range(20):
                await socket.send(f"{number}-{n}")
                assert await socket.recv() == f"{number}-{n}"

    async def all_of_them():
        await asyncio.gather(*(talk(n) for n in range(40)))
    run(all_of_them())


def test_a_message_in_fragments_with_pings_between(weir):
    async def talk():
        async with open_socket(weir) as socket:
            async def pieces():
                for n in range(50):
                    await socket.ping()
                    yield b"%03d" % n * 1000
            await socket.send(pieces())
            assert await socket.recv() == b"".join(b"%03d" % n * 1000 for n in range(50))
    run(talk())


def test_a_thousand_small_messages_stay_in_order(weir):
    async def talk():
        async with open_socket(weir) as socket:
            async def send():
                for n in range(1000):
                    await socket.send(str(n))
            sending = asyncio.create_task(send())
            assert [await socket.recv() for _ in range(1000)] == [str(n) for n in range(1000)]
            await sending
    run(talk())


def test_compression_is_negotiated_end_to_end(weir):
    async def talk():
        async with open_socket(weir, compression="deflate") as socket:
            assert [e.name for e in socket.extensions] == ["permessage-deflate"]
            await socket.send("z" * 1_000_000)
            assert await socket.recv() == "z" * 1_000_000
        async with open_socket(weir, compression=None) as socket:
            assert socket.extensions == []
            await socket.send("plain")
            assert await socket.recv() == "plain"
    run(talk())


def test_a_subprotocol_is_agreed_on(weir):
    async def talk():
        async with open_socket(weir, subprotocols=["other", "chat"]) as socket:
            assert socket.subprotocol == "chat"
        async with open_socket(weir, subprotocols=["other"]) as socket:
            assert socket.subprotocol is None
    run(talk())


def test_the_close_code_of_the_client_arrives(weir, backend):
    async def talk():
        async with open_socket(weir) as socket:
            await socket.close(4002, "enough")
    run(talk())
    wait_until(lambda: 4002 in backend.codes)


def test_a_client_that_pings_is_not_idle_and_one_that_does_not_is(site, backend):
    weir = site([{"upstream": "ws"}], {"ws": backend.address}, timeouts={"idle": f"{int(1000 * SCALE)}ms"})

    async def talk():
        async with open_socket(weir, ping_interval=0.3 * SCALE, ping_timeout=None) as busy, open_socket(weir) as silent:
            with pytest.raises(websockets.ConnectionClosed):
                await silent.recv()
            await busy.send("still here")
            assert await busy.recv() == "still here"
    run(talk())
    wait_until(lambda: backend.live == 0)


def test_large_messages_both_ways_at_once_under_tls(site, backend, authority, localhost_cert):
    weir = site([{"upstream": "ws"}], {"ws": backend.address},
                {"web": {"tls": {"certificates": [{"cert": localhost_cert[0], "key": localhost_cert[1]}]}}})

    async def talk():
        async with open_socket(weir, ssl=trusting(authority.file), server_hostname="localhost", compression=None) as socket:
            message = pattern(3_000_000)

            async def send():
                for _ in range(4):
                    await socket.send(message)
            sending = asyncio.create_task(send())
            for _ in range(4):
                assert await socket.recv() == message
            await sending
    run(talk())


def test_under_tls(site, backend, authority, localhost_cert):
    weir = site([{"upstream": "ws"}], {"ws": backend.address},
                {"web": {"tls": {"certificates": [{"cert": localhost_cert[0], "key": localhost_cert[1]}]}}})

    async def talk():
        async with open_socket(weir, ssl=trusting(authority.file), server_hostname="localhost") as socket:
            for message in ("hello", pattern(300_000)):
                await socket.send(message)
                assert await socket.recv() == message
    run(talk())


def test_a_socket_survives_reloads(site, backend):
    weir = site([{"upstream": "ws"}], {"ws": backend.address})

    async def talk():
        async with open_socket(weir) as socket:
            for n in range(5):
                await asyncio.get_running_loop().run_in_executor(None, lambda: weir.reload(timeouts={"drain": "2s", "idle": f"{n + 2}m"}))
                await socket.send(str(n))
                assert await socket.recv() == str(n)
    run(talk())


def test_a_socket_survives_a_reload_that_takes_its_route_and_server_away(site, backend):
    weir = site([{"upstream": "ws"}], {"ws": backend.address})

    async def talk():
        async with open_socket(weir) as socket:
            await asyncio.get_running_loop().run_in_executor(
                None, lambda: weir.reload(routes=[{"respond": {"body": "gone"}}], upstreams=None))
            await socket.send("still here")
            assert await socket.recv() == "still here"
    run(talk())


# -- by hand ------------------------------------------------------------------------------------------------------------------

@pytest.fixture
def raw(site, server):
    return site([{"upstream": "app"}], {"app": server.address}), server


def upgraded(weir, server, early=b"", behind=b""):
    client = weir.client()
    client.send(_request() + early)
    up = server.accept()
    request = up.read_request_head()
    up.send(AGREE + behind)
    status, _, _, fields, _ = client.read_head()
    assert status == 101 and "upgrade" in fields.tokens("connection") and fields.get("upgrade") == "websocket"
    return client, up, request


def _request():
    return build_request("GET", "/socket", UPGRADE)


def test_the_server_sees_the_upgrade(raw):
    client, _, request = upgraded(*raw)
    assert "upgrade" in request.fields.tokens("connection") and request["upgrade"] == "websocket"
    assert request["sec-websocket-key"] and "x-forwarded-for" in request.fields
    client.close()


def test_the_accept_field_passes(raw):
    weir, server = raw
    key = base64.b64encode(os.urandom(16))
    accept = base64.b64encode(hashlib.sha1(key + GUID).digest()).decode()
    with weir.client() as client:
        client.send_request("GET", "/", UPGRADE[:3] + [("Sec-WebSocket-Key", key.decode())])
        up = server.accept()
        up.read_request_head()
        up.send(f"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n")
        assert client.read_head()[3].get("sec-websocket-accept") == accept


def test_bytes_right_behind_the_101_reach_the_client(raw):
    client, _, _ = upgraded(*raw, behind=b"first frame")
    assert client.read_exact(11) == b"first frame"
    client.close()


def test_bytes_right_behind_the_request_reach_the_server_after_it_agreed(raw):
    client, up, _ = upgraded(*raw, early=b"early frame")
    assert up.read_exact(11) == b"early frame"
    client.close()


def test_what_looks_like_http_is_only_bytes_now(raw):
    client, up, _ = upgraded(*raw)
    data = b"GET /x HTTP/1.1\r\nHost: y\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n\x00\xff"
    client.send(data)
    assert up.read_exact(len(data)) == data
    up.send(b"HTTP/1.1 200 OK\r\n\r\n")
    assert client.read_exact(19) == b"HTTP/1.1 200 OK\r\n\r\n"
    client.close()


def test_the_end_of_the_server_ends_the_client(raw):
    client, up, _ = upgraded(*raw)
    up.send(b"bye")
    up.close()
    assert client.read_to_end() == b"bye"


def test_the_end_of_the_client_ends_the_server(raw):
    client, up, _ = upgraded(*raw)
    client.send(b"bye")
    client.close()
    assert up.read_to_end() == b"bye"


def test_a_refused_upgrade_is_an_ordinary_response(raw):
    weir, server = raw
    with weir.client() as client:
        client.send(_request())
        up = server.accept()
        up.read_request_head()
        up.respond("403 Forbidden", body="no")
        assert client.read_response().body == b"no"
        client.send_request(target="/after")
        if not up.ended and up.fill(Deadline(1)):
            assert up.read_request().target == "/after"
            up.respond(body="fine")
        else:
            second = server.accept()
            second.read_request()
            second.respond(body="fine")
        assert client.read_response().body == b"fine"


def test_an_upgrade_is_not_passed_from_an_http_1_0_client(raw):
    weir, server = raw
    with weir.client() as client:
        client.send(_request().replace(b"HTTP/1.1", b"HTTP/1.0"))
        up = server.accept()
        request = up.read_request_head()
        assert "upgrade" not in request.fields
        up.respond(body="plain")
        assert client.read_response().body == b"plain"


def test_an_upgraded_stream_without_a_byte_is_ended_after_idle(site, server):
    weir = site([{"upstream": "app"}], {"app": server.address}, timeouts={"idle": "500ms", "body": "200ms", "response": "200ms"})
    client, up, _ = upgraded(weir, server)
    client.read_to_end()
    up.read_to_end()


def test_an_upgraded_stream_is_not_bound_by_other_timeouts(site, server):
    weir = site([{"upstream": "app"}], {"app": server.address},
                timeouts={"idle": "1m", "body": "200ms", "response": "200ms", "header": "200ms", "keepalive": "200ms"})
    client, up, _ = upgraded(weir, server)
    client.expect_silence(1)
    client.send(b"x")
    assert up.read_exact(1) == b"x"
    client.close()


def test_requests_before_the_upgrade_share_its_connection(site, server):
    weir = site([{"upstream": "app"}], {"app": server.address})
    with RawClient(weir.port()) as client:
        client.send_request(target="/before")
        up = server.accept()
        up.read_request()
        up.respond(body="b")
        assert client.read_response().body == b"b"
        client.send(_request())
        assert up.read_request_head()["upgrade"] == "websocket"
        up.send(AGREE)
        assert client.read_head()[0] == 101
        client.send(b"frame")
        assert up.read_exact(5) == b"frame"


def test_a_large_stream_both_ways_is_not_changed(raw):
    client, up, _ = upgraded(*raw)
    data = pattern(2_000_000)
    threads = [threading.Thread(target=client.send, args=(data,)), threading.Thread(target=up.send, args=(data,))]
    got = {}
    readers = [threading.Thread(target=lambda: got.__setitem__("up", up.read_exact(len(data), 20))),
               threading.Thread(target=lambda: got.__setitem__("client", client.read_exact(len(data), 20)))]
    [t.start() for t in threads + readers]
    [t.join() for t in threads + readers]
    assert got == {"up": data, "client": data}
    client.close()
