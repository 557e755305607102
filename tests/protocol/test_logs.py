"""The access log in its formats, and the log of the program."""

import datetime
import json
import os
import re
import signal

import pytest

from harness import free_port, release_ports, wait_until

OK = [{"name": "only", "respond": {"status": 200, "body": "hello"}}]
COMBINED = re.compile(r'(\S+) - (\S+) \[(\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\] "([^"]*)" (\d{3}) (\d+|-) "([^"]*)" "([^"]*)"')


def lines_of(path, count=1):
    """The lines of a log, once there are so many."""
    def read():
        with open(path) as f:
            lines = f.read().splitlines()
        return lines if len(lines) >= count else None
    return wait_until(read, 10, f"{count} lines in the log")


@pytest.fixture
def logging(site, tmp_path):
    """start(format, **more) -> (weir, the file of its access log)"""
    def start(form, routes=OK, upstreams=None, **access):
        path = tmp_path / "access.log"
        return site(routes, upstreams, log={"access": {"format": form, "output": str(path), **access}}), path
    return start


def test_json_has_a_line_a_request_with_what_matters(logging):
    weir, path = logging("json")
    weir.get("/a?b=c", headers=[("X-Request-Id", "id-1234"), ("User-Agent", "tester")])
    entry = json.loads(lines_of(path)[0])
    values = [str(v) for v in entry.values()]
    for wanted in ("127.0.0.1", "GET", "200", "only", "id-1234"):
        assert wanted in values, (wanted, entry)
    assert any("/a" in v for v in values)


def test_json_survives_hostile_text(logging):
    weir, path = logging("json")
    weir.get('/"\\%0a', headers=[("User-Agent", 'a"b\\c \xe9\xff\t'), ("Referer", '"}{')])
    for line in lines_of(path):
        json.loads(line)


def test_combined_is_what_log_readers_know(logging):
    weir, path = logging("combined")
    weir.get("/a?b=c", headers=[("User-Agent", "tester/1"), ("Referer", "http://r.example/")])
    match = COMBINED.fullmatch(lines_of(path)[0])
    assert match and match[1] == "127.0.0.1" and match[4] == "GET /a?b=c HTTP/1.1" and match[5] == "200" and match[6] == "5"
    assert match[7] == "http://r.example/" and match[8] == "tester/1"


def test_combined_cannot_be_forged_by_quotes(logging):
    weir, path = logging("combined")
    weir.get("/", headers=[("User-Agent", 'x" 200 "y')])
    line = lines_of(path)[0]
    assert 'x" 200 "y' not in line and line.count("\n") == 0


def test_a_template_is_filled_in(logging):
    weir, path = logging('${client} "${method} ${target}" ${status} ${route} ${listener} ${bytes_out}')
    weir.get("/a?b=c")
    line = lines_of(path)[0]
    assert re.fullmatch(r'127\.0\.0\.1 "GET /a\?b=c" 200 only web \d+', line), line


def test_upstream_server_and_times_are_logged(logging, http_backend):
    backend = http_backend()
    weir, path = logging("${upstream} ${server} ${upstream_ms} ${duration_ms} ${time}", [{"upstream": "app"}], {"app": backend.address})
    weir.get()
    line = lines_of(path)[0]
    assert re.fullmatch(rf"app {re.escape(backend.address)} [\d.]+ [\d.]+ \d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", line), line


def test_every_request_is_a_line_in_its_order(logging):
    weir, path = logging("${target}")
    with weir.client() as client:
        for n in range(200):
            client.get(f"/{n}")
    assert lines_of(path, 200) == [f"/{n}" for n in range(200)]


def test_refused_requests_are_logged_too(logging):
    weir, path = logging("${status}")
    with weir.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        client.read_response()
    assert "400" in lines_of(path)[0]


def test_nothing_is_logged_when_access_is_false(site):
    weir = site(OK, log={"access": False})
    weir.get("/not-logged")
    weir.reload()
    assert "not-logged" not in weir.log() + weir.stdout()


def test_true_logs_to_standard_output_as_json(site):
    weir = site(OK, log={"access": True})
    weir.get("/seen")
    line = wait_until(lambda: [x for x in weir.stdout().splitlines() if "/seen" in x])[0]
    json.loads(line)


def test_sample_0_logs_errors_of_the_server_alone(logging):
    weir, path = logging("${status}", [{"respond": {"body": "x"}}, {"path": "/dead", "upstream": "dead"}],
                         {"dead": f"127.0.0.1:{free_port()}"}, sample=0.0)
    for _ in range(20):
        weir.get("/")
    assert weir.get("/dead").status in (502, 503)
    assert all(line.startswith("50") for line in lines_of(path))


