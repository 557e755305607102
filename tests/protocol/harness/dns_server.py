"""A real DNS server (RFC 1035) on UDP, whose answers the test sets while it runs."""

import socket
import struct
import threading

_TYPES = {"A": 1, "AAAA": 28, "SRV": 33}
NOERROR, SERVFAIL, NXDOMAIN, REFUSED = 0, 2, 3, 5
SILENT = -1


class DnsServer:
    """Names that were never set do not exist (NXDOMAIN); a type of a known name that was not set has no records."""

    def __init__(self):
        self.questions = []  # (name, type), in order
        self._answers = {}
        self._codes = {}
        self._lock = threading.Lock()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def environment(self):
        return {"WEIR_DNS_SERVERS": self.address}

    def set(self, name, kind, records, ttl=1):
        """A, AAAA: addresses; SRV: (priority, weight, port, target)."""
        with self._lock:
            self._answers[name, kind] = [(r, ttl) for r in records]
            self._codes.pop(name, None)

    def answer_with(self, name, code):
        """Every question about the name gets this code (or no answer: SILENT) until it is set again."""
        with self._lock:
            self._codes[name] = code

    def count(self, name, kind):
        return self.questions.count((name, kind))

    def close(self):
        self._socket.close()

    def _run(self):
        while True:
            try:
                message, client = self._socket.recvfrom(4096)
            except OSError:
                return
            reply = self._reply(message)
            if reply:
                try:
                    self._socket.sendto(reply, client)
                except OSError:
                    return

    def _reply(self, message):
        name, at = _read_name(message, 12)
        number, _ = struct.unpack("!HH", message[at:at + 4])
        kind = next((k for k, n in _TYPES.items() if n == number), str(number))
        question = message[12:at + 4]
        with self._lock:
            self.questions.append((name, kind))
            known = any(n == name for n, _ in self._answers)
            code = self._codes.get(name, NOERROR if known else NXDOMAIN)
            records = self._answers.get((name, kind), []) if code == NOERROR else []
        if code == SILENT:
            return None
        body = b"".join(b"\xc0\x0c" + struct.pack("!HHIH", number, 1, ttl, len(data)) + data
                        for data, ttl in ((_data(kind, r), ttl) for r, ttl in records))
        return message[:2] + struct.pack("!HHHHH", 0x8580 | code, 1, len(records), 0, 0) + question + body


def _data(kind, record):
    if kind == "A":
        return socket.inet_aton(record)
    if kind == "AAAA":
        return socket.inet_pton(socket.AF_INET6, record)
    priority, weight, port, target = record
    return struct.pack("!HHH", priority, weight, port) + _write_name(target)


def _write_name(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label) + b"\0"


def _read_name(message, at):
    labels = []
    while message[at]:
        labels.append(message[at + 1:at + 1 + message[at]].decode().lower())
        at += message[at] + 1
    return ".".join(labels), at + 1
