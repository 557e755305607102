"""gRPC, with grpcio as client and as server: health checks, errors of weir's own, deadlines, streams."""

import os

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # weir is started by fork and exec

import queue  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402
from concurrent import futures  # noqa: E402

import grpc  # noqa: E402
import pytest  # noqa: E402

from harness import SCALE, wait_until  # noqa: E402
from harness.admin import find  # noqa: E402
from harness.ports import free_port, release_ports  # noqa: E402
from harness.raw_server import serving  # noqa: E402
from test_h2 import H2, PING, frame  # noqa: E402

UNKNOWN, SERVING, NOT_SERVING = 0, 1, 2
CHECK = {"type": "grpc", "interval": "100ms", "timeout": f"{int(2 * SCALE)}s", "rise": 1, "fall": 1}


# -- a server ------------------------------------------------------------------------------------------------------------

class Server(grpc.GenericRpcHandler):
    """A server of gRPC whose methods are functions of bytes: {"/test.Test/Unary": handler}. `health`: by service's name."""

    def __init__(self, methods=None, credentials=None, options=(), port=None):
        self.methods, self.health, self.checked = dict(methods or {}), {"": SERVING}, []
        self.methods["/grpc.health.v1.Health/Check"] = grpc.unary_unary_rpc_method_handler(self.check)
        self.port = port or free_port()
        self.grpc = grpc.server(futures.ThreadPoolExecutor(16), handlers=[self],
                                options=[("grpc.so_reuseport", 0), *options])
        address = f"127.0.0.1:{self.port}"
        bound = self.grpc.add_secure_port(address, credentials) if credentials else self.grpc.add_insecure_port(address)
        assert bound == self.port
        self.grpc.start()

    def service(self, details):
        return self.methods.get(details.method)

    def check(self, request, context):
        """grpc.health.v1: field 1 of the request is the service, field 1 of the answer the status."""
        service = request[2:].decode() if request else ""
        self.checked.append((service, dict(context.invocation_metadata())))
        if service not in self.health:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        status = self.health[service]
        return bytes([8, status]) if status else b""

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def stop(self):
        self.grpc.stop(0).wait(10 * SCALE)
        release_ports([self.port])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


@pytest.fixture
def grpc_server():
    servers = []

    def make(*arguments, **options):
        servers.append(Server(*arguments, **options))
        return servers[-1]
    yield make
    for server in servers:
        server.stop()


def tls_credentials(cert):
    certificate, key = cert
    return grpc.ssl_server_credentials([(open(key, "rb").read(), open(certificate, "rb").read())])


# -- health checks -------------------------------------------------------------------------------------------------------

def server_of(weir, address):
    return find(weir.admin.upstreams(), address=address)[0]


def check_text(weir, address, wanted):
    def told():
        return wanted in str(server_of(weir, address))
    wait_until(told, 10, f"{wanted!r} of {address}")


def checked_site(site, address, check=None, **upstream):
    return site(routes=[{"upstream": "up"}], upstreams={"up": {"servers": [address], "health_check": {**CHECK, **(check or {})}, **upstream}})


def test_a_server_that_says_serving_is_up_and_one_that_does_not_is_down(site, grpc_server):
    server = grpc_server()
    weir = checked_site(site, server.address)
    check_text(weir, server.address, "SERVING")
    assert weir.admin.server_is_up("up", server.address)
    server.health[""] = NOT_SERVING
    check_text(weir, server.address, "grpc check: NOT_SERVING")
    assert not weir.admin.server_is_up("up", server.address)
    server.health[""] = SERVING
    wait_until(lambda: weir.admin.server_is_up("up", server.address), 10)


def test_a_check_names_its_service_and_its_fields(site, grpc_server):
    server = grpc_server()
    server.health["shop.Orders"] = SERVING
    server.health[""] = NOT_SERVING
    weir = checked_site(site, server.address, {"service": "shop.Orders", "headers": {"X-Probe": "weir"}})
    check_text(weir, server.address, "SERVING")
    service, metadata = server.checked[-1]
    assert service == "shop.Orders" and metadata["x-probe"] == "weir" and "weir-health-check" in metadata["user-agent"]
    assert weir.admin.server_is_up("up", server.address)


