"""HTTP/1.1 through weir: bodies and framing, connections on both sides, and what happens when either side goes away."""

import threading

import pytest

from harness import Deadline, RawClient, Reply
from harness.http_backend import pattern
from harness.weir import binary_is_sanitized

MiB = 1 << 20


@pytest.fixture(scope="module")
def echo(module_site, module_backend):
    """A weir before a real backend."""
    return module_site([{"upstream": "app"}], {"app": module_backend.address})


@pytest.fixture
def raw(site, server):
    """A weir before a backend that the test plays: (weir, server)."""
    return site([{"upstream": "app"}], {"app": server.address}), server


# -- bodies ----------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 4095, 4096, 65535, 65536, 65537, 300_000])
def test_a_request_body_with_a_length_arrives_whole(echo, size):
    answer = RawClient(echo.port()).request("POST", "/echo", body=pattern(size))
    assert answer.status == 200 and answer.body == pattern(size)


@pytest.mark.parametrize("size", [1, 4095, 4096, 4097, 60_000, 300_000])
@pytest.mark.parametrize("at_once", [0, 1, 4096])
def test_what_comes_of_a_body_with_its_head_is_sent_once(echo, size, at_once):
    with echo.client() as client:
        client.send_request("GET", "/")  # leaves an idle connection to the server
        assert client.read_response("GET").status == 200
        data = pattern(size)
        head = b"POST /echo HTTP/1.1\r\nHost: t.example\r\nContent-Length: %d\r\n\r\n" % size
        client.send(head + data[:at_once or size])
        client.send(data[at_once or size:])
        assert client.read_response("POST").body == data


@pytest.mark.parametrize("chunk", [1, 7, 1000, 65536])
def test_a_chunked_request_body_arrives_whole(echo, chunk):
    data = pattern(20 * chunk)
    with echo.client() as client:
        client.send_request("POST", "/echo", [("Transfer-Encoding", "chunked")])
        for at in range(0, len(data), chunk):
            piece = data[at:at + chunk]
            client.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        client.send(b"0\r\n\r\n")
        assert client.read_response("POST").body == data


def test_chunk_extensions_and_upper_case_sizes_are_understood(echo):
    with echo.client() as client:
        client.send_request("POST", "/echo", [("Transfer-Encoding", "chunked")])
        client.send(b'A;name="quoted; value"\r\n0123456789\r\n00b ; x=y\r\n0123456789a\r\n000;last\r\n\r\n')
        answer = client.read_response("POST")
    assert answer.status in (200, 400), "a space before ';' (BWS) may be refused, nothing else"
    if answer.status == 200:
        assert answer.body == b"01234567890123456789a"


def test_a_request_in_single_bytes_is_understood(echo):
    with echo.client() as client:
        for byte in b"POST /echo HTTP/1.1\r\nHost: t.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n":
            client.send(bytes([byte]))
        assert client.read_response("POST").body == b"abc"


@pytest.mark.parametrize("size", [0, 1, 4096, 65537, 300_000])
def test_a_response_body_with_a_length_arrives_whole(echo, size):
    answer = echo.get(f"/bytes/{size}")
    assert answer.body == pattern(size) and answer.is_complete


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 300_000])
def test_a_chunked_response_arrives_whole(echo, size):
    answer = echo.get(f"/chunked/{size}")
    assert answer.body == pattern(size) and answer.is_complete


def test_a_response_until_close_arrives_whole(raw):
    weir, server = raw
    with weir.client() as client:
        client.send_request()
        up = server.accept()
        up.read_request()
        up.send(b"HTTP/1.1 200 OK\r\n\r\n", b"first ", b"second")
        up.close()
        answer = client.read_response()
    assert answer.body == b"first second" and answer.is_complete


def test_a_response_in_single_bytes_is_understood(raw):
    weir, server = raw
    with weir.client() as client:
        client.send_request()
        up = server.accept()
        up.read_request()
        for byte in b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1;x\r\nd\r\n0\r\n\r\n":
            up.send(bytes([byte]))
        answer = client.read_response()
    assert answer.body == b"abcd" and answer.is_complete


