"""The admin listener: metrics and their values, health, the API, its token."""

import json
import re

import pytest

from harness import RawServer, Reply, free_port, get, wait_until
from harness.admin import find
from harness.raw_client import trusting

OK = [{"name": "only", "respond": {"status": 200, "body": "ok"}}]


@pytest.fixture
def busy(site, http_backend):
    """A weir that has served 3 x 200 and 1 x 404 through an upstream, and 1 x 200 by itself."""
    backend = http_backend()
    weir = site([{"name": "app", "upstream": "app"}, {"name": "own", "path": "/own", "respond": {"body": "own"}}], {"app": backend.address})
    with weir.client() as client:
        for target in ("/bytes/1000", "/bytes/1000", "/bytes/1000", "/status/404", "/own"):
            client.get(target)
    # An answer may be here before it is counted.
    wait_until(lambda: weir.admin.metrics().sum("weir_requests_total", listener="web") == 5)
    weir.backend = backend
    return weir


# -- metrics -------------------------------------------------------------------------------------------------------------------

def test_every_metric_begins_weir_and_has_a_type(busy):
    metrics = busy.admin.metrics()
    assert metrics.samples
    for name in metrics.names():
        assert name.startswith("weir_")
        base = name
        for suffix in ("_bucket", "_sum", "_count"):
            base = base.removesuffix(suffix) if base.removesuffix(suffix) in metrics.types else base
        assert base in metrics.types, name


def test_the_exposition_says_its_type(busy):
    assert busy.admin.request("GET", "/metrics")["content-type"].startswith("text/plain")


def test_requests_are_counted_by_listener_route_and_status(busy):
    metrics = busy.admin.metrics()
    assert metrics.sum("weir_requests_total", listener="web", route="app", status=200) == 3
    assert metrics.sum("weir_requests_total", listener="web", route="app", status=404) == 1
    assert metrics.sum("weir_requests_total", listener="web", route="own", status=200) == 1


def test_request_durations_are_a_histogram(busy):
    metrics = busy.admin.metrics()
    assert metrics.types["weir_request_duration_seconds"] == "histogram"
    assert metrics.sum("weir_request_duration_seconds_count", listener="web", route="app") == 4
    buckets = [(float(l["le"].replace("+Inf", "inf")), v) for l, v in metrics.matching("weir_request_duration_seconds_bucket", listener="web", route="app")]
    buckets.sort()
    assert buckets[-1] == (float("inf"), 4) and [v for _, v in buckets] == sorted(v for _, v in buckets)
    assert 0 <= metrics.sum("weir_request_duration_seconds_sum", route="app") < 10


def test_connections_are_counted_open_and_in_all(site):
    weir = site(OK)
    clients = [weir.client() for _ in range(3)]
    for client in clients:
        client.get()
    metrics = weir.admin.metrics()
    assert metrics.sum("weir_connections", listener="web") == 3
    assert metrics.sum("weir_connections_total", listener="web") == 3 or metrics.sum("weir_connections_total") >= 3
    for client in clients:
        client.close()
    wait_until(lambda: weir.admin.metrics().sum("weir_connections", listener="web") == 0)


def test_bytes_are_counted_by_direction(busy):
    series = busy.admin.metrics().matching("weir_bytes_total", listener="web")
    assert len({l["direction"] for l, _ in series}) == 2
    assert max(v for _, v in series) >= 3000


def test_upstream_requests_and_durations_are_counted(busy):
    metrics = busy.admin.metrics()
    address = busy.backend.address
    assert metrics.sum("weir_upstream_requests_total", upstream="app", server=address, status=200) == 3
    assert metrics.sum("weir_upstream_requests_total", upstream="app", server=address, status=404) == 1
    assert metrics.sum("weir_upstream_duration_seconds_count", upstream="app") == 4


def test_upstream_up_and_connections_are_shown(busy):
    metrics = busy.admin.metrics()
    assert metrics.sum("weir_upstream_up", upstream="app", server=busy.backend.address) == 1
    states = {l["state"]: v for l, v in metrics.matching("weir_upstream_connections", upstream="app", server=busy.backend.address)}
    assert states.get("idle") == 1 and sum(states.values()) == 1


def test_retries_are_counted(site, http_backend):
    backend = http_backend()
    weir = site([{"upstream": "app"}], {"app": {"servers": [f"127.0.0.1:{free_port()}", backend.address]}}, workers=1)
    for _ in range(4):
        assert weir.get().status == 200
    weir.await_metric("weir_retries_total", lambda n: n >= 1, upstream="app")


