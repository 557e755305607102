"""RFC 9113 and RFC 7541, section by section, as strictly as the public suites judge: what is sent, and which outcome is accepted.
A malformed message must be seen as an error of its stream or of the connection; an answer with a status of 400 is not enough."""

import socket
import struct

import hpack
import pytest

from harness import SCALE, Deadline
from harness.raw_client import trusting

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY_FLAG = 1, 1, 4, 8, 32
PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR = 1, 3, 5, 6, 7, 8, 9
ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 2, 3, 4, 5
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SECONDS = 4


def frame(kind, flags=0, stream=0, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def setting(key, value):
    return struct.pack(">HI", key, value)


def u32(value):
    return struct.pack(">I", value)


def depends(stream, weight=255, exclusive=False):
    return struct.pack(">IB", stream | (0x80000000 if exclusive else 0), weight)


class Peer:
    """The client's end: sends what it is told, and gives the frames that come one by one."""

    def __init__(self, port, tls, path, greet=True):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=10 * SCALE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self.sock = tls.wrap_socket(self.sock, server_hostname="localhost")
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.buffer, self.settings, self.seen, self.path, self.scheme = b"", {}, [], path, "https" if tls else "http"
        if greet:
            self.greet()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def greet(self, *settings):
        self.send(PREFACE + frame(SETTINGS, 0, 0, b"".join(settings)))
        acked = told = False
        while not (acked and told):
            kind, flags, _, payload = self.next()
            if kind == SETTINGS and flags & ACK:
                acked = True
            elif kind == SETTINGS:
                self.settings = dict(struct.iter_unpack(">HI", payload))
                self.send(frame(SETTINGS, ACK))
                told = True

    def send(self, *frames):
        self.sock.settimeout(10 * SCALE)
        for data in frames:  # each in a write of its own, as the suites do
            try:
                self.sock.sendall(data)
            except (BrokenPipeError, ConnectionResetError):
                return  # what came before is looked at

    def next(self, deadline=None):
        """(kind, flags, stream, payload), or None at the end of the connection."""
        deadline = deadline or Deadline(SECONDS)
        while len(self.buffer) < 9 or len(self.buffer) < 9 + int.from_bytes(self.buffer[:3], "big"):
            try:
                self.sock.settimeout(deadline.left())
                more = self.sock.recv(65536)
            except (ConnectionResetError, BrokenPipeError):
                return None
            except (TimeoutError, socket.timeout):
                raise AssertionError(f"what was waited for did not come, but {self.seen}") from None
            if not more:
                return None
            self.buffer += more
        length, kind, flags = int.from_bytes(self.buffer[:3], "big"), self.buffer[3], self.buffer[4]
        got = kind, flags, int.from_bytes(self.buffer[5:9], "big"), self.buffer[9:9 + length]
        self.buffer = self.buffer[9 + length:]
        self.seen.append(got)
        if kind in (HEADERS, CONTINUATION):
            self.decoder.decode(got[3])
        return got

    # What is sent often.

    def fields(self, method="GET", more=(), drop=()):
        fields = [(":method", method), (":scheme", self.scheme), (":authority", "localhost"), (":path", self.path)]
        return [f for f in fields if f[0] not in drop] + list(more)

    def block(self, method="GET", more=(), drop=()):
        return self.encoder.encode(self.fields(method, more, drop))

    def head(self, stream=1, flags=END_HEADERS | END_STREAM, block=None, **options):
        return frame(HEADERS, flags, stream, self.block(**options) if block is None else block)

    def open_get(self, stream=1):
        return self.head(stream, END_HEADERS)

    def post(self, stream=1, **options):
        return self.head(stream, END_HEADERS, method="POST", **options)

    # What is waited for.

    def _until(self, judge):
        deadline = Deadline(SECONDS)
        while True:
            got = self.next(deadline)
            if judge(got):
                return got
            assert got is not None, f"closed; before came {self.seen}"

    def connection_error(self, *codes):
        self._until(lambda f: f is None or (f[0] == GOAWAY and int.from_bytes(f[3][4:8], "big") in codes))

    def stream_error(self, *codes):
        self._until(lambda f: f is None or (f[0] == GOAWAY and int.from_bytes(f[3][4:8], "big") in codes) or
                    (f[0] == RST_STREAM and int.from_bytes(f[3], "big") in codes))

    def reset(self, *codes):
        self._until(lambda f: f is not None and f[0] == RST_STREAM and int.from_bytes(f[3], "big") in codes)

    def closed(self):
        while self.next() is not None:
            pass

    def goaway(self, *codes):
        got = self._until(lambda f: f is not None and f[0] == GOAWAY)
        assert int.from_bytes(got[3][4:8], "big") in codes
        self.closed()

    def answered(self, stream=1):
        self._until(lambda f: f is not None and f[0] == HEADERS and f[2] == stream)

    def ended(self, stream=1):
        self._until(lambda f: f is not None and f[2] == stream and f[0] in (DATA, HEADERS) and f[1] & END_STREAM)

    def pong(self, payload=b"h2-suite"):
        self._until(lambda f: f is not None and f[0] == PING and f[1] & ACK and f[3] == payload)

    def alive(self):
        self.send(frame(PING, 0, 0, b"h2-suite"))
        self.pong()

    def settings_ack(self):
        self._until(lambda f: f is not None and f[0] == SETTINGS and f[1] & ACK)

    def data(self, length, stream=1):
        got = self._until(lambda f: f is not None and f[0] == DATA and f[2] == stream)
        assert len(got[3]) == length, got


CASES = []


def case(section, name, **options):
    def add(run):
        CASES.append(pytest.param(run, options, id=f"{section} {name}"))
        return run
    return add


def sends(section, name, frames, outcome, *codes):
    """A case that is a list of frames, made by frames(peer), and an outcome."""
    def run(p):
        p.send(*frames(p))
        getattr(p, outcome)(*codes)
    case(section, name)(run)


def connection_error(section, name, frames, *codes):
    sends(section, name, frames, "connection_error", *codes)


def stream_error(section, name, frames, *codes):
    sends(section, name, frames, "stream_error", *codes)


# -- 3.4 (RFC 7540 3.5): the preface ------------------------------------------------------------------------------------------

@case("3.5", "a client preface is answered with SETTINGS first", greet=False)
def _(p):
    p.send(PREFACE + frame(SETTINGS))
    assert p.next()[:2] == (SETTINGS, 0)


@case("3.5", "an invalid preface ends the connection", greet=False)
def _(p):
    p.send(b"INVALID CONNECTION PREFACE\r\n\r\n")
    while p.sock.recv(65536):
        pass


@case("3.5", "a preface that begins well and goes wrong ends the connection", greet=False)
def _(p):
    p.send(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n" + frame(SETTINGS))
    p.connection_error(PROTOCOL_ERROR)


@case("3.5", "something else than SETTINGS behind the preface", greet=False)
def _(p):
    p.send(PREFACE + frame(PING, 0, 0, bytes(8)))
    p.connection_error(PROTOCOL_ERROR)


# -- 4: frames ---------------------------------------------------------------------------------------------------------------

sends("4.1", "a frame of an unknown type is ignored", lambda p: [frame(0x16, 0, 0, bytes(8)), frame(PING, 0, 0, b"h2-suite")], "pong")
sends("4.1", "undefined flags are ignored", lambda p: [frame(PING, 0x16, 0, b"h2-suite")], "pong")
sends("4.1", "the reserved bit is ignored", lambda p: [frame(PING, 0, 0x80000000, b"h2-suite")], "pong")
sends("4.2", "DATA of 2^14 octets", lambda p: [p.post(), frame(DATA, END_STREAM, 1, b"x" * 16384)], "answered")
stream_error("4.2", "DATA past SETTINGS_MAX_FRAME_SIZE", lambda p: [p.post(), frame(DATA, END_STREAM, 1, b"x" * 16385)], FRAME_SIZE_ERROR)
connection_error("4.2", "HEADERS past SETTINGS_MAX_FRAME_SIZE",
                 lambda p: [p.head(more=[(f"x-dummy{i}", "v" * 4096) for i in range(5)])], FRAME_SIZE_ERROR)
connection_error("4.3", "a block that cannot be decoded", lambda p: [p.head(block=p.block() + b"\x40")], COMPRESSION_ERROR)
connection_error("4.3", "PRIORITY within a block",
                 lambda p: [p.head(flags=END_STREAM), frame(PRIORITY, 0, 1, depends(0)), frame(CONTINUATION, END_HEADERS, 1, p.block())], PROTOCOL_ERROR)
connection_error("4.3", "HEADERS of another stream within a block", lambda p: [p.head(flags=END_STREAM), p.head(3)], PROTOCOL_ERROR)

# -- 5.1: states of streams --------------------------------------------------------------------------------------------------

connection_error("5.1", "idle: DATA", lambda p: [frame(DATA, END_STREAM, 1, b"test")], PROTOCOL_ERROR)
connection_error("5.1", "idle: RST_STREAM", lambda p: [frame(RST_STREAM, 0, 1, u32(CANCEL))], PROTOCOL_ERROR)
connection_error("5.1", "idle: WINDOW_UPDATE", lambda p: [frame(WINDOW_UPDATE, 0, 1, u32(100))], PROTOCOL_ERROR)
connection_error("5.1", "idle: CONTINUATION", lambda p: [frame(CONTINUATION, END_HEADERS, 1, p.block())], PROTOCOL_ERROR)
stream_error("5.1", "half closed (remote): DATA", lambda p: [p.head(), frame(DATA, END_STREAM, 1, b"test")], STREAM_CLOSED)
stream_error("5.1", "half closed (remote): HEADERS", lambda p: [p.head(), p.head()], STREAM_CLOSED)
stream_error("5.1", "half closed (remote): CONTINUATION", lambda p: [p.head(), frame(CONTINUATION, END_HEADERS, 1, p.block())],
             STREAM_CLOSED, PROTOCOL_ERROR)
stream_error("5.1", "reset: DATA", lambda p: [p.post(), frame(RST_STREAM, 0, 1, u32(CANCEL)), frame(DATA, END_STREAM, 1, b"test")], STREAM_CLOSED)
stream_error("5.1", "reset: HEADERS", lambda p: [p.post(), frame(RST_STREAM, 0, 1, u32(CANCEL)), p.head()], STREAM_CLOSED)
stream_error("5.1", "reset: CONTINUATION",
             lambda p: [p.post(), frame(RST_STREAM, 0, 1, u32(CANCEL)), frame(CONTINUATION, END_HEADERS, 1, p.block())], STREAM_CLOSED, PROTOCOL_ERROR)

# What is answered before its end has come, and then goes wrong.
stream_error("5.1", "reset, a GET: DATA", lambda p: [p.open_get(), frame(RST_STREAM, 0, 1, u32(CANCEL)), frame(DATA, END_STREAM, 1, b"test")], STREAM_CLOSED)
stream_error("5.1", "reset, a GET: HEADERS", lambda p: [p.open_get(), frame(RST_STREAM, 0, 1, u32(CANCEL)), p.head()], STREAM_CLOSED)
stream_error("5.1", "reset, a GET: CONTINUATION",
             lambda p: [p.open_get(), frame(RST_STREAM, 0, 1, u32(CANCEL)), frame(CONTINUATION, END_HEADERS, 1, p.block())], STREAM_CLOSED, PROTOCOL_ERROR)


def closed(name, late, *codes):
    @case("5.1", name)
    def _(p):
        p.send(p.head())
        p.ended()
        p.send(late(p))
        p.connection_error(*codes)


closed("closed: DATA", lambda p: frame(DATA, END_STREAM, 1, b"test"), STREAM_CLOSED)
closed("closed: HEADERS", lambda p: p.head(), STREAM_CLOSED)
closed("closed: CONTINUATION", lambda p: frame(CONTINUATION, END_HEADERS, 1, p.block()), STREAM_CLOSED, PROTOCOL_ERROR)


@case("5.1", "closed: WINDOW_UPDATE, RST_STREAM and PRIORITY are ignored")
def _(p):
    p.send(p.head())
    p.ended()
    p.send(frame(WINDOW_UPDATE, 0, 1, u32(100)), frame(RST_STREAM, 0, 1, u32(CANCEL)), frame(PRIORITY, 0, 1, depends(0)))
    p.alive()
    p.send(p.head(3))
    p.answered(3)


connection_error("5.1.1", "a stream of an even number", lambda p: [p.head(2)], PROTOCOL_ERROR)
connection_error("5.1.1", "a smaller number than before", lambda p: [p.head(5), p.head(3)], PROTOCOL_ERROR, STREAM_CLOSED)


@case("5.1.2", "more streams than the limit")
def _(p):
    p.send(frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 0)))
    p.settings_ack()
    p.send(b"".join(p.head(1 + 2 * i) for i in range(p.settings[MAX_CONCURRENT_STREAMS] + 1)))
    p.stream_error(PROTOCOL_ERROR, REFUSED_STREAM)


