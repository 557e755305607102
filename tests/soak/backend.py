"""A backend process of its own, so that it can be killed: HTTP on one port, echoing TCP on another.

    backend.py HTTP_PORT TCP_PORT

GET /SIZE/ID answers SIZE bytes that repeat ID: a client sees at once when it gets another's response."""

import asyncio
import sys


class Http(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.buffer = transport, b""

    def data_received(self, data):
        self.buffer += data
        while True:
            head, mark, rest = self.buffer.partition(b"\r\n\r\n")
            if not mark:
                return
            self.buffer = rest
            target = head.split(b" ", 2)[1]
            parts = target.split(b"/")
            size, name = (int(parts[1]), parts[2]) if len(parts) == 3 and parts[1].isdigit() else (2, b"ok")
            body = (name + b"\n") * (size // (len(name) + 1) + 1)
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + body[:size])


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


async def main():
    loop = asyncio.get_running_loop()
    await loop.create_server(Http, "127.0.0.1", int(sys.argv[1]), backlog=1024)
    await loop.create_server(Echo, "127.0.0.1", int(sys.argv[2]), backlog=1024)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
