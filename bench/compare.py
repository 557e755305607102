#!/usr/bin/python3
"""One binary of weir beside another: the same cases in turn, CPU time a request, and the ratio round by round.

    bench/compare.py l7-1k,h2-1k before=/path/weir after=build/weir --rounds 15 --seconds 1

A program that takes LISTEN_PORT SERVER_PORT, as bench/floor/relay.c, takes part as relay:NAME=PATH. Rounds are short and many, so that a
machine that changes its pace changes it for all; the ratio is the median of the rounds' own ratios to the first program.
"""

import argparse
import statistics
import sys

from lib import load
from lib.processes import BenchError, Processes
from lib.proxies import Floor, Weir
from lib.cases import CASES
from run import HERE


class Build(Weir):
    def __init__(self, processes, name, binary, cached):
        if cached:
            self.listeners, self.prefix, self.template = ("http",), "/cached/", "weir/cache.yaml"
        super().__init__(processes, binary)
        self.name, self.variant = name, "cache" if cached else ""


class Relay(Floor):
    def __init__(self, processes, name, binary):
        super().__init__(processes, binary)
        self.name = name


def compare(case, programs, processes, given):
    found = {p.name: [] for p in programs}
    rates = {p.name: [] for p in programs}
    for number in range(given.rounds):
        turn = programs[number % len(programs):] + programs[:number % len(programs)]
        for program in turn:
            result = load.measure(case, program, processes, given.seconds)
            if result["errors"] or result["misses"]:
                print(f"{case.name} {program.name}: {result['errors']} errors, {result['misses']} misses", file=sys.stderr)
            found[program.name].append(result["cpu_us"])
            rates[program.name].append(result["rate"])
    first = found[programs[0].name]
    for program in programs:
        mine = sorted(found[program.name])
        ratio = statistics.median(a / b for a, b in zip(found[program.name], first))
        print(f"{case.name:14} {program.name:12} {statistics.median(mine):9.2f} us ({mine[0]:.2f}–{mine[-1]:.2f})"
              f"  lower quartile {mine[len(mine) // 4]:.2f}  ratio {ratio:.3f}  {statistics.median(rates[program.name]):,.0f}/s", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", help="joined by commas; those of bench/run.py that have the groups plain and cache, but for the idle ones")
    parser.add_argument("programs", nargs="+", metavar="NAME=BINARY")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1)
    given = parser.parse_args()
    given.proxy_cpu, given.load_cpu = 0, 1
    cases = [c for name in given.cases.split(",") for c in CASES if c.name == name]
    with Processes(HERE, given) as processes:
        for cached in (False, True):
            programs = []
            for text in given.programs:
                name, binary = text.split("=", 1)
                relay = name.startswith("relay:")
                if not (relay and cached):
                    programs.append(Relay(processes, name[6:], binary) if relay else Build(processes, name, binary, cached))
            mine = [c for c in cases if c.cached == cached]
            if not mine:
                continue
            for program in programs:
                program.start()
            for case in mine:
                compare(case, [p for p in programs if case.listener in p.ports], processes, given)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit(f"BenchError: {error}")
