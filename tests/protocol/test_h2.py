"""HTTP/2 from clients: over TLS by ALPN and by prior knowledge, in front of HTTP/1.1 backends."""

import random
import re
import signal
import socket
import struct
import time

import hpack
import pytest

from harness import Reply, SCALE, Deadline, wait_until
from harness.http_backend import pattern
from harness.raw_client import trusting

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
PRIORITY_UPDATE = 0x10
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, CANCEL, CALM = 0, 1, 2, 8, 11
END_STREAM, END_HEADERS, ACK = 1, 4, 1
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MiB = 1 << 20


class Closed(Exception):
    pass


class Stream:
    def __init__(self):
        self.interim, self.headers, self.trailers = [], None, None
        self.body, self.ended, self.reset = b"", False, None

    @property
    def status(self):
        return int(dict(self.headers)[":status"])

    def get(self, name):
        return dict(self.headers).get(name)


class H2:
    """A client that sends frames as it is told, and takes in what comes. `window`: whether it gives windows back."""

    def __init__(self, port, tls=None, window=True, settings=(), preface=True, receive_buffer=None):
        self.sock = socket.socket()
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(10 * SCALE)
        self.sock.connect(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self.sock = tls.wrap_socket(self.sock, server_hostname="localhost")
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.buffer, self.streams, self.goaways, self.pings, self.window = b"", {}, [], [], window
        self.peer_settings, self.credit, self.next_id, self.block = {}, {}, 1, b""
        if preface:
            self.send(PREFACE + frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *s) for s in settings)))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def send(self, data):
        self.sock.settimeout(20 * SCALE)
        self.sock.sendall(data)

    def head(self, stream, fields, flags=END_HEADERS | END_STREAM):
        self.send(frame(HEADERS, flags, stream, self.encoder.encode(fields)))

    def request(self, fields=(), method="GET", path="/", end=True, body=None, drop=()):
        stream = self.next_id
        self.next_id += 2
        self.streams[stream] = Stream()
        head = [(":method", method), (":scheme", "https" if hasattr(self.sock, "cipher") else "http"), (":authority", "t.example"),
                (":path", path)]
        head = [f for f in head if f[0] not in drop] + list(fields)
        self.head(stream, head, END_HEADERS | (END_STREAM if end and body is None else 0))
        if body is not None:
            self.data(stream, body, end)
        return stream

    def data(self, stream, body, end=True):
        """Sends within the windows that it was given."""
        view = memoryview(body)
        while True:
            room = min(len(view), 16384, self.room(0), self.room(stream))
            if room == 0 and len(view):
                self.step()
                if self.streams[stream].ended or self.streams[stream].reset is not None:
                    return
                continue
            last = room == len(view)
            self.send(frame(DATA, END_STREAM if end and last else 0, stream, bytes(view[:room])))
            self.credit[0] = self.credit.get(0, 0) - room
            self.credit[stream] = self.credit.get(stream, 0) - room
            view = view[room:]
            if last:
                return

    def room(self, stream):
        first = 65535 if stream == 0 else self.peer_settings.get(4, 65535)
        return first + self.credit.get(stream, 0)

    def step(self, seconds=10):
        """Takes in one frame."""
        self.sock.settimeout(seconds * SCALE)
        while len(self.buffer) < 9 or len(self.buffer) < 9 + int.from_bytes(self.buffer[:3], "big"):
            try:
                more = self.sock.recv(1 << 18)
            except (ConnectionResetError, BrokenPipeError):
                more = b""
            if not more:
                raise Closed(self.goaways)
            self.buffer += more
        length, kind, flags = int.from_bytes(self.buffer[:3], "big"), self.buffer[3], self.buffer[4]
        stream = int.from_bytes(self.buffer[5:9], "big")
        payload, self.buffer = self.buffer[9:9 + length], self.buffer[9 + length:]
        self.take(kind, flags, stream, payload)
        return kind

    def take(self, kind, flags, stream, payload):
        s = self.streams.setdefault(stream, Stream()) if stream else None
        if kind == DATA:
            s.body += payload
            if self.window and payload:
                update = struct.pack(">I", len(payload))
                self.send(frame(WINDOW_UPDATE, 0, 0, update) + frame(WINDOW_UPDATE, 0, stream, update))
        elif kind in (HEADERS, CONTINUATION):
            self.block += payload
            if flags & END_HEADERS:
                fields = [(k, v) for k, v in self.decoder.decode(self.block)]
                self.block = b""
                if s.headers is not None:
                    s.trailers = fields
                elif fields[0][1].startswith("1"):
                    s.interim.append(fields)
                else:
                    s.headers = fields
        elif kind == RST_STREAM:
            s.reset = int.from_bytes(payload, "big")
        elif kind == GOAWAY:
            self.goaways.append(struct.unpack(">II", payload[:8]))
        elif kind == SETTINGS and not flags & ACK:
            for i in range(0, len(payload), 6):
                key, value = struct.unpack(">HI", payload[i:i + 6])
                self.peer_settings[key] = value
            self.send(frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self.send(frame(PING, ACK, 0, payload))
        elif kind == PING:
            self.pings.append(payload)
        elif kind == WINDOW_UPDATE:
            self.credit[stream] = self.credit.get(stream, 0) + int.from_bytes(payload, "big")
        if kind in (DATA, HEADERS) and flags & END_STREAM:
            s.ended = True

    def until(self, condition, seconds=10):
        deadline = Deadline(seconds)
        while not condition():
            self.step(deadline.left() / SCALE)

    def answer(self, stream, seconds=10):
        s = self.streams[stream]
        self.until(lambda: s.ended or s.reset is not None, seconds)
        return s

    def ask(self, *arguments, **options):
        return self.answer(self.request(*arguments, **options))

    def read_to_the_end(self, seconds=10):
        deadline = Deadline(seconds)
        try:
            while True:
                self.step(deadline.left() / SCALE)
        except Closed:
            pass
        return self.goaways


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


@pytest.fixture(scope="module")
def plain(module_site, module_backend):
    return module_site([{"path": "/quick", "respond": {"status": 200, "body": "quick"}}, {"upstream": "app"}],
                       {"app": module_backend.address})


@pytest.fixture
def h2(plain):
    with H2(plain.port()) as client:
        yield client


# -- requests and responses --------------------------------------------------------------------------------------------------

def test_alpn_chooses_h2(site, http_backend, authority, localhost_cert):
    weir = site([{"upstream": "app"}], {"app": http_backend().address},
                {"web": {"tls": {"certificates": [{"cert": localhost_cert[0], "key": localhost_cert[1]}]}}})
    with H2(weir.port(), tls=trusting(authority.file, alpn=["h2", "http/1.1"])) as client:
        assert client.sock.selected_alpn_protocol() == "h2"
        assert client.ask().body == b"backend"
        assert client.ask(path="/bytes/300000").body == pattern(300000)
    with weir.client(tls=trusting(authority.file, alpn=["http/1.1"]), server_name="localhost") as client:
        assert client.get().body == b"backend"


def test_http2_false_offers_no_h2(site, http_backend, authority, localhost_cert):
    weir = site([{"upstream": "app"}], {"app": http_backend().address},
                {"web": {"http2": False, "tls": {"certificates": [{"cert": localhost_cert[0], "key": localhost_cert[1]}]}},
                 "plain": {"http2": False}})
    with weir.client(tls=trusting(authority.file, alpn=["h2", "http/1.1"]), server_name="localhost") as client:
        assert client.sock.selected_alpn_protocol() == "http/1.1"
    with weir.client("plain") as client:
        client.send(PREFACE)
        assert client.read_response().status in (400, 505)


def test_the_preface_may_come_byte_by_byte(plain):
    with H2(plain.port(), preface=False) as client:
        for i in range(len(PREFACE)):
            client.send(PREFACE[i:i + 1])
            time.sleep(0.001)
        client.send(frame(SETTINGS, 0, 0))
        assert client.ask().body == b"module"


@pytest.mark.parametrize("name", ["plain", "tls"])
def test_the_preface_may_be_cut_anywhere(plain, site, authority, localhost_cert, name):
    tls = trusting(authority.file, alpn=["h2"]) if name == "tls" else None
    weir = plain if name == "plain" else site([{"path": "/quick", "respond": {"status": 200}}], {}, {
        "web": {"tls": {"certificates": [{"cert": localhost_cert[0], "key": localhost_cert[1]}]}}})
    for cut in range(1, len(PREFACE)):
        with H2(weir.port(), tls=tls, preface=False) as client:
            client.send(PREFACE[:cut])
            time.sleep(0.002)  # so that it is seen alone, most often
            client.send(PREFACE[cut:] + frame(SETTINGS, 0, 0))
            assert client.ask(path="/quick").status == 200, cut


@pytest.mark.parametrize("scheme", ["http", "https", "HTTPS"])
def test_the_scheme_that_is_told_on_is_the_connections(h2, scheme):
    stream = h2.next_id
    h2.next_id += 2
    h2.streams[stream] = Stream()
    h2.head(stream, [(":method", "GET"), (":scheme", scheme), (":authority", "t.example"), (":path", "/head?q=1")])
    s = h2.answer(stream)
    assert s.status == 200 and b"\r\nX-Forwarded-Proto: http\r\n" in s.body and s.body.startswith(b"GET /head?q=1 HTTP/1.1\r\n")


def test_a_client_that_says_no_more_gets_its_answers(site, server):
    weir = site([{"path": "/quick", "respond": {"status": 200, "body": "quick"}}, {"upstream": "app"}], {"app": server.address})
    with H2(weir.port()) as client:
        first, second, cut = client.request(), client.request(path="/quick"), client.request(path="/cut", method="POST", end=False)
        backend = server.accept()
        backend.read_request()
        client.until(lambda: client.peer_settings)
        client.window = False  # it can give none back any more
        client.sock.shutdown(socket.SHUT_WR)
        assert client.answer(second).body == b"quick"
        client.until(lambda: client.streams[cut].reset is not None)
        backend.respond(body="late")
        assert client.answer(first).body == b"late"
        client.read_to_the_end()


def test_a_request_comes_to_the_backend_as_http_1_1(h2, module_backend):
    module_backend.forget()
    s = h2.ask([("cookie", "a=1"), ("x-one", "1"), ("cookie", "b=2")], path="/head?q=1")
    assert s.status == 200
    lines = s.body.decode().split("\r\n")
    assert lines[0] == "GET /head?q=1 HTTP/1.1" and lines[1] == "Host: t.example"
    assert "cookie: a=1; b=2" in lines and "x-one: 1" in lines
    assert not module_backend.violations


def test_names_of_response_fields_are_in_lower_case(site, http_backend):
    backend = http_backend(handler=lambda r: Reply(headers=[("X-Big-Name", "v"), ("Keep-Alive", "timeout=5"), ("Connection", "keep-alive, X-Hop"),
                                                            ("X-Hop", "1")]))
    weir = site([{"upstream": "app"}], {"app": backend.address})
    with H2(weir.port()) as client:
        s = client.ask()
        assert s.get("x-big-name") == "v"
        assert all(k == k.lower() for k, _ in s.headers)
        assert not {"keep-alive", "connection", "x-hop", "transfer-encoding"} & {k for k, _ in s.headers}


def test_a_body_with_and_without_length(h2):
    body = pattern(200_000)
    assert h2.ask(method="POST", path="/echo", body=body, fields=[("content-length", str(len(body)))]).body == body
    assert h2.ask(method="POST", path="/echo", body=body).body == body
    assert h2.ask(method="POST", path="/echo", body=b"").body == b""


def test_a_chunked_response_loses_its_chunks(h2):
    s = h2.ask(path="/chunked/100000")
    assert s.body == pattern(100_000) and s.get("content-length") is None and s.get("transfer-encoding") is None


@pytest.mark.parametrize("status", [204, 304])
def test_a_response_without_a_body(h2, status):
    s = h2.ask(path=f"/status/{status}")
    assert s.status == status and s.body == b"" and s.reset is None


def test_head_has_a_length_and_no_body(h2):
    s = h2.ask(method="HEAD", path="/bytes/5000")
    assert s.status == 200 and s.get("content-length") == "5000" and s.body == b""


def test_a_hundred_streams_at_once(h2):
    ids = [h2.request(path=f"/bytes/{1000 + i}") for i in range(100)]
    for i, stream in enumerate(ids):
        assert h2.answer(stream).body == pattern(1000 + i)


def test_more_streams_than_allowed_are_refused_and_the_others_answered(plain):
    with H2(plain.port()) as client:
        client.until(lambda: 3 in client.peer_settings)
        most = client.peer_settings[3]
        assert most == 128
        client.ask(path="/quick")
        ids = [client.request(path="/quick", end=False, method="POST") for _ in range(most)]
        for stream in ids:
            client.data(stream, b"")
        assert all(client.answer(i).status == 200 for i in ids)


def test_trailers_of_a_request_and_of_a_response(site, raw_server):
    def script(connection):
        request = connection.read_request()
        assert request.trailers.get("x-sum") == "7"
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-End: yes\r\n\r\n")
    server = raw_server(script)
    weir = site([{"upstream": "app"}], {"app": server.address})
    with H2(weir.port()) as client:
        stream = client.request(method="POST", end=False)
        client.data(stream, b"body", end=False)
        client.head(stream, [("x-sum", "7")])
        s = client.answer(stream)
        assert s.body == b"abc" and s.trailers == [("x-end", "yes")]
    assert not server.failures


def test_interim_responses_come_through(site, server):
    weir = site([{"upstream": "app"}], {"app": server.address})
    with H2(weir.port()) as client:
        stream = client.request()
        backend = server.accept()
        backend.read_request()
        backend.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n")
        client.until(lambda: client.streams[stream].interim)
        assert client.streams[stream].interim[0] == [(":status", "103"), ("link", "</a>; rel=preload")]
        backend.respond(body="done")
        assert client.answer(stream).body == b"done"


def test_expect_100_continue(site, server):
    weir = site([{"upstream": "app"}], {"app": server.address})
    with H2(weir.port()) as client:
        stream = client.request([("expect", "100-continue"), ("content-length", "4")], method="POST", end=False)
        backend = server.accept()
        backend.read_request_head()
        backend.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        client.until(lambda: client.streams[stream].interim)
        client.data(stream, b"body")
        assert backend.read_exact(4) == b"body"
        backend.respond(body="ok")
        assert client.answer(stream).body == b"ok"


def test_no_route_and_a_dead_backend(site):
    weir = site([{"path": "/x", "upstream": "app"}], {"app": "127.0.0.1:1"})
    with H2(weir.port()) as client:
        assert client.ask(path="/nowhere").status == 404
        assert client.ask(path="/x").status in (502, 503)
        assert client.ask(path="/nowhere").status == 404


def test_a_response_cut_short_is_a_reset_stream(site, server):
    weir = site([{"upstream": "app"}], {"app": server.address})
    with H2(weir.port()) as client:
        stream = client.request()
        backend = server.accept()
        backend.read_request()
        backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        client.until(lambda: client.streams[stream].body == b"half")
        backend.close()
        s = client.answer(stream)
        assert s.reset == INTERNAL_ERROR and not s.ended


def test_a_reset_by_the_client_ends_the_request_to_the_backend(site, server):
    weir = site([{"upstream": "app"}], {"app": server.address})
    with H2(weir.port()) as client:
        stream = client.request()
        backend = server.accept()
        backend.read_request()
        client.send(frame(RST_STREAM, 0, stream, struct.pack(">I", CANCEL)))
        backend.read_to_end()
        client.send(frame(PING, 0, 0, b"12345678"))
        client.until(lambda: client.pings)


def test_an_answer_before_the_body_ends_the_stream_without_an_error(h2):
    stream = h2.request(path="/quick", method="POST", end=False, fields=[("content-length", str(10 * MiB))])
    s = h2.streams[stream]
    h2.until(lambda: s.ended and s.reset is not None)
    assert s.body == b"quick" and s.reset == NO_ERROR
    assert h2.ask(path="/quick").status == 200


def test_a_short_rest_of_a_request_that_is_answered_is_read_without_a_reset(h2):
    stream = h2.request(path="/quick", method="POST", end=False)
    s = h2.streams[stream]
    h2.until(lambda: s.ended)
    h2.data(stream, b"the rest")
    assert h2.ask(path="/quick").status == 200
    assert s.reset is None


def test_malformed_requests_are_counted(site):
    weir = site([{"respond": {"status": 200}}])
    with H2(weir.port()) as client:
        assert client.ask([("connection", "close")]).reset == PROTOCOL_ERROR
        assert client.ask().status == 200
    assert weir.admin.metrics().sum("weir_http2_malformed_total") == 1


def test_the_access_log_tells_http_2(site, tmp_path):
    log = tmp_path / "access.log"
    weir = site([{"respond": {"status": 200, "body": "x"}}],
                listeners={"web": {"log": {"access": {"format": "json", "output": str(log)}}}})
    with H2(weir.port()) as client:
        client.ask(path="/seen")
    wait_until(lambda: "/seen" in log.read_text(), 5, "the line")
    assert "HTTP/2" in log.read_text()


# -- flow control ------------------------------------------------------------------------------------------------------------

def test_a_slow_client_stops_the_backend(site, server):
    weir = site([{"upstream": "app"}], {"app": server.address}, workers=1)
    total = 64 * MiB
    with H2(weir.port(), window=False) as client:
        stream = client.request()
        backend = server.accept()
        backend.read_request()
        before = weir.rss_bytes()
        backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        backend.sock.settimeout(0.5 * SCALE)
        sent = 0
        piece = bytes(65536)
        with pytest.raises((TimeoutError, socket.timeout)):
            while sent < total:
                sent += backend.sock.send(piece)
        assert sent < 24 * MiB
        assert weir.rss_bytes() - before < 12 * MiB
        client.until(lambda: len(client.streams[stream].body) == 65535)


def test_a_stream_that_is_not_taken_holds_up_no_other(plain):
    with H2(plain.port(), window=False) as client:
        client.send(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 100 * MiB)))
        slow = client.request(path="/bytes/2000000")
        client.until(lambda: len(client.streams[slow].body) == 65535)
        assert client.ask(path="/bytes/20000").body == pattern(20000)
        client.send(frame(WINDOW_UPDATE, 0, slow, struct.pack(">I", 10 * MiB)))
        assert client.answer(slow).body == pattern(2_000_000)


