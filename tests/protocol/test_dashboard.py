"""The dashboard in a real browser: what it shows equals what was sent, what is wrong is said first, and tables stay bounded."""

import os
import re
import threading
import time

import pytest

from harness import Reply, free_port, get, wait_until
from harness.browser import IS_THERE
from harness.dashboard import Dashboard
from harness.weir import ROOT

pytestmark = pytest.mark.skipif(not IS_THERE, reason="no chromium and chromedriver here")
OK = [{"name": "own", "respond": {"body": "ok"}}]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with Dashboard(tmp_path_factory.mktemp("browser")) as it:
        it.viewport(1280, 1000)
        yield it


def number(text):
    return float(re.sub(r"[^0-9.]", "", text) or "nan")


def measured(page):
    """(requests, seconds) since the button was pressed."""
    found = re.match(r"([\d,]+) requests in ([\d.]+) s: ([\d,.]+) a second, ([\d,]+) server errors", page.text("measured"))
    return tuple(number(x) for x in found.groups()) if found else (None,) * 4


def send(weir, count, target="/", **options):
    with weir.client() as client:
        for _ in range(count):
            client.get(target, **options)


class OpenLoop(threading.Thread):
    """So many requests a second on one connection, each at its time."""

    def __init__(self, weir, rate):
        super().__init__(daemon=True)
        self.weir, self.rate, self.over, self.sent, self.began = weir, rate, threading.Event(), 0, 0.0
        self.start()

    def run(self):
        with self.weir.client() as client:
            self.began = time.monotonic()
            while not self.over.is_set():
                client.get("/")
                self.sent += 1
                time.sleep(max(0.0, self.began + self.sent / self.rate - time.monotonic()))


# -- figures -------------------------------------------------------------------------------------------------------------------

def test_requests_are_counted_to_the_last_one_by_kind(page, site, http_backend):
    backend = http_backend()
    weir = site([{"name": "app", "upstream": "app"}, {"name": "own", "path": "/own", "respond": {"body": "own"}}], {"app": backend.address})
    page.show(weir)
    page.click("#measure")
    send(weir, 40, "/bytes/10")
    send(weir, 3, "/status/404")
    send(weir, 2, "/status/500")
    send(weir, 5, "/own")
    page.await_value(lambda: measured(page)[0], lambda n: n == 50, what="requests")
    assert measured(page)[3] == 2 and page.text("requests-total") == "50"
    app, own = (page.row("routes-table", name) for name in ("app", "own"))
    assert (app["In all"], own["In all"]) == ("45", "5")
    assert number(app["4xx / s"]) > 0 and number(app["5xx / s"]) > 0 and own["5xx / s"] == "0"
    server = page.row("servers-table", backend.address)
    assert "up" in server["State, and why"] and number(server["Errors / s"]) > 0 and number(server["Reused"]) > 80


def test_a_steady_rate_is_shown_within_two_percent(page, site):
    weir = site(OK)
    page.show(weir)
    load = OpenLoop(weir, 200)
    try:
        wait_until(lambda: load.sent >= 200, 20, "the load")
        page.click("#measure")
        page.await_value(lambda: measured(page)[1], lambda s: s and s >= 11, 30, "seconds")
        # Amid the load: what the page counted against what was sent in that very time, by the generator's own clock.
        shown, ten = measured(page), number(page.text("rate-10"))
    finally:
        load.over.set()
        load.join()
    mean = load.sent / (time.monotonic() - load.began)
    assert abs(shown[2] / mean - 1) <= 0.02 and abs(ten / mean - 1) <= 0.02, (shown, ten, mean)
    page.await_text("requests-total", lambda t: number(t) == load.sent)


def test_percentiles_are_what_servers_took(page, site, http_backend):
    def handler(request):
        time.sleep(0.1 if request.target == "/slow" else 0)
        return Reply(body=b"x")
    backend = http_backend(handler=handler)
    weir = site([{"name": "slow", "path": "/slow", "upstream": "app"}, {"name": "fast", "upstream": "app"}], {"app": backend.address})
    page.show(weir)
    send(weir, 30, "/fast")
    send(weir, 15, "/slow")
    page.await_value(lambda: (page.row("routes-table", "slow") or {}).get("In all"), lambda n: n == "15")
    slow, fast = page.row("routes-table", "slow"), page.row("routes-table", "fast")
    assert 80 <= number(slow["p50"]) <= 160 and 80 <= number(slow["p99"]), slow
    assert number(fast["p50"]) < 60, fast
    server = page.row("servers-table", backend.address)
    assert number(server["p50"]) < 60 and 80 <= number(server["p95"]), server
    assert "an eighth" in page.run("done(document.querySelector('.three').title);")