@case("5.1.2", "a refused stream's DATA may be under way when later streams are open", greet=False)
def _(p):
    p.send(PREFACE + frame(SETTINGS) + b"".join(p.post(1 + 2 * i) for i in range(130)))  # before the limit is known
    p._until(lambda f: f is not None and f[0] == RST_STREAM and f[2] == 257 and int.from_bytes(f[3], "big") == REFUSED_STREAM)
    p.send(frame(DATA, END_STREAM, 1, b"test"), p.head(261), frame(DATA, END_STREAM, 257, b"test"))
    p.alive()


stream_error("5.3.1", "HEADERS that depend on themselves",
             lambda p: [p.head(flags=END_HEADERS | END_STREAM | PRIORITY_FLAG, block=depends(1) + p.block())], PROTOCOL_ERROR)
stream_error("5.3.1", "PRIORITY that depends on itself", lambda p: [frame(PRIORITY, 0, 2, depends(2))], PROTOCOL_ERROR)
connection_error("5.4.1", "an invalid PING ends the connection", lambda p: [frame(PING, 0, 0, bytes(6))], FRAME_SIZE_ERROR)
sends("5.4.1", "an error of the connection is told by GOAWAY", lambda p: [frame(PING, 0, 0, bytes(6))], "goaway", FRAME_SIZE_ERROR)
sends("5.5", "a frame of an unknown type", lambda p: [frame(0xff, 0, 0, b"unknown"), frame(PING, 0, 0, b"h2-suite")], "pong")
connection_error("5.5", "a frame of an unknown type within a block",
                 lambda p: [p.head(flags=END_STREAM), frame(0xff, 0, 0, b"unknown"), frame(CONTINUATION, END_HEADERS, 1, p.block())], PROTOCOL_ERROR)