@pytest.mark.parametrize("how", ["field", "frame"])
def test_the_more_urgent_stream_goes_first(plain, how):
    with H2(plain.port(), window=False, settings=[(4, MiB)]) as client:
        later = client.request([("priority", "u=7")], path="/bytes/300000")
        client.until(lambda: len(client.streams[later].body) == 65535)
        first = client.request([("priority", "u=0")] if how == "field" else [("priority", "u=7")], path="/bytes/200000")
        client.until(lambda: client.streams[first].headers is not None)
        if how == "frame":
            client.send(frame(PRIORITY_UPDATE, 0, 0, struct.pack(">I", first) + b"u=1"))
        client.send(frame(PING, 0, 0, b"12345678"))
        client.until(lambda: client.pings)
        client.send(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 60000)))
        client.until(lambda: len(client.streams[first].body) + len(client.streams[later].body) == 125535)
        assert len(client.streams[first].body) == 60000


def test_a_slow_backend_stops_the_client(site, server):
    weir = site([{"upstream": "app"}], {"app": server.address}, workers=1)
    with H2(weir.port()) as client:
        before = weir.rss_bytes()
        stream = client.request(method="POST", end=False)
        backend = server.accept()
        backend.read_request_head()
        sent = 0
        with pytest.raises((TimeoutError, socket.timeout)):
            while sent < 64 * MiB:
                room = min(16384, client.room(0), client.room(stream))
                if room:
                    client.send(frame(DATA, 0, stream, bytes(room)))
                    sent += room
                    for key in (0, stream):
                        client.credit[key] = client.credit.get(key, 0) - room
                else:
                    client.step(0.5)
        assert sent < 24 * MiB
        assert weir.rss_bytes() - before < 12 * MiB
        other = client.request(path="/other")
        assert server.accept().read_request().target == "/other"
        assert other


