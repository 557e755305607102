"""Where log lines go, and what becomes of them when an output takes nothing: nobody waits, what is lost is counted exactly, what is
written is whole lines. And how long each phase of a request took."""

import json
import math
import os
import re
import resource
import signal
import socket
import threading

import pytest

from harness import wait_until
from harness.raw_server import serving

OK = [{"name": "only", "respond": {"status": 200, "body": "hello"}}]
PHASES = ["queue_ms", "connect_ms", "tls_ms", "send_ms", "first_byte_ms", "body_ms"]


def lines_of(path):
    return open(path).read().splitlines() if os.path.exists(path) else []


def lost(weir):
    return weir.admin.metrics().sum("weir_log_lines_lost_total")


def ask(weir, first, count, listener="web"):
    """`count` requests, each with a target of its own."""
    with weir.client(listener) as client:
        for n in range(first, first + count):
            assert client.get(f"/{n}").status == 200


def access(output, form="${target}", **more):
    return {"access": {"format": form, "output": str(output), **more}}


# -- phases ----------------------------------------------------------------------------------------------------------------------

def test_the_phases_of_a_request_are_in_its_line_and_add_up(site, http_backend, localhost_cert, tmp_path):
    backend = http_backend(tls=serving(*localhost_cert))
    log = tmp_path / "access.log"
    weir = site([{"upstream": "app"}, {"path": "/own", "respond": {"body": "x"}}],
                {"app": {"servers": [backend.address], "tls": {"verify": False}}}, log=access(log, "json"), workers=1)
    with weir.client() as client:
        for target in ("/bytes/100000", "/bytes/1", "/own"):
            client.get(target)
    wait_until(lambda: len(lines_of(log)) == 3)
    first, again, own = (json.loads(line) for line in lines_of(log))
    assert [own[name] for name in PHASES] == [None] * 6
    for entry in (first, again):
        assert all(entry[name] >= 0 for name in PHASES), entry
        assert math.isclose(sum(entry[name] for name in PHASES), entry["duration_ms"], abs_tol=0.01), entry
    assert first["tls_ms"] > 0 and again["connect_ms"] == again["tls_ms"] == 0


def test_a_server_that_is_slow_and_a_queue_are_told_apart(site, server, tmp_path):
    log = tmp_path / "access.log"
    weir = site([{"upstream": "app"}], {"app": {"servers": [{"address": server.address, "max_connections": 1}], "queue": {"size": 5, "timeout": "20s"}}},
                log=access(log, "${target} ${queue_ms} ${connect_ms} ${tls_ms} ${send_ms} ${first_byte_ms} ${body_ms} ${duration_ms}"), workers=1)
    with weir.client() as one, weir.client() as two:
        one.send_request("GET", "/slow")
        with server.accept() as backend:
            backend.read_request()
            two.send_request("GET", "/waits")
            weir.await_metric("weir_upstream_queue", 1)
            threading.Event().wait(0.2)  # what is measured, not what is waited for
            backend.respond()
            assert one.read_response("GET").status == 200
            backend.read_request()
            backend.respond()
            assert two.read_response("GET").status == 200
    entries = wait_until(lambda: (got := {line.split()[0]: [float(n) for n in line.split()[1:]] for line in lines_of(log)}) if len(lines_of(log)) == 2 else None)
    assert entries["/slow"][4] >= 190 and entries["/slow"][0] < 190, entries
    assert entries["/waits"][0] >= 190 and entries["/waits"][4] < entries["/waits"][0], entries
    for *phases, total in entries.values():
        assert math.isclose(sum(phases), total, abs_tol=0.01)


def test_phases_that_were_not_come_to_are_empty(site, tmp_path):
    from harness import free_port, release_ports
    port, log = free_port(), tmp_path / "access.log"
    weir = site([{"upstream": "dead"}], {"dead": f"127.0.0.1:{port}"}, log=access(log, "json"))
    assert weir.get("/").status == 502
    wait_until(lambda: lines_of(log))
    entry = json.loads(lines_of(log)[0])
    assert entry["queue_ms"] is not None and [entry[name] for name in PHASES[1:]] == [None] * 5
    release_ports([port])