# -- 6: frames by type -------------------------------------------------------------------------------------------------------

connection_error("6.1", "DATA on stream 0", lambda p: [frame(DATA, END_STREAM, 0, b"test")], PROTOCOL_ERROR)
stream_error("6.1", "DATA on a stream that is not open", lambda p: [p.head(), frame(DATA, END_STREAM, 1, b"test")], STREAM_CLOSED)
connection_error("6.1", "DATA with padding of its own length", lambda p: [p.post(), frame(DATA, END_STREAM | PADDED, 1, b"\x05test")], PROTOCOL_ERROR)
connection_error("6.2", "HEADERS without an end, and PRIORITY", lambda p: [p.head(flags=END_STREAM), frame(PRIORITY, 0, 1, depends(0))], PROTOCOL_ERROR)
connection_error("6.2", "HEADERS without an end, and others", lambda p: [p.head(flags=END_STREAM), p.head(3)], PROTOCOL_ERROR)
connection_error("6.2", "HEADERS on stream 0", lambda p: [p.head(0)], PROTOCOL_ERROR)
connection_error("6.2", "HEADERS with too much padding",
                 lambda p: [p.head(flags=END_HEADERS | END_STREAM | PADDED, block=(lambda b: bytes([len(b) + 1]) + b)(p.block()))], PROTOCOL_ERROR)
