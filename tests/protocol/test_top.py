"""`weir top`: rates between two readings, as a table that lives in a terminal, or once for scripts."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import threading
import time

import pytest

from harness import Deadline, free_port, release_ports, run_cli, wait_until
from harness.weir import BINARY

ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"
ESCAPES = re.compile(r"\x1b\[[?0-9;]*[A-Za-z]")


@pytest.fixture
def served(site, http_backend):
    backend = http_backend()
    weir = site([{"name": "app", "upstream": "app"}, {"name": "own", "path": "/own", "respond": {"status": 500, "body": "x"}}],
                {"app": backend.address, "idle": backend.address})
    weir.backend = backend
    return weir


@pytest.fixture
def load(served):
    """Requests go on until the test has ended: /own fails, /bytes/10 does not."""
    over = threading.Event()

    def run():
        with served.client() as client:
            while not over.is_set():
                for target in ("/own", "/bytes/10"):
                    client.get(target)
                time.sleep(0.002)
    thread = threading.Thread(target=run)
    thread.start()
    yield
    over.set()
    thread.join()


class Screen:
    """`weir top` in a terminal of 100 columns and `lines` lines."""

    def __init__(self, weir, *arguments, lines=24):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, 100, 0, 0))
        self.before = termios.tcgetattr(slave)
        self.slave, self.seen = slave, b""
        self.process = subprocess.Popen([BINARY, "top", "-s", weir.socket_file, "-d", "0.1", *arguments], stdin=slave, stdout=slave,
                                        stderr=slave, start_new_session=True, env=weir.environment)

    def read(self, seconds=0.05):
        if select.select([self.master], [], [], seconds)[0]:
            self.seen += os.read(self.master, 65536)

    def pages(self):
        """The whole pages that were shown, as lines without escapes."""
        return [re.split(r"\r*\n", ESCAPES.sub("", page.decode("utf-8", "replace"))) for page in self.seen.split(b"\x1b[H")[1:-1]]

    def wait_for(self, condition, what):
        def shown():
            self.read()
            return any(condition("\n".join(page)) for page in self.pages())
        wait_until(shown, 10, what, every=0)

    def press(self, key):
        self.seen = b""
        os.write(self.master, key)

    def end(self):
        deadline = Deadline(10)
        while self.process.poll() is None:
            deadline.left()
            self.read()
        self.read(0)
        return self.process.returncode

    def is_restored(self):
        return self.seen.rstrip().endswith(LEAVE) and termios.tcgetattr(self.slave) == self.before

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


def test_the_status_as_json_is_what_the_api_answers(served):
    told = json.loads(served.cli("status", "--json").stdout)
    assert told["pid"] == served.pid and told["state"] == "serving"
    assert [entry["name"] for entry in told["listeners"]] == ["web"]
    assert {entry["name"] for entry in told["upstreams"]} == {"app", "idle"}


@pytest.fixture
def screen(served):
    opened = []

    def open_(*arguments, **options):
        opened.append(Screen(served, *arguments, **options))
        return opened[-1]
    yield open_
    for s in opened:
        s.close()


def row(rows, **wanted):
    found = [r for r in rows if all(r[k] == v for k, v in wanted.items())]
    assert len(found) == 1, (wanted, rows)
    return found[0]


# -- once ----------------------------------------------------------------------------------------------------------------------

def test_once_as_json_tells_rates_and_times_between_two_readings(served, load):
    done = served.cli("top", "--once", "--json", "-d", "1")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["seconds"] >= 1 and told["state"] == "serving" and told["connections"] == 1
    web, own, app = row(told["listeners"], name="web"), row(told["routes"], name="own"), row(told["routes"], name="app")
    server = row(told["servers"], upstream="app", address=served.backend.address)
    assert own["requests_per_second"] > 0 and own["errors_per_second"] == own["requests_per_second"]
    assert app["requests_per_second"] > 0 and app["errors_per_second"] == 0
    assert web["requests_per_second"] == pytest.approx(told["requests_per_second"])
    assert 0 < web["p50_ms"] <= web["p95_ms"] and 0 < told["p50_ms"] <= told["p95_ms"]
    assert server["state"] == "up" and server["weight"] == 1 and server["requests_per_second"] > 0 and server["mean_ms"] > 0
    idle = row(told["servers"], upstream="idle")
    assert idle["requests_per_second"] == 0 and idle["mean_ms"] is None and idle["queue"] is None


def test_once_rates_are_of_now_not_of_all_time(served):
    with served.client() as client:
        for _ in range(20):
            client.get("/own")
    wait_until(lambda: served.admin.metrics().sum("weir_requests_total", route="own") == 20)
    told = json.loads(served.cli("top", "--once", "--json", "-d", "0.1").stdout)
    assert told["requests_per_second"] == 0 and row(told["routes"], name="own")["p95_ms"] is None


def test_once_prints_a_table_sorted_by_requests_without_escapes(served, load):
    done = served.cli("top", "--once", "-d", "0.5")
    assert done.returncode == 0 and "\x1b" not in done.stdout, done
    lines = done.stdout.splitlines()
    assert lines[0].startswith("weir ") and "requests/s" in lines[0]
    servers = lines[next(i for i, l in enumerate(lines) if l.startswith("upstream")) + 1:]
    assert [l.split()[0] for l in servers] == ["app", "idle"] and served.backend.address in servers[0] and " up " in servers[0]


def test_an_output_that_is_no_terminal_gets_one_table(served):
    done = served.cli("top", "-d", "0.1")
    assert done.returncode == 0 and done.stdout.count("listener ") == 1 and "\x1b" not in done.stdout


def test_attempts_without_an_answer_are_errors_of_the_server(site, dead_port, pump):
    weir = site([{"name": "app", "upstream": "app"}], {"app": f"127.0.0.1:{dead_port}"})
    with pump(weir):
        told = json.loads(weir.cli("top", "--once", "--json", "-d", "0.5").stdout)
    assert row(told["servers"], upstream="app")["errors_per_second"] > 0


@pytest.fixture
def dead_port():
    port = free_port()
    yield port
    release_ports([port])


@pytest.fixture
def pump():
    class Pump:
        def __init__(self, weir):
            self.weir, self.over, self.thread = weir, threading.Event(), threading.Thread(target=self.run)

        def run(self):
            with self.weir.client() as client:
                while not self.over.is_set():
                    client.get("/")

        def __enter__(self):
            self.thread.start()

        def __exit__(self, *_):
            self.over.set()
            self.thread.join()
    return Pump


@pytest.mark.parametrize("arguments, words", [
    (["-d", "0"], "from 0.1 to 3600"), (["-d", "1x"], "from 0.1 to 3600"), (["-d", "nan"], "from 0.1 to 3600"),
    (["-d"], "-d needs a value"), (["--json"], "--json goes with --once"), (["more"], "unexpected argument"),
])
def test_a_wrong_call_says_what_is_wrong(served, arguments, words):
    done = served.cli("top", *arguments)
    assert done.returncode == 2 and words in done.stderr


def test_without_a_weir_it_says_so(tmp_path):
    done = run_cli("top", "--once", "-s", tmp_path / "none.sock")
    assert done.returncode == 1 and "no weir runs at" in done.stderr and done.stdout == ""


# -- live ----------------------------------------------------------------------------------------------------------------------

def test_the_live_table_shows_figures_and_q_gives_the_terminal_back(served, load, screen):
    s = screen()
    s.wait_for(lambda page: re.search(r"^own .*[1-9]", page, re.M) and served.backend.address in page, "the table")
    assert s.seen.startswith(ENTER)
    assert termios.tcgetattr(s.slave) != s.before
    s.press(b"q")
    assert s.end() == 0 and s.is_restored()


def test_the_table_changes_by_itself(served, screen):
    s = screen()
    s.wait_for(lambda page: re.search(r"^own +respond +0\.0 ", page, re.M), "no requests")
    with served.client() as client:
        def asked():
            client.get("/own")
            s.read(0.001)
            return any(re.search(r"^own +respond +[1-9]", "\n".join(p), re.M) for p in s.pages())
        wait_until(asked, 10, "requests that are seen", every=0)


def test_s_goes_through_the_orders(screen):
    s = screen()
    s.wait_for(lambda page: "by requests" in page and "*req/s" in page, "the first order")
    for order, title in (("errors", "*err/s"), ("time", "*p95 ms"), ("open", "*open"), ("name", "*route"), ("requests", "*req/s")):
        s.press(b"s")
        s.wait_for(lambda page: f"by {order}" in page and title in page, order)


def test_p_stops_and_goes_on(served, screen):
    s = screen()
    s.wait_for(lambda page: "p pause" in page, "the table")
    s.press(b"p")
    wait_until(lambda: s.read() or b"paused" in s.seen, 10, "the pause", every=0)
    s.press(b"s")
    wait_until(lambda: s.read() or b"by errors" in s.seen, 10, "a page that the key drew", every=0)
    assert s.seen.count(b"\x1b[H") == 1
    s.press(b"p")
    s.wait_for(lambda page: "p pause" in page, "that it goes on")


def test_no_more_lines_are_shown_than_the_terminal_has(served, screen):
    s = screen(lines=9)
    s.wait_for(lambda page: "1 of 2 servers" in page or "0 of 2 servers" in page, "a table cut short")
    for page in s.pages()[1:]:
        assert len(page) == 9 and max(map(len, page)) <= 100, page


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_gives_the_terminal_back(screen, number):
    s = screen()
    s.wait_for(lambda page: "q quit" in page, "the table")
    s.process.send_signal(number)
    assert s.end() == -number and s.is_restored()


def test_a_weir_that_goes_away_is_told_and_comes_back(served, screen):
    s = screen()
    s.wait_for(lambda page: "q quit" in page, "the table")
    served.stop()
    s.wait_for(lambda page: "what is shown is old" in page, "the message")
    s.seen = b""
    served.start()
    s.wait_for(lambda page: "q quit" in page, "the table again")
    s.press(b"q")
    assert s.end() == 0
