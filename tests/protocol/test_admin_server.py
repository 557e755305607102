"""The admin interface's HTTP server against clients that are slow, many, greedy or odd: each is answered or closed, what it makes weir
hold is bounded, and neither other clients nor the proxy notice."""

import json
import socket

import pytest

from harness import RawClient, get, wait_until
from harness.wire import Closed

OK = [{"name": "only", "respond": {"status": 200, "body": "ok"}}]
UPSTREAMS = {"app": "10.1.1.1:80"}


@pytest.fixture(scope="module")
def weir(module_site):
    # Many servers make /metrics long.
    upstreams = {"app": "10.1.1.1:80", **{f"many{i}": {"servers": [f"10.2.{i}.{k}:80" for k in range(1, 20)]} for i in range(10)}}
    return module_site(OK, upstreams)


def host(weir):
    return f"127.0.0.1:{weir.port('admin')}"


def head(weir, line, *fields):
    return "\r\n".join([line, f"Host: {host(weir)}", *fields, "", ""]).encode("latin-1")


def healthy(weir):
    return weir.admin.health().status == 200 and weir.get().status == 200


# One connection, several requests.

def test_pipelined_requests_are_answered_in_order(weir):
    with weir.client("admin") as client:
        client.send(b"".join(head(weir, f"GET {path} HTTP/1.1") for path in ("/health", "/api/v1/status", "/nothing", "/health")))
        answers = [client.read_response() for _ in range(4)]
    assert [a.status for a in answers] == [200, 200, 404, 200] and answers[0].body == answers[3].body == b"ok\n"


def test_a_thousand_pipelined_requests_are_all_answered_and_others_between(weir):
    with weir.client("admin") as client, weir.client("admin") as other:
        client.send(head(weir, "GET /health HTTP/1.1") * 1000)
        other.send(head(weir, "GET /health HTTP/1.1"))
        assert other.read_response().status == 200
        for _ in range(1000):
            assert client.read_response().status == 200


def test_requests_before_a_half_close_are_all_answered(weir):
    with weir.client("admin") as client:
        client.send(head(weir, "GET /health HTTP/1.1") * 3)
        client.half_close()
        for _ in range(3):
            assert client.read_response().status == 200
        client.read_to_end()
        assert client.ended == "closed"


def test_the_next_request_follows_a_body(weir):
    body = b'{"url": "http://x/"}'
    with weir.client("admin") as client:
        client.send(head(weir, "POST /api/v1/explain HTTP/1.1", f"Content-Length: {len(body)}") + body + head(weir, "GET /health HTTP/1.1"))
        assert client.read_response("POST").status == 200
        assert client.read_response().status == 200


def test_what_stands_behind_a_refused_body_is_no_request(weir):
    with weir.client("admin") as client:
        client.send(head(weir, "POST /nothing HTTP/1.1", "Content-Length: 40") + head(weir, "POST /api/v1/reload HTTP/1.1", "Content-Length: 0"))
        assert client.read_response("POST").status == 404
        client.read_to_end()
        assert not client.buffer


@pytest.mark.parametrize("line,fields,stays", [
    ("GET /health HTTP/1.1", [], True), ("GET /health HTTP/1.1", ["Connection: close"], False), ("GET /health HTTP/1.0", [], False),
    ("GET /health HTTP/1.0", ["Connection: keep-alive"], True), ("GET /nothing HTTP/1.1", [], True)])
def test_a_connection_is_kept_when_the_client_keeps_it(weir, line, fields, stays):
    with weir.client("admin") as client:
        client.send(head(weir, line, *fields))
        answer = client.read_response()
        assert answer.will_close is not stays
        if stays:
            client.send(head(weir, "GET /health HTTP/1.1"))
            assert client.read_response().status == 200
        else:
            client.read_to_end()


# Bodies and expectations.

def test_a_chunked_body_is_read(weir):
    with weir.client("admin") as client:
        client.send(head(weir, "POST /api/v1/explain HTTP/1.1", "Transfer-Encoding: chunked"), b'8;x=y\r\n{"url": \r\n', b'c\r\n"http://x/"}\r\n', b"0\r\n",
                    b"X-Trailer: 1\r\n\r\n", head(weir, "GET /health HTTP/1.1"))
        assert client.read_response("POST").status == 200
        assert client.read_response().status == 200


@pytest.mark.parametrize("framing,rest", [
    (["Content-Length: 1048577"], b""), (["Content-Length: 99999999999999"], b""),
    (["Transfer-Encoding: chunked"], b"100001\r\n" + b"x" * 0x100001)])
def test_a_body_of_more_than_a_mebibyte_is_refused(weir, framing, rest):
    with weir.client("admin") as client:
        client.send_quietly(head(weir, "POST /api/v1/explain HTTP/1.1", *framing) + rest)
        answer = client.read_response("POST")
    assert answer.status in (400, 413) and answer.will_close
    assert answer.status == 413 or "9999" in framing[0]


