#!/usr/bin/python3
"""Does the cache keep its budget? `bench/cache_budget.py [--weir BINARY] [--memory MIB] [--seconds N] [--policy lru]`.

Objects of 1 B to 8 MiB (as many of 1 to 2 bytes as of 4 to 8 MiB: log-uniform), some without a length, some that go stale soon, some
that vary; clients ask for them with a few asked for often and many seldom, some leave in the middle. All the while
GET /api/v1/cache is asked for `bytes` and `memory`, and the process for its resident memory, with all of the file that large bodies are
in: what of that is more than before, beside `bytes`, is connections, buffers and what the heap has lost in gaps. Each body is compared
with what it should be."""

import argparse
import json
import multiprocessing
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time

from lib.processes import end, free_port, raise_file_limit, wait_for_port

HERE = os.path.dirname(os.path.abspath(__file__))
LARGEST = 8 << 20
WEIR = """
workers: {workers}
log: {{ level: error, access: false }}
admin: {{ socket: "{folder}/sock" }}
cache: {{ memory: {memory}MiB, max_object: 8MiB, policy: {policy} }}
listeners: {{ web: {{ bind: "127.0.0.1:{port}" }} }}
routes: [{{ path: /, upstream: origin, cache: true }}]
upstreams: {{ origin: {{ servers: ["127.0.0.1:{origin}"], keepalive: {{ idle: 256 }} }} }}
"""
BYTES = random.Random(1).randbytes(LARGEST + 4096)


class Object:
    """What /N is: everything follows from the number."""

    def __init__(self, number):
        rng = random.Random(number)
        self.size = min(LARGEST, int(2 ** rng.uniform(0, 23)))
        self.begin = number % 4096
        self.chunked = rng.random() < 0.2
        self.age = 1 if rng.random() < 0.1 else 3600
        self.vary = rng.random() < 0.05

    def body(self):
        return memoryview(BYTES)[self.begin:self.begin + self.size]


def read_head(connection, data=b""):
    """(head, what came behind it); None at the end."""
    while b"\r\n\r\n" not in data:
        got = connection.recv(65536)
        if not got:
            return None
        data += got
    return data.split(b"\r\n\r\n", 1)


def serve(connection):
    rest = b""
    try:
        while True:
            asked = read_head(connection, rest)
            if not asked:
                return
            rest = asked[1]
            o = Object(int(asked[0].split(b" ", 2)[1][1:]))
            head = f"HTTP/1.1 200 OK\r\nCache-Control: max-age={o.age}\r\n" + ("Vary: X-Kind\r\n" if o.vary else "")
            head += "Transfer-Encoding: chunked\r\n\r\n" if o.chunked else f"Content-Length: {o.size}\r\n\r\n"
            connection.sendall(head.encode())
            body = o.body()
            for at in range(0, o.size, 65536):
                piece = body[at:at + 65536]
                connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece) if o.chunked else piece)
            if o.chunked:
                connection.sendall(b"0\r\n\r\n")
    except OSError:
        pass
    finally:
        connection.close()


def run_origin(listener):
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


