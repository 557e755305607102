"""The admin interface and browsers: pages of other sites, names that were made to point here, and what answers say to browsers."""

import pytest

from harness import RawClient, get
from harness.admin_table import endpoints
from harness.control_socket import ControlSocket

OK = [{"name": "only", "split": {"a": 1, "b": 1}}]
UPSTREAMS = {"a": "10.1.1.1:80", "b": "10.1.1.2:80"}
READS = ["/", "/api/v1/status", "/api/v1/upstreams", "/api/v1/routes", "/api/v1/events", "/api/v1/requests"]


@pytest.fixture(scope="module")
def open_site(module_site):
    """No token is asked for."""
    weir = module_site(OK, UPSTREAMS)
    weir.control = ControlSocket(weir.socket_file)
    return weir


@pytest.fixture(scope="module")
def guarded(module_site):
    return module_site(OK, UPSTREAMS, admin={"token": "s3cret"})


# Names that were made to point here.

@pytest.mark.parametrize("host", ["evil.example", "evil.example:9900", "127.0.0.1.evil.example", "localhost.evil.example", "2130706433", "0x7f.1",
                                  "127.1", "[::1].evil.example", "weir"])
@pytest.mark.parametrize("path", READS)
def test_without_a_token_nothing_is_told_under_a_name(open_site, host, path):
    answer = get(open_site.port("admin"), path, host=host)
    assert answer.status in (400, 403) and "10.1.1.1" not in answer.text, answer.body
    if answer.status == 403:
        assert "admin.token" in answer.text  # what to do


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:9900", "localhost", "LocalHost:9900", "[::1]", "[::1]:9900", "10.0.0.7:9900", "192.168.1.1"])
def test_without_a_token_addresses_and_localhost_are_told(open_site, host):
    assert get(open_site.port("admin"), "/api/v1/upstreams", host=host).status == 200


@pytest.mark.parametrize("path", ["/metrics", "/health"])
def test_metrics_and_health_are_told_under_any_name(open_site, path):
    assert get(open_site.port("admin"), path, host="weir.monitoring.svc:9900").status == 200


def test_with_the_token_any_name_will_do(guarded):
    right = [("Authorization", "Bearer s3cret")]
    assert get(guarded.port("admin"), "/api/v1/upstreams", right, host="weir.example").status == 200
    assert get(guarded.port("admin"), "/api/v1/upstreams", host="127.0.0.1").status == 401


# Pages of other sites.

FOREIGN = {
    "another origin": [("Origin", "http://evil.example")],
    "an origin of the same host": [("Origin", "http://127.0.0.1:1")],
    "an opaque origin": [("Origin", "null")],
    "a cross-site fetch": [("Sec-Fetch-Site", "cross-site")],
    "a same-site fetch": [("Sec-Fetch-Site", "same-site")],
    "two origins": [("Origin", "http://127.0.0.1:9900"), ("Origin", "http://evil.example")],
}
CHANGES = [e for e in endpoints() if e.changes]


@pytest.mark.parametrize("form", FOREIGN)
def test_a_page_of_another_site_changes_nothing(open_site, form):
    before = open_site.control.state()
    for e in CHANGES:
        target = e.target("a", "10.1.1.1:80") if e.argument_count == 2 else e.target("a" if "upstreams" in e.path else "only") if e.argument_count else e.path
        for body in (b'{"all": true, "state": "down", "split": {"a": 0, "b": 1}}', b"{}", b'{"address": "10.9.9.9:1"}'):
            answer = get(open_site.port("admin"), target, [*FOREIGN[form], ("Content-Type", "application/json")], method=e.method, body=body,
                         host="127.0.0.1:9900")
            assert answer.status == 403, (e, answer.body)
    assert open_site.control.state() == before


@pytest.mark.parametrize("kind", ["text/plain", "text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
                                  "application/jsonx", "application/json-seq", "text/html", ""])
def test_what_a_form_could_send_is_not_taken_for_json(open_site, kind):
    before = open_site.control.state()
    answer = get(open_site.port("admin"), "/api/v1/upstreams/a/servers/10.1.1.1:80", [("Content-Type", kind)], method="PATCH", body=b'{"state": "down"}',
                 host="127.0.0.1")
    assert answer.status == 415 and answer["accept"] == "application/json" and "--json" in answer.text
    assert open_site.control.state() == before


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON", "application/json; charset=utf-8", "application/json ;x=y", None])
def test_json_is_taken(open_site, kind):
    answer = get(open_site.port("admin"), "/api/v1/explain", [("Content-Type", kind)] if kind else [], method="POST", body=b'{"url": "http://x/"}',
                 host="127.0.0.1")
    assert answer.status == 200, answer.body


def test_a_page_of_the_same_site_is_let_in(open_site):
    own = f"127.0.0.1:{open_site.port('admin')}"
    answer = get(open_site.port("admin"), "/api/v1/reload", [("Origin", f"http://{own}"), ("Sec-Fetch-Site", "same-origin")], method="POST", body=b"", host=own)
    assert answer.status == 200


def test_no_answer_lets_other_sites_in(open_site):
    origin = [("Origin", "http://evil.example")]
    preflight = [*origin, ("Access-Control-Request-Method", "PATCH"), ("Access-Control-Request-Headers", "authorization")]
    for method, path, headers in [("GET", "/metrics", origin), ("GET", "/api/v1/status", origin), ("OPTIONS", "/api/v1/reload", preflight),
                                  ("OPTIONS", "/metrics", preflight), ("POST", "/api/v1/reload", origin)]:
        answer = get(open_site.port("admin"), path, headers, method=method, host="127.0.0.1")
        assert not [name for name, _ in answer.fields if name.lower().startswith("access-control-")]


# What every answer says.

@pytest.mark.parametrize("method,path,status", [
    ("GET", "/", 200), ("GET", "/metrics", 200), ("GET", "/health", 200), ("GET", "/api/v1/status", 200), ("HEAD", "/api/v1/status", 200),
    ("GET", "/nothing", 404), ("DELETE", "/metrics", 405), ("GET", "/api/v1/events", 200), ("GET", "/bad%zz", 404)])
def test_every_answer_is_closed_to_others(open_site, method, path, status):
    with RawClient(open_site.port("admin")) as client:
        client.send_request(method, path, host="127.0.0.1")
        code, _, _, fields, _ = client.read_head()
    assert code == status
    assert fields.get("x-content-type-options") == "nosniff" and fields.get("cache-control") == "no-store"
    assert fields.get("referrer-policy") == "no-referrer" and fields.get("x-frame-options") == "DENY"
    assert fields.get("cross-origin-resource-policy") == "same-origin"
    policy = fields.get("content-security-policy")
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert fields.get("server") == "weir"


def test_what_cannot_be_read_is_answered_so_too(open_site):
    with RawClient(open_site.port("admin")) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        answer = client.read_response()
    assert answer.status == 400 and answer["x-content-type-options"] == "nosniff" and answer["content-type"] == "application/problem+json"