connection_error("6.3", "PRIORITY on stream 0", lambda p: [frame(PRIORITY, 0, 0, depends(0))], PROTOCOL_ERROR)
stream_error("6.3", "PRIORITY of 4 octets", lambda p: [p.post(), frame(PRIORITY, 0, 1, bytes(4))], FRAME_SIZE_ERROR)
stream_error("6.3", "PRIORITY of 4 octets, half closed", lambda p: [p.head(), frame(PRIORITY, 0, 1, bytes(4))], FRAME_SIZE_ERROR)
connection_error("6.4", "RST_STREAM on stream 0", lambda p: [frame(RST_STREAM, 0, 0, u32(CANCEL))], PROTOCOL_ERROR)
connection_error("6.4", "RST_STREAM of an idle stream", lambda p: [frame(RST_STREAM, 0, 1, u32(CANCEL))], PROTOCOL_ERROR)
connection_error("6.4", "RST_STREAM of 3 octets", lambda p: [p.post(), frame(RST_STREAM, 0, 1, bytes(3))], FRAME_SIZE_ERROR)
connection_error("6.5", "SETTINGS with ACK and octets", lambda p: [frame(SETTINGS, ACK, 0, b"\0")], FRAME_SIZE_ERROR)
connection_error("6.5", "SETTINGS on a stream", lambda p: [frame(SETTINGS, 0, 1, setting(MAX_CONCURRENT_STREAMS, 100))], PROTOCOL_ERROR)
connection_error("6.5", "SETTINGS of 3 octets", lambda p: [frame(SETTINGS, 0, 0, bytes(3))], FRAME_SIZE_ERROR)
for key, value, code in [(ENABLE_PUSH, 2, PROTOCOL_ERROR), (INITIAL_WINDOW_SIZE, 2**31, FLOW_CONTROL_ERROR), (MAX_FRAME_SIZE, 16383, PROTOCOL_ERROR),
                         (MAX_FRAME_SIZE, 2**24, PROTOCOL_ERROR)]:
    connection_error("6.5.2", f"setting {key} of {value}", lambda p, k=key, v=value: [frame(SETTINGS, 0, 0, setting(k, v))], code)
