"""Between the exchange and the store: who may have what of a fetch, how often the origin is asked, and what happens when one of them ends first."""

import json
import threading

import pytest

from harness import Answer, Cached, Gate, cache_status, fresh, outlive, wait_until
from harness.cache_origin import CacheOrigin
from harness.http_backend import pattern
from harness.raw_server import RawServer
from test_cache_collapse import Asking, asking, finish, in_flight
from test_websocket import AGREE, UPGRADE

MiB = 1 << 20


def start(site, origin, cache=True, upstream=None, route=None, listeners=None, **rest):
    return site([{"upstream": "origin", "cache": cache, "retries": {"attempts": 0}, **(route or {})}],
                {"origin": {"servers": [origin.address], **(upstream or {})}}, listeners, **rest)


@pytest.fixture
def web(site, cache_origin):
    return Cached(start(site, cache_origin), cache_origin, "/x")


def with_cookie(name):
    return {"headers": [("Cookie", f"who={name}")]}


# -- what of a fetch is for its leader alone ---------------------------------------------------------------------------------

def test_a_cookie_in_a_304_reaches_the_one_who_was_asked_for_alone(web):
    web.store(Answer(headers={"Cache-Control": "max-age=1", "ETag": '"v"'}, body=b"body"))
    outlive(1)
    gate = Gate()

    def handle(request, number):
        return Answer(304, {"Cache-Control": "max-age=60", "ETag": '"v"', "Set-Cookie": f"id={number}"}, before=gate) \
            if "if-none-match" in request.fields else \
            Answer(200, {"Cache-Control": "max-age=60", "ETag": '"v"', "Set-Cookie": f"id={number}"}, b"body")
    web.on(handle)
    leader = asking(web, 1)
    web.origin.await_count(2, web.path)
    others = asking(web, 5)
    in_flight(web, 6)
    gate.open()
    answers = finish(leader + others)
    assert [(a.status, a.body) for a in answers] == [(200, b"body")] * 6
    cookies = [a["set-cookie"] for a in answers]
    assert len(set(cookies)) == 6 and None not in cookies, "each has a cookie of its own"


CONTROLS = ["no-cache", "max-age=0, must-revalidate", "max-age=0"]


@pytest.mark.parametrize("control", CONTROLS)
def test_what_is_to_be_validated_for_each_is_not_given_to_who_waits(web, control):  # RFC 9111 §4, §5.2.2.4
    gate = Gate()

    def handle(request, number):
        who = request["cookie"].partition("=")[2]
        return Answer(headers={"Cache-Control": control, "ETag": f'"{who}"'}, body=who.encode(), before=gate)
    web.on(handle)
    leader = asking(web, 1, **with_cookie("leader"))
    web.origin.await_count(1, web.path)
    others = [Asking(web, **with_cookie(f"c{i}")) for i in range(5)]
    in_flight(web, 6)
    gate.open()
    assert finish(leader)[0].body == b"leader"
    assert [a.body for a in finish(others)] == [f"c{i}".encode() for i in range(5)]


@pytest.mark.parametrize("control", CONTROLS)
def test_nobody_waits_for_another_to_validate_what_each_has_to_validate(web, control):
    web.on(Answer(headers={"Cache-Control": control, "ETag": '"v"'}, body=b"body"))
    web.get()
    wait_until(lambda: web.get() and "if-none-match" in web.origin.last(web.path).fields, 10, "the answer in the cache")
    gate = Gate()
    web.on(Answer(304, {"Cache-Control": control, "ETag": '"v"'}, before=gate))
    clients = asking(web, 8)
    wait_until(lambda: gate.waiting == 8, 20, "all at the origin at the same time")
    gate.open()
    assert [(a.status, a.body) for a in finish(clients)] == [(200, b"body")] * 8


def test_an_answer_with_a_cookie_of_its_own_for_the_session_still_gets_weirs(site, cache_origin):
    web = Cached(start(site, cache_origin, upstream={"sticky": {"cookie": "id"}}), cache_origin, "/x")
    web.on(Answer(headers={"Cache-Control": "private"}, body=b"x"))
    first, second = web.get(), web.get()
    assert "id=" in (second["set-cookie"] or ""), "who asks past the cache gets it"
    assert "id=" in (first["set-cookie"] or ""), "and who led the fetch that was not stored"
    session = first["set-cookie"].split(";")[0]
    web.path = "/y"
    web.on(Answer(headers={"Cache-Control": "private"}, body=b"y"))
    assert web.get([("Cookie", session)])["set-cookie"] is None
    web.path = "/z"
    web.store(fresh(b"z"))
    assert web.hit()["set-cookie"] is None, "a stored answer is nobody's session"


