#!/usr/bin/python3
"""Servers die, stop, crawl, cut, lie and come back, the name of some of them changes, and the configuration is reloaded, while clients
send GETs. One server at least is well at any time, so every GET must get its whole, true answer.

    chaos.py [--seconds 600] [--clients 16] [--outage 25] [--seed 1] [--protocol http1|http2] [--steer]

WEIR_BINARY names the binary (default build/weir). After the chaos every server fails for --outage seconds in each of three ways
(refusing, resetting, answering 503), and what weir tries then is counted; then one comes back, then all. Prints what happens and a
summary; exits 1 when

  - a GET failed though a server was well. An answer that breaks behind its head because its server was told to cut, stop or die is
    told apart: nothing can be sent again once its bytes are with the client;
  - a body was whole but not the true one;
  - in an outage weir made more than 1.2 attempts a request, besides the 100 for each worker that a quiet time saves up;
  - a server that came back had no requests within `rise` checks, or not its share of them after slow_start;
  - a request or a place in the queue was left over at the end, memory grew, or weir ended badly."""

import argparse
import collections
import json
import os
import random
import sys
import tempfile
import time

from chaos_fleet import FIXED, NAMED, Client, Fleet, request_id

from harness import Weir, wait_until
from harness.weir import binary_is_sanitized
from steering import Steered

MODES = ["slow", "error", "busy", "reset", "cut", "mute", "stop", "kill"]
POLICIES = ["round_robin", "least_connections", "ewma", "random_two", "maglev"]
WORKERS, TOKENS = 2, 100  # TOKENS: what a worker has saved up in a quiet time (balancer/budget.h)
INTERVAL, RISE, SLOW_START = 0.5, 2, 2.0
MEMORY_MAY_GROW = 8 << 20
GRACE = 2.5  # seconds, for a machine that has other things to do


def configuration(fleet, protocol, turn):
    retries = {"attempts": 4, "on": ["connect", "reset", "timeout", 500, 502, 503, 504], "timeout": "700ms", "budget": "20%"}
    common = {"protocol": protocol, "balance": POLICIES[turn % len(POLICIES)]}
    if common["balance"] == "maglev":
        common["hash_key"] = "path"
    return {
        "workers": WORKERS,
        "timeouts": {"connect": "1s", "response": "10s", "body": "3s"},
        "listeners": {"web": {}},
        "routes": [{"name": f"turn-{turn}", "upstream": "app", "retries": retries},
                   {"name": "bare", "path": "/bare/", "upstream": "bare", "retries": retries}],
        "upstreams": {
            "app": {**common, "servers": fleet.entries(), "slow_start": f"{SLOW_START * 1000:.0f}ms",
                    "health_check": {"path": "/health", "interval": f"{INTERVAL * 1000:.0f}ms", "timeout": "400ms", "rise": RISE, "fall": 2},
                    "outlier": {"errors": 3, "eject": "2s", "max_ejected": "80%"},
                    "queue": {"size": 100, "timeout": "2s"}},
            "bare": {**common, "servers": [s.address for s in fleet.fixed]},
        },
    }


