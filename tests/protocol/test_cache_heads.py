"""The head of a plain hit goes out in lines as it is stored: it says what a head that is made field by field says."""

import pytest

from harness import Answer, Cached, cache_status, wait_until
from harness.raw_client import build_request

FIELDS = [("Cache-Control", "max-age=600"), ("Content-Type", "text/plain"), ("X-Twice", "1"), ("Set-Nothing", ""), ("X-Twice", "2"), ("ETag", '"v"'),
          ("Via", "1.0 inner")]


@pytest.fixture
def web(site, cache_origin):
    """At /told the route changes heads."""
    route = {"upstream": "origin", "cache": True, "retries": {"attempts": 0}}
    weir = site([{**route, "path": "/told", "response_headers": {"remove": ["x-nothing"]}}, route], {"origin": cache_origin.address})
    return Cached(weir, cache_origin, "/x")


def stored_twice(web, answer):
    """The hits of one answer, with the head in lines and field by field."""
    hits = []
    for path in ("/x", "/told/x"):
        each = Cached(web.weir, web.origin, path)
        each.store(answer)
        hits.append(each)
    return hits


def said(answer):
    changing = ("age", "cache-status", "date")
    return answer.status, answer.reason, sorted((n.lower(), v) for n, v in answer.fields if n.lower() not in changing), answer.body


@pytest.mark.parametrize("answer", [
    Answer(headers=FIELDS, body=b"body"),
    Answer(headers=FIELDS, body=b""),
    Answer(headers=FIELDS, body=[b"one", b"two"], framing="chunked"),
    Answer(headers=FIELDS, body=b"until the end", framing="close"),
    Answer(headers=FIELDS, body=b"x" * 20_000),
    Answer(headers=FIELDS, body=b"x" * 50_000),
    Answer(headers=FIELDS, body=b"x" * 200_000),
    Answer(404, FIELDS, b"not here"),
    Answer(301, FIELDS + [("Location", "/y")], b""),
    Answer(410, FIELDS, b""),
], ids=["short", "empty", "chunked", "to the end", "in pages", "by file", "long", "404", "301", "410"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_both_ways_say_the_same(web, answer, method):
    lines, fields = (each.hit(method=method) for each in stored_twice(web, answer))
    assert said(lines) == said(fields)
    assert lines.fields.all("via") == ["1.0 inner", "1.1 weir"]
    assert int(lines["content-length"]) == sum(len(p) for p in answer.pieces())
    for each in (lines, fields):
        assert cache_status(each).is_hit and 590 < cache_status(each)["ttl"] <= 600
        assert 0 <= int(each["age"]) < 10 and each["date"]


@pytest.mark.parametrize("version,asked,said", [
    ("HTTP/1.1", [], []),
    ("HTTP/1.1", [("Connection", "close")], ["close"]),
    ("HTTP/1.0", [], ["close"]),
    ("HTTP/1.0", [("Connection", "keep-alive")], ["keep-alive"]),
])
def test_the_connection_is_told_of(web, version, asked, said):
    web.store(Answer(headers=FIELDS, body=b"body"))
    with web.weir.client() as client:
        client.send(build_request("GET", "/x", asked, version=version))
        answer = client.read_response("GET")
        assert (answer.body, answer.fields.all("connection")) == (b"body", said)
        if "close" in said:
            client.expect_end()
        else:
            assert client.get("/x").body == b"body"


def test_hits_that_were_pipelined_come_in_their_order(web):
    for name in "ab":
        Cached(web.weir, web.origin, "/" + name).store(Answer(headers=FIELDS, body=name.encode() * 1000))
    with web.weir.client() as client:
        client.send(b"".join(build_request(target="/" + name) for name in "abba"))
        assert [client.read_response("GET").body[:1] for _ in range(4)] == [b"a", b"b", b"b", b"a"]


def test_the_log_has_the_fields_of_a_hit(site, cache_origin, tmp_path):
    path = tmp_path / "access.log"
    weir = site([{"upstream": "origin", "cache": True}], {"origin": cache_origin.address},
                log={"access": {"format": "${target} ${response_header.content-type} ${response_header.age} ${cache}", "output": str(path)}})
    web = Cached(weir, cache_origin, "/x")
    web.store(Answer(headers=FIELDS, body=b"body"))
    age = web.get(path="/x?q")  # another key: a line to wait for
    assert age.status == 200
    hit = web.hit()
    wanted = f"/x text/plain {hit['age']} hit"
    wait_until(lambda: wanted in path.read_text().splitlines(), 10, "the hit's line")
