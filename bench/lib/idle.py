"""Memory of idle connections: each has had one request and is kept open. Proportional set size of the proxy's processes."""

import socket
import ssl
import time


def measure(case, proxy, _processes, _seconds):
    """KiB a connection."""
    context = ssl._create_unverified_context() if case.listener == "https" else None
    port = proxy.ports[case.listener]
    connections = []
    try:
        connections += [connect(port, context, case.path) for _ in range(50)]  # what is made once is made now
        before = settled(proxy)
        connections += [connect(port, context, case.path) for _ in range(case.connections)]
        after = settled(proxy)
    finally:
        for each in connections:
            each.close()
    return {"kib": (after - before) / case.connections, "base_mib": before / 1024}


def connect(port, context, path):
    s = socket.create_connection(("127.0.0.1", port), 10)
    if context:
        s = context.wrap_socket(s, server_hostname="localhost")
    s.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    got = b""
    while b"\r\n\r\n" not in got or len(got.split(b"\r\n\r\n", 1)[1]) < 1024:
        piece = s.recv(65536)
        if not piece:
            raise ConnectionError(f"closed after {len(got)} bytes of an answer")
        got += piece
    return s


def settled(proxy):
    time.sleep(1)  # the last answers' work is done, and buffers that are given back late have been
    return proxy.pss_kib()
