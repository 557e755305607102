"""gRPC, with grpcio as client and as server: health checks, errors of weir's own, deadlines, streams."""

import os

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # weir is started by fork and exec

from concurrent import futures  # noqa: E402

import grpc  # noqa: E402
import pytest  # noqa: E402

from harness import SCALE, wait_until  # noqa: E402
from harness.admin import find  # noqa: E402
from harness.ports import free_port, release_ports  # noqa: E402
from harness.raw_server import serving  # noqa: E402
from test_h2 import H2  # noqa: E402

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


def test_a_server_that_offers_no_http2_under_tls_is_down(site, http_backend, authority, localhost_cert):
    secure = http_backend("secure", tls=serving(*localhost_cert))
    weir = checked_site(site, secure.address, tls={"ca": authority.file})
    check_text(weir, secure.address, "the server does not take HTTP/2 (ALPN)")


def test_checks_go_over_tls_with_alpn(site, grpc_server, authority, localhost_cert):
    server = grpc_server(credentials=tls_credentials(localhost_cert))
    weir = checked_site(site, server.address, tls={"ca": authority.file})
    check_text(weir, server.address, "SERVING")
    assert weir.admin.server_is_up("up", server.address)


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
        assert weir.admin.metrics().sum("weir_grpc_calls_total", grpc_status=number) >= 1
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
