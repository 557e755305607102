#!/usr/bin/python3
"""A backend that misbehaves when told to: chaos_backend.py PORT; a word a line on standard input says how.

    ok      answers at once
    slow    answers each request after a second and a half
    error   answers 500
    cut     resets the connection in the middle of every other body
    mute    reads requests and answers nothing

A body is what the target says of itself, so that a client can tell a true one from any other."""

import asyncio
import socket
import struct
import sys

MODE = "ok"
TURN = 0
SLOW_SECONDS = 1.5


def body_of(target):
    return (target * (4096 // len(target) + 1))[:4096]


def reset(writer):
    """So that the peer gets a RST, not an end."""
    writer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def serve(reader, writer):
    global TURN
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            target = head.split(b" ", 2)[1]
            if target == b"/health":
                good = MODE != "error"
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" if good else b"HTTP/1.1 500 Bad\r\nContent-Length: 0\r\n\r\n")
                continue
            if MODE == "mute":
                await reader.read()
                return
            if MODE == "slow":
                await asyncio.sleep(SLOW_SECONDS)
            if MODE == "error":
                writer.write(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\n\r\nbad\n")
                continue
            body = body_of(target)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
            TURN += 1
            if MODE == "cut" and TURN % 2:
                writer.write(body[:100])
                await writer.drain()
                await asyncio.sleep(0.01)
                reset(writer)
                return
            writer.write(body)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main():
    global MODE
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), backlog=512)
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    async with server:
        while True:
            line = await orders.readline()
            if not line:
                return
            MODE = line.decode().strip()


asyncio.run(main())