def test_reloads_and_their_failures_are_counted(site):
    weir = site(OK)
    before = weir.admin.metrics()
    weir.reload()
    weir.change(routes=[{"upstream": "missing"}])
    weir.admin.reload()
    after = weir.admin.metrics()
    assert after.sum("weir_config_reloads_total") == before.sum("weir_config_reloads_total") + 1
    assert after.sum("weir_config_reload_failures_total") == before.sum("weir_config_reload_failures_total") + 1


def test_handshakes_and_certificates_are_shown(site, authority, localhost_cert):
    weir = site(OK, listeners={"web": {"tls": {"certificates": [{"cert": localhost_cert[0], "key": localhost_cert[1]}]}}})
    get(weir.port(), tls=trusting(authority.file), server_name="localhost")
    metrics = weir.admin.metrics()
    assert metrics.sum("weir_tls_handshakes_total", listener="web") == 1
    expiry = metrics.matching("weir_tls_certificate_expiry_seconds")
    assert expiry and 80 * 86400 < expiry[0][1]


def test_metric_labels_are_escaped(site):
    weir = site([{"name": 'a"b\\c', "respond": {"body": "x"}}])
    weir.get()
    weir.await_metric("weir_requests_total", 1, status=200)


# -- API ---------------------------------------------------------------------------------------------------------------------------

def test_health_is_ok(busy):
    answer = busy.admin.health()
    assert (answer.status, answer.text.strip()) == (200, "ok")


def test_status_tells_version_uptime_workers_connections_and_configuration(busy):
    status = busy.admin.status()
    text = json.dumps(status).lower()
    for word in ("version", "uptime", "workers", "connections", "generation", "weir.yaml"):
        assert word in text, word


def test_the_generation_grows_with_a_reload(busy):
    before = busy.admin.status()
    busy.reload()
    assert busy.admin.status() != before


def test_listeners_are_shown(busy):
    listeners = busy.admin.json("/api/v1/listeners")
    assert find(listeners, name="web") or "web" in listeners
    assert f"127.0.0.1:{busy.port()}" in json.dumps(listeners)


def test_routes_are_shown(busy):
    routes = busy.admin.json("/api/v1/routes")
    assert find(routes, name="app") and find(routes, name="own")


def test_upstreams_and_their_servers_are_shown(busy):
    upstreams = busy.admin.upstreams()
    assert find(upstreams, name="app") or "app" in upstreams
    assert find(upstreams, address=busy.backend.address), upstreams


def test_upstreams_show_a_server_that_is_down(site, http_backend):
    backend = http_backend(handler=lambda r: Reply(status="500 X"))
    check = {"type": "http", "path": "/", "interval": "100ms", "timeout": "1s", "rise": 1, "fall": 1}
    weir = site([{"upstream": "app"}], {"app": {"servers": [backend.address], "health_check": check}})
    up = json.dumps(weir.admin.upstreams())
    wait_until(lambda: weir.admin.server_is_up("app", backend.address) is False)
    assert '"down"' in json.dumps(weir.admin.upstreams()) or json.dumps(weir.admin.upstreams()) != up


def test_an_unknown_path_is_a_404(busy):
    assert busy.admin.request("GET", "/api/v1/nothing").status == 404


@pytest.mark.parametrize("method,path", [("DELETE", "/api/v1/status"), ("GET", "/api/v1/reload"), ("POST", "/metrics")])
def test_a_wrong_method_is_a_405(busy, method, path):
    assert busy.admin.request(method, path).status in (404, 405)


def test_reload_answers_200_or_422_with_the_errors(site):
    weir = site(OK)
    assert weir.admin.reload().status == 200
    weir.change(routes=[{"upstream": "missing"}])
    answer = weir.admin.reload()
    assert answer.status == 422 and "missing" in answer.text and "routes[0].upstream" in answer.text


def test_explain_tells_route_and_upstream(busy):
    answer = busy.admin.request("POST", "/api/v1/explain", {"method": "GET", "url": "http://t.example/x"})
    assert answer.status == 200 and "app" in answer.text


def explained(weir, headers=None, client=None):
    question = {"method": "GET", "url": "http://t.example/x", "headers": headers or {}, **({"client": client} if client else {})}
    answer = weir.admin.request("POST", "/api/v1/explain", question)
    assert answer.status == 200, answer.text
    return json.loads(answer.body)["text"]


