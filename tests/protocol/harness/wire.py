"""One end of a byte connection, read with deadlines; what the raw client, the raw server and the backend share."""

import socket
import ssl
import struct

from . import message
from .deadline import SCALE, Deadline

EOF_CLEAN, EOF_RESET, EOF_TRUNCATED = "closed", "reset", "truncated"


class Closed(ConnectionError):
    """The peer's bytes ended; `how` says whether cleanly."""

    def __init__(self, how, at=b""):
        super().__init__(f"peer {how} after {at[-200:]!r}")
        self.how = how


class Wire:
    """`received` holds every byte that came, `buffer` those not read yet, `ended` how the peer closed (None: still open)."""

    def __init__(self, sock, keep=True):
        self.sock = sock
        self.received = bytearray()
        self.buffer = bytearray()
        self.ended = None
        self._keep = keep

    # -- sending ---------------------------------------------------------------------------------------------------------

    def send(self, *pieces, seconds=10):
        """Sends each piece by a call of its own; without Nagle, so that each leaves as it is."""
        deadline = Deadline(seconds)
        for piece in pieces:
            if isinstance(piece, str):
                piece = piece.encode("latin-1")
            self.sock.settimeout(deadline.left())
            self.sock.sendall(piece)

    def send_quietly(self, *pieces, seconds=10):
        """As send(), for a peer that may have closed already. True when all was taken."""
        try:
            self.send(*pieces, seconds=seconds)
            return True
        except (OSError, TimeoutError):
            return False

    def half_close(self):
        """No more bytes from us, but we still read. Does nothing when the peer has reset the connection."""
        assert not isinstance(self.sock, ssl.SSLSocket), "python's ssl cannot close one direction alone"
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def reset(self):
        """Closes with RST."""
        try:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass
        self.sock.close()

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # -- receiving -------------------------------------------------------------------------------------------------------

    def fill(self, deadline, size=65536):
        """One recv into the buffer. False at the end of the peer's bytes."""
        if self.ended:
            return False
        try:
            self.sock.settimeout(deadline.left())
            data = self.sock.recv(size)
        except (TimeoutError, socket.timeout) as error:
            raise TimeoutError(f"nothing more came in {deadline.seconds:.1f} s; unread: {bytes(self.buffer[-300:])!r}") from error
        except ConnectionError:
            self.ended = EOF_RESET
            return False
        except ssl.SSLZeroReturnError:
            self.ended = EOF_CLEAN
            return False
        except ssl.SSLError:
            self.ended = EOF_TRUNCATED
            return False
        if not data:
            self.ended = EOF_CLEAN
            return False
        self.buffer += data
        if self._keep:
            self.received += data
        return True

    def read_exact(self, count, seconds=5):
        deadline = Deadline(seconds)
        while len(self.buffer) < count:
            if not self.fill(deadline):
                raise Closed(self.ended, bytes(self.buffer))
        data = bytes(self.buffer[:count])
        del self.buffer[:count]
        return data

    def read_until(self, mark, seconds=5, limit=1 << 20):
        """Bytes up to and with `mark`."""
        deadline = Deadline(seconds)
        start = 0
        while True:
            at = self.buffer.find(mark, start)
            if at >= 0:
                data = bytes(self.buffer[: at + len(mark)])
                del self.buffer[: at + len(mark)]
                return data
            if len(self.buffer) > limit:
                raise message.ProtocolError(f"no {mark!r} within {limit} bytes")
            start = max(0, len(self.buffer) - len(mark) + 1)
            if not self.fill(deadline):
                raise Closed(self.ended, bytes(self.buffer))

    def read_to_end(self, seconds=5):
        """Everything up to the peer's end."""
        deadline = Deadline(seconds)
        while self.fill(deadline):
            pass
        data = bytes(self.buffer)
        self.buffer.clear()
        return data

    def expect_end(self, seconds=5):
        """The peer closes and sends nothing more. How it closed."""
        rest = self.read_to_end(seconds)
        assert rest == b"", f"expected the end, got {rest[:300]!r}"
        return self.ended

    def expect_silence(self, seconds=0.2):
        """No byte and no end within that time (the one place where a test has to let time pass)."""
        deadline = Deadline(seconds)
        if self.buffer:
            raise AssertionError(f"unread bytes: {bytes(self.buffer[:200])!r}")
        try:
            more = self.fill(deadline)
        except TimeoutError:
            return
        raise AssertionError(f"expected silence, got {bytes(self.buffer[:200])!r}" if more else f"expected silence, peer {self.ended}")

    # -- bodies ----------------------------------------------------------------------------------------------------------

    def read_body(self, framing, seconds=5, sink=None):
        """The body by its framing: (body, trailers, is_complete). With a sink the bytes go there instead."""
        deadline = Deadline(seconds)
        kind, length = framing
        body = _Collector(sink)
        trailers = message.Fields()
        if kind == "none":
            return b"", trailers, True
        if kind == "length":
            is_complete = self._take(length, body, deadline)
            return body.value(), trailers, is_complete
        if kind == "close":
            while True:
                body.add(bytes(self.buffer))
                self.buffer.clear()
                if not self.fill(deadline, 1 << 18):
                    return body.value(), trailers, self.ended == EOF_CLEAN
        try:
            while True:
                size = message.parse_chunk_line(self.read_until(b"\r\n", _left(deadline), 8192)[:-2])
                if size == 0:
                    break
                if not self._take(size, body, deadline):
                    return body.value(), trailers, False
                if self.read_exact(2, _left(deadline)) != b"\r\n":
                    raise message.ProtocolError("chunk data is not followed by CRLF")
            block = b""
            while True:
                line = self.read_until(b"\r\n", _left(deadline), 65536)
                if line == b"\r\n":
                    break
                block += line
            return body.value(), message.parse_fields(block), True
        except Closed:
            return body.value(), trailers, False

    def _take(self, count, body, deadline):
        while count > 0:
            if not self.buffer and not self.fill(deadline, 1 << 18):
                return False
            piece = bytes(self.buffer[:count])
            del self.buffer[: len(piece)]
            body.add(piece)
            count -= len(piece)
        return True


class _Collector:
    def __init__(self, sink):
        self.sink = sink
        self.bytes = bytearray()

    def add(self, piece):
        if self.sink is None:
            self.bytes += piece
        elif piece:
            self.sink(piece)

    def value(self):
        return bytes(self.bytes)


def _left(deadline):
    """What is left, unscaled, for a function that scales."""
    return deadline.left() / SCALE