# -- formats ---------------------------------------------------------------------------------------------------------------------

def test_combined_is_nginx_s_byte_for_byte(site, tmp_path):
    """nginx: '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent"'."""
    log = tmp_path / "access.log"
    weir = site(OK, log=access(log, "combined"))
    weir.get("/a?b=%20c", headers=[("User-Agent", 'x"y\\z\xe9\x09'), ("Referer", "http://r/")])
    weir.get("/")
    wait_until(lambda: len(lines_of(log)) == 2)
    time = r"\[\d\d/(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)/\d{4}:\d\d:\d\d:\d\d \+0000\]"
    said = sorted(lines_of(log), key=len)
    assert re.fullmatch(rf'127\.0\.0\.1 - - {time} "GET / HTTP/1\.1" 200 5 "-" "-"', said[0]), said
    assert re.fullmatch(rf'127\.0\.0\.1 - - {time} "GET /a\?b=%20c HTTP/1\.1" 200 5 "http://r/" "x\\x22y\\x5Cz(\\xC3)?\\xE9"', said[1]) \
        or re.fullmatch(rf'127\.0\.0\.1 - - {time} "GET /a\?b=%20c HTTP/1\.1" 200 5 "http://r/" "x\\x22y\\x5Cz\\xC3\\xA9"', said[1]), said


@pytest.mark.parametrize("form", ["json", "combined", '${client} "${header.x-evil}" ${cookie.c} ${arg.a} ${target} ${header.user-agent}'])
def test_no_field_of_a_request_forges_a_line_or_a_field(site, tmp_path, form):
    log = tmp_path / "access.log"
    weir = site(OK, log=access(log, form))
    evil = 'a" 200 "b\\ \x09 \x1b[31m \x7f'
    for header in ("X-Evil", "User-Agent", "Referer", "Cookie", "X-Request-Id"):
        value = f"c={evil}" if header == "Cookie" else evil
        with weir.client() as client:
            client.send(f"GET /?a={'%0a' * 3}%22 HTTP/1.1\r\nHost: t.example\r\n{header}: ".encode() + value.encode("latin-1") + b"\r\n\r\n")
            client.read_response()
    wait_until(lambda: len(lines_of(log)) == 5)
    data = open(log, "rb").read()
    assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", data) and data.count(b"\n") == 5
    for line in lines_of(log):
        if form == "json":
            json.loads(line)
        elif form == "combined":
            assert line.count('"') == 6, line
        else:
            assert line.count('"') == 2, line


# -- sampling --------------------------------------------------------------------------------------------------------------------