def test_an_unknown_service_and_a_server_without_health_are_told(site, grpc_server):
    unknown, without = grpc_server(), grpc_server()
    del without.methods["/grpc.health.v1.Health/Check"]
    weir = site(routes=[{"upstream": "up"}], upstreams={"up": {
        "servers": [unknown.address, without.address], "health_check": {**CHECK, "service": "no.Such"}}})
    check_text(weir, unknown.address, "grpc-status 5 not found: no such service")
    check_text(weir, without.address, "grpc-status 12 unimplemented")


def test_what_is_no_grpc_server_is_down_with_its_reason(site, http_backend, raw_server):
    web, silent = http_backend("web"), raw_server()
    weir = site(routes=[{"upstream": "up"}], upstreams={"up": {
        "servers": [web.address, silent.address], "health_check": {**CHECK, "timeout": "300ms"}}})
    check_text(weir, web.address, "grpc check: it answers in HTTP/1")
    check_text(weir, silent.address, "grpc check: no answer within 300 ms")
    assert silent.connections[0].read_until(b"SM\r\n\r\n").startswith(b"PRI * HTTP/2.0\r\n")


@pytest.mark.parametrize("kind", ["grpc", "http"])
def test_a_check_over_http2_sends_the_proxy_header_first(site, raw_server, kind):
    silent = raw_server()
    checked_site(site, silent.address, {"type": kind}, protocol="http2", proxy_protocol="v1")
    assert silent.accept().read_until(b"SM\r\n\r\n").startswith(b"PROXY UNKNOWN\r\nPRI * HTTP/2.0\r\n")


def test_a_server_that_offers_no_http2_under_tls_is_down(site, http_backend, authority, localhost_cert):
    secure = http_backend("secure", tls=serving(*localhost_cert))
    weir = checked_site(site, secure.address, tls={"ca": authority.file})
    check_text(weir, secure.address, "the server does not take HTTP/2 (ALPN)")


def test_checks_go_over_tls_with_alpn(site, grpc_server, authority, localhost_cert):
    server = grpc_server(credentials=tls_credentials(localhost_cert))
    weir = checked_site(site, server.address, tls={"ca": authority.file})
    check_text(weir, server.address, "SERVING")
    assert weir.admin.server_is_up("up", server.address)


@pytest.mark.parametrize("protocol, tls, seen", [
    ("http1", False, "HTTP/1.1"), ("http2", False, "HTTP/2.0"), ("auto", False, "HTTP/1.1"),
    ("http1", True, "HTTP/1.1"), ("http2", True, "HTTP/2.0"), ("auto", True, "HTTP/2.0")])
def test_an_http_check_speaks_what_the_upstream_speaks(site, authority, localhost_cert, protocol, tls, seen):
    certificates = {"tls": {"certificates": [dict(zip(("cert", "key"), localhost_cert))]}} if tls else {}
    backend = site(routes=[{"path": {"exact": "/healthz"}, "respond": {"status": 204}}], listeners={"web": certificates},
                   log={"access": {"format": "${protocol} ${host} ${target} ${header.x-probe}", "output": "access.log"}})
    address = f"127.0.0.1:{backend.port()}"
    weir = site(routes=[{"upstream": "up"}], upstreams={"up": {
        "servers": [address], "protocol": protocol, **({"tls": {"ca": authority.file}} if tls else {}),
        "health_check": {**CHECK, "type": "http", "path": "/healthz", "expect": [204], "headers": {"host": "t.example", "X-Probe": "p"}}}})
    check_text(weir, address, "status 204")
    assert weir.admin.server_is_up("up", address)
    log = os.path.join(backend.folder, "access.log")
    assert wait_until(lambda: open(log).readline()) == f"{seen} t.example /healthz p\n"
    backend.reload(routes=[{"respond": {"status": 503}}])
    check_text(weir, address, "http check: status 503 is not expected")


# -- errors of weir's own ------------------------------------------------------------------------------------------------

GRPC = [("content-type", "application/grpc"), ("te", "trailers")]


def call(port, method="/test.Test/Unary", message=b"x", metadata=(), timeout=20 * SCALE):
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        return channel.unary_unary(method)(message, metadata=metadata, timeout=timeout, wait_for_ready=False)


