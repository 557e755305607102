"""The dashboard's buttons and forms: what they say is what the server then does; nothing without the token; text stays text."""

import json

import pytest

from harness import Cached, RawClient, free_port, fresh, wait_until
from harness.admin import find
from harness.browser import IS_THERE
from harness.dashboard import Dashboard

pytestmark = pytest.mark.skipif(not IS_THERE, reason="no chromium and chromedriver here")
OK = [{"name": "own", "respond": {"body": "ok"}}]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with Dashboard(tmp_path_factory.mktemp("browser")) as it:
        it.viewport(1280, 1000)
        yield it


def server_of(weir, address):
    return find(weir.admin.upstreams(), address=address)[0]


def open_server(page, address):
    page.await_value(lambda: page.row("servers-table", address), bool, what="the server's row")
    page.click(f"#servers-table button[aria-label*='{address}']")
    page.await_value(lambda: page.run("done(document.getElementById('dialog').open);"), bool, what="the dialog")


# -- servers -----------------------------------------------------------------------------------------------------------------------

def test_a_server_is_drained_and_brought_back(page, site, http_backend):
    one, two = http_backend(), http_backend()
    weir = site([{"upstream": "app"}], {"app": {"servers": [one.address, two.address]}})
    page.show(weir)
    open_server(page, one.address)
    page.click("#dialog input[value=drain]")
    page.confirm()
    said, is_bad = page.said()
    assert not is_bad and f"app {one.address} is now drain (drained by hand)" in said
    assert server_of(weir, one.address)["state"] == "drain"
    for _ in range(4):
        assert weir.get().status == 200
    assert not one.requests and len(two.requests) == 4
    page.await_value(lambda: page.row("servers-table", one.address)["State, and why"], lambda t: "drain" in t and "drained by hand" in t)
    page.await_text("verdict-list", lambda t: f"app {one.address} is draining: drained by hand" in t)
    open_server(page, one.address)
    page.click("#dialog input[value=up]")
    page.confirm()
    wait_until(lambda: server_of(weir, one.address)["state"] == "up")


def test_a_weight_is_changed_and_the_files_is_taken_again(page, site, http_backend):
    backend = http_backend()
    weir = site([{"upstream": "app"}], {"app": {"servers": [{"address": backend.address, "weight": 3}]}})
    page.show(weir)
    open_server(page, backend.address)
    assert page.run("done(document.getElementById('steer-weight').value);") == "3"
    page.fill("steer-weight", "7")
    page.confirm()
    assert "weight 7" in page.said()[0] and server_of(weir, backend.address)["weight"] == 7
    page.await_value(lambda: page.row("servers-table", backend.address)["Weight"], lambda t: t == "7 (by hand)")
    open_server(page, backend.address)
    page.fill("steer-weight", "3")
    page.confirm()
    page.await_text("message-text", lambda t: "the file's again" in t)
    assert server_of(weir, backend.address)["weight"] == 3


def test_cancel_changes_nothing(page, site, http_backend):
    backend = http_backend()
    weir = site([{"upstream": "app"}], {"app": backend.address})
    page.show(weir)
    open_server(page, backend.address)
    page.click("#dialog input[value=down]")
    page.click("#dialog-no")
    page.click("#reload")
    page.click("#dialog-no")
    page.await_value(lambda: page.run("done(document.getElementById('dialog').open);"), lambda is_open: not is_open)
    assert server_of(weir, backend.address)["state"] == "up" and weir.admin.status()["reloads"] == 0


def test_a_split_is_changed(page, site, http_backend):
    blue, green = http_backend("blue"), http_backend("green")
    weir = site([{"name": "app", "split": {"blue": 100, "green": 0}}], {"blue": blue.address, "green": green.address})
    page.show(weir)
    page.await_value(lambda: page.row("routes-table", "app"), bool)
    page.click("#routes-table button[aria-label*='split']")
    page.fill("split-blue", "0")
    page.fill("split-green", "100")
    page.confirm()
    assert page.said() == ["Route app now splits blue 0, green 100.", False]
    assert weir.get().text == "green"


# -- configuration -----------------------------------------------------------------------------------------------------------------