class Chaos:
    def __init__(self, options, folder):
        self.options, self.outage, self.turn = options, False, 0
        self.random, self.begin = random.Random(options.seed), time.time()
        self.faults, self.cuts, self.outages = [], collections.Counter(), collections.Counter()
        self.memory, self.summary = [], []
        self.fleet = Fleet("h2" if options.protocol == "http2" else "h1")
        self.weir = (Steered if options.steer else Weir)(
            os.path.join(folder, "weir"), configuration(self.fleet, options.protocol, 0), environment=self.fleet.dns.environment)
        self.clients = [Client(n, self.weir.port("web"), self._told) for n in range(options.clients)]

    def say(self, text):
        print(f"{time.time() - self.begin:7.2f}  {text}", flush=True)

    def sum_up(self, text):
        self.summary.append(text)
        self.say(text)

    def fault(self, text):
        self.faults.append(text)
        self.say(f"FAULT: {text}")

    def run(self):
        for client in self.clients:
            client.start()
        end, sampled = time.time() + self.options.seconds, 0.0
        while time.time() < end and len(self.faults) < 20:
            self._step()
            if time.time() - sampled > 1:
                sampled = time.time()
                self.memory.append(self.weir.rss_bytes())
            time.sleep(self.random.uniform(0.2, 1.0))
        self.all_be("ok")
        self.fleet.list_names(self.fleet.named)
        while POLICIES[self.turn % len(POLICIES)] == "ewma":
            self._reload()  # who was slow has less for a minute, as it should
        self._share("the chaos", 45)
        for how in ("kill", "reset", "busy"):
            self._outage(how)
        self._one_returns()
        self._end()

    def all_be(self, mode):
        for server in self.fleet.servers:
            server.be(mode)

    def _told(self, target, result, server):
        if self.outage:
            self.outages[result] += 1
        elif result == "cut" and self.fleet.servers[int(server)].broke_until > time.time():
            self.cuts[result] += 1
        else:
            modes = [f"{s.mode} {time.time() - s.since:.1f}" for s in self.fleet.servers]
            story = self.weir.admin.request("GET", f"/api/v1/requests?id={request_id(target)}").text
            states = [(s["address"].split(":")[0][-2:], s["state"], s.get("reason", "")) for s in self._upstream("app")["servers"]]
            self.fault(f"GET {target}: {result} by {server}; servers {modes}; {states}; {story[:3000]}")

    # -- the chaos ---------------------------------------------------------------------------------------------------------

    def _step(self):
        """Something happens to one server, to the name, or to weir; one server at least stays well."""
        dice = self.random.random()
        if dice < 0.1:
            self._reload()
        elif dice < 0.25:
            self._rename()
        else:
            self._change_one()

    def _reload(self):
        self.turn += 1
        self.weir.write(configuration(self.fleet, self.options.protocol, self.turn))
        answer = self.weir.admin.reload()
        self.say(f"reload {self.turn}")
        if answer.status != 200:
            self.fault(f"reload: {answer.status} {answer.text}")

    def _rename(self):
        how = self.random.choice(["servfail", "silent", "list", "list", "list"])
        if how != "list":
            self.say(f"name: {how}")
            self.fleet.break_name(how)
            return
        chosen = self.random.sample(self.fleet.named, self.random.randint(1, NAMED))
        if any(s in self.fleet.fixed or s in chosen for s in self.fleet.well()):
            self.say(f"name: {[s.number for s in chosen]}")
            self.fleet.list_names(chosen)

    def _change_one(self):
        ill = [s for s in self.fleet.servers if s.mode != "ok"]
        if ill and self.random.random() < 0.3:
            server, mode = self.random.choice(ill), "ok"
        else:
            server, mode = self.random.choice(self.fleet.servers), self.random.choice(MODES)
            if not [s for s in self.fleet.well() if s is not server]:
                return
        self.say(f"server {server.number}: {server.mode} -> {mode}")
        server.be(mode)

    # -- what comes back ---------------------------------------------------------------------------------------------------

    def _upstream(self, name):
        return next(u for u in self.weir.admin.upstreams()["upstreams"] if u["name"] == name)

    def _requests(self):
        return {s["address"]: s["requests"] for s in self._upstream("app")["servers"]}

    def _up(self):
        return [s["address"] for s in self._upstream("app")["servers"] if s["state"] == "up"]

    def _is_down(self, server):
        """By its check, and no more by an ejection, which has a time of its own."""
        found = next(s for s in self._upstream("app")["servers"] if s["address"] == server.address)
        return found["state"] == "down" and not found["ejected"]

    def _share(self, after, seconds):
        """All servers are well: each is up in time, and has its share when it has started."""
        begin = time.time()
        wait_until(lambda: len(self._up()) == FIXED + NAMED, seconds + 15, f"all servers up after {after}: {self._up()}")
        up = time.time() - begin
        while True:
            share = self._next_share(400)
            fair = min(share) * 3 > sum(share) / len(share)
            if fair or time.time() - begin > up + SLOW_START + 4 * GRACE:
                break
        took = time.time() - begin
        self.sum_up(f"after {after}: all servers are up in {up:.1f} s; after {took:.1f} s of {sum(share)} requests each has {sorted(share)}")
        if up > seconds or took > up + SLOW_START + GRACE or not fair:
            self.fault(f"after {after} not all servers were back")

    def _next_share(self, count):
        before = self._requests()
        wait_until(lambda: sum(self._requests().values()) - sum(before.values()) > count, 60, "requests")
        return [n - before[a] for a, n in self._requests().items()]

    def _one_returns(self):
        """A server dies, and comes back after a while; what it did before is forgiven (balancer/flapping.h)."""
        time.sleep(60 * INTERVAL)
        server = self.fleet.fixed[0]
        server.be("kill")
        wait_until(lambda: self._is_down(server), 30)
        server.be("ok")
        begin, before = time.time(), self._requests()[server.address]
        wait_until(lambda: self._requests()[server.address] > before, 20, "a request of the server that is back", every=0.02)
        took, limit = time.time() - begin, RISE * INTERVAL * 1.1 + GRACE
        self.sum_up(f"a server that came back had its first request in {took:.2f} s ({RISE} checks take {RISE * INTERVAL:.1f} s)")
        if took > limit:
            self.fault(f"a server that came back had no request for {took:.2f} s")
        self._share("one came back", GRACE)

    # -- outages -----------------------------------------------------------------------------------------------------------

    def _asked(self):
        return sum(sum(c.results.values()) for c in self.clients)

    def _tried(self, how):
        """Connections and requests that weir has tried on the servers of `bare`."""
        if how == "kill":
            return sum(s["connections"]["failed"] for s in self._upstream("bare")["servers"]), 0
        return tuple(map(sum, zip(*(s.counts() for s in self.fleet.fixed))))

    def _outage(self, how):
        for client in self.clients:
            client.path = "/bare/"
        self.outage = True
        self.all_be(how)
        asked, before = self._asked(), self._tried(how)
        time.sleep(self.options.outage)
        requests = self._asked() - asked
        connections, tried = (b - a for a, b in zip(before, self._tried(how)))
        attempts = max(connections, tried)
        self.sum_up(f"outage ({how}): {requests} requests, {connections} connections and {tried} requests on servers: "
                    f"{attempts / requests:.3f} attempts a request, {(attempts - TOKENS * WORKERS) / requests:.3f} without what was saved up")
        if attempts > 1.2 * requests + TOKENS * WORKERS + len(self.clients):
            self.fault(f"outage ({how}): {attempts} attempts for {requests} requests")
        self._flows_again(how)
        for client in self.clients:
            client.path = "/"
        self.all_be("ok")
        self.outage = False if how == "busy" else self.outage
        self._recovers(how)
        self.outage = False

    def _flows_again(self, how):
        """One server of `bare`, which has no checks, is back: requests flow at once."""
        good, begin = self._good(), time.time()
        self.fleet.fixed[0].be("ok")
        begin = time.time() if how == "kill" else begin  # its process had to start
        wait_until(lambda: self._good() > good + 100, 60, "requests to flow again", every=0.01)
        self.sum_up(f"outage ({how}): 100 answers {time.time() - begin:.2f} s after the first server was back")
        if time.time() - begin > GRACE:
            self.fault(f"outage ({how}): requests flowed only after {time.time() - begin:.2f} s")

    def _good(self):
        return sum(c.results["ok"] for c in self.clients)

    def _recovers(self, how):
        """`app` has checks: it serves when they have found a server."""
        self.outage = True
        good, begin = self._good(), time.time()
        wait_until(lambda: self._good() > good + 100, 60, "requests to flow again", every=0.01)
        self.sum_up(f"outage ({how}): 100 answers of checked servers {time.time() - begin:.2f} s after they were back")
        self.outage = False
        self._share(f"the outage ({how})", RISE * INTERVAL * 8 + GRACE)

    # -- the end -----------------------------------------------------------------------------------------------------------

    def _end(self):
        for client in self.clients:
            client.over = True
        for client in self.clients:
            client.join(40)

        def left():
            upstreams = [self._upstream(n) for n in ("app", "bare")]
            flight = sum(s["in_flight"] for u in upstreams for s in u["servers"])
            return flight + sum(u["queue"]["waiting"] for u in upstreams if u.get("queue"))
        try:
            wait_until(lambda: left() == 0, 15)
        except Exception:
            self.fault(f"{left()} requests in flight or waiting at the end: {json.dumps(self._upstream('app'))}")
        if len(self.memory) >= 60:
            third = len(self.memory) // 3
            early, late = max(self.memory[third // 2:third]), max(self.memory[-third:])
            self.sum_up(f"memory: {early / 2**20:.1f} MiB early, {late / 2**20:.1f} MiB late")
            if late - early > MEMORY_MAY_GROW and not binary_is_sanitized():
                self.fault(f"memory grew by {(late - early) / 2**20:.1f} MiB")

    def close(self):
        try:
            self.weir.stop()
        except Exception as error:
            self.fault(f"the end: {error}")
        self.fleet.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--outage", type=float, default=25)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--protocol", choices=["http1", "http2"], default="http1")
    parser.add_argument("--steer", action="store_true", help="with everything that operators do beside it (steering.py)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="weir-chaos-") as folder:
        chaos = Chaos(options, folder)
        try:
            chaos.run()
        finally:
            chaos.close()
    answers = sum((c.results for c in chaos.clients), collections.Counter())
    print("\n".join(["", *chaos.summary]))
    print(f"answers: {dict(answers)}; the slowest after {max(c.slowest for c in chaos.clients):.1f} s")
    print(f"broken by their servers behind the head: {sum(chaos.cuts.values())}; in outages: {dict(chaos.outages)}")
    print(f"faults: {len(chaos.faults)}")
    return 1 if chaos.faults else 0


if __name__ == "__main__":
    sys.exit(main())
