#!/usr/bin/env python3
"""UDP side by side with nginx's stream module: `bench/udp.py [--weir BINARY] [--rounds N] [--no-gro]`.

The proxy has CPU 0 and one worker, the load and the server behind it (bench/load/datagrams.c) CPU 1. The figure is the proxy's own CPU time
for each datagram that came back: there and back again is two datagrams. Peers take turns, round by round; median (min–max)."""

import argparse
import glob
import os
import statistics
import subprocess
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SERVER = 17999
CASES = {
    "udp-64: 64 clients, 64 bytes": ("load", "3", "64", "64"),
    "udp-2000: 2,000 clients, 64 bytes": ("load", "3", "2000", "64"),
    "udp-1200: 64 clients, 1,200 bytes": ("load", "3", "64", "1200"),
    "udp-flow: one client, datagrams of 1,200 bytes one by one": ("flow", "3", "1200", "1"),
    "udp-segments: one client, 40 datagrams of 1,200 bytes at a time": ("flow", "3", "1200", "40"),
}
WEIR = """
workers: 1
admin: {{ socket: "" }}
timeouts: {{ idle: 30s, drain: 1s }}
listeners: {{ d: {{ bind: ["127.0.0.1:{port}"], protocol: udp, upstream: u }} }}
upstreams: {{ u: {{ servers: ["127.0.0.1:{server}"] }} }}
"""
NGINX = """
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/log;
events {{ worker_connections 20000; }}
stream {{ server {{ listen 127.0.0.1:{port} udp reuseport; proxy_pass 127.0.0.1:{server}; proxy_timeout 30s; }} }}
"""
# Refuses UDP_GRO, as an old kernel does.
SHIM = """
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>
int setsockopt(int fd, int level, int name, const void *value, socklen_t size)
{
    int (*real)(int, int, int, const void *, socklen_t) = dlsym(RTLD_NEXT, "setsockopt");
    if (level == IPPROTO_UDP && name == UDP_GRO) {
        errno = ENOPROTOOPT;
        return -1;
    }
    return real(fd, level, name, value, size);
}
"""


def start(folder, name, port, command, text, environment=None):
    file = os.path.join(folder, name)
    with open(file, "w") as f:
        f.write(text.format(port=port, server=SERVER, folder=folder))
    return subprocess.Popen(["taskset", "-c", "0", *command, "-c", file], stderr=subprocess.DEVNULL, env={**os.environ, **(environment or {})})


def family(pid):
    """A process and its children."""
    found = [pid]
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(path) as f:
                if int(f.read().rsplit(")", 1)[1].split()[1]) == pid:
                    found.append(int(path.split("/")[2]))
        except OSError:
            pass
    return found


def cpu_ns(pids):
    total = 0
    for pid in pids:
        for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
            with open(path) as f:
                total += int(f.read().split()[0])
    return total


def measure(tool, process, port, case):
    pids = family(process.pid)
    before = cpu_ns(pids)
    out = subprocess.run(["taskset", "-c", "1", tool, case[0], str(port), *case[1:]], capture_output=True, text=True, check=True).stdout
    count, lost, rate = (float(x) for x in out.split())
    return (cpu_ns(pids) - before) / max(count, 1) / 1000, rate, lost


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weir", default=os.path.join(HERE, "..", "build", "weir"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-gro", action="store_true", help="weir once more, without UDP_GRO")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tool = os.path.join(folder, "datagrams")
        subprocess.run(["cc", "-O2", "-D_GNU_SOURCE", os.path.join(HERE, "load", "datagrams.c"), "-o", tool], check=True)
        shim = os.path.join(folder, "shim.so")
        subprocess.run(["cc", "-shared", "-fPIC", "-D_GNU_SOURCE", "-xc", "-", "-o", shim], input=SHIM, text=True, check=True)
        processes = [subprocess.Popen(["taskset", "-c", "1", tool, "serve", str(SERVER)])]
        peers = {"weir": start(folder, "weir", 17901, [options.weir, "run"], WEIR), "nginx": start(folder, "nginx", 17902, ["nginx"], NGINX)}
        ports = {"weir": 17901, "nginx": 17902, "weir without GRO": 17903}
        if options.no_gro:
            peers["weir without GRO"] = start(folder, "weir2", 17903, [options.weir, "run"], WEIR, {"LD_PRELOAD": shim})
        processes += peers.values()
        try:
            time.sleep(1)
            for name, process in peers.items():
                assert process.poll() is None, f"{name} did not start"
            report(tool, peers, ports, options.rounds)
        finally:
            for process in processes:
                process.terminate()
                process.wait()


def report(tool, peers, ports, rounds):
    results = {}
    for turn in range(rounds):
        for title, case in CASES.items():
            names = list(peers)
            for name in names[turn % len(names):] + names[:turn % len(names)]:
                results.setdefault((title, name), []).append(measure(tool, peers[name], ports[name], case))
    for title in CASES:
        print(f"\n{title}\n\n| | CPU µs a round trip | round trips/s | lost |\n| --- | --- | --- | --- |")
        for name in peers:
            cost, rate, lost = zip(*results[title, name])
            print(f"| {name} | {statistics.median(cost):.2f} ({min(cost):.2f}–{max(cost):.2f}) | {statistics.median(rate):,.0f} | {sum(lost):,.0f} |")


if __name__ == "__main__":
    main()
