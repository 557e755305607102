"""HTTP/2 to servers: `protocol: http2` and `auto`. The servers are python's h2, or frames that the tests write."""

import random
import signal
import struct
import threading
import time

import hpack
import pytest

from harness import Reply, SCALE, Deadline, wait_until
from harness.h2_server import (CONTINUATION, DATA, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE, Gone, H2Server,
                               frame)
from harness.http_backend import pattern
from harness.raw_client import trusting
from harness.raw_server import serving
from harness.wire import Closed
from test_h2 import H2

END_STREAM, END_HEADERS, ACK = 1, 4, 1
MiB = 1 << 20
ROUTES = [{"upstream": "app"}]


@pytest.fixture
def h2_server():
    servers = []

    def make(handler=None, **options):
        servers.append(H2Server(handler, **options))
        return servers[-1]
    yield make
    for each in servers:
        each.close()


def echo(request):
    request.respond(body=request.read(), headers=[("x-method", request[":method"])])


def upstream(*servers, **options):
    return {"app": {"protocol": "http2", "servers": [s.address for s in servers], **options}}


@pytest.fixture
def start(site):
    def start_(*servers, routes=ROUTES, listeners=None, top=None, **options):
        return site(routes, upstream(*servers, **options), listeners, workers=1, **(top or {}))
    return start_


def ask_in_thread(weir, answers, target="/", **options):
    def run():
        try:
            with weir.client() as client:
                answers.append(client.request(target=target, seconds=30, **options))
        except (Closed, OSError, TimeoutError) as error:
            answers.append(error)
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def statuses(answers):
    return sorted(getattr(a, "status", repr(a)) for a in answers)


# -- what the server sees, and what comes back -------------------------------------------------------------------------------

def test_a_request_comes_as_rfc_9113_wants_it(start, h2_server):
    server = h2_server()
    weir = start(server)
    with weir.client() as client:
        client.send_request(target="/a/b?q=1", headers=[("X-Big-Name", "Value"), ("Connection", "keep-alive, X-Hop"), ("X-Hop", "1"),
                                                        ("Cookie", "a=1; b=2"), ("TE", "trailers"), ("Keep-Alive", "5")])
        request = server.next_request()
        request.respond(body="hello", headers=[("x-answer", "1")])
        answer = client.read_response()
    assert request.fields[:4] == [(":method", "GET"), (":scheme", "http"), (":authority", "t.example"), (":path", "/a/b?q=1")]
    names = [k for k, _ in request.fields]
    assert names == [n.lower() for n in names]
    assert not {"host", "connection", "x-hop", "keep-alive", "transfer-encoding", "upgrade"} & set(names)
    assert request["x-big-name"] == "Value" and request["te"] == "trailers" and request["via"] == "1.1 weir"
    assert request["x-forwarded-for"] == "127.0.0.1" and request["x-forwarded-proto"] == "http"
    assert "; ".join(v for k, v in request.fields if k == "cookie") == "a=1; b=2"
    assert request.ended and request.body == b""
    assert answer.status == 200 and answer.body == b"hello" and answer["x-answer"] == "1"
    assert answer.fields.tokens("via") == ["2.0 weir"]


