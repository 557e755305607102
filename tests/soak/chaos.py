#!/usr/bin/python3
"""Servers die, stop, crawl, cut, lie and come back, names change and the configuration is reloaded, while clients send GETs: one of
five servers is always well, so every GET must get its whole, true answer.

    chaos.py [--seconds 600] [--clients 16] [--outage 20] [--seed 1]

WEIR_BINARY names the binary (default build/weir). At the end all servers are killed for --outage seconds, and what weir tried is
counted; then all come back. Prints what happened and a summary; exits 1 when

  - a GET failed though a server was well; a body that was cut while a server resets in the middle of bodies, or was killed, is told
    apart: the client saw the cut, and nothing can be sent again once its bytes are with the client;
  - a body was whole but not the true one;
  - in the outage weir made more than 1.2 attempts a request (of what it had saved up before, see --outage);
  - a server that came back got no share of the requests again;
  - weir ended, or reported a fault."""

import argparse
import collections
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "protocol")]

from harness import Weir, free_port, wait_until  # noqa: E402

SERVERS = 5
MODES = ["slow", "error", "cut", "mute", "stop", "kill"]
TOKENS_SAVED = 100  # retries that each worker has saved up in a good time (balancer/budget.h)
WORKERS = 2


class Server:
    def __init__(self, number):
        self.number, self.port, self.process, self.mode = number, free_port(), None, "kill"
        self.cuts_until = 0.0
        self.start()

    def start(self):
        self.process = subprocess.Popen([sys.executable, os.path.join(HERE, "chaos_backend.py"), str(self.port)], stdin=subprocess.PIPE)
        self.mode = "ok"
        wait_until(lambda: socket.create_connection(("127.0.0.1", self.port)).close() is None, 20, "a backend")

    def be(self, mode):
        if self.mode == "stop":
            self.process.send_signal(signal.SIGCONT)
        if self.mode in ("cut", "kill") or mode in ("cut", "kill"):
            self.cuts_until = float("inf") if mode in ("cut", "kill") else time.time() + 3
        if mode == "kill":
            self.process.kill()
            self.process.wait()
        elif self.mode == "kill":
            self.start()
        if mode == "stop":
            self.process.send_signal(signal.SIGSTOP)
        elif mode != "kill":
            self.process.stdin.write(mode.encode() + b"\n")
            self.process.stdin.flush()
        self.mode = mode


def configuration(servers, turn):
    return {
        "workers": WORKERS,
        "timeouts": {"connect": "1s", "response": "10s"},
        "listeners": {"web": {}},
        "routes": [{"name": f"turn-{turn}", "upstream": "app",
                    "retries": {"attempts": 4, "on": ["connect", "reset", "timeout", "500", "502", "503", "504"], "timeout": "700ms", "budget": "20%"}}],
        "upstreams": {"app": {
            "servers": [f"127.0.0.1:{s.port}" for s in servers],
            "balance": ["round_robin", "least_connections", "ewma", "random_two"][turn % 4],
            "health_check": {"path": "/health", "interval": "500ms", "timeout": "400ms", "rise": 2, "fall": 2},
            "outlier": {"errors": 3, "eject": "2s", "max_ejected": "80%"},
            "slow_start": "2s",
        }},
    }