def read_body(file, head, limit):
    """The body, or its first `limit` bytes or so."""
    fields = head.lower()
    out = bytearray()
    if b"transfer-encoding: chunked" in fields:
        while True:
            size = int(file.readline(), 16)
            out += file.read(size)
            file.readline()
            if size == 0 or len(out) >= limit:
                return out
    length = int(fields.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
    return file.read(min(length, limit))


def client(port, seed, options, until, told):
    rng, connection = random.Random(seed), None
    while time.monotonic() < until:
        # A tenth of the objects have two thirds of the requests.
        number = rng.randrange(options.objects // 10) if rng.random() < 0.66 else rng.randrange(options.objects)
        o = Object(number)
        leaves = rng.random() < 0.03
        try:
            if not connection:
                connection = socket.create_connection(("127.0.0.1", port), 30)
                file = connection.makefile("rb", 65536)
            connection.sendall(f"GET /{number} HTTP/1.1\r\nHost: example.com\r\nX-Kind: {rng.randrange(4)}\r\n\r\n".encode())
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                line = file.readline()
                if not line:
                    raise ConnectionError
                head += line
            got = read_body(file, head, o.size // 2 if leaves else LARGEST * 2)
            told["requests"] += 1
            told["hits"] += b"; hit" in head
            told["bytes"] += len(got)
            if b" 200 " not in head[:16] or got != o.body()[:len(got)] or not leaves and len(got) != o.size:
                told["wrong"] += 1
        except (OSError, ValueError, IndexError):
            told["errors"] += 1
            leaves = True
        if leaves and connection:
            file.close()
            connection.close()
            connection = None


def run_clients(port, seed, options, out):
    raise_file_limit()
    told = {"requests": 0, "hits": 0, "bytes": 0, "wrong": 0, "errors": 0}
    until = time.monotonic() + options.seconds
    threads = [threading.Thread(target=client, args=(port, seed + i, options, until, told)) for i in range(options.clients // 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    out.put(told)


class Api:
    """GET /api/v1/cache over the control socket, again and again on one connection."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.file = self.socket.makefile("rb")

    def ask(self):
        self.socket.sendall(b"GET /api/v1/cache HTTP/1.1\r\nHost: h\r\n\r\n")
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self.file.readline()
            if not line:
                raise ConnectionError("the control socket was closed")
            head += line
        body = read_body(self.file, head, 1 << 24)
        if b" 200 " not in head[:16]:
            raise ConnectionError(f"GET /api/v1/cache: {head.splitlines()[0].decode()}")
        return json.loads(body)


def in_files(pid):
    """Bytes in the process's memory files, mapped or not."""
    total = 0
    for number in os.listdir(f"/proc/{pid}/fd"):
        try:
            if os.readlink(f"/proc/{pid}/fd/{number}").startswith("/memfd:"):
                total += os.stat(f"/proc/{pid}/fd/{number}").st_blocks * 512
        except FileNotFoundError:
            pass  # closed meanwhile
    return total


def rss(pid):
    """Of the process, but for what it has mapped of files (the third number), and of its memory files."""
    with open(f"/proc/{pid}/statm") as f:
        numbers = f.read().split()
    return (int(numbers[1]) - int(numbers[2])) * os.sysconf("SC_PAGE_SIZE") + in_files(pid)


def watch(api, pid, processes):
    seen = {"asked": 0, "over": 0, "bytes": 0, "rss": 0, "full": 0}
    while any(p.is_alive() for p in processes):
        now = api.ask()
        seen["asked"] += 1
        seen["over"] += now["bytes"] > now["memory"]
        seen["full"] += now["bytes"] > 0.9 * now["memory"]
        seen["bytes"], seen["rss"] = max(seen["bytes"], now["bytes"]), max(seen["rss"], rss(pid))
        time.sleep(0.002)
    return seen


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--weir", default=os.path.join(HERE, "..", "build", "weir"))
    parser.add_argument("--memory", type=int, default=64, help="MiB")
    parser.add_argument("--policy", default="lru")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--objects", type=int, default=5000)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    raise_file_limit()

    listener, port, out = socket.create_server(("127.0.0.1", 0), backlog=4096), free_port(), multiprocessing.Queue()
    origin = multiprocessing.Process(target=run_origin, args=(listener,), daemon=True)
    origin.start()
    with tempfile.TemporaryDirectory(prefix="weir-budget-") as folder:
        config = os.path.join(folder, "weir.yaml")
        with open(config, "w") as f:
            f.write(WEIR.format(folder=folder, port=port, origin=listener.getsockname()[1], **vars(options)))
        process = subprocess.Popen([options.weir, "run", "-c", config])
        try:
            wait_for_port(port, process, lambda: "see above")
            api, before = Api(os.path.join(folder, "sock")), rss(process.pid)
            loads = [multiprocessing.Process(target=run_clients, args=(port, 1000 * i, options, out), daemon=True) for i in range(2)]
            for load in loads:
                load.start()
            seen = watch(api, process.pid, loads)
            told = [out.get(timeout=10) for _ in loads]
            time.sleep(1)
            end_now, end_rss = api.ask(), rss(process.pid)
        finally:
            end(process)
            origin.kill()
    return tell(options, before, seen, {k: sum(t[k] for t in told) for k in told[0]}, end_now, end_rss)


def tell(options, before, seen, told, now, end_rss):
    mib = 1 << 20
    kept = seen["over"] == 0 and seen["bytes"] <= options.memory * mib
    print(f"{options.clients} clients, {options.objects:,} objects of 1 B to 8 MiB, {options.memory} MiB, {options.policy}, {options.workers} workers, "
          f"{options.seconds:g} s\n")
    print(f"requests        {told['requests']:,} ({told['bytes'] / mib:,.0f} MiB), {told['hits'] / max(1, told['requests']):.1%} of them hits")
    print(f"wrong bodies    {told['wrong']}, errors {told['errors']}")
    print(f"budget          {'kept' if kept else 'PASSED'}: asked {seen['asked']:,} times, over {seen['over']} times; highest {seen['bytes'] / mib:.3f} of {options.memory} MiB; "
          f"over 90 % full in {seen['full'] / max(1, seen['asked']):.0%}")
    print(f"at the end      {now['objects']:,} objects, {now['bytes'] / mib:.2f} MiB by the budget")
    print(f"resident        {before / mib:.1f} MiB before, {seen['rss'] / mib:.1f} at most, {end_rss / mib:.1f} at the end")
    print(f"fragmentation   {(end_rss - before) / max(1, now['bytes']):.3f} resident bytes more than before for each byte of the budget in use at the end; "
          f"{(seen['rss'] - before) / max(1, seen['bytes']):.3f} at the peak, buffers of connections included")
    return 0 if kept and not told["wrong"] and not told["errors"] else 1


if __name__ == "__main__":
    sys.exit(main())
