"""How far a request goes on: loops of proxies end, and Max-Forwards counts (RFC 9110 7.6.2)."""

import pytest

from harness import wait_until


@pytest.fixture
def weir(site, http_backend):
    backend = http_backend()
    weir = site([{"name": "some", "path": "/some", "methods": ["GET", "OPTIONS", "TRACE"], "upstream": "app"}, {"name": "app", "upstream": "app"}],
                {"app": backend.address})
    weir.backend = backend
    return weir


def via(count):
    return [("Via", ", ".join(["1.1 weir"] * count))] if count else []


def test_a_request_that_goes_round_in_a_loop_ends_with_508(site):
    """The upstream is weir itself."""
    weir = site([{"name": "round", "upstream": "self"}], {"self": "127.0.0.1:1"})
    weir.reload(upstreams={"self": {"servers": [f"127.0.0.1:{weir.port()}"]}})
    answer = weir.get("/")
    assert answer.status == 508
    metrics = wait_until(lambda: (m := weir.admin.metrics()).sum("weir_requests_total", route="round") == 17 and m, 10, "all passes to be counted")
    assert metrics.sum("weir_terminations_total", termination="loop") == 1


@pytest.mark.parametrize("headers, status", [
    (via(1), 200), (via(15), 200), (via(16), 508), (via(8) + via(8), 508), ([("Via", ", ".join(["1.1 other"] * 30))], 200),
])
def test_a_chain_of_weirs_is_no_loop_until_there_are_sixteen(weir, headers, status):
    assert weir.get("/bytes/10", headers=headers).status == status


def test_what_weir_answers_itself_cannot_loop(site):
    weir = site([{"respond": {"body": "own"}}])
    assert weir.get("/", headers=via(40)).status == 200


def test_max_forwards_is_one_less_for_who_is_next(site, server):
    weir = site([{"upstream": "app"}], {"app": server.address})
    with weir.client() as client:
        client.send_request("OPTIONS", "/", [("Max-Forwards", "3")])
        with server.accept() as backend:
            request = backend.read_request()
            assert request["max-forwards"] == "2"
            backend.respond()
        assert client.read_response("OPTIONS").status == 200


def test_max_forwards_of_other_methods_is_passed_as_it_came(site, server):
    weir = site([{"upstream": "app"}], {"app": server.address})
    with weir.client() as client:
        client.send_request("GET", "/", [("Max-Forwards", "0")])
        with server.accept() as backend:
            assert backend.read_request()["max-forwards"] == "0"
            backend.respond()
        assert client.read_response("GET").status == 200


def test_options_with_no_forwards_left_is_answered_with_the_routes_methods(weir):
    answer = weir.get("/some", method="OPTIONS", headers=[("Max-Forwards", "0")])
    assert answer.status == 200 and answer["allow"] == "GET, OPTIONS, TRACE" and answer.body == b""
    answer = weir.get("/", method="OPTIONS", headers=[("Max-Forwards", "0")])
    assert answer.status == 200 and answer["allow"] is None
    assert weir.admin.metrics().sum("weir_upstream_requests_total") == 0


def test_trace_with_no_forwards_left_shows_the_way_and_no_secrets(weir):
    answer = weir.get("/some?q", method="TRACE", headers=[("Max-Forwards", "0"), ("Via", "1.1 fred"), ("Cookie", "a=secret"),
                                                          ("Authorization", "Basic secret"), ("X-Api-Key", "secret")])
    assert answer.status == 200 and answer["content-type"] == "message/http"
    assert answer.body.startswith(b"TRACE /some?q HTTP/1.1\r\n") and answer.body.endswith(b"\r\n\r\n")
    assert b"Via: 1.1 fred\r\n" in answer.body and b"Max-Forwards: 0\r\n" in answer.body
    assert b"secret" not in answer.body
