"""Without the token nothing but /metrics and /health says or does anything: every endpoint of the table, by every method, with
everything that looks like a token and is none; the state before and after is read over the control socket."""

import base64
import itertools
import json

import pytest

from harness import RawClient, wait_until
from harness.admin_table import endpoints
from harness.control_socket import ControlSocket
from harness.raw_client import get

TOKEN = "S3cret.Token~42"
SECRETS = ("10.1.1.1", "weir.yaml", "blue", "green")  # words of the configuration, which no refusal may tell

TABLE = endpoints()
CLOSED = [e for e in TABLE if not e.is_open and e.path != "/"]
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")

# What each endpoint would have to be told so that something would happen.
BODIES = {
    "PATCH /api/v1/routes/{*}": {"split": {"blue": 7, "green": 93}},
    "PATCH /api/v1/upstreams/{}/servers/{*}": {"state": "down", "weight": 9},
    "POST /api/v1/upstreams/{}/servers": {"address": "127.0.0.1:9"},
    "POST /api/v1/cache/purge": {"all": True},
    "POST /api/v1/explain": {"url": "http://t.example/"},
}

_sources = itertools.count(1)


def source():
    """An address of its own for each try: a client that shows wrong tokens is soon not listened to."""
    n = next(_sources)
    return f"127.{10 + n // 65025}.{n // 255 % 255}.{1 + n % 254}"


@pytest.fixture(scope="module")
def guarded(module_site, module_origin):
    weir = module_site([{"name": "app", "path": "/app", "split": {"blue": 50, "green": 50}},
                        {"name": "cached", "upstream": "origin", "cache": True}],
                       {"blue": "10.1.1.1:80", "green": "10.1.1.2:80", "origin": module_origin.address}, admin={"token": TOKEN})
    weir.get("/page")
    weir.control = ControlSocket(weir.socket_file)
    wait_until(lambda: weir.control.state()["cache"]["objects"] == 1)
    # A reload would have an effect that is seen.
    weir.change(routes=weir.config["routes"] + [{"name": "new", "path": "/new", "respond": {"body": "x"}}])
    return weir


def targets(e):
    if e.argument_count == 2:
        return e.target("blue", "10.1.1.1:80")
    return e.target("blue" if "upstreams" in e.path else "app") if e.argument_count else e.path


def ask(weir, e, method=None, headers=(), query=""):
    body = BODIES.get(f"{e.method} {e.path}", {})
    method = method or e.method
    with RawClient(weir.port("admin"), source=source()) as client:
        data = None if method in ("GET", "HEAD", "TRACE") else json.dumps(body).encode()
        extra = [("Content-Type", "application/json")] if data else []
        client.send_request(method, targets(e) + query, [*headers, *extra], data, host=f"127.0.0.1:{weir.port('admin')}")
        return client.read_response(method)


def assert_says_nothing(answer, e, method="GET"):
    assert answer.status == 401, (e, method, answer.status, answer.body)
    assert answer["www-authenticate"].startswith('Bearer realm="weir"')
    assert answer["cache-control"] == "no-store"
    for word in SECRETS:
        assert word not in answer.text, (e, word)
    if method != "HEAD":
        assert set(json.loads(answer.body)) == {"type", "title", "status", "detail"}