def test_a_body_of_a_mebibyte_is_read(weir):
    body = b'{"url": "http://x/' + b"a" * 8 + b'"}'
    body += b" " * ((1 << 20) - len(body))
    assert get(weir.port("admin"), "/api/v1/explain", method="POST", body=body, host=host(weir)).status == 200


def test_a_client_that_waits_with_its_body_is_told_to_go_on(weir):
    body = b'{"url": "http://x/"}'
    with weir.client("admin") as client:
        client.send(head(weir, "POST /api/v1/explain HTTP/1.1", f"Content-Length: {len(body)}", "Expect: 100-continue"))
        assert client.read_head()[0] == 100
        client.send(body)
        assert client.read_response("POST").status == 200


@pytest.mark.parametrize("line,fields,status", [
    ("POST /api/v1/explain HTTP/1.1", ["Content-Length: 5000000", "Expect: 100-continue"], 413),
    ("POST /nothing HTTP/1.1", ["Content-Length: 5", "Expect: 100-continue"], 404),
    ("DELETE /metrics HTTP/1.1", ["Content-Length: 5", "Expect: 100-continue"], 405)])
def test_a_client_is_not_told_to_go_on_with_what_will_be_refused(weir, line, fields, status):
    with weir.client("admin") as client:
        client.send(head(weir, line, *fields))
        answer = client.read_response("POST")
    assert answer.status == status and not answer.interim and answer.will_close


# What is odd.

@pytest.mark.parametrize("request_bytes,statuses", [
    (b"GET /health HTTP/1.1\r\nHost: a\r\nExpect: miracles\r\n\r\n", {417}),
    (b"GET /health HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", {400}),
    (b"GET /health HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", {400}),
    (b"GET /health HTTP/1.1\r\n\r\n", {400}),
    (b"GET /heal\0th HTTP/1.1\r\nHost: a\r\n\r\n", {400}),
    (b"GET /health%00 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", {400, 404}),
    (b"GET //health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", {404}),
    (b"GET /./health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", {404}),
    (b"GET /x/../health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", {404}),
    (b"GET /%68ealth HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", {404}),
    (b"GET /health/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", {404}),
    (b"GET http://127.0.0.1/health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", {200}),
    (b"OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", {404}),
    (b"CONNECT 127.0.0.1:80 HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n", {404, 400, 405}),
    (b"TRACE /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", {405}),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 505}),
    (b"GET /health HTTP/2.0\r\nHost: a\r\n\r\n", {400, 505}),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", {400}),
    (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", {414}),
    (b"GET /health HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 40000 + b"\r\n\r\n", {431}),
    (b"GET /health HTTP/1.1\r\nHost: a\r\n" + b"X: 1\r\n" * 70 + b"\r\n", {431}),
    (b"POST /api/v1/explain HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", {400}),
    (b"POST /api/v1/explain HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: gzip\r\n\r\n", {400, 501}),
    (b"POST /api/v1/explain HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n", {400}),
])
def test_an_odd_request_is_answered_as_what_it_is(weir, request_bytes, statuses):
    with weir.client("admin") as client:
        client.send_quietly(request_bytes)
        answer = client.read_response()
    assert answer.status in statuses, answer.body
    if answer.status >= 400:
        problem = json.loads(answer.body)
        assert problem["status"] == answer.status and problem["detail"] and answer["content-type"] == "application/problem+json"
    assert healthy(weir)


@pytest.mark.parametrize("path,allowed", [("/health", {"GET", "HEAD"}), ("/api/v1/reload", {"POST"}), ("/api/v1/upstreams/app/servers/x", {"PATCH", "DELETE"})])
def test_a_wrong_method_is_told_the_right_ones(weir, path, allowed):
    for method in ("PUT", "OPTIONS", "PROPFIND"):
        answer = get(weir.port("admin"), path, method=method, host=host(weir))
        assert answer.status == 405 and set(answer["allow"].split(", ")) == allowed


@pytest.mark.parametrize("path,near", [("/api/v1/statuss", "/api/v1/status"), ("/metric", "/metrics"), ("/api/v1/upstream", "/api/v1/upstreams")])
def test_an_unknown_path_is_told_its_neighbour(weir, path, near):
    answer = get(weir.port("admin"), path, host=host(weir))
    assert answer.status == 404 and near + "?" in answer.text


def test_a_head_request_gets_the_head_alone(weir):
    with weir.client("admin") as client:
        for path in ("/api/v1/status", "/nothing", "/health"):
            client.send_request("HEAD", path, host=host(weir))
            answer = client.read_response("HEAD")
            assert answer.body == b"" and int(answer["content-length"]) > 0
        client.send_request("HEAD", "/api/v1/events", host=host(weir))
        assert client.read_response("HEAD")["content-type"] == "text/event-stream"
        client.read_to_end()


def test_any_cut_of_a_request_is_read_the_same(weir):
    whole = head(weir, "POST /api/v1/explain HTTP/1.1", "Transfer-Encoding: chunked") + b'14\r\n{"url": "http://x/"}\r\n0\r\n\r\n' + head(
        weir, "GET /health HTTP/1.1")
    for step in (1, 2, 3, 7, 50):
        with weir.client("admin") as client:
            client.send(*[whole[i:i + step] for i in range(0, len(whole), step)])
            assert client.read_response("POST").status == 200
            assert client.read_response().status == 200


