"""The clients of bodies.py: they get and put large bodies over HTTP and TCP, leave, stall, half-close and reset in the middle, and look at
every byte. A process with threads; what went wrong is kept with its time, so that it can be laid beside the kills."""

import collections
import multiprocessing
import random
import socket
import ssl
import struct
import threading
import time

from bodies_backend import MAX, NOISE, noise

TIMEOUT = 45


class Failed(Exception):
    pass


class Clients:
    """start() and stop(); then `counts` is {what was done: how often} and `failures` [(time, kind, detail)]."""

    def __init__(self, seed, threads, ports, ca):
        self._stop, self._queue = multiprocessing.Event(), multiprocessing.Queue()
        self._process = multiprocessing.Process(target=_run, args=(seed, threads, ports, ca, self._stop, self._queue), daemon=True)

    def start(self):
        self._process.start()

    def stop(self):
        self._stop.set()
        self.counts, self.failures = self._queue.get(timeout=2 * TIMEOUT)
        self._process.join(20)


def _run(seed, threads, ports, ca, stop, queue):
    context = None
    if ca:
        context = ssl.create_default_context(cafile=ca)
    each = [_Client(random.Random(seed * 1000 + n), ports, context, stop) for n in range(threads)]
    for client in each:
        client.start()
    for client in each:
        client.join(1.5 * TIMEOUT)
    failures = sum((c.failures for c in each), [])
    failures += [(time.time(), "HANG", c.doing) for c in each if c.is_alive()]
    queue.put((sum((c.counts for c in each), collections.Counter()), failures))


