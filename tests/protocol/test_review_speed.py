"""What was made faster must not have become looser: fields that are believed absent, bodies that leave with their heads, heads that
are lent, heads of hits in lines. Each test was a fault once, or stands where one would be easy to make."""

import socket
import time

import pytest

from harness import Answer, Cached, SCALE, wait_until
from harness.http_backend import pattern
from harness.raw_client import build_request
from test_h2 import DATA, END_HEADERS, END_STREAM, H2, HEADERS, PROTOCOL_ERROR, Stream, frame, raw_field

HEAD = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"t.example"), (b":path", b"/reached")]


# -- what nghttp2 alone looks at -------------------------------------------------------------------------------------------

VALUES = [b"a\rb", b"a\nb", b"a\r\nx: y", b"a\0b", b"a\x01b", b"a\x1fb", b"a\x7fb", b" a", b"a ", b"\ta", b"a\t", b"\r", b" "]
NAMES = [b"", b":", b"a b", b"a:b", b"a\r\nb", b"a\0b", b"X-Upper", b"x-\x80", b"x(", b" x", b"x ", b"connection", b"keep-alive",
         b"proxy-connection", b"transfer-encoding", b"upgrade", b":x"]


def after_pseudo(name, value):
    return b"".join(raw_field(*f) for f in HEAD) + raw_field(name, value)


def refused(weir, server, block, trailers=None):
    with H2(weir.port()) as client:
        client.streams[1] = Stream()
        if trailers is None:
            client.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, block))
        else:
            client.send(frame(HEADERS, END_HEADERS, 1, block) + frame(DATA, 0, 1, b"body") +
                        frame(HEADERS, END_HEADERS | END_STREAM, 1, trailers))
        s = client.answer(1)
        assert s.reset is not None or s.status == 400, s.headers
        client.next_id = 3
        assert client.ask(path="/quick").status == 200, "the connection goes on"


@pytest.fixture(scope="module")
def plain(module_site, module_backend):
    return module_site([{"path": "/quick", "respond": {"status": 200, "body": "quick"}}, {"upstream": "app"}], {"app": module_backend.address})


@pytest.mark.parametrize("name", [b"x-a", b"cookie", b"host", b"te", b"content-length", b"via", b"x-request-id", b"x-forwarded-for"])
@pytest.mark.parametrize("value", VALUES)
def test_a_value_that_is_none_reaches_nobody(plain, module_backend, name, value):
    module_backend.forget()
    refused(plain, module_backend, after_pseudo(name, value))
    assert not module_backend.requests and not module_backend.violations


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_none_reaches_nobody(plain, module_backend, name):
    module_backend.forget()
    refused(plain, module_backend, after_pseudo(name, b"v"))
    assert not module_backend.requests and not module_backend.violations


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("place", [b":method", b":scheme", b":authority", b":path"])
def test_a_pseudo_field_that_is_none_reaches_nobody(plain, module_backend, place, value):
    module_backend.forget()
    bad = b"/" + value if place == b":path" else value
    refused(plain, module_backend, b"".join(raw_field(n, bad if n == place else v) for n, v in HEAD))
    assert not module_backend.requests and not module_backend.violations


@pytest.mark.parametrize("name,value", [(b"x-a", v) for v in VALUES] + [(n, b"v") for n in NAMES])
def test_a_trailer_that_is_none_reaches_nobody(plain, module_backend, name, value):
    module_backend.forget()
    refused(plain, module_backend, b"".join(raw_field(*f) for f in HEAD), raw_field(name, value))
    assert not [r for r in module_backend.requests if r.is_complete], "no request that looks whole"


@pytest.mark.parametrize("value", [b"gzip", b"trailers, deflate", b"chunked", b""])
def test_te_says_trailers_or_nothing(plain, module_backend, value):
    module_backend.forget()
    refused(plain, module_backend, after_pseudo(b"te", value))
    assert not module_backend.requests


@pytest.mark.parametrize("name,value", [(b"x-a", b"a\nb"), (b"X-Upper", b"v")])
def test_a_malformed_head_leaves_the_other_streams_their_time(site, server, name, value):
    weir = site([{"upstream": "app"}], {"app": server.address}, timeouts={"header": "500ms"})
    with H2(weir.port()) as client:
        slow = client.request()
        backend = server.accept()
        backend.read_request()
        client.send(frame(HEADERS, END_HEADERS | END_STREAM, 3, after_pseudo(name, value)))
        client.until(lambda: client.streams.get(3) and client.streams[3].reset is not None)
        end = time.monotonic() + 1.5
        while time.monotonic() < end and not client.goaways:
            try:
                client.step(0.2 / SCALE)
            except (TimeoutError, socket.timeout):
                pass
        assert not client.goaways, "the stream's fault is not the connection's"
        backend.respond(body="late")
        assert client.answer(slow).body == b"late"
        client.next_id = 5
        again = client.request()
        backend.read_request()
        backend.respond(body="again")
        assert client.answer(again).body == b"again"


