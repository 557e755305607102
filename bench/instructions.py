#!/usr/bin/python3
"""User instructions a request, counted by callgrind: the same on a machine that is busy with other things.

    bench/instructions.py build/weir l7-1k h2-1k      # needs valgrind and h2load

The count has a few percent of what opening 64 connections costs in it. `callgrind_annotate FILE` shows where they went; another
binary as a second run is what to compare with.
"""

import argparse
import glob
import os
import re
import subprocess
import sys
import tempfile
import time

from lib.processes import BenchError, Processes, end, free_port, run, wait_for_port
from lib.proxies import Weir

HERE = os.path.dirname(os.path.abspath(__file__))
CASES = {"l7-1k": "HTTP", "tls-1k": "HTTPS", "l4-1k": "TCP", "h2-1k": "H2C", "cache-1k": "HTTP", "cache-100k": "HTTP"}  # the listener


def load(case, port, requests):
    streams = ["-c8", "-m100"] if case == "h2-1k" else ["-c64", "--h1"]
    scheme = "https" if case == "tls-1k" else "http"
    path = "cached/" + case.split("-")[1] if case.startswith("cache-") else "1k"
    told = run(["h2load", "-t1", *streams, f"-n{requests}", f"{scheme}://127.0.0.1:{port}/{path}"]).stdout
    if not re.search(rf"^status codes: {requests} 2xx", told, re.M):
        raise BenchError(f"not every request was answered: {told[-800:]}")


def instructions(profiles):
    """Of the dump that has most: the others are of moments when nothing was counted."""
    most, path = 0, None
    for each in profiles:
        with open(each) as f:
            totals = [int(n) for n in re.findall(r"^(?:totals|summary): (\d+)", f.read(), re.M)]
        if totals and max(totals) > most:
            most, path = max(totals), each
    return most, path


def measure(case, binary, requests, processes):
    ports = {name.upper() + "_PORT": free_port() for name in Weir.listeners}
    config = processes.fill("weir/cache.yaml" if case.startswith("cache-") else "weir/weir.yaml", "weir.yaml", NAME="weir", WORKERS=1, **ports)
    port, out = ports[CASES[case] + "_PORT"], os.path.join(tempfile.mkdtemp(prefix="weir-instructions-"), case)
    weir = processes.spawn(["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}", binary, "run", "-c", config],
                           processes.proxy_cpu, "weir.out")
    wait_for_port(port, weir, lambda: processes.log("weir.out"), 60)
    load(case, port, 3000)  # what is made once is made now
    run(["callgrind_control", "-i", "on", str(weir.pid)])
    load(case, port, requests)
    run(["callgrind_control", "-i", "off", str(weir.pid)])
    run(["callgrind_control", "-d", str(weir.pid)])
    time.sleep(0.5)
    total, path = instructions(glob.glob(out + "*"))
    end(weir)
    print(f"{case}: {total / requests:,.0f} instructions a request ({path})", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weir", help="path of the binary")
    parser.add_argument("cases", nargs="*", metavar="case", help=", ".join(CASES))
    parser.add_argument("--requests", type=int, default=16000)
    given = parser.parse_args()
    given.proxy_cpu, given.load_cpu = 0, 1
    with Processes(HERE, given) as processes:
        for case in given.cases or CASES:
            measure(case, os.path.abspath(given.weir), given.requests, processes)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (BenchError, KeyError, subprocess.SubprocessError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
