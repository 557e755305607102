#!/usr/bin/python3
"""Many client connections at once: opens them, does a request on each, and reports what an idle connection costs weir.

    connections.py [--count 10000] [--kinds plain,tls] [--through upstream|respond]

Memory is PSS of /proc/PID/smaps_rollup, before the connections and with all of them idle after their request. Exits 1 when a connection
or a request failed, or when the memory does not come back at the end."""

import argparse
import os
import resource
import selectors
import socket
import ssl
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "protocol")]

from harness import Authority, Weir, free_port, wait_until  # noqa: E402
from harness.raw_client import trusting  # noqa: E402

REQUEST = b"GET /2/ok HTTP/1.1\r\nHost: soak.example\r\n\r\n"
A_SOURCE = 20_000  # connections from one source address: under the number of ephemeral ports
AT_ONCE = 200      # connecting at the same time


def pss(pid):
    with open(f"/proc/{pid}/smaps_rollup") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("Pss:")) * 1024


def anonymous(pid):
    with open(f"/proc/{pid}/smaps_rollup") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("Anonymous:")) * 1024


class Many:
    """`count` connections to a port, all open; plain ones non-blocking, TLS ones by a handshake each."""

    def __init__(self, port, count, context=None):
        self.port, self.context, self.failures = port, context, []
        self.sockets = []
        self._open(count)

    def _open(self, count):
        for base in range(0, count, AT_ONCE):
            group = []
            for n in range(base, min(base + AT_ONCE, count)):
                sock = socket.socket()
                sock.settimeout(20)
                sock.bind((f"127.0.0.{2 + n // A_SOURCE}", 0))
                try:
                    sock.connect(("127.0.0.1", self.port))
                    if self.context:
                        sock = self.context.wrap_socket(sock, server_hostname="soak.example")
                except (OSError, ssl.SSLError) as error:
                    self.failures.append(f"connect: {error!r}")
                    sock.close()
                    continue
                group.append(sock)
            self.sockets += group

    def request_on_each(self):
        """A request on each, AT_ONCE in flight. The number of right answers."""
        right = 0
        for base in range(0, len(self.sockets), AT_ONCE):
            group = self.sockets[base:base + AT_ONCE]
            selector = selectors.DefaultSelector()
            for sock in group:
                sock.settimeout(20)
                try:
                    sock.sendall(REQUEST)
                    selector.register(sock, selectors.EVENT_READ, bytearray())
                except OSError as error:
                    self.failures.append(f"send: {error!r}")
            end = time.monotonic() + 30
            while selector.get_map() and time.monotonic() < end:
                for key, _ in selector.select(1):
                    try:
                        data = key.fileobj.recv(4096)
                    except OSError as error:
                        self.failures.append(f"receive: {error!r}")
                        selector.unregister(key.fileobj)
                        continue
                    key.data.extend(data)
                    if not data or key.data.endswith(b"ok"):
                        selector.unregister(key.fileobj)
                        if key.data.startswith(b"HTTP/1.1 200 "):
                            right += 1
                        else:
                            self.failures.append(f"answer: {bytes(key.data[:80])!r}")
            for key in list(selector.get_map().values()):
                self.failures.append("no answer in time")
            selector.close()
        return right

    def close(self):
        for sock in self.sockets:
            sock.close()


def measure(weir, kind, count, context):
    port = weir.port("web" if kind == "plain" else "secure")
    warm = Many(port, 50, context)
    warm.request_on_each()
    warm.close()
    wait_until(lambda: weir.admin.metrics().sum("weir_connections", listener="web" if kind == "plain" else "secure") == 0, 20)
    before, before_anonymous = pss(weir.pid), anonymous(weir.pid)
    begin = time.monotonic()
    many = Many(port, count, context)
    opened = time.monotonic() - begin
    begin = time.monotonic()
    right = many.request_on_each()
    asked = time.monotonic() - begin
    shown = weir.admin.metrics().sum("weir_connections", listener="web" if kind == "plain" else "secure")
    grown, grown_anonymous = pss(weir.pid) - before, anonymous(weir.pid) - before_anonymous
    second = many.request_on_each()
    many.close()
    print(f"{kind:5}: {len(many.sockets)} of {count} connections in {opened:.1f} s, {right} right answers in {asked:.1f} s, again {second}; "
          f"weir counts {shown:.0f}; {grown / max(1, len(many.sockets)):.0f} bytes PSS a connection "
          f"({grown_anonymous / max(1, len(many.sockets)):.0f} anonymous), {grown / 2**20:.1f} MiB in all")
    for failure in many.failures[:5]:
        print("       " + failure)
    wait_until(lambda: weir.admin.metrics().sum("weir_connections", listener="web" if kind == "plain" else "secure") == 0, 30,
               "weir seeing that they are gone")
    return right == second == count == shown and not many.failures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--kinds", default="plain,tls")
    parser.add_argument("--through", choices=["upstream", "respond"], default="upstream")
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < options.count + 100:
        sys.exit(f"the limit of open files is {hard}: too few for {options.count} connections")
    http, tcp = free_port(), free_port()
    backend = subprocess.Popen([sys.executable, os.path.join(HERE, "backend.py"), str(http), str(tcp)])
    fine = True
    with tempfile.TemporaryDirectory(prefix="weir-connections-") as folder:
        authority = Authority(folder)
        cert, key = authority.leaf("soak.example")
        action = {"upstream": "http"} if options.through == "upstream" else {"respond": {"body": "ok"}}
        config = {"timeouts": {"keepalive": "10m", "drain": "5s"}, "routes": [action],
                  "listeners": {"web": {}, "secure": {"tls": {"certificates": [{"cert": cert, "key": key}]}}}}
        if options.through == "upstream":
            config["upstreams"] = {"http": {"servers": [f"127.0.0.1:{http}"]}}
        weir = Weir(os.path.join(folder, "weir"), config)
        try:
            for kind in options.kinds.split(","):
                context = trusting(authority.file) if kind == "tls" else None
                fine = measure(weir, kind, options.count, context) and fine
            weir.stop()
        except Exception as error:
            fine = False
            print(f"FAILED: {error}\n{weir.log()[-3000:]}")
        finally:
            weir.kill()
            backend.kill()
            backend.wait()
    print("PASSED" if fine else "FAILED")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