class Client(threading.Thread):
    def __init__(self, chaos, number):
        super().__init__(daemon=True)
        self.chaos, self.number = chaos, number
        self.results = collections.Counter()

    def run(self):
        connection, count = None, 0
        while not self.chaos.over:
            target = f"/{self.number}/{count}"
            count += 1
            connection = connection or http.client.HTTPConnection("127.0.0.1", self.chaos.weir.port("web"), timeout=30)
            result = self._ask(connection, target)
            self.results[result] += 1
            if result != "ok":
                connection.close()
                connection = None
                self.chaos.failed(result, target)
            time.sleep(0.01)

    def _ask(self, connection, target):
        try:
            connection.request("GET", target, headers={"x-request-id": f"chaos{target.replace('/', '-')}"})
            answer = connection.getresponse()
            body = answer.read()
        except (http.client.IncompleteRead, ConnectionResetError):
            return "cut"
        except http.client.HTTPException as error:
            return type(error).__name__
        except OSError as error:
            return f"{type(error).__name__}"
        if answer.status != 200:
            return str(answer.status)
        return "ok" if body == (target * (4096 // len(target) + 1))[:4096].encode() else "WRONG BODY"


class Chaos:
    def __init__(self, options, folder):
        self.options, self.over, self.outage = options, False, False
        self.random = random.Random(options.seed)
        self.begin = time.time()
        self.faults, self.excused = [], collections.Counter()
        self.outage_results = collections.Counter()
        self.servers = [Server(n) for n in range(SERVERS)]
        self.turn = 0
        self.weir = Weir(os.path.join(folder, "weir"), configuration(self.servers, 0))
        self.clients = [Client(self, n) for n in range(options.clients)]

    def say(self, text):
        print(f"{time.time() - self.begin:7.2f}  {text}", flush=True)

    def fault(self, text):
        self.faults.append(text)
        self.say(f"FAULT: {text}")

    def failed(self, result, target):
        if self.outage:
            self.outage_results[result] += 1
        elif result == "cut" and any(s.cuts_until > time.time() for s in self.servers):
            self.excused[result] += 1
        else:
            story = self.weir.admin.request("GET", f"/api/v1/requests?id=chaos{target.replace('/', '-')}").text
            self.fault(f"GET {target}: {result}; servers {[s.mode for s in self.servers]}; {story[:1500]}")

    def run(self):
        for client in self.clients:
            client.start()
        end = time.time() + self.options.seconds
        while time.time() < end and len(self.faults) < 20:
            self._step()
            time.sleep(self.random.uniform(0.3, 1.5))
        for server in self.servers:
            server.be("ok")
        self._comes_back("the chaos")
        self._outage()
        self.over = True
        for client in self.clients:
            client.join(40)

    def _step(self):
        """Something happens to one server, or to weir; one server at least stays well."""
        if self.random.random() < 0.1:
            self.turn += 1
            self.weir.write(configuration(self.servers, self.turn))
            answer = self.weir.admin.reload()
            if answer.status != 200:
                self.fault(f"reload: {answer.status} {answer.text}")
            return
        ill = [s for s in self.servers if s.mode != "ok"]
        if ill and (len(ill) >= SERVERS - 1 or self.random.random() < 0.5):
            server, mode = self.random.choice(ill), "ok"
        else:
            server, mode = self.random.choice([s for s in self.servers if s.mode == "ok"]), self.random.choice(MODES)
        self.say(f"server {server.number}: {server.mode} -> {mode}")
        server.be(mode)

    def _requests(self):
        """Of each server, and of clients."""
        found = json.loads(self.weir.admin.request("GET", "/api/v1/upstreams").body)["upstreams"][0]["servers"]
        return {s["address"]: s["requests"] for s in found}

    def _comes_back(self, after):
        wait_until(lambda: all(self.weir.admin.server_is_up("app", f"127.0.0.1:{s.port}") for s in self.servers), 60, f"all servers to be up after {after}")
        before = self._requests()
        time.sleep(5)
        share = {a: n - before[a] for a, n in self._requests().items()}
        self.say(f"requests in 5 s, all servers up after {after}: {sorted(share.values())}")
        if min(share.values()) * 3 < sum(share.values()) / SERVERS:
            self.fault(f"after {after} the servers' shares are {share}")

    def _attempts(self):
        """Attempts on servers, and requests of clients, so far."""
        metrics = self.weir.admin.metrics()
        return metrics.sum("weir_retries_total", upstream="app"), metrics.sum("weir_requests_total", listener="web")

    def _outage(self):
        retries, requests = self._attempts()
        self.outage = True
        for server in self.servers:
            server.be("kill")
        self.say("all servers are dead")
        time.sleep(self.options.outage)
        retries, requests = (b - a for a, b in zip((retries, requests), self._attempts()))
        limit = 0.2 * requests + TOKENS_SAVED * WORKERS
        self.say(f"outage: {requests:.0f} requests, {retries:.0f} retries: {1 + retries / max(1, requests):.3f} attempts a request")
        if retries > limit:
            self.fault(f"{retries:.0f} retries of {requests:.0f} requests")
        for server in self.servers:
            server.be("ok")
        self._comes_back("the outage")
        self.outage = False

    def close(self):
        for server in self.servers:
            server.be("kill") if server.mode != "kill" else None
        report = self.weir.stop()
        return report


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--outage", type=float, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        chaos = Chaos(options, folder)
        try:
            chaos.run()
        finally:
            chaos.close()
    total = sum((c.results for c in chaos.clients), collections.Counter())
    print(f"answers: {dict(total)}")
    print(f"cut where a cut could not be helped: {sum(chaos.excused.values())}; in the outage: {dict(chaos.outage_results)}")
    print(f"faults: {len(chaos.faults)}")
    return 1 if chaos.faults else 0


if __name__ == "__main__":
    sys.exit(main())
