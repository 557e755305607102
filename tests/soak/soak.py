#!/usr/bin/python3
"""Load on HTTP, HTTPS and TCP while everything happens that may happen: reloads, kill -9 of backends, an upgrade of the binary.

    soak.py [--seconds 60] [--connections 64] [--reloads 20] [--kills 3] [--upgrades 1] [--steer]

WEIR_BINARY names the binary (default build/weir). Prints what happened and a summary; exits 1 when a request failed that a healthy
server could have answered, a WebSocket was lost, memory grew, or weir ended badly. Only these losses are allowed for: a response cut in
its body, and a TCP stream that was open, within two seconds of the kill of the backend that served it."""

import argparse
import collections
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "protocol")]

from harness import Authority, Weir, free_port, wait_until  # noqa: E402
from harness.raw_client import trusting  # noqa: E402
from harness.weir import become_subreaper, binary_is_sanitized, memory_of  # noqa: E402
from load import Load  # noqa: E402
from sockets import Sockets  # noqa: E402
from steering import Steered  # noqa: E402

EXCUSED = {"cut body", "stream lost", "new stream lost"}  # its first bytes were with the backend: not to be sent twice
MEMORY_MAY_GROW = 16 << 20


class Backend:
    def __init__(self):
        self.http, self.tcp = free_port(), free_port()
        self.start()

    def start(self):
        self.process = subprocess.Popen([sys.executable, os.path.join(HERE, "backend.py"), str(self.http), str(self.tcp)])

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def configuration(backends, sockets_port, certificate, turn=0):
    """What is served; every turn differs a little, so that a reload has something to do."""
    check = {"type": "tcp", "interval": "500ms", "timeout": "500ms", "rise": 1, "fall": 2}
    listeners = {"web": {}, "secure": {"tls": {"certificates": [{"cert": certificate[0], "key": certificate[1]}]}},
                 "stream": {"protocol": "tcp", "upstream": "tcp"}}
    if turn % 3 == 1:
        listeners["extra"] = {}
    return {
        "timeouts": {"drain": "10m"},
        "listeners": listeners,
        "routes": [{"name": f"turn-{turn}", "upstream": "http"}, {"name": "sockets", "path": "/socket", "upstream": "sockets"},
                   {"name": "unused", "path": f"/unused-{turn}", "respond": {"body": "unused"}}],
        "upstreams": {
            "http": {"servers": [f"127.0.0.1:{b.http}" for b in backends], "health_check": check,
                     "balance": "least_connections" if turn % 2 else "round_robin"},
            "tcp": {"servers": [f"127.0.0.1:{b.tcp}" for b in backends], "health_check": check},
            "sockets": {"servers": [f"127.0.0.1:{sockets_port}"]},
        },
    }


