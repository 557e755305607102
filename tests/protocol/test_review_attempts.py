"""Attempts at the edges: bodies that are no more at hand, servers that refuse everything, the places where clocks meet."""

import struct
import threading

import pytest

from harness import Reply, free_port, wait_until
from harness.admin import find
from harness.h2_server import HEADERS, SETTINGS, H2Server, frame
from harness.wire import Closed
from test_retries import story, words_of


@pytest.fixture
def h2_server():
    servers = []

    def make(handler=None, **options):
        servers.append(H2Server(handler, **options))
        return servers[-1]
    yield make
    for each in servers:
        each.close()


def over_h2(site, servers, route=None, workers=1, timeouts=None, **upstream):
    return site([{"name": "r", "upstream": "app", **(route or {})}],
                {"app": {"protocol": "http2", "servers": [s if isinstance(s, str) else s.address for s in servers], **upstream}},
                workers=workers, **({"timeouts": timeouts} if timeouts else {}))


# -- a body that was sent, and is not at hand any more ---------------------------------------------------------------------------

def test_a_body_that_went_to_a_server_without_http2_is_not_sent_on_in_part(site, raw_server, h2_server):
    """What does not speak HTTP/2 has not looked at the request, but its body may be gone."""
    taken = threading.Event()

    def not_http2(connection):
        connection.read_exact(65_700)  # all that the first window lets through
        taken.wait(20)
        connection.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        connection.read_to_end(seconds=30)
    good = h2_server(lambda request: request.respond(body=str(len(request.read()))))
    weir = over_h2(site, [raw_server(not_http2), good])
    piece = b"2710\r\n" + b"x" * 10_000 + b"\r\n"
    with weir.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: t.example\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.send(piece * 11)
        taken.set()
        client.send_quietly(piece * 3 + b"0\r\n\r\n")
        assert client.read_response(seconds=20).status == 502
    assert not good.requests


# -- servers that refuse ---------------------------------------------------------------------------------------------------------

def test_a_server_that_refuses_everything_gets_no_more_than_the_budget(site, h2_server):
    server = h2_server(lambda request: request.refuse())
    weir = over_h2(site, [server], {"retries": {"budget": "0%"}})
    with weir.client() as client:
        for _ in range(150):
            assert client.get(seconds=20).status == 502
    assert 150 < len(server.requests) <= 2 * 150 + 100, "one more at once, then what the budget has"


def test_a_connection_whose_server_allows_no_requests_is_not_kept(site, raw_server):
    def answers_the_first(connection):
        connection.read_exact(24 + 9)
        connection.send(frame(SETTINGS, 0, 0, struct.pack(">HI", 3, 0)) + frame(SETTINGS, 1, 0) + frame(HEADERS, 5, 1, b"\x88"))
        connection.read_to_end(seconds=30)
        ended.append(connection)
    ended = []
    weir = over_h2(site, [raw_server(answers_the_first)])
    with weir.client() as client:
        for _ in range(5):
            client.get(seconds=20)
    wait_until(lambda: len(ended) >= 5, 10, "the connections to be closed")


def test_a_client_that_is_told_to_wait_keeps_nobody_else_from_the_server(site, http_backend):
    def limit(request):
        return Reply("429 Too Many Requests", headers=[("Retry-After", "60")]) if request.target == "/greedy" else Reply(body=b"strict")
    weir = site([{"upstream": "app", "retries": {"on": ["429"]}}],
                {"app": {"servers": [http_backend("strict", handler=limit).address, http_backend("good").address]}}, workers=1)
    with weir.client() as client:
        assert [client.get("/greedy").text for _ in range(4)] == ["good"] * 4
        assert sorted(client.get().text for _ in range(4)) == ["good"] * 2 + ["strict"] * 2


# -- clocks ----------------------------------------------------------------------------------------------------------------------

def test_who_waits_for_anothers_connection_has_its_own_time(site, raw_server, h2_server):
    """The second request waits for the SETTINGS of a server that never sends any."""
    mute = raw_server(lambda connection: connection.read_to_end(seconds=60))
    weir = over_h2(site, [mute], {"retries": {"timeout": "300ms", "attempts": 0}}, timeouts={"response": "1h", "connect": "1h"})
    answers = []

    def ask():
        with weir.client() as client:
            answers.append(client.get(seconds=2).status)
    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [504] * 3


