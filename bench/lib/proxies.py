"""The programs that are compared, all behind one interface: started from a template, asked on its ports, measured as one."""

import contextlib
import glob
import os
import re
import signal
import socket
import ssl
import subprocess
import time
import urllib.request

from .processes import SIZES, BenchError, children_of, end, free_port, wait_for_port


class Proxy:
    """One program with its listeners. CPU time and memory are those of all its processes together."""

    name = ""
    variant = ""  # of a program that takes part more than once
    listeners = ("http", "four", "post", "https", "h2c", "tcp")
    prefix = "/"  # of what it is checked with
    template = ""
    workers = 1
    start_seconds = 10

    def __init__(self, processes, binary):
        self.processes, self.binary, self.process = processes, binary, None
        self.ports = {listener: free_port() for listener in self.listeners}
        self.version = self.tls = ""
        self.start_ms = 0

    @property
    def label(self):
        return f"{self.name}, {self.variant}" if self.variant else self.name

    @property
    def id(self):
        """What its files are called by."""
        return re.sub(r"[^a-z0-9]+", "-", f"{self.name} {type(self).__name__} {self.variant}".lower()).strip("-")

    def command(self):
        raise NotImplementedError

    def fill(self, template, **values):
        values = {**{k.upper() + "_PORT": v for k, v in self.ports.items()}, "NAME": self.id, "WORKERS": self.workers, **values}
        return self.processes.fill(template, self.id + os.path.splitext(template)[1], **values)

    def start(self):
        command = self.command()
        began = time.monotonic()
        self.process = self.processes.spawn(command, self.processes.proxy_cpus(self.workers), self.id + ".out")
        for port in self.ports.values():
            wait_for_port(port, self.process, self._log, self.start_seconds)
        self.start_ms = (time.monotonic() - began) * 1000
        self._check()

    def stop(self):
        if self.process:
            end(self.process)
        self.process = None

    def restart(self):
        self.stop()
        self.start()

    def reload(self):
        self.process.send_signal(signal.SIGHUP)

    def _log(self):
        return self.processes.log(self.id + ".out") + self.processes.log(self.id + ".log")

    def _check(self):
        """It passes on what the server has; a proxy that answers something else is fast for nothing."""
        for listener in {"http", "tcp"} & self.ports.keys():
            for name, size in SIZES.items():
                path = self.prefix + name
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[listener]}{path}", timeout=5) as answer:
                        got = len(answer.read())
                except OSError as error:
                    raise BenchError(f"{path} by {listener}: {error}") from error
                if got != size:
                    raise BenchError(f"{path} by {listener} has {got} bytes instead of {size}")
        if "post" in self.ports:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['post']}/", data=b"x" * 65536, timeout=5) as answer:
                if answer.read() != b"ok\n":
                    raise BenchError("a POST has another answer than the server's")
        if "https" in self.ports:
            with socket.create_connection(("127.0.0.1", self.ports["https"]), 5) as plain:
                with ssl._create_unverified_context().wrap_socket(plain, server_hostname="localhost") as s:
                    self.tls = f"{s.version()} {s.cipher()[0]}"

    # -- what it used ----------------------------------------------------------------------------------------------------

    def pids(self):
        return [self.process.pid, *children_of(self.process.pid)]

    def cpu_ns(self):
        total = 0
        for pid in self.pids():
            for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
                with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(path) as f:
                    total += int(f.read().split()[0])
        return total

    def cpu_ns_with_ended(self):
        """With that of processes which have ended since, in steps of the clock's tick."""
        ticks = 0
        for pid in self.pids():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{pid}/stat") as f:
                ticks += sum(int(n) for n in f.read().rsplit(")", 1)[1].split()[13:15])
        return self.cpu_ns() + ticks * 1_000_000_000 // os.sysconf("SC_CLK_TCK")

    def forget_peak(self):
        for pid in self.pids():
            with open(f"/proc/{pid}/clear_refs", "w") as f:
                f.write("5")

    def peak_rss_kib(self):
        return sum(self._field(f"/proc/{pid}/status", "VmHWM") for pid in self.pids())

    def pss_kib(self):
        return sum(self._field(f"/proc/{pid}/smaps_rollup", "Pss") for pid in self.pids())

    @staticmethod
    def _field(path, name):
        """0 for a process that is just ending."""
        try:
            with open(path) as f:
                found = re.search(rf"^{name}:\s+(\d+) kB", f.read(), re.M)
        except (FileNotFoundError, ProcessLookupError):
            return 0
        return int(found[1]) if found else 0


