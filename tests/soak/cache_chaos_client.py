"""The clients of cache_chaos.py: processes of threads that ask, read at random pace, leave, and judge every answer."""

import collections
import contextlib
import multiprocessing
import random
import socket
import ssl
import threading
import time

from cache_truth import HOT, KINDS, LARGEST, OBJECTS, PREFIXES, SLOWEST, TAGS, Truth

SECONDS_COUNT_WHOLE = 2.0  # Age and Date are whole seconds
DISCONNECTED = 3600        # rules.h: how long an origin that does not answer at all is replaced by what is stored
RESET_BELOW = 300_000       # bytes: h2 answers each frame that still comes by one more RST_STREAM, which looks like an attack
STRICT_SECONDS = 30        # nobody waits longer for the next bytes
EXPECTED = {200, 206, 304, 412, 416, 502, 503, 504}


class Board:
    """What the processes share: when what was purged, and when somebody was ill. Times are those of CLOCK_MONOTONIC."""

    def __init__(self):
        self.purges = {soft: {"url": multiprocessing.Array("d", OBJECTS), "prefix": multiprocessing.Array("d", PREFIXES),
                              "tag": multiprocessing.Array("d", TAGS), "all": multiprocessing.Array("d", 1)} for soft in (False, True)}
        self.ill_until = multiprocessing.Value("d", 0.0)  # infinity while a server is ill
        self.kills = multiprocessing.Array("d", 256)  # the last ones
        self.slack = multiprocessing.Value("d", 1.0)
        self.stop = multiprocessing.Event()

    def floor(self, o, soft):
        """What is older than that must not come, or (soft) not without a question to the origin."""
        p = self.purges[soft]
        return max(p["url"][o.number], p["prefix"][o.number % PREFIXES], p["tag"][o.tag], p["all"][0])


class Broken(Exception):
    """The answer ended before its end."""


class Left(Exception):
    pass


class Judge:
    """Says what is wrong with an answer: (fault, text) or None."""

    def __init__(self, board):
        self.board, self.counts, self.faults = board, collections.Counter(), []

    def fault(self, text):
        self.counts["FAULTS"] += 1
        if len(self.faults) < 20:
            self.faults.append((time.monotonic(), text))

    def begins(self, o):
        return {"at": time.monotonic(), "hard": self.board.floor(o, False), "soft": self.board.floor(o, True),
                "ill": self.board.ill_until.value > time.monotonic()}

    def breaks(self, o, kind, asked, text):
        """No answer, or not all of it: somebody must have been ill, or the object is one that is cut."""
        self.counts[text.split(":")[0]] += 1
        if not (asked["ill"] or self.board.ill_until.value > time.monotonic() or o.is_cut or o.fails):
            self.fault(f"{text}: {o.path} ({o.framing}, cut {o.is_cut}, slow {o.is_slow}, {kind})")

    def whole(self, o, kind, request, asked, status, fields, body):
        said = fields.get("cache-status", "")
        self.counts["hit" if "; hit" in said else "miss"] += 1
        self.counts["collapsed"] += "collapsed" in said
        self.counts[status] += 1
        if status not in EXPECTED:
            return self.fault(f"status {status}: {o.path} {fields}")
        if "x-version" not in fields:
            return status in (502, 503, 504) and self.breaks(o, kind, asked, f"{status}: {said} {bytes(body[:200])}")
        self._bytes(o, kind, request, status, fields, body)
        self._age(o, asked, fields, said)

    def _bytes(self, o, kind, request, status, fields, body):
        true = o.body(int(fields["x-version"]), kind)
        where = f"{request} {o.path} {status} kind {kind} {fields}"
        if request == "HEAD" or status in (304, 412, 416):
            length = fields.get("content-length")
            if request == "HEAD" and status == 200 and length and int(length) != len(true):
                self.fault(f"length {length}, not {len(true)}: {where}")
        elif status == 206:
            first, last = fields["content-range"].split(" ")[1].split("/")[0].split("-")
            has_other_length = o.framing != "close" and not fields["content-range"].endswith(f"/{len(true)}")
            if body != true[int(first):int(last) + 1] or has_other_length:
                self.fault(f"untrue range of {len(body)}: {where}")
        elif body != true and not self._was_killed(o, body, true, float(fields["x-at"])):
            self.fault(f"untrue body of {len(body)}, not {len(true)}: {where}")
        if o.etag and fields.get("etag") != o.etag_of(int(fields["x-version"])):
            self.fault(f"etag: {where}")

    def _was_killed(self, o, body, true, at):
        """An end of file is all that ends such a body: nobody can tell that it is not the end."""
        self.counts["ended early"] += 1
        return o.framing == "close" and body == true[:len(body)] and any(at <= k < at + SLOWEST + 20 for k in self.board.kills)

    def _age(self, o, asked, fields, said):
        at = float(fields["x-at"])
        if at < asked["hard"]:
            self.fault(f"purged {asked['at'] - asked['hard']:.3f} s before it was asked for, from {asked['at'] - at:.3f} s before: {o.path} {fields}")
        cut_off = DISCONNECTED if "fwd=stale" in said and "fwd-status" not in said else 0  # no origin answered
        if at < asked["soft"] and not o.stale and not cut_off:
            self.fault(f"made stale {asked['at'] - asked['soft']:.3f} s before it was asked for, and sent unasked: {o.path} {fields}")
        limit = o.stale_limit + SECONDS_COUNT_WHOLE + self.board.slack.value + ("collapsed" in said) * (SLOWEST + 20) + cut_off
        if asked["at"] - at > limit:
            self.fault(f"{asked['at'] - at:.1f} s old, may be {o.stale_limit}: {o.path} {fields}")