NO_TOKENS = {
    "none": ([], ""),
    "empty": ([("Authorization", "")], ""),
    "a scheme alone": ([("Authorization", "Bearer")], ""),
    "a scheme and a space": ([("Authorization", "Bearer ")], ""),
    "wrong": ([("Authorization", "Bearer wrong")], ""),
    "cut": ([("Authorization", "Bearer " + TOKEN[:-1])], ""),
    "longer": ([("Authorization", "Bearer " + TOKEN + "2")], ""),
    "a word behind": ([("Authorization", f"Bearer {TOKEN} x")], ""),
    "wrong case": ([("Authorization", "Bearer " + TOKEN.swapcase())], ""),
    "quoted": ([("Authorization", f'Bearer "{TOKEN}"')], ""),
    "two spaces": ([("Authorization", f"Bearer  {TOKEN}")], ""),
    "a tab": ([("Authorization", f"Bearer\t{TOKEN}")], ""),
    "no scheme": ([("Authorization", TOKEN)], ""),
    "another scheme": ([("Authorization", f"Token {TOKEN}")], ""),
    "a digest": ([("Authorization", f'Digest username="admin", token="{TOKEN}"')], ""),
    "basic": ([("Authorization", "Basic " + base64.b64encode(f"admin:{TOKEN}".encode()).decode())], ""),
    "basic as it is": ([("Authorization", f"Basic {TOKEN}")], ""),
    "two fields": ([("Authorization", f"Bearer {TOKEN}"), ("Authorization", f"Bearer {TOKEN}")], ""),
    "a wrong one first": ([("Authorization", "Bearer x"), ("Authorization", f"Bearer {TOKEN}")], ""),
    "a list": ([("Authorization", f"Bearer x, Bearer {TOKEN}")], ""),
    "for a proxy": ([("Proxy-Authorization", f"Bearer {TOKEN}")], ""),
    "in another field": ([("X-Auth-Token", TOKEN), ("X-Api-Key", TOKEN)], ""),
    "in a cookie": ([("Cookie", f"token={TOKEN}; weir={TOKEN}; authorization=Bearer {TOKEN}")], ""),
    "in the query": ([], f"?token={TOKEN}&access_token={TOKEN}"),
    "percent-encoded": ([("Authorization", "Bearer " + "".join(f"%{ord(c):02x}" for c in TOKEN))], ""),
    "as if it came by the control socket": ([("X-Forwarded-For", "127.0.0.1"), ("Forwarded", "for=unix:"), ("Via", "unix")], ""),
}


@pytest.mark.parametrize("form", NO_TOKENS)
def test_what_is_not_the_token_opens_nothing(guarded, form):
    headers, query = NO_TOKENS[form]
    before = guarded.control.state()
    for e in CLOSED:
        assert_says_nothing(ask(guarded, e, headers=headers, query=query), e, e.method)
    assert guarded.control.state() == before


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("form", ["none", "wrong"])
def test_no_method_opens_anything(guarded, method, form):
    headers, query = NO_TOKENS[form]
    before = guarded.control.state()
    for e in CLOSED:
        assert_says_nothing(ask(guarded, e, method, headers, query), e, method)
    assert guarded.control.state() == before


@pytest.mark.parametrize("path", [
    "/api/v1/nothing", "/nothing", "//api/v1/status", "/metrics/../api/v1/status", "/health/..%2fapi/v1/status", "/api//v1/status",
    "/%61pi/v1/status", "/API/V1/STATUS", "/api/v1/status/", "/api/v1/status;x", "/api/v1/status%00", "/metrics/", "/metrics/x",
    "/health;/../api/v1/status", "/.", "/..", "/api/v1/status%2f", "*"])
def test_no_path_leads_around(guarded, path):
    method = "OPTIONS" if path == "*" else "GET"
    answer = get(guarded.port("admin"), path, method=method, source=source())
    assert answer.status in (400, 401), answer.body
    assert not any(word in answer.text for word in SECRETS)


@pytest.mark.parametrize("host", ["127.0.0.1", "metrics", "health"])
def test_an_absolute_target_leads_nowhere_else(guarded, host):
    assert get(guarded.port("admin"), f"http://{host}/api/v1/status", host=host, source=source()).status == 401
    assert get(guarded.port("admin"), f"http://{host}/metrics", host=host, source=source()).status == 200
    assert get(guarded.port("admin"), f"http://{host}?/metrics", host=host, source=source()).status == 401


@pytest.mark.parametrize("e", [e for e in TABLE if e.is_open], ids=lambda e: e.path)
def test_what_is_open_is_open_whatever_is_shown(guarded, e):
    for headers in ([], [("Authorization", "Bearer wrong")], [("Authorization", f"Bearer {TOKEN}")]):
        assert ask(guarded, e, headers=headers).status == 200


def test_only_metrics_and_health_are_open():
    assert {e.path for e in TABLE if e.is_open} == {"/metrics", "/health"}
    assert all(e.method == "GET" and not e.changes for e in TABLE if e.is_open)


def test_whatever_is_no_get_says_that_it_changes_something_or_is_known_not_to():
    assert {e.path for e in TABLE if e.method != "GET" and not e.changes and not e.is_local} <= {"/api/v1/explain", "/api/v1/diff"}
    assert not [e for e in TABLE if e.method == "GET" and e.changes]


def test_the_dashboards_page_holds_no_data(guarded):
    answer = get(guarded.port("admin"), "/", source=source())
    assert answer.status == 401 and answer["content-type"].startswith("text/html")
    assert "10.1.1.1" not in answer.text and "/app" not in answer.text
    assert get(guarded.port("admin"), "/", [("Authorization", "Bearer wrong")], source=source())["content-type"] == "application/problem+json"