def refused(port, **options):
    """The error of a call that fails."""
    with pytest.raises(grpc.RpcError) as caught:
        call(port, **options)
    return caught.value


def test_errors_of_weirs_own_are_statuses_of_grpc(site, raw_server):
    dead = free_port()
    weir = site(routes=[
        {"path": {"prefix": "/dead.A"}, "upstream": "dead"},
        {"path": {"prefix": "/denied.A"}, "deny": ["127.0.0.0/8"], "upstream": "dead"},
        {"path": {"prefix": "/get.A"}, "methods": ["GET"], "upstream": "dead"},
        {"path": {"prefix": "/small.A"}, "limits": {"body_size": 4}, "upstream": "silent"},
    ], upstreams={"dead": f"127.0.0.1:{dead}", "silent": raw_server().address})
    for method, code, words, status in (
            ("/small.A/B", grpc.StatusCode.RESOURCE_EXHAUSTED, "Content Too Large", 413),
            ("/dead.A/B", grpc.StatusCode.UNAVAILABLE, "Bad Gateway", 502),
            ("/denied.A/B", grpc.StatusCode.PERMISSION_DENIED, "Forbidden", 403),
            ("/get.A/B", grpc.StatusCode.UNIMPLEMENTED, "Method Not Allowed", 405),
            ("/no.Such/Method", grpc.StatusCode.UNIMPLEMENTED, "Not Found", 404)):
        error = refused(weir.port(), method=method, metadata=[("x-request-id", "id-1%")])
        assert (error.code(), error.details()) == (code, f"{words}; request id-1%"), method
        # Whoever watches the metrics sees what weir meant.
        wait_until(lambda: weir.admin.metrics().sum("weir_requests_total", status=str(status)) == 1, what=method)
        number = str(code.value[0])
        weir.await_metric("weir_grpc_calls_total", lambda n: n >= 1, grpc_status=number)
    assert weir.admin.metrics().sum("weir_requests_total", status="200") == 0


def test_the_error_is_one_head_that_no_http_client_takes_for_a_body(site):
    weir = site(routes=[], upstreams={})
    with H2(weir.port()) as client:
        stream = client.request(GRPC, method="POST", body=b"\0\0\0\0\0")
        s = client.answer(stream)
        assert (s.status, s.get("content-type"), s.get("grpc-status"), s.body, s.trailers) == (200, "application/grpc", "12", b"", None)
        assert s.get("grpc-message") == f"Not Found; request {s.get('x-request-id')}"
        # What is not gRPC gets what it always got.
        for kind in ("application/grpc-web", "application/json"):
            other = client.answer(client.request([("content-type", kind)], method="POST", body=b"x"))
            assert other.status == 404 and other.get("grpc-status") is None


def test_an_error_over_http1_stays_one_of_http(site):
    weir = site(routes=[], upstreams={})
    answer = weir.get("/a.B/C", headers=[("Content-Type", "application/grpc")])
    assert answer.status == 404 and answer["grpc-status"] is None


def test_a_route_that_takes_too_long_is_a_deadline_exceeded(site, raw_server):
    silent = raw_server()
    weir = site(routes=[{"upstream": "up", "timeout": "300ms"}], upstreams={"up": silent.address})
    error = refused(weir.port())
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED and error.details().startswith("Gateway Timeout; request ")
    wait_until(lambda: weir.admin.metrics().sum("weir_requests_total", status="504") == 1)


def test_the_access_log_has_the_status_of_grpc(site):
    weir = site(routes=[], upstreams={}, log={"access": {"format": "${status} ${grpc_status}|${termination}", "output": "access.log"}})
    refused(weir.port())
    wait_until(lambda: open(os.path.join(weir.folder, "access.log")).read() == "200 12|no_route\n")


# -- deadlines -----------------------------------------------------------------------------------------------------------

def test_a_deadline_of_the_clients_ends_the_exchange(site, raw_server):
    silent = raw_server()
    weir = site(routes=[{"upstream": "up"}], upstreams={"up": silent.address})
    with H2(weir.port()) as client:
        s = client.answer(client.request([*GRPC, ("grpc-timeout", "300m")], method="POST", body=b"\0\0\0\0\0"))
        assert (s.status, s.get("grpc-status")) == (200, "4")
    wait_until(lambda: weir.admin.metrics().sum("weir_requests_total", status="504") == 1)
    wait_until(lambda: weir.admin.metrics().sum("weir_terminations_total", termination="exchange_timeout") == 1)


