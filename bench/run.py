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

from lib import idle, load
from lib.caches import find_caches
from lib.processes import BenchError, Processes
from lib.proxies import find_proxies
from lib.table import idle_table, load_table

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)


class Case:
    """`listener` of the proxy that is asked, `kind` of load: keepalive, close (a connection a request), full or resumed
    handshakes, h2 (100 streams at once on each connection). `cached`: answered by the proxies' caches."""

    def __init__(self, name, title, listener, path, connections=64, kind="keepalive", floor=True, cached=False):
        self.name, self.title, self.listener, self.path = name, title, listener, path
        self.connections, self.kind, self.floor, self.cached = connections, kind, floor, cached


CASES = [
    Case("l7-1k", "HTTP, 1 KiB, 64 keep-alive connections", "http", "/1k"),
    Case("l7-100k", "HTTP, 100 KiB, 64 keep-alive connections", "http", "/100k"),
    Case("l7-1m", "HTTP, 1 MiB, 32 keep-alive connections", "http", "/1m", 32),
    Case("l7-close", "HTTP, 1 KiB, a new client connection for each request", "http", "/1k", kind="close"),
    Case("l4-1k", "TCP, 1 KiB answers on 64 connections", "tcp", "/1k"),
    Case("l4-1m", "TCP, 1 MiB answers on 32 connections", "tcp", "/1m", 32),
    Case("l4-close", "TCP, a new connection for each 1 KiB answer", "tcp", "/1k", kind="close"),
    Case("tls-1k", "HTTPS, 1 KiB, 64 keep-alive connections", "https", "/1k", floor=False),
    Case("tls-1m", "HTTPS, 1 MiB, 32 keep-alive connections", "https", "/1m", 32, floor=False),
    Case("h2-1k", "HTTP/2 without TLS, 1 KiB, 8 connections with 100 streams each", "h2c", "/1k", 8, "h2", False),
    Case("h2-1m", "HTTP/2 without TLS, 1 MiB, 8 connections with 4 streams each", "h2c", "/1m", 8, "h2", False),
    Case("tls-handshake", "HTTPS, a full handshake (ECDSA P-256) for each 1 KiB answer", "https", "/1k", 32, "full", False),
    Case("tls-resumed", "HTTPS, a resumed handshake for each 1 KiB answer", "https", "/1k", 32, "resumed", False),
    Case("cache-1k", "hits of the cache, HTTP, 1 KiB, 64 keep-alive connections", "http", "/cached/1k", cached=True),
    Case("cache-100k", "hits of the cache, HTTP, 100 KiB, 64 keep-alive connections", "http", "/cached/100k", cached=True),
]
IDLE_CASES = [
    Case("idle-plain", "Memory of an idle HTTP connection", "http", "/1k", 5000, floor=False),
    Case("idle-tls", "Memory of an idle HTTPS connection", "https", "/1k", 5000, floor=False),
]


def arguments():
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="case", help="which: " + ", ".join(c.name for c in CASES + IDLE_CASES) + "; all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement")
    parser.add_argument("--quick", action="store_true", help="1 round of 2 seconds: to see that it works, not to compare")
    parser.add_argument("--only", help="these proxies alone, as weir,nginx,haproxy,varnish,floor")
    parser.add_argument("--weir", default=os.path.join(ROOT, "build", "weir"), help="path of the binary")
    parser.add_argument("--nginx", default="nginx", help="path of another nginx")
    parser.add_argument("--haproxy", default="haproxy", help="path of another HAProxy")
    parser.add_argument("--varnish", default="varnishd", help="path of another varnishd")
    parser.add_argument("--proxy-cpu", type=int, default=0)
    parser.add_argument("--load-cpu", type=int, default=1)
    parser.add_argument("--output", help="write the Markdown there too")
    parser.add_argument("--json", help="write every measurement there")
    given = parser.parse_args()
    if given.quick:
        given.rounds, given.seconds = 1, 2
    known = {c.name for c in CASES + IDLE_CASES}
    unknown = set(given.cases) - known - {"all"}
    if unknown:
        parser.error(f"unknown case {', '.join(sorted(unknown))}; known: {', '.join(sorted(known))}")
    return given