sends("6.5.2", "a setting that nobody knows", lambda p: [frame(SETTINGS, 0, 0, setting(0xff, 1)), frame(PING, 0, 0, b"h2-suite")], "pong")


@case("6.5.3", "of two values for one setting the last counts")
def _(p):
    p.send(frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 100) + setting(INITIAL_WINDOW_SIZE, 1)))
    p.settings_ack()
    p.send(p.head())
    p.data(1)


sends("6.5.3", "SETTINGS are acknowledged", lambda p: [frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 100))], "settings_ack")
sends("6.7", "PING is answered", lambda p: [frame(PING, 0, 0, b"h2-suite")], "pong")


@case("6.7", "PING with ACK is not answered")
def _(p):
    p.send(frame(PING, ACK, 0, b"not this"), frame(PING, 0, 0, b"h2-suite"))
    assert p._until(lambda f: f is None or f[0] == PING)[3] == b"h2-suite"


connection_error("6.7", "PING on a stream", lambda p: [frame(PING, 0, 1, bytes(8))], PROTOCOL_ERROR)
connection_error("6.7", "PING of 6 octets", lambda p: [frame(PING, 0, 0, bytes(6))], FRAME_SIZE_ERROR)
connection_error("6.8", "GOAWAY on a stream", lambda p: [frame(GOAWAY, 0, 1, bytes(8))], PROTOCOL_ERROR)
connection_error("6.9", "WINDOW_UPDATE of 0", lambda p: [frame(WINDOW_UPDATE, 0, 0, u32(0))], PROTOCOL_ERROR)
stream_error("6.9", "WINDOW_UPDATE of 0 on a stream", lambda p: [p.post(), frame(WINDOW_UPDATE, 0, 1, u32(0))], PROTOCOL_ERROR)
stream_error("6.9", "WINDOW_UPDATE of 0 on a GET", lambda p: [p.open_get(), frame(WINDOW_UPDATE, 0, 1, u32(0))], PROTOCOL_ERROR)
connection_error("6.9", "WINDOW_UPDATE of 3 octets", lambda p: [frame(WINDOW_UPDATE, 0, 0, bytes(3))], FRAME_SIZE_ERROR)


@case("6.9.1", "no more than the window is sent")
def _(p):
    p.send(frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 1)))
    p.settings_ack()
    p.send(p.head())
    p.data(1)


connection_error("6.9.1", "the connection's window past 2^31-1",
                 lambda p: [frame(WINDOW_UPDATE, 0, 0, u32(2**31 - 1)), frame(WINDOW_UPDATE, 0, 0, u32(2**31 - 1))], FLOW_CONTROL_ERROR)
