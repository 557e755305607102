"""`tracing`: W3C Trace Context towards servers, and spans to a collector that records them."""

import json
import math
import re
import threading
import time

import pytest

from harness import Answer, DnsServer, Gate, Reply, fresh, wait_until
from harness.collector import Collector
from harness.http_backend import HttpBackend
from harness.ports import free_port
from harness.raw_server import serving
from harness.weir import run_cli
from test_h2 import H2

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"
WELL_FORMED = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-(0[0-3])\Z")
UPGRADE = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")]


@pytest.fixture
def collector():
    made = Collector()
    yield made
    made.close()


@pytest.fixture
def backend(http_backend):
    return http_backend("backend")


def tracing(collector, **options):
    return {"endpoint": collector.url, "sample": "100%", "interval": "100ms", **options}


@pytest.fixture
def traced(site, collector, backend):
    """start(**tracing's options) -> a weir in front of the backend, which tells the collector everything."""
    def start(routes=None, upstreams=None, listeners=None, top=None, **options):
        return site(routes or [{"name": "api", "path": "/v1/", "upstream": "app"}, {"name": "rest", "upstream": "app"}],
                    upstreams or {"app": backend.address}, listeners, tracing=tracing(collector, **options), **(top or {}))
    return start


def parent_of(request):
    """(trace, span, flags) of what a server was told."""
    told = [v for n, v in request.fields if n.lower() == "traceparent"]
    assert len(told) == 1, request.fields
    found = WELL_FORMED.match(told[0])
    assert found, told
    return found.groups()


def trace_ids(request):
    return parent_of(request)[:2]


def result(weir, name):
    return weir.admin.metrics().sum("weir_trace_spans_total", result=name)


def asks(weir, count, target="/", **options):
    with weir.client() as client:
        for _ in range(count):
            assert client.get(target, **options).status == 200


# -- what is told of a request -----------------------------------------------------------------------------------------------------

def test_a_request_is_a_span_and_its_attempt_another_whose_id_the_server_gets(traced, collector, backend):
    weir = traced()
    answer = weir.get("/v1/users?token=secret", headers=[("User-Agent", "test/1"), ("X-Request-Id", "r-1")], host="t.example:8080")
    assert answer.status == 200
    server, (client,) = collector.trace()
    assert trace_ids(backend.requests[0]) == (server.trace, client.id) and parent_of(backend.requests[0])[2] == "01"
    assert server.parent is None and server.name == "GET /v1/" and not server.failed
    assert server.attributes == {
        "http.request.method": "GET", "url.scheme": "http", "url.path": "/v1/users", "http.route": "/v1/",
        "server.address": "t.example", "server.port": 8080, "client.address": "127.0.0.1", "network.protocol.name": "http",
        "network.protocol.version": "1.1", "user_agent.original": "test/1", "http.response.status_code": 200,
        "http.request.body.size": 0, "http.response.body.size": len(answer.body), "weir.route": "api", "weir.listener": "web",
        "weir.upstream": "app", "weir.termination": "complete", "weir.request_id": "r-1", "weir.attempts": 1}
    assert client.name == "GET" and not client.failed
    assert client.attributes == {
        "http.request.method": "GET", "url.full": f"http://127.0.0.1:{backend.port}/v1/users", "server.address": "127.0.0.1",
        "server.port": backend.port, "http.response.status_code": 200, "weir.upstream": "app", "weir.server": backend.address,
        "weir.connection.reused": False}
    assert server.start <= client.start <= client.end <= server.end
    assert list(client.events) == ["connected", "request sent", "response head"]
    assert sorted(client.events.values()) == list(client.events.values())
    assert client.start <= min(client.events.values()) and max(client.events.values()) <= client.end
    assert "secret" not in json.dumps([s.raw for s in collector.spans])
    assert server.raw["flags"] == 0x101 and client.raw["flags"] == 0x101


def test_the_resource_says_who_tells_it(traced, collector):
    weir = traced(service="edge", attributes={"deployment.environment.name": 'sta"g\\ing', "host.name": "mine", 'odd"name\n': "é"})
    weir.get()
    resource = collector.wait(2)[0].resource
    assert (resource["service.name"], resource["deployment.environment.name"], resource["host.name"]) == ("edge", 'sta"g\\ing', "mine")
    assert resource['odd"name\n'] == "é"
    assert resource["process.pid"] == weir.pid and resource["service.version"]