@pytest.mark.parametrize("value", [f"Bearer {TOKEN}", f"bearer {TOKEN}", f"BEARER {TOKEN}"])
def test_the_right_token_opens(guarded, value):
    """The scheme is without case (RFC 9110 §11.1); space around a field's value is none of it (§5.5)."""
    for sent in (value, value + " ", " " + value + "\t"):
        assert get(guarded.port("admin"), "/api/v1/status", [("Authorization", sent)], source=source()).status == 200


def test_the_right_token_does_not_open_what_is_the_control_sockets(guarded):
    local = [e for e in TABLE if e.is_local]
    assert local
    before = guarded.control.state()
    for e in local:
        assert ask(guarded, e, headers=[("Authorization", f"Bearer {TOKEN}")]).status == 403
    assert guarded.control.state() == before


def test_a_body_is_not_asked_for_before_the_token(guarded):
    with guarded.client("admin", source=source()) as client:
        client.send(b"POST /api/v1/reload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n")
        answer = client.read_response("POST")
        assert answer.status == 401 and not answer.interim and answer.will_close


def test_a_body_is_not_awaited_before_the_token(guarded):
    with guarded.client("admin", source=source()) as client:
        client.send(b"POST /api/v1/reload HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc")
        assert client.read_response("POST").status == 401


def test_an_old_token_that_is_shown_again_and_again_locks_nobody_out(guarded):
    mine = "127.200.0.3"
    for n in range(120):
        old = get(guarded.port("admin"), "/api/v1/status", [("Authorization", f"Bearer old-{n % 3}")], source=mine)
        assert old.status == 401, n
    assert get(guarded.port("admin"), "/api/v1/status", [("Authorization", f"Bearer {TOKEN}")], source=mine).status == 200


def test_who_shows_many_wrong_tokens_is_not_listened_to(guarded):
    mine = "127.200.0.1"
    statuses = [get(guarded.port("admin"), "/api/v1/status", [("Authorization", f"Bearer {n}")], source=mine).status for n in range(40)]
    assert statuses[:20] == [401] * 20 and 429 in statuses
    # Neither with the right one; the dashboard's page is no way around, and others are not held up.
    for n in range(100):
        guess = get(guarded.port("admin"), "/", [("Authorization", f"Bearer x{n}")], source=mine)
        if guess.status == 429:
            break
    right = [("Authorization", f"Bearer {TOKEN}")]
    refused = get(guarded.port("admin"), "/api/v1/status", right, source=mine)
    assert refused.status == 200 or (refused.status == 429 and refused["retry-after"] == "1" and "control socket" in refused.text)
    assert get(guarded.port("admin"), "/api/v1/status", right, source="127.200.0.2").status == 200
    assert get(guarded.port("admin"), "/metrics", source=mine).status == 200
    # Tries come back.
    wait_until(lambda: get(guarded.port("admin"), "/api/v1/status", right, source=mine).status == 200)


def test_refusals_are_counted_by_reason(guarded):
    def counted():
        return {labels["reason"]: n for labels, n in guarded.admin.metrics().matching("weir_admin_refused_total")}
    before = counted()
    assert set(before) == {"no_token", "wrong_token", "too_many_tries", "host", "other_site", "control_socket_only"}
    right = ("Authorization", f"Bearer {TOKEN}")
    get(guarded.port("admin"), "/api/v1/status", source=source())
    get(guarded.port("admin"), "/api/v1/status", [("Authorization", "Bearer x")], source=source())
    get(guarded.port("admin"), "/api/v1/stop", [right], method="POST", body=b"", source=source())
    get(guarded.port("admin"), "/api/v1/reload", [right, ("Origin", "http://evil.example")], method="POST", body=b"", source=source())
    after = counted()
    assert {k: after[k] - before[k] for k in after} == {"no_token": 1, "wrong_token": 1, "too_many_tries": 0, "host": 0, "other_site": 1,
                                                        "control_socket_only": 1}


def test_wrong_tokens_are_logged_without_what_was_shown(guarded):
    guarded.await_log("a wrong token was shown to the admin interface", "client=127.")
    assert TOKEN not in guarded.log() and "wrong-secret-thing" not in guarded.log()
    for _ in range(20):
        get(guarded.port("admin"), "/api/v1/status", [("Authorization", "Bearer wrong-secret-thing")], source="127.201.0.1")
    guarded.await_log("client=127.201.0.1")
    assert "wrong-secret-thing" not in guarded.log() and guarded.log().count("client=127.201.0.1 ") < 20
