"""What a run needs around the proxies: a folder, CPUs, ports, built tools, and the server behind all of them."""

import contextlib
import glob
import os
import random
import re
import resource
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request

SIZES = {"1k": 1024, "100k": 100 * 1024, "1m": 1024 * 1024}


class BenchError(Exception):
    pass


class Processes:
    """Starts, remembers and ends every process of a run, and what they live in. Use it by `with`."""

    def __init__(self, here, given):
        self.here = here
        self.proxy_cpu, self.load_cpu = given.proxy_cpu, given.load_cpu
        self.started = []
        self.asked = 0
        self.backend_port, self.sink_port = free_port(), free_port()
        self.backend = None

    def __enter__(self):
        files = raise_file_limit()
        base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.folder = tempfile.mkdtemp(prefix="weir-bench-", dir=base)
        os.chmod(self.folder, 0o755)  # nginx's worker is another user when started by root
        self.values = {"FOLDER": self.folder, "FILES": os.path.join(self.folder, "files"), "BACKEND_PORT": self.backend_port,
                       **{f"BACKEND_{n}_PORT": free_port() for n in (2, 3, 4)}, "SINK_PORT": self.sink_port,
                       "BACKEND_WORKERS": 2 if self.has_spare_cpus() else 1, "FILE_LIMIT": files, "CONNECTIONS": files * 3 // 8}  # HAProxy takes two a connection, and pipes
        try:
            self._make_files()
            self._make_certificate()
            self._build_tools()
            self._start_backend()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in reversed(self.started):
            end(process)
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- CPUs ------------------------------------------------------------------------------------------------------------

    @staticmethod
    def has_spare_cpus():
        return os.cpu_count() >= 4

    def proxy_cpus(self, workers):
        """One worker runs on the proxies' CPU, unless it is compared with more (scaling)."""
        if workers == 0 or workers == 1:
            return str(self.proxy_cpu)
        if not self.has_spare_cpus():
            return f"{self.proxy_cpu},{self.load_cpu}"
        return f"{self.proxy_cpu},{next(n for n in range(os.cpu_count()) if n not in (self.proxy_cpu, self.load_cpu))}"

    def load_cpus(self, case):
        if case.kind != "scaling":
            return str(self.load_cpu)
        if not self.has_spare_cpus():
            return f"{self.proxy_cpu},{self.load_cpu}"
        taken = {int(n) for n in self.proxy_cpus(2).split(",")}
        return ",".join(str(n) for n in range(os.cpu_count()) if n not in taken)

    def load_threads(self, case):
        return 2 if case.kind == "scaling" and self.has_spare_cpus() else 1

    @contextlib.contextmanager
    def backend_spread(self, case):
        """The server behind may use every CPU that the load may."""
        self._pin_backend(self.load_cpus(case))
        try:
            yield
        finally:
            self._pin_backend(str(self.load_cpu))

    def _pin_backend(self, cpus):
        for pid in [self.backend.pid, *children_of(self.backend.pid)]:
            run(["taskset", "-acp", cpus, str(pid)])

    # -- processes -------------------------------------------------------------------------------------------------------

    def spawn(self, command, cpus, log):
        with open(os.path.join(self.folder, log), "ab") as output:
            process = subprocess.Popen(["taskset", "-c", str(cpus), *command], stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        self.started.append(process)
        return process

    def log(self, name):
        try:
            with open(os.path.join(self.folder, name), errors="replace") as f:
                return f.read()[-800:].strip()
        except FileNotFoundError:
            return ""

    def fill(self, template, name, **values):
        """A template with @NAMES@ filled in, written into the folder; its path."""
        with open(os.path.join(self.here, template)) as f:
            text = f.read()
        text = re.sub(r"@([A-Z0-9_]+)@", lambda m: str({**self.values, **values}[m[1]]), text)
        path = os.path.join(self.folder, name)
        with open(path, "w") as f:
            f.write(text)
        return path

    def tool(self, name):
        return os.path.join(self.folder, name)

    def backend_requests(self):
        """How many requests the server behind has had, but for those that ask it."""
        return int(re.search(r"^ \d+ \d+ (\d+)", self._backend_status(), re.M)[1]) - self.asked

    def backend_connections(self):
        """How many connections the server behind has open, but for the one that asks."""
        return int(re.search(r"^Active connections: (\d+)", self._backend_status(), re.M)[1]) - 1

    def _backend_status(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.backend_port}/requests", timeout=5) as answer:
            self.asked += 1
            return answer.read().decode()

    def _make_files(self):
        os.mkdir(self.values["FILES"])
        for name, size in SIZES.items():
            with open(os.path.join(self.values["FILES"], name), "wb") as f:
                f.write((b"0123456789abcde\n" * (size // 16 + 1))[:size])

    def _make_certificate(self):
        key, cert = os.path.join(self.folder, "key.pem"), os.path.join(self.folder, "cert.pem")
        run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
             "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert])
        with open(os.path.join(self.folder, "both.pem"), "w") as both:
            for path in (cert, key):
                with open(path) as f:
                    both.write(f.read())

    def _build_tools(self):
        flags = ["-std=gnu11", "-O2", "-D_GNU_SOURCE", "-Wall", "-Wextra"]
        for source, libraries in (("floor/relay.c", []), ("floor/answer.c", []), ("backend/sink.c", []), ("load/open_loop.c", []),
                                  ("load/handshake.c", ["-lssl", "-lcrypto"])):
            name = os.path.basename(source).removesuffix(".c")
            run(["cc", *flags, os.path.join(self.here, source), "-o", self.tool(name), *libraries])

    def _start_backend(self):
        config = self.fill("backend/nginx.conf", "backend.conf", LOAD_MODULE="")
        process = self.spawn(["nginx", "-p", self.folder, "-e", os.path.join(self.folder, "backend.log"), "-c", config],
                             self.load_cpu, "backend.out")
        wait_for_port(self.backend_port, process, lambda: self.log("backend.out") + self.log("backend.log"))
        self.backend = process
        sink = self.spawn([self.tool("sink"), str(self.sink_port)], self.load_cpu, "sink.out")
        wait_for_port(self.sink_port, sink, lambda: self.log("sink.out"))


def children_of(pid):
    """Of every thread of the process, and theirs."""
    found = [pid]
    for each in found:
        for path in glob.glob(f"/proc/{each}/task/*/children"):
            try:
                with open(path) as f:
                    found += [int(child) for child in f.read().split()]
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found[1:]


def run(command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise BenchError(f"{command[0]}: {done.stderr.strip()[-800:]}")
    return done


def end(process):
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port(given=set()):  # noqa: B006: it is to be remembered
    """One that nobody has, below those that the kernel gives to clients, and never the same twice: two programs that both share their
    port (SO_REUSEPORT) would not even complain."""
    while True:
        port = random.randrange(10240, 32000)
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                if port not in given:
                    s.bind(("127.0.0.1", port))
                    given.add(port)
                    return port


def wait_for_port(port, process, log, seconds=10):
    end_at = time.monotonic() + seconds
    while time.monotonic() < end_at:
        if process.poll() is not None:
            raise BenchError(f"it ended with {process.returncode} at its start: {log()}")
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise BenchError(f"it does not listen on {port}: {log()}")


def raise_file_limit(wanted=65536):
    """The number of files that a process may have open now: as many as wanted, or as the system gives."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))
    except (ValueError, PermissionError):
        wanted = min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted
