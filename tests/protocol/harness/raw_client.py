"""A client that sends the bytes it is told to send, and reads answers strictly."""

import socket
import ssl
from dataclasses import dataclass, field

from . import message
from .deadline import SCALE, Deadline
from .message import Fields
from .wire import Closed, Wire


@dataclass
class Response:
    status: int
    reason: str
    minor: int
    fields: Fields
    framing: str
    body: bytes
    is_complete: bool  # all of the body came, by its framing, and nothing reset the connection
    trailers: Fields = field(default_factory=Fields)
    interim: list = field(default_factory=list)  # 1xx responses before it, as (status, fields)
    raw_head: bytes = b""

    def __getitem__(self, name):
        return self.fields.get(name)

    @property
    def text(self):
        return self.body.decode()

    @property
    def will_close(self):
        connection = self.fields.tokens("connection")
        return "close" in connection or (self.minor == 0 and "keep-alive" not in connection)


class RawClient(Wire):
    """Connects on creation: to a port of 127.0.0.1, or to an (address, port). `tls` is an ssl.SSLContext."""

    def __init__(self, where, tls=None, server_name=None, session=None, source=None, seconds=5, receive_buffer=None):
        address = where if isinstance(where, tuple) else ("127.0.0.1", where)
        sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(seconds * SCALE)
        try:
            if source:
                sock.bind((source, 0))
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls:
                sock = tls.wrap_socket(sock, server_hostname=server_name, session=session, suppress_ragged_eofs=False)
        except BaseException:
            sock.close()
            raise
        super().__init__(sock)
        self.host = server_name or "t.example"

    # -- requests --------------------------------------------------------------------------------------------------------

    def send_request(self, method="GET", target="/", headers=(), body=None, host=None):
        """A well-formed request; a body is sent with Content-Length unless the headers frame it."""
        self.send(build_request(method, target, headers, body, host or self.host))

    def request(self, method="GET", target="/", headers=(), body=None, host=None, seconds=5):
        self.send_request(method, target, headers, body, host)
        return self.read_response(method, seconds)

    def get(self, target="/", headers=(), host=None, seconds=5):
        return self.request("GET", target, headers, host=host, seconds=seconds)

    # -- responses -------------------------------------------------------------------------------------------------------

    def read_head(self, seconds=5):
        """(status, reason, minor, fields, raw bytes) of the next response head, interim ones too."""
        raw = self.read_until(b"\r\n\r\n", seconds)
        line, _, rest = raw[:-2].partition(b"\r\n")
        minor, status, reason = message.parse_status_line(line)
        return status, reason, minor, message.parse_fields(rest), raw

    def read_response(self, method="GET", seconds=5, sink=None):
        """The next final response, with its body as far as it came."""
        deadline = Deadline(seconds)
        interim = []
        while True:
            status, reason, minor, fields, raw = self.read_head(deadline.left() / SCALE)
            if not (100 <= status < 200) or status == 101:
                break
            message.framing(fields, status, method)
            interim.append((status, fields))
        framing = message.framing(fields, status, method)
        body, trailers, is_complete = self.read_body(framing, deadline.left() / SCALE, sink)
        return Response(status, reason, minor, fields, framing[0], body, is_complete, trailers, interim, raw)

    def read_response_or_end(self, method="GET", seconds=5):
        """As read_response, but None when the peer closes without (the whole of) a head."""
        try:
            return self.read_response(method, seconds)
        except Closed:
            return None

    @property
    def tls_session(self):
        return self.sock.session


def build_request(method="GET", target="/", headers=(), body=None, host="t.example", version="HTTP/1.1"):
    items = list(headers.items() if isinstance(headers, dict) else headers)
    names = {name.lower() for name, _ in items}
    if "host" not in names and host is not None:
        items.insert(0, ("Host", host))
    if body is not None and not names & {"content-length", "transfer-encoding"}:
        items.append(("Content-Length", str(len(body))))
    lines = [f"{method} {target} {version}"] + [f"{name}: {value}" for name, value in items]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (body or b"")


def get(where, target="/", headers=(), host="t.example", method="GET", body=None, tls=None, server_name=None, seconds=5, source=None):
    """One request on a connection of its own."""
    with RawClient(where, tls=tls, server_name=server_name, source=source) as client:
        return client.request(method, target, headers, body, host=host, seconds=seconds)


def trusting(authority_file, verify=True, minimum=None, maximum=None, alpn=None, cert=None, key=None, ciphers=None):
    """An ssl.SSLContext for a client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF  # an end without close_notify is told as such
    context.check_hostname = verify
    context.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
    if authority_file:
        context.load_verify_locations(authority_file)
    if minimum:
        context.minimum_version = minimum
    if maximum:
        context.maximum_version = maximum
    if alpn:
        context.set_alpn_protocols(alpn)
    if cert:
        context.load_cert_chain(cert, key)
    if ciphers:
        context.set_ciphers(ciphers)
    return context