@pytest.mark.parametrize("given", ["300", "300x", "-1m", "0x1S", "123456789S", "S"])
def test_a_malformed_deadline_is_none_and_passed_on(site, server, given):
    weir = site(routes=[{"upstream": "up"}], upstreams={"up": server.address})
    with H2(weir.port()) as client:
        stream = client.request([*GRPC, ("grpc-timeout", given)], method="POST", body=b"\0\0\0\0\0")
        backend = server.accept()
        request = backend.read_request()
        assert request["grpc-timeout"] == given
        backend.respond(headers=[("content-type", "application/grpc"), ("grpc-status", "9")])
        assert client.answer(stream).get("grpc-status") == "9"

# -- calls, end to end ---------------------------------------------------------------------------------------------------

def echo(request, context):
    context.send_initial_metadata([("x-initial", "one"), ("x-binary-bin", bytes(range(256)))])
    seen = dict(context.invocation_metadata())
    context.set_trailing_metadata([("x-last", "two"), ("x-last-bin", seen.get("x-sent-bin", b"")), ("x-last", seen.get("x-sent", ""))])
    return request


def count_up(request, context):
    for n in range(int(request)):
        yield b"%d" % n


def add_up(requests, context):
    return b"%d" % sum(len(r) for r in requests)


def echo_each(requests, context):
    for request in requests:
        yield request


def fail(request, context):
    context.set_trailing_metadata([("x-why", "because")])
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not so: 100 % “quoted”\nline")


METHODS = {
    "/test.Test/Unary": grpc.unary_unary_rpc_method_handler(echo),
    "/test.Test/Down": grpc.unary_stream_rpc_method_handler(count_up),
    "/test.Test/Up": grpc.stream_unary_rpc_method_handler(add_up),
    "/test.Test/Both": grpc.stream_stream_rpc_method_handler(echo_each),
    "/test.Test/Fail": grpc.unary_unary_rpc_method_handler(fail),
}
LARGE = [("grpc.max_receive_message_length", 64 << 20)]


def forwarding(site, *servers, route=None, upstream=None, listener=None, **rest):
    return site(routes=[{"upstream": "up", **(route or {})}],
                upstreams={"up": {"servers": [s.address for s in servers], "protocol": "http2", **(upstream or {})}},
                listeners={"web": listener or {}}, **rest)


def channel_to(weir, authority=None, options=(), **rest):
    address = f"127.0.0.1:{weir.port()}"
    if not authority:
        return grpc.insecure_channel(address, options=options, **rest)
    with open(authority.file, "rb") as roots:
        credentials = grpc.ssl_channel_credentials(roots.read())
    return grpc.secure_channel(address, credentials, options=[("grpc.ssl_target_name_override", "localhost"), *options], **rest)


@pytest.fixture(params=["plain", "tls"])
def channel(request, site, grpc_server, authority, localhost_cert):
    """A channel through weir, in plain HTTP/2 on both sides or under TLS on both."""
    if request.param == "plain":
        weir = forwarding(site, grpc_server(METHODS, options=LARGE))
        with channel_to(weir, options=LARGE) as it:
            yield it
        return
    server = grpc_server(METHODS, credentials=tls_credentials(localhost_cert), options=LARGE)
    weir = forwarding(site, server, upstream={"tls": {"ca": authority.file}},
                      listener={"tls": {"certificates": [dict(zip(("cert", "key"), localhost_cert))]}})
    with channel_to(weir, authority, options=LARGE) as it:
        yield it


LONG = 60 * SCALE


def test_a_unary_call_with_metadata_both_ways(channel):
    binary = bytes(reversed(range(256)))
    answer, c = channel.unary_unary("/test.Test/Unary").with_call(
        b"hello", metadata=[("x-sent", "a"), ("x-sent-bin", binary)], timeout=LONG)
    assert answer == b"hello" and c.code() == grpc.StatusCode.OK
    assert {("x-initial", "one"), ("x-binary-bin", bytes(range(256)))} <= set(c.initial_metadata())
    assert set(c.trailing_metadata()) >= {("x-last", "two"), ("x-last-bin", binary), ("x-last", "a")}