def test_what_was_held_back_goes_on(site, http_backend):
    weir = site([{"upstream": "app"}], {"app": http_backend().address})
    body = pattern(5 * MiB)
    with H2(weir.port()) as client:
        assert client.ask(method="POST", path="/echo", body=body).body == body


def test_many_streams_that_are_not_taken_hold_bounded_memory(site, http_backend):
    weir = site([{"upstream": "app"}], {"app": http_backend().address}, workers=1)
    with H2(weir.port(), window=False) as client:
        client.ask(path="/bytes/10")
        before = weir.rss_bytes()
        ids = [client.request(path="/bytes/4000000") for _ in range(100)]
        client.until(lambda: sum(client.streams[i].headers is not None for i in ids) == 100, 30)
        time.sleep(0.5)
        assert weir.rss_bytes() - before < (80 if weir.is_sanitized else 40) * MiB


# -- what RFC 9113 forbids ---------------------------------------------------------------------------------------------------

def raw_field(name, value):
    """A literal without indexing, whatever the bytes."""
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value


GOOD = [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"t.example"), (b":path", b"/reached")]


def bad(*fields, without=(), instead=None):
    head = [f for f in GOOD if f[0] not in without]
    if instead:
        head = [instead if f[0] == instead[0] else f for f in head]
    return b"".join(raw_field(*f) for f in head + list(fields))


