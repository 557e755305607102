#!/usr/bin/python3
"""Side by side: weir, nginx, HAProxy, Varnish (the cases of the cache) and a bare relay (the floor), the same work in turn.

The proxy has one worker on one CPU; the load generator and the server behind share another. The main figure is the proxy's own CPU
time per request: what its tasks ran (/proc/PID/task/*/schedstat) divided by the requests done. docs/performance.md explains.
"""

import argparse
import json
import os
import platform
import sys
import time

from lib import idle, load, reload, routes, scaling
from lib.caches import find_caches
from lib.cases import CASES
from lib.processes import BenchError, Processes
from lib.proxies import find_large, find_proxies
from lib.table import table
from lib.variants import find_reloading, find_routes, find_scaling

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)

# Those of the resident groups run all the time, the others while they are measured.
GROUPS = {"plain": find_proxies, "large": find_large, "cache": find_caches, "reload": find_reloading, "scaling": find_scaling,
          "routes": find_routes}
RESIDENT = ("plain", "large", "cache")
MEASURES = {"idle": idle.measure, "reload": reload.measure, "scaling": scaling.measure, "routes": routes.measure}
# Seconds of a measurement beside those asked for: starting, warming up, connecting (as seen on the machine of docs/performance.md).
BESIDE = {"idle": 9, "reload": 3, "scaling": 3, "routes": 6, "load": 1.3}


