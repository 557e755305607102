#!/usr/bin/env python3
"""What would it win to share idle connections to servers between workers? `bench/reuse.py [--weir BINARY] [--seconds N] [--rounds N]`.

One worker is a pool that all share, so for each load: the connections made per request with 1, 2 and 8 workers, against 4 servers
(nginx). What a connection more costs is measured by the same load with none kept (`keepalive: {idle: 0}`). Their product, of the CPU
time of a request, is more than sharing can win: it costs nothing here."""

import argparse
import os
import re
import socket
import statistics
import subprocess
import tempfile
import threading
import time

from udp import cpu_ns, family

HERE = os.path.dirname(os.path.abspath(__file__))
PORT, SERVERS = 18990, [18991, 18992, 18993, 18994]
BUSY = [("64, keep-alive", 64, False), ("8, keep-alive", 8, False), ("2, keep-alive", 2, False),
        ("64, a connection each", 64, True), ("8, a connection each", 8, True), ("2, a connection each", 2, True)]
QUIET = [1, 4, 20, 100]  # requests a second
NGINX = """
worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/log;
events {{ worker_connections 8000; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout {keep}s;
  server {{ {listen} location / {{ return 200 "{body}"; }} }}
}}
"""
WEIR = """
workers: {workers}
admin: {{ socket: {folder}/sock }}
log: {{ access: false, level: error }}
listeners: {{ h: {{ bind: "127.0.0.1:{port}" }} }}
routes: [{{ path: /, upstream: u }}]
upstreams: {{ u: {{ servers: [{servers}], keepalive: {{ idle: {idle} }} }} }}
"""


def spawn(command, folder, name, text):
    file = os.path.join(folder, name)
    with open(file, "w") as f:
        f.write(text)
    process = subprocess.Popen([*command, "-c", file], stderr=subprocess.DEVNULL)
    return process


def wait_for(port):
    for _ in range(500):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.01)
    raise SystemExit(f"nobody listens on {port}")


def numbers(folder):
    s = socket.socket(socket.AF_UNIX)
    s.connect(f"{folder}/sock")
    s.sendall(b"GET /metrics HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    text = b"".join(iter(lambda: s.recv(65536), b"")).decode()
    s.close()
    return [sum(int(float(n)) for n in re.findall(rf"^weir_upstream_connections_{what}_total\{{[^}}]*\}} (\S+)$", text, re.M))
            for what in ("opened", "reused")]


def busy(connections, closes, seconds):
    """Requests that were answered."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", f"http://127.0.0.1:{PORT}/"]
    output = subprocess.run(command + (["-H", "Connection: close"] if closes else []), capture_output=True, text=True, check=True).stdout
    return int(re.search(r"(\d+) requests in", output)[1])


def quiet(rate, seconds):
    def ask():
        with socket.create_connection(("127.0.0.1", PORT)) as s:
            s.sendall(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            while s.recv(65536):
                pass
    count, began = int(rate * seconds), time.monotonic()
    for i in range(count):
        time.sleep(max(0, began + i / rate - time.monotonic()))
        threading.Thread(target=ask).start()
    time.sleep(0.2)
    return count


def measure(options, folder, workers, idle, warm_up, load):
    servers = ", ".join(f"'127.0.0.1:{port}'" for port in SERVERS)
    process = spawn([options.weir], folder, "weir.yaml",
                    WEIR.format(workers=workers, folder=folder, port=PORT, servers=servers, idle=idle))
    try:
        wait_for(PORT)
        warm_up()
        pids, (opened, reused), used = family(process.pid), numbers(folder), 0
        used = -cpu_ns(pids)
        requests = load()
        used += cpu_ns(pids)
        opened, reused = [b - a for a, b in zip((opened, reused), numbers(folder))]
        return opened / requests, used / requests / 1000
    finally:
        process.terminate()
        process.wait()


def median(values):
    return statistics.median(values), min(values), max(values)


def text_of(values, form="{:.2f}"):
    return "{} ({}–{})".format(*(form.format(v) for v in median(values)))


def with_servers(keep, run):
    folder = tempfile.mkdtemp(prefix="weir-reuse-")
    os.chmod(folder, 0o755)
    listen = "".join(f"listen 127.0.0.1:{port} backlog=4096; " for port in SERVERS)
    nginx = spawn(["nginx"], folder, "nginx.conf", NGINX.format(folder=folder, listen=listen, body="x" * 1024, keep=keep))
    try:
        wait_for(SERVERS[0])
        run(folder)
    finally:
        nginx.terminate()
        nginx.wait()


def run_busy(options, folder):
    print("| client connections | workers | connections made per 1,000 requests | CPU µs a request | none kept: CPU µs | more than it can win |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, connections, closes in BUSY:
        for workers in options.workers:
            kept, none = [], []
            for _ in range(options.rounds):
                for idle, into in ((512, kept), (0, none)):
                    into.append(measure(options, folder, workers, idle, lambda: busy(connections, closes, 1),
                                        lambda: busy(connections, closes, options.seconds)))
            made, cpu, alone = [k[0] for k in kept], [k[1] for k in kept], [n[1] for n in none]
            cost = max(0, statistics.median(alone) - statistics.median(cpu))
            bound = statistics.median(made) * cost / statistics.median(cpu)
            print(f"| {name} | {workers} | {text_of([m * 1000 for m in made], '{:.3f}')} | {text_of(cpu)} | {text_of(alone)} | {bound:.2%} |",
                  flush=True)


def run_quiet(options, folder):
    print("| requests a second | " + " | ".join(f"{w} worker{'s' * (w > 1)}" for w in [1, *options.workers]) + " |")
    print("| ---: |" + " ---: |" * (len(options.workers) + 1))
    for rate in QUIET:
        told = [measure(options, folder, workers, 512, lambda: quiet(rate, 5), lambda: quiet(rate, options.quiet))
                for workers in [1, *options.workers]]
        print(f"| {rate} | " + " | ".join(f"{1 - made:.1%}, {cpu:.0f} µs" for made, cpu in told) + " |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--weir", default=os.path.join(HERE, "..", "build", "weir"))
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 8])
    parser.add_argument("--quiet", type=float, default=30, help="seconds of each of the quiet loads; 0 = none")
    options = parser.parse_args()
    if options.rounds:
        with_servers(75, lambda folder: run_busy(options, folder))
    if options.quiet:
        print("\nThe share of requests that found an idle connection, and the CPU time of one; the servers close theirs after 5 s:\n")
        with_servers(5, lambda folder: run_quiet(options, folder))
