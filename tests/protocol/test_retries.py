"""`retries`: by cause, to another server, only when safe, within the budget; and the story of it in the flight recorder."""

import threading

import pytest

from harness import RawClient, Reply, SCALE, free_port, wait_until
from harness.admin import find


def tried(site, servers, retries, workers=1, **rest):
    return site([{"name": "r", "upstream": "app", "retries": retries}], {"app": {"servers": [s if isinstance(s, str) else s.address for s in servers]}}, workers=workers, **rest)


def story(weir, request_id, kind="failed"):
    """What the recorder keeps, which is written after the answer is out."""
    return wait_until(lambda: find(weir.admin.json(f"/api/v1/requests?id={request_id}")[kind], request_id=request_id)[0], 10, "the record")


def retries_of(weir):
    return weir.admin.metrics().sum("weir_retries_total", upstream="app")


SICK = "503 Service Unavailable"


@pytest.fixture
def sick(http_backend):
    return http_backend("sick", handler=lambda request: Reply(SICK, body=b"sick"))


# -- by status ------------------------------------------------------------------------------------------------------------------

def test_a_status_that_is_asked_for_is_tried_again_elsewhere(site, http_backend, sick):
    good = http_backend("good")
    weir = tried(site, [sick, good], {"on": ["503"]})
    with weir.client() as client:
        assert [client.get().text for _ in range(10)] == ["good"] * 10
    assert len(sick.targets()) == 5 and retries_of(weir) == 5
    assert sick.connection_count == 1, "its whole answer was read: the connection goes on"


def test_what_goes_elsewhere_for_its_status_goes_over_an_idle_connection(site, http_backend, sick):
    good = http_backend("good")
    weir = tried(site, [sick, good], {"on": ["503"]})
    with weir.client() as client:
        assert [client.get().text for _ in range(20)] == ["good"] * 20
    assert good.connection_count == 1


def test_without_it_the_answer_is_passed_on(site, http_backend, sick):
    weir = tried(site, [sick, http_backend("good")], {"on": ["502"]})
    with weir.client() as client:
        assert sorted(client.get().status for _ in range(10)) == [200] * 5 + [503] * 5


def test_the_last_answer_is_passed_on_when_nobody_else_can_be_asked(site, http_backend, sick):
    other = http_backend("other", handler=lambda request: Reply(SICK, body=b"other"))
    weir = tried(site, [sick, other], {"on": ["503"], "attempts": 5})
    with weir.client() as client:
        answer = client.get()
        assert answer.status == 503 and answer.text in ("sick", "other")
    assert len(sick.targets()) + len(other.targets()) == 2, "each once"


def test_a_post_is_not_tried_again_unless_all_methods_are(site, http_backend, sick):
    good = http_backend("good")
    weir = tried(site, [sick, good], {"on": ["503"]})
    with weir.client() as client:
        assert sorted(client.request("POST", "/", body=b"x").status for _ in range(6)) == [200] * 3 + [503] * 3
    weir = tried(site, [sick, good], {"on": ["503"], "methods": "all"})
    with weir.client() as client:
        assert [client.request("POST", "/", body=b"x").status for _ in range(6)] == [200] * 6
    assert all(r.body == b"x" for r in good.requests)


def test_a_body_that_is_too_long_to_be_kept_is_not_sent_again(site, http_backend, sick):
    weir = tried(site, [sick, http_backend("good")], {"on": ["503"]})
    with weir.client() as client:
        assert sorted(client.request("PUT", "/", body=b"x" * 200_000).status for _ in range(4)) == [200, 200, 503, 503]