def arguments():
    parser = argparse.ArgumentParser(prog="./dev bench", formatter_class=argparse.RawDescriptionHelpFormatter,
                                     description=f"{__doc__}\nEvery case in 5 rounds of 3 seconds takes about {minutes(CASES, 5, 3):.0f} minutes, --quick about {minutes(CASES, 1, 1):.0f}.")
    parser.add_argument("cases", nargs="*", metavar="case", help="which: " + ", ".join(c.name for c in CASES) + "; all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3, help="of each measurement")
    parser.add_argument("--quick", action="store_true", help="1 round of 1 second: to see that it works, not to compare")
    parser.add_argument("--only", help="these proxies alone, as weir,nginx,haproxy,varnish,floor")
    parser.add_argument("--weir", default=os.path.join(ROOT, "build", "weir"), help="path of the binary")
    parser.add_argument("--nginx", default="nginx", help="path of another nginx; a stream module that it loads is looked for in modules/ beside it")
    parser.add_argument("--haproxy", default="haproxy", help="path of another HAProxy")
    parser.add_argument("--varnish", default="varnishd", help="path of another varnishd")
    parser.add_argument("--proxy-cpu", type=int, default=0)
    parser.add_argument("--load-cpu", type=int, default=1)
    parser.add_argument("--output", help="write the Markdown there too")
    parser.add_argument("--json", help="write every measurement there")
    given = parser.parse_args()
    if given.quick:
        given.rounds, given.seconds = 1, 1
    known = [c.name for c in CASES]
    unknown = set(given.cases) - set(known) - {"all"}
    if unknown:
        parser.error(f"unknown case {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    return given


def minutes(cases, rounds, seconds):
    """How long that takes, with all the programs."""
    def of(case):
        programs = {"plain": 3 + case.floor, "large": 3, "cache": 5, "reload": 3, "scaling": 6, "routes": 6}[case.group]
        measuring = 0 if case.kind == "idle" else max(seconds, 2) if case.kind == "reload" else seconds
        return programs * (measuring + BESIDE.get(case.kind, BESIDE["load"])) * (min(rounds, case.at_most) if case.at_most else rounds)
    return sum(of(case) for case in cases) / 60


def say(text):
    print(text, file=sys.stderr, flush=True)


class Groups:
    """The programs of each group that were asked for and that start, found when a case first needs them."""

    def __init__(self, processes, given):
        self.processes, self.given, self.found = processes, given, {}

    def of(self, case):
        if case.group not in self.found:
            self.found[case.group] = [p for p in GROUPS[case.group](self.processes, self.given) if self._starts(p, case.group)]
        return [p for p in self.found[case.group] if case.floor or p.name != "floor"]

    def all(self):
        return [p for proxies in self.found.values() for p in proxies]

    def _starts(self, proxy, group):
        if self.given.only and proxy.name not in self.given.only.split(","):
            return False
        try:
            proxy.start()
            if group not in RESIDENT:
                proxy.stop()
            return True
        except (BenchError, OSError) as error:
            proxy.stop()
            say(f"{proxy.label} ({group}) is left out: {error}")
            return False


def measure(case, proxy, processes, seconds):
    """A program of the resident groups is there; the others, and those whose idle memory is asked for, start anew."""
    fresh = case.group not in RESIDENT
    if fresh or case.kind == "idle":
        proxy.restart()
    try:
        return MEASURES.get(case.kind, load.measure)(case, proxy, processes, seconds)
    except (BenchError, OSError):
        if not fresh:
            proxy.restart()
        raise
    finally:
        if fresh:
            proxy.stop()


def run_cases(cases, groups, processes, given):
    """{case name: {label of the proxy: [measurement]}}: each round measures every case on every proxy before the next begins."""
    results = {c.name: {} for c in cases}
    for number in range(given.rounds):
        for case in cases:
            turn = groups.of(case)
            if not turn or (case.at_most and number >= case.at_most):
                continue
            if case.kind == "open" and not case.rate:
                case.rate = load.half_of_slowest(next(c for c in CASES if c.name == "l7-1k"), turn, processes)
            # Another proxy goes first each round, so that none always follows the same one.
            turn = turn[number % len(turn):] + turn[:number % len(turn)]
            for proxy in turn:
                say(f"round {number + 1}/{given.rounds}  {case.name}  {proxy.label}")
                try:
                    results[case.name].setdefault(proxy.label, []).append(measure(case, proxy, processes, given.seconds))
                except (BenchError, OSError) as error:
                    say(f"  no result: {error}")
    return {name: {label: rounds for label, rounds in of.items() if rounds} for name, of in results.items()}


def headline(proxies, given):
    with open("/proc/cpuinfo") as f:
        model = next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")), platform.machine())
    versions = "; ".join(dict.fromkeys(f"{p.name} {p.version}" for p in proxies if p.version))
    ciphers = {p.tls for p in proxies if p.tls}
    by_whom = next(iter(ciphers)) if len(ciphers) == 1 else ", ".join(dict.fromkeys(f"{p.name} {p.tls}" for p in proxies if p.tls))
    return (f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} CPUs ({model}), Linux {platform.release()}. {versions}. "
            + (f"TLS: {by_whom}. " if ciphers else "")
            + f"{given.rounds} rounds of {given.seconds:g} s; median (min–max).\n\n"
            + f"    ./dev bench {' '.join(sys.argv[1:])}".rstrip() + "\n")


def main():
    given = arguments()
    if os.cpu_count() < 2:
        say("two CPUs are needed: one for the proxy, one for the load and the server behind")
        return 2
    cases = [c for c in CASES if not given.cases or "all" in given.cases or c.name in given.cases]
    say(f"about {minutes(cases, given.rounds, given.seconds):.0f} minutes")
    os.environ["PATH"] += ":/usr/sbin"  # where Debian has the peers, and not every user looks
    os.sched_setaffinity(0, {given.load_cpu})  # what this program itself does is not on the proxies' CPU
    with Processes(HERE, given) as processes:
        groups = Groups(processes, given)
        results = run_cases(cases, groups, processes, given)
        if not groups.all():
            return 1
        report = [headline(groups.all(), given), *(table(case, results[case.name]) for case in cases if results[case.name])]

    text = "\n".join(report)
    print(text)
    if given.output:
        with open(given.output, "w") as f:
            f.write(text)
    if given.json:
        with open(given.json, "w") as f:
            json.dump(results, f, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