for name, head in ("POST", Peer.post), ("GET", Peer.open_get):
    sends("6.9.1", f"the window of a {name} past 2^31-1",
          lambda p, h=head: [h(p), frame(WINDOW_UPDATE, 0, 1, u32(2**31 - 1)), frame(WINDOW_UPDATE, 0, 1, u32(2**31 - 1))], "reset", FLOW_CONTROL_ERROR)


@case("6.9.2", "the initial window changes behind HEADERS")
def _(p):
    p.send(frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 0)))
    p.settings_ack()
    p.send(p.head(), frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 1)))
    p.data(1)


@case("6.9.2", "a window may become negative")
def _(p):
    p.send(frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 3)))
    p.settings_ack()
    p.send(p.head())
    p.data(3)
    p.send(frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 2)))
    p.settings_ack()
    p.send(frame(WINDOW_UPDATE, 0, 1, u32(2)))
    p.data(1)


connection_error("6.9.2", "an initial window past 2^31-1", lambda p: [frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 2**31))], FLOW_CONTROL_ERROR)


def dummies(p):
    return p.encoder.encode([("x-dummy", "v" * 20)])


sends("6.10", "many CONTINUATION",
      lambda p: [p.head(flags=END_STREAM), frame(CONTINUATION, 0, 1, dummies(p)), frame(CONTINUATION, END_HEADERS, 1, dummies(p))], "answered")
connection_error("6.10", "CONTINUATION and DATA", lambda p: [p.head(flags=0), frame(CONTINUATION, 0, 1, dummies(p)), frame(DATA, END_STREAM, 1, b"test")],
                 PROTOCOL_ERROR)
connection_error("6.10", "CONTINUATION on stream 0", lambda p: [p.head(flags=0), frame(CONTINUATION, END_HEADERS, 0, dummies(p))], PROTOCOL_ERROR)
connection_error("6.10", "CONTINUATION behind HEADERS with their end", lambda p: [p.head(flags=END_HEADERS), frame(CONTINUATION, END_HEADERS, 1, dummies(p))],
                 PROTOCOL_ERROR)
connection_error("6.10", "CONTINUATION behind the last one",
                 lambda p: [p.head(flags=0), frame(CONTINUATION, END_HEADERS, 1, dummies(p)), frame(CONTINUATION, END_HEADERS, 1, dummies(p))], PROTOCOL_ERROR)
connection_error("6.10", "CONTINUATION behind DATA", lambda p: [p.post(), frame(DATA, 0, 1, b"test"), frame(CONTINUATION, END_HEADERS, 1, dummies(p))],
                 PROTOCOL_ERROR)


@case("7", "GOAWAY with an error that nobody knows")
def _(p):
    p.send(frame(GOAWAY, 0, 0, u32(0) + u32(0xff) + b"suite"), frame(PING, 0, 0, b"h2-suite"))
    p._until(lambda f: f is None or (f[0] == PING and f[1] & ACK))


@case("7", "RST_STREAM with an error that nobody knows")
def _(p):
    p.send(p.post(), frame(RST_STREAM, 0, 1, u32(0xff)))
    p.alive()


# -- 8: messages -------------------------------------------------------------------------------------------------------------

stream_error("8.1", "a second HEADERS without an end", lambda p: [p.post(), frame(DATA, 0, 1, b"test"), frame(HEADERS, END_HEADERS, 1, dummies(p))],
             PROTOCOL_ERROR)


def malformed(section, name, fields):
    """A request whose whole field list is made by fields(peer)."""
    stream_error(section, name, lambda p: [p.head(block=p.encoder.encode(fields(p)))], PROTOCOL_ERROR)


malformed("8.1.2", "a name with capitals", lambda p: p.fields(more=[("X-TEST", "ok")]))
malformed("8.1.2.1", "an unknown pseudo-header field", lambda p: p.fields(more=[(":test", "ok")]))
malformed("8.1.2.1", "a pseudo-header field of responses", lambda p: p.fields(more=[(":status", "200")]))
stream_error("8.1.2.1", "a pseudo-header field in trailers",
             lambda p: [p.post(more=[("trailer", "x-test")]), frame(DATA, 0, 1, b"test"),
                        p.head(block=p.encoder.encode([(":method", "200"), ("x-test", "ok")]))], PROTOCOL_ERROR)