def chosen(cases, given):
    return [c for c in cases if not given.cases or "all" in given.cases or c.name in given.cases]


def say(text):
    print(text, file=sys.stderr, flush=True)


def started(candidates, given):
    """Those of the candidates that were asked for and that start."""
    wanted = given.only.split(",") if given.only else None
    proxies = []
    for proxy in candidates:
        if wanted and proxy.name not in wanted:
            continue
        try:
            proxy.start()
            proxies.append(proxy)
        except (BenchError, OSError) as error:
            say(f"{proxy.name}{' (cache)' if 'cached' in proxy.prefix else ''} is left out: {error}")
    return proxies


def run_load_cases(cases, proxies, caches, given, processes):
    """{case name: {proxy name: [measurement]}}: each round measures every case on every proxy before the next begins."""
    results = {c.name: {} for c in cases}
    for number in range(given.rounds):
        for case in cases:
            # Another proxy goes first each round, so that none always follows the same one.
            turn = [p for p in (caches if case.cached else proxies) if case.floor or p.name != "floor"]
            if not turn:
                continue
            turn = turn[number % len(turn):] + turn[:number % len(turn)]
            for proxy in turn:
                say(f"round {number + 1}/{given.rounds}  {case.name}  {proxy.name}")
                try:
                    result = load.measure(case, proxy, processes, given.seconds)
                except (BenchError, OSError) as error:
                    say(f"  no result: {error}")
                    proxy.restart()
                    continue
                results[case.name].setdefault(proxy.name, []).append(result)
    return results


def run_idle_cases(cases, proxies, given):
    results = {c.name: {} for c in cases}
    for number in range(min(given.rounds, 3)):
        for case in cases:
            for proxy in proxies:
                if proxy.name == "floor":
                    continue
                say(f"round {number + 1}  {case.name}  {proxy.name}")
                proxy.restart()  # so that no memory of what was measured before is taken for that of idle connections
                results[case.name].setdefault(proxy.name, []).append(idle.measure(case, proxy))
    return results


def headline(proxies, given):
    with open("/proc/cpuinfo") as f:
        model = next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")), platform.machine())
    versions = "; ".join(dict.fromkeys(f"{p.name} {p.version}" for p in proxies if p.version))
    return (f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} CPUs ({model}), Linux {platform.release()}. {versions}. "
            f"{given.rounds} rounds of {given.seconds:g} s; median (min–max).\n\n"
            f"    ./dev bench {' '.join(sys.argv[1:])}".rstrip() + "\n")


def main():
    given = arguments()
    if os.cpu_count() < 2:
        say("two CPUs are needed: one for the proxy, one for the load and the server behind")
        return 2
    load_cases, idle_cases = chosen(CASES, given), chosen(IDLE_CASES, given)
    with Processes(HERE, given) as processes:
        # A program's cache is a process of its own, which runs only for the cases of the cache.
        relayed = idle_cases or any(not c.cached for c in load_cases)
        proxies = started(find_proxies(processes, given), given) if relayed else []
        caches = started(find_caches(processes, given), given) if any(c.cached for c in load_cases) else []
        if not proxies and not caches:
            return 1
        report = [headline(proxies + caches, given)]
        results = run_load_cases(load_cases, proxies, caches, given, processes)
        for case in load_cases:
            report.append(load_table(case, results[case.name]))
        idle_results = run_idle_cases(idle_cases, proxies, given)
        for case in idle_cases:
            report.append(idle_table(case, idle_results[case.name]))

    text = "\n".join(report)
    print(text)
    if given.output:
        with open(given.output, "w") as f:
            f.write(text)
    if given.json:
        with open(given.json, "w") as f:
            json.dump({**results, **idle_results}, f, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