def test_connections_in_flight_and_queues_are_gauges(page, site, http_backend):
    wait = threading.Event()
    backend = http_backend(handler=lambda r: (wait.wait(60), Reply(body=b"x"))[1])
    weir = site([{"upstream": "app"}], {"app": {"servers": [{"address": backend.address, "max_connections": 2}], "queue": {"size": 10, "timeout": "60s"}}})
    clients = [weir.client() for _ in range(5)]
    try:
        page.show(weir)
        for client in clients:
            client.send_request("GET", "/")
        page.await_text("in-flight", "2")
        page.await_text("queue", "3")
        page.await_text("connections", "5")
        assert page.row("servers-table", backend.address)["In flight"] == "2 / 2"
        assert "3 of at most 10 wait for a server" in page.text("verdict-list")
    finally:
        wait.set()
        for client in clients:
            client.close()


def test_tls_versions_and_days_left_are_shown(page, site, authority, localhost_cert):
    from harness.raw_client import trusting
    weir = site(OK, listeners={"web": {"tls": {"certificates": [{"cert": localhost_cert[0], "key": localhost_cert[1]}]}}})
    for _ in range(3):
        get(weir.port(), tls=trusting(authority.file), server_name="localhost")
    page.show(weir)
    page.await_text("tls-more", "TLS 1.3: 3")
    page.await_value(lambda: page.rows("certificates-table"), lambda rows: rows and "localhost" in rows[0][0])
    days = number(page.rows("certificates-table")[0][4].split("\n")[0])
    assert 80 <= days <= 400
    assert "TLS 1.3: 3 full" in page.row("listeners-table", "web")["TLS handshakes"]


# -- what is wrong ---------------------------------------------------------------------------------------------------------------

def test_what_is_wrong_is_said_with_its_reason_and_goes_away(page, site, http_backend):
    is_well = threading.Event()
    backend = http_backend(handler=lambda r: Reply(body=b"x") if is_well.is_set() else Reply(status="503 No"))
    check = {"type": "http", "path": "/health", "interval": "100ms", "timeout": "5s", "rise": 1, "fall": 1}
    weir = site([{"name": "app", "upstream": "app"}], {"app": {"servers": [backend.address], "health_check": check}})
    page.show(weir)
    page.await_text("verdict-title", lambda t: "broken" in t)
    wrong = page.text("verdict-list")
    assert "Upstream app: no server gets requests" in wrong and f"app {backend.address} is down" in wrong and "503" in wrong
    assert page.run("done([document.title, document.getElementById('verdict-title').getAttribute('aria-live')]);") == ["✕ weir", "polite"]
    assert "✕ down" in page.row("servers-table", backend.address)["State, and why"]
    is_well.set()
    page.await_text("verdict-title", lambda t: t.startswith("✓ All is well: 1 server, 1 route"))
    assert page.text("verdict-list") == ""


def test_errors_are_said_with_their_route_and_how_they_ended(page, site):
    weir = site([{"name": "gone", "upstream": "app"}], {"app": f"127.0.0.1:{free_port()}"})
    page.show(weir)
    send(weir, 5)
    page.await_text("verdict-list", lambda t: "100.0 % of requests got a server error" in t and "most of them on route gone" in t and "connect_failed 5" in t)


def test_the_page_says_that_its_figures_are_old(page, site):
    weir = site(OK)
    page.show(weir)
    weir.stop()
    page.await_text("state", "not reachable")
    assert "these are the last figures" in page.text("verdict-title")


# -- the flight recorder -----------------------------------------------------------------------------------------------------------

def test_a_request_has_a_page_with_its_whole_story(page, site, http_backend):
    backend = http_backend()
    dead = f"127.0.0.1:{free_port()}"
    weir = site([{"name": "app", "upstream": "app"}], {"app": {"servers": [dead, backend.address]}}, workers=1)
    with weir.client() as client:
        for i in range(4):
            client.get(f"/status/500?n={i}", headers=[("X-Request-Id", f"story-{i}")])
    page.show(weir)
    page.await_value(lambda: page.rows("failed-table"), lambda rows: len(rows) == 4)
    with_two = next(i for i in range(4) if find_story(page, weir, i)["attempts_made"] == 2)
    page.run("location.hash = arguments[0]; done(null);", f"#/request/story-{with_two}")
    page.await_text("story-sum", lambda t: "2 attempts" in t)
    assert page.text("story-title") == f"GET t.example/status/500?n={with_two}"
    first, second = page.rows("story-table")
    assert first[0] == f"1. {dead}" and "unreachable" in first[1] and second[0] == f"2. {backend.address}" and second[2] == "500"
    assert f"story-{with_two}" in page.text("story-facts") and "app" in page.text("story-facts")
    page.click("#story-explain")
    page.await_text("explain-text", lambda t: "app" in t)


