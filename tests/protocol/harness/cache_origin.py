"""An origin that a cache stands before: counts what it is asked, answers by script, holds an answer back until the test lets it go.

    origin.on("/a", Answer(body=b"x", headers={"Cache-Control": "max-age=60"}))
    origin.on("/b", Answer(...), Answer(...))                 # one after the other; the last for every further request
    origin.on("/c", lambda request, number: Answer(...))      # number: 1 for the first request of that path
    gate = Gate(); origin.on("/d", Answer(body=[b"first", gate, b"rest"]))

Without a script a path answers 200, fresh for an hour, with a body that tells the target and the number of the request."""

import threading
from dataclasses import dataclass, field
from email.utils import formatdate
import time

from . import message
from .deadline import SCALE, wait_until
from .raw_server import RawServer
from .wire import Closed

FRESH = "max-age=3600"
CUT, END = "cut", "end"  # in a body: the connection is reset, or closed in order


class Gate:
    """What stands behind it waits until open()."""

    def __init__(self):
        self._event = threading.Event()
        self.waiting = 0  # how many answers stand before it, ever

    def open(self):
        self._event.set()

    def pass_through(self):
        self.waiting += 1
        assert self._event.wait(60 * SCALE), "nobody opened the gate"


@dataclass
class Answer:
    """`body`: bytes, or a list of bytes, Gates, CUT and END. framing: "length", "chunked" or "close" (the end of the connection).
    `before`: a Gate that holds the head back. Date is added unless `date` is false."""
    status: int = 200
    headers: object = field(default_factory=dict)
    body: object = b""
    framing: str = "length"
    length: int = None
    before: Gate = None
    date: bool = True

    def pieces(self):
        return self.body if isinstance(self.body, list) else [self.body]

    def fields(self):
        return list(self.headers.items()) if isinstance(self.headers, dict) else list(self.headers)


def fresh(body=b"", control=FRESH, **headers):
    """An answer that a cache may keep; headers by name, "_" for "-"."""
    return Answer(body=body, headers=[("Cache-Control", control)] + [(n.replace("_", "-"), v) for n, v in headers.items()])


def validated(body, etag=None, modified=None, control="max-age=1", changed=None, **headers):
    """A handler: 200 with validators, and 304 (with `changed` fields) to a request that has one of them."""
    def handle(request, number):
        fields = [("Cache-Control", control)] + [(n.replace("_", "-"), v) for n, v in headers.items()]
        if etag:
            fields.append(("ETag", etag))
        if modified:
            fields.append(("Last-Modified", modified))
        asked = request.fields.get("if-none-match")
        matches = asked is not None and etag in [t.strip() for t in asked.split(",")]
        if matches or asked is None and modified and request.fields.get("if-modified-since") == modified:
            names = {n.lower() for n in (changed or {})}
            return Answer(304, [f for f in fields if f[0].lower() not in names] + list((changed or {}).items()))
        return Answer(200, fields, body)
    return handle


def http_date(offset=0):
    return formatdate(time.time() + offset, usegmt=True)


class CacheOrigin:
    def __init__(self, tls=None):
        self.requests = []
        self.failures = []    # what came that is no well-formed request
        self.open_answers = 0  # answers that are being sent
        self._scripts = {}
        self._lock = threading.Lock()
        self._server = RawServer(self._serve, tls=tls)
        self.port, self.address = self._server.port, self._server.address

    def on(self, path, *answers):
        self._scripts[path] = answers

    def count(self, path=None, method=None):
        """How many requests came; a path stands for every query of it."""
        with self._lock:
            return sum(1 for r in self.requests if (path is None or path in (r.target, r.target.split("?")[0])) and
                       (method is None or r.method == method))

    def await_count(self, count, path=None, seconds=10):
        wait_until(lambda: self.count(path) >= count, seconds, f"{count} requests for {path}")

    def last(self, path=None):
        with self._lock:
            return [r for r in self.requests if path is None or path in (r.target, r.target.split("?")[0])][-1]

    def forget(self):
        with self._lock:
            self.requests.clear()

    @property
    def connection_count(self):
        return len(self._server.connections)

    def close(self):
        self._server.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # -- one connection ------------------------------------------------------------------------------------------------------

    def _serve(self, connection):
        while True:
            try:
                request = connection.read_request_head(600)
                request.body, request.trailers, request.is_complete = connection.read_body(message.framing(request.fields), 120)
            except Closed:
                return
            except message.ProtocolError as error:
                self.failures.append(error)
                return
            path = request.target.split("?")[0]
            with self._lock:
                self.requests.append(request)
                number = sum(1 for r in self.requests if r.target.split("?")[0] == path)
                self.open_answers += 1
            try:
                if not self._answer(connection, request, self._choose(request, path, number)):
                    return
            finally:
                with self._lock:
                    self.open_answers -= 1

    def _choose(self, request, path, number):
        script = self._scripts.get(request.target) or self._scripts.get(path)
        if not script:
            return fresh(f"{request.target} #{number}".encode())
        answer = script[min(number, len(script)) - 1]
        return answer(request, number) if callable(answer) else answer

    def _answer(self, connection, request, answer):
        """False when the connection is over."""
        if answer in (CUT, END):
            if answer == CUT:
                connection.reset()
            return False
        if answer.before:
            answer.before.pass_through()
        has_body = request.method != "HEAD" and answer.status not in (204, 304)
        connection.send(self._head(answer), seconds=120)
        for piece in answer.pieces() if has_body else []:
            if isinstance(piece, Gate):
                piece.pass_through()
            elif piece == CUT:
                connection.reset()
                return False
            elif piece == END:
                return False
            elif answer.framing == "chunked" and piece:
                connection.send(b"%x\r\n%s\r\n" % (len(piece), piece), seconds=120)
            elif piece:
                connection.send(piece, seconds=120)
        if answer.framing == "chunked" and has_body:
            connection.send(b"0\r\n\r\n")
        return answer.framing != "close" and "close" not in request.fields.tokens("connection")

    def _head(self, answer):
        fields = answer.fields()
        names = {n.lower() for n, _ in fields}
        if answer.date and "date" not in names:
            fields.append(("Date", http_date()))
        if answer.framing == "chunked":
            fields.append(("Transfer-Encoding", "chunked"))
        elif answer.framing == "close":
            fields.append(("Connection", "close"))
        elif answer.status not in (204, 304) and "content-length" not in names:
            length = answer.length if answer.length is not None else sum(len(p) for p in answer.pieces() if isinstance(p, bytes))
            fields.append(("Content-Length", str(length)))
        lines = [f"HTTP/1.1 {answer.status} X"] + [f"{n}: {v}" for n, v in fields]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
