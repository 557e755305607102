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
