"""Loopback ports that no other test process picks: outside the kernel's ephemeral range, each held by a file lock."""

import fcntl
import os
import random
import socket
import tempfile

_LOCKS = os.path.join(tempfile.gettempdir(), f"weir-test-ports-{os.getuid()}")
_FIRST, _LAST = 12000, 32000
_held = {}


def free_port():
    """A port on 127.0.0.1 that nobody listens on; ours until release_ports() or the end of this process."""
    os.makedirs(_LOCKS, exist_ok=True)
    for _ in range(2000):
        port = random.randrange(_FIRST, _LAST)
        if port in _held:
            continue
        lock = open(os.path.join(_LOCKS, str(port)), "w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        if not _unused(port):
            lock.close()
            continue
        _held[port] = lock
        return port
    raise RuntimeError("no free port found")


def release_ports(ports):
    for port in ports:
        lock = _held.pop(port, None)
        if lock:
            lock.close()


def listening_ports():
    """Every TCP port in state LISTEN, IPv4 and IPv6, without connecting to any."""
    found = set()
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(path) as table:
                next(table)
                for line in table:
                    columns = line.split()
                    if columns[3] == "0A":
                        found.add(int(columns[1].rsplit(":", 1)[1], 16))
        except OSError:
            pass
    return found


def _unused(port):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True