def test_a_client_of_http_2_is_told_in_via(start, h2_server):
    server = h2_server()
    weir = start(server)
    with H2(weir.port()) as client:
        stream = client.request()
        request = server.next_request()
        assert request["via"] == "2.0 weir" and request["te"] is None
        request.respond(body="x")
        assert client.answer(stream).get("via") == "2.0 weir"


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_goes_there_and_back(start, h2_server, method, chunked):
    server = h2_server(echo)
    weir = start(server)
    body = pattern(300_000)
    with weir.client() as client:
        if chunked:
            client.send(f"{method} / HTTP/1.1\r\nHost: t.example\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
            for i in range(0, len(body), 50_000):
                client.send(b"%x\r\n%s\r\n" % (50_000, body[i:i + 50_000]))
            client.send(b"0\r\n\r\n")
        else:
            client.send_request(method, body=body)
        answer = client.read_response(seconds=20)
        assert answer.body == body and answer["x-method"] == method
    assert server.requests[0]["content-length"] == (None if chunked else "300000")


def test_large_bodies_both_ways(start, h2_server):
    server = h2_server(echo)
    weir = start(server)
    body = pattern(8 * MiB)
    with H2(weir.port()) as client:
        assert client.ask(method="POST", body=body).body == body
    with weir.client() as client:
        assert client.request("POST", body=body, seconds=60).body == body


def test_an_empty_body_with_a_length(start, h2_server):
    weir = start(h2_server(echo))
    with weir.client() as client:
        assert client.request("POST", body=b"").body == b""
        assert client.request("POST", headers=[("Content-Length", "0")]).status == 200


@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_a_body(start, h2_server, status):
    weir = start(h2_server(lambda r: r.respond(status)))
    with weir.client() as client:
        for _ in range(2):
            answer = client.get()
            assert answer.status == status and answer.body == b""


def test_an_answer_without_body_or_length_has_an_end(start, h2_server):
    weir = start(h2_server(lambda r: r.respond(302, [("location", "/x")])))
    with weir.client() as client:
        for _ in range(2):
            answer = client.get()
            assert answer.status == 302 and answer.body == b"" and answer["content-length"] == "0"


def test_head_has_a_length_and_no_body(start, h2_server):
    weir = start(h2_server(lambda r: r.respond(headers=[("content-length", "5000")])))
    with weir.client() as client:
        for _ in range(2):
            answer = client.request("HEAD")
            assert answer.status == 200 and answer["content-length"] == "5000" and answer.body == b""


def test_trailers_both_ways(start, h2_server):
    def handler(request):
        request.read()
        assert request.trailers == [("x-sum", "7")]
        request.respond(body="abc", trailers=[("x-end", "yes"), ("grpc-status", "0")])
    server = h2_server(handler)
    weir = start(server)
    with weir.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: t.example\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n")
        answer = client.read_response()
        assert answer.body == b"abc" and answer.trailers == [("x-end", "yes"), ("grpc-status", "0")]
    with H2(weir.port()) as client:
        stream = client.request(method="POST", end=False)
        client.data(stream, b"abc", end=False)
        client.head(stream, [("x-sum", "7")])
        s = client.answer(stream)
        assert s.body == b"abc" and s.trailers == [("x-end", "yes"), ("grpc-status", "0")]
    assert not server.failures


def test_trailers_without_a_body(start, h2_server):
    def handler(request):
        request.head()
        request.end_with([("grpc-status", "5")])
    weir = start(h2_server(handler))
    with H2(weir.port()) as client:
        s = client.ask()
        assert s.body == b"" and s.trailers == [("grpc-status", "5")]


def test_interim_responses_come_through(start, h2_server):
    def handler(request):
        request.inform(103, [("link", "</a>; rel=preload")])
        request.respond(body="done")
    weir = start(h2_server(handler))
    with weir.client() as client:
        answer = client.get()
        assert answer.body == b"done" and [i[0] for i in answer.interim] == [103]


def test_expect_100_continue(start, h2_server):
    server = h2_server()
    weir = start(server)
    with weir.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: t.example\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        request = server.next_request()
        assert request["expect"] == "100-continue" and request.body == b""
        request.inform(100)
        assert client.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 100")
        client.send(b"body")
        request.respond(body=request.read())
        assert client.read_response().body == b"body"


def test_the_answer_may_begin_before_the_request_ends_and_both_go_on(start, h2_server):
    server = h2_server()
    weir = start(server)
    with H2(weir.port()) as client:
        stream = client.request(method="POST", end=False)
        request = server.next_request()
        request.head()
        client.until(lambda: client.streams[stream].headers)
        for i in range(50):
            client.data(stream, b"ping%02d" % i, end=False)
            request.read((i + 1) * 6)
            request.data(b"pong%02d" % i)
            client.until(lambda: len(client.streams[stream].body) == (i + 1) * 6)
        client.data(stream, b"", end=True)
        request.read()
        request.end_with([("grpc-status", "0")])
        s = client.answer(stream)
        assert s.trailers == [("grpc-status", "0")] and s.body.endswith(b"pong49")


def test_two_ways_may_be_silent_for_longer_than_a_body_may(start, h2_server):
    server = h2_server()
    weir = start(server, top={"timeouts": {"body": "300ms", "response": "300ms"}})
    with H2(weir.port()) as client:
        stream = client.request(method="POST", end=False)
        request = server.next_request()
        request.head()
        client.until(lambda: client.streams[stream].headers)
        time.sleep(1)  # longer than the limit of a body: nothing may happen
        client.data(stream, b"still here", end=True)
        assert request.read() == b"still here"
        request.data(b"so am I", end=True)
        assert client.answer(stream).body == b"so am I"


def test_an_early_answer_ends_the_request(start, h2_server):
    server = h2_server()
    weir = start(server)
    with H2(weir.port()) as client:
        stream = client.request(method="POST", end=False)
        request = server.next_request()
        request.respond(413, body="too much")
        s = client.answer(stream)
        assert s.status == 413 and s.body == b"too much"
        request.peer.wait(lambda: request.reset is not None)
        assert request.reset == 0


# -- connections ------------------------------------------------------------------------------------------------------------

def test_requests_share_a_connection(start, h2_server):
    server = h2_server()
    weir = start(server)
    answers = []
    threads = [ask_in_thread(weir, answers, f"/{i}") for i in range(30)]
    requests = server.next_requests(30)
    for request in reversed(requests):
        request.respond(body=request.path)
    for thread in threads:
        thread.join()
    assert statuses(answers) == [200] * 30 and len({a.body for a in answers}) == 30
    assert len(server.peers) == 1


def test_no_more_requests_at_once_than_the_server_allows(start, h2_server):
    server = h2_server(settings={3: 3})
    weir = start(server)
    with weir.client() as client:  # what it allows is known from now on
        client.send_request()
        server.next_request().respond(body="first")
        client.read_response()
    answers = []
    threads = [ask_in_thread(weir, answers, f"/{i}") for i in range(10)]
    requests = server.next_requests(10)
    for peer in server.peers:
        assert len([r for r in requests if r.peer is peer]) <= 3
    assert len(server.peers) == 4
    for request in requests:
        request.respond(body="ok")
    for thread in threads:
        thread.join()
    assert statuses(answers) == [200] * 10 and not server.failures


def test_a_limit_that_is_not_known_yet_is_waited_for(start, h2_server):
    """One more than it allows, and this server ends the connection."""
    server = h2_server(echo, settings={3: 2})
    weir = start(server)
    with H2(weir.port()) as client:
        streams = [client.request(method="POST", body=b"x", path=f"/{i}") for i in range(8)]
        assert [client.answer(s).status for s in streams] == [200] * 8
    assert not server.failures


def test_a_limit_that_is_not_told_loses_no_request(start, h2_server):
    """What is too many is refused by the server, and sent again when the others are through or elsewhere."""
    lock, open_requests = threading.Lock(), {}

    def handler(request):
        with lock:
            mine = open_requests.setdefault(request.peer, set())
            too_many = len(mine) >= 2
            if not too_many:
                mine.add(request)
        if too_many:
            request.refuse()
            return
        request.respond(body=request.read())
        with lock:
            mine.discard(request)
    weir = start(h2_server(handler))
    with H2(weir.port()) as client:
        streams = [client.request(method="POST", body=b"x", path=f"/{i}") for i in range(4)]
        assert [client.answer(s).status for s in streams] == [200] * 4


def test_keepalive_requests_is_a_limit(start, h2_server):
    server = h2_server(echo)
    weir = start(server, keepalive={"requests": 3})
    with weir.client() as client:
        for _ in range(7):
            assert client.get().status == 200
    assert [len(p.order) for p in server.peers] == [3, 3, 1]
    wait_until(lambda: server.peers[0].gone and server.peers[0].goaway == 0)


def test_an_idle_connection_is_closed_in_time(start, h2_server):
    server = h2_server(echo)
    weir = start(server, top={"timeouts": {"upstream_keepalive": "200ms"}})
    assert weir.get().status == 200
    wait_until(lambda: server.peers[0].gone)
    assert server.peers[0].goaway == 0
    assert weir.get().status == 200


def test_connections_are_counted(start, h2_server):
    server = h2_server()
    weir = start(server)
    answers = []
    thread = ask_in_thread(weir, answers)
    request = server.next_request()
    metrics = weir.admin.metrics()
    assert metrics.sum("weir_upstream_connections", upstream="app", state="busy") == 1
    assert metrics.sum("weir_upstream_connections", upstream="app", state="idle") == 0
    request.respond(body="x")
    thread.join()
    wait_until(lambda: weir.admin.metrics().sum("weir_upstream_connections", upstream="app", state="idle") == 1)
    weir.await_metric("weir_upstream_connections", 0, upstream="app", state="busy")


def test_a_goaway_lets_what_it_covers_finish_and_the_rest_go_elsewhere(start, h2_server):
    server = h2_server()
    weir = start(server)
    answers = []
    threads = [ask_in_thread(weir, answers, "/first", method="POST", body=b"1")]
    first = server.next_request()
    threads.append(ask_in_thread(weir, answers, "/second", method="POST", body=b"2"))
    second = server.next_request()
    first.peer.say_goaway(last=first.stream)
    again = server.next_request()
    assert again.path == "/second" and again.read() == b"2" and again.peer is not second.peer
    threads.append(ask_in_thread(weir, answers, "/third"))
    third = server.next_request()
    assert third.peer is again.peer
    for request in (again, third, first):
        request.respond(body=request.path)
    for thread in threads:
        thread.join()
    assert sorted(a.body for a in answers) == [b"/first", b"/second", b"/third"]
    wait_until(lambda: first.peer.gone)


def test_a_refused_post_is_sent_again(start, h2_server):
    server = h2_server()
    weir = start(server)
    with weir.client() as client:
        client.send_request("POST", body=b"once")
        server.next_request().refuse()
        request = server.next_request()
        assert request.read() == b"once"
        request.respond(body="ok")
        assert client.read_response().body == b"ok"


def test_a_server_that_refuses_everything_is_given_up(start, h2_server):
    server = h2_server(lambda r: r.refuse())
    weir = start(server)
    assert weir.get().status == 502
    assert 2 <= len(server.requests) <= 8


def test_a_post_that_was_reset_is_not_sent_again(start, h2_server):
    server = h2_server(lambda r: r.refuse(code=2))
    weir = start(server)
    with weir.client() as client:
        assert client.request("POST", body=b"once").status == 502
    assert len(server.requests) == 1


def test_a_get_that_was_reset_goes_to_another_server(start, h2_server):
    bad, good = h2_server(lambda r: r.refuse(code=2)), h2_server(lambda r: r.respond(body="good"))
    weir = start(bad, good)
    with weir.client() as client:
        for _ in range(4):
            assert client.get().body == b"good"
    assert bad.requests


def test_a_reset_in_the_middle_cuts_the_answer(start, h2_server):
    server = h2_server()
    weir = start(server)
    with weir.client() as client:
        client.send_request()
        request = server.next_request()
        request.head()
        request.data(b"half")
        client.read_until(b"half")
        request.refuse(code=2)
        assert b"0\r\n\r\n" not in client.read_to_end()
    with H2(weir.port()) as client:
        stream = client.request()
        request = server.next_request()
        request.head()
        request.data(b"half")
        client.until(lambda: client.streams[stream].body == b"half")
        request.refuse(code=2)
        assert client.answer(stream).reset is not None and not client.streams[stream].ended


@pytest.mark.parametrize("how", ["close", "kill"])
def test_a_server_that_dies_loses_no_get(start, h2_server, how):
    first, second = h2_server(), h2_server()
    weir = start(first, second)
    answers = []
    threads = [ask_in_thread(weir, answers, f"/{i}") for i in range(10)]
    wait_until(lambda: len(first.requests) + len(second.requests) == 10)
    dying, living = (first, second) if first.requests else (second, first)
    count = len(dying.requests)
    assert count
    for request in living.requests:
        request.respond(body="living")
    dying.sock.close()
    for peer in dying.peers:
        getattr(peer, how)()
    wait_until(lambda: len(living.requests) == 10)
    for request in living.requests[10 - count:]:
        request.respond(body="living")
    for thread in threads:
        thread.join()
    assert statuses(answers) == [200] * 10


def test_a_post_on_a_connection_that_breaks_is_not_sent_twice(start, h2_server):
    server = h2_server()
    weir = start(server)
    with weir.client() as client:
        client.send_request("POST", body=b"once")
        request = server.next_request()
        request.read()
        request.peer.kill()
        assert client.read_response().status == 502
    assert len(server.requests) == 1


def test_an_idle_connection_that_the_server_closed_is_no_matter(start, h2_server):
    server = h2_server(echo)
    weir = start(server)
    with weir.client() as client:
        for i in range(5):
            assert client.get().status == 200
            server.peers[-1].close()
            wait_until(lambda: weir.admin.metrics().sum("weir_upstream_connections", upstream="app") == 0)
    assert len(server.peers) == 5


def test_a_server_that_answers_no_ping_is_left(start, h2_server):
    dead, good = h2_server(), h2_server(lambda r: r.respond(body="good"))
    weir = start(dead, good)
    answers = []
    threads = [ask_in_thread(weir, answers) for _ in range(2)]
    request = dead.next_request()
    request.peer.reading.clear()
    for thread in threads:
        thread.join()
    assert statuses(answers) == [200, 200]
    wait_until(lambda: "does not answer a ping" in weir.log())
    request.peer.reading.set()


def test_a_server_that_thinks_is_pinged_and_left_alone(start, h2_server):
    server = h2_server()
    weir = start(server)
    answers = []
    thread = ask_in_thread(weir, answers)
    request = server.next_request()
    request.peer.wait(lambda: request.peer.pings == 1, 30)
    time.sleep(6)  # longer than the answer to a PING is waited for
    request.respond(body="thought")
    thread.join()
    assert answers[0].body == b"thought" and request.peer.pings == 1


def test_cancelled_requests_are_reset_and_the_connection_stays(start, h2_server):
    server = h2_server()
    weir = start(server)
    for _ in range(5):
        client = weir.client()
        client.send_request()
        request = server.next_request()
        client.reset()
        request.peer.wait(lambda: request.reset is not None)
        assert request.reset == 8
    answers = []
    thread = ask_in_thread(weir, answers)
    server.next_request().respond(body="ok")
    thread.join()
    assert answers[0].body == b"ok" and len(server.peers) == 1


def test_a_slow_answer_is_a_504_and_the_others_go_on(start, h2_server):
    server = h2_server()
    weir = start(server, routes=[{"path": "/slow", "upstream": "app", "timeouts": {"response": "300ms"}}, {"upstream": "app"}])
    answers, slow = [], []
    thread = ask_in_thread(weir, answers)
    other = server.next_request()
    slow_thread = ask_in_thread(weir, slow, "/slow")
    request = server.next_request()
    slow_thread.join()
    assert statuses(slow) == [504]
    request.peer.wait(lambda: request.reset is not None)
    other.respond(body="ok")
    thread.join()
    assert answers[0].body == b"ok"


# -- flow control -----------------------------------------------------------------------------------------------------------

def test_a_client_that_takes_nothing_stops_its_stream_alone(start, h2_server):
    server = h2_server()
    weir = start(server)
    before = weir.rss_bytes()
    client = weir.client(receive_buffer=8192)
    client.send_request(target="/big")
    request = server.next_request()
    sent = [0]

    def send():
        request.head()
        try:
            while True:
                request.data(bytes(1 << 16), seconds=600)
                sent[0] += 1 << 16
        except (Gone, TimeoutError):
            pass
    threading.Thread(target=send, daemon=True).start()
    last = -1
    while sent[0] != last:  # until nothing moves any more
        last = sent[0]
        time.sleep(1)
    assert sent[0] < 16 * MiB
    if not weir.is_sanitized:
        assert weir.rss_bytes() - before < 16 * MiB
    for _ in range(5):
        answers = []
        thread = ask_in_thread(weir, answers, "/other")
        server.next_request().respond(body=pattern(2 * MiB))
        thread.join()
        assert answers[0].body == pattern(2 * MiB)
    assert len(server.peers) == 1
    client.reset()
    request.peer.wait(lambda: request.reset is not None)


def test_a_client_that_was_slow_gets_all_of_it(start, h2_server):
    server = h2_server(lambda r: r.respond(body=pattern(6 * MiB)))
    weir = start(server)
    with H2(weir.port(), window=False) as client:
        stream = client.request()
        client.until(lambda: len(client.streams[stream].body) == 65535)
        client.window = True
        update = struct.pack(">I", 60000)
        client.send(frame(WINDOW_UPDATE, 0, 0, update) + frame(WINDOW_UPDATE, 0, stream, update))
        assert client.answer(stream, 30).body == pattern(6 * MiB)


def test_a_server_that_takes_nothing_stops_the_client(start, h2_server):
    server = h2_server()
    weir = start(server)
    with H2(weir.port()) as client:
        slow = client.request(method="POST", end=False)
        request = server.next_request()
        request.peer.window = False
        body, sent = bytes(16384), 0
        deadline = Deadline(5)
        while not deadline.passed():
            if min(client.room(0), client.room(slow)) >= len(body):
                client.data(slow, body, end=False)
                sent += len(body)
                continue
            try:
                client.step(0.3)
            except TimeoutError:
                break
        assert sent < 2 * MiB
        quick = client.request(path="/quick")
        server.next_request().respond(body="quick")
        assert client.answer(quick).body == b"quick"
        with request.peer.lock:
            request.peer.window = True
            request.peer.h2.increment_flow_control_window(1 << 20, None)
            request.peer.h2.increment_flow_control_window(1 << 20, request.stream)
            request.peer.flush()
        client.data(slow, b"end")
        assert len(request.read(seconds=20)) == sent + 3
        request.respond(body="taken")
        assert client.answer(slow).body == b"taken"


# -- reloads and drains -----------------------------------------------------------------------------------------------------

def test_a_reload_leaves_streams_alone(start, h2_server):
    server = h2_server()
    weir = start(server)
    answers = []
    thread = ask_in_thread(weir, answers)
    request = server.next_request()
    request.head()
    request.data(b"before ")
    weir.reload(routes=[{"upstream": "app", "response_headers": {"set": {"x-new": "1"}}}])
    request.data(b"after", end=True)
    thread.join()
    assert answers[0].body == b"before after"
    thread = ask_in_thread(weir, answers)
    later = server.next_request()
    assert later.peer is request.peer
    later.respond(body="x")
    thread.join()
    assert answers[1]["x-new"] == "1"


def test_a_server_that_is_gone_after_a_reload_is_left_when_its_streams_end(start, h2_server):
    old, new = h2_server(), h2_server(lambda r: r.respond(body="new"))
    weir = start(old)
    answers = []
    thread = ask_in_thread(weir, answers)
    request = old.next_request()
    weir.reload(upstreams=upstream(new))
    assert weir.get().body == b"new"
    request.respond(body="old")
    thread.join()
    assert answers[0].body == b"old"
    wait_until(lambda: old.peers[0].gone)


def test_a_protocol_may_change_by_a_reload(start, h2_server, http_backend):
    server, backend = h2_server(echo), http_backend()
    weir = start(server)
    assert weir.get().status == 200
    weir.reload(upstreams={"app": {"servers": [backend.address]}})
    assert weir.get().body == b"backend"
    weir.reload(upstreams=upstream(server))
    assert weir.get().status == 200


def test_a_stop_ends_connections_with_a_goaway(start, h2_server):
    server = h2_server(echo)
    weir = start(server)
    assert weir.get().status == 200
    weir.signal(signal.SIGTERM)
    weir.wait()
    wait_until(lambda: server.peers[0].gone)


def test_a_proxy_header_makes_a_connection_one_clients_alone(start, raw_server):
    seen = []

    def script(connection):
        seen.append(connection.read_until(b"\r\n"))
        connection.read_until(b"SM\r\n\r\n")
        encoder = hpack.Encoder()
        connection.send(frame(SETTINGS, 0, 0))
        connection.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, encoder.encode([(":status", "204")])))
        connection.read_to_end(20)
    server = raw_server(script)
    weir = start(server, proxy_protocol="v1")
    with weir.client() as client:
        for _ in range(3):
            assert client.get().status == 204
    assert len(seen) == 3 and all(line.startswith(b"PROXY TCP4 127.0.0.1 127.0.0.1 ") for line in seen)