# -- how often the origin is asked -----------------------------------------------------------------------------------------------

def test_each_variant_of_what_is_cold_is_fetched_once(web):
    first, rest = Gate(), Gate()

    def handle(request, number):
        kind = request["x-kind"]
        return Answer(headers={"Cache-Control": "max-age=60", "Vary": "X-Kind"}, body=kind.encode(), before=first if kind == "a" else rest)
    web.on(handle)
    leader = asking(web, 1, headers=[("X-Kind", "a")])
    web.origin.await_count(1, web.path)
    others = asking(web, 10, headers=[("X-Kind", "b")])
    in_flight(web, 11)
    first.open()
    web.origin.await_count(2, web.path)
    assert finish(leader)[0].body == b"a"
    rest.open()
    assert [a.body for a in finish(others)] == [b"b"] * 10
    assert web.asked == 2


def test_a_field_that_vary_adds_for_some_ends_in_an_answer_for_each(web):
    """The names that Vary gives differ from answer to answer: nobody goes round in circles."""
    gate = Gate()

    def handle(request, number):
        return Answer(headers={"Cache-Control": "max-age=60", "Vary": "X-Kind" if number % 2 else "X-Other"},
                      body=f"{request['x-kind']} {request['x-other']}".encode(), before=gate)
    web.on(handle)
    clients = [Asking(web, headers=[("X-Kind", str(i % 3)), ("X-Other", str(i % 4))]) for i in range(12)]
    in_flight(web, 12)
    web.origin.await_count(1, web.path)
    gate.open()
    for i, answer in enumerate(finish(clients)):
        kind, other = answer.body.decode().split()
        assert (kind == str(i % 3)) or (other == str(i % 4))
    assert web.asked <= 13


def test_one_client_cannot_keep_out_what_is_cacheable_for_others(web):
    """Who has a session gets answers for him alone; these are no reason not to keep the others'."""
    def handle(request, number):
        if "cookie" in request.fields:
            return Answer(headers={"Cache-Control": "private"}, body=b"mine")
        return fresh(b"all")
    web.on(handle)
    assert web.get(headers=[("Cookie", "session=1")]).body == b"mine"

    with web.weir.client() as client:
        hits = 0
        for _ in range(200):
            answer = client.get(web.path)
            assert answer.body == b"all"
            hits += cache_status(answer).is_hit
    assert hits, "the answer for all was never kept"


def test_a_server_that_is_gone_is_not_tried_anew_by_each_who_waited(site):
    gate = Gate()

    def hold(connection):
        connection.read_request_head(60)
        gate.pass_through()
        connection.reset()
    with RawServer(hold) as server:
        weir = start(site, server, workers=1)
        web = Cached(weir, None, "/x")
        leader = asking(web, 1)
        wait_until(lambda: gate.waiting == 1, 10, "the leader at the origin")
        others = asking(web, 60)
        in_flight(web, 61)
        server.sock.close()
        gate.open()
        answers = finish(leader + others)
    assert [a.status for a in answers] == [502] * 61
    tried = weir.admin.metrics().sum("weir_upstream_connect_failures_total")
    assert tried <= 6, f"{tried} connects to a server that is gone"


# -- answers that do not come by way of the store ------------------------------------------------------------------------------

def test_an_upgrade_on_a_route_with_a_cache(site, raw_server):
    server = raw_server()
    weir = start(site, server)
    with weir.client() as client:
        client.send_request("GET", "/chat", UPGRADE)
        up = server.accept()
        request = up.read_request_head()
        assert request["upgrade"] == "websocket" and "upgrade" in request.fields.tokens("connection")
        up.send(AGREE)
        status, *_ = client.read_head()
        assert status == 101
        up.send(b"hello")
        assert client.read_exact(5) == b"hello"


def test_who_asks_anew_for_a_part_goes_where_the_split_sends_him(site, cache_origin):
    """What may not be stored is fetched whole, then asked for again as a part: by another upstream, perhaps."""
    with CacheOrigin() as other:
        weir = site([{"split": {"a": 1, "b": 1}, "cache": True, "response_headers": {"set": {"X-Way": "${upstream} ${server}"}}}],
                    {"a": cache_origin.address, "b": other.address})
        ways = set()
        for n in range(40):
            for origin in (cache_origin, other):
                origin.on(f"/{n}", Answer(headers={"Cache-Control": "no-store"}, body=b"0123456789"))
            answer = weir.get(f"/{n}", headers=[("Range", "bytes=2-3")])
            assert answer.status == 200
            ways.add(answer["x-way"])
        assert ways == {f"a {cache_origin.address}", f"b {other.address}"}