def test_messages_stream_down_up_and_both_ways(channel):
    assert list(channel.unary_stream("/test.Test/Down")(b"1000", timeout=LONG)) == [b"%d" % n for n in range(1000)]
    assert list(channel.unary_stream("/test.Test/Down")(b"0", timeout=LONG)) == []
    sent = [b"x" * n for n in range(500)]
    assert channel.stream_unary("/test.Test/Up")(iter(sent), timeout=LONG) == b"%d" % sum(map(len, sent))
    assert list(channel.stream_stream("/test.Test/Both")(iter(sent), timeout=LONG)) == sent
    assert list(channel.stream_stream("/test.Test/Both")(iter([]), timeout=LONG)) == []


def test_large_messages_go_both_ways(channel):
    large = os.urandom(1 << 20) * 4
    assert channel.unary_unary("/test.Test/Unary")(large, timeout=LONG) == large
    assert list(channel.stream_stream("/test.Test/Both")(iter([large] * 3), timeout=LONG)) == [large] * 3


def test_errors_of_the_server_reach_the_client(channel):
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/test.Test/Fail")(b"", timeout=LONG)
    error = caught.value
    assert (error.code(), error.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "not so: 100 % “quoted”\nline")
    assert ("x-why", "because") in set(error.trailing_metadata())
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/test.Test/None")(b"", timeout=LONG)
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_many_calls_at_once_on_one_channel(channel):
    both, unary = channel.stream_stream("/test.Test/Both"), channel.unary_unary("/test.Test/Unary")
    streams = [both(iter([b"%d-%d" % (i, n) for n in range(200)]), timeout=LONG) for i in range(8)]
    calls = [unary.future(b"%d" % i, timeout=LONG) for i in range(300)]
    assert [c.result() for c in calls] == [b"%d" % i for i in range(300)]
    for i, stream in enumerate(streams):
        assert list(stream) == [b"%d-%d" % (i, n) for n in range(200)]


def test_compressed_messages_pass_as_they_are(site, grpc_server):
    weir = forwarding(site, grpc_server(METHODS), log={"access": {"format": "${bytes_in}", "output": "access.log"}})
    with channel_to(weir, compression=grpc.Compression.Gzip) as channel:
        assert channel.unary_unary("/test.Test/Unary")(b"a" * 100_000, timeout=LONG) == b"a" * 100_000
    log = os.path.join(weir.folder, "access.log")
    assert 0 < wait_until(lambda: int(open(log).read())) < 5000


def test_a_call_that_the_client_cancels_is_cancelled_at_the_server(site, grpc_server):
    begun, ended = threading.Event(), threading.Event()

    def hang(requests, context):
        context.add_callback(ended.set)
        begun.set()
        for request in requests:
            yield request
    weir = forwarding(site, grpc_server({"/test.Test/Hang": grpc.stream_stream_rpc_method_handler(hang)}))
    with channel_to(weir) as channel:
        going = queue.SimpleQueue()
        stream = channel.stream_stream("/test.Test/Hang")(iter(going.get, None))
        going.put(b"first")
        assert next(stream) == b"first" and begun.is_set() and not ended.is_set()
        stream.cancel()
        assert ended.wait(20 * SCALE)
        going.put(None)


def test_a_server_that_dies_amid_a_stream_is_an_error_for_the_client(site, grpc_server):
    server = grpc_server(METHODS)
    weir = forwarding(site, server)
    with channel_to(weir) as channel:
        going = queue.SimpleQueue()
        stream = channel.stream_stream("/test.Test/Both")(iter(going.get, None))
        going.put(b"first")
        assert next(stream) == b"first"
        server.grpc.stop(0)
        with pytest.raises(grpc.RpcError):
            next(stream)
        going.put(None)


def test_a_server_that_cannot_be_reached_costs_no_call(site, grpc_server):
    live, dead = grpc_server(METHODS), grpc_server(METHODS)
    weir = forwarding(site, live, dead)
    dead.grpc.stop(0).wait(20 * SCALE)
    with channel_to(weir) as channel:
        for n in range(20):
            assert channel.unary_unary("/test.Test/Unary")(b"%d" % n, timeout=LONG) == b"%d" % n
    weir.await_metric("weir_retries_total", lambda n: n > 0)