MALFORMED = {
    "capitals": bad((b"X-Big", b"1")),
    "connection": bad((b"connection", b"close")),
    "keep-alive": bad((b"keep-alive", b"1")),
    "proxy-connection": bad((b"proxy-connection", b"close")),
    "transfer-encoding": bad((b"transfer-encoding", b"chunked")),
    "upgrade": bad((b"upgrade", b"h2c")),
    "te": bad((b"te", b"gzip")),
    "cr-in-value": bad((b"x", b"a\rb")),
    "lf-in-value": bad((b"x", b"a\nb")),
    "crlf-in-value": bad((b"x", b"a\r\ntransfer-encoding: chunked")),
    "nul-in-value": bad((b"x", b"a\0b")),
    "colon-in-name": bad((b"x:y", b"1")),
    "space-in-name": bad((b"x y", b"1")),
    "lf-in-name": bad((b"x\ny", b"1")),
    "empty-name": bad((b"", b"1")),
    "leading-space": bad((b"x", b" 1")),
    "trailing-tab": bad((b"x", b"1\t")),
    "no-method": bad(without=(b":method",)),
    "no-scheme": bad(without=(b":scheme",)),
    "no-path": bad(without=(b":path",)),
    "no-authority": bad(without=(b":authority",)),
    "two-methods": bad((b":method", b"GET")),
    "two-paths": bad((b":path", b"/")),
    "pseudo-late": bad((b"x", b"1")) + raw_field(b":path", b"/"),
    "unknown-pseudo": raw_field(b":strange", b"1") + bad(),
    "status": raw_field(b":status", b"200") + bad(),
    "protocol": raw_field(b":protocol", b"connect-udp") + bad(instead=(b":method", b"CONNECT")),
    "empty-path": bad(instead=(b":path", b"")),
    "path-without-slash": bad(instead=(b":path", b"reached")),
    "absolute-path": bad(instead=(b":path", b"http://t.example/reached")),
    "space-in-path": bad(instead=(b":path", b"/a b")),
    "crlf-in-path": bad(instead=(b":path", b"/ HTTP/1.1\r\nx: y")),
    "fragment": bad(instead=(b":path", b"/a#b")),
    "star-post": bad(instead=(b":path", b"*")),
    "space-in-method": bad(instead=(b":method", b"GET /")),
    "lf-in-method": bad(instead=(b":method", b"GE\nT")),
    "scheme": bad(instead=(b":scheme", b"ftp")),
    "userinfo": bad(instead=(b":authority", b"u@t.example")),
    "crlf-in-authority": bad(instead=(b":authority", b"t\r\nx: y")),
    "empty-authority": bad(instead=(b":authority", b"")),
    "host-of-another": bad((b"host", b"other.example")),
    "two-hosts": bad((b"host", b"t.example"), (b"host", b"t.example")),
    "two-lengths": bad((b"content-length", b"4"), (b"content-length", b"4")),
    "length-sign": bad((b"content-length", b"+4")),
    "length-list": bad((b"content-length", b"4, 4")),
    "length-huge": bad((b"content-length", b"99999999999999999999")),
}