# -- bodies that leave with their heads --------------------------------------------------------------------------------------

def head_of(size, method=b"PUT", extra=b""):
    return method + b" /echo HTTP/1.1\r\nHost: t.example\r\nContent-Length: %d\r\n" % size + extra + b"\r\n"


@pytest.mark.parametrize("size,at_once", [(1, 1), (5000, 1), (5000, 5000), (60_000, 30_000)])
@pytest.mark.parametrize("moment", ["unread", "head", "all"])
def test_a_body_is_sent_whole_once_more_when_the_idle_connection_was_dead(site, server, size, at_once, moment):
    """The server ends the connection that it was given the request by: the other one gets all of the body, once."""
    weir = site([{"upstream": "app"}], {"app": server.address}, workers=1)
    data = pattern(size)
    with weir.client() as client:
        client.send_request("GET", "/")
        first = server.accept()
        first.read_request()
        first.respond(body="one")
        assert client.read_response("GET").body == b"one"
        client.send(head_of(size) + data[:at_once])
        if moment == "head":
            first.read_request_head()
        elif moment == "all":
            client.send(data[at_once:])
            assert first.read_request().body == data
        first.close()
        if moment != "all":
            client.send(data[at_once:])
        second = server.accept()
        request = second.read_request()
        assert request.body == data and request["content-length"] == str(size)
        second.respond(body="two")
        assert client.read_response("PUT").body == b"two"


@pytest.mark.parametrize("at_once", [0, 1, 5000])
def test_a_post_is_not_sent_once_more(site, server, at_once):
    weir = site([{"upstream": "app"}], {"app": server.address}, workers=1)
    data = pattern(5000)
    with weir.client() as client:
        client.send_request("GET", "/")
        first = server.accept()
        first.read_request()
        first.respond(body="one")
        assert client.read_response("GET").body == b"one"
        client.send(head_of(5000, b"POST") + data[:at_once])
        first.read_request_head()
        client.send(data[at_once:])
        first.close()
        assert client.read_response("POST").status == 502
    server.expect_no_connection()


def test_a_body_at_hand_goes_to_each_attempt_of_a_retry_by_status(site, raw_server):
    def script(connection):
        while True:
            request = connection.read_request()
            bodies.append(request.body)
            connection.respond("200 OK" if len(bodies) % 3 == 0 else "503 Service Unavailable", body="done")
    bodies = []
    server, other = raw_server(script), raw_server(script)
    weir = site([{"upstream": "app", "retries": {"attempts": 3, "on": [503], "budget": "100%", "backoff": "0s"}}],
                {"app": {"servers": [server.address, other.address]}}, workers=1)
    with weir.client() as client:
        for size in (1, 4096, 4097, 30_000):
            bodies.clear()
            data = pattern(size)
            client.send(head_of(size) + data)
            assert client.read_response("PUT").status in (200, 503)
            assert len(bodies) >= 2 and set(bodies) == {data}


def test_what_is_pipelined_behind_a_body_is_no_part_of_it(site, http_backend):
    weir = site([{"upstream": "app"}], {"app": http_backend().address}, workers=1)
    with weir.client() as client:
        client.get("/")
        for size in (1, 4095, 4096, 5000):
            data = pattern(size)
            client.send(head_of(size) + data + build_request(target="/bytes/3") + head_of(size) + data)
            assert client.read_response("PUT").body == data
            assert client.read_response("GET").body == pattern(3)
            assert client.read_response("PUT").body == data


@pytest.mark.parametrize("early", [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno", b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"])
def test_an_answer_before_the_body_is_whole(site, server, early):
    weir = site([{"upstream": "app"}], {"app": server.address}, workers=1)
    data = pattern(50_000)
    with weir.client() as client:
        client.send_request("GET", "/")
        backend = server.accept()
        backend.read_request()
        backend.respond(body="one")
        assert client.read_response("GET").body == b"one"
        client.send(head_of(50_000, b"POST") + data[:20_000])
        backend.read_request_head()
        backend.send(early)
        assert client.read_response("POST").body == b"no"
        client.send(data[20_000:] + build_request(target="/next"))
        try:
            second = server.accept(1)
        except TimeoutError:
            second = None
        if second:
            assert second.read_request().target == "/next"
            second.respond(body="next")
            assert client.read_response("GET").body == b"next"


