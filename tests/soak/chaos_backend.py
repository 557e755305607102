#!/usr/bin/python3
"""A backend that misbehaves when told to: chaos_backend.py NUMBER ADDRESS PORT [h2]; a word a line on standard input says how.

    ok      answers at once
    slow    answers each request after a second and a half
    error   answers 500
    busy    answers 503
    reset   accepts, and resets the connection when a request has come
    cut     resets the connection in the middle of every other body
    mute    reads requests and answers nothing
    count   answers on standard output: the connections and the requests so far, checks not counted

A body is what the target says of itself, so that a client can tell a true one from any other; the field x-server says who answered."""

import asyncio
import socket
import struct
import sys

NUMBER = sys.argv[1].encode()
SLOW_SECONDS = 1.5


class State:
    mode = "ok"
    connections = requests = 0


def body_of(target):
    return (target * (4096 // len(target) + 1))[:4096]


def reset(writer):
    """So that the peer gets a RST, not an end."""
    writer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def answer(target):
    """How this request is to be answered: (status, body, whether it is cut), or None: the connection is reset."""
    if target == b"/health":
        return (500 if State.mode in ("error", "busy") else 200), b"", False
    State.requests += 1
    mode = State.mode
    if mode == "mute":
        await asyncio.sleep(3600)
    if mode == "slow":
        await asyncio.sleep(SLOW_SECONDS)
    if mode == "reset":
        return None
    if mode in ("error", "busy"):
        return (500 if mode == "error" else 503), b"bad\n", False
    return 200, body_of(target), mode == "cut" and State.requests % 2 == 1


async def serve(reader, writer):
    first = True
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            target = head.split(b" ", 2)[1]
            State.connections += first and target != b"/health"
            first = False
            found = await answer(target)
            if not found:
                reset(writer)
                return
            status, body, is_cut = found
            writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nX-Server: %s\r\n\r\n" % (status, len(body), NUMBER) +
                         (body[:100] if is_cut else body))
            await writer.drain()
            if is_cut:
                await asyncio.sleep(0.01)
                reset(writer)
                return
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def serve_h2(reader, writer):
    import h2.config
    import h2.connection
    import h2.events
    import h2.exceptions
    peer = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
    peer.initiate_connection()
    tasks, counted = set(), False

    async def respond(stream, target):
        found = await answer(target)
        if not found:
            reset(writer)
            return
        status, body, is_cut = found
        try:
            peer.send_headers(stream, [(b":status", b"%d" % status), (b"x-server", NUMBER)], end_stream=not body)
            if is_cut:
                peer.send_data(stream, body[:100])
                peer.reset_stream(stream, 2)
            elif body:
                peer.send_data(stream, body, end_stream=True)
        except h2.exceptions.ProtocolError:
            return  # the stream is no more
        writer.write(peer.data_to_send())

    try:
        while True:
            writer.write(peer.data_to_send())
            await writer.drain()
            data = await reader.read(65536)
            if not data:
                return
            for event in peer.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    target = dict(event.headers)[b":path"]
                    State.connections += not counted and target != b"/health"
                    counted |= target != b"/health"
                    task = asyncio.create_task(respond(event.stream_id, target))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
    except (ConnectionError, h2.exceptions.ProtocolError):
        pass
    finally:
        for task in tasks:
            task.cancel()
        writer.close()


async def main():
    handler = serve_h2 if "h2" in sys.argv[4:] else serve
    server = await asyncio.start_server(handler, sys.argv[2], int(sys.argv[3]), backlog=512)
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    async with server:
        while True:
            line = (await orders.readline()).decode().strip()
            if not line:
                return
            if line == "count":
                print(State.connections, State.requests, flush=True)
            else:
                State.mode = line


asyncio.run(main())
