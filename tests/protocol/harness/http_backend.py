"""A real HTTP/1.1 backend: keep-alive, threads, and a record of every request it saw. It answers what a handler says; without one,
200 with its name, or what the target asks for:

    /echo        the request's body            /bytes/N      N bytes
    /status/N    that status                   /chunked/N    N bytes in chunks of 1,000
    /head        the request head as it came   /cut          a response cut in its middle, by RST
"""

import re
import threading
from dataclasses import dataclass, field

from . import message
from .raw_server import RawServer
from .wire import Closed


@dataclass
class Reply:
    status: str = "200 OK"
    body: bytes = b""
    headers: list = field(default_factory=list)
    chunked: bool = False
    close: bool = False


class HttpBackend:
    def __init__(self, name="backend", handler=None, tls=None, port=0, address="127.0.0.1"):
        self.name, self.handler = name, handler
        self.requests = []          # every request, in order of arrival
        self.per_connection = []    # the number of requests that each connection brought
        self.violations = []        # what came that is not one well-formed request after another
        self.ended = 0              # connections that are over
        self._lock = threading.Lock()
        self._server = RawServer(self._serve_all, tls=tls, port=port, address=address)
        self.port, self.address = self._server.port, self._server.address

    @property
    def connection_count(self):
        return len(self._server.connections)

    @property
    def handshake_failures(self):
        return self._server.failures

    @property
    def tls_sockets(self):
        return [c.sock for c in self._server.connections]

    def targets(self):
        return [r.target for r in self.requests]

    def forget(self):
        with self._lock:
            self.requests.clear()
            self.violations.clear()

    def close(self):
        self._server.close()

    def drop_connections(self):
        """Closes every open connection; goes on listening."""
        for connection in list(self._server.connections):
            try:
                connection.sock.shutdown(2)
            except OSError:
                pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _serve_all(self, connection):
        try:
            self._serve(connection)
        finally:
            with self._lock:
                self.ended += 1

    def _serve(self, connection):
        with self._lock:
            index = len(self.per_connection)
            self.per_connection.append(0)
        while True:
            try:
                head = connection.read_request_head(600)
                if "100-continue" in head.fields.tokens("expect"):
                    connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
                head.body, head.trailers, head.is_complete = connection.read_body(message.framing(head.fields), 120)
            except Closed:
                if connection.buffer:
                    self.violations.append(bytes(connection.buffer))
                return
            except message.ProtocolError as error:
                self.violations.append(error)
                connection.send_quietly(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            with self._lock:
                self.requests.append(head)
                self.per_connection[index] += 1
            head.connection_index = index
            if not head.is_complete:
                return
            reply = self.handler(head) if self.handler else self._default(head)
            if reply is None:
                return
            if reply == "reset":
                connection.reset()
                return
            self._send(connection, head, reply)
            if reply.close or "close" in head.fields.tokens("connection"):
                return

    def _default(self, request):
        path = request.target.split("?")[0]
        number = re.search(r"/(\d+)\Z", path)
        if path.endswith("/echo"):
            return Reply(body=request.body)
        if path.endswith("/head"):
            return Reply(body=request.raw_head)
        if path.endswith("/cut"):
            return "reset"
        if number and "/bytes/" in path:
            return Reply(body=pattern(int(number[1])))
        if number and "/chunked/" in path:
            return Reply(body=pattern(int(number[1])), chunked=True)
        if number and "/status/" in path:
            return Reply(status=f"{number[1]} X")
        return Reply(body=self.name.encode())

    def _send(self, connection, request, reply):
        lines = [f"HTTP/1.1 {reply.status}"] + [f"{k}: {v}" for k, v in reply.headers]
        status = int(reply.status.split()[0])
        has_body = request.method != "HEAD" and status not in (204, 304)
        if reply.chunked:
            lines.append("Transfer-Encoding: chunked")
        elif status != 204:
            lines.append(f"Content-Length: {len(reply.body)}")
        if reply.close:
            lines.append("Connection: close")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        body = reply.body if has_body else b""
        if reply.chunked and has_body:
            pieces = [body[i:i + 1000] for i in range(0, len(body), 1000)]
            body = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"
        connection.send(head + body, seconds=120)


_BLOCK = bytes(range(256)) * 256


def pattern(count):
    """Bytes that show when a piece is lost, doubled or moved: the blocks are numbered."""
    out = bytearray()
    number = 0
    while len(out) < count:
        out += b"%08d" % number + _BLOCK[: 1016]
        number += 1
    return bytes(out[:count])
