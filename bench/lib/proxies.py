"""The programs that are compared, all behind one interface: started from a template, asked on its ports, measured as one."""

import glob
import os
import re
import subprocess
import urllib.request

from .processes import SIZES, BenchError, end, free_port, wait_for_port


class Proxy:
    """One program with its listeners. CPU time and memory are those of all its processes together."""

    name = ""
    listeners = ("http", "https", "h2c", "tcp")
    prefix = "/"  # of what it is checked with

    def __init__(self, processes, binary):
        self.processes, self.binary, self.process = processes, binary, None
        self.ports = {listener: free_port() for listener in self.listeners}
        self.version = ""

    def command(self):
        raise NotImplementedError

    def fill(self, template, name, **values):
        return self.processes.fill(template, name, **{k.upper() + "_PORT": v for k, v in self.ports.items()}, **values)

    def start(self):
        command = self.command()
        self.process = self.processes.spawn(command, self.processes.proxy_cpu, self.name + ".out")
        for port in self.ports.values():
            wait_for_port(port, self.process, self._log)
        self._check()

    def restart(self):
        end(self.process)
        self.start()

    def _log(self):
        return self.processes.log(self.name + ".out") + self.processes.log(self.name + ".log")

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

    # -- what it used ----------------------------------------------------------------------------------------------------

    def pids(self):
        found = [self.process.pid]
        for pid in found:
            for path in glob.glob(f"/proc/{pid}/task/*/children"):
                with open(path) as f:
                    found += [int(child) for child in f.read().split()]
        return found

    def cpu_ns(self):
        total = 0
        for pid in self.pids():
            for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
                with open(path) as f:
                    total += int(f.read().split()[0])
        return total

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
        with open(path) as f:
            return int(re.search(rf"^{name}:\s+(\d+) kB", f.read(), re.M)[1])


class Weir(Proxy):
    name = "weir"

    def command(self):
        if not os.path.exists(self.binary):
            raise BenchError(f"{self.binary} is not there; ./dev build makes it")
        self.version = first_words(self.binary, "version")
        return [self.binary, "run", "-c", self.fill("weir/weir.yaml", "weir.yaml", NAME="weir")]


class Nginx(Proxy):
    name = "nginx"

    def command(self):
        about = output_of(self.binary, "-V")
        self.version = re.search(r"nginx/(\S+)", about)[1]
        module = ""
        if "--with-stream=dynamic" in about:
            folder = re.search(r"--modules-path=(\S+)", about)[1]
            module = f"load_module {folder}/ngx_stream_module.so;"
        config = self.fill("peers/nginx/nginx.conf", "nginx.conf", LOAD_MODULE=module)
        return [self.binary, "-p", self.processes.folder, "-e", os.path.join(self.processes.folder, "nginx.log"), "-c", config]


class Haproxy(Proxy):
    name = "haproxy"

    def command(self):
        self.version = re.search(r"version (\S+)", output_of(self.binary, "-v"))[1]
        return [self.binary, "-db", "-f", self.fill("peers/haproxy/haproxy.cfg", "haproxy.cfg")]


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


def output_of(*command):
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    except OSError as error:
        raise BenchError(str(error)) from error
    return done.stdout + done.stderr


def first_words(*command):
    line = (output_of(*command).splitlines() or [""])[0]
    return line.removeprefix("weir").strip()