def test_a_head_with_a_body_still_to_come_is_let_go_of(site, http_backend, raw_server):
    def slowly(connection):
        connection.read_request()
        connection.send(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 10\r\n\r\nabc")
        assert connection.read_to_end() == b""
    weir = tried(site, [raw_server(slowly), http_backend("good")], {"on": ["503"]})
    with weir.client() as client:
        assert [client.get().text for _ in range(2)] == ["good"] * 2


def test_a_server_that_says_retry_after_is_left_alone_for_that_time(site, http_backend):
    busy = http_backend("busy", handler=lambda request: Reply(SICK, headers=[("Retry-After", "30")]))
    weir = tried(site, [busy, http_backend("good")], {"on": ["503"]})
    with weir.client() as client:
        assert [client.get().text for _ in range(20)] == ["good"] * 20
    assert len(busy.targets()) == 1


# -- by time and loss ---------------------------------------------------------------------------------------------------------------

def test_an_attempt_that_takes_too_long_is_made_elsewhere(site, http_backend, raw_server):
    mute = raw_server()
    weir = tried(site, [mute, http_backend("good")], {"on": ["timeout"], "timeout": f"{int(1000 * SCALE)}ms"}, timeouts={"response": "1h"})
    with weir.client() as client:
        assert [client.get(seconds=40).text for _ in range(4)] == ["good"] * 4


def test_the_word_for_an_attempt_that_takes_too_long(site, raw_server):
    weir = tried(site, [raw_server()], {"timeout": "200ms"}, timeouts={"response": "1h"})
    with weir.client() as client:
        assert client.get(headers=[("X-Request-Id", "slow-one")], seconds=20).status == 504
    kept = story(weir, "slow-one")
    assert kept["termination"] == "attempt_timeout" and kept["attempts"][0]["outcome"] == "timeout"


def test_a_server_that_resets_within_its_head_is_followed_by_another(site, http_backend, raw_server):
    def cut(connection):
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Le")
        connection.close()
    weir = tried(site, [raw_server(cut), http_backend("good")], {"on": ["reset"]})
    with weir.client() as client:
        assert [client.get().text for _ in range(4)] == ["good"] * 4


def test_an_answer_that_has_begun_is_cut_and_not_tried_again(site, http_backend, raw_server):
    def cut(connection):
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
        connection.close()
    server = raw_server(cut)
    weir = tried(site, [server], {"on": ["reset"], "attempts": 3})
    with weir.client() as client:
        client.send_request(headers=[("X-Request-Id", "cut-one")])
        assert not client.read_response().is_complete
    kept = story(weir, "cut-one")
    assert kept["termination"] == "server_closed_responding" and len(kept["attempts"]) == 1


def test_second_and_later_retries_wait_and_a_client_that_leaves_meanwhile_is_let_go(site, http_backend):
    servers = [http_backend(str(n), handler=lambda request: Reply(SICK)) for n in range(4)]
    weir = tried(site, servers, {"on": ["503"], "attempts": 3, "backoff": "10s"})
    for _ in range(4):
        client = RawClient(weir.port())
        client.send_request()
        wait_until(lambda: sum(len(s.targets()) for s in servers) >= 2, 10, "two attempts")
        client.reset()
        for server in servers:
            server.forget()
    wait_until(lambda: all(s["in_flight"] == 0 for s in find(weir.admin.upstreams(), name="app")[0]["servers"]), 10, "the places to be given back")


# -- the budget -------------------------------------------------------------------------------------------------------------------

def test_in_a_total_outage_attempts_stay_within_the_budget(site):
    servers = [f"127.0.0.1:{free_port()}" for _ in range(4)]
    weir = tried(site, servers, {"attempts": 3, "budget": "20%"})

    def ask(count):
        with weir.client() as client:
            for _ in range(count):
                assert client.get().status in (502, 503)
    threads = [threading.Thread(target=ask, args=(250,)) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert retries_of(weir) <= 0.2 * 1000 + 100 + 3 * 4


def test_a_failover_to_a_server_that_is_believed_well_is_not_of_the_budget(site, http_backend):
    servers = [f"127.0.0.1:{free_port()}" for _ in range(3)] + [http_backend("good").address]
    weir = tried(site, servers, {"attempts": 1, "budget": "0%"})
    with weir.client() as client:
        assert [client.get().text for _ in range(300)] == ["good"] * 300


def test_without_a_budget_nothing_that_was_sent_is_sent_again(site, http_backend, sick):
    weir = tried(site, [sick, http_backend("good")], {"on": ["503"], "budget": "0%"})
    with weir.client() as client:
        statuses = [client.get().status for _ in range(400)]
    assert 100 <= statuses.count(503) <= 200, "100 are saved up at the start"


# -- the story --------------------------------------------------------------------------------------------------------------------

def test_the_recorder_tells_every_attempt(site, http_backend, sick):
    dead = f"127.0.0.1:{free_port()}"
    other = http_backend("other", handler=lambda request: Reply(SICK))
    weir = tried(site, [dead, sick.address, other.address], {"on": ["connect", "503"], "attempts": 1, "backoff": "0s"})
    with weir.client() as client:
        for n in range(3):
            assert client.get("/a?b=c", headers=[("X-Request-Id", f"told-{n}")], host="shop.example").status == 503
    kept = [story(weir, f"told-{n}") for n in range(3)]
    for record in kept:
        assert record["status"] == 503 and record["target"] == "/a?b=c" and record["host"] == "shop.example" and record["upstream"] == "app"
        answered = [a for a in record["attempts"] if a["outcome"] == "answered"]
        assert len(answered) == 2 and all(a["status"] == 503 and a["head_ms"] >= a["sent_ms"] > 0 for a in answered)
    assert any(a["outcome"] == "unreachable" and a["server"] == dead and "reached" in a["reason"] for r in kept for a in r["attempts"])
    text = weir.cli("requests", "told-0").stdout
    assert "told-0" in text and "attempt 1:" in text and "status 503" in text
    assert weir.admin.request("GET", "/api/v1/requests?id=unknown").status == 404


def test_the_slowest_requests_are_kept_too(site, http_backend):
    gate = threading.Event()

    def handle(request):
        if request.target == "/slow":
            gate.wait(1)
        return Reply(body=b"ok")
    weir = tried(site, [http_backend("a", handler=handle)], {})
    with weir.client() as client:
        for n in range(40):
            client.get(f"/{n}")
        client.get("/slow", headers=[("X-Request-Id", "snail")])
        wait_until(lambda: weir.admin.json("/api/v1/requests")["slowest"][0]["request_id"] == "snail", 5, "the record")
    listed = weir.admin.json("/api/v1/requests")
    assert len(listed["slowest"]) == 16 and listed["failed"] == []
    durations = [r["duration_ms"] for r in listed["slowest"]]
    assert durations == sorted(durations, reverse=True)


# -- the words --------------------------------------------------------------------------------------------------------------------

def words_of(weir, count=1):
    """How the first `count` requests ended, as the metric counts it."""
    def counted():
        found = {labels["termination"]: value for labels, value in weir.admin.metrics().matching("weir_terminations_total", listener="web") if value}
        return found if sum(found.values()) >= count else None
    return wait_until(counted, 10, "the requests to be counted")


def silent(connection):
    connection.read_request()
    connection.read_to_end(seconds=30)


def half_an_answer(connection):
    connection.read_request()
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
    connection.read_to_end(seconds=30)


def nonsense(connection):
    connection.read_request()
    connection.send(b"SSH-2.0-OpenSSH\r\n\r\n")
    connection.read_to_end(seconds=30)


def goodbye(connection):
    connection.read_request()
    connection.close()


@pytest.mark.parametrize("script, timeouts, route, word", [
    (silent, {"response": "200ms"}, {}, "response_timeout"),
    (silent, {"response": "1h"}, {"timeout": "200ms"}, "exchange_timeout"),
    (half_an_answer, {"body": "200ms"}, {}, "body_timeout"),
    (nonsense, {}, {}, "bad_response"),
    (goodbye, {}, {"retries": {"attempts": 0}}, "server_closed_waiting"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_the_word_for_what_a_server_does(site, raw_server, script, timeouts, route, word):
    server = raw_server(script)
    weir = site([{"upstream": "app", **route}], {"app": {"servers": [server.address]}}, timeouts=timeouts)
    with weir.client() as client:
        client.send_request()
        client.read_response_or_end(seconds=20)
    assert words_of(weir) == {word: 1}


def test_the_words_for_what_a_client_does(site, raw_server):
    weir = site([{"path": "/app", "upstream": "app"}], {"app": {"servers": [raw_server(silent).address]}}, timeouts={"header": "200ms"})
    with weir.client() as client:
        client.send_request(target="/app")
        wait_until(lambda: find(weir.admin.upstreams(), name="app")[0]["servers"][0]["in_flight"] == 1, 10)
        client.reset()
    assert words_of(weir) == {"client_left_waiting": 1}
    assert weir.get("/none").status == 404
    with weir.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: t.example\r\nBad Field: x\r\n\r\n")
        assert client.read_response().status == 400
    with weir.client() as client:
        client.send(b"GET / HTTP/1.1\r\n")
        assert client.read_response(seconds=20).status == 408
    assert words_of(weir, 4) == {"client_left_waiting": 1, "no_route": 1, "request_refused": 1, "request_timeout": 1}


def test_a_tls_handshake_has_a_time_of_its_own(site, raw_server):
    mute = raw_server(lambda connection: connection.read_to_end(seconds=30))
    weir = site([{"upstream": "app"}], {"app": {"servers": [mute.address], "tls": {"verify": False}}}, timeouts={"connect": "1h", "tls": "200ms"})
    assert weir.get(seconds=20).status == 504
    assert words_of(weir) == {"tls_timeout": 1}


def test_the_words_for_connections_that_come_to_nothing(site, http_backend):
    dead = f"127.0.0.1:{free_port()}"
    weir = site([{"path": "/dead", "upstream": "dead"}, {"path": "/tls", "upstream": "tls"}, {"path": "/none", "upstream": "none"}],
                {"dead": {"servers": [dead]}, "tls": {"servers": [http_backend().address], "tls": {"verify": False}},
                 "none": {"servers": [{"address": dead, "weight": 0}]}}, timeouts={"connect": "500ms", "tls": "300ms"})
    assert weir.get("/dead").status == 502
    assert weir.get("/tls", seconds=20).status in (502, 504)
    assert weir.get("/none").status == 503
    words = words_of(weir, 3)
    assert words.pop("connect_failed") == 1 and words.pop("no_server") == 1
    assert list(words) in (["tls_timeout"], ["tls_failed"])