def test_a_response_streams_before_it_is_complete(raw):
    weir, server = raw
    with weir.client() as client:
        client.send_request()
        up = server.accept()
        up.read_request()
        up.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        client.read_until(b"first")
        up.send(b"0\r\n\r\n")
        client.read_until(b"0\r\n\r\n")


def test_a_request_body_streams_before_it_is_complete(raw):
    weir, server = raw
    with weir.client() as client:
        client.send_request("POST", "/", [("Content-Length", "10")])
        client.send(b"first")
        up = server.accept()
        up.read_request_head()
        assert up.read_exact(5) == b"first"
        client.send(b"other")
        assert up.read_exact(5) == b"other"
        up.respond(body="ok")
        assert client.read_response("POST").body == b"ok"


def test_a_trailer_of_a_request_reaches_the_server_or_is_dropped_whole(raw):
    weir, server = raw
    with weir.client() as client:
        client.send_request("POST", "/", [("Transfer-Encoding", "chunked"), ("Trailer", "x-sum")])
        client.send(b"3\r\nabc\r\n0\r\nX-Sum: 42\r\n\r\n")
        up = server.accept()
        request = up.read_request()
        assert request.body == b"abc" and request.is_complete
        assert request.trailers.all("x-sum") == ["42"]
        up.respond()
        client.read_response("POST")


def test_a_trailer_of_a_response_reaches_the_client(raw):
    weir, server = raw
    with weir.client() as client:
        client.send_request(headers=[("TE", "trailers")])
        up = server.accept()
        up.read_request()
        up.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 42\r\n\r\n")
        answer = client.read_response()
    assert answer.body == b"abc" and answer.trailers.all("x-sum") == ["42"]


# -- statuses and methods ----------------------------------------------------------------------------------------------------

def test_head_gets_the_fields_and_no_body_and_the_connection_goes_on(echo):
    with echo.client() as client:
        answer = client.request("HEAD", "/bytes/1000")
        assert answer["content-length"] == "1000" and answer.body == b""
        assert client.get("/bytes/3").body == pattern(3)


def test_head_of_a_chunked_response_has_no_body(echo):
    with echo.client() as client:
        assert client.request("HEAD", "/chunked/10").status == 200
        assert client.get("/bytes/3").body == pattern(3)


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_without_a_body_leaves_the_connection_usable(echo, status):
    with echo.client() as client:
        assert client.get(f"/status/{status}").status == status
        assert client.get("/bytes/3").body == pattern(3)


def test_a_304_keeps_the_length_that_the_server_told(raw):
    weir, server = raw
    with weir.client() as client:
        client.send_request()
        up = server.accept()
        up.read_request()
        up.send(b'HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\nETag: "x"\r\n\r\n')
        assert client.read_response().status == 304
        client.send_request(target="/next")
        assert up.read_request().target == "/next"
        up.respond(body="n")
        assert client.read_response().body == b"n"


@pytest.mark.parametrize("status", ["200 OK", "201 Created", "299 Odd", "418 I'm a teapot", "500 Oh no", "599 X"])
def test_status_and_reason_pass_through(raw, status):
    weir, server = raw
    with weir.client() as client:
        client.send_request()
        up = server.accept()
        up.read_request()
        up.respond(status)
        answer = client.read_response()
    assert answer.status == int(status[:3]) and answer.reason in (status[4:], "")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND", "X-OWN"])
def test_methods_pass_through(echo, module_backend, method):
    module_backend.forget()
    assert RawClient(echo.port()).request(method, "/m").status == 200
    assert module_backend.requests[-1].method == method


def test_options_asterisk_passes_or_is_answered(echo):
    assert RawClient(echo.port()).request("OPTIONS", "*").status in (200, 204, 404)


def test_connect_is_refused(echo, module_backend):
    module_backend.forget()
    with echo.client() as client:
        client.send(b"CONNECT t.example:443 HTTP/1.1\r\nHost: t.example:443\r\n\r\n")
        assert 400 <= client.read_response().status <= 501
    assert not module_backend.requests