# -- TLS and ALPN -----------------------------------------------------------------------------------------------------------

TRUST = {"verify": False}


def tls_server(cert, alpn):
    return serving(cert[0], cert[1], alpn=alpn)


def test_http2_over_tls_offers_h2_alone(start, h2_server, localhost_cert):
    server = h2_server(echo, tls=tls_server(localhost_cert, ["h2", "http/1.1"]))
    weir = start(server, tls=TRUST)
    with weir.client() as client:
        for _ in range(3):
            assert client.request("POST", body=pattern(100_000)).body == pattern(100_000)
    assert len(server.peers) == 1 and server.peers[0].sock.selected_alpn_protocol() == "h2"
    assert server.requests[0][":scheme"] == "https"


@pytest.mark.parametrize("alpn", [["http/1.1"], None])
def test_http2_over_tls_to_a_server_that_has_none_fails_with_the_reason(start, http_backend, localhost_cert, alpn):
    backend = http_backend(tls=tls_server(localhost_cert, alpn))
    weir = start(backend, tls=TRUST)
    assert weir.get().status == 502
    assert not backend.requests
    reasons = ("the server did not choose h2 by ALPN", "no application protocol")
    wait_until(lambda: any(r in weir.log() for r in reasons))


def test_prior_knowledge_to_a_server_of_http_1_fails_with_the_reason(start, http_backend):
    backend = http_backend()
    weir = start(backend)
    assert weir.get().status == 502
    wait_until(lambda: "does not speak HTTP/2" in weir.log())