# Slow and many.

def test_a_head_that_does_not_end_is_answered_in_time(weir):
    with weir.client("admin") as silent, weir.client("admin") as begun:
        begun.send(b"GET /health HTTP/1.1\r\nHos")
        assert begun.read_response(seconds=20).status == 408
        silent.read_to_end(seconds=20)
        assert silent.ended


def open_descriptors(weir):
    return weir.admin.metrics().sum("weir_process_open_fds")


def test_idle_connections_do_not_lock_others_out(weir):
    before = open_descriptors(weir)
    flood = [RawClient(weir.port("admin")) for _ in range(700)]
    try:
        assert healthy(weir)
        assert weir.cli("status").returncode == 0
        assert open_descriptors(weir) - before <= 520
        # The oldest made room.
        gone = 0
        for client in flood[:100]:
            client.sock.settimeout(5)
            gone += client.sock.recv(1) == b""
        assert gone == 100
    finally:
        for client in flood:
            client.close()
    wait_until(lambda: open_descriptors(weir) <= before + 5)


def test_answers_that_nobody_takes_do_not_fill_the_memory(weir):
    """Each connection asks for /metrics again and again and reads nothing."""
    size = len(weir.admin.request("GET", "/metrics").body)
    assert size > 20_000
    before = weir.rss_bytes()
    flood = [RawClient(weir.port("admin"), receive_buffer=4096) for _ in range(100)]
    try:
        for client in flood:
            client.send_quietly(head(weir, "GET /metrics HTTP/1.1") * 50)
        assert healthy(weir)
        assert weir.rss_bytes() - before < (64 << 20) * (6 if weir.is_sanitized else 2)
    finally:
        for client in flood:
            client.close()
    assert healthy(weir)


def test_a_listener_that_stops_reading_is_closed(weir):
    with RawClient(weir.port("admin"), receive_buffer=4096) as lazy, weir.client("admin") as keen:
        for client in (lazy, keen):
            client.send_request("GET", "/api/v1/events", host=host(weir))
            assert client.read_head()[0] == 200
        def is_closed():
            with weir.client("admin") as client:
                for _ in range(200):
                    client.send_request("PATCH", "/api/v1/upstreams/app/servers/10.1.1.1:80", body=b'{"weight": 3}', host=host(weir))
                    assert client.read_response("PATCH").status == 200
            keen.sock.settimeout(5)
            keen.sock.recv(1 << 20)
            with open(f"/proc/{weir.pid}/net/tcp") as f:  # 01 = established
                port = f":{weir.port('admin'):04X}"
                return not any(line.split()[1].endswith(port) and line.split()[2].endswith(f":{lazy.sock.getsockname()[1]:04X}") and line.split()[3] == "01"
                               for line in f.readlines()[1:])
        wait_until(is_closed, 60)
    assert healthy(weir)


def test_there_are_only_so_many_streams(weir):
    streams = []
    try:
        statuses = []
        for _ in range(130):
            client = weir.client("admin")
            streams.append(client)
            client.send_request("GET", "/api/v1/events", host=host(weir))
            statuses.append(client.read_head()[0])
        assert statuses[:100] == [200] * 100 and statuses[-1] == 503
        assert healthy(weir)
    finally:
        for client in streams:
            client.close()
    def opens():
        with weir.client("admin") as client:
            client.send_request("GET", "/api/v1/events", host=host(weir))
            return client.read_head()[0] == 200
    wait_until(opens)


def test_a_flood_leaves_the_proxy_its_descriptors(site):
    """Few are allowed: of those the admin interface takes a share."""
    import resource
    weir = site(OK, start=False)
    weir.start()
    resource.prlimit(weir.pid, resource.RLIMIT_NOFILE, (400, 400))
    flood = []
    try:
        for _ in range(300):
            flood.append(RawClient(weir.port("admin")))
        clients = [weir.client() for _ in range(100)]
        for client in clients:
            assert client.get().status == 200
            client.close()
        assert weir.admin.health().status == 200
    finally:
        for client in flood:
            client.close()


# Without a token on an address that others reach.

def test_an_open_admin_interface_is_warned_of(site):
    weir = site(OK, start=False)
    weir.change(admin={"bind": f"0.0.0.0:{weir.port('admin')}", "socket": weir.socket_file})
    weir.start()
    weir.await_log("warn", "whoever reaches the admin interface can steer weir: set admin.token", f"bind=0.0.0.0:{weir.port('admin')}")


@pytest.mark.parametrize("admin", [{"bind": "127.0.0.1:{port}"}, {"bind": "0.0.0.0:{port}", "token": "s3cret"}])
def test_a_closed_admin_interface_is_not(site, admin):
    weir = site(OK, start=False)
    weir.change(admin={**admin, "bind": admin["bind"].format(port=weir.port("admin")), "socket": weir.socket_file})
    weir.start()
    assert "steer" not in weir.log()