@pytest.mark.parametrize("name", sorted(MALFORMED))
def test_a_malformed_request_reaches_no_backend(plain, module_backend, name):
    module_backend.forget()
    with H2(plain.port()) as client:
        client.streams[1] = Stream()
        client.send(frame(HEADERS, END_HEADERS, 1, MALFORMED[name]) + frame(DATA, END_STREAM, 1, b"body"))
        s = client.answer(1)
        assert (s.reset == PROTOCOL_ERROR) or s.status in (400, 501), (s.reset, s.headers)
        client.next_id = 3
        assert client.ask(path="/quick").status == 200  # the connection goes on
    assert "/reached" not in module_backend.targets() and not module_backend.requests


@pytest.mark.parametrize("told,body", [(4, b"12345"), (4, b"123"), (4, b""), (0, b"1")])
def test_a_length_that_lies_is_a_reset(plain, module_backend, told, body):
    path = f"/lies/{told}/{len(body)}"
    with H2(plain.port()) as client:
        s = client.ask([("content-length", str(told))], method="POST", path=path, body=body)
        # A request of length 0 is complete with its head: its answer may be out before the lie is heard.
        assert s.reset == PROTOCOL_ERROR or (told == 0 and s.status == 200)
    complete = [r for r in module_backend.requests if r.target == path and r.is_complete]
    assert not complete or told == 0  # which is complete with its head
    assert not module_backend.violations