def test_a_sample_is_its_share_and_errors_are_all_there(site, tmp_path):
    log, count, share = tmp_path / "access.log", 2000, 0.3
    weir = site(OK + [{"path": "/bad", "respond": {"status": 503}}], log=access(log, "${status}", sample=share))
    with weir.client() as client:
        for n in range(count):
            client.get("/")
            if n % 20 == 0:
                client.get("/bad")
    wait_until(lambda: lines_of(log).count("503") == count // 20)
    good, sigma = lines_of(log).count("200"), math.sqrt(count * share * (1 - share))
    assert abs(good - count * share) < 5 * sigma, good  # one in 1.7 million runs is further off


# -- files -----------------------------------------------------------------------------------------------------------------------

def test_rotating_under_load_loses_and_tears_no_line(site, tmp_path):
    log, count, done = tmp_path / "access.log", 1500, threading.Event()
    weir = site(OK, log=access(log, "begin ${target} end"))

    def rotate():
        for n in range(8):
            wait_until(lambda: os.path.exists(log), 20, "the new file")
            os.rename(log, f"{log}.{n}")
            weir.signal(signal.SIGUSR1)
        done.set()
    threads = [threading.Thread(target=ask, args=(weir, n * count, count)) for n in range(2)] + [threading.Thread(target=rotate)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done.is_set()

    def everything():
        names = [log] + [f"{log}.{n}" for n in range(8)]
        return sorted(line for name in names for line in lines_of(name))
    wait_until(lambda: len(everything()) >= 2 * count, 10, "all lines")
    assert everything() == sorted(f"begin /{n} end" for n in range(2 * count)) and lost(weir) == 0


def test_a_file_that_cannot_be_opened_anew_goes_on_in_the_old_one(site, tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    log = folder / "access.log"
    weir = site(OK, log=access(log))
    ask(weir, 0, 3)
    wait_until(lambda: len(lines_of(log)) == 3)
    moved = tmp_path / "moved"
    os.rename(folder, moved)
    weir.signal(signal.SIGUSR1)
    weir.await_log("a log file cannot be opened anew; lines go to the one that was open", str(log), "No such file or directory")
    ask(weir, 3, 3)
    wait_until(lambda: lines_of(moved / "access.log") == [f"/{n}" for n in range(6)])
    assert lost(weir) == 0


def test_a_full_disk_loses_lines_counts_them_and_says_so(site):
    weir = site(OK, log=access("/dev/full"))
    ask(weir, 0, 50)
    weir.await_metric("weir_log_lines_lost_total", 50)
    weir.await_log("log lines are lost", "output=/dev/full", 'reason="No space left on device"')


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting asks for root")
def test_a_disk_that_fills_up_has_whole_lines_and_the_rest_is_counted(site, tmp_path):
    import subprocess
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        log = disk / "access.log"
        weir = site(OK, log=access(log, "${target} " + "x" * 200))
        ask(weir, 0, 600)
        wait_until(lambda: len(lines_of(log)) + lost(weir) == 600, 10, "each line is written or counted")
        assert 0 < lost(weir) < 600
        assert all(re.fullmatch(r"/\d+ x{200}", line) for line in lines_of(log))
        os.rename(log, f"{log}.1")
        os.remove(f"{log}.1")
        weir.signal(signal.SIGUSR1)
        wait_until(lambda: os.path.exists(log))
        ask(weir, 600, 5)
        wait_until(lambda: [line.split()[0] for line in lines_of(log)] == [f"/{n}" for n in range(600, 605)])
        weir.stop()
    finally:
        subprocess.run(["umount", "-l", str(disk)])


# -- standard output -------------------------------------------------------------------------------------------------------------

def read_all(fd):
    data = b""
    while True:
        try:
            piece = os.read(fd, 1 << 20)
        except BlockingIOError:
            return data
        if not piece:
            return data
        data += piece


@pytest.fixture
def piped(site):
    """start(routes, …) -> (weir, fd): its standard output is a pipe that is read by the test."""
    fds = []

    def start(*parts, **more):
        weir = site(*parts, start=False, **more)
        path = os.path.join(weir.folder, "stdout")
        os.mkfifo(path)
        fds.append(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
        weir.start()
        return weir, fds[-1]
    yield start
    for fd in fds:
        os.close(fd)


def test_a_pipe_that_nobody_reads_holds_up_no_one_and_goes_on_when_it_is_read(piped, tmp_path):
    """The other log goes on meanwhile; what was lost is what is missing, to the line."""
    other = tmp_path / "other.log"
    width, count = 8000, 700  # 5.6 MB: more than waits
    weir, fd = piped(OK, listeners={"web": {"log": access("stdout", "${target} " + "x" * width)}, "other": {"log": access(other)}})
    ask(weir, 0, count)
    ask(weir, 0, 10, "other")
    wait_until(lambda: len(lines_of(other)) == 10, 10, "the lines of the other log")
    weir.await_metric("weir_log_lines_lost_total", lambda n: n > 0)
    data = b""

    def arrived():
        nonlocal data
        data += read_all(fd)
        return data.endswith(b"\n") and data.count(b"\n") + lost(weir) == count
    wait_until(arrived, 20, "what waited")
    assert 0 < lost(weir) < count
    seen = data.decode().splitlines()
    assert len(set(seen)) == len(seen) and all(re.fullmatch(rf"/\d+ x{{{width}}}", line) for line in seen)
    ask(weir, count, 5)
    data = b""

    def goes_on():
        nonlocal data
        data += read_all(fd)
        return data.count(b"\n") == 5
    wait_until(goes_on, 10, "new lines")
    assert sorted(line.split()[0] for line in data.decode().splitlines()) == [f"/{n}" for n in range(count, count + 5)]


def test_the_log_of_weir_itself_holds_up_no_one(site, tmp_path):
    """Its standard error is a pipe that is full: requests, reloads and the end go on."""
    weir = site(OK + [{"path": "/dead", "upstream": "dead"}], {"dead": "127.0.0.1:1"}, start=False, log={"level": "debug"})
    os.mkfifo(weir.log_file)
    fd = os.open(weir.log_file, os.O_RDONLY | os.O_NONBLOCK)
    filler = os.open(weir.log_file, os.O_WRONLY | os.O_NONBLOCK)
    try:
        weir.start()
        try:
            while True:
                os.write(filler, b"x" * 4096)
        except BlockingIOError:
            pass
        ask(weir, 0, 50)
        assert weir.get("/dead").status == 502
        assert weir.admin.reload().status == 200
        ask(weir, 50, 50)
        read_all(fd)
        assert weir.admin.reload().status == 200
        wait_until(lambda: b"configuration reloaded" in read_all(fd), 10, "lines again")
    finally:
        weir.any_status = True
        weir.kill()
        os.close(fd)
        os.close(filler)
        os.remove(weir.log_file)


# -- syslog ----------------------------------------------------------------------------------------------------------------------

RFC3164 = re.compile(rb"<30>(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ 123]\d \d\d:\d\d:\d\d weir\[(\d+)\]: (.*)", re.S)


def listen(path):
    if os.path.exists(path):
        os.remove(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(str(path))
    sock.settimeout(10)
    return sock


def test_syslog_gets_a_datagram_a_line_as_rfc_3164_has_it(site, tmp_path):
    with listen(tmp_path / "log") as sock:
        weir = site(OK, log=access(f"syslog:{tmp_path}/log", "json"))
        ask(weir, 0, 5)
        for n in range(5):
            match = RFC3164.fullmatch(sock.recv(65536))
            assert match and int(match[2]) == weir.pid and b"\n" not in match[3]
            json.loads(match[3])


def test_a_syslog_that_goes_and_comes_back_gets_lines_again_and_what_was_lost_is_counted(site, tmp_path):
    path = tmp_path / "log"
    weir = site(OK, log=access(f"syslog:{path}"), workers=1)  # it is not there at the start
    ask(weir, 0, 7)
    weir.await_metric("weir_log_lines_lost_total", 7)
    seen, asked = [], 7
    for _ in range(2):
        with listen(path) as sock:
            sock.settimeout(0.2)

            def comes():
                nonlocal asked
                ask(weir, asked, 1)
                asked += 1
                try:
                    seen.append(RFC3164.fullmatch(sock.recv(65536))[3])
                    return True
                except TimeoutError:
                    return False
            wait_until(comes, 10, "a line in the new socket", every=0)
            sock.settimeout(10)
            ask(weir, asked, 5)
            asked += 5
            while seen[-1] != b"/%d" % (asked - 1):
                seen.append(RFC3164.fullmatch(sock.recv(65536))[3])
        os.remove(path)
        ask(weir, asked, 3)
        asked += 3
        wait_until(lambda: lost(weir) + len(seen) == asked, 10, "each line came or is counted")
    assert len(set(seen)) == len(seen)


def test_a_syslog_that_does_not_read_holds_up_no_one(site, tmp_path):
    with listen(tmp_path / "log") as sock:
        weir = site(OK, log=access(f"syslog:{tmp_path}/log"))
        count = 400  # more than such a socket has room for
        ask(weir, 0, count)
        got = set()
        while len(got) < count:
            got.add(RFC3164.fullmatch(sock.recv(65536))[3])
        assert got == {b"/%d" % n for n in range(count)} and lost(weir) == 0