def test_interim_responses_reach_the_client(raw):
    weir, server = raw
    with weir.client() as client:
        client.send_request()
        up = server.accept()
        up.read_request()
        up.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")
        status, _, _, fields, _ = client.read_head()
        assert status == 103 and fields.get("link") == "</a.css>"
        up.send(b"HTTP/1.1 102 Processing\r\n\r\n")
        assert client.read_head()[0] == 102
        up.respond(body="final")
        assert client.read_response().body == b"final"


def test_interim_responses_are_kept_from_an_http_1_0_client(raw):
    weir, server = raw
    with weir.client() as client:
        client.send(b"GET / HTTP/1.0\r\nHost: t.example\r\n\r\n")
        up = server.accept()
        up.read_request()
        up.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        up.respond(body="final")
        answer = client.read_response()
    assert answer.status == 200 and answer.interim == []


def test_expect_100_continue_is_answered_before_the_body_is_sent(echo):
    with echo.client() as client:
        client.send_request("POST", "/echo", [("Expect", "100-continue"), ("Content-Length", "5")])
        assert client.read_head()[0] == 100
        client.send(b"hello")
        answer = client.read_response("POST")
    assert answer.body == b"hello" and answer.interim == []


def test_expect_100_continue_with_a_final_answer_sends_no_100(raw):
    weir, server = raw
    with weir.client() as client:
        client.send_request("POST", "/", [("Expect", "100-continue"), ("Content-Length", "5")])
        up = server.accept()
        head = up.read_request_head()
        assert "100-continue" in head.fields.tokens("expect")
        up.respond("403 Forbidden", body="no")
        answer = client.read_response("POST")
    assert answer.status == 403 and answer.body == b"no"


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: t.example\r\n\r\n"


class Hasty:
    """A server's script that answers the first request by its head alone, then reads on; it keeps the targets that it saw."""

    def __init__(self, status, body_size):
        self.status, self.body_size, self.targets = status, body_size, []

    def __call__(self, connection):
        first = connection.read_request_head(20)
        self.targets.append(first.target)
        if first.target == "/one":
            connection.respond(self.status, body="early")
            connection.read_exact(self.body_size, 20)
        else:
            connection.respond(body="later")
        while True:
            self.targets.append(connection.read_request(20).target)
            connection.respond(body="later")


def test_a_request_after_an_unread_expected_body_is_not_confused(site, raw_server):
    """The client that got 403 for its expectation may send the body or close; the body never becomes a request."""
    hasty = Hasty("403 Forbidden", len(SMUGGLED))
    weir = site([{"upstream": "app"}], {"app": raw_server(hasty).address})
    with weir.client() as client:
        client.send_request("POST", "/one", [("Expect", "100-continue"), ("Content-Length", str(len(SMUGGLED)))])
        assert client.read_response("POST").status == 403
        client.send_quietly(SMUGGLED, b"GET /next HTTP/1.1\r\nHost: t.example\r\n\r\n")
        client.half_close()
        client.read_to_end()
    assert set(hasty.targets) <= {"/one", "/next"}


def test_an_early_response_reaches_a_client_that_is_still_sending(raw):
    weir, server = raw
    with weir.client() as client:
        client.send_request("POST", "/", [("Content-Length", str(8 * MiB))])
        client.send(b"x" * 1000)
        up = server.accept()
        up.read_request_head()
        up.respond("413 Payload Too Large", [("Connection", "close")], body="enough")
        answer = client.read_response("POST")
    assert answer.status == 413 and answer.body == b"enough"


def test_after_an_early_response_the_rest_of_the_body_is_no_request(site, raw_server):
    hasty = Hasty("200 OK", 10 + len(SMUGGLED))
    weir = site([{"upstream": "app"}], {"app": raw_server(hasty).address})
    with weir.client() as client:
        client.send_request("POST", "/one", [("Content-Length", str(10 + len(SMUGGLED)))])
        client.send(b"0123456789")
        assert client.read_response("POST").status == 200
        client.send_quietly(SMUGGLED, b"GET /next HTTP/1.1\r\nHost: t.example\r\n\r\n")
        client.half_close()
        client.read_to_end()
    assert set(hasty.targets) <= {"/one", "/next"}


# -- connections ----------------------------------------------------------------------------------------------------------------

