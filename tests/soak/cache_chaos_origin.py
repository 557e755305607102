"""The origin of cache_chaos.py, one process of several: cache_chaos_origin.py PORT

/pN/oN answers as cache_truth.py says; /cold/NAME?size=N thinks for a while and sends N bytes slowly, with a number of its own in X-Serial,
so that answers of one request can be told from those of two. X-At is when the request came, X-Version the body's."""

import asyncio
import os
import random
import socket
import struct
import sys
import time

from cache_truth import POOL, SLOWEST, Truth, number_of


def reset(writer):
    writer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def head_of(o, version, status, more):
    lines = [f"HTTP/1.1 {status} X", "Date: " + time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()),
             f"X-At: {time.monotonic():.6f}", f"X-Version: {version}", f"Surrogate-Key: tag-{o.tag} every"]
    control = "private" if o.is_private else f"max-age={o.ttl}"
    if o.stale:
        control += f", stale-while-revalidate={o.stale}, stale-if-error={o.stale}"
    lines.append("Cache-Control: " + control)
    if o.etag:
        lines.append("ETag: " + o.etag_of(version))
    if o.varies:
        lines.append("Vary: X-Kind")
    return ("\r\n".join(lines + more) + "\r\n\r\n").encode()


def framing_of(o, body):
    return {"length": [f"Content-Length: {len(body)}"], "chunked": ["Transfer-Encoding: chunked"], "close": ["Connection: close"]}[o.framing]


async def send_body(writer, o, body, cut):
    """In pieces; slow ones with pauses; up to `cut` bytes. True when all of it went."""
    step = max(1, len(body) // 10) if o.is_slow else 128 << 10
    for at in range(0, len(body), step):
        if at + step > cut:
            writer.write(frame(o, body[at:cut]) if cut > at else b"")
            await writer.drain()
            await asyncio.sleep(0.01)
            reset(writer)
            return False
        writer.write(frame(o, body[at:at + step]))
        await writer.drain()
        if o.is_slow:
            await asyncio.sleep(SLOWEST / 10)
    if o.framing == "chunked":
        writer.write(b"0\r\n\r\n")
        await writer.drain()
    return True


def frame(o, piece):
    return b"%x\r\n%b\r\n" % (len(piece), piece) if o.framing == "chunked" else piece


async def answer(writer, method, path, fields):
    """False: the connection is over."""
    o = Truth(number_of(path))
    version = o.version(time.monotonic())
    if o.fails and random.random() < 0.4:
        writer.write(b"HTTP/1.1 503 X\r\nContent-Length: 4\r\nX-Fails: 1\r\n\r\nbad\n")
        await writer.drain()
        return True
    if o.etag and o.etag_of(version).removeprefix("W/") in fields.get("if-none-match", ""):
        writer.write(head_of(o, version, 304, []))
        await writer.drain()
        return True
    body = o.body(version, fields.get("x-kind", ""))
    writer.write(head_of(o, version, 200, framing_of(o, body)))
    if method == "HEAD":
        await writer.drain()
        return o.framing != "close"
    cut = random.randrange(len(body)) if o.is_cut and random.random() < 0.4 else len(body) + (1 << 30)
    return await send_body(writer, o, body, cut) and o.framing != "close"


async def cold(writer, path):
    size = int(path.rsplit("=", 1)[1])
    await asyncio.sleep(0.5)
    writer.write(f"HTTP/1.1 200 X\r\nContent-Length: {size}\r\nX-Serial: {os.getpid()}-{time.monotonic_ns()}\r\n"
                 "Cache-Control: max-age=600\r\n\r\n".encode())
    step = max(1, size // 20)
    for at in range(0, size, step):
        writer.write(memoryview(POOL)[at:min(size, at + step)])
        await writer.drain()
        await asyncio.sleep(0.05)
    return True


async def serve(reader, writer):
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, path, _ = head[0].split(" ")
            fields = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
            going = cold(writer, path) if path.startswith("/cold/") else answer(writer, method, path, fields)
            if not await going:
                break
    except (asyncio.IncompleteReadError, OSError):
        pass
    finally:
        writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), backlog=1024, reuse_address=True)
    asyncio.get_running_loop().add_reader(0, os._exit, 0)  # who started it is no more
    async with server:
        await server.serve_forever()


asyncio.run(main())