def test_servers_that_end_their_connections_again_and_again_fail_no_call(site, grpc_server):
    """max_connection_age: GOAWAY, and the calls that are under way may end."""
    options = [("grpc.max_connection_age_ms", 200), ("grpc.max_connection_age_grace_ms", 60_000)]
    servers = [grpc_server(METHODS, options=options) for _ in range(2)]
    weir = forwarding(site, *servers)
    with channel_to(weir) as channel:
        talk, unary, n = Talk(channel, b"long", 5000), channel.unary_unary("/test.Test/Unary"), 0
        while talk.is_alive() or n < 500:
            calls = [unary.future(b"%d" % i, timeout=LONG) for i in range(20)]
            assert [c.result() for c in calls] == [b"%d" % i for i in range(20)]
            n += 20
        talk.finish()
    assert weir.admin.metrics().sum("weir_upstream_connections_opened_total") > 4


def test_a_server_that_stops_in_order_finishes_its_streams_and_gets_no_new_ones(site, grpc_server):
    old, new = grpc_server(METHODS), grpc_server(METHODS)
    weir = forwarding(site, old, upstream={"servers": [old.address, {"address": new.address, "backup": True}]})
    with channel_to(weir) as channel:
        going = queue.SimpleQueue()
        stream = channel.stream_stream("/test.Test/Both")(iter(going.get, None), timeout=LONG)
        going.put(b"first")
        assert next(stream) == b"first"
        old.grpc.stop(60 * SCALE)
        for n in range(20):
            assert channel.unary_unary("/test.Test/Unary")(b"%d" % n, timeout=LONG) == b"%d" % n
        going.put(b"last")
        going.put(None)
        assert list(stream) == [b"last"]


def test_a_reader_that_does_not_read_stops_the_server(site, grpc_server):
    produced = []

    def pour(request, context):
        for n in range(64):
            produced.append(n)
            yield bytes([n]) * (1 << 20)
    weir = forwarding(site, grpc_server({"/test.Test/Pour": grpc.unary_stream_rpc_method_handler(pour)}))
    with channel_to(weir) as channel:
        stream = channel.unary_stream("/test.Test/Pour")(b"", timeout=LONG)
        first = next(stream)
        seen = [0]

        def stands_still():
            seen.append(len(produced))
            return len(seen) > 50 and seen[-1] == seen[-50]
        wait_until(stands_still, 60)
        assert len(produced) < 40
        assert [m[0] for m in [first, *stream]] == list(range(64))


# -- deadlines and silence, with a server --------------------------------------------------------------------------------

def test_the_server_is_told_the_time_that_is_left(site, grpc_server):
    left = []

    def look(request, context):
        left.append(context.time_remaining())
        return b""
    server = grpc_server({"/test.Test/Look": grpc.unary_unary_rpc_method_handler(look)})
    weir = forwarding(site, server, route={"timeout": "50s"})
    with channel_to(weir) as channel:
        look_at = channel.unary_unary("/test.Test/Look")
        look_at(b"", timeout=20)
        look_at(b"", timeout=1000)
        look_at(b"")
    assert 0 < left[0] <= 21 and 21 < left[1] <= 51 and (left[2] is None or left[2] > 1e6), "clients round times up: %s" % left


def test_a_second_try_gets_the_time_that_is_left(site, grpc_server, raw_server):
    left = []

    def hold(connection):
        connection.read_until(b"SM\r\n\r\n")
        late = time.monotonic() + 2
        wait_until(lambda: time.monotonic() > late)

    def look(request, context):
        left.append(context.time_remaining())
        return request
    live = grpc_server({"/test.Test/Look": grpc.unary_unary_rpc_method_handler(look)})
    weir = forwarding(site, live, route={"retries": {"methods": "all"}}, upstream={
        "servers": [raw_server(hold).address, {"address": live.address, "backup": True}]})
    # What is left of a call without weir: a clock of gRPC may be wrong by a second.
    with grpc.insecure_channel(live.address) as channel:
        channel.unary_unary("/test.Test/Look")(b"", timeout=100)
    with channel_to(weir) as channel:
        assert channel.unary_unary("/test.Test/Look")(b"again", timeout=100) == b"again"
    assert len(left) == 2 and 0 < left[1] < left[0] - 1, left


