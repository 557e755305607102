"""A scripted backend. Either the test itself plays the server (accept(), then read and send on what it gave), or a script
function plays it, in a thread for each connection."""

import queue
import socket
import ssl
import threading

from . import message
from .deadline import SCALE, Deadline
from .wire import Closed, Wire


class Request:
    def __init__(self, raw_head, method, target, version, fields):
        self.raw_head, self.method, self.target, self.version, self.fields = raw_head, method, target, version, fields
        self.body, self.trailers, self.is_complete = b"", message.Fields(), False

    def __getitem__(self, name):
        return self.fields.get(name)

    def __repr__(self):
        return f"<{self.method} {self.target} {self.fields!r} {len(self.body)} bytes>"


class ServerConnection(Wire):
    """A connection that was accepted: what weir sends to a server."""

    def read_request_head(self, seconds=5):
        raw = self.read_until(b"\r\n\r\n", seconds)
        line, _, rest = raw[:-2].partition(b"\r\n")
        method, target, version = message.parse_request_line(line)
        return Request(raw, method, target, version, message.parse_fields(rest))

    def read_request(self, seconds=5, sink=None):
        deadline = Deadline(seconds)
        request = self.read_request_head(seconds)
        framing = message.framing(request.fields)
        request.body, request.trailers, request.is_complete = self.read_body(framing, deadline.left() / SCALE, sink)
        return request

    def respond(self, status="200 OK", headers=(), body=b"", chunks=None):
        """A well-formed answer: with Content-Length, or chunked when `chunks` are given."""
        if isinstance(body, str):
            body = body.encode()
        lines = [f"HTTP/1.1 {status}"] + [f"{k}: {v}" for k, v in (headers.items() if isinstance(headers, dict) else headers)]
        if chunks is None:
            lines.append(f"Content-Length: {len(body)}")
        else:
            lines.append("Transfer-Encoding: chunked")
            body = b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in chunks) + b"0\r\n\r\n"
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body)


class RawServer:
    """`script(connection)` runs in a thread per connection when given; the connection is closed when it returns."""

    def __init__(self, script=None, tls=None, port=0, address="127.0.0.1", receive_buffer=None, backlog=512):
        self.script, self.tls = script, tls
        self.connections = []  # every accepted one, in order
        self.failures = []     # what went wrong in scripts and handshakes
        self._accepted = queue.Queue()
        self._closing = False
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.bind((address, port))
        self.sock.listen(backlog)
        self.port = self.sock.getsockname()[1]
        self.address = f"{address}:{self.port}"
        self._thread = threading.Thread(target=self._accept_all, daemon=True)
        self._thread.start()

    def accept(self, seconds=5):
        """The next connection that came; TimeoutError when none does."""
        try:
            return self._accepted.get(timeout=seconds * SCALE)
        except queue.Empty:
            raise TimeoutError(f"no connection came to the backend in {seconds * SCALE:.1f} s; {self.failures}") from None

    def expect_no_connection(self, seconds=0.2):
        try:
            connection = self._accepted.get(timeout=seconds * SCALE)
        except queue.Empty:
            return
        raise AssertionError(f"an unexpected connection came; bytes: {bytes(connection.received)!r}")

    @property
    def received(self):
        """All bytes of all connections."""
        return b"".join(bytes(c.received) for c in self.connections)

    def close(self):
        self._closing = True
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()
        self._thread.join(5)
        for connection in self.connections:
            try:  # a thread that waits in recv() would keep it open, on a descriptor that is another's by then
                connection.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _accept_all(self):
        while not self._closing:
            try:
                sock, _ = self.sock.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls or self.script:
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()
            else:
                self._add(sock)

    def _add(self, sock):
        connection = ServerConnection(sock)
        self.connections.append(connection)
        self._accepted.put(connection)
        return connection

    def _serve(self, sock):
        try:
            if self.tls:
                sock.settimeout(10 * SCALE)
                sock = self.tls.wrap_socket(sock, server_side=True, suppress_ragged_eofs=False)
        except (OSError, ssl.SSLError) as error:
            self.failures.append(error)
            sock.close()
            return
        connection = self._add(sock)
        if not self.script:
            return
        try:
            self.script(connection)
        except (Closed, OSError, TimeoutError, message.ProtocolError) as error:
            self.failures.append(error)
        finally:
            connection.close()


def serving(cert, key, client_ca=None, alpn=None):
    """An ssl.SSLContext for a backend."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF  # an end without close_notify is told as such
    context.load_cert_chain(cert, key)
    if client_ca:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    if alpn:
        context.set_alpn_protocols(alpn)
    return context