def test_a_parent_is_taken_up_and_its_state_passed_on(traced, collector, backend):
    weir = traced()
    weir.get(headers=[("traceparent", PARENT), ("Tracestate", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE")])
    server, (client,) = collector.trace()
    assert (server.trace, server.parent) == (TRACE, SPAN) and server.raw["flags"] == 0x301
    assert trace_ids(backend.requests[0]) == (TRACE, client.id)
    assert backend.requests[0]["tracestate"] == "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"
    assert server.raw["traceState"] == client.raw["traceState"] == "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"


# The cases are those that the specification's §3.2.2 and §4.3 tell of.
@pytest.mark.parametrize("value", [
    "", "00", "00-", f"00-{TRACE}", f"00-{TRACE}-{SPAN}", f"00-{TRACE}-{SPAN}-", f"00-{TRACE}-{SPAN}-1", f"00-{TRACE}-{SPAN}-011",
    f"00-{TRACE}-{SPAN}-01-", f"00-{TRACE}-{SPAN}-01-what", f"ff-{TRACE}-{SPAN}-01", f"FF-{TRACE}-{SPAN}-01", f"0-{TRACE}-{SPAN}-01",
    f"000-{TRACE}-{SPAN}-01", f"0x-{TRACE}-{SPAN}-01", f".0-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01.what", f"cc-{TRACE}-{SPAN}-011",
    f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE.upper()}-{SPAN}-01", f"00-{TRACE}-{SPAN.upper()}-01",
    f"00-{TRACE[:-1]}-{SPAN}-01", f"00-{TRACE}0-{SPAN}-01", f"00-{TRACE}-{SPAN[:-1]}-01", f"00-{TRACE}-{SPAN}0-01", f"00-{TRACE[:-1]}.-{SPAN}-01",
    f"00-{TRACE}-{SPAN[:-1]}x-01", f"00-{TRACE}-{SPAN}-0x", f"00-{TRACE}-{SPAN}-0A", f"00_{TRACE}_{SPAN}_01", f"00-{TRACE}-{SPAN}-01, {PARENT}",
])
def test_a_malformed_parent_is_as_none_and_so_is_its_state(module_traced, value):
    weir, backend = module_traced
    backend.forget()
    weir.get(headers=[("traceparent", value), ("tracestate", "foo=1")])
    request = backend.requests[0]
    assert parent_of(request)[0] != TRACE
    assert request["tracestate"] is None


@pytest.mark.parametrize("value, flags", [
    (PARENT, "01"), (f"00-{TRACE}-{SPAN}-00", "00"), (f"00-{TRACE}-{SPAN}-03", "03"), (f"00-{TRACE}-{SPAN}-02", "02"),
    (f"00-{TRACE}-{SPAN}-ff", "03"), (f"01-{TRACE}-{SPAN}-01", "01"), (f"cc-{TRACE}-{SPAN}-01", "01"), (f"cc-{TRACE}-{SPAN}-01-", "01"),
    (f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like", "01"), (f"fe-{TRACE}-{SPAN}-00-x", "00"), (f" \t{PARENT}\t ", "01"),
])
def test_a_well_formed_parent_of_any_version_goes_on_in_version_00(module_traced, value, flags):
    weir, backend = module_traced
    backend.forget()
    weir.get(headers=[("TraceParent", value)])
    trace, span, told = parent_of(backend.requests[0])
    assert trace == TRACE and span != SPAN and told == flags


@pytest.fixture(scope="module")
def module_traced(module_site, module_backend):
    collector = Collector()
    weir = module_site([{"upstream": "app"}], {"app": module_backend.address}, tracing=tracing(collector))
    yield weir, module_backend
    collector.close()


def test_two_parents_are_none(module_traced):
    weir, backend = module_traced
    backend.forget()
    weir.get(headers=[("traceparent", PARENT), ("traceparent", PARENT)])
    assert parent_of(backend.requests[0])[0] != TRACE


LONG = "k=" + "v" * 150


@pytest.mark.parametrize("lines, goes_on", [
    (["foo=1", "bar=2"], "foo=1,bar=2"), (["", "foo=1"], "foo=1"), (["foo=1,"], "foo=1,"), (["foo=1 \t , \t bar=2"], "foo=1 \t , \t bar=2"),
    (["a/b_c-d*e=x"], "a/b_c-d*e=x"), (["0tenant@sys=x"], "0tenant@sys=x"), (["foo= 1"], "foo= 1"), (["z=" + "v" * 256], "z=" + "v" * 256),
    (["foo =1"], None), (["FOO=1"], None), (["0foo=1"], None), (["foo@=1,bar=2"], None), (["@foo=1"], None), (["foo@@bar=1"], None),
    (["foo@bar@baz=1"], None), (["foo"], None), (["foo=bar=baz"], None), (["foo="], None), (["z=" + "v" * 257], None), (["z" * 257 + "=1"], None),
    (["foo=1", "BAR=2"], None), ([",".join(f"k{i}=1" for i in range(33))], None),
    ([",".join(f"k{i}={'v' * 9}" for i in range(32))], ",".join(f"k{i}={'v' * 9}" for i in range(32))),
    ([f"a={'v' * 120}", LONG, f"b={'v' * 120}", f"c={'v' * 120}"], f"a={'v' * 120},b={'v' * 120},c={'v' * 120}"),
    ([",".join(f"{c}={'v' * 120}" for c in "abcdef")], ",".join(f"{c}={'v' * 120}" for c in "abcd")),
])
def test_state_goes_on_as_it_came_while_it_is_well_formed(module_traced, lines, goes_on):
    weir, backend = module_traced
    backend.forget()
    weir.get(headers=[("traceparent", PARENT)] + [("tracestate", line) for line in lines])
    assert parent_of(backend.requests[0])[0] == TRACE
    assert [v for n, v in backend.requests[0].fields if n.lower() == "tracestate"] == ([goes_on] if goes_on else [])


def test_without_tracing_both_fields_go_through_as_they_came(site, backend):
    weir = site([{"upstream": "app", "request_headers": {"set": {"x-ids": "${trace_id}/${span_id}"}}}], {"app": backend.address})
    weir.get(headers=[("traceparent", "Nonsense"), ("tracestate", "BAD =1"), ("traceparent", "more")])
    assert [v for n, v in backend.requests[0].fields if n.lower().startswith("trace")] == ["Nonsense", "BAD =1", "more"]
    assert backend.requests[0]["x-ids"] == "/"
    weir.get(headers=[("traceparent", PARENT)])
    assert backend.requests[1]["traceparent"] == PARENT and backend.requests[1]["x-ids"] == f"{TRACE}/"
    weir.get()
    assert backend.requests[2]["traceparent"] is None


# -- which requests are told -------------------------------------------------------------------------------------------------------

def test_a_parent_that_says_no_gets_no_span_not_even_of_an_error(traced, collector, backend):
    weir = traced()
    for target in ("/", "/status/503"):
        weir.get(target, headers=[("traceparent", f"00-{TRACE}-{SPAN}-00")])
    assert [parent_of(r)[2] for r in backend.requests] == ["00", "00"]
    weir.get("/last")
    server, _ = collector.trace()
    assert server["url.path"] == "/last"


def test_a_parent_decides_for_as_well_unless_it_is_not_to(traced, collector, backend):
    weir = traced(sample="0%")
    weir.get("/a", headers=[("traceparent", PARENT)])
    weir.get("/b")
    assert collector.trace()[0]["url.path"] == "/a"
    assert [parent_of(r)[2] for r in backend.requests] == ["01", "00"]
    collector.forget()
    weir.reload(tracing=tracing(collector, parent=False))
    weir.get("/c", headers=[("traceparent", f"00-{TRACE}-{SPAN}-00")])
    server, _ = collector.trace()
    assert server["url.path"] == "/c" and server.trace == TRACE and parent_of(backend.requests[-1])[2] == "01"


def test_what_failed_is_told_though_it_is_not_sampled(traced, collector, backend):
    weir = traced(sample="0%")
    asks(weir, 20)
    assert weir.get("/status/500").status == 500
    server, (client,) = collector.trace()
    assert server["http.response.status_code"] == 500 and server.failed and server["error.type"] == "500" and client["error.type"] == "500"
    assert parent_of(backend.requests[-1])[2] == "00" and server.raw["flags"] == 0x100
    collector.forget()
    weir.reload(tracing=tracing(collector, sample="0%", errors=False))
    weir.get("/status/500")
    weir.get("/last", headers=[("traceparent", PARENT)])
    assert collector.trace()[0]["url.path"] == "/last"


def test_a_share_of_traces_is_sampled_by_their_ids(traced, collector, backend):
    """2,000 traces of which 10 % are told: within six standard deviations, which chance leaves once in 500 million runs."""
    count, share = 2000, 0.1
    weir = traced(sample="10%", top={"workers": 1})
    with weir.client() as client:
        for i in range(0, count, 50):
            client.send(b"GET / HTTP/1.1\r\nHost: t.example\r\n\r\n" * 50)
            for _ in range(50):
                assert client.read_response(seconds=20).status == 200
    seen = [parent_of(r) for r in backend.requests]
    sampled = {trace for trace, _, flags in seen if flags == "01"}
    assert abs(len(sampled) - count * share) <= 6 * math.sqrt(count * share * (1 - share))
    assert len({trace for trace, _, _ in seen}) == count
    spans = collector.wait(2 * len(sampled), 20)
    assert {s.trace for s in spans} == sampled
    assert all(int(trace[-14:], 16) >= (1 << 56) * (1 - share) for trace in sampled), "by the last seven bytes"


def test_a_route_may_be_sampled_otherwise_or_not_be_traced(traced, collector, backend):
    weir = traced(routes=[{"path": "/all", "upstream": "app", "tracing": {"sample": "100%"}},
                          {"path": "/off", "upstream": "app", "tracing": False}, {"upstream": "app"}], sample="0%")
    weir.get("/off", headers=[("traceparent", PARENT)])
    assert backend.requests[0]["traceparent"] == PARENT
    weir.get("/")
    weir.get("/all")
    assert collector.trace()[0]["url.path"] == "/all"


def test_what_the_query_says_is_told_only_where_it_may_be(traced, collector):
    weir = traced(query=True)
    weir.get("/x?a=b&c")
    assert collector.trace()[0]["url.query"] == "a=b&c"


# -- attempts ----------------------------------------------------------------------------------------------------------------------

def test_each_retry_is_a_span_of_its_own_with_the_same_parent(traced, collector, http_backend):
    bad, good = http_backend("bad", handler=lambda r: Reply(status="503 X")), http_backend("good")
    weir = traced(routes=[{"upstream": "app", "retries": {"attempts": 2, "on": ["503"], "budget": "100%"}}],
                  upstreams={"app": {"servers": [bad.address, good.address]}}, top={"workers": 1})
    assert weir.get().text == "good"
    server, (first, second) = collector.trace(3)
    assert trace_ids(bad.requests[0]) == (server.trace, first.id) and trace_ids(good.requests[0]) == (server.trace, second.id)
    assert first.failed and first["error.type"] == "503" and first.message == "the status is one of retries.on"
    assert not second.failed and second["http.request.resend_count"] == 1 and "http.request.resend_count" not in first.attributes
    assert not server.failed and server["weir.attempts"] == 2


def test_a_server_that_cannot_be_reached_has_its_span(traced, collector, backend):
    dead = f"127.0.0.1:{free_port()}"
    weir = traced(upstreams={"app": {"servers": [dead, backend.address]}}, top={"workers": 1})
    assert weir.get().status == 200
    server, (first, second) = collector.trace(3)
    assert first["weir.server"] == dead and first.failed and first["error.type"] == "unreachable" and not first.events
    assert trace_ids(backend.requests[0]) == (server.trace, second.id)
    collector.forget()
    weir.reload(upstreams={"app": {"servers": [dead]}})
    assert weir.get().status == 502
    server, (only,) = collector.trace()
    assert server.failed and server["error.type"] == "502" and server["weir.termination"] == "connect_failed" and only.failed


def test_a_connection_that_is_lost_is_told_of_with_its_reason(traced, collector, http_backend):
    cutting = http_backend("cutting", handler=lambda r: "reset")
    weir = traced(routes=[{"upstream": "app", "retries": {"attempts": 0}}], upstreams={"app": cutting.address})
    assert weir.get().status == 502
    server, (client,) = collector.trace()
    assert client.failed and client["error.type"] == "reset" and client.message == client["weir.attempt.reason"]


def test_both_attempts_of_a_hedged_request_are_told(traced, collector, http_backend):
    gate = threading.Event()

    def wait_for_it(request):
        gate.wait(60)
        return Reply(body=b"slow")
    slow, good = http_backend("slow", handler=wait_for_it), http_backend("good")
    weir = traced(routes=[{"upstream": "app"}], top={"workers": 1},
                  upstreams={"app": {"servers": [slow.address, good.address], "hedge": {"after": "50ms", "max": "100%"}}})
    assert weir.get(seconds=20).text == "good"
    gate.set()
    server, (first, second) = collector.trace(3)
    assert trace_ids(slow.requests[0]) == (server.trace, first.id) and trace_ids(good.requests[0]) == (server.trace, second.id)
    assert not first.failed and first["weir.attempt.reason"] == "the other attempt answered first" and not second.failed


def test_a_connection_that_is_used_again_says_so(traced, collector):
    weir = traced(top={"workers": 1})
    asks(weir, 2)
    clients = [s for s in collector.wait(4) if s.kind == "client"]
    assert sorted(c["weir.connection.reused"] for c in clients) == [False, True]
    assert {"connected" in c.events for c in clients if c["weir.connection.reused"]} == {False}


def test_http2_on_both_sides_is_traced(traced, collector, http_backend):
    """Through weir twice: by HTTP/2 to itself, and from there to the end."""
    routes = [{"name": "out", "host": "a.example", "upstream": "h2", "request_headers": {"set": {"host": "b.example"}}},
              {"name": "in", "host": "b.example", "upstream": "app"}]
    upstreams = {"h2": {"protocol": "http2", "servers": ["127.0.0.1:1"]}, "app": http_backend("end").address}
    weir = traced(routes=routes, upstreams=upstreams, top={"workers": 1})
    weir.config["upstreams"]["h2"]["servers"] = [f"127.0.0.1:{weir.port()}"]
    weir.reload(upstreams=weir.config["upstreams"])
    with H2(weir.port()) as client:
        answer = client.ask([(":authority", "a.example"), ("traceparent", PARENT)], drop=(":authority",))
        assert answer.status == 200
    spans = {s["weir.route"] if s.kind == "server" else s["weir.upstream"] + " client": s for s in collector.wait(4)}
    assert spans["out"].parent == SPAN and spans["out"]["network.protocol.version"] == "2"
    assert spans["h2 client"].parent == spans["out"].id and spans["in"].parent == spans["h2 client"].id
    assert spans["app client"].parent == spans["in"].id and spans["in"]["network.protocol.version"] == "2"
    assert {s.trace for s in collector.spans} == {TRACE}


def test_a_call_of_grpc_has_its_status(traced, collector):
    weir = traced(routes=[{"path": {"exact": "/none"}, "respond": True}], upstreams={})
    with H2(weir.port()) as client:
        answer = client.ask([("content-type", "application/grpc"), ("te", "trailers")], method="POST", path="/shop.Orders/Get")
        assert answer.status == 200
    span, = collector.wait(1)
    assert (span["rpc.system"], span["rpc.grpc.status_code"], span["http.response.status_code"]) == ("grpc", 12, 200)
    assert span["weir.termination"] == "no_route" and not span.failed


def test_a_tunnel_is_one_span_to_its_end(traced, collector, raw_server):
    def agree(connection):
        connection.read_request_head(20)
        connection.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
        connection.read_until(b"hello", 20)
        connection.send(b"there")
    weir = traced(routes=[{"upstream": "app"}], upstreams={"app": raw_server(agree).address})
    with weir.client() as client:
        client.send_request("GET", "/ws", UPGRADE)
        assert b" 101 " in client.read_until(b"\r\n\r\n", 20)
        assert collector.spans == []
        client.send(b"hello")
        assert client.read_until(b"there", 20)
    server, (client_span,) = collector.trace()
    assert server["http.response.status_code"] == 101 and not server.failed and client_span["http.response.status_code"] == 101


# -- answers without a server ------------------------------------------------------------------------------------------------------

def test_an_answer_of_weirs_own_has_no_attempt(traced, collector):
    weir = traced(routes=[{"name": "hello", "path": {"exact": "/hello"}, "respond": {"body": "hi"}}], upstreams={}, top={"workers": 1})
    assert weir.get("/hello").status == 200 and weir.get("/none").status == 404
    with weir.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        assert client.read_response().status == 400
    with weir.client() as client:
        assert client.request("BREW", "/hello").status == 200
    hello, none, bad, brew = collector.wait(4)
    assert (hello.name, none.name) == ("GET /hello", "GET")
    assert none["http.response.status_code"] == 404 and "http.route" not in none.attributes and not none.failed
    assert bad["http.response.status_code"] == 400 and bad["weir.termination"] == "request_refused"
    assert brew.name == "HTTP /hello" and brew["http.request.method"] == "_OTHER" and brew["http.request.method_original"] == "BREW"
    assert all(s.kind == "server" for s in collector.spans)


def test_what_the_cache_asks_for_a_client_is_told_as_that_clients_and_a_hit_has_no_attempt(traced, collector, cache_origin):
    cache_origin.on("/x", fresh(b"x"))
    weir = traced(routes=[{"upstream": "app", "cache": True}], upstreams={"app": cache_origin.address})
    weir.get("/x")
    server, (client,) = collector.trace()
    assert server["weir.cache"] == "miss" and client["weir.cache.fetch"] is True
    assert trace_ids(cache_origin.requests[0]) == (server.trace, client.id)
    wait_until(lambda: weir.get("/x", headers=[("Cache-Control", "only-if-cached")]).status == 200, 10, "the answer in the cache")
    collector.wait(len(collector.spans))
    wait_until(lambda: any(s.get("weir.cache") == "hit" for s in collector.spans), 10, "the hit's span")
    hit = [s for s in collector.spans if s.get("weir.cache") == "hit"][0]
    assert not [s for s in collector.spans if s.parent == hit.id] and hit.trace != server.trace


def test_who_follows_anothers_fetch_has_no_attempt_of_its_own(traced, collector, cache_origin):
    gate = Gate()
    cache_origin.on("/x", Answer(headers={"Cache-Control": "max-age=60"}, body=b"x", before=gate))
    weir = traced(routes=[{"upstream": "app", "cache": True}], upstreams={"app": cache_origin.address})
    clients = [weir.client(seconds=30) for _ in range(3)]
    for client in clients:
        client.send_request("GET", "/x")
    weir.await_metric("weir_connections", lambda v: v >= 3, listener="web")
    wait_until(lambda: gate.waiting, 10, "the fetch")
    gate.open()
    for client in clients:
        assert client.read_response(seconds=20).text == "x"
        client.close()
    spans = collector.wait(4)
    client, = [s for s in spans if s.kind == "client"]
    leader, = [s for s in spans if s.id == client.parent]
    assert leader.trace == client.trace and len({s.trace for s in spans}) == 3


def test_an_answer_that_is_not_stored_is_told_once(traced, collector, cache_origin):
    cache_origin.on("/x", Answer(headers={"Cache-Control": "no-store"}, body=b"x"))
    weir = traced(routes=[{"upstream": "app", "cache": True}], upstreams={"app": cache_origin.address})
    assert weir.get("/x").text == "x"
    _, clients = collector.trace()
    assert len(clients) == 1


# -- where ids show ----------------------------------------------------------------------------------------------------------------

def test_ids_are_variables_and_stand_in_the_log(traced, collector, backend):
    weir = traced(routes=[{"upstream": "app", "request_headers": {"set": {"x-ids": "${trace_id}/${span_id}"}},
                           "response_headers": {"set": {"x-trace": "${trace_id}"}}}],
                  top={"log": {"access": {"format": "json", "output": "stdout"}}})
    answer = weir.get()
    server, _ = collector.trace()
    assert answer["x-trace"] == server.trace and backend.requests[0]["x-ids"] == f"{server.trace}/{server.id}"
    wait_until(lambda: json.loads(weir.stdout().splitlines()[-1])["trace_id"] == server.trace, 10, "the line in the log")


def test_what_an_operator_sets_by_hand_stays(traced, collector, backend):
    weir = traced(routes=[{"upstream": "app", "request_headers": {"set": {"traceparent": PARENT}, "remove": ["tracestate"]}}])
    weir.get(headers=[("traceparent", f"00-{'1' * 32}-{SPAN}-01"), ("tracestate", "a=1")])
    assert backend.requests[0]["traceparent"] == PARENT and backend.requests[0]["tracestate"] is None


# -- the collector -----------------------------------------------------------------------------------------------------------------

def test_messages_go_over_one_connection_in_batches(traced, collector):
    weir = traced(batch=10, top={"workers": 1})
    asks(weir, 25)
    collector.wait(50)
    assert collector.backend.connection_count == 1
    assert all(len(json.loads(m.body)["resourceSpans"][0]["scopeSpans"][0]["spans"]) <= 10 for m in collector.messages)
    assert len(collector.messages) >= 5 and collector.messages[0]["host"] == f"127.0.0.1:{collector.port}"
    weir.await_metric("weir_trace_spans_total", 50, result="exported")


def test_headers_and_tls_of_the_collector(traced, authority, localhost_cert, backend, site):
    secure = Collector(tls=serving(*localhost_cert))
    try:
        options = {"endpoint": secure.url.replace("127.0.0.1", "localhost"), "sample": "100%", "interval": "100ms",
                   "headers": {"authorization": "Bearer t"}, "tls": {"ca": authority.file}}
        weir = site([{"upstream": "app"}], {"app": backend.address}, tracing=options)
        weir.get()
        secure.wait(2)
        assert secure.messages[0]["authorization"] == "Bearer t" and secure.messages[0]["host"] == f"localhost:{secure.port}"
        weir.reload(tracing={**options, "tls": {}})
        weir.get()
        weir.await_log("the collector does not take spans", "certificate")
        assert len(secure.spans) == 2
    finally:
        secure.close()


def test_a_dead_collector_costs_no_request_and_its_spans_are_counted(traced, collector, backend):
    collector.close()
    weir = traced(queue=64, batch=16, top={"workers": 1})
    asks(weir, 100)
    weir.await_log("the collector does not take spans")
    weir.await_metric("weir_trace_spans_total", lambda v: v >= 100, result="dropped_queue")
    assert result(weir, "exported") == 0


def test_a_collector_that_is_back_gets_what_waited(traced, backend):
    port = free_port()

    class Later:
        url = f"http://127.0.0.1:{port}/v1/traces"
    weir = traced(**{"endpoint": Later.url})
    weir.get()
    weir.await_log("the collector does not take spans")
    got = []

    def take(request):
        got.append(json.loads(request.body))
        return Reply(body=b"{}")
    with HttpBackend("late", take, port=port):
        wait_until(lambda: got, 20, "the spans")
        weir.await_log("the collector takes spans again")
    assert len(got[0]["resourceSpans"][0]["scopeSpans"][0]["spans"]) == 2
    weir.await_metric("weir_trace_spans_total", 2, result="exported")


@pytest.mark.parametrize("status", ["429 X", "502 X", "503 X", "504 X"])
def test_a_message_is_sent_again_when_it_may_be(traced, collector, status):
    answers = [Reply(status=status), None, "reset"]
    good = collector.answer
    collector.answer = lambda request: answers.pop() if answers else good
    weir = traced()
    weir.get()
    collector.trace(seconds=30)
    assert len(collector.refused) == 3 and len({r.body for r in collector.refused}) == 1
    assert collector.messages[0].body == collector.refused[0].body


def test_retry_after_is_waited_for(traced, collector):
    times, good = [], collector.answer

    def busy_once(request):
        times.append(time.monotonic())
        return good if len(times) > 1 else Reply(status="503 X", headers=[("Retry-After", "2")])
    collector.answer = busy_once
    weir = traced()
    weir.get()
    collector.wait(2, 20)
    assert times[1] - times[0] >= 1.9


@pytest.mark.parametrize("status", ["400 X", "401 X", "404 X", "500 X", "301 X"])
def test_a_message_that_is_refused_is_dropped_and_the_next_one_sent(traced, collector, status):
    good = collector.answer
    collector.answer = Reply(status=status)
    weir = traced()
    weir.get()
    weir.await_metric("weir_trace_spans_total", 2, result="dropped_collector")
    weir.await_log("the collector does not take spans", f"it answers {status[:3]}")
    collector.answer = good
    weir.get("/second")
    assert collector.trace()[0]["url.path"] == "/second"
    assert len(collector.refused) == 1


@pytest.mark.parametrize("reply", [
    Reply(body=b"x" * 3_000_000), Reply(body=b"x" * 3_000_000, chunked=True), Reply(body=b"{}", chunked=True), Reply(body=b"{}", close=True),
    Reply(status="204 No Content"), Reply(body=b"no json"), Reply(status="202 Accepted"),
], ids=["huge", "huge-chunked", "chunked", "closing", "204", "text", "202"])
def test_any_good_answer_is_one(traced, collector, reply):
    collector.answer = reply
    weir = traced()
    for number in range(3):
        weir.get()
        collector.wait(2 * (number + 1))
    weir.await_metric("weir_trace_spans_total", 6, result="exported")
    assert result(weir, "dropped_collector") == 0


def test_spans_that_a_collector_rejects_are_counted(traced, collector):
    collector.answer = Reply(body=b'{"partialSuccess":{"rejectedSpans":"1","errorMessage":"too old"}}')
    weir = traced()
    weir.get()
    weir.await_metric("weir_trace_spans_total", 1, result="exported")
    weir.await_metric("weir_trace_spans_total", 1, result="dropped_collector")


@pytest.mark.parametrize("bytes_", [b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", b"HTTP/1.1 100 C\r\n\r\n"])
def test_nonsense_of_a_collector_is_no_answer(traced, raw_server, bytes_):
    def talk(connection):
        connection.read_request(20)
        connection.send_quietly(bytes_)
    server = raw_server(talk)
    weir = traced(endpoint=f"http://{server.address}")
    weir.get()
    weir.await_log("the collector does not take spans")
    assert weir.get().status == 200


def test_a_slow_collector_is_given_up_and_slows_nobody(traced, raw_server):
    silent = raw_server(lambda connection: connection.read_to_end(60))
    weir = traced(endpoint=f"http://{silent.address}/", timeout="200ms", queue=64, batch=32, top={"workers": 1})
    asks(weir, 200)
    weir.await_log("the collector does not take spans", "it took too long")
    weir.await_metric("weir_trace_spans_total", lambda v: v >= 200, result="dropped_queue")


# -- changes and the end -----------------------------------------------------------------------------------------------------------

def test_a_reload_changes_the_collector_and_turns_it_on_and_off(site, collector, backend):
    other = Collector()
    try:
        weir = site([{"upstream": "app"}], {"app": backend.address})
        weir.get()
        weir.reload(tracing=tracing(collector))
        weir.get("/one")
        assert collector.trace()[0]["url.path"] == "/one"
        weir.reload(tracing=tracing(other, queue=128, service="second"))
        weir.get("/two")
        assert other.trace()[0]["url.path"] == "/two" and other.spans[0].resource["service.name"] == "second"
        weir.reload(tracing=None)
        weir.get("/three", headers=[("traceparent", PARENT)])
        assert backend.requests[-1]["traceparent"] == PARENT
        weir.reload(tracing=tracing(other))
        weir.get("/four")
        other.wait(4)
        assert len(collector.spans) == 2
    finally:
        other.close()


def test_a_reload_away_from_a_dead_collector_saves_what_waited(traced, collector):
    weir = traced(endpoint=f"http://127.0.0.1:{free_port()}/v1/traces")
    weir.get()
    weir.await_log("the collector does not take spans")
    weir.reload(tracing=tracing(collector))
    collector.trace(seconds=20)


def test_queues_change_under_load_without_losing_a_span(traced, collector):
    weir = traced(queue=4096)
    with weir.client() as client:
        for number in range(6):
            for _ in range(40):
                client.get()
            weir.reload(tracing=tracing(collector, queue=4096 + 512 * (number + 1)))
    collector.wait(480, 20)
    assert result(weir, "dropped_queue") == 0


def test_a_stop_tells_what_is_left(traced, collector):
    weir = traced(interval="60s")
    asks(weir, 10)
    assert not collector.spans
    weir.stop()
    assert len(collector.spans) == 20 and not collector.faults


def test_a_stop_does_not_wait_for_a_dead_collector(traced, raw_server):
    silent = raw_server(lambda connection: connection.read_to_end(60))
    weir = traced(endpoint=f"http://{silent.address}/", interval="60s", timeout="60s")
    weir.get()
    began = time.monotonic()
    weir.stop()
    assert time.monotonic() - began < 30
    weir.await_log("spans were not exported before the end")


def test_it_works_in_the_sandbox(traced, collector):
    weir = traced(endpoint=f"http://localhost:{collector.port}/v1/traces", top={"sandbox": True})
    weir.get()
    collector.trace()
    weir.await_log("in the sandbox")


def test_the_collectors_name_is_resolved_and_resolved_again(traced, collector):
    dns = DnsServer()
    try:
        dns.set("otel.test", "A", ["127.0.0.2"])
        weir = traced(endpoint=f"http://otel.test:{collector.port}/v1/traces", top={"environment": dns.environment})
        weir.get()
        weir.await_log("the collector does not take spans")
        dns.set("otel.test", "A", ["127.0.0.1"])
        collector.trace(seconds=30)
        assert collector.messages[0]["host"] == f"otel.test:{collector.port}"
    finally:
        dns.close()


def test_an_upgrade_goes_on_telling(traced, collector):
    weir = traced()
    weir.get("/one")
    weir.upgrade()
    weir.get("/two")
    collector.wait(4)
    assert len({s.resource["process.pid"] for s in collector.spans}) == 2


@pytest.mark.parametrize("options, fault", [
    ({"endpoint": "127.0.0.1:4318"}, "expected a URL"), ({"endpoint": "ftp://a/"}, "expected a URL"), ({"endpoint": "http://"}, "there is no host"),
    ({"endpoint": "http://a:0/"}, "expected a port"), ({"endpoint": "http://a:99999/"}, "expected a port"), ({"endpoint": "http://[::1/"}, "without"),
    ({"endpoint": "http://user:pw@a/"}, "headers"), ({"endpoint": "http://a/b c"}, "character"), ({"sample": "120%"}, "sample"),
    ({"headers": {"a b": "c"}}, "no name of a header field"), ({"headers": {"Content-Length": "1"}}, "weir's to say"),
    ({"endpoint": "http://a/", "tls": {"ca": "x.pem"}}, "https"), ({"endpoint": "https://a/", "tls": {"ca": "none.pem"}}, "none.pem"),
    ({"sampel": 1}, 'did you mean "sample"'),
])
def test_a_wrong_setting_is_told(tmp_path, options, fault):
    file = tmp_path / "weir.yaml"
    file.write_text(json.dumps({"listeners": {"web": {"bind": "127.0.0.1:1"}}, "routes": [{"respond": True}], "tracing": options}))
    done = run_cli("check", "-c", str(file))
    assert done.returncode == 1 and fault in done.stderr and "tracing" in done.stderr, done.stderr


def test_tracing_may_be_true_alone(tmp_path):
    file = tmp_path / "weir.yaml"
    file.write_text(json.dumps({"listeners": {"web": {"bind": "127.0.0.1:1"}}, "routes": [{"respond": True}], "tracing": True}))
    assert run_cli("check", "-c", str(file)).returncode == 0


def test_long_texts_of_strangers_are_cut_and_never_break_a_message(traced, collector):
    weir = traced()
    with weir.client() as client:
        client.send(b"GET /" + b"p" * 3000 + b" HTTP/1.1\r\nHost: " + b"h" * 200 + b"\r\nUser-Agent: \"\\\xff\xfe\xc3(" + b"\xc3\xa9" * 400 +
                    b"\r\nX-Request-Id: \"\\\t" + b"q" * 100 + b"\r\n\r\n")
        assert client.read_response().status == 200
    server, (client_span,) = collector.trace()
    assert set(server["url.path"][1:]) == {"p"} and client_span["url.full"].endswith("p") and "\ufffd" in server["user_agent.original"]