def test_auto_takes_what_alpn_chooses(site, h2_server, http_backend, localhost_cert):
    two = h2_server(lambda r: r.respond(body="two"), tls=tls_server(localhost_cert, ["h2", "http/1.1"]))
    one = http_backend("one", tls=tls_server(localhost_cert, ["http/1.1"]))
    bare = http_backend("bare", tls=tls_server(localhost_cert, None))
    weir = site([{"path": "/two", "upstream": "two"}, {"path": "/one", "upstream": "one"}, {"upstream": "bare"}],
                {name: {"protocol": "auto", "tls": TRUST, "servers": [s.address]} for name, s in (("two", two), ("one", one), ("bare", bare))},
                workers=1)
    with weir.client() as client:
        for _ in range(4):
            assert client.get("/two").body == b"two"
            assert client.get("/one").body == b"one"
            assert client.get("/").body == b"bare"
    assert len(two.peers) == 1 and one.connection_count == 1 and bare.connection_count == 1


def test_auto_with_many_at_once_before_anything_is_known(site, h2_server, http_backend, localhost_cert):
    two = h2_server(lambda r: r.respond(body="two"), tls=tls_server(localhost_cert, ["h2"]))
    one = http_backend("one", tls=tls_server(localhost_cert, ["http/1.1"]))
    weir = site([{"path": "/two", "upstream": "two"}, {"upstream": "one"}],
                {name: {"protocol": "auto", "tls": TRUST, "servers": [s.address]} for name, s in (("two", two), ("one", one))}, workers=1)
    with H2(weir.port()) as client:
        streams = [client.request(path=path) for _ in range(20) for path in ("/two", "/one")]
        bodies = [client.answer(s).body for s in streams]
    assert bodies == [b"two", b"one"] * 20
    assert len(two.peers) == 1


