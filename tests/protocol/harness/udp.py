"""UDP: a client that says where its answers come from, and a backend that records what it gets."""

import socket
import threading
from collections import namedtuple

from .deadline import SCALE, Deadline

Got = namedtuple("Got", "data peer socket")


class UdpClient:
    """A socket that is not connected, so that an answer from a wrong address shows."""

    def __init__(self, where, source=None, size=4 << 20):
        self.where = where if isinstance(where, tuple) else ("127.0.0.1", where)
        self.sock = socket.socket(socket.AF_INET6 if ":" in self.where[0] else socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
        if source:
            self.sock.bind((source, 0))

    def send(self, data):
        self.sock.sendto(data, self.where)

    def receive(self, seconds=5):
        """The next datagram, which must come from where the client sends to."""
        self.sock.settimeout(seconds * SCALE)
        data, peer = self.sock.recvfrom(1 << 16)
        assert peer[:2] == self.where[:2], f"an answer from {peer}, not from {self.where}"
        return data

    def ask(self, data, seconds=5):
        self.send(data)
        return self.receive(seconds)

    def ask_again(self, data, seconds=10, answers=None):
        """As clients of UDP do: sends it until an answer comes (one of `answers`, if given)."""
        deadline = Deadline(seconds)
        while True:
            deadline.left()
            self.send(data)
            try:
                got = self.receive(0.3)
            except TimeoutError:
                continue
            if answers is None or got in answers:
                return got

    def expect_silence(self, seconds=0.3):
        self.sock.settimeout(seconds)
        try:
            data, peer = self.sock.recvfrom(1 << 16)
        except TimeoutError:
            return
        raise AssertionError(f"{data[:100]!r} came from {peer}")

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class UdpBackend:
    """Answers each datagram with its name and the datagram, or with what handler(Got) gives: bytes, a list of them, or None."""

    def __init__(self, name=b"", handler=None, host="127.0.0.1", port=0, size=4 << 20):
        self.name, self.handler = name, handler or self._echo
        self.sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
        self.sock.bind((host, port))
        self.port = self.sock.getsockname()[1]
        self.address = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        self.got = []
        self._closed = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _echo(self, got):
        return self.name + got.data

    def _serve(self):
        self.sock.settimeout(0.05)
        while not self._closed:
            try:
                data, peer = self.sock.recvfrom(1 << 16)
            except TimeoutError:
                continue
            except OSError:
                return
            got = Got(data, peer, self.sock)
            self.got.append(got)
            answers = self.handler(got)
            for answer in [answers] if isinstance(answers, bytes) else answers or []:
                try:
                    self.sock.sendto(answer, peer)
                except OSError:
                    pass

    @property
    def received(self):
        return [g.data for g in self.got]

    @property
    def peers(self):
        return {g.peer for g in self.got}

    def close(self):
        self._closed = True
        self._thread.join()
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
