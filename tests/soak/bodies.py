#!/usr/bin/python3
"""Large bodies over HTTP, HTTPS and TCP, both ways, with clients that leave, stall and half-close and servers that die in the middle,
while weir is reloaded, upgraded and stopped, and servers are killed. Every byte is looked at.

    bodies.py [--seconds 30] [--seed 1] [--threads 24] [--reload-every 1] [--kills 2] [--upgrades 1] [--stops 2] [--files N] [--no-tls] [--steer]

WEIR_BINARY names the binary (default build/weir). --files bounds weir's descriptors: connections are refused then, and nothing else is
wrong for it. Prints what was done and a summary; exits 1 when a byte was wrong, a request failed or hung that a healthy server could have
answered, a descriptor was left over when all were gone, memory grew from the middle of the run to its end, or weir ended badly. A body
or stream that is cut, and a PUT that is refused, within two seconds of the kill of a server is allowed for."""

import argparse
import collections
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "protocol")]

from bodies_client import Clients  # noqa: E402
from harness import Authority, Weir, free_port, wait_until  # noqa: E402
from harness.weir import become_subreaper, binary_is_sanitized, memory_of  # noqa: E402
from steering import Steered  # noqa: E402

WORKERS, PIPES_IDLE = 2, 16  # PIPES_IDLE: what a loop keeps (core/pipe.h)
MEMORY_MAY_GROW = 12 << 20
AFTER_A_KILL = ("cut body", "stream lost", "lost")
A_PUT_AFTER_A_KILL = (*AFTER_A_KILL, "status 502")  # it is not sent again
WITHOUT_FILES = (*A_PUT_AFTER_A_KILL, "closed", "TIMEOUT", "status 503", "status 504")


class Backend:
    def __init__(self):
        self.http, self.tcp = free_port(), free_port()
        self.start()

    def start(self):
        self.process = subprocess.Popen([sys.executable, os.path.join(HERE, "bodies_backend.py"), str(self.http), str(self.tcp)])
        wait_until(self._listens, 15, "a backend")

    def _listens(self):
        return all(socket.create_connection(("127.0.0.1", port)).close() is None for port in (self.http, self.tcp))

    def kill(self):
        self.process.kill()
        self.process.wait()


def descriptors(pid):
    """How many it has of each kind."""
    found = collections.Counter()
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found[os.readlink(f"/proc/{pid}/fd/{name}").split(":")[0]] += 1
        except OSError:
            pass
    return found