def test_auto_without_tls_is_http_1(site, http_backend):
    backend = http_backend()
    weir = site(ROUTES, {"app": {"protocol": "auto", "servers": [backend.address]}})
    assert weir.get().body == b"backend"


def test_auto_notices_that_a_server_has_changed(site, h2_server, http_backend, localhost_cert):
    one = http_backend("one", tls=tls_server(localhost_cert, ["http/1.1"]))
    weir = site(ROUTES, {"app": {"protocol": "auto", "tls": TRUST, "servers": [one.address]}}, workers=1)
    assert weir.get().body == b"one"
    port = one.port
    one.drop_connections()
    one.close()
    wait_until(lambda: weir.admin.metrics().sum("weir_upstream_connections", upstream="app") == 0)
    two = h2_server(lambda r: r.respond(body="two"), tls=tls_server(localhost_cert, ["h2", "http/1.1"]), port=port)
    for _ in range(3):
        assert wait_until(lambda: weir.get().body == b"two")
    wait_until(lambda: len(two.peers) <= 2)


def test_an_upgrade_over_auto_goes_over_http_1(site, raw_server, localhost_cert):
    def script(connection):
        assert connection.sock.selected_alpn_protocol() == "http/1.1"
        request = connection.read_request()
        assert request["upgrade"] == "websocket"
        connection.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        connection.send(connection.read_exact(5))
    server = raw_server(script, tls=tls_server(localhost_cert, ["h2", "http/1.1"]))
    weir = site(ROUTES, {"app": {"protocol": "auto", "tls": TRUST, "servers": [server.address]}})
    with weir.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: t.example\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n")
        assert client.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 101")
        client.send(b"hello")
        assert client.read_exact(5) == b"hello"
    assert not server.failures