def test_one_client_connection_carries_many_requests(echo, module_backend):
    with echo.client() as client:
        for n in range(50):
            assert client.get(f"/bytes/{n}").body == pattern(n)


def test_upstream_connections_are_reused(site, http_backend):
    backend = http_backend()
    weir = site([{"upstream": "app"}], {"app": backend.address})
    with weir.client() as client:
        for _ in range(20):
            assert client.get().status == 200
    assert backend.per_connection == [20]


def test_upstream_connections_are_shared_among_clients_one_after_another(site, http_backend):
    backend = http_backend()
    weir = site([{"upstream": "app"}], {"app": backend.address}, workers=1)
    for _ in range(10):
        assert weir.get().status == 200
    assert sum(backend.per_connection) == 10 and backend.connection_count == 1


def test_keepalive_requests_limits_the_requests_of_an_upstream_connection(site, http_backend):
    backend = http_backend()
    weir = site([{"upstream": "app"}], {"app": {"servers": [backend.address], "keepalive": {"requests": 3}}}, workers=1)
    with weir.client() as client:
        for _ in range(9):
            assert client.get().status == 200
    assert max(backend.per_connection) == 3 and sum(backend.per_connection) == 9


def test_keepalive_idle_0_closes_upstream_connections(site, http_backend):
    backend = http_backend()
    weir = site([{"upstream": "app"}], {"app": {"servers": [backend.address], "keepalive": {"idle": 0}}})
    with weir.client() as client:
        for _ in range(4):
            assert client.get().status == 200
    assert max(backend.per_connection) == 1


def test_pipelined_requests_are_answered_in_order(echo):
    with echo.client() as client:
        client.send(b"".join(b"GET /bytes/%d HTTP/1.1\r\nHost: t.example\r\n\r\n" % n for n in range(30)))
        for n in range(30):
            assert client.read_response().body == pattern(n)


def test_pipelined_requests_with_bodies_are_kept_apart(echo):
    requests = b""
    for n in range(20):
        if n % 2:
            requests += b"POST /echo HTTP/1.1\r\nHost: t.example\r\nContent-Length: %d\r\n\r\n%s" % (n, b"z" * n)
        else:
            requests += b"POST /echo HTTP/1.1\r\nHost: t.example\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n%02d\r\n0\r\n\r\n" % n
    with echo.client() as client:
        client.send(requests)
        for n in range(20):
            assert client.read_response("POST").body == (b"z" * n if n % 2 else b"%02d" % n)


def test_pipelined_requests_behind_connection_close_are_not_served(echo, module_backend):
    module_backend.forget()
    with echo.client() as client:
        client.send(b"GET /last HTTP/1.1\r\nHost: t.example\r\nConnection: close\r\n\r\nGET /never HTTP/1.1\r\nHost: t.example\r\n\r\n")
        answer = client.read_response()
        assert answer.status == 200 and answer.will_close
        client.expect_end()
    assert module_backend.targets() == ["/last"]


def test_a_pipelined_request_is_not_sent_before_the_first_is_answered_on_the_same_connection(raw):
    weir, server = raw
    with weir.client() as client:
        client.send(b"GET /1 HTTP/1.1\r\nHost: t.example\r\n\r\nGET /2 HTTP/1.1\r\nHost: t.example\r\n\r\n")
        up = server.accept()
        assert up.read_request().target == "/1"
        assert not up.buffer
        up.respond(body="one")
        assert client.read_response().body == b"one"
        assert up.read_request().target == "/2"
        up.respond(body="two")
        assert client.read_response().body == b"two"


def test_connection_close_of_the_client_is_honoured(echo):
    with echo.client() as client:
        answer = client.get("/", [("Connection", "close")])
        assert answer.status == 200
        client.expect_end()


def test_connection_close_of_the_server_does_not_close_the_client(raw):
    weir, server = raw
    with weir.client() as client:
        client.send_request()
        up = server.accept()
        up.read_request()
        up.respond("200 OK", [("Connection", "close")], body="a")
        up.close()
        answer = client.read_response()
        assert answer.body == b"a" and not answer.will_close
        client.send_request()
        second = server.accept()
        second.read_request()
        second.respond(body="b")
        assert client.read_response().body == b"b"