def test_a_deadline_that_passes_cancels_the_call_at_the_server(site, grpc_server):
    ended = threading.Event()

    def hang(request, context):
        context.add_callback(ended.set)
        ended.wait(60 * SCALE)
        return b""
    weir = forwarding(site, grpc_server({"/test.Test/Hang": grpc.unary_unary_rpc_method_handler(hang)}), route={"timeout": "500ms"})
    with channel_to(weir) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/test.Test/Hang")(b"")
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert ended.wait(20 * SCALE)


@pytest.mark.parametrize("answers", [False, True], ids=["before its first answer", "amid the stream"])
def test_a_stream_may_be_silent_for_longer_than_other_bodies(site, grpc_server, server, answers):
    weir = site(routes=[{"upstream": "up"}, {"path": {"exact": "/quick"}, "upstream": "web"}],
                upstreams={"up": {"servers": [grpc_server(METHODS).address], "protocol": "http2"}, "web": server.address},
                timeouts={"body": "200ms", "response": "200ms", "idle": "60s"})
    with channel_to(weir) as channel, H2(weir.port()) as other:
        going = queue.SimpleQueue()
        stream = channel.stream_stream("/test.Test/Both")(iter(going.get, None))
        if answers:
            going.put(b"first")
            assert next(stream) == b"first"
        for _ in range(3):  # as long as this takes, and longer
            assert other.answer(other.request(method="POST", path="/quick", end=False)).status == 408
        going.put(b"last")
        going.put(None)
        assert list(stream) == [b"last"]


def test_a_stream_that_is_silent_for_too_long_ends(site, grpc_server):
    weir = forwarding(site, grpc_server(METHODS), timeouts={"body": "60s", "idle": "300ms"})
    with channel_to(weir) as channel:
        going = queue.SimpleQueue()
        stream = channel.stream_stream("/test.Test/Both")(iter(going.get, None))
        going.put(b"first")
        assert next(stream) == b"first"
        with pytest.raises(grpc.RpcError):
            next(stream)
        going.put(None)


# -- limits of HTTP/2 that a busy client must not meet -------------------------------------------------------------------

def abused(weir):
    return weir.admin.metrics().sum("weir_http2_abuse_total")