# -- servers that misbehave ---------------------------------------------------------------------------------------------------

def block(fields, encoder=None):
    return (encoder or hpack.Encoder()).encode(fields)


def head(fields, flags=END_HEADERS | END_STREAM):
    return lambda r: frame(HEADERS, flags, r.stream, block(fields))


BAD = {
    "no status": head([("x", "1")]),
    "two statuses": head([(":status", "200"), (":status", "200")]),
    "status behind a field": head([("x", "1"), (":status", "200")]),
    "status of two digits": head([(":status", "20")]),
    "status of words": head([(":status", "abc")]),
    "status past 599": head([(":status", "600")]),
    "a request's field": head([(":status", "200"), (":path", "/")]),
    "101": head([(":status", "101")], END_HEADERS),
    "capitals": head([(":status", "200"), ("X-Capital", "1")]),
    "connection": head([(":status", "200"), ("connection", "close")]),
    "transfer-encoding": head([(":status", "200"), ("transfer-encoding", "chunked")]),
    "line break": head([(":status", "200"), ("x", "a\r\nset-cookie: b")]),
    "nul": head([(":status", "200"), ("x", "a\0b")]),
    "space in a name": head([(":status", "200"), ("x y", "b")]),
    "empty name": head([(":status", "200"), ("", "b")]),
    "length of words": head([(":status", "200"), ("content-length", "5x")]),
    "two lengths": head([(":status", "200"), ("content-length", "5"), ("content-length", "6")]),
    "length without body": head([(":status", "200"), ("content-length", "5")]),
    "interim that ends": head([(":status", "103")]),
    "data first": lambda r: frame(DATA, END_STREAM, r.stream, b"abc"),
    "too many interim": lambda r: frame(HEADERS, END_HEADERS, r.stream, block([(":status", "103")])) * 150,
    "a large head": lambda r: b"".join([frame(HEADERS, 0, r.stream, block([(":status", "200")])),
                                        *[frame(CONTINUATION, 0, r.stream, block([(f"x-{i}", "v" * 8000)])) for i in range(5)],
                                        frame(CONTINUATION, END_HEADERS, r.stream)]),
    "many fields": lambda r: frame(HEADERS, END_HEADERS | END_STREAM, r.stream, block([(":status", "200")] + [(f"x{i}", "") for i in range(400)])),
}