def test_a_reload_says_what_changed_and_a_bad_file_where_its_fault_is(page, site):
    weir = site(OK)
    page.show(weir)
    weir.change(routes=OK + [{"name": "more", "path": "/more", "respond": {"body": "more"}}])
    page.click("#reload")
    page.confirm()
    said, is_bad = page.said()
    assert not is_bad and "Reloaded" in said and "more" in said
    page.await_value(lambda: page.row("routes-table", "more"), bool, what="the new route")
    page.await_text("config-diff", lambda t: "more" in t)
    page.forget_said()
    with open(weir.config_file) as f:
        good = f.read()
    with open(weir.config_file, "w") as f:
        f.write(good + "nonsense: 1\n")
    page.click("#reload")
    page.confirm()
    said, is_bad = page.said()
    line = good.count("\n") + 1
    assert is_bad and f"weir.yaml:{line}:1: nonsense: unknown key" in said
    assert weir.get("/more").text == "more"
    page.await_text("verdict-list", lambda t: "The last reload was refused" in t and "nonsense" in t)


def test_the_configuration_is_shown_without_its_secrets_and_rolled_back(page, site):
    weir = site([{"name": "own", "respond": {"body": "first"}}])
    page.show(weir)
    weir.change(routes=[{"name": "own", "respond": {"body": "second"}}])
    assert weir.admin.reload().status == 200 and weir.get().text == "second"
    page.await_text("config-about", lambda t: "generation 2" in t)
    page.await_text("config-yaml", lambda t: "second" in t)
    page.await_value(lambda: [r[0] for r in page.rows("history-table")], lambda r: r == ["2", "1"])
    page.click("#history-table button")
    page.confirm()
    said, is_bad = page.said()
    assert not is_bad and "Rolled back" in said and weir.get().text == "first"


def test_a_configuration_on_trial_is_confirmed(page, site):
    weir = site([{"name": "own", "respond": {"body": "first"}}])
    page.show(weir)
    weir.change(routes=[{"name": "own", "respond": {"body": "second"}}])
    page.click("#reload")
    page.click("#reload-trial")
    page.confirm()
    assert "on trial" in page.said()[0]
    page.await_text("config-tools", lambda t: "Generation 2 is on trial" in t)
    assert "generation 1 is back" in page.text("verdict-list")
    page.click("#config-tools button")
    page.await_text("message-text", "Confirmed: the configuration stays.")
    wait_until(lambda: weir.admin.status()["trial"] is None)


# -- the cache and explain -----------------------------------------------------------------------------------------------------------

def test_a_purge_empties_the_cache(page, site, cache_origin):
    weir = site([{"name": "pages", "upstream": "origin", "cache": True}], {"origin": cache_origin.address})
    web = Cached(weir, cache_origin, "/page")
    web.store(fresh(b"page"))
    web.hit()
    page.show(weir)
    page.await_text("cache-objects", "1")
    page.fill("purge-what", "prefix")
    page.fill("purge-text", "http://t.example/")
    page.click("#purge button")
    page.confirm()
    assert page.said() == ["Purged: prefix t.example/", False]
    assert not web.is_stored()


def test_explain_is_a_form(page, site, http_backend):
    weir = site([{"name": "canary", "headers": {"X-Canary": "1"}, "upstream": "app"}, {"name": "rest", "respond": {"body": "x"}}], {"app": http_backend().address})
    page.show(weir)
    page.fill("explain-url", "http://t.example/x")
    page.fill("explain-headers", "X-Canary: 1\nX-Other: a:b")
    page.click("#explain-form button")
    page.await_text("explain-text", lambda t: "canary" in t and "app" in t)
    page.fill("explain-headers", "")
    page.click("#explain-form button")
    page.await_text("explain-text", lambda t: "rest" in t)


# -- the token -----------------------------------------------------------------------------------------------------------------------

def test_nothing_is_shown_without_the_token_and_it_is_in_no_address(page, site):
    weir = site(OK, admin={"token": "a-long-secret"})
    page.show(weir, token="asked for")
    page.await_text("state", "token asked for")
    assert page.run("done([...document.querySelectorAll('#all, #story')].map(e => e.checkVisibility()));") == [False, False]
    page.fill("token", "wrong")
    page.click("#login button")
    page.await_text("login-error", "That is not the token.")
    page.fill("token", "a-long-secret")
    page.click("#login button")
    page.await_text("state", "serving")
    page.click("#reload")
    page.confirm()
    assert page.said() == ["Reloaded; nothing changed.", False]
    assert not [u for u in page.requests() if "secret" in u]
    assert page.run("done([location.href, document.cookie, JSON.stringify(localStorage)].join());").count("secret") == 0
    assert page.run("done(JSON.stringify(sessionStorage));").count("a-long-secret") == 1


# -- text from outside ---------------------------------------------------------------------------------------------------------------

