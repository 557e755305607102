"""Many plain HTTP/1.1 clients in one thread, which ask for the same and read what comes: heads are kept, bodies compared and dropped."""

import select
import socket

from .deadline import Deadline
from .raw_client import build_request


class Member:
    def __init__(self, port):
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.setblocking(False)
        self.head, self.body_bytes, self.is_right, self.ended = b"", 0, True, False

    @property
    def status(self):
        return int(self.head[9:12]) if self.head.endswith(b"\r\n\r\n") else None


class Crowd:
    """`body` is what each of them must get."""

    def __init__(self, port, count, body):
        self.body = memoryview(body)
        self._epoll = select.epoll()
        self._buffer = bytearray(1 << 18)
        self.members = [Member(port) for _ in range(count)]
        self._by_number = {m.sock.fileno(): m for m in self.members}
        for number in self._by_number:
            self._epoll.register(number, select.EPOLLIN)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._epoll.close()
        for member in self.members:
            member.sock.close()

    def ask(self, target, **options):
        data = build_request("GET", target, **options)
        for member in self.members:
            member.head, member.body_bytes = b"", 0
            assert member.sock.send(data) == len(data)

    def until(self, condition, seconds=20):
        """Reads until condition(member) holds of each."""
        deadline = Deadline(seconds)
        missing = {m.sock.fileno() for m in self.members if not condition(m)}
        while missing:
            for number, _ in self._epoll.poll(deadline.left()):
                member = self._by_number[number]
                self._read(member)
                if condition(member):
                    missing.discard(number)

    def _read(self, member):
        try:
            count = member.sock.recv_into(self._buffer)
        except BlockingIOError:
            return
        except ConnectionError:
            count = 0
        if count == 0:
            member.ended = True
            self._epoll.unregister(member.sock.fileno())
            return
        at = 0
        if not member.head.endswith(b"\r\n\r\n"):
            found = self._buffer.find(b"\r\n\r\n", 0, count)
            at = count if found < 0 else found + 4
            member.head += self._buffer[:at]
        size = count - at
        if size:
            expected = self.body[member.body_bytes:member.body_bytes + size]
            member.is_right = member.is_right and bytes(expected) == self._buffer[at:count]
            member.body_bytes += size

    def whole(self, member):
        return member.body_bytes == len(self.body) and bool(member.head)