def test_explain_tells_the_server_that_has_fewest_in_flight(site, server):
    """The one in flight is at the first server that was picked; the second is told, as often as one asks."""
    with RawServer() as other:
        weir = site([{"upstream": "app"}], {"app": {"servers": [server.address, other.address], "balance": "least_connections"}}, workers=1)
        with weir.client() as client:
            client.send_request("GET", "/")
            both = {server.address: server, other.address: other}
            busy = wait_until(lambda: next((a["address"] for a in weir.admin.upstreams()["upstreams"][0]["servers"] if a["in_flight"]), None))
            [idle] = set(both) - {busy}
            for _ in range(5):
                text = explained(weir)
                assert f"would pick {idle} (least_connections: 0 in flight of weight 1)" in text
                assert re.search(rf"{busy}, up, 1 in flight", text)
            with both[busy].accept() as backend:
                backend.read_request()
                backend.respond()
            assert client.read_response("GET").status == 200


def test_explain_tells_the_server_of_a_key(site, http_backend):
    backends = [http_backend() for _ in range(5)]
    weir = site([{"upstream": "app"}], {"app": {"servers": [b.address for b in backends], "balance": "maglev", "hash_key": "header:x-user"}})
    for i in range(8):
        picked = re.search(r"would pick (\S+) \(maglev: by the request's key, ", explained(weir, {"x-user": f"u{i}"}))[1]
        backend = next(b for b in backends if b.address == picked)
        backend.forget()
        weir.get("/bytes/1", headers=[("X-User", f"u{i}")])
        assert len(backend.requests) == 1


def test_explain_says_why_no_server_is_picked(site, http_backend):
    backend = http_backend()
    weir = site([{"upstream": "app"}], {"app": backend.address})
    assert f"would pick {backend.address} (round_robin: it is its turn, " in explained(weir)
    weir.admin.request("PATCH", f"/api/v1/upstreams/app/servers/{backend.address}", {"state": "down"})
    assert "would pick none: " in explained(weir)


def test_explain_sends_nothing(busy):
    count = len(busy.backend.requests)
    busy.admin.request("POST", "/api/v1/explain", {"method": "GET", "url": "http://t.example/x"})
    assert len(busy.backend.requests) == count


def test_many_requests_on_one_admin_connection(busy):
    with busy.client("admin") as client:
        for _ in range(20):
            assert client.get("/health").status == 200
            assert client.get("/metrics").status == 200


def test_a_hostile_admin_client_is_refused(busy):
    with busy.client("admin") as client:
        client.send_quietly(b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        assert client.read_response().status == 400
    with busy.client("admin") as client:
        client.send_quietly(b"POST /api/v1/reload HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n")
        client.half_close()
        client.read_to_end()
    assert busy.admin.health().status == 200


# -- token --------------------------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def guarded(module_site):
    return module_site(OK, admin={"token": "s3cret"})


@pytest.mark.parametrize("path", ["/metrics", "/health"])
def test_metrics_and_health_need_no_token(guarded, path):
    assert guarded.admin.request("GET", path, token=False).status == 200


@pytest.mark.parametrize("method,path", [("GET", "/"), ("GET", "/api/v1/status"), ("GET", "/api/v1/routes"), ("GET", "/api/v1/listeners"),
                                         ("GET", "/api/v1/upstreams"), ("POST", "/api/v1/reload"), ("POST", "/api/v1/explain"),
                                         ("GET", "/metrics/../api/v1/status"), ("GET", "//api/v1/status")])
def test_everything_else_needs_the_token(guarded, method, path):
    answer = guarded.admin.request(method, path, token=False)
    odd = path.startswith(("//", "/metrics"))
    assert answer.status in ((400, 401, 403, 404) if odd else (401, 403))


@pytest.mark.parametrize("value", ["Bearer wrong", "Bearer s3cre", "Bearer s3cretx", "Bearer ", "s3cret", "Basic s3cret", "Bearer S3CRET"])
def test_a_wrong_token_is_refused(guarded, value):
    assert get(guarded.port("admin"), "/api/v1/status", [("Authorization", value)]).status in (401, 403)


def test_the_right_token_opens(guarded):
    assert guarded.admin.status()
    assert guarded.admin.reload().status == 200


def test_the_command_line_needs_no_token(guarded):
    assert guarded.cli("status").returncode == 0