def test_bytes_behind_a_response_never_reach_the_next_client(raw):
    weir, server = raw
    with weir.client() as client:
        client.send_request()
        up = server.accept()
        up.read_request()
        up.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        assert client.read_response().body == b"ok"
        client.send_request(target="/2")
        second = server.accept()
        assert second.read_request().target == "/2"
        second.respond(body="good")
        assert client.read_response().body == b"good"


# -- HTTP/1.0 --------------------------------------------------------------------------------------------------------------------

def test_an_http_1_0_client_is_answered_and_closed(echo):
    with echo.client() as client:
        client.send(b"GET /bytes/10 HTTP/1.0\r\nHost: t.example\r\n\r\n")
        answer = client.read_response()
        assert answer.body == pattern(10) and answer.will_close
        client.expect_end()


def test_an_http_1_0_client_never_gets_chunks(echo):
    with echo.client() as client:
        client.send(b"GET /chunked/3000 HTTP/1.0\r\nHost: t.example\r\n\r\n")
        answer = client.read_response()
        assert "transfer-encoding" not in answer.fields and answer.body == pattern(3000)
        client.expect_end()


def test_an_http_1_0_client_may_keep_the_connection(echo):
    with echo.client() as client:
        client.send(b"GET /bytes/10 HTTP/1.0\r\nHost: t.example\r\nConnection: keep-alive\r\n\r\n")
        answer = client.read_response()
        assert answer.body == pattern(10)
        if "keep-alive" in answer.fields.tokens("connection"):
            assert client.get("/bytes/4").body == pattern(4)
        else:
            client.expect_end()


def test_an_http_1_0_client_without_a_host_is_served(echo):
    with echo.client() as client:
        client.send(b"GET /bytes/10 HTTP/1.0\r\n\r\n")
        assert client.read_response().status in (200, 400)


