#!/usr/bin/python3
"""The cache under load, while everything happens that may happen to it: answers of all sizes and framings, cut, slow, private, varying,
validated; origins that are killed and stopped; purges of all kinds; reloads that change memory, policy and route; an upgrade.

    cache_chaos.py [--seconds 60] [--seed 1] [--threads 24] [--no-upgrade] [--steer]

WEIR_BINARY names the binary (default build/weir). Prints what happens and a summary; exits 1 when

  - an answer was not true (bytes, range, variant, length), older than a purge that had been answered before the request was sent, or
    staler than it may be;
  - an answer failed or broke though no origin was ill, and the object is not one that is cut;
  - /api/v1/cache ever said more bytes than memory (but for the time in which a smaller memory's bytes are still being sent);
  - clients of one cold object saw more than one request's answer;
  - at the end fetches or open files are left, memory is out of proportion, or weir ended badly."""

import argparse
import collections
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "protocol")]

import cache_chaos_client  # noqa: E402
from cache_chaos_client import Board  # noqa: E402
from cache_truth import HOT, POOL, PREFIXES, TAGS, Truth  # noqa: E402
from harness import Authority, Weir, free_port, wait_until  # noqa: E402
from harness.raw_client import RawClient  # noqa: E402
from harness.weir import binary_is_sanitized, memory_of  # noqa: E402
from steering import Steered  # noqa: E402

MIB = 1 << 20
ORIGINS, PROCESSES = 3, 2
MEMORIES = [2, 8, 32, 96]  # MiB
AFTER_ILLNESS = 6.0        # seconds in which what was under way may still break
SENT_LATE = 20.0           # seconds in which readers may hold what a smaller memory has no room for
MEMORY_BESIDE = 160 * MIB  # resident, beside the budget: buffers of connections, gaps of the heap


class Origin:
    def __init__(self):
        self.port = free_port()
        self.start()

    def start(self):
        self.process = subprocess.Popen([sys.executable, os.path.join(HERE, "cache_chaos_origin.py"), str(self.port)],
                                        stdin=subprocess.PIPE)

    def kill(self):
        self.process.kill()
        self.process.wait()