@pytest.mark.parametrize("name", BAD)
def test_a_malformed_response_is_a_502(start, h2_server, name):
    def handler(request):
        if request.path == "/bad":
            request.peer.raw(BAD[name](request))
        else:
            request.respond(body="good")
    server = h2_server(handler)
    weir = start(server)
    with weir.client() as client:
        assert client.get("/bad").status == 502
        assert client.get("/good").body == b"good"


LATE = {
    "more than its length": lambda r: frame(HEADERS, END_HEADERS, r.stream, block([(":status", "200"), ("content-length", "4")]))
    + frame(DATA, 0, r.stream, b"1234") + frame(DATA, END_STREAM, r.stream, b"5"),
    "less than its length": lambda r: frame(HEADERS, END_HEADERS, r.stream, block([(":status", "200"), ("content-length", "9")]))
    + frame(DATA, END_STREAM, r.stream, b"1234"),
    "bad trailers": lambda r: frame(HEADERS, END_HEADERS, r.stream, block([(":status", "200")])) + frame(DATA, 0, r.stream, b"1234")
    + frame(HEADERS, END_HEADERS | END_STREAM, r.stream, block([("content-length", "4")])),
    "a status in trailers": lambda r: frame(HEADERS, END_HEADERS, r.stream, block([(":status", "200")])) + frame(DATA, 0, r.stream, b"1234")
    + frame(HEADERS, END_HEADERS | END_STREAM, r.stream, block([(":status", "200")])),
}


@pytest.mark.parametrize("name", LATE)
def test_a_response_that_goes_wrong_is_cut(start, h2_server, name):
    def handler(request):
        if request.path == "/bad":
            request.peer.raw(LATE[name](request))
        else:
            request.respond(body="good")
    weir = start(h2_server(handler))
    with H2(weir.port()) as client:
        s = client.ask(path="/bad")
        assert s.reset is not None or s.status == 502
        assert client.ask(path="/good").body == b"good"