def test_a_busy_client_that_probes_with_pings_is_no_flood(site, grpc_server):
    weir = forwarding(site, grpc_server(METHODS, options=LARGE))
    with channel_to(weir, options=[*LARGE, ("grpc.http2.bdp_probe", 1), ("grpc.keepalive_time_ms", 100),
                                   ("grpc.http2.max_pings_without_data", 0), ("grpc.keepalive_permit_without_calls", 1)]) as channel:
        both = channel.stream_stream("/test.Test/Both")
        for size, count in ((1, 5000), (1 << 20, 40)):
            streams = [both(iter([b"x" * size] * (count // 4)), timeout=2 * LONG) for _ in range(4)]
            assert [sum(map(len, s)) for s in streams] == [size * (count // 4)] * 4
    assert abused(weir) == 0


def test_a_ping_for_each_frame_of_data_is_no_flood(site, tmp_path):
    """As clients of gRPC in Go do."""
    (tmp_path / "large").write_bytes(bytes(40 << 20))
    weir = site(routes=[{"files": {"root": str(tmp_path)}}], upstreams={})
    with H2(weir.port()) as client:
        stream = client.request(path="/large")
        s, seen, pings = client.streams[stream], 0, 0
        while not s.ended:
            client.step(20)
            if s.body:
                client.send(frame(PING, 0, 0, b"measured"))
                seen, pings, s.body = seen + len(s.body), pings + 1, b""
        assert pings > 2000 and seen == 40 << 20 and client.goaways == []
    assert abused(weir) == 0


def test_many_calls_that_run_out_of_time_are_no_rapid_reset(site, raw_server):
    weir = site(routes=[{"upstream": "up"}], upstreams={"up": raw_server().address})
    with channel_to(weir) as channel:
        for _ in range(10):
            calls = [channel.unary_unary("/test.Test/Unary").future(b"", timeout=0.3) for _ in range(100)]
            assert {c.code() for c in calls} == {grpc.StatusCode.DEADLINE_EXCEEDED}
    assert abused(weir) == 0


def test_many_calls_that_are_cancelled_after_a_while_are_no_rapid_reset(site, raw_server):
    weir = site(routes=[{"upstream": "up"}], upstreams={"up": raw_server().address})
    with channel_to(weir) as channel:
        for _ in range(5):
            calls = [channel.unary_unary("/test.Test/Unary").future(b"") for _ in range(100)]
            late = time.monotonic() + 1.1
            wait_until(lambda: time.monotonic() > late)  # what "after a while" is
            for c in calls:
                c.cancel()
    assert abused(weir) == 0


# -- streams through a reload --------------------------------------------------------------------------------------------

class Talk(threading.Thread):
    """A stream of `count` messages that waits for nothing; what came back is in `got`, why it failed in `error`."""

    def __init__(self, channel, name, count):
        super().__init__()
        self.channel, self.prefix, self.count, self.got, self.error = channel, name, count, [], None
        self.start()

    def sent(self):
        return [b"%s-%d" % (self.prefix, n) for n in range(self.count)]

    def run(self):
        try:
            for message in self.channel.stream_stream("/test.Test/Both")(iter(self.sent()), timeout=5 * LONG):
                self.got.append(message)
        except grpc.RpcError as error:
            self.error = error

    def finish(self):
        self.join(5 * LONG)
        assert self.error is None and self.got == self.sent(), (len(self.got), self.error)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_streams_of_ten_thousand_messages_go_on_through_reloads(site, grpc_server, authority, localhost_cert, tls):
    server = grpc_server(METHODS, credentials=tls_credentials(localhost_cert) if tls else None)
    certificates = {"tls": {"certificates": [dict(zip(("cert", "key"), localhost_cert))]}}
    weir = forwarding(site, server, upstream={"tls": {"ca": authority.file}} if tls else {}, listener=certificates if tls else {})
    roots = authority if tls else None
    with channel_to(weir, roots) as one, channel_to(weir, roots, options=[("grpc.use_local_subchannel_pool", 1)]) as two:
        talks = [Talk(c, b"%d" % i, 10_000) for i, c in enumerate([one, two])]
        for n in range(1, 8):
            wait_until(lambda: all(len(t.got) > n * 1000 for t in talks), 120)
            weir.reload(routes=[{"path": {"exact": f"/{n}"}, "respond": {"body": "x"}}, {"upstream": "up"}])
        for talk in talks:
            talk.finish()


def test_streams_go_on_when_a_reload_takes_away_their_server_and_their_listener(site, grpc_server):
    old, new = grpc_server(METHODS), grpc_server(METHODS)
    weir = forwarding(site, old, timeouts={"drain": "5m"})
    with channel_to(weir) as channel:
        talks = [Talk(channel, b"%d" % n, 5000) for n in range(2)]
        wait_until(lambda: all(len(t.got) > 500 for t in talks), 60)
        upstreams = {"up": {"servers": [new.address], "protocol": "http2"}}
        weir.reload(upstreams=upstreams, listeners={"web": {"bind": weir.config["listeners"]["web"]["bind"]}, "next": {}})
        with grpc.insecure_channel(f"127.0.0.1:{weir.port('next')}") as other:
            assert other.unary_unary("/test.Test/Unary")(b"after", timeout=LONG) == b"after"
        wait_until(lambda: all(len(t.got) > 2000 for t in talks), 60)
        weir.reload(upstreams=upstreams, listeners={"next": {}})
        for talk in talks:
            talk.finish()


def test_streams_go_on_through_an_upgrade(site, grpc_server):
    weir = forwarding(site, grpc_server(METHODS), timeouts={"drain": "5m"})
    with channel_to(weir) as channel:
        talk = Talk(channel, b"long", 10_000)
        wait_until(lambda: len(talk.got) > 1000, 60)
        weir.upgrade(seconds=120)
        talk.finish()
        assert channel.unary_unary("/test.Test/Unary")(b"after", timeout=LONG) == b"after"