def test_text_from_outside_stays_text(page, site):
    bad = "<img/src=x/onerror=document.title='broken'>"
    weir = site([{"name": f"route {bad}", "upstream": "app"}], {"app": f"127.0.0.1:{free_port()}"})
    with weir.client() as client:
        client.get("/?q=" + bad, headers=[("X-Request-Id", "id" + bad.replace("/", "-")), ("User-Agent", bad)])
        client.send(f"GET /{bad} HTTP/1.1\r\nHost: t.example\r\nX-Request-Id: plain\r\n\r\n".encode())
        client.read_response("GET")
    page.show(weir)
    page.await_value(lambda: page.rows("failed-table"), lambda rows: len(rows) == 2 and bad in rows[0][2] and bad in rows[1][2])
    assert f"route {bad}" in page.row("routes-table", f"route {bad}")["Route"]
    weir.get("/again")
    page.await_text("verdict-list", lambda t: f"route {bad}" in t)
    page.run("location.hash = '#/request/plain'; done(null);")
    page.await_text("story-title", lambda t: bad in t)
    assert page.run("done([document.images.length, document.title.includes('broken')]);") == [0, False]
    assert page.faults() == [] and not [u for u in page.requests() if u.endswith("/x")]


# -- the API behind ------------------------------------------------------------------------------------------------------------------

def test_the_stream_is_of_bounded_size(site):
    upstreams = {f"u{i}": {"servers": [f"127.0.0.1:{10000 + k}" for k in range(100)]} for i in range(20)}
    routes = [{"name": f"r{i}", "path": f"/r{i}", "upstream": f"u{i % 20}"} for i in range(2000)]
    weir = site(routes, upstreams)
    with RawClient(weir.admin.port) as client:
        client.send(f"GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1:{weir.admin.port}\r\n\r\n".encode())
        seen = b""
        while b"event: status" not in seen or not seen.endswith(b"\n\n"):
            seen += client.sock.recv(65536)
    reading = json.loads(seen[seen.index(b"data: ", seen.index(b"event: status")) + 6:].split(b"\n")[0])
    assert (reading["servers"]["total"], len(reading["servers"]["rows"])) == (2000, 50)
    assert (reading["routes"]["total"], len(reading["routes"]["rows"])) == (2000, 50)
    assert len(seen) < 64_000


def test_lists_are_asked_for_by_what_matches(site, http_backend):
    backend = http_backend()
    weir = site([{"name": f"r{i}", "path": f"/p{i}", "upstream": "app"} for i in range(12)], {"app": {"servers": [backend.address, f"127.0.0.1:{free_port()}"]}, "other": backend.address})
    found = weir.admin.json("/api/v1/routes?match=R1&limit=2")
    assert [r["name"] for r in found["routes"]] == ["r1", "r10"] and (found["matched"], found["total"]) == (3, 12)
    assert len(weir.admin.json("/api/v1/routes?match=%2Fp3")["routes"]) == 1 and len(weir.admin.json("/api/v1/routes")["routes"]) == 12
    found = weir.admin.json(f"/api/v1/upstreams?match={backend.address}&limit=1")
    assert [u["name"] for u in found["upstreams"]] == ["app"] and (found["servers_matched"], found["servers_total"]) == (2, 3)
    assert len(weir.admin.json("/api/v1/upstreams")["upstreams"]) == 2


def test_the_api_tells_durations_reuse_and_handshakes(site, http_backend):
    backend = http_backend()
    weir = site([{"name": "app", "upstream": "app"}], {"app": backend.address})
    with weir.client() as client:
        for _ in range(10):
            client.get("/bytes/5")
    wait_until(lambda: weir.admin.status()["requests"] == 10)
    status, route, server = weir.admin.status(), weir.admin.json("/api/v1/routes")["routes"][0], server_of(weir, backend.address)
    for told in (status, route, server):
        assert sum(n for _, n in told["durations"]) == 10 and told["statuses"] == {"2xx": 10}, told
        assert [bound for bound, _ in told["durations"]][-1] == 0
    assert status["reuse_ratio"] == server["reuse_ratio"] == 0.9
    assert (status["in_flight"], status["queue"], status["handshakes"], route["in_flight"]) == (0, 0, {}, None)


def test_one_request_of_the_recorder_is_asked_for_by_its_id(site):
    weir = site([{"name": "gone", "upstream": "app"}], {"app": f"127.0.0.1:{free_port()}"})
    for path in ("/a", "/b"):
        weir.get(path, headers=[("X-Request-Id", "twice")])
    told = weir.admin.json("/api/v1/requests/twice")
    assert (told["target"], told["status"], told["route"], told["attempts"][0]["outcome"]) == ("/b", 502, "gone", "unreachable")
    assert weir.admin.request("GET", "/api/v1/requests/never").status == 404
    assert len(weir.admin.json("/api/v1/requests?limit=1")["failed"]) == 1