stream_error("8.1.2.1", "a pseudo-header field in trailers without an end",
             lambda p: [p.post(), frame(DATA, 0, 1, b"test"), frame(HEADERS, END_HEADERS, 1, p.encoder.encode([(":method", "POST")]))], PROTOCOL_ERROR)
malformed("8.1.2.1", "a pseudo-header field behind others", lambda p: [("x-test", "ok"), *p.fields()])
malformed("8.1.2.2", "a field of the connection", lambda p: p.fields(more=[("connection", "keep-alive")]))
malformed("8.1.2.2", "TE that is not trailers", lambda p: p.fields(more=[("te", "trailers, deflate;q=0.5")]))
malformed("8.1.2.3", "an empty :path", lambda p: [*p.fields(drop=[":path"]), (":path", "")])
for pseudo in (":method", ":scheme", ":path"):
    malformed("8.1.2.3", f"no {pseudo}", lambda p, n=pseudo: p.fields(drop=[n]))
    malformed("8.1.2.3", f"two {pseudo}", lambda p, n=pseudo: [*p.fields(), (n, dict(p.fields())[n])])
stream_error("8.1.2.6", "content-length is not the length", lambda p: [p.post(more=[("content-length", "1")]), frame(DATA, END_STREAM, 1, b"test")],
             PROTOCOL_ERROR)
stream_error("8.1.2.6", "content-length is not the length of all DATA",
             lambda p: [p.post(more=[("content-length", "1")]), frame(DATA, 0, 1, b"test"), frame(DATA, END_STREAM, 1, b"test")], PROTOCOL_ERROR)
connection_error("8.2", "PUSH_PROMISE of a client", lambda p: [p.post(), frame(PUSH_PROMISE, END_HEADERS, 1, u32(3) + p.block())], PROTOCOL_ERROR)

# -- HPACK -------------------------------------------------------------------------------------------------------------------

for section, name, rest in [
        ("2.3.3", "an index that is not there", b"\xc6"),
        ("2.3.3", "a name whose index is not there", b"\x7f\x07\x04test"),
        ("5.2", "Huffman padding longer than 7 bits", b"\0\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff"),
        ("5.2", "Huffman padding of zeros", b"\0\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90"),
        ("5.2", "the end-of-string symbol", b"\0\x85\xf2\xb2\x4a\x84\xff\x87\xff\xff\xff\xff\xff\xff\xff"),
        ("6.1", "index 0", b"\x80")]:
    connection_error(f"hpack {section}", name, lambda p, r=rest: [p.head(block=p.block() + r)], COMPRESSION_ERROR)
connection_error("hpack 4.2", "a table size at the end of a block", lambda p: [p.head(block=p.block() + b"\x20")], COMPRESSION_ERROR)
connection_error("hpack 6.3", "a table size past the setting", lambda p: [p.head(block=b"\x3f\xe2\x1f" + p.block())], COMPRESSION_ERROR)

# -- what must be served -----------------------------------------------------------------------------------------------------