# -- ends ---------------------------------------------------------------------------------------------------------------------

def test_a_fetch_that_nobody_reads_any_more_ends_when_it_cannot_be_stored(site, cache_origin):
    web = Cached(site([{"upstream": "origin", "cache": True}], {"origin": cache_origin.address},
                 cache={"max_object": "1MiB"}), cache_origin, "/x")
    gate, body = Gate(), pattern(4 * MiB)
    web.on(Answer(headers={"Cache-Control": "max-age=60"}, body=[body[:MiB + 100_000], gate] + [body[MiB:]] * 16, framing="chunked"))
    clients = [web.weir.client(receive_buffer=4096) for _ in range(4)]
    for client in clients:
        client.send_request(target=web.path)
        client.read_head()
    gate.open()
    for client in clients:
        client.reset()
    wait_until(lambda: cache_origin.open_answers == 0, 20, "the fetch's end")
    assert web.weir.get("/other").status == 200


def test_readers_that_stand_still_hold_the_origin_and_then_all_get_the_whole(site, cache_origin):
    weir = site([{"upstream": "origin", "cache": True}], {"origin": cache_origin.address}, cache={"max_object": "1MiB"}, workers=2)
    web = Cached(weir, cache_origin, "/x")
    body = pattern(24 * MiB)
    web.on(Answer(headers={"Cache-Control": "max-age=60"}, body=[body[i:i + MiB] for i in range(0, len(body), MiB)], framing="chunked"))
    slow = [weir.client(receive_buffer=4096, seconds=60) for _ in range(3)]
    for client in slow:
        client.send_request(target=web.path)
        client.read_head(20)
    wait_until(lambda: cache_origin.open_answers >= 1, 10, "the origin sending")
    for client in slow[:1]:
        client.reset()
    got = []

    def read(client):
        got.append(client.read_body(("chunked", 0), 60)[0] == body)
    threads = [threading.Thread(target=read, args=(c,)) for c in slow[1:]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert got == [True, True]


@pytest.mark.parametrize("leaves", [True, False])
def test_a_listener_is_removed_while_a_fetch_goes_on(site, cache_origin, leaves):
    listeners = {"web": {}, "second": {}}
    routes = [{"upstream": "origin", "cache": True}]
    weir = site(routes, {"origin": cache_origin.address}, listeners, workers=1)
    web = Cached(weir, cache_origin, "/x", listener="second")
    gate = Gate()
    web.on(Answer(headers={"Cache-Control": "max-age=60"}, body=[b"1" * 1000, gate, b"2" * 1000]))
    client = weir.client("second")
    client.send_request(target=web.path)
    client.read_head()
    if leaves:
        client.reset()
        weir.await_metric("weir_connections", 0, listener="second")
    weir.reload(listeners={"web": {}}, routes=[{"upstream": "other", "cache": {"ttl": "10s", "key": "${path}"}}],
                upstreams={"other": {"servers": [cache_origin.address]}})
    gate.open()
    if not leaves:
        assert client.read_exact(2000) == b"1" * 1000 + b"2" * 1000
        client.close()
    wait_until(lambda: cache_origin.open_answers == 0, 10, "the fetch's end")
    assert weir.get("/x").status == 200


def test_a_stop_with_fetches_that_nobody_waits_for(site, cache_origin):
    weir = start(site, cache_origin)
    web = Cached(weir, cache_origin, "/x")
    gate = Gate()
    web.store(fresh(b"old", "max-age=1, stale-while-revalidate=600", ETag='"v"'))
    outlive(1)
    web.on(Answer(headers={"Cache-Control": "max-age=60"}, body=[b"1", gate, b"2"]))
    assert web.get().body == b"old"
    web.origin.await_count(2, web.path)
    weir.stop()
    gate.open()


def test_the_routes_timeout_ends_one_who_follows_and_the_fetch(site, cache_origin):
    web = Cached(start(site, cache_origin, route={"timeout": "700ms"}), cache_origin, "/x")
    gate = Gate()
    web.on(Answer(headers={"Cache-Control": "max-age=60"}, body=b"late", before=gate))
    answers = finish(asking(web, 6))
    assert [a.status for a in answers] == [504] * 6
    assert web.asked <= 2
    gate.open()
    web.on(fresh(b"well"))
    assert web.get().body in (b"well", b"late")


def test_hits_and_misses_on_one_connection_come_in_order(web):
    web.on(lambda request, number: fresh(request.target.encode()))
    web.store()
    gate = Gate()
    web.on(Answer(headers={"Cache-Control": "max-age=60"}, body=[b"sl", gate, b"ow"]), path="/slow")
    web.on(Answer(headers={"Cache-Control": "no-store"}, body=b"never"), path="/never")
    with web.weir.client() as client:
        targets = ["/x", "/slow", "/x", "/never", "/y", "/x"]
        client.send(b"".join(f"GET {t} HTTP/1.1\r\nHost: t.example\r\n\r\n".encode() for t in targets))
        assert client.read_response().body == b"/x"
        web.origin.await_count(1, "/slow")
        gate.open()
        bodies = [client.read_response().body for _ in targets[1:]]
    assert bodies[0] == b"slow" and bodies[1] == b"/x" and bodies[2] == b"never" and bodies[4] == b"/x"


@pytest.mark.parametrize("status", [204, 301, 404, 410])
def test_answers_without_a_body_to_keep(web, status):
    web.store(Answer(status, {"Cache-Control": "max-age=60", "X-Field": "1"}))
    for method in ("GET", "HEAD", "GET"):
        answer = web.get(method=method)
        assert (answer.status, answer.body, answer["x-field"]) == (status, b"", "1")
        assert ("content-length" in answer.fields) == (status != 204)
    assert web.asked == 1


@pytest.mark.parametrize("condition", [("If-None-Match", '"v"'), ("Range", "bytes=0-1")])
def test_who_shows_credentials_and_asks_for_less_is_asked_for_once(web, condition):
    """Such an answer is hardly ever for all: to fetch the whole of it first would ask the origin for each twice."""
    web.on(lambda request, number: Answer(304, {"ETag": '"v"'}) if "if-none-match" in request.fields else
           Answer(206, {"Content-Range": "bytes 0-1/10"}, b"01") if "range" in request.fields else
           Answer(headers={"Cache-Control": "max-age=60", "ETag": '"v"'}, body=b"0123456789"))
    for n in range(1, 4):
        answer = web.get([("Authorization", "Basic eDp5"), condition])
        assert answer.status == (304 if condition[0] == "If-None-Match" else 206)
        assert web.asked == n
    web.on(Answer(headers={"Cache-Control": "public, max-age=60", "ETag": '"v"'}, body=b"0123456789"))
    web.store(headers=[("Authorization", "Basic eDp5")])
    answer = web.hit([("Authorization", "Basic eDp5"), condition])
    assert answer.status == (304 if condition[0] == "If-None-Match" else 206)


def test_the_log_does_not_take_a_wish_for_a_stored_answer_for_a_timeout(site, cache_origin, tmp_path):
    log = tmp_path / "access.log"
    weir = start(site, cache_origin, log={"access": {"output": str(log), "format": "json"}})
    assert weir.get("/x", headers=[("Cache-Control", "only-if-cached")]).status == 504
    line = wait_until(lambda: json.loads(log.read_text()), 10, "a line in the log")
    assert (line["status"], line["termination"]) == (504, "request_refused")


@pytest.mark.parametrize("cache", [False, True])
def test_a_fetch_tells_where_its_client_came_to(site, raw_server, cache):
    server = raw_server()
    weir = start(site, server, cache=cache, upstream={"proxy_protocol": "v1"}, listeners={"web": {"proxy_protocol": True}})
    with weir.client() as client:
        client.send(b"PROXY TCP4 192.0.2.1 198.51.100.7 1111 443\r\nGET / HTTP/1.1\r\nHost: t.example\r\n\r\n")
        up = server.accept()
        assert up.read_until(b"\r\n") == b"PROXY TCP4 192.0.2.1 198.51.100.7 1111 443\r\n"
        up.read_request()
        up.respond(headers={"Cache-Control": "max-age=60"}, body=b"x")
        assert client.read_response().body == b"x"


def test_an_origin_that_fails_is_not_asked_anew_for_each_stale_answer(web):  # RFC 5861 §3: nobody waits, and nobody hammers
    failures = [Answer(503, body=b"down")] * 500
    web.store(fresh(b"old", "max-age=1, stale-while-revalidate=600"), *failures)
    outlive(1)
    before = web.asked
    for _ in range(100):
        answer = web.get()
        assert (answer.status, answer.body) == (200, b"old"), answer
    assert 1 <= web.asked - before <= 20


def test_what_was_purged_softly_needs_leave_to_be_used_when_the_origin_fails(web):
    web.store(fresh(b"old", 'max-age=600'), Answer(503, body=b"down"), Answer(503, body=b"down"))
    answer = web.weir.admin.request("POST", "/api/v1/cache/purge", {"url": f"http://{web.host}{web.path}", "soft": True})
    assert answer.status == 200, answer.text
    assert web.get().status == 503