def test_a_length_with_an_end_in_the_head_is_refused(h2, module_backend):
    s = h2.ask([("content-length", "4")], method="POST", path="/no-body")
    assert s.reset == PROTOCOL_ERROR or s.status == 400
    assert "/no-body" not in module_backend.targets()


@pytest.mark.parametrize("name,value", [("transfer-encoding", "chunked"), ("content-length", "3"), ("host", "x"), (":path", "/")])
def test_trailers_that_may_not_be_trailers(plain, module_backend, name, value):
    path = f"/trailers/{name}"
    with H2(plain.port()) as client:
        stream = client.request(method="POST", path=path, end=False)
        client.data(stream, b"body", end=False)
        client.head(stream, [(name, value)])
        assert client.answer(stream).reset == PROTOCOL_ERROR
    assert not [r for r in module_backend.requests if r.target == path and r.is_complete]


def test_a_head_past_its_limits_is_431(site, http_backend):
    backend = http_backend()
    weir = site([{"upstream": "app"}], {"app": backend.address}, limits={"header_size": "4KiB", "header_count": 20})
    with H2(weir.port()) as client:
        assert client.ask([(f"x-{i}", "v") for i in range(30)]).status == 431
        assert client.ask([("x-long", "v" * 6000)]).status == 431
        assert client.ask(path="/" + "a" * 9000).status in (414, 431)
        assert client.ask().status == 200
    assert len(backend.requests) == 1


@pytest.mark.parametrize("first", [
    b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n" + frame(SETTINGS, 0, 0),
    PREFACE + frame(PING, 0, 0, b"12345678"),
    PREFACE + frame(SETTINGS, 0, 0) + frame(DATA, 0, 1, b"x"),
    PREFACE + frame(SETTINGS, 0, 0) + frame(PING, 0, 0, b"123"),
    PREFACE + frame(SETTINGS, 0, 0, b"123"),
    PREFACE + frame(SETTINGS, 0, 0) + frame(HEADERS, END_HEADERS, 2, bad()),
    PREFACE + frame(SETTINGS, 0, 0) + frame(HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff"),
    PREFACE + frame(SETTINGS, 0, 0) + frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\0"),
    PREFACE + frame(SETTINGS, 0, 0) + frame(PUSH, END_HEADERS, 1, b"\0\0\0\2"),
])
def test_an_error_of_the_connection_ends_it(plain, first):
    with H2(plain.port(), preface=False) as client:
        client.send(first)
        goaways = client.read_to_the_end()
        assert not goaways or goaways[-1][1] != NO_ERROR


NASTY = [b"\r", b"\n", b"\r\n\r\n", b"\0", b":", b" ", b"\t", b"A", b"\x80", b"%00", b"#", b"chunked", b"GET / HTTP/1.1\r\n\r\n", b","]
NAMES = [b":method", b":path", b":authority", b":scheme", b"host", b"content-length", b"transfer-encoding", b"connection", b"te", b"x", b"cookie",
         b"expect", b"upgrade", b"trailer"]
VALUES = [b"POST", b"GET", b"/echo", b"t.example", b"http", b"5", b"0", b"chunked", b"close", b"trailers", b"100-continue", b"*", b""]


def nasty(random_, text):
    at = random_.randrange(len(text) + 1)
    return text[:at] + random_.choice(NASTY) + text[at:]


def random_head(random_):
    fields = [(b":method", random_.choice([b"POST", b"GET"])), (b":scheme", b"http"), (b":authority", b"t.example"), (b":path", b"/echo")]
    for _ in range(random_.randrange(3)):
        fields.insert(random_.randrange(4, len(fields) + 1), (random_.choice(NAMES), random_.choice(VALUES)))
    for _ in range(random_.randrange(2)):
        i = random_.randrange(len(fields))
        name, value = fields[i]
        fields[i] = (nasty(random_, name), value) if random_.random() < 0.3 else (name, nasty(random_, value))
    return b"".join(raw_field(*f) for f in fields)


def random_frames(random_, stream):
    out = frame(HEADERS, END_HEADERS | random_.choice([0, 0, END_STREAM]), stream, random_head(random_))
    for _ in range(random_.randrange(4)):
        out += random_.choice([
            lambda: frame(DATA, random_.choice([0, END_STREAM]), stream, b"a" * random_.randrange(8)),
            lambda: frame(DATA, 8, stream, bytes([2]) + b"ab\0\0"),
            lambda: frame(HEADERS, END_HEADERS | END_STREAM, stream, raw_field(random_.choice(NAMES), random_.choice(VALUES))),
            lambda: frame(RST_STREAM, 0, stream, bytes(4)),
            lambda: frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", random_.randrange(100))),
            lambda: frame(PRIORITY, 0, stream, bytes(5)),
        ])()
    return out


def test_whatever_comes_only_good_requests_reach_the_backend(plain, module_backend):
    module_backend.forget()
    random_ = random.Random(3)
    for _ in range(120):
        with H2(plain.port()) as client:
            data = b"".join(random_frames(random_, i) for i in range(1, 21, 2))
            if random_.random() < 0.3:
                data = bytearray(data)
                for _ in range(3):
                    data[random_.randrange(len(data))] = random_.randrange(256)
            try:
                client.send(bytes(data) + frame(PING, 0, 0, b"12345678"))
                client.until(lambda: client.pings, 1)
            except (Closed, BrokenPipeError, ConnectionResetError):
                pass
            except TimeoutError:
                pass  # a frame that never ends
    with H2(plain.port()) as client:
        assert client.ask().status == 200
    assert not module_backend.violations
    for request in module_backend.requests:
        assert len(request.fields.all("host")) == 1 and re.fullmatch(r"[A-Za-z0-9.%,:-]+", request["host"]), request
        assert re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", request.method) and re.fullmatch(r"[/*][!-~]*", request.target), request


# -- floods ------------------------------------------------------------------------------------------------------------------

def resets(client):
    def once():
        stream = client.next_id
        client.next_id += 2
        return frame(HEADERS, END_HEADERS | END_STREAM, stream, bad()) + frame(RST_STREAM, 0, stream, struct.pack(">I", CANCEL))
    return once


def malformed(client):
    def once():
        stream = client.next_id
        client.next_id += 2
        return frame(HEADERS, END_HEADERS | END_STREAM, stream, bad((b"connection", b"close")))
    return once


def empty_data(client):
    client.send(frame(HEADERS, END_HEADERS, 1, bad()))
    return lambda: frame(DATA, 0, 1)


def padding(client):
    client.send(frame(HEADERS, END_HEADERS, 1, bad()))
    return lambda: frame(DATA, 8, 1, bytes([4]) + bytes(4))


def goaways(client):
    client.send(frame(HEADERS, END_HEADERS, 1, bad()))  # with no stream open, the first one ends the connection
    return lambda: frame(GOAWAY, 0, 0, bytes(8))


def of_a_closed_stream(kind, payload):
    def flood(client):
        assert client.ask(path="/quick").status == 200
        return lambda: frame(kind, 0, 1, payload)
    return flood


def continuations(client):
    client.send(frame(HEADERS, 0, 1, bad()))
    return lambda: frame(CONTINUATION, 0, 1)


def header_bombs(client):
    client.encoder.encode([("x-bomb", "b" * 3500)])
    first = frame(HEADERS, END_HEADERS | END_STREAM, 1, bad() + b"\x40\x06x-bomb\x7f\xad\x1a" + b"b" * 3500)
    client.send(first)
    client.next_id = 3

    def once():
        stream = client.next_id
        client.next_id += 2
        return frame(HEADERS, END_HEADERS | END_STREAM, stream, bad() + b"\xbe" * 8000)
    return once


def constant(data):
    return lambda client: lambda: data


FLOODS = {
    "reset": resets,
    "malformed": malformed,
    "padding": padding,
    "ping": constant(frame(PING, 0, 0, b"12345678")),
    "pong": constant(frame(PING, ACK, 0, b"12345678")),
    "goaway": goaways,
    "late-window": of_a_closed_stream(WINDOW_UPDATE, struct.pack(">I", 1)),
    "late-reset": of_a_closed_stream(RST_STREAM, struct.pack(">I", CANCEL)),
    "settings": constant(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 65535))),
    "empty-data": empty_data,
    "continuation": continuations,
    "window": constant(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1))),
    "priority": constant(frame(PRIORITY, 0, 3, struct.pack(">IB", 1, 16))),
    "priority-update": constant(frame(PRIORITY_UPDATE, 0, 0, struct.pack(">I", 1) + b"u=1")),
    "unknown": constant(frame(0x77, 0, 0, b"x")),
    "header-bomb": header_bombs,
}


@pytest.mark.parametrize("name", sorted(FLOODS))
def test_a_flood_is_told_to_calm_down_and_a_polite_client_is_served(site, http_backend, name):
    weir = site([{"path": "/quick", "respond": {"status": 200, "body": "quick"}}, {"upstream": "app"}],
                {"app": http_backend().address}, workers=1)
    with H2(weir.port()) as polite, H2(weir.port()) as flood:
        polite.ask()
        before = weir.rss_bytes()
        once = FLOODS[name](flood)
        deadline = Deadline(10)
        try:
            while True:
                flood.send(b"".join(once() for _ in range(50)))
                assert polite.ask(path="/quick").status == 200
                assert deadline.left()
        except (BrokenPipeError, ConnectionResetError):
            pass
        try:
            goaways = flood.read_to_the_end()
        except (BrokenPipeError, ConnectionResetError):
            goaways = flood.goaways
        assert not goaways or goaways[-1][1] == CALM, goaways
        assert polite.ask(path="/quick").status == 200
        assert weir.rss_bytes() - before < (60 if weir.is_sanitized else 16) * MiB
    weir.await_log("told to calm down")
    weir.await_metric("weir_http2_abuse_total", 1)


def test_a_body_that_minds_no_window_is_cut(site):
    weir = site([{"respond": {"status": 200, "body": "quick"}}], workers=1)
    with H2(weir.port()) as flood:
        flood.send(frame(HEADERS, END_HEADERS, 1, bad()))
        deadline = Deadline(10)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            while deadline.left():
                flood.send(frame(DATA, 0, 1, bytes(16384)))


@pytest.mark.parametrize("name", ["ping", "settings", "malformed"])
def test_a_flood_that_reads_nothing_is_cut(site, name):
    weir = site([{"respond": {"status": 200}}], workers=1)
    with H2(weir.port(), receive_buffer=4096) as flood, H2(weir.port()) as polite:
        polite.ask()
        before = weir.rss_bytes()
        once = FLOODS[name](flood)
        deadline = Deadline(15)
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            while deadline.left():
                flood.send(b"".join(once() for _ in range(200)))
        assert polite.ask().status == 200
        assert weir.rss_bytes() - before < (60 if weir.is_sanitized else 16) * MiB


def test_window_given_back_message_by_message_is_no_flood(site, http_backend):
    weir = site([{"upstream": "app"}], {"app": http_backend().address}, workers=1)
    with H2(weir.port()) as client:
        assert len(client.ask(path="/bytes/60000").body) == 60_000
        client.send(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 6)) * 10_000)
        assert client.ask(path="/quick").status == 200


def test_tiny_windows_are_a_flood(site, http_backend):
    weir = site([{"upstream": "app"}], {"app": http_backend().address}, workers=1)
    with H2(weir.port(), window=False, settings=[(4, 0)]) as client:
        stream = client.request(path="/bytes/100000")
        with pytest.raises((Closed, BrokenPipeError, ConnectionResetError)):
            deadline = Deadline(20)
            while deadline.left():
                client.send(frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", 1)))
                client.until(lambda: client.streams[stream].body, 5)
                client.streams[stream].body = b""
        assert not client.goaways or client.goaways[-1][1] == CALM
    wait_until(lambda: "told to calm down" in weir.log())


# -- time and the end --------------------------------------------------------------------------------------------------------

def test_an_idle_connection_ends_with_goaway(site):
    weir = site([{"respond": {"status": 200}}], timeouts={"keepalive": "300ms"})
    with H2(weir.port()) as client:
        client.ask()
        assert client.read_to_the_end()[-1][1] == NO_ERROR


def test_a_head_that_does_not_end_is_not_waited_for(site):
    weir = site([{"respond": {"status": 200}}], timeouts={"header": "300ms"})
    with H2(weir.port()) as client:
        client.send(frame(HEADERS, 0, 1, bad()))
        client.read_to_the_end()


def test_a_body_that_does_not_come_is_408(site, http_backend):
    weir = site([{"upstream": "app"}], {"app": http_backend().address}, timeouts={"body": "300ms"})
    with H2(weir.port()) as client:
        stream = client.request(method="POST", path="/echo", end=False)
        s = client.answer(stream)
        assert s.status == 408
        assert client.ask().body == b"backend"


def test_a_response_that_is_not_taken_is_reset(site, http_backend):
    weir = site([{"upstream": "app"}], {"app": http_backend().address}, timeouts={"body": "300ms"})
    with H2(weir.port(), window=False) as client:
        client.send(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 100 * MiB)))
        stream = client.request(path="/bytes/1000000")
        assert client.answer(stream).reset == CANCEL
        assert client.ask().body == b"backend"


def test_drain_says_goaway_twice_and_finishes_what_is_under_way(site, server):
    weir = site([{"upstream": "app"}], {"app": server.address}, timeouts={"drain": "10s"})
    with H2(weir.port()) as client, H2(weir.port()) as idle:
        idle.until(lambda: idle.peer_settings)
        stream = client.request()
        backend = server.accept()
        backend.read_request()
        weir.signal(signal.SIGTERM)
        client.until(lambda: len(client.goaways) == 2)
        assert client.goaways == [(2**31 - 1, NO_ERROR), (stream, NO_ERROR)]
        backend.respond(body="late")
        assert client.answer(stream).body == b"late"
        client.read_to_the_end()
        idle.read_to_the_end()
    assert weir.wait() == 0


def test_a_listener_that_is_removed_says_goaway(site, http_backend):
    backend = http_backend()
    weir = site([{"upstream": "app"}], {"app": backend.address}, {"web": {}, "other": {}})
    with H2(weir.port("other")) as client, H2(weir.port()) as stays:
        assert client.ask().status == 200
        config = dict(weir.config["listeners"])
        config.pop("other")
        weir.reload(listeners=config)
        assert client.read_to_the_end()[-1][1] == NO_ERROR
        assert stays.ask().status == 200 and not stays.goaways


# -- other clients -----------------------------------------------------------------------------------------------------------

def test_httpx(site, http_backend, authority, localhost_cert):
    httpx = pytest.importorskip("httpx")
    weir = site([{"upstream": "app"}], {"app": http_backend().address},
                {"web": {"tls": {"certificates": [{"cert": localhost_cert[0], "key": localhost_cert[1]}]}}})
    with httpx.Client(http2=True, verify=authority.file) as client:
        for size in (0, 10, 300_000):
            answer = client.post(f"https://localhost:{weir.port()}/echo", content=pattern(size))
            assert answer.http_version == "HTTP/2" and answer.content == pattern(size)
