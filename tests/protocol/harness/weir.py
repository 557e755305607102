"""The program under test: writes its configuration, starts it, waits until it serves, and judges how it ended."""

import copy
import ctypes
import os
import re
import resource
import signal
import subprocess

import yaml

from .admin import Admin
from .deadline import SCALE, wait_until
from .ports import free_port, listening_ports, release_ports
from .raw_client import RawClient, get

BINARY = os.path.abspath(os.environ.get("WEIR_BINARY") or
                         os.path.join(os.path.dirname(__file__), "..", "..", "..", "build", "weir"))
ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))

_FATAL = re.compile(r"ERROR: AddressSanitizer|runtime error:|LeakSanitizer|WARNING: ThreadSanitizer|ERROR: ThreadSanitizer|"
                    r"[Aa]ssertion.*failed|ASSERT\b|panic:|double free|stack smashing")


class WeirFailed(Exception):
    pass


class Weir:
    """A running weir. Listeners without `bind` get a free port; `port(name)` says which."""

    def __init__(self, folder, config, start=True, environment=None, arguments=()):
        self.folder = str(folder)
        os.makedirs(self.folder, exist_ok=True)
        self.config_file = os.path.join(self.folder, "weir.yaml")
        self.log_file = os.path.join(self.folder, "weir.log")
        self.socket_file = os.path.join(self.folder, "weir.sock")
        self.environment = {**os.environ, **(environment or {})}
        self.arguments = list(arguments)
        self._ports = {}
        self._held = []
        self.process = None
        self.successor = None  # the pid of the process after an upgrade
        self.config = None
        self.any_status = False  # for a test that ends it the hard way
        self.write(config)
        if start:
            self.start()

    # -- configuration ---------------------------------------------------------------------------------------------------

    def write(self, config):
        """Writes a configuration (a map, or text as it is); listeners keep the ports they had."""
        if isinstance(config, str):
            text = config
        else:
            self.config = self._complete(config)
            text = yaml.dump(self.config, Dumper=_Dumper, sort_keys=False, width=10_000, allow_unicode=True)
        with open(self.config_file + ".new", "w") as f:
            f.write(text)
        os.replace(self.config_file + ".new", self.config_file)

    def change(self, **parts):
        """Writes the configuration again with these top-level keys replaced."""
        config = copy.deepcopy(self.config)
        for key, value in parts.items():
            if value is None:
                config.pop(key, None)
            else:
                config[key] = value
        self.write(config)

    def _complete(self, config):
        config = copy.deepcopy(config)
        config.setdefault("workers", 2)
        admin = config.setdefault("admin", {})
        admin.setdefault("bind", f"127.0.0.1:{self.port('admin')}")
        admin.setdefault("socket", self.socket_file)
        timeouts = config.setdefault("timeouts", {})
        timeouts.setdefault("drain", "2s")
        for name, listener in config.get("listeners", {}).items():
            listener.setdefault("bind", [f"127.0.0.1:{self.port(name)}"])
        return config

    def port(self, name="web"):
        """The port of a listener; the same for as long as this object lives."""
        if name not in self._ports:
            self._ports[name] = free_port()
            self._held.append(self._ports[name])
        return self._ports[name]

    @property
    def admin(self):
        return Admin(self.port("admin"), (self.config or {}).get("admin", {}).get("token"))

    # -- process ---------------------------------------------------------------------------------------------------------

    def start(self, seconds=10):
        log = open(self.log_file, "ab")
        self.process = subprocess.Popen([BINARY, "run", "-c", self.config_file, *self.arguments], stdin=subprocess.DEVNULL,
                                        stdout=open(os.path.join(self.folder, "stdout"), "ab"), stderr=log,
                                        env=self.environment, cwd=self.folder, preexec_fn=_raise_limits)
        log.close()
        try:
            wait_until(self._serves, seconds, "weir serving", every=0.005)
        except BaseException:
            self.kill()
            raise
        return self

    def _serves(self):
        if self.process.poll() is not None:
            raise WeirFailed(f"weir ended with {self.process.returncode} at its start:\n{self.log()}")
        if not self.expected_ports() <= listening_ports():
            return False
        return not self.config.get("admin", {}).get("bind") or self.admin.health().status == 200

    def expected_ports(self):
        """The TCP ports of the configuration on loopback."""
        binds = [self.config.get("admin", {}).get("bind")]
        for listener in self.config.get("listeners", {}).values():
            if listener.get("protocol") != "udp":
                bind = listener["bind"]
                binds += bind if isinstance(bind, list) else [bind]
        return {int(b.rsplit(":", 1)[1]) for b in binds if b and not b.startswith("unix:")}

    @property
    def pid(self):
        return self.successor or self.process.pid

    def signal(self, number):
        os.kill(self.pid, number)

    def is_running(self):
        if self.successor:
            return _alive(self.successor)
        return self.process.poll() is None

    def wait(self, seconds=10):
        """Its exit status."""
        try:
            return self.process.wait(seconds * SCALE)
        except subprocess.TimeoutExpired:
            raise WeirFailed(f"weir did not end in {seconds * SCALE:.0f} s") from None

    def processes(self):
        """The pids of every process that runs this configuration file: more than one while an upgrade is going on."""
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit() and int(name) != os.getpid():
                try:
                    with open(f"/proc/{name}/cmdline", "rb") as f:
                        arguments = f.read().split(b"\0")
                except OSError:
                    continue
                if self.config_file.encode() in arguments and _alive(int(name)):
                    found.append(int(name))
        return found

    def upgrade(self, seconds=15, trigger=None):
        """Upgrades by SIGUSR2 (or the trigger given), and waits until the old process has ended with 0. The new one's pid."""
        become_subreaper()
        old = self.pid
        if trigger:
            trigger()
        else:
            self.signal(signal.SIGUSR2)
        new = wait_until(lambda: [p for p in self.processes() if p != old], seconds, "the new process")[0]
        status = self._wait_for(old, seconds)
        self.successor = wait_until(lambda: [p for p in self.processes() if p != old], seconds, "the new process")[-1]
        assert status in (0, None), f"the old process ended with {status}:\n{self.log()[-4000:]}"
        assert _alive(new) and self.successor == new
        return new

    def _wait_for(self, pid, seconds):
        """The exit status of a process that is our child or an orphan that came to us; None if it is neither."""
        if pid == self.process.pid:
            return self.wait(seconds)

        def ended():
            try:
                done, status = os.waitpid(pid, os.WNOHANG)
                return (os.waitstatus_to_exitcode(status),) if done else None
            except ChildProcessError:
                return None if _alive(pid) else (None,)
        return wait_until(ended, seconds, f"the end of process {pid}")[0]

    def kill(self):
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if self.process:
            self.process.wait()
        self._release()

    def stop(self, seconds=15):
        """SIGTERM; asserts that it ends in time, with status 0 and with nothing of a sanitizer in its log."""
        try:
            if self.is_running():
                self.signal(signal.SIGTERM)
            status = self._wait_for(self.successor, seconds) if self.successor else self.wait(seconds)
        except BaseException:
            self.kill()
            raise
        finally:
            self._release()
        self.assert_log_is_clean()
        assert self.any_status or status in (0, None), f"weir ended with {status}:\n{self.log()[-4000:]}"

    def _release(self):
        release_ports(self._held)
        self._held = []

    def assert_log_is_clean(self):
        log = self.log()
        found = _FATAL.search(log)
        assert not found, f"{found[0]!r} in the log:\n{log[max(0, found.start() - 500):found.start() + 6000]}"

    def log(self):
        try:
            with open(self.log_file, errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def await_log(self, *words, seconds=10):
        """Waits until all of these stand in the log: it is written by a thread of its own, after what it tells of."""
        def said():
            log = self.log()
            missing = [w for w in words if w not in log]
            assert not missing, f"not in the log: {missing}"
            return True
        wait_until(said, seconds, "the words in the log")

    def await_metric(self, name, wanted, seconds=10, **labels):
        """Waits until a metric's sum is `wanted` (a number, or a condition): an answer leaves before it is counted."""
        holds = wanted if callable(wanted) else lambda value: value == wanted
        def reached():
            value = self.admin.metrics().sum(name, **labels)
            assert holds(value), f"{name} is {value}"
            return True
        wait_until(reached, seconds, f"{name} {labels or ''} as wanted")

    def stdout(self):
        with open(os.path.join(self.folder, "stdout"), errors="replace") as f:
            return f.read()

    # -- what tests do all the time --------------------------------------------------------------------------------------

    def client(self, listener="web", **options):
        return RawClient(self.port(listener), **options)

    def get(self, target="/", listener="web", **options):
        return get(self.port(listener), target, **options)

    def cli(self, *arguments, seconds=10):
        """Runs `weir COMMAND -c FILE …`."""
        return run_cli(arguments[0], "-c", self.config_file, *arguments[1:], cwd=self.folder, seconds=seconds,
                       environment=self.environment)

    def generation(self):
        """How many reloads succeeded."""
        return self.admin.metrics().sum("weir_config_reloads_total")

    def reload(self, **parts):
        """Changes the file, reloads through the admin interface and expects success."""
        if parts:
            self.change(**parts)
        answer = self.admin.reload()
        assert answer.status == 200, (answer.status, answer.text)
        return answer

    def hang_up(self, seconds=10):
        """SIGHUP, and waits until that reload has been counted, as a success or a failure. True for a success."""
        def counts():
            metrics = self.admin.metrics()
            return metrics.sum("weir_config_reloads_total"), metrics.sum("weir_config_reload_failures_total")
        before = counts()
        self.signal(signal.SIGHUP)
        wait_until(lambda: counts() != before, seconds, "the reload by SIGHUP")
        return counts()[1] == before[1]

    def rss_bytes(self):
        return memory_of(self.pid, "VmRSS")

    @property
    def is_sanitized(self):
        return binary_is_sanitized()


def run_cli(*arguments, cwd=None, seconds=15, environment=None, text_in=None):
    """A run of the binary that ends by itself: (exit status, standard output, standard error)."""
    done = subprocess.run([BINARY, *map(str, arguments)], cwd=cwd, timeout=seconds * SCALE, capture_output=True, text=True,
                          env=environment, input=text_in, errors="replace")
    found = _FATAL.search(done.stderr)
    assert not found, done.stderr
    return done


def memory_of(pid, key):
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(rf"{key}:\s+(\d+) kB", f.read())[1]) * 1024


_sanitized = None


def binary_is_sanitized():
    global _sanitized
    if _sanitized is None:
        with open(BINARY, "rb") as f:
            data = f.read()
        _sanitized = b"__asan_init" in data or b"__tsan_init" in data
    return _sanitized


def become_subreaper():
    """Orphans (the new process of an upgrade) become our children, so that we learn how they ended."""
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def _alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def _raise_limits():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data):
        return True


__all__ = ["BINARY", "ROOT", "Weir", "WeirFailed", "binary_is_sanitized", "memory_of", "run_cli"]