def test_the_time_that_a_client_takes_for_its_body_is_not_the_servers(site, http_backend):
    gate = threading.Event()

    def slowly(request):
        gate.wait(0.2)
        return Reply(body=b"%d" % len(request.body))
    weir = site([{"upstream": "app", "retries": {"timeout": "5s"}}], {"app": {"servers": [http_backend("a", handler=slowly).address]}})
    with weir.client() as client:
        client.send(b"PUT / HTTP/1.1\r\nHost: t.example\r\nContent-Length: 4\r\n\r\nab")
        gate.wait(6)
        client.send(b"cd")
        assert client.read_response(seconds=20).text == "4"


# -- many servers ------------------------------------------------------------------------------------------------------------------

def test_every_server_that_cannot_be_reached_is_passed_over(site, http_backend):
    dead = [f"127.0.0.1:{free_port()}" for _ in range(11)]
    weir = site([{"upstream": "app"}], {"app": {"servers": dead + [{"address": http_backend("good").address, "backup": True}]}}, workers=1)
    with weir.client() as client:
        assert client.get(seconds=20).text == "good"


def test_a_request_that_has_failed_everywhere_does_not_queue(site):
    dead = [f"127.0.0.1:{free_port()}" for _ in range(14)]
    weir = site([{"upstream": "app"}], {"app": {"servers": dead, "queue": {"size": 1, "timeout": "30s"}}}, workers=1)
    with weir.client() as client:
        assert client.get(headers=[("X-Request-Id", "everywhere")], seconds=20).status == 502
    assert story(weir, "everywhere")["termination"] == "connect_failed"
    assert weir.admin.metrics().sum("weir_upstream_queued_total", upstream="app") == 0


# -- hedged ------------------------------------------------------------------------------------------------------------------------

def test_an_attempt_whose_twin_goes_on_costs_no_retry(site, http_backend, raw_server):
    """Of 100 retries that are saved up, the resets that the other attempt makes up for take none."""
    gate, cut_gate = threading.Event(), threading.Event()

    def cut(connection):
        connection.read_request()
        cut_gate.wait(30)
        connection.close()

    def good(request):
        gate.wait(30)
        return Reply(body=b"good")
    weir = site([{"upstream": "app", "retries": {"budget": "0%", "backoff": "0s"}}],
                {"app": {"servers": [raw_server(cut).address, http_backend("good", handler=good).address], "hedge": {"after": "30ms", "max": "100%"}}}, workers=1)
    answers = []

    def ask():
        with weir.client() as client:
            answers.append(client.get(seconds=30).text)
    threads = [threading.Thread(target=ask) for _ in range(90)]
    for thread in threads:
        thread.start()
    in_flight = lambda: [s["in_flight"] for s in find(weir.admin.upstreams(), name="app")[0]["servers"]]
    wait_until(lambda: in_flight() == [90, 90], 20, "two attempts each")
    cut_gate.set()
    wait_until(lambda: in_flight() == [0, 90], 20, "one of them to fail")
    gate.set()
    for thread in threads:
        thread.join()
    assert answers == ["good"] * 90
    with weir.client() as client:
        assert [client.get(seconds=20).text for _ in range(60)] == ["good"] * 60


# -- words -------------------------------------------------------------------------------------------------------------------------

def test_the_word_for_a_server_that_takes_no_websockets(site, h2_server):
    server = h2_server(lambda request: request.respond())
    weir = over_h2(site, [server])
    with weir.client() as client:
        client.send_request(headers=[("Connection", "upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"),
                                     ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")])
        assert client.read_response(seconds=20).status == 502
    assert words_of(weir) == {"bad_response": 1}


def test_the_word_for_a_body_that_passes_its_limit_behind_an_answer(site, raw_server):
    def early(connection):
        connection.read_request_head()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
        connection.read_to_end(seconds=30)
    weir = site([{"upstream": "app", "limits": {"body_size": "10KiB"}}], {"app": {"servers": [raw_server(early).address]}})
    with weir.client() as client:
        client.send(b"POST / HTTP/1.1\r\nHost: t.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        client.read_until(b"abc", 10)
        try:
            client.send(b"5000\r\n" + b"x" * 0x5000 + b"\r\n0\r\n\r\n")
        except (Closed, OSError):
            pass
        client.read_to_end(seconds=20)
    assert words_of(weir) == {"request_refused": 1}