def test_a_listener_may_have_an_access_log_of_its_own(site, tmp_path):
    path = tmp_path / "own.log"
    weir = site(OK, listeners={"web": {}, "own": {"log": {"access": {"format": "${target}", "output": str(path)}}}}, log={"access": False})
    weir.get("/web")
    weir.get("/own", "own")
    assert lines_of(path) == ["/own"]


def test_sigusr1_goes_on_in_a_new_file(logging):
    weir, path = logging("${target}")
    weir.get("/first")
    lines_of(path)
    os.rename(path, str(path) + ".1")
    weir.get("/second")
    weir.signal(signal.SIGUSR1)
    wait_until(lambda: os.path.exists(path), 10, "the new file")
    weir.get("/third")
    wait_until(lambda: "/third" in lines_of(path))
    # Lines of two workers may come in any order.
    wait_until(lambda: sorted(lines_of(str(path) + ".1") + lines_of(path)) == ["/first", "/second", "/third"])


def test_no_line_is_lost_over_a_rotation_under_load(logging):
    weir, path = logging("${target}")
    with weir.client() as client:
        for n in range(300):
            client.get(f"/{n}")
            if n in (100, 200):
                wait_until(lambda: os.path.exists(path), 10, "the file of the rotation before")
                os.rename(path, f"{path}.{n}")
                weir.signal(signal.SIGUSR1)
    wait_until(lambda: os.path.exists(path))

    def everything():
        found = []
        for name in (f"{path}.100", f"{path}.200", str(path)):
            with open(name) as f:
                found += f.read().splitlines()
        return len(found) == 300 and sorted(found) == sorted(f"/{n}" for n in range(300))
    wait_until(everything, 10, "every line in one of the files")


def test_the_log_is_written_at_the_end(site, tmp_path):
    path = tmp_path / "access.log"
    weir = site(OK, log={"access": {"format": "${target}", "output": str(path)}})
    weir.get("/last")
    weir.stop()
    assert path.read_text().splitlines() == ["/last"]


def test_a_log_that_cannot_be_opened_is_a_fault(site, tmp_path):
    weir = site(OK, start=False, log={"access": {"format": "json", "output": str(tmp_path / "none" / "x.log")}})
    done = weir.cli("check")
    assert done.returncode == 1 and "log.access.output" in done.stdout + done.stderr


def test_the_log_of_the_program_can_be_json(site):
    weir = site(OK, log={"format": "json"})
    weir.reload()
    lines = weir.log().splitlines()
    assert lines
    for line in lines:
        json.loads(line)


def test_a_secret_of_the_configuration_is_not_logged(site):
    weir = site(OK, admin={"token": "very-secret-token"}, log={"level": "debug"})
    weir.admin.status()
    weir.reload()
    assert "very-secret-token" not in weir.log()


# -- what repeats ----------------------------------------------------------------------------------------------------------------

REPEATS = re.compile(r'^(\S+) warn  server cannot be reached upstream=(\S+) server=(\S+) reason="Connection refused"(?: repeated=(\d+))?$', re.M)


def seconds_of(time):
    return datetime.datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp()


def test_a_server_that_stays_away_is_a_line_a_second_with_how_many_there_were(site):
    """The first line at once; what came between two lines is in the later one."""
    ports = [free_port(), free_port()]
    routes = [{"path": f"/{i}", "upstream": f"u{i}"} for i in range(2)]
    weir = site(routes, {f"u{i}": f"127.0.0.1:{port}" for i, port in enumerate(ports)}, workers=1)
    attempts = 0

    def told(i):
        return [m for m in REPEATS.findall(weir.log()) if m[2] == f"127.0.0.1:{ports[i]}"]

    with weir.client() as client:
        def ask():
            nonlocal attempts
            for _ in range(20):
                assert client.get("/0").status == 502
                attempts += 1
            return len(told(0)) >= 3
        wait_until(ask, 20, "three lines", every=0)
        assert client.get("/1").status == 502
    wait_until(lambda: len(told(1)) == 1, 10, "the first line of another server")
    lines = told(0)
    assert lines[0][3] == "" and int(lines[1][3]) >= 1 and int(lines[2][3]) >= 1 and told(1)[0][3] == ""
    assert len(lines) + sum(int(n or 0) for *_, n in lines) <= attempts
    times = [seconds_of(time) for time, *_ in lines]
    assert all(later - earlier > 0.5 for earlier, later in zip(times, times[1:])), times
    release_ports(ports)