class Soak:
    def __init__(self, options, folder):
        self.options = options
        self.events, self.failures, self.kills = [], [], []
        self.memory = collections.defaultdict(list)  # pid -> [(time, bytes)]
        self.begin = time.time()
        authority = Authority(folder)
        self.certificate = authority.leaf("soak.example")
        self.backends = [Backend() for _ in range(3)]
        self.sockets = Sockets()
        for backend in self.backends:
            wait_until(lambda: socket.create_connection(("127.0.0.1", backend.http)).close() is None, 10, "the backends")
        self.weir = (Steered if options.steer else Weir)(
            os.path.join(folder, "weir"), configuration(self.backends, self.sockets.port, self.certificate))
        count = options.connections
        self.loads = [Load("http", "http", self.weir.port("web"), count), Load("tcp", "tcp", self.weir.port("stream"), count),
                      Load("https", "http", self.weir.port("secure"), count, authority.file, "soak.example")]
        self.sockets.open(self.weir.port("web"), 8)
        self.sockets.open(self.weir.port("secure"), 8, trusting(authority.file), "soak.example")

    def say(self, text):
        print(f"{time.time() - self.begin:7.2f}  {text}", flush=True)

    def run(self):
        for load in self.loads:
            load.start()
        schedule = self._schedule()
        end = time.time() + self.options.seconds
        begin = time.time()
        while time.time() < end:
            while schedule and schedule[0][0] <= time.time() - begin:
                _, name, action = schedule.pop(0)
                try:
                    action()
                except Exception as error:
                    self.failures.append(f"{name}: {error}")
                    self.say(f"{name} FAILED: {error}")
            for pid in self.weir.processes():
                self._sample(pid)
            time.sleep(0.1)
        for load in self.loads:
            load.stop()

    def _schedule(self):
        o, seconds = self.options, self.options.seconds
        plan = [(seconds * (n + 1) / (o.reloads + 1), "reload", lambda n=n: self._reload(n + 1)) for n in range(o.reloads)]
        plan += [(seconds * (n + 0.5) / o.kills, "kill", lambda n=n: self._kill(n % 3)) for n in range(o.kills)]
        plan += [(seconds * (n + 0.6) / o.upgrades, "upgrade", self._upgrade) for n in range(o.upgrades)]
        return sorted(plan, key=lambda step: step[0])

    def _reload(self, turn):
        self.weir.write(configuration(self.backends, self.sockets.port, self.certificate, turn))
        begin = time.monotonic()
        answer = self.weir.admin.reload()
        assert answer.status == 200, (answer.status, answer.text)
        self.say(f"reload {turn}: {(time.monotonic() - begin) * 1000:.0f} ms")

    def _kill(self, number):
        backend = self.backends[number]
        self.kills.append(time.time())  # before: what is lost by it is seen at once
        backend.kill()
        self.say(f"kill -9 of backend {number}")
        back = threading.Timer(min(4, self.options.seconds / 8), backend.start)
        back.daemon = True
        back.start()

    def _upgrade(self):
        become_subreaper()
        before = set(self.weir.processes())
        uptime_before = uptime(self.weir.admin.status())
        self.weir.signal(signal.SIGUSR2)
        new = wait_until(lambda: set(self.weir.processes()) - before, 15, "the new process").pop()
        wait_until(lambda: uptime(self.weir.admin.status()) < uptime_before, 15, "the new process answering")
        self.weir.successor = new
        self.say(f"upgrade: {sorted(before)} -> {new}")

    def _sample(self, pid):
        try:
            self.memory[pid].append((time.time(), memory_of(pid, "VmRSS")))
        except (OSError, TypeError):
            pass

    # -- the end -----------------------------------------------------------------------------------------------------------

    def judge(self):
        opened = len(self.sockets.clients)
        live = self.sockets.close()
        if live != opened or self.sockets.lost:
            self.failures.append(f"{opened - live} of {opened} WebSockets lost: {self.sockets.lost[:5]}")
        for load in self.loads:
            self._judge_load(load)
        for pid, samples in self.memory.items():
            self._judge_memory(pid, samples)
        self._end()
        print(f"WebSockets: {live} of {opened} live after {self.sockets.echoes} echoes")
        print("FAILED:" if self.failures else "PASSED")
        for failure in self.failures:
            print("  " + failure)
        return 1 if self.failures else 0

    def _judge_load(self, load):
        result = load.result
        bad = [f for f in result["failures"] if not self._is_excused(f)]
        sample = result["latencies"] or [0]
        rate = result["done"] / self.options.seconds
        print(f"{load.name:5}: {result['done']} requests, {rate:.0f}/s, p50 {sample[len(sample) // 2] * 1000:.1f} ms, "
              f"p99 {sample[len(sample) * 99 // 100] * 1000:.1f} ms, max {sample[-1] * 1000:.0f} ms, {len(bad)} failed, "
              f"{len(result['failures']) - len(bad)} lost with a killed backend")
        if result["done"] < self.options.seconds:
            self.failures.append(f"{load.name}: hardly any load")
        if bad:
            kinds = collections.Counter(kind for _, kind, _ in bad)
            first = ", ".join(f"{t - self.begin:.2f} {kind} {detail!r:.80}" for t, kind, detail in bad[:5])
            self.failures.append(f"{load.name}: {len(bad)} failed {dict(kinds)}; first: {first}")

    def _is_excused(self, failure):
        when, kind, _ = failure
        return kind in EXCUSED and any(-0.05 <= when - k < 2 for k in self.kills)

    def _judge_memory(self, pid, samples):
        """Flat: after the first third of a process's life under load its highest RSS rises no more."""
        if len(samples) < 60:
            return
        third = len(samples) // 3
        early, late = max(m for _, m in samples[third // 2:third]), max(m for _, m in samples[-third:])
        print(f"memory of {pid}: {early / 2**20:.1f} MiB early, {late / 2**20:.1f} MiB late")
        if late - early > MEMORY_MAY_GROW and not binary_is_sanitized():
            self.failures.append(f"memory of {pid} grew by {(late - early) / 2**20:.1f} MiB")

    def _end(self):
        try:
            if self.weir.successor:
                status = self.weir.process.wait(30)
                if status:
                    self.failures.append(f"the old process ended with {status}")
            self.weir.stop()
        except Exception as error:
            self.failures.append(f"end: {error}")
        finally:
            for backend in self.backends:
                backend.kill()


def uptime(status):
    """The uptime in a status, whatever its unit is called."""
    for key, value in status.items():
        if "uptime" in key and isinstance(value, (int, float)):
            return value
    raise KeyError("no uptime in the status")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--reloads", type=int, default=20)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--upgrades", type=int, default=1)
    parser.add_argument("--steer", action="store_true", help="with everything that operators do beside it (steering.py)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="weir-soak-") as folder:
        soak = Soak(options, folder)
        try:
            soak.run()
            status = soak.judge()
        finally:
            soak.weir.kill()
        if status:
            print("--- end of weir's log ---")
            print(soak.weir.log()[-5000:])
    return status


if __name__ == "__main__":
    sys.exit(main())