def test_a_server_of_http_1_0_is_understood(raw):
    weir, server = raw
    with weir.client() as client:
        client.send_request()
        up = server.accept()
        up.read_request()
        up.send(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nold")
        up.close()
        answer = client.read_response()
        assert answer.body == b"old" and answer.is_complete and answer.minor == 1


def test_a_connection_of_an_http_1_0_server_is_not_reused(raw):
    weir, server = raw
    with weir.client() as client:
        client.send_request()
        up = server.accept()
        up.read_request()
        up.send(b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold")
        assert client.read_response().body == b"old"
        client.send_request(target="/2")
        second = server.accept()
        second.read_request()
        second.respond(body="new")
        assert client.read_response().body == b"new"


# -- cut short --------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("head,body", [
    (b"Content-Length: 100", b"only this"),
    (b"Transfer-Encoding: chunked", b"5\r\nfirst\r\n"),
    (b"Transfer-Encoding: chunked", b"5\r\nfir"),
    (b"Transfer-Encoding: chunked", b"5\r\nfirst\r\n0\r\n"),
], ids=["length", "chunked-between", "chunked-within", "chunked-no-end"])
def test_a_response_cut_by_the_server_never_looks_complete(raw, head, body, how):
    weir, server = raw
    with weir.client() as client:
        client.send_request()
        up = server.accept()
        up.read_request()
        up.send(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n" + body)
        if body.startswith(b"5") or how == "close":
            client.read_until(b"\r\n\r\n")
        getattr(up, how)()
        rest = client.read_to_end()
    assert not rest.endswith(b"0\r\n\r\n")
    assert len(rest.rpartition(b"\r\n\r\n")[2]) < 100


def test_a_response_until_close_that_is_reset_never_looks_complete(raw):
    weir, server = raw
    with weir.client() as client:
        client.send_request()
        up = server.accept()
        up.read_request()
        up.send(b"HTTP/1.1 200 OK\r\n\r\npart")
        head = client.read_head()
        client.read_until(b"part")
        up.reset()
        rest = client.read_to_end()
    if "chunked" in head[3].tokens("transfer-encoding"):
        assert not rest.endswith(b"0\r\n\r\n")
    else:
        assert client.ended == "reset"


def test_a_response_cut_for_an_http_1_0_client_is_reset(raw):
    """Without a length the end of the connection is the end of the body: only RST can tell that it was cut."""
    weir, server = raw
    with weir.client() as client:
        client.send(b"GET / HTTP/1.0\r\nHost: t.example\r\n\r\n")
        up = server.accept()
        up.read_request()
        up.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n")
        client.read_until(b"part")
        up.close()
        client.read_to_end()
    assert client.ended == "reset"


def test_a_server_that_closes_before_its_head_is_a_502(raw):
    weir, server = raw
    with weir.client() as client:
        client.send_request("POST", "/", body=b"x")
        up = server.accept()
        up.read_request()
        up.close()
        assert client.read_response("POST").status == 502


def test_a_server_that_closes_within_its_head_is_a_502(raw):
    weir, server = raw
    with weir.client() as client:
        client.send_request("POST", "/", body=b"x")
        up = server.accept()
        up.read_request()
        up.send(b"HTTP/1.1 200 OK\r\nContent-Le")
        up.close()
        assert client.read_response("POST").status == 502


@pytest.mark.parametrize("headers,sent", [([("Content-Length", "10")], b"half"), ([("Transfer-Encoding", "chunked")], b"4\r\nhalf\r\n")],
                         ids=["length", "chunked"])
def test_a_request_cut_by_the_client_never_looks_complete_to_the_server(raw, headers, sent):
    weir, server = raw
    client = weir.client()
    client.send_request("POST", "/", headers)
    client.send(sent)
    up = server.accept()
    up.read_request_head()
    client.reset()
    rest = up.read_to_end()
    assert b"0\r\n\r\n" not in rest


def test_a_client_that_goes_away_ends_the_upstream_request(raw):
    weir, server = raw
    client = weir.client()
    client.send_request()
    up = server.accept()
    up.read_request()
    client.reset()
    up.expect_end()


def test_a_client_that_half_closes_gets_its_whole_answer(raw):
    weir, server = raw
    with weir.client() as client:
        client.send_request("POST", "/", body=b"all")
        client.half_close()
        up = server.accept()
        assert up.read_request().body == b"all"
        up.respond(body="answer")
        answer = client.read_response("POST")
        assert answer.body == b"answer" and answer.is_complete
        client.expect_end()


def test_a_half_closed_client_gets_all_of_its_pipelined_answers(echo):
    with echo.client() as client:
        client.send(b"".join(b"GET /bytes/%d HTTP/1.1\r\nHost: t.example\r\n\r\n" % n for n in range(5)))
        client.half_close()
        for n in range(5):
            assert client.read_response().body == pattern(n)
        client.expect_end()


# -- large and slow -----------------------------------------------------------------------------------------------------------------

@pytest.mark.slow
@pytest.mark.parametrize("path", ["bytes", "chunked"])
def test_a_response_of_64_mib_arrives_with_bounded_memory(site, raw_server, path):
    size = 64 * MiB
    block = pattern(MiB)

    def serve(connection):
        connection.read_request()
        if path == "bytes":
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        else:
            connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(64):
            connection.send(block if path == "bytes" else b"%x\r\n%s\r\n" % (MiB, block), seconds=60)
        if path == "chunked":
            connection.send(b"0\r\n\r\n")

    weir = site([{"upstream": "app"}], {"app": raw_server(serve).address})
    got = _Comparing(block)
    with weir.client() as client:
        client._keep = False
        client.send_request()
        before = weir.rss_bytes()
        answer = client.read_response(seconds=60, sink=got)
    assert answer.is_complete and got.count == size and got.is_same
    _assert_grew_less(weir, before)


@pytest.mark.slow
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_request_of_64_mib_arrives_with_bounded_memory(site, raw_server, chunked):
    block = pattern(MiB)
    got = _Comparing(block)

    def serve(connection):
        connection._keep = False
        request = connection.read_request(60, sink=got)
        connection.respond(body="complete" if request.is_complete else "cut")

    weir = site([{"upstream": "app"}], {"app": raw_server(serve).address})
    before = weir.rss_bytes()
    with weir.client() as client:
        client.send_request("PUT", "/", [("Transfer-Encoding", "chunked")] if chunked else [("Content-Length", str(64 * MiB))])
        for _ in range(64):
            client.send(b"%x\r\n%s\r\n" % (MiB, block) if chunked else block, seconds=60)
        if chunked:
            client.send(b"0\r\n\r\n")
        assert client.read_response("PUT", 30).body == b"complete"
    assert got.count == 64 * MiB and got.is_same
    _assert_grew_less(weir, before)


@pytest.mark.slow
def test_a_client_that_does_not_read_stops_the_server(site, raw_server):
    """Back-pressure: what the server can push is bounded by the buffers on the way, not by the response's size."""
    pushed = [0]

    def serve(connection):
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (256 * MiB))
        connection.sock.settimeout(1)
        try:
            for _ in range(256 * 16):
                pushed[0] += connection.sock.send(b"x" * 65536)
        except (TimeoutError, OSError):
            pass
        finished.set()

    finished = threading.Event()
    weir = site([{"upstream": "app"}], {"app": raw_server(serve).address})
    before = weir.rss_bytes()
    with weir.client(receive_buffer=65536) as client:
        client.send_request()
        client.read_until(b"\r\n\r\n")
        assert finished.wait(60)
        assert pushed[0] < 48 * MiB
        _assert_grew_less(weir, before)
        client.reset()


