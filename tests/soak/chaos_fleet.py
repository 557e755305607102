"""What chaos.py plays with: the servers, the name that some of them are behind, and the clients."""

import collections
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "protocol")]

from harness import DnsServer, free_port, wait_until  # noqa: E402
from harness.dns_server import SERVFAIL, SILENT  # noqa: E402

NAME = "fleet.internal"
FIXED, NAMED = 5, 3  # servers whose addresses the file tells; servers behind the name
SETTLED = 3  # seconds after which a server that is back, or is listed again, must be found by weir
CUT_EXCUSES = 5  # seconds after which a broken answer is no more its server's doing
BREAKING = ("cut", "kill", "stop", "mute")  # what may break an answer whose head is with the client


class Server:
    def __init__(self, number, host, port, protocol):
        self.number, self.host, self.port, self.protocol = number, host, port, protocol
        self.address = f"{host}:{port}"
        self.mode, self.since, self.broke_until = "kill", 0.0, 0.0
        self.process = None
        self.be("ok")

    def be(self, mode):
        if mode == self.mode:
            return
        if self.mode in BREAKING or mode in BREAKING:
            self.broke_until = float("inf") if mode in BREAKING else time.time() + CUT_EXCUSES
        if self.mode == "stop":
            self.process.send_signal(signal.SIGCONT)
        if mode == "kill":
            self._kill()
        elif self.mode == "kill":
            self._start()
        self.mode = mode
        if mode not in ("kill", "stop"):
            self._order(mode)
        elif mode == "stop":
            self.process.send_signal(signal.SIGSTOP)
        self.since = time.time()

    def counts(self):
        """Connections and requests that it has seen."""
        self._order("count")
        return tuple(map(int, self.process.stdout.readline().split()))

    def _order(self, word):
        self.process.stdin.write(word.encode() + b"\n")
        self.process.stdin.flush()

    def _start(self):
        self.process = subprocess.Popen(
            [sys.executable, os.path.join(HERE, "chaos_backend.py"), str(self.number), self.host, str(self.port), self.protocol],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        wait_until(lambda: socket.create_connection((self.host, self.port)).close() is None, 20, "a backend", every=0.01)

    def _kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class Fleet:
    def __init__(self, protocol):
        port = free_port()
        self.fixed = [Server(n, "127.0.0.1", free_port(), protocol) for n in range(FIXED)]
        self.named = [Server(FIXED + n, f"127.0.0.{11 + n}", port, protocol) for n in range(NAMED)]
        self.servers = self.fixed + self.named
        self.name_port = port
        self.dns = DnsServer()
        self.listed = {}  # server -> since when
        self.list_names(self.named)

    def list_names(self, servers):
        now = time.time()
        self.listed = {s: self.listed.get(s, now) for s in servers}
        self.dns.set(NAME, "A", [s.host for s in servers], ttl=1)

    def break_name(self, how):
        """Answers stay as weir knows them."""
        self.dns.answer_with(NAME, {"servfail": SERVFAIL, "silent": SILENT}[how])

    def well(self):
        """Those that weir must have found by now."""
        limit = time.time() - SETTLED
        return [s for s in self.servers if s.mode == "ok" and s.since < limit and (s in self.fixed or self.listed.get(s, limit) < limit)]

    def entries(self):
        return [{"address": s.address, "max_connections": 6} for s in self.fixed] + [{"dns": f"{NAME}:{self.name_port}", "refresh": "1s"}]

    def close(self):
        for server in self.servers:
            server.be("kill")
        self.dns.close()


class Client(threading.Thread):
    """Asks one thing after another over one connection. `told(target, result, server)` hears of what is not well."""

    def __init__(self, number, port, told):
        super().__init__(daemon=True)
        self.number, self.port, self.told = number, port, told
        self.path, self.over = "/", False
        self.results, self.slowest = collections.Counter(), 0.0

    def run(self):
        connection, count = None, 0
        while not self.over:
            target = f"{self.path}{self.number}/{count}"
            count += 1
            connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            begin = time.time()
            result, server = self._ask(connection, target)
            self.results[result] += 1
            self.slowest = max(self.slowest, time.time() - begin)
            if result != "ok":
                connection.close()
                connection = None
                self.told(target, result, server)
            time.sleep(0.01)

    def _ask(self, connection, target):
        server = None
        try:
            connection.request("GET", target, headers={"x-request-id": request_id(target)})
            answer = connection.getresponse()
            server = answer.getheader("x-server")
            body = answer.read()
        except (http.client.HTTPException, OSError) as error:
            return ("cut" if server else type(error).__name__), server
        if answer.status != 200:
            return str(answer.status), server
        return ("ok" if body == (target * (4096 // len(target) + 1))[:4096].encode() else "WRONG BODY"), server


def request_id(target):
    return "chaos" + target.replace("/", "-")