def choose(rng):
    return Truth(rng.randrange(HOT) if rng.random() < 0.6 else rng.randrange(OBJECTS))


def make_request(rng, o, etags):
    """(method, kind, further fields)."""
    kind, dice, more = str(rng.randrange(KINDS)), rng.random(), []
    method = "HEAD" if dice < 0.05 else "GET"
    if 0.05 <= dice < 0.15:
        first = rng.randrange(1 << rng.randrange(1, 22))
        more.append(("range", f"bytes={first}-{first + rng.randrange(1 << 18)}" if dice < 0.12 else f"bytes=-{first + 1}"))
    elif dice < 0.25 and o.number in etags:
        more.append(("if-none-match", etags[o.number]))
    elif dice < 0.27:
        more.append(("cache-control", rng.choice(["no-cache", "max-age=1", "no-store"])))
    return method, kind, more


class Http1(threading.Thread):
    """A connection at a time; plain or TLS."""

    def __init__(self, port, context, seed, judge):
        super().__init__(daemon=True)
        self.port, self.context, self.judge, self.rng = port, context, judge, random.Random(seed)
        self.file = self.sock = None
        self.etags = {}

    def run(self):
        while not self.judge.board.stop.is_set():
            o = choose(self.rng)
            method, kind, more = make_request(self.rng, o, self.etags)
            asked = self.judge.begins(o)
            try:
                self._one(o, method, kind, more, asked)
            except Left:
                self.judge.counts["left"] += 1
                self._close()
            except (OSError, Broken, ValueError) as error:
                self.judge.breaks(o, kind, asked, f"broken: {error!r} after {time.monotonic() - asked['at']:.2f} s")
                self._close()
        self._close()

    def _close(self):
        if self.sock:
            self.file.close()
            self.sock.close()
        self.sock = None

    def _open(self):
        self.sock = socket.socket()
        self.sock.settimeout(STRICT_SECONDS)
        if self.rng.random() < 0.1:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 17)
        self.sock.connect(("127.0.0.1", self.port))
        if self.context:
            self.sock = self.context.wrap_socket(self.sock, server_hostname="soak.example")
        self.file = self.sock.makefile("rb", 65536)

    def _one(self, o, method, kind, more, asked):
        if not self.sock or self.rng.random() < 0.02:
            self._close()
            self._open()
        lines = [f"{method} {o.path} HTTP/1.1", "host: soak.example", f"x-kind: {kind}", *(f"{k}: {v}" for k, v in more)]
        self.sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        if self.rng.random() < 0.02:
            raise Left
        status, fields = self._head()
        leaves, slow = self.rng.random() < 0.04, self.rng.random() < 0.04
        body = b"" if method == "HEAD" or status == 304 else self._body(fields, leaves, slow)
        self.judge.whole(o, kind, method, asked, status, fields, body)
        if "etag" in fields:
            self.etags[o.number] = fields["etag"]
        if fields.get("connection") == "close":
            self._close()

    def _line(self):
        line = self.file.readline()
        if not line.endswith(b"\n"):
            raise Broken("in the head" if not line else "in a line")
        return line

    def _head(self):
        status = int(self._line().split()[1])
        fields = {}
        while (line := self._line()) != b"\r\n":
            name, _, value = line.decode("latin-1").partition(":")
            fields[name.lower()] = value.strip()
        return status, fields

    def _read(self, count, leaves, slow):
        out = bytearray()
        stop = self.rng.randrange(count + 1) if leaves else count
        while len(out) < stop:
            piece = self.file.read(min(stop - len(out), max(1, count // 20) if slow else 1 << 20))
            if not piece:
                raise Broken(f"{len(out)} of {count}")
            out += piece
            if slow and time.monotonic() < self.slow_until:
                time.sleep(self.rng.random() * 0.2)
        if leaves:
            raise Left
        return out

    def _body(self, fields, leaves, slow):
        self.slow_until = time.monotonic() + 3
        if fields.get("transfer-encoding") == "chunked":
            out = bytearray()
            while size := int(self._line(), 16):
                out += self._read(size, leaves, slow)
                self._line()
            self._line()
            return out
        return self._read(int(fields["content-length"]), leaves, slow)


class Http2(threading.Thread):
    """A connection with some streams at once, some of which it resets."""

    def __init__(self, port, context, seed, judge):
        super().__init__(daemon=True)
        self.port, self.context, self.judge, self.rng = port, context, judge, random.Random(seed)
        self.etags = {}

    def run(self):
        from h2.exceptions import ProtocolError
        while not self.judge.board.stop.is_set():
            self.streams = {}
            try:
                self._connection()
            except (OSError, Broken, ProtocolError) as error:  # h2 takes a GOAWAY for the end, also one that is none yet
                for s in self.streams.values():
                    self.judge.breaks(s["object"], s["kind"], s["asked"], f"broken: h2 {error!r} after {time.monotonic() - s['asked']['at']:.2f} s")

    def _connection(self):
        import h2.config
        import h2.connection
        with socket.create_connection(("127.0.0.1", self.port), STRICT_SECONDS) as plain, \
                self.context.wrap_socket(plain, server_hostname="soak.example") as sock:
            peer = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="latin-1"))
            peer.initiate_connection()
            peer.increment_flow_control_window(1 << 24)
            for _ in range(30):
                while len(self.streams) < 6 and not self.judge.board.stop.is_set():
                    self._ask(peer)
                sock.sendall(peer.data_to_send())
                before = len(self.streams)
                while self.streams and len(self.streams) == before:
                    data = sock.recv(1 << 17)
                    if not data:
                        raise Broken("end")
                    for event in peer.receive_data(data):
                        self._take(peer, event)
                    sock.sendall(peer.data_to_send())

    def _ask(self, peer):
        o = choose(self.rng)
        method, kind, more = make_request(self.rng, o, self.etags)
        number = peer.get_next_available_stream_id()
        self.streams[number] = {"object": o, "method": method, "kind": kind, "asked": self.judge.begins(o), "body": bytearray(),
                                "leaves": self.rng.randrange(1 << 18) if self.rng.random() < 0.1 else None, "fields": {}}
        peer.send_headers(number, [(":method", method), (":path", o.path), (":scheme", "https"), (":authority", "soak.example"),
                                   ("x-kind", kind), *more], end_stream=True)
        peer.increment_flow_control_window(1 << 22, number)

    def _take(self, peer, event):
        from h2 import events
        from h2.exceptions import StreamClosedError
        s = self.streams.get(getattr(event, "stream_id", None))
        if isinstance(event, events.ConnectionTerminated):
            if event.error_code:
                raise Broken(f"GOAWAY {event.error_code}")
        elif isinstance(event, events.DataReceived):
            peer.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        if not s:
            return
        if isinstance(event, events.ResponseReceived):
            s["fields"] = dict(event.headers)
        elif isinstance(event, events.DataReceived):
            s["body"] += event.data
            if s["leaves"] is not None and len(s["body"]) > s["leaves"] and int(s["fields"].get("content-length", LARGEST)) < RESET_BELOW:
                with contextlib.suppress(StreamClosedError):  # its end has come too
                    peer.reset_stream(event.stream_id, 8)
                self.judge.counts["left"] += 1
                del self.streams[event.stream_id]
        elif isinstance(event, events.StreamReset):
            del self.streams[event.stream_id]
            self.judge.breaks(s["object"], s["kind"], s["asked"], f"broken: RST_STREAM {event.error_code}")
        elif isinstance(event, events.StreamEnded):
            del self.streams[event.stream_id]
            fields = s["fields"]
            self.judge.whole(s["object"], s["kind"], s["method"], s["asked"], int(fields[":status"]), fields, s["body"])
            if "etag" in fields:
                self.etags[s["object"].number] = fields["etag"]


def context_for(authority, alpn):
    context = ssl.create_default_context(cafile=authority)
    context.set_alpn_protocols([alpn])
    return context


def run(board, plain, secure, authority, seed, threads, out):
    """A process of clients: `threads` is how many of plain HTTP/1.1, TLS, and HTTP/2."""
    judge = Judge(board)
    tls, h2 = context_for(authority, "http/1.1"), context_for(authority, "h2")
    clients = [Http1(plain, None, seed + n, judge) for n in range(threads[0])]
    clients += [Http1(secure, tls, seed + 100 + n, judge) for n in range(threads[1])]
    clients += [Http2(secure, h2, seed + 200 + n, judge) for n in range(threads[2])]
    for c in clients:
        c.start()
    for c in clients:
        c.join(max(0.1, 2 * STRICT_SECONDS))
    judge.counts["clients that hang"] += sum(c.is_alive() for c in clients)
    out.put((dict(judge.counts), judge.faults))