FLOODS = {
    "ping": lambda r: frame(PING, 0, 0, bytes(8)) * 5000,
    "settings": lambda r: frame(SETTINGS, 0, 0) * 500,
    "empty data": lambda r: frame(HEADERS, END_HEADERS, r.stream, block([(":status", "200")])) + frame(DATA, 0, r.stream) * 5000,
    "window updates": lambda r: frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1)) * 20000,
    "unknown frames": lambda r: frame(0x42, 0, 0, b"x") * 5000,
    "continuation": lambda r: frame(HEADERS, 0, r.stream, block([(":status", "200")])) + frame(CONTINUATION, 0, r.stream) * 5000,
    "a head bomb": lambda r: frame(HEADERS, END_HEADERS, r.stream, b"\x88\x40\x01x\x7f\x80\x1e" + b"v" * 3967 + b"\xbe" * 12000),
    "bad preface": lambda r: b"\0" * 200,
    "goaway with an error": lambda r: frame(GOAWAY, 0, 0, struct.pack(">II", 0, 11)),
    "a push": lambda r: frame(5, END_HEADERS, r.stream, struct.pack(">I", 2) + block([(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")])),
    "a frame that is too large": lambda r: frame(DATA, 0, r.stream, bytes(20000)),
    "data of a stream that never was": lambda r: frame(DATA, 0, 77, b"x"),
    "a window past its limit": lambda r: frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 0x7fffffff)),
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_ends_its_connection_and_nothing_else(start, h2_server, name):
    def handler(request):
        if request.path == "/bad":
            request.peer.raw(FLOODS[name](request))
        else:
            request.respond(body="good")
    server = h2_server(handler)
    weir = start(server)
    with weir.client() as client:
        client.send_request("POST", "/bad", body=b"x")
        wait_until(lambda: server.peers[0].gone, 20)
        client.close()
    wait_until(lambda: all(p.gone for p in server.peers), 20, "the end of what tried again")
    with weir.client() as client:
        assert client.get("/good").body == b"good"


def test_a_server_that_gives_its_window_back_message_by_message_does_not_flood(start, h2_server):
    """As servers of gRPC do; and many messages may come in one frame."""
    def handler(request):
        request.read(60_000)
        request.peer.raw(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 6)) * 10_000)
        request.respond(body="good")
    weir = start(h2_server(handler))
    assert weir.get(method="POST", body=bytes(60_000)).body == b"good"


def test_an_answer_in_single_bytes_is_whole(start, h2_server):
    def handler(request):
        data = frame(HEADERS, END_HEADERS, request.stream, block([(":status", "200"), ("x-a", "b")])) + \
            frame(DATA, 8, request.stream, b"\x03" + b"hello" + bytes(3)) + frame(DATA, END_STREAM, request.stream, b" you")
        with request.peer.lock:
            for i in range(len(data)):
                request.peer.raw(data[i:i + 1])
    weir = start(h2_server(handler))
    assert weir.get().body == b"hello you"


def test_many_small_frames_come_in_order(start, h2_server):
    def handler(request):
        request.head()
        for i in range(0, 3000, 100):
            request.peer.raw(b"".join(frame(DATA, 0, request.stream, b"%04d" % j) for j in range(i, i + 100)))
        request.peer.raw(frame(DATA, END_STREAM, request.stream))
    weir = start(h2_server(handler))
    assert weir.get().body == b"".join(b"%04d" % i for i in range(3000))


def test_random_bytes_do_no_harm(start, h2_server):
    rng = random.Random(7)

    def handler(request):
        if request.path == "/good":
            request.respond(body="good")
            return
        data = bytearray(frame(HEADERS, END_HEADERS, request.stream, block([(":status", "200")])) + frame(DATA, END_STREAM, request.stream, b"abc"))
        for _ in range(rng.randrange(1, 5)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        request.peer.raw(bytes(data))
        request.peer.close()
    weir = start(h2_server(handler))
    for _ in range(60):
        try:
            weir.get("/bad")
        except (Closed, OSError, AssertionError):
            pass
    assert weir.get("/good").body == b"good"


def test_weir_behind_weir(site, http_backend):
    backend = http_backend()
    inner = site(ROUTES, {"app": {"servers": [backend.address]}})
    outer = site(ROUTES, {"app": {"protocol": "http2", "servers": [f"127.0.0.1:{inner.port()}"]}})
    with outer.client() as client:
        assert client.get("/bytes/300000").body == pattern(300_000)
        assert client.request("POST", "/echo", body=pattern(200_000)).body == pattern(200_000)
        assert client.get("/chunked/70000").body == pattern(70_000)
    inner.reload(routes=[{"upstream": "app"}, {"path": "/x", "respond": {"status": 200, "body": "x"}}])
    assert outer.get("/x").body == b"x"