def test_the_log_counts_a_body_once(site, http_backend, tmp_path):
    path = tmp_path / "access.log"
    weir = site([{"upstream": "app"}], {"app": http_backend().address}, workers=1, log={"access": {"format": "${method} ${bytes_in} ${bytes_out}", "output": str(path)}})
    with weir.client() as client:
        client.get("/")
        client.send(head_of(4000) + pattern(4000))
        assert client.read_response("PUT").body == pattern(4000)
    wait_until(lambda: "PUT 4000 4000" in path.read_text().splitlines(), 10, "the line of the PUT")


# -- heads of hits in lines ------------------------------------------------------------------------------------------------------

FIELDS = [("Cache-Control", "max-age=600"), ("Content-Type", "text/plain"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("ETag", '"v"'),
          ("Last-Modified", "Mon, 02 Nov 2026 10:00:00 GMT"), ("Connection", "x-hop"), ("X-Hop", "1"), ("Keep-Alive", "timeout=5"), ("Age", "7")]


@pytest.fixture
def stored(site, cache_origin, tmp_path):
    """What one answer gives as a hit: (in lines, field by field), which the route's response_headers force; and the log."""
    path = tmp_path / "access.log"
    route = {"upstream": "origin", "cache": True, "retries": {"attempts": 0}}
    weir = site([{**route, "path": "/told", "response_headers": {"remove": ["x-nothing"]}}, route], {"origin": cache_origin.address},
                log={"access": {"format": "${target} ${status} ${cache} ${bytes_out}", "output": str(path)}})
    return weir, Cached(weir, cache_origin, "/x"), Cached(weir, cache_origin, "/told/x"), path


def same(answer):
    changing = ("age", "cache-status", "date", "x-request-id")
    body = b"" if answer.status == 412 else answer.body  # a page of weir's own, with the request's id
    return answer.status, answer.reason, sorted((n.lower(), v) for n, v in answer.fields if n.lower() not in changing), body


@pytest.mark.parametrize("status", [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_hit_says_the_same_in_lines_and_field_by_field(stored, status, method):
    _, lines, fields, log = stored
    public = [(n, "public, max-age=600" if n == "Cache-Control" else v) for n, v in FIELDS if n != "Set-Cookie"]
    hits = []
    for each in (lines, fields):
        each.store(Answer(status, public, b"" if status == 204 else b"body"))
        hits.append(each.hit(method=method))
    assert same(hits[0]) == same(hits[1])
    for hit in hits:
        assert "x-hop" not in [n.lower() for n, _ in hit.fields] and int(hit["age"]) >= 7 and len(hit.fields.all("age")) == 1
        assert len(hit.fields.all("date")) == 1 and len(hit.fields.all("via")) == 1
    told = [f"{each.path} {status} hit {len(hits[0].body)}" for each in (lines, fields)]
    wait_until(lambda: set(told) <= set(log.read_text().splitlines()), 10, "the lines of both hits")


@pytest.mark.parametrize("asked", [
    [("If-None-Match", '"v"')], [("If-None-Match", '"w"')], [("If-Modified-Since", "Mon, 02 Nov 2026 10:00:00 GMT")],
    [("If-Match", '"w"')], [("If-Unmodified-Since", "Mon, 02 Nov 2020 10:00:00 GMT")], [("Range", "bytes=1-2")], [("Range", "bytes=9-")],
    [("Range", "bytes=1-2"), ("If-Range", '"w"')], [("Connection", "if-none-match"), ("If-None-Match", '"v"')],
    [("Pragma", "x")], [("Cache-Control", "max-age=500")], [("Cache-Control", "max-stale")], [("Cookie", "a=b")]])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_conditions_are_seen_on_both_ways(stored, asked, method):
    _, lines, fields, _ = stored
    public = [f for f in FIELDS if f[0] not in ("Set-Cookie", "Age")]
    hits = []
    for each in (lines, fields):
        each.store(Answer(200, public, b"body"))
        hits.append(each.hit(asked, method=method))
    assert same(hits[0]) == same(hits[1])
