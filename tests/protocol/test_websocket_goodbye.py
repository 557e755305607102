"""A WebSocket that would be cut - at a stop, an upgrade, when its server goes down - is told by a Close frame before."""

import asyncio
import signal
import struct
import threading

import pytest
import websockets
from websockets.frames import Frame, Opcode

from harness import SCALE, wait_until
from test_websocket import AGREE, WebSocketBackend, open_socket, run, upgraded
from test_websocket_h2 import Socket, opened, unmasked

GOING_AWAY = struct.pack(">H", 1001)
CLOSE = b"\x88\x02" + GOING_AWAY  # as a server sends it
DRAIN = 2 * SCALE


@pytest.fixture
def backend():
    it = WebSocketBackend()
    yield it
    it.close()


@pytest.fixture
def weir(site, backend):
    return site([{"upstream": "ws"}], {"ws": backend.address}, timeouts={"drain": f"{int(DRAIN)}s"})


@pytest.fixture
def raw(site, server):
    return site([{"path": "/socket", "upstream": "app"}], {"app": server.address}, timeouts={"drain": f"{int(DRAIN)}s"}), server


def in_thread(function, *arguments):
    return asyncio.get_running_loop().run_in_executor(None, function, *arguments)


def masked_frame(connection):
    """The next frame that a client has sent, to a scripted server."""
    first, second = connection.read_exact(2, 20)
    assert second & 128 and second & 127 < 126
    mask = connection.read_exact(4)
    return first & 15, bytes(b ^ mask[i % 4] for i, b in enumerate(connection.read_exact(second & 127)))


async def told(socket):
    with pytest.raises(websockets.ConnectionClosed) as closed:
        await socket.recv()
    return closed.value.rcvd.code if closed.value.rcvd else None


# -- real clients --------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_tells_client_and_server(weir, backend, how):
    async def talk():
        async with open_socket(weir) as socket:
            await socket.send("x")
            assert await socket.recv() == "x"
            weir.signal(how)
            await socket.send("still open")
            assert await socket.recv() == "still open"
            assert await told(socket) == 1001
    run(talk())
    assert weir.wait() == 0
    assert "is cut" not in weir.log()
    wait_until(lambda: backend.codes == [1001])


def test_all_of_many_are_told_before_the_cut(weir, backend):
    async def talk():
        sockets = [await open_socket(weir) for _ in range(50)]
        weir.signal(signal.SIGTERM)
        assert await asyncio.gather(*map(told, sockets)) == [1001] * 50
        await asyncio.gather(*(s.close() for s in sockets))
    run(talk())
    assert weir.wait() == 0
    assert "is cut" not in weir.log()
    wait_until(lambda: backend.codes == [1001] * 50)


def test_an_upgrade_tells_those_of_the_old_process(weir):
    async def talk():
        async with open_socket(weir) as old:
            upgrade = in_thread(weir.upgrade)
            assert await told(old) == 1001
            async with open_socket(weir) as new:
                await new.send("x")
                assert await new.recv() == "x"
                await upgrade
                await new.send("y")
                assert await new.recv() == "y"
    run(talk())


def test_one_that_is_busy_loses_no_message(weir):
    async def talk():
        socket = await open_socket(weir)
        sent, got = [], []

        async def send():
            try:
                while True:
                    sent.append(f"{len(sent)}-" + "z" * (len(sent) % 500 * 40))
                    await socket.send(sent[-1])
                    await asyncio.sleep(0.002)
            except websockets.ConnectionClosed:
                pass

        async def receive():
            try:
                async for message in socket:
                    got.append(message)
            except websockets.ConnectionClosed:
                pass
        tasks = [asyncio.create_task(send()), asyncio.create_task(receive())]
        while len(got) < 100:
            await asyncio.sleep(0.01)
        weir.signal(signal.SIGTERM)
        await asyncio.gather(*tasks)
        assert socket.close_rcvd.code == 1001
        assert len(got) > 100 and got == sent[:len(got)]
    run(talk())
    assert weir.wait() == 0


def test_a_reload_tells_nobody(weir):
    async def talk():
        async with open_socket(weir) as socket:
            await in_thread(lambda: weir.reload(timeouts={"drain": "1s"}))
            await in_thread(lambda: weir.reload(listeners={"web": {"http2": False}}))
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(socket.recv(), 1.5)
            await socket.send("x")
            assert await socket.recv() == "x"
    run(talk())


def test_a_server_that_is_set_down_takes_leave(site, backend):
    weir = site([{"upstream": "ws"}], {"ws": {"servers": [backend.address], "on_down": "close"}})

    async def talk():
        async with open_socket(weir) as socket:
            answer = await in_thread(lambda: weir.admin.request("PATCH", f"/api/v1/upstreams/ws/servers/{backend.address}", {"state": "down"}))
            assert answer.status == 200
            assert await told(socket) == 1001
    run(talk())
    wait_until(lambda: backend.codes == [1001])


def test_over_http_2(weir, backend):
    with Socket(weir) as client:
        client.open()
        client.put(Opcode.TEXT, b"x")
        client.frames(1)
        weir.signal(signal.SIGTERM)
        assert client.frames(1) == [(Opcode.CLOSE, GOING_AWAY)]
        client.put(Opcode.CLOSE, GOING_AWAY)
        client.until(lambda: client.stream.ended)
        client.read_to_the_end()
    assert weir.wait() == 0
    assert "is cut" not in weir.log()
    wait_until(lambda: backend.codes == [1001])


