#!/usr/bin/python3
"""What weir keeps for each route, server, worker and connection: the figures of the model in docs/performance-model.md.

    bench/model.py [--weir BINARY]      # memory and counts, no times: another load on the machine does not matter

Memory is the proportional set size of a process that has just been started, and the kernel's slabs for connections (both ends of
one are on this machine: half is weir's).
"""

import argparse
import contextlib
import os
import re
import sys
import time

from lib.idle import connect
from lib.processes import BenchError, Processes, run
from lib.proxies import Weir

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
CONNECTIONS = 5000


class Model(Weir):
    """`workers`, `routes` on hosts with ten each, and `servers` of one upstream; the first four are there."""

    listeners = ("http",)
    template = "weir/model.yaml"
    start_seconds = 120

    def __init__(self, processes, binary, workers=1, routes=1, servers=1, health_check=False):
        super().__init__(processes, binary)
        self.workers, self.routes, self.servers, self.health_check = workers, routes, servers, health_check
        self.variant = f"{workers} {routes} {servers} {health_check}"

    def values(self):
        real = [f"127.0.0.1:{self.processes.values[name]}" for name in ("BACKEND_PORT", "BACKEND_2_PORT", "BACKEND_3_PORT", "BACKEND_4_PORT")]
        addresses = (real + [f"127.1.{n // 200}.{n % 200 + 1}:{self.processes.backend_port}" for n in range(self.servers)])[:self.servers]
        routes = ["  - { path: /, upstream: backend }"]
        routes += [f"  - {{ host: h{n // 10}.example.com, path: /r{n % 10}/, upstream: backend }}" for n in range(self.routes - 1)]
        check = "    health_check: { type: tcp, interval: 1s }" if self.health_check else ""
        return {"SERVERS": ", ".join(f'"{a}"' for a in addresses), "ROUTES": "\n".join(routes), "HEALTH_CHECK": check}

    def _check(self):
        pass


@contextlib.contextmanager
def running(*arguments, **model):
    weir = Model(*arguments, **model)
    weir.start()
    try:
        time.sleep(0.5)  # what is done just after the start is done
        yield weir
    finally:
        weir.stop()


def slab_kib():
    with open("/proc/meminfo") as f:
        return int(re.search(r"^Slab:\s+(\d+)", f.read(), re.M)[1])


def row(*cells):
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def heading(*cells):
    row(*cells)
    print("| --- |" + " ---: |" * (len(cells) - 1))


def memory(context):
    heading("", "PSS KiB", "start ms")
    for label, model in (
            ("1 worker, 1 route, 1 server", {}),
            *((f"{n} workers", {"workers": n}) for n in (2, 4, 8, 16)),
            *((f"{n:,} routes", {"routes": n}) for n in (10, 1000, 10000, 100000)),
            ("100,000 routes, 8 workers", {"routes": 100000, "workers": 8}),
            *((f"{n:,} servers", {"servers": n}) for n in (10, 100, 1000)),
            ("1,000 servers, 8 workers", {"servers": 1000, "workers": 8}),
            ("1,000 servers, health checks", {"servers": 1000, "health_check": True})):
        with running(*context, **model) as weir:
            row(label, f"{weir.pss_kib():,}", f"{weir.start_ms:,.0f}")


def idle_connections(context):
    with running(*context) as weir:
        open_now = [connect(weir.ports["http"], None, "/1k") for _ in range(50)]
        before, slab = weir.pss_kib(), slab_kib()
        open_now += [connect(weir.ports["http"], None, "/1k") for _ in range(CONNECTIONS)]
        time.sleep(1)
        print(f"\n{CONNECTIONS:,} idle connections: {(weir.pss_kib() - before) / CONNECTIONS:.2f} KiB each, and "
              f"{(slab_kib() - slab) / CONNECTIONS / 2:.2f} KiB of the kernel's for an end\n")
        for each in open_now:
            each.close()


def upstream_connections(processes, context):
    heading("workers", "connections to 4 servers by 64 clients", "by 1,000 clients")
    for workers in (1, 2, 4, 8):
        found = []
        for clients in (64, 1000):
            with running(*context, workers=workers, servers=4) as weir:
                before = processes.backend_connections()
                run(["wrk", "-t1", f"-c{clients}", "-d2s", f"http://127.0.0.1:{weir.ports['http']}/1k"])
                found.append(processes.backend_connections() - before)
        row(workers, *found)


def health_checks(processes, context):
    """Checks by tcp make a connection to the server behind and no request."""
    def accepted():
        text = processes._backend_status()  # noqa: SLF001
        return int(re.search(r"^ (\d+) \d+ \d+", text, re.M)[1])

    print()
    heading("workers", "checks of 4 servers in 5 s, every 1 s")
    for workers in (1, 4):
        with running(*context, workers=workers, servers=4, health_check=True):
            before = accepted()
            time.sleep(5)
            row(workers, accepted() - before - 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weir", default=os.path.join(ROOT, "build", "weir"), help="path of the binary")
    given = parser.parse_args()
    given.proxy_cpu, given.load_cpu = 0, 1
    with Processes(HERE, given) as processes:
        context = processes, os.path.abspath(given.weir)
        memory(context)
        idle_connections(context)
        upstream_connections(processes, context)
        health_checks(processes, context)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit(f"BenchError: {error}")