class Chaos:
    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.random, self.begin = random.Random(options.seed), time.monotonic()
        self.faults, self.done = [], collections.Counter()
        self.memory, self.policy, self.max_object, self.cached = 32, "lru", 8, True
        self.shrunk, self.over, self.highest, self.peak, self.largest = 0.0, 0.0, 0.0, 0, 32
        self.board = Board()
        self.board.slack.value = 4.0 if binary_is_sanitized() else 2.0
        self.origins = [Origin() for _ in range(ORIGINS)]
        self.authority = Authority(folder)
        self.leaf = self.authority.leaf("soak.example")
        self.weir = (Steered if options.steer else Weir)(os.path.join(folder, "weir"), self._configuration())

    def _configuration(self):
        return {
            "cache": {"memory": f"{self.memory}MiB", "policy": self.policy, "max_object": f"{min(self.max_object * 1024, self.memory * 1024 - 100)}KiB"},
            "log": {"access": False},
            "timeouts": {"connect": "2s", "response": "3s", "body": "5s", "drain": "10s", "upstream_keepalive": "2s"},
            "listeners": {"web": {}, "secure": {"tls": {"certificates": [{"cert": self.leaf[0], "key": self.leaf[1]}]}}},
            "routes": [{"path": "/cold/", "upstream": "origin", "cache": True},
                       {"name": "all", "upstream": "origin", "cache": self.cached}],
            "upstreams": {"origin": {"servers": [f"127.0.0.1:{o.port}" for o in self.origins], "keepalive": {"idle": 32}}},
        }

    def say(self, text):
        print(f"{time.monotonic() - self.begin:7.2f}  {text}", flush=True)

    def fault(self, text):
        self.faults.append(text)
        self.say(f"FAULT: {text}")

    # -- the chaos ---------------------------------------------------------------------------------------------------------

    def run(self):
        wait_until(lambda: all(self._answers(o.port) for o in self.origins), 20, "origins")
        self.files = self._files()
        watch = threading.Thread(target=self._watch, daemon=True)
        watch.start()
        out = multiprocessing.Queue()
        share = self.options.threads // PROCESSES
        threads = (max(1, share * 6 // 10), max(1, share * 2 // 10), max(1, share * 2 // 10))
        loads = [multiprocessing.Process(target=cache_chaos_client.run, daemon=True,
                                         args=(self.board, self.weir.port("web"), self.weir.port("secure"), self.authority.file,
                                               self.options.seed * 1000 + 300 * n, threads, out)) for n in range(PROCESSES)]
        for load in loads:
            load.start()
        end, upgrade_at = time.monotonic() + self.options.seconds, time.monotonic() + self.options.seconds / 2
        while time.monotonic() < end:
            self._step()
            if time.monotonic() > upgrade_at and not self.options.no_upgrade:
                upgrade_at = float("inf")
                self._upgrade()
            time.sleep(self.random.uniform(0.05, 0.4))
        self.board.stop.set()
        self.counts = collections.Counter()
        for _ in loads:
            counts, faults = out.get(timeout=200)
            self.counts.update(counts)
            for at, text in faults:
                self.fault(f"(at {at - self.begin:.2f}) {text}")
        self._collapse()
        self._end()

    def _answers(self, port):
        try:
            return RawClient(port).get(Truth(1).path).status
        except OSError:
            return False

    def _step(self):
        dice = self.random.random()
        if dice < 0.55:
            self._purge()
        elif dice < 0.65:
            self._reload()
        elif dice < 0.675:
            threading.Thread(target=self._harm, args=(self.random.choice(self.origins), self.random.random()), daemon=True).start()

    def _purge(self):
        kind = self.random.choices(["url", "prefix", "tag", "all"], [70, 10, 15, 5])[0]
        soft = self.random.random() < 0.4
        n = self.random.randrange({"url": HOT, "prefix": PREFIXES, "tag": TAGS, "all": 1}[kind])
        what = {"url": f"soak.example{Truth(n).path}", "prefix": f"soak.example/p{n}/", "tag": f"tag-{n}", "all": True}[kind]
        at = time.monotonic()
        answer = self.weir.admin.request("POST", "/api/v1/cache/purge", {kind: what, "soft": soft}, seconds=60)
        if answer.status != 200:
            return self.fault(f"purge of {what}: {answer.status} {answer.text}")
        self.board.purges[soft][kind][n] = at
        self.done[f"{'soft ' if soft else ''}{kind}"] += 1

    def _reload(self):
        what = self.random.choice(["memory", "memory", "policy", "max_object", "cached"])
        before = self.memory
        if what == "memory":
            self.memory = self.random.choice(MEMORIES)
        elif what == "policy":
            self.policy = "s3fifo" if self.policy == "lru" else "lru"
        elif what == "max_object":
            self.max_object = self.random.choice([8, 1])
        else:
            self.cached = not self.cached or self.random.random() < 0.5
        self.largest = max(self.largest, self.memory)
        if self.memory < before:
            self.shrunk = float("inf")
        self.weir.write(self._configuration())
        answer = self.weir.admin.request("POST", "/api/v1/reload", seconds=60)
        if self.memory < before:
            self.shrunk = time.monotonic()
        self.done["reload"] += 1
        if answer.status != 200:
            self.fault(f"reload: {answer.status} {answer.text}")

    def _harm(self, origin, dice):
        """Kills or stops it for a while. Others may be ill at the same time."""
        how = "kill" if dice < 0.5 else "stop"
        if not hasattr(origin, "ill"):
            origin.ill = threading.Lock()
        if not origin.ill.acquire(blocking=False):
            return
        with self.board.ill_until.get_lock():
            self.board.ill_until.value = float("inf")
        self.done[how] += 1
        if how == "kill":
            origin.kill()
            self.board.kills[self.done["kill"] % 256] = time.monotonic()
            time.sleep(dice * 2)
            origin.start()
            wait_until(lambda: self._answers(origin.port), 30)
        else:
            origin.process.send_signal(signal.SIGSTOP)
            time.sleep(dice * 5)
            origin.process.send_signal(signal.SIGCONT)
        origin.ill.release()
        with self.board.ill_until.get_lock():
            if not any(o.ill.locked() for o in self.origins if hasattr(o, "ill")):
                self.board.ill_until.value = time.monotonic() + AFTER_ILLNESS

    def _upgrade(self):
        with self.board.ill_until.get_lock():
            self.board.ill_until.value = float("inf")
        self.say("upgrade")
        self.upgrading = True
        self.weir.upgrade(seconds=60)
        self.upgrading = False
        self.files = None  # others than the first process had
        with self.board.ill_until.get_lock():
            self.board.ill_until.value = time.monotonic() + AFTER_ILLNESS

    # -- what is watched ---------------------------------------------------------------------------------------------------

    upgrading = False

    def _watch(self):
        while not self.board.stop.is_set():
            try:
                now = self.weir.admin.json("/api/v1/cache")
                resident = memory_of(self.weir.pid, "VmRSS")
            except Exception:
                if not self.upgrading:
                    time.sleep(0.2)
                continue
            self.peak = max(self.peak, resident)
            self.highest = max(self.highest, now["bytes"] / now["memory"])
            self.done["watched"] += 1
            if now["bytes"] > now["memory"]:
                late = time.monotonic() - self.shrunk
                self.over = max(self.over, late)
                if late > SENT_LATE:
                    self.fault(f"{now['bytes']} bytes of {now['memory']}")
            time.sleep(0.01)

    def _files(self):
        return len(os.listdir(f"/proc/{self.weir.pid}/fd"))

    # -- the end -----------------------------------------------------------------------------------------------------------

    def _collapse(self):
        """Many at once for one cold object, large ones and small ones, whether there is memory for it or not."""
        time.sleep(max(0.0, min(15.0, self.board.ill_until.value - time.monotonic())))
        self.max_object, self.cached = 8, True
        for size, self.memory in ((100, 96), (100_000, 96), (5_000_000, 96), (1_900_000, 2)):
            self.weir.write(self._configuration())
            self.weir.admin.reload()
            path, found, lock = f"/cold/{self.options.seed}?size={size}", collections.Counter(), threading.Lock()

            def ask():
                client = RawClient(self.weir.port("web"), server_name=None, seconds=60)
                answer = client.get(path, seconds=60)
                with lock:
                    found[answer["x-serial"] if answer.body == POOL[:size] else f"untrue {answer.status} {len(answer.body)}"] += 1
            threads = [threading.Thread(target=ask) for _ in range(60)]
            for t in threads:
                t.start()
            for t in threads:
                t.join()
            if len(found) != 1 or sum(found.values()) != 60:
                self.fault(f"60 clients of a cold object of {size} saw {dict(found)}")

    def _end(self):
        try:
            wait_until(lambda: self.weir.admin.json("/api/v1/cache")["fills"] == 0, 20)
        except Exception:
            self.fault(f"fetches are left: {self.weir.admin.json('/api/v1/cache')}")
        try:
            wait_until(lambda: self._files() <= (self.files or 80) + (10 if self.options.steer else 0), 20)
        except Exception:
            self.fault(f"{self._files()} open files, at the beginning {self.files}")
        now = self.weir.admin.json("/api/v1/cache")
        resident = memory_of(self.weir.pid, "VmRSS")
        shown = {k: now[k] for k in ("memory", "bytes", "objects", "entries", "fills", "evictions", "insertions", "purged") if k in now}
        print(f"\nanswers     {dict(self.counts)}\ndone        {dict(self.done)}\nat the end  {json.dumps(shown)}")
        print(f"budget      at most {self.highest:.4f} of the memory was in use; over it for {self.over:.1f} s after it was made smaller")
        print(f"resident    {self.peak / MIB:.1f} MiB at most, {resident / MIB:.1f} at the end; memory was {self.largest} MiB at most, is {self.memory}; "
              f"open files {self._files()}")
        if self.peak > self.largest * MIB * 1.3 + MEMORY_BESIDE and not binary_is_sanitized():
            self.fault(f"{self.peak / MIB:.0f} MiB resident")
        if not self.counts["hit"] or not self.counts[200]:
            self.fault("nothing was answered")
        if self.counts["clients that hang"]:
            self.fault("clients that hang")

    def close(self):
        try:
            self.weir.stop(30)
        except BaseException as error:
            self.fault(f"the end: {error}")
        for origin in self.origins:
            origin.process.send_signal(signal.SIGCONT)
            origin.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=48)
    parser.add_argument("--no-upgrade", action="store_true")
    parser.add_argument("--steer", action="store_true", help="with everything that operators do beside it (steering.py)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="weir-cache-chaos-") as folder:
        chaos = Chaos(options, folder)
        try:
            chaos.run()
        finally:
            chaos.close()
    print("PASSED" if not chaos.faults else f"FAILED: {len(chaos.faults)} faults")
    return 1 if chaos.faults else 0


if __name__ == "__main__":
    sys.exit(main())
