"""A real redis-server on a port of its own, which may be stopped, killed and started again."""

import os
import shutil
import signal
import socket
import subprocess

from .deadline import wait_until
from .ports import free_port, release_ports


class RedisServer:
    def __init__(self, folder):
        self.folder, self.port, self.process = str(folder), free_port(), None

    @staticmethod
    def is_there():
        return shutil.which("redis-server") is not None

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def start(self):
        os.makedirs(self.folder, exist_ok=True)
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", self.folder],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._answers, 10, "redis-server answering")
        return self

    def _answers(self):
        try:
            return self.command("PING") == "+PONG"
        except OSError:
            return False

    def command(self, *words):
        """The first line of the answer to an inline command."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as s:
            s.sendall(" ".join(words).encode() + b"\r\n")
            return s.makefile("rb").readline().decode().rstrip()

    def ask(self, *words):
        """The answer to a command of bytes: bytes, a list, or a line."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as s:
            s.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
            return self._read(s.makefile("rb"))

    def _read(self, stream):
        line = stream.readline().rstrip()
        if line[:1] == b"*":
            return [self._read(stream) for _ in range(int(line[1:]))]
        if line[:1] == b"$":
            return stream.read(int(line[1:]) + 2)[:-2]
        return line

    def names(self):
        """Of values, without the record of purges."""
        return [k for k in self.ask(b"KEYS", b"*") if not k.endswith(b"purges")]

    def value(self, key):
        return self.ask(b"GET", key)

    def set(self, key, value):
        self.ask(b"SET", key, value)

    def keys(self):
        return int(self.command("DBSIZE")[1:])

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.wait()
        self.process = None

    def close(self):
        if self.process:
            self.process.send_signal(signal.SIGCONT)
        self.kill()
        release_ports([self.port])