for name, frames in {
        "GET": lambda p: [p.head()],
        "HEAD": lambda p: [p.head(method="HEAD")],
        "POST": lambda p: [p.post(), frame(DATA, END_STREAM, 1, b"test")],
        "POST with trailers": lambda p: [p.post(more=[("trailer", "x-test")]), frame(DATA, 0, 1, b"test"),
                                         p.head(block=p.encoder.encode([("x-test", "ok")]))],
        "PRIORITY of an idle stream first": lambda p: [frame(PRIORITY, 0, 1, depends(0)), p.head()],
        "PRIORITY of a later stream": lambda p: [frame(PRIORITY, 0, 7, depends(0)), p.head()],
        "WINDOW_UPDATE when half closed": lambda p: [p.head(), frame(WINDOW_UPDATE, 0, 1, u32(100))],
        "PRIORITY when half closed": lambda p: [p.head(), frame(PRIORITY, 0, 1, depends(0))],
        "several DATA": lambda p: [p.post(), frame(DATA, 0, 1, b"test"), frame(DATA, END_STREAM, 1, b"test")],
        "padded DATA": lambda p: [p.post(), frame(DATA, END_STREAM | PADDED, 1, b"\x06test" + bytes(6))],
        "padded HEADERS": lambda p: [p.head(flags=END_HEADERS | END_STREAM | PADDED, block=b"\x06" + p.block() + bytes(6))],
        "HEADERS with priority": lambda p: [p.head(flags=END_HEADERS | END_STREAM | PRIORITY_FLAG, block=depends(0) + p.block())],
        "weight 1": lambda p: [frame(PRIORITY, 0, 1, depends(0, 0)), p.head()],
        "weight 256": lambda p: [frame(PRIORITY, 0, 1, depends(0, 255)), p.head()],
        "an exclusive dependency": lambda p: [frame(PRIORITY, 0, 3, depends(1, 255, True)), p.head()],
        "WINDOW_UPDATE of the connection": lambda p: [frame(WINDOW_UPDATE, 0, 0, u32(1)), p.head()],
        "WINDOW_UPDATE of the stream": lambda p: [p.post(), frame(WINDOW_UPDATE, 0, 1, u32(1)), frame(DATA, END_STREAM, 1, b"test")],
        "CONTINUATION": lambda p: [p.head(flags=END_STREAM), frame(CONTINUATION, END_HEADERS, 1, dummies(p))],
        "several CONTINUATION": lambda p: [p.head(flags=END_STREAM), frame(CONTINUATION, 0, 1, dummies(p)), frame(CONTINUATION, END_HEADERS, 1, dummies(p))],
        "a table size at the beginning": lambda p: [p.head(block=b"\x20\x3f\xe1\x1f" + p.block())],
        "a table size of its greatest": lambda p: [p.head(block=b"\x3f\xe1\x1f" + p.block())],
        "literals that are indexed": lambda p: [p.head(block=p.block() + b"\x40\x04test\x02ok\xbe")],
        "literals that are not indexed": lambda p: [p.head(block=p.block() + b"\x00\x04test\x02ok")],
        "literals that never are": lambda p: [p.head(block=p.block() + b"\x10\x04test\x02ok\x1f\x2b\x02ok")],
        "Huffman": lambda p: [p.head(block=p.block() + b"\x00\x83\x49\x50\x9f\x83\x49\x50\x9f")],
        "the other scheme": lambda p: [p.head(block=p.encoder.encode([(n, {"http": "https", "https": "http"}.get(v, v)) for n, v in p.fields()]))]}.items():
    sends("served", name, frames, "answered")


for name, frames in {"": [], " and PRIORITY": [frame(PRIORITY, 0, 1, depends(0))]}.items():
    @case("served", f"a window that opens behind HEADERS{name}")
    def _(p, frames=frames):
        p.send(frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW_SIZE, 0)), p.head(), *frames, frame(WINDOW_UPDATE, 0, 1, u32(1)))
        p.data(1)


sends("served", "GOAWAY ends a connection without streams", lambda p: [frame(GOAWAY, 0, 0, u32(0) + u32(0xff))], "closed")


@case("served", "RST_STREAM when half closed")
def _(p):
    p.send(p.head(), frame(RST_STREAM, 0, 1, u32(CANCEL)))
    p.alive()


@case("served", "GOAWAY")
def _(p):
    p.send(frame(GOAWAY, 0, 0, bytes(8)))
    p.send(frame(PING, 0, 0, b"h2-suite"))
    p._until(lambda f: f is None or (f[0] == PING and f[1] & ACK))


# -- run ---------------------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def served(module_site, module_backend, localhost_cert, authority, tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    (root / "file.txt").write_text("a file of some bytes")
    weir = module_site([{"path": "/quick", "respond": {"status": 200, "body": "an answer"}}, {"path": "/files", "files": {"root": str(root)}},
                        {"upstream": "app"}], {"app": module_backend.address},
                       {"plain": {}, "tls": {"tls": {"certificates": [{"cert": localhost_cert[0], "key": localhost_cert[1]}]}}})
    return {"h2c": (weir.port("plain"), None), "tls": (weir.port("tls"), trusting(authority.file, alpn=["h2"]))}


@pytest.mark.parametrize("path", ["/quick", "/files/file.txt", "/upstream"])
@pytest.mark.parametrize("transport", ["h2c", "tls"])
@pytest.mark.parametrize("run,options", CASES)
def test_conformance(served, run, options, transport, path):
    port, tls = served[transport]
    with Peer(port, tls, path, **options) as peer:
        run(peer)