class Bodies:
    def __init__(self, options, folder):
        self.options, self.random = options, random.Random(options.seed)
        self.begin, self.turn = time.time(), 0
        self.kills, self.faults, self.memory = [], [], collections.defaultdict(list)
        authority = Authority(folder)
        self.certificate = authority.leaf("soak.example")
        self.backends = [Backend() for _ in range(3)]
        self.weir = (Steered if options.steer else Weir)(os.path.join(folder, "weir"), self._configuration(), start=False)
        self.weir.start()
        if options.files:
            resource.prlimit(self.weir.pid, resource.RLIMIT_NOFILE, (options.files, options.files))
        names = ["web", "stream"] + ([] if options.no_tls else ["secure"])
        ports = {name: self.weir.port(name) for name in names}
        self.clients = [Clients(options.seed * 2 + n, options.threads // 2, ports, authority.file) for n in range(2)]

    def _configuration(self):
        check = {"type": "tcp", "interval": "300ms", "timeout": "500ms", "rise": 1, "fall": 1}
        listeners = {"web": {}, "stream": {"protocol": "tcp", "upstream": "tcp"}}
        if not self.options.no_tls:
            listeners["secure"] = {"tls": {"certificates": [{"cert": self.certificate[0], "key": self.certificate[1]}]}}
        if self.turn % 3 == 1:
            listeners["extra"] = {}
        servers = {way: [f"127.0.0.1:{getattr(b, way)}" for b in self.backends] for way in ("http", "tcp")}
        return {"workers": WORKERS, "timeouts": {"drain": "2m"}, "listeners": listeners,
                "routes": [{"name": f"turn-{self.turn}", "upstream": "http"}],
                "upstreams": {way: {"servers": list, "health_check": check} for way, list in servers.items()}}

    def say(self, text):
        print(f"{time.time() - self.begin:7.2f}  {text}", flush=True)

    def fault(self, text):
        self.faults.append(text)
        self.say("FAULT: " + text)

    def run(self):
        before = descriptors(self.weir.pid)
        for clients in self.clients:
            clients.start()
        o = self.options
        plan = [(o.seconds * (n + 0.3) / o.kills, self._kill) for n in range(o.kills)]
        plan += [(o.seconds * (n + 0.55) / o.upgrades, self._upgrade) for n in range(o.upgrades)]
        plan += [(o.seconds * (n + 0.8) / o.stops, self._stop) for n in range(o.stops)]
        plan.sort(key=lambda step: step[0])
        begin, reloaded = time.time(), 0.0
        while time.time() - begin < o.seconds:
            try:
                if plan and plan[0][0] <= time.time() - begin:
                    plan.pop(0)[1]()
                if o.reload_every and time.time() - reloaded > o.reload_every:
                    reloaded = time.time()
                    self._reload()
            except Exception as error:
                self.fault(f"{error!r}")
            for pid in self.weir.processes():
                try:
                    self.memory[pid].append(memory_of(pid, "VmRSS"))
                except (OSError, TypeError):
                    pass
            time.sleep(0.05)
        self.say(f"{self.turn} reloads; the load ends")
        for clients in self.clients:
            clients.stop()
        self._judge_clients()
        self._judge_rest(before)

    def _reload(self):
        self.turn += 1
        self.weir.write(self._configuration())
        answer = self.weir.admin.reload()
        if answer.status != 200 and not self.options.files:
            self.fault(f"reload: {answer.status} {answer.text}")

    def _kill(self):
        number = self.random.randrange(len(self.backends))
        self.say(f"kill -9 of backend {number}")
        self.kills.append(time.time())
        self.backends[number].kill()
        time.sleep(0.3)
        self.backends[number].start()

    def _stop(self):
        self.say("SIGSTOP, SIGCONT")
        pid = self.weir.pid
        os.kill(pid, signal.SIGSTOP)
        time.sleep(self.random.uniform(0.2, 1.5))
        os.kill(pid, signal.SIGCONT)

    def _upgrade(self):
        become_subreaper()
        old = set(self.weir.processes())
        self.weir.signal(signal.SIGUSR2)
        new = wait_until(lambda: set(self.weir.processes()) - old, 20, "the new process").pop()
        wait_until(lambda: self.weir.admin.status()["pid"] == new, 20, "the new process answering")
        self.weir.successor = new
        self.say(f"upgrade: {sorted(old)} -> {new}")

    # -- the end -----------------------------------------------------------------------------------------------------------

    def _judge_clients(self):
        counts, bad, excused = collections.Counter(), [], collections.Counter()
        for clients in self.clients:
            counts += clients.counts
            for when, kind, doing in clients.failures:
                allowed = A_PUT_AFTER_A_KILL if doing.startswith("PUT") else AFTER_A_KILL
                after_a_kill = kind.startswith(allowed) and any(-0.05 <= when - k < 2 for k in self.kills)
                if after_a_kill or (self.options.files and kind.startswith(WITHOUT_FILES)):
                    excused[doing.split(" /")[0][:8] + ": " + kind.split(":")[0]] += 1
                else:
                    bad.append((when - self.begin, kind, doing))
        print("done:", ", ".join(f"{what} {n}" for what, n in sorted(counts.items())))
        self.say(f"{sum(counts.values())} done, {len(bad)} failed, excused: {dict(excused)}")
        for when, kind, doing in sorted(bad)[:12]:
            self.fault(f"{when:.2f} {kind}: {doing}")
        if sum(counts.values()) < self.options.seconds:
            self.fault("hardly any load")

    def _judge_rest(self, before):
        """The servers go, too: then nothing is left but what there was, and the idle pipes."""
        if self.weir.successor:
            self._await_old()
        for backend in self.backends:
            backend.kill()
        pipes = 2 * PIPES_IDLE * (WORKERS + 1)

        def is_as_before():
            now = descriptors(self.weir.pid)
            assert now["pipe"] <= before["pipe"] + pipes, (now, before)
            assert now["socket"] <= before["socket"] + 2 * WORKERS, (now, before)  # a listener more, and checks under way
            return True
        try:
            wait_until(is_as_before, 30, "the descriptors as they were", every=0.2)
        except Exception as error:
            self.fault(f"{error}")
        self.say(f"descriptors before {dict(before)}, after {dict(descriptors(self.weir.pid))}")
        for pid, samples in self.memory.items():
            if len(samples) < 60:
                continue
            third = len(samples) // 3
            early, late = max(samples[third // 2:2 * third]), max(samples[-third:])
            self.say(f"memory of {pid}: {early / 2**20:.1f} MiB early, {late / 2**20:.1f} MiB late, {samples[-1] / 2**20:.1f} MiB last")
            if late - early > MEMORY_MAY_GROW and not binary_is_sanitized():
                self.fault(f"memory of {pid} grew by {(late - early) / 2**20:.1f} MiB")

    def _await_old(self):
        try:
            status = self.weir.process.wait(40)
            if status:
                self.fault(f"the old process ended with {status}")
        except subprocess.TimeoutExpired:
            self.fault(f"the old process does not end: {dict(descriptors(self.weir.process.pid))}")

    def close(self):
        try:
            self.weir.stop(30)
        except Exception as error:
            self.fault(f"the end: {error}")
        for backend in self.backends:
            backend.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=24)
    parser.add_argument("--reload-every", type=float, default=1)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--upgrades", type=int, default=1)
    parser.add_argument("--stops", type=int, default=2)
    parser.add_argument("--files", type=int)
    parser.add_argument("--no-tls", action="store_true")
    parser.add_argument("--steer", action="store_true", help="with everything that operators do beside it (steering.py)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="weir-bodies-") as folder:
        bodies = Bodies(options, folder)
        try:
            bodies.run()
        finally:
            bodies.close()
            if bodies.faults:
                print("--- end of weir's log ---\n" + bodies.weir.log()[-6000:])
            bodies.weir.kill()
    print(f"faults: {len(bodies.faults)}")
    return 1 if bodies.faults else 0


if __name__ == "__main__":
    sys.exit(main())