@pytest.mark.slow
def test_a_server_that_does_not_read_stops_the_client(site, raw_server):
    server = raw_server(receive_buffer=65536)
    weir = site([{"upstream": "app"}], {"app": server.address})
    before = weir.rss_bytes()
    with weir.client() as client:
        client.send_request("POST", "/", [("Content-Length", str(256 * MiB))])
        server.accept().read_request_head()
        sent = 0
        client.sock.settimeout(1)
        try:
            while sent < 256 * MiB:
                sent += client.sock.send(b"x" * 65536)
        except (TimeoutError, OSError):
            pass
        assert sent < 48 * MiB
        _assert_grew_less(weir, before)
        client.reset()


@pytest.mark.slow
def test_a_slow_reader_still_gets_everything(site, http_backend):
    size = 8 * MiB
    body = pattern(size)
    weir = site([{"upstream": "app"}], {"app": http_backend(handler=lambda r: Reply(body=body)).address})
    with weir.client(receive_buffer=16384) as client:
        client.send_request()
        for _ in range(200):
            client.fill(Deadline(5), 512)
        answer = client.read_response(seconds=60)
    assert answer.is_complete and answer.body == body


def test_a_slow_client_does_not_hold_up_others(site, http_backend):
    body = pattern(16 * MiB)
    backend = http_backend(handler=lambda r: Reply(body=body if r.target == "/big" else b"small"))
    weir = site([{"upstream": "app"}], {"app": backend.address}, workers=1)
    with weir.client(receive_buffer=16384) as slow:
        slow.send_request(target="/big")
        slow.read_until(b"\r\n\r\n")
        for _ in range(20):
            assert weir.get("/small").body == b"small"
        slow.reset()


def test_many_clients_at_once_each_get_their_own_answer(echo):
    failures = []

    def run(number):
        try:
            with echo.client() as client:
                for n in range(20):
                    size = 100 * number + n
                    answer = client.request("POST", "/echo", body=b"%d-%d-" % (number, n) + pattern(size))
                    assert answer.body == b"%d-%d-" % (number, n) + pattern(size)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(16)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not failures


class _Comparing:
    """A sink that compares what comes with a block that repeats."""

    def __init__(self, block):
        self.block, self.count, self.is_same = block, 0, True

    def __call__(self, piece):
        view = memoryview(piece)
        while view:
            at = self.count % len(self.block)
            part = view[: len(self.block) - at]
            if self.block[at:at + len(part)] != part:
                self.is_same = False
            self.count += len(part)
            view = view[len(part):]


def _assert_grew_less(weir, before, limit=16 * MiB):
    if not binary_is_sanitized():
        grown = weir.rss_bytes() - before
        assert grown < limit, f"memory grew by {grown / MiB:.1f} MiB"