class Weir(Proxy):
    name = "weir"
    template = "weir/weir.yaml"

    def command(self):
        if not os.path.exists(self.binary):
            raise BenchError(f"{self.binary} is not there; ./dev build makes it")
        self.version = first_words(self.binary, "version")
        return [self.binary, "run", "-c", self.fill(self.template, **self.values())]

    def values(self):
        return {}


class Nginx(Proxy):
    name = "nginx"
    template = "peers/nginx/nginx.conf"

    def command(self):
        about = output_of(self.binary, "-V")
        self.version = re.search(r"nginx/(\S+)", about)[1]
        # `listen … http2` was replaced by a directive of its own.
        directive = tuple(int(n) for n in re.findall(r"\d+", self.version)[:3]) >= (1, 25, 1)
        config = self.fill(self.template, LOAD_MODULE=self._stream_module(about), HTTP2_OF_LISTEN="" if directive else "http2",
                           HTTP2_ON="http2 on;" if directive else "", **self.values())
        return [self.binary, "-p", self.processes.folder, "-e", os.path.join(self.processes.folder, self.id + ".log"), "-c", config]

    def values(self):
        return {}

    def _stream_module(self, about):
        """Beside a binary that was given by its path, or where the package has it."""
        if "--with-stream=dynamic" not in about:
            return ""
        folders = [os.path.join(os.path.dirname(self.binary), "modules")] if "/" in self.binary else []
        folders += re.findall(r"--modules-path=(\S+)", about)
        folder = next((f for f in folders if os.path.exists(os.path.join(f, "ngx_stream_module.so"))), folders[-1])
        return f"load_module {folder}/ngx_stream_module.so;"


class Haproxy(Proxy):
    name = "haproxy"
    template = "peers/haproxy/haproxy.cfg"
    mode = "-db"
    buffer_bytes = 16384

    def command(self):
        self.version = re.search(r"version (\S+)", output_of(self.binary, "-v"))[1]
        return [self.binary, self.mode, "-f", self.fill(self.template, **self.values())]

    def values(self):
        return {"BUFFER_BYTES": self.buffer_bytes}


class Large:
    """Of the group for large bodies in records or frames, which cannot be spliced."""

    variant = "large"
    label = property(lambda self: self.name)


class LargeWeir(Large, Weir):
    pass


class LargeNginx(Large, Nginx):
    pass


class LargeHaproxy(Large, Haproxy):
    buffer_bytes = 131072  # of the whole process; where bodies are spliced large buffers cost more


class Floor(Proxy):
    name = "floor"

    def __init__(self, processes, binary):
        super().__init__(processes, binary)
        port = free_port()
        self.ports = {"http": port, "tcp": port}

    def command(self):
        return [self.binary, str(self.ports["tcp"]), str(self.processes.backend_port)]


def find_proxies(processes, given):
    return [Weir(processes, given.weir), Nginx(processes, given.nginx), Haproxy(processes, given.haproxy),
            Floor(processes, processes.tool("relay"))]


def find_large(processes, given):
    return [LargeWeir(processes, given.weir), LargeNginx(processes, given.nginx), LargeHaproxy(processes, given.haproxy)]


def output_of(*command):
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    except OSError as error:
        raise BenchError(str(error)) from error
    return done.stdout + done.stderr


def first_words(*command):
    line = (output_of(*command).splitlines() or [""])[0]
    return line.removeprefix("weir").strip()
