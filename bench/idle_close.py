#!/usr/bin/env python3
"""What a server costs that closes idle connections early: `bench/idle_close.py [--weir BINARY] [--seconds N] [--says]`.

Servers that end a connection 1 s after their last answer, 10 ms away (a relay holds every byte and every end for so long, either
way), and to each of them one client that asks about once a second: every second one by GET, which weir may send again, the others by
POST, which it may not. Counted, for either half of the time: answers by status, requests that were sent again. --says: the servers tell their
limit (`Keep-Alive: timeout=1`)."""

import argparse
import asyncio
import collections
import os
import random
import re
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
LIMIT, AWAY, SERVERS = 1.0, 0.010, 20


class Server(asyncio.Protocol):
    """A GET or POST with its body is answered as soon as its last bytes, "end\\r\\n\\r\\n" or "body", are there."""

    says = b""

    def connection_made(self, transport):
        self.transport, self.seen, self.timer = transport, b"", None
        self.wait()

    def wait(self):
        if self.timer:
            self.timer.cancel()
        self.timer = asyncio.get_running_loop().call_later(LIMIT, self.transport.close)

    def data_received(self, data):
        self.seen += data
        head, found, body = self.seen.partition(b"\r\n\r\n")
        if not found or (head.startswith(b"POST") and len(body) < 4):
            return
        self.seen = b""
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + Server.says + b"\r\nok")
        self.wait()


class Late(asyncio.Protocol):
    """One side of the relay: what comes is given to the other side a moment later, in order."""

    def __init__(self, other=None, port=None):
        self.other, self.port, self.early, self.transport = other, port, [], None

    def connection_made(self, transport):
        self.transport = transport
        if self.other is None:
            self.other = Late(other=self)
            loop = asyncio.get_running_loop()
            loop.create_task(loop.create_connection(lambda: self.other, "127.0.0.1", self.port))
        for act in self.early:
            act()

    def later(self, act):
        def due():
            if self.transport is None:
                self.early.append(act)
            elif not self.transport.is_closing():
                act()
        asyncio.get_running_loop().call_later(AWAY, due)

    def data_received(self, data):
        self.other.later(lambda: self.other.transport.write(data))

    def connection_lost(self, error):
        # The kernel resets what still comes to a socket that is closed, as the server's would.
        self.other.later(lambda: self.other.transport.close())


async def ask(port, number, middle, until, told):
    method = "GET" if number % 2 else "POST"
    body = "" if method == "GET" else "body"
    text = f"{method} /{number} HTTP/1.1\r\nHost: h\r\n" + (f"Content-Length: {len(body)}\r\n" if body else "") + f"\r\n{body}"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    loop = asyncio.get_running_loop()
    while loop.time() < until:
        writer.write(text.encode())
        status = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1]
        if status != b"200":
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        else:
            await reader.readexactly(2)
        told[loop.time() > middle][status.decode()] += 1
        await asyncio.sleep(random.uniform(LIMIT * 0.9, LIMIT * 1.1))
    writer.close()


async def numbers(folder, pause):
    await asyncio.sleep(pause)
    reader, writer = await asyncio.open_unix_connection(f"{folder}/sock")
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    text = (await reader.read()).decode()
    writer.close()

    def count(name):
        return sum(int(float(n)) for n in re.findall(rf"^weir_{name}_total\{{[^}}]*\}} (\S+)$", text, re.M))
    return count("retries"), count("upstream_connections_reused"), count("upstream_connections_opened")


async def run(weir, seconds):
    loop = asyncio.get_running_loop()
    ports = []
    for _ in range(SERVERS):
        server = await loop.create_server(Server, "127.0.0.1", 0)
        behind = server.sockets[0].getsockname()[1]
        relay = await loop.create_server(lambda port=behind: Late(port=port), "127.0.0.1", 0)
        ports.append(relay.sockets[0].getsockname()[1])
    folder = tempfile.mkdtemp(prefix="weir-idle-")
    with open(os.path.join(folder, "weir.yaml"), "w") as f:
        f.write(f"workers: 1\nadmin: {{ socket: {folder}/sock }}\nlog: {{ access: false, level: error }}\n"
                "listeners: { h: { bind: '127.0.0.1:18980' } }\nroutes:\n")
        f.writelines(f"  - {{ path: /{i}, upstream: u{i} }}\n" for i in range(SERVERS))
        f.write("upstreams:\n")
        f.writelines(f"  u{i}: {{ servers: ['127.0.0.1:{port}'] }}\n" for i, port in enumerate(ports))
    process = subprocess.Popen([weir, "-c", f.name], stderr=subprocess.DEVNULL)
    try:
        await asyncio.sleep(1)
        told = collections.Counter(), collections.Counter()
        middle = loop.time() + seconds / 2
        asked = [asyncio.create_task(ask(18980, i, middle, middle + seconds / 2, told)) for i in range(SERVERS)]
        first = await numbers(folder, seconds / 2)
        await asyncio.gather(*asked)
        last = await numbers(folder, 0)
    finally:
        process.terminate()
        process.wait()
    for name, answers, (retries, reused, opened) in (("first", told[0], first), ("second", told[1], [b - a for a, b in zip(first, last)])):
        print(f"{name} half: answers {dict(answers)}; sent again {retries}; idle connections used {reused}, opened {opened}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--weir", default=os.path.join(HERE, "..", "build", "weir"))
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--says", action="store_true")
    options = parser.parse_args()
    if options.says:
        Server.says = b"Keep-Alive: timeout=1\r\n"
    asyncio.run(run(options.weir, options.seconds))