# -- by hand ------------------------------------------------------------------------------------------------------------------

def test_the_close_stands_behind_the_frame_that_is_on_its_way(raw):
    weir, server = raw
    client, up, _ = upgraded(weir, server)
    message = Frame(Opcode.BINARY, bytes(1000)).serialize(mask=False)
    up.send(message[:500])
    assert client.read_exact(500) == message[:500]
    weir.signal(signal.SIGTERM)
    assert masked_frame(up) == (Opcode.CLOSE, GOING_AWAY)  # its own way was free
    up.send(message[500:] + Frame(Opcode.TEXT, b"late").serialize(mask=False))
    assert client.read_exact(504 + len(CLOSE)) == message[500:] + CLOSE
    client.send(Frame(Opcode.CLOSE, GOING_AWAY).serialize(mask=True))
    up.send(CLOSE)
    assert client.read_to_end() == b"" and up.read_to_end() == b""
    assert weir.wait() == 0
    assert "is cut" not in weir.log()


def test_the_servers_close_stands_behind_the_clients_frame(raw):
    weir, server = raw
    client, up, _ = upgraded(weir, server)
    message = Frame(Opcode.BINARY, b"a" * 100).serialize(mask=True)
    client.send(message[:50])
    assert up.read_exact(50) == message[:50]
    weir.signal(signal.SIGTERM)
    assert client.read_exact(len(CLOSE), 20) == CLOSE
    client.send(message[50:] + Frame(Opcode.TEXT, b"late").serialize(mask=True))
    assert up.read_exact(len(message) - 50) == message[50:]
    assert masked_frame(up) == (Opcode.CLOSE, GOING_AWAY)
    client.send(Frame(Opcode.CLOSE, GOING_AWAY).serialize(mask=True))
    up.send(CLOSE)
    assert client.read_to_end() == b"" and up.read_to_end() == b""
    assert weir.wait() == 0


def test_one_who_does_not_answer_is_cut_when_the_time_is_over(raw):
    weir, server = raw
    client, up, _ = upgraded(weir, server)
    weir.signal(signal.SIGTERM)
    assert client.read_exact(len(CLOSE), 20) == CLOSE
    client.send(Frame(Opcode.CLOSE, GOING_AWAY).serialize(mask=True))
    assert client.read_to_end(20) == b""
    assert weir.wait() == 0
    assert "is cut" in weir.log()


def test_a_close_of_their_own_is_left_to_them(raw):
    weir, server = raw
    client, up, _ = upgraded(weir, server)
    up.send(Frame(Opcode.CLOSE, struct.pack(">H", 4000)).serialize(mask=False))
    assert client.read_exact(4) == b"\x88\x02\x0f\xa0"
    weir.signal(signal.SIGTERM)
    client.expect_silence(DRAIN * 0.8 / SCALE)
    answer = Frame(Opcode.CLOSE, struct.pack(">H", 4000)).serialize(mask=True)
    client.send(answer)
    assert up.read_exact(len(answer)) == answer
    up.close()
    assert client.read_to_end() == b""


def test_nothing_is_put_into_what_are_no_frames(raw):
    weir, server = raw
    client, up, _ = upgraded(weir, server)
    client.send(b"GET / HTTP/1.1\r\n")
    up.send(b"\xff" * 10)
    assert up.read_exact(16) and client.read_exact(10)
    weir.signal(signal.SIGTERM)
    assert client.read_to_end(20) == b"" and up.read_to_end(20) == b""
    assert weir.wait() == 0


def test_nothing_is_put_into_an_upgrade_to_something_else(raw):
    weir, server = raw
    client = weir.client()
    client.send(b"GET /socket HTTP/1.1\r\nHost: t.example\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\n")
    up = server.accept()
    up.read_request_head()
    up.send(AGREE.replace(b"websocket", b"chat"))
    assert client.read_head()[0] == 101
    weir.signal(signal.SIGTERM)
    assert client.read_to_end(20) == b"" and up.read_to_end(20) == b""


def test_a_client_that_takes_nothing_holds_up_only_itself(raw):
    weir, server = raw
    client, up, _ = upgraded(weir, server)
    other, other_up, _ = upgraded(weir, server)
    message = Frame(Opcode.BINARY, bytes(1 << 16)).serialize(mask=False)
    stop = threading.Event()

    def send():
        try:
            while not stop.is_set():
                up.sock.sendall(message)
        except OSError:
            pass
    thread = threading.Thread(target=send)
    up.sock.settimeout(60 * SCALE)
    thread.start()
    weir.signal(signal.SIGTERM)
    assert other.read_exact(len(CLOSE), 20) == CLOSE
    assert weir.wait() == 0
    stop.set()
    thread.join()


def test_over_http_2_the_close_stands_behind_the_frame_too(raw):
    client, up = opened(raw)
    message = Frame(Opcode.BINARY, bytes(1000)).serialize(mask=False)
    up.send(message[:500])
    client.until(lambda: len(client.stream.body) == 500)
    raw[0].signal(signal.SIGTERM)
    assert masked_frame(up) == (Opcode.CLOSE, GOING_AWAY)
    up.send(message[500:])
    client.until(lambda: len(client.stream.body) == len(message) + len(CLOSE))
    assert unmasked(client.stream.body)[2] == len(message) and client.stream.body.endswith(CLOSE)
    client.put(Opcode.CLOSE, GOING_AWAY)
    up.send(CLOSE)
    client.until(lambda: client.stream.ended)
    assert up.read_to_end() == b""
    assert raw[0].wait() == 0