class _Client(threading.Thread):
    def __init__(self, dice, ports, context, stop):
        super().__init__(daemon=True)
        self.random, self.ports, self.context, self.stop = dice, ports, context, stop
        self.counts, self.failures, self.doing = collections.Counter(), [], ""

    def run(self):
        ways = [self.http, self.http, self.tcp] if "stream" in self.ports else [self.http]
        while not self.stop.is_set():
            try:
                self.random.choice(ways)()
            except Failed as failed:
                self.failures.append((time.time(), str(failed), self.doing))
            except socket.timeout:
                self.failures.append((time.time(), "TIMEOUT", self.doing))
            except OSError as error:
                self.failures.append((time.time(), "lost", f"{self.doing}: {error!r}"))

    def _open(self, name):
        sock = socket.socket()
        sock.settimeout(TIMEOUT)
        if self.random.random() < 0.3:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 10)
        sock.connect(("127.0.0.1", self.ports[name]))
        if name == "secure":
            return self.context.wrap_socket(sock, server_hostname="soak.example")
        return sock

    def _body(self):
        """A size and where in the noise it begins."""
        size = self.random.choice([self.random.randint(100 << 10, MAX), self.random.randint(100 << 10, 400 << 10),
                                   self.random.randint(1, 100 << 10), 256 << 10, 1 << 20])
        return size, self.random.randint(0, len(NOISE) - size)

    def _did(self, what):
        self.counts[what] += 1

    def _leave(self, sock):
        if self.random.random() < 0.5:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _read(self, reader, size, at, stall=False):
        """Reads what should be the noise's bytes; how many came before the end."""
        got, pause = 0, size // 2 if stall else size
        while got < size:
            try:
                data = reader.read1(min(size - got, 1 << 17))
            except ConnectionError:
                return got
            if not data:
                return got
            if data != noise(len(data), at + got):
                raise Failed(f"WRONG BYTES at {got} of {size}")
            got += len(data)
            if got > pause:
                time.sleep(self.random.uniform(0.1, 1.5))
                pause = size
        return got

    # -- HTTP --------------------------------------------------------------------------------------------------------------

    def http(self):
        listener = "secure" if "secure" in self.ports and self.random.random() < 0.25 else "web"
        self.doing = "connect"
        with self._open(listener) as sock, sock.makefile("rb", 1 << 17) as reader:
            for _ in range(self.random.randint(1, 8)):
                if self.stop.is_set() or not self._exchange(sock, reader, listener):
                    return

    def _exchange(self, sock, reader, listener):
        """True when the connection may be asked again."""
        size, at = self._body()
        if self.random.random() < 0.35:
            return self._put(sock, reader, size, at)
        how = self.random.choice(["whole"] * 6 + ["chunked", "end", "cut", "reset", "pause"])
        mine = self.random.choice(["read"] * 5 + ["leave", "stall", "half-close"])
        if mine == "half-close" and listener == "secure":
            mine = "read"
        self.doing = f"{listener} GET /{size}/{at}/{how}, {mine}"
        sock.sendall(b"GET /%d/%d/%s HTTP/1.1\r\nHost: soak.example\r\n\r\n" % (size, at, how.encode()))
        if mine == "half-close":
            sock.shutdown(socket.SHUT_WR)
        head = self._head(reader)
        chunked = b"transfer-encoding: chunked" in head
        if mine == "leave" and not chunked:
            self._read(reader, self.random.randint(0, size), at)
            self._leave(sock)
            self._did("GET left")
            return False
        got = self._chunks(reader, size, at) if chunked else self._read(reader, size, at, mine == "stall")
        if how in ("cut", "reset"):
            if got == size and size > 1:
                raise Failed("a cut body was whole")
            self._did(f"GET {how}")
            return False
        if got != size:
            raise Failed("cut body")
        self._did(f"GET {how}, {mine}")
        return mine != "half-close" and b"connection: close" not in head

    def _head(self, reader):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = reader.readline()
            if not line:
                raise Failed("closed in a head" if head else "closed without an answer")
            head += line
        if not head.startswith(b"HTTP/1.1 200 "):
            raise Failed(f"status {head[9:12].decode()}")
        return head.lower()

    def _chunks(self, reader, size, at):
        got = 0
        try:
            while length := int(reader.readline() or b"-1", 16):
                part = self._read(reader, length, at + got) if length > 0 else 0
                got += part
                if part != length:
                    return got
                reader.readline()
        except ConnectionError:
            return got
        return got if reader.readline() == b"\r\n" else -1

    def _put(self, sock, reader, size, at):
        how = "reset" if self.random.random() < 0.1 else "whole"
        mine = self.random.choice(["send"] * 4 + ["leave", "stall"])
        self.doing = f"PUT /{size}/{at}/{how}, {mine}"
        body, first = noise(size, at), self.random.choice([0, 1000, 20_000])
        head = b"PUT /%d/%d/%s HTTP/1.1\r\nHost: soak.example\r\nContent-Length: %d\r\n\r\n" % (size, at, how.encode(), size)
        try:
            sock.sendall(head + bytes(body[:first]))
            if mine != "send":
                sock.sendall(body[first:size // 2])
                first = max(first, size // 2)
                if mine == "leave":
                    self._leave(sock)
                    self._did("PUT left")
                    return False
                time.sleep(self.random.uniform(0.1, 1.5))
            sock.sendall(body[first:])
        except (ConnectionError, ssl.SSLError):
            if how == "reset":
                self._did("PUT reset")
                return False
            raise
        if how == "reset":
            self._did("PUT reset")
            return False
        said = b"connection: close" not in (head := self._head(reader))
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        answer = reader.read(length)
        if answer != b"same":
            raise Failed(f"WRONG BODY at the server: {answer}")
        self._did(f"PUT {mine}")
        return said

    # -- TCP ---------------------------------------------------------------------------------------------------------------

    def tcp(self):
        self.doing = "connect"
        size, at = self._body()
        way = self.random.choice([self._tcp_get, self._tcp_get, self._tcp_put, self._tcp_echo])
        with self._open("stream") as sock, sock.makefile("rb", 1 << 17) as reader:
            way(sock, reader, size, at)

    def _tcp_get(self, sock, reader, size, at):
        how = self.random.choice(["whole"] * 4 + ["cut", "reset", "pause"])
        mine = self.random.choice(["read"] * 4 + ["leave", "stall", "half-close"])
        self.doing = f"TCP get {size} {at} {how}, {mine}"
        sock.sendall(b"get %d %d %s\n" % (size, at, how.encode()))
        if mine == "half-close":
            sock.shutdown(socket.SHUT_WR)
        if mine == "leave":
            self._read(reader, self.random.randint(0, size), at)
            self._leave(sock)
            self._did("TCP get left")
            return
        got = self._read(reader, size, at, mine == "stall")
        if how == "cut" and got != size // 2:
            raise Failed("stream lost: before its cut")
        if how in ("whole", "pause") and (got != size or reader.read(1)):
            raise Failed(f"stream lost: {got} bytes")
        self._did(f"TCP get {how}, {mine}")

    def _tcp_put(self, sock, reader, size, at):
        how = "reset" if self.random.random() < 0.15 else "whole"
        mine = self.random.choice(["send"] * 4 + ["leave", "stall"])
        self.doing = f"TCP put {size} {at} {how}, {mine}"
        body, half = noise(size, at), size // 2
        try:
            sock.sendall(b"put %d %d %s\n" % (size, at, how.encode()))
            sock.sendall(body[:half])
            if mine == "leave":
                self._leave(sock)
                self._did("TCP put left")
                return
            if mine == "stall":
                time.sleep(self.random.uniform(0.1, 1.5))
            sock.sendall(body[half:])
            sock.shutdown(socket.SHUT_WR)
            answer = reader.read()
        except ConnectionError:
            answer = b""
        if how == "whole" and answer != b"same":
            raise Failed(f"WRONG BODY at the server: {answer}" if answer else "stream lost: without an answer")
        self._did(f"TCP put {how}, {mine}")

    def _tcp_echo(self, sock, reader, size, at):
        """Both ways at once."""
        self.doing = f"TCP echo {size} {at}"
        sock.sendall(b"echo\n")
        errors = []

        def send():
            try:
                sock.sendall(noise(size, at))
                sock.shutdown(socket.SHUT_WR)
            except OSError as error:
                errors.append(error)
        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        got = self._read(reader, size, at, self.random.random() < 0.3)
        sender.join(TIMEOUT)
        if got != size or reader.read(1) or errors:
            raise Failed(f"stream lost: {got} echoed {errors}")
        self._did("TCP echo")
