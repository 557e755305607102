#!/usr/bin/python3
"""Many clients ask at once for one cold object: `bench/collapse.py [--weir BINARY] [--clients N] [--workers N...]`.

The server behind thinks for a moment, so that all have asked by then, and sends the body slowly, in pieces, so that it shows whether
they are passed on as they come. Told: requests that the server saw, weir's memory (proportional set size) before, at its peak and
after, the time between the server's first byte and each client's, the time between its last byte and the last client's, and
whether every body was whole (each byte is compared)."""

import argparse
import multiprocessing
import os
import random
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from lib.processes import BenchError, end, free_port, raise_file_limit, wait_for_port

HERE = os.path.dirname(os.path.abspath(__file__))
WEIR = """
workers: {workers}
log: {{ level: error, access: false }}
admin: {{ socket: "{folder}/sock" }}
cache: {{ memory: 256MiB, max_object: 32MiB }}
listeners: {{ web: {{ bind: "127.0.0.1:{port}" }} }}
routes: [{{ path: /, upstream: origin, cache: true }}]
upstreams: {{ origin: {{ servers: ["127.0.0.1:{origin}"] }} }}
"""


class Origin:
    """Answers every request with the body, slowly; knows when the first and the last byte of the first answer went out."""

    def __init__(self, body, options):
        self.body, self.options = body, options
        self.requests, self.first, self.last = 0, None, None
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            connection, _ = self.listener.accept()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while True:
                head = b""
                while b"\r\n\r\n" not in head:
                    got = connection.recv(65536)
                    if not got:
                        return
                    head += got
                with self.lock:
                    self.requests += 1
                    is_first = self.requests == 1
                try:
                    self._answer(connection, is_first)
                except OSError:
                    return

    def _answer(self, connection, is_first):
        time.sleep(self.options.think)
        piece = self.options.piece * 1024
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(self.body)}\r\nCache-Control: max-age=3600\r\n\r\n".encode()
        if is_first:
            self.first = time.monotonic()
        connection.sendall(head + self.body[:piece])
        for at in range(piece, len(self.body), piece):
            time.sleep(self.options.pause)
            connection.sendall(self.body[at:at + piece])
        if is_first:
            self.last = time.monotonic()


def ask(port, count, body, deadline, out):
    """The clients, in a process of their own: all connect, then (when told) ask, then read. Puts (status, first byte's time, last byte's
    time, body is whole) of each."""
    raise_file_limit()
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
    out.send("connected")
    out.recv()
    asked = time.monotonic()
    for client in clients:
        client.sendall(b"GET /object HTTP/1.1\r\nHost: example.com\r\n\r\n")
        client.setblocking(False)
    selector, states = selectors.EpollSelector(), {}
    for client in clients:
        selector.register(client, selectors.EVENT_READ)
        states[client] = [0, 0.0, 0.0, False, b"", -1]  # status, first, last, whole, head so far, bytes of body (-1: in the head)
    left, stop = count, time.monotonic() + deadline
    while left and time.monotonic() < stop:
        for key, _ in selector.select(1):
            if read_some(key.fileobj, states[key.fileobj], body):
                selector.unregister(key.fileobj)
                left -= 1
    out.send((asked, [tuple(s[:4]) for s in states.values()]))
    out.recv()


def read_some(client, state, body):
    """Whether it is done with."""
    try:
        got = client.recv(131072)
    except BlockingIOError:
        return False
    except OSError:
        return True
    if not state[1]:
        state[1] = time.monotonic()
    if state[5] < 0:
        state[4] += got
        if b"\r\n\r\n" in state[4]:
            head, got = state[4].split(b"\r\n\r\n", 1)
            state[0], state[5] = int(head.split(b" ", 2)[1]), 0
        else:
            return not got
    at, state[5] = state[5], state[5] + len(got)
    if body[at:state[5]] != got:
        return True
    state[2], state[3] = time.monotonic(), state[5] == len(body)
    return state[3] or not got and at > 0


def pss_mib(pid):
    with open(f"/proc/{pid}/smaps_rollup") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("Pss:")) / 1024


class Watch(threading.Thread):
    """The highest memory while it runs."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.peak, self.over = pid, 0.0, threading.Event()
        self.start()

    def run(self):
        while not self.over.wait(0.02):
            self.peak = max(self.peak, pss_mib(self.pid))


def measure(options, workers, body, folder):
    origin, port = Origin(body, options), free_port()
    config = os.path.join(folder, "weir.yaml")
    with open(config, "w") as f:
        f.write(WEIR.format(workers=workers, folder=folder, port=port, origin=origin.port))
    process = subprocess.Popen([options.weir, "run", "-c", config])
    ours, theirs = multiprocessing.Pipe()
    clients = multiprocessing.Process(target=ask, args=(port, options.clients, body, options.deadline, theirs), daemon=True)
    try:
        wait_for_port(port, process, lambda: "see above")
        empty = pss_mib(process.pid)
        clients.start()
        ours.recv()
        time.sleep(0.5)
        before, watch = pss_mib(process.pid), Watch(process.pid)
        ours.send("go")
        asked, answers = ours.recv()
        watch.over.set()
        time.sleep(1)  # buffers that are given back late have been
        after = pss_mib(process.pid)
        ours.send("close")
        clients.join(10)
        time.sleep(1)
        closed = pss_mib(process.pid)
    finally:
        end(process)
        if clients.is_alive():
            clients.kill()
    first = [1000 * (a[1] - origin.first) for a in answers if a[1] and origin.first]
    last = max(a[2] for a in answers)
    return {"workers": workers, "requests": origin.requests, "whole": sum(a[3] and a[0] == 200 for a in answers),
            "first": first, "sent": origin.last - origin.first if origin.last else 0, "lag": last - origin.last if origin.last else 0,
            "total": last - asked, "memory": (empty, before, watch.peak, after, closed)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--weir", default=os.path.join(HERE, "..", "build", "weir"))
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--size", type=float, default=10, help="MiB of the object")
    parser.add_argument("--piece", type=int, default=256, help="KiB that the server sends at a time")
    parser.add_argument("--pause", type=float, default=0.1, help="seconds between two pieces")
    parser.add_argument("--think", type=float, default=0.5, help="seconds before its first byte")
    parser.add_argument("--deadline", type=float, default=120, help="seconds that the clients wait for everything")
    options = parser.parse_args()
    raise_file_limit()
    body = random.Random(1).randbytes(int(options.size * 1024 * 1024))
    print(f"{options.clients:,} clients, one cold object of {options.size:g} MiB, sent in pieces of {options.piece} KiB every {options.pause * 1000:g} ms\n")
    print("| workers | requests at the origin | whole bodies | first byte after the origin's: min / median / max ms | origin sends for s "
          "| last client's end after the origin's, s | PSS MiB: empty, connected, peak, all sent, all closed |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    good = True
    for workers in options.workers:
        with tempfile.TemporaryDirectory(prefix="weir-collapse-") as folder:
            try:
                r = measure(options, workers, body, folder)
            except BenchError as error:
                print(error, file=sys.stderr)
                return 1
        first = f"{min(r['first']):.1f} / {statistics.median(r['first']):.1f} / {max(r['first']):.1f}" if r["first"] else "–"
        print(f"| {workers} | {r['requests']} | {r['whole']:,} of {options.clients:,} | {first} | {r['sent']:.2f} | {r['lag']:.2f} "
              f"| {', '.join(f'{m:.1f}' for m in r['memory'])} |", flush=True)
        good = good and r["requests"] == 1 and r["whole"] == options.clients
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