def find_story(page, weir, i):
    return weir.admin.json(f"/api/v1/requests/story-{i}")


def test_a_request_that_is_not_kept_says_so(page, site):
    weir = site(OK)
    page.show(weir, "#/request/never%2Fwas")
    page.await_text("story-sum", lambda t: "no request of that id is kept" in t)


# -- many rows ---------------------------------------------------------------------------------------------------------------------

def test_ten_thousand_routes_are_bounded_and_found_by_the_filter(page, site, tmp_path):
    routes = [{"name": f"r{i:05}", "path": f"/r{i:05}", "respond": {"body": "x"}} for i in range(10000)]
    weir = site(routes)
    send(weir, 3, "/r09876")
    page.show(weir)
    page.await_text("routes-count", "10,000")
    assert len(page.rows("routes-table")) == 50 and page.text("routes-more").startswith("… and 9,950 more")
    send(weir, 3, "/r05555")
    page.await_value(lambda: page.rows("routes-table")[0][0], lambda t: t.startswith("r05555"), what="the busiest route")
    page.fill("routes-filter", "r0987")
    page.await_text("routes-count", "10 of 10,000")
    page.await_value(lambda: [r[0][:6] for r in page.rows("routes-table")], lambda names: sorted(names) == [f"r0987{i}" for i in range(10)])
    assert page.row("routes-table", "r09876")["In all"] == "3"
    send(weir, 40, "/r09876")
    page.await_value(lambda: number(page.row("routes-table", "r09876")["Requests / s"]), lambda n: n > 0, what="a rate")
    page.fill("routes-filter", "r0")
    page.await_text("routes-more", lambda t: "9,950 more" in t and "narrower" in t)
    page.fill("routes-filter", "")
    page.await_text("routes-count", "10,000")


def test_rows_are_sorted_by_their_heads(page, site):
    weir = site([{"name": name, "path": "/" + name, "respond": {"body": "x"}} for name in ("b", "c", "a")])
    for name, count in (("a", 2), ("b", 9), ("c", 5)):
        send(weir, count, "/" + name)
    page.show(weir)
    page.await_text("requests-total", "16")

    def order():
        return [r[0][0] for r in page.rows("routes-table")]
    page.click("#routes-table thead th:nth-child(1) button")
    assert order() == ["a", "b", "c"]
    page.click("#routes-table thead th:nth-child(10) button")
    assert order() == ["b", "c", "a"]
    assert page.run("done(document.querySelector('#routes-table [aria-sort]').getAttribute('aria-sort'));") == "descending"


# -- what it is made of ------------------------------------------------------------------------------------------------------------

def test_it_is_small_asks_nobody_else_and_breaks_no_policy(page, site, http_backend):
    weir = site([{"name": "app", "upstream": "app", "cache": True}], {"app": http_backend().address})
    page.show(weir)
    send(weir, 10)
    page.await_text("requests-total", "10")
    page.await_value(lambda: page.rows("slowest-table"), lambda rows: len(rows) > 1)
    asked = page.requests()
    assert asked and all(u.startswith((f"http://127.0.0.1:{weir.admin.port}/", "data:image/svg")) for u in asked), asked
    assert page.faults() == []
    answer = weir.admin.request("GET", "/")
    assert len(answer.body) < 150_000 and [u for u in asked if not u.startswith("data:") and "/api/" not in u] == [f"http://127.0.0.1:{weir.admin.port}/"]
    policy = answer["content-security-policy"]
    assert "unsafe" not in policy and "default-src 'none'" in policy and "connect-src 'self'" in policy


def test_a_script_that_is_not_its_own_does_not_run(page, site):
    weir = site(OK)
    page.show(weir)
    refused = page.run("""
        try { document.body.setAttribute("onclick", "window.broken = 1"); done("taken"); } catch (e) { done(e.name); }
    """)
    assert refused == "TypeError"
    page.run("const i = document.createElement('img'); i.onerror = () => done(null); i.src = arguments[0]; document.body.append(i);",
             f"http://127.0.0.1:{weir.port()}/outside.png")
    page.await_value(lambda: page.faults(), lambda said: any("Content Security Policy" in m for m in said), what="the console")


def test_no_file_of_the_page_is_long():
    folder = os.path.join(ROOT, "admin", "assets")
    for name in os.listdir(folder):
        with open(os.path.join(folder, name)) as f:
            assert len(f.readlines()) < 400, name
