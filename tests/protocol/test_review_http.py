"""The HTTP data path where two things happen at once: an answer while the request still comes, a peer that stops in the middle, more
than one side that waits for the other. Each test was a fault once, or stands where one would be easy to make."""

import socket
import threading

import pytest

from harness import Deadline, wait_until
from harness.http_backend import pattern
from harness.raw_client import build_request, trusting
from harness.raw_server import ServerConnection

KiB, MiB = 1 << 10, 1 << 20
UPGRADE = [("Connection", "Upgrade"), ("Upgrade", "websocket")]
AGREE = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"


def open_upstreams(weir):
    """Connections to servers that carry a request now."""
    return weir.admin.metrics().sum("weir_upstream_connections", state="busy")


@pytest.fixture
def raw(site, server):
    return site([{"upstream": "app"}], {"app": server.address}), server


@pytest.fixture
def hasty(site, server):
    """(weir, server); what stands still is ended soon."""
    return site([{"upstream": "app"}], {"app": server.address}, timeouts={"body": "500ms", "response": "10s"}), server


# -- pipelining ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("action", ["respond", "upstream"])
def test_a_client_that_asks_and_never_reads_is_not_answered_without_end(site, http_backend, localhost_cert, authority, action, tls):
    body, count = "x" * 50_000, 2000
    backend = http_backend(handler=None)
    route = {"respond": {"status": 200, "body": body}} if action == "respond" else {"upstream": "app"}
    listener = {"tls": {"certificates": [{"cert": localhost_cert[0], "key": localhost_cert[1]}], "alpn": ["http/1.1"]}} if tls else {}
    weir = site([route], {"app": backend.address}, {"web": listener}, workers=1)
    target = "/" if action == "respond" else f"/bytes/{len(body)}"
    one = build_request(target=target)
    context = trusting(authority.file) if tls else None
    with weir.client(tls=context, server_name="localhost" if tls else None, receive_buffer=4096) as client:
        client._keep = False
        before = weir.rss_bytes()
        sender = threading.Thread(target=client.send_quietly, args=(one * count,), kwargs={"seconds": 60})
        sender.start()
        reader = Deadline(1.5)
        grown = 0
        while not reader.passed():
            grown = max(grown, weir.rss_bytes() - before)
            threading.Event().wait(0.05)
        assert grown < 40 * MiB, f"{grown / MiB:.0f} MiB for what one client did not read"
        for _ in range(count):  # and nothing is lost or stuck
            assert len(client.read_response(seconds=20).body) == len(body)
        sender.join()


# -- half-closes -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("size", [100_000, 8 * MiB])
def test_a_slow_client_that_half_closes_gets_all_of_a_large_answer(site, http_backend, size):
    weir = site([{"upstream": "app"}], {"app": http_backend().address})
    with weir.client(receive_buffer=4096) as client:
        client.send_request(target=f"/bytes/{size}")
        client.half_close()
        status, _, _, fields, _ = client.read_head()
        assert status == 200 and fields.get("content-length") == str(size)
        threading.Event().wait(0.3)
        assert client.read_body(("length", size), 20)[2]


def test_a_half_close_while_the_last_answer_is_still_on_its_way_loses_nothing(site):
    body = "y" * (900 * KiB)
    weir = site([{"respond": {"status": 200, "body": body}}], workers=1)
    with weir.client(receive_buffer=4096) as client:
        for _ in range(8):
            client.send_request()
        client.read_head()
        client.half_close()
        threading.Event().wait(0.3)
        assert client.read_body(("length", len(body)), 20)[2]
        for _ in range(7):
            answer = client.read_response(seconds=20)
            assert answer.is_complete and len(answer.body) == len(body)
        client.expect_end()


# -- early answers ---------------------------------------------------------------------------------------------------------

def test_a_chunked_body_that_ends_past_the_limit_leaves_the_connection_in_step(site, http_backend):
    weir = site([{"path": {"exact": "/small"}, "upstream": "app", "limits": {"body_size": 10}}, {"upstream": "app"}],
                {"app": http_backend().address})
    over = b"POST /small HTTP/1.1\r\nHost: t.example\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n"
    with weir.client() as client:
        client.send(over)
        answer = client.read_response("POST")
        assert answer.status == 413 and not answer.will_close
        assert client.get("/bytes/3").body == pattern(3)
        client.send(over + build_request(target="/bytes/4"))
        assert client.read_response("POST").status == 413
        assert client.read_response().body == pattern(4)


def early(raw, head, sent, answer):
    """The server answers after `sent`; (client, what the client then got)."""
    weir, server = raw
    client = weir.client()
    client.send(head + sent)
    up = server.accept()
    up.read_request_head()
    up.send(answer)
    return client


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED_OK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n"
HEADS = {
    "length": (b"POST / HTTP/1.1\r\nHost: t.example\r\nContent-Length: 20\r\n\r\n", b"0123456789", b"GET /evil "),
    "chunked": (b"POST / HTTP/1.1\r\nHost: t.example\r\nTransfer-Encoding: chunked\r\n\r\n", b"5\r\n0123", b"4\r\n0\r\nX: y\r\n\r\n"),
}


@pytest.mark.parametrize("answer", [OK, CHUNKED_OK, b"HTTP/1.1 204 No Content\r\n\r\n"])
@pytest.mark.parametrize("framing", HEADS)
def test_after_an_early_answer_the_rest_of_the_body_is_dropped_and_the_next_request_served(raw, framing, answer):
    head, first, rest = HEADS[framing]
    with early(raw, head, first, answer) as client:
        assert client.read_response("POST").status in (200, 204)
        client.send(rest, build_request(target="/next"))
        up = raw[1].accept()
        assert up.read_request().target == "/next"
        up.send(OK)
        assert client.read_response().body == b"ok"


@pytest.mark.parametrize("framing", HEADS)
def test_a_body_that_never_ends_after_an_early_answer_ends_the_connection(hasty, framing):
    head, first, _ = HEADS[framing]
    with early(hasty, head, first, OK) as client:
        assert client.read_response("POST").body == b"ok"
        client.expect_end()


@pytest.mark.slow
def test_an_endless_body_after_an_early_answer_is_not_read_for_ever(raw):
    head, first, _ = HEADS["chunked"]
    with early(raw, head, first, OK) as client:
        assert client.read_response("POST").body == b"ok"
        client.send(b"4\r\n")
        deadline = Deadline(20)
        while client.send_quietly(b"4000\r\n" + b"z" * 0x4000 + b"\r\n", seconds=5):
            assert not deadline.passed()
            threading.Event().wait(0.01)


@pytest.mark.parametrize("version,connection", [("1.0", ""), ("1.1", "Connection: close\r\n")])
def test_an_early_answer_that_the_close_ends_is_ended_at_once(raw, version, connection):
    """The client waits for the end of the answer, weir must not wait for the end of the request."""
    head = f"POST / HTTP/{version}\r\nHost: t.example\r\n{connection}Content-Length: 1000\r\n\r\n".encode()
    with early(raw, head, b"0123456789", CHUNKED_OK) as client:
        assert client.read_response("POST", seconds=3).body == b"ok"
        client.read_to_end(3)


def test_a_client_that_ends_in_its_body_after_an_early_answer_still_gets_all_of_it(raw):
    weir, server = raw
    size = 4 * MiB
    with weir.client(receive_buffer=4096) as client:
        client.send_request("POST", "/", [("Content-Length", "1000")])
        up = server.accept()
        up.read_request_head()
        sender = threading.Thread(target=up.respond, kwargs={"body": pattern(size)})
        sender.start()
        client.read_head()
        client._keep = False
        left = size - len(client.buffer)
        client.buffer.clear()
        deadline = Deadline(20)
        while left > 300 * KiB:
            client.fill(deadline)
            left -= len(client.buffer)
            client.buffer.clear()
        sender.join()
        threading.Event().wait(0.2)
        client.half_close()
        assert client.read_body(("length", left), 20)[2]


def test_a_long_upload_goes_on_while_an_early_head_stands(hasty):
    """The server said its head first and answers when it has all: it is the client's turn, the server is not slow."""
    weir, server = hasty
    with weir.client() as client:
        client.send_request("POST", "/", [("Transfer-Encoding", "chunked")])
        up = server.accept()
        up.read_request_head()
        up.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        assert client.read_head()[0] == 200
        for _ in range(8):
            client.send(b"1\r\nx\r\n")
            threading.Event().wait(0.2)
        client.send(b"0\r\n\r\n")
        assert up.read_body(("chunked", 0))[0] == b"x" * 8
        up.send(b"ok")
        assert client.read_exact(2) == b"ok"


# -- sides that wait for each other ----------------------------------------------------------------------------------------

def test_a_server_that_stops_reading_a_request_is_given_up(site, raw_server):
    server = raw_server(receive_buffer=4096)
    weir = site([{"upstream": "app"}], {"app": server.address}, timeouts={"body": "500ms"})
    with weir.client() as client:
        client.send_request("POST", "/", [("Content-Length", str(64 * MiB))])
        server.accept().read_request_head()
        sender = threading.Thread(target=client.send_quietly, args=(b"x" * 64 * MiB,), kwargs={"seconds": 10})
        sender.start()
        answer = client.read_response_or_end("POST", seconds=8)
        assert answer is None or answer.status == 504, answer
        sender.join()
    wait_until(lambda: open_upstreams(weir) == 0)


def test_an_echo_whose_client_does_not_read_is_ended(site, raw_server):
    """Client and server both wait until the other reads; nobody would ever move again."""
    def echo(connection):
        connection.read_request_head()
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            connection.fill(Deadline(30))
            data = bytes(connection.buffer)
            connection.buffer.clear()
            connection.send(b"%x\r\n%s\r\n" % (len(data), data), seconds=30)

    server = raw_server(echo, receive_buffer=4096)
    weir = site([{"upstream": "app"}], {"app": server.address}, timeouts={"body": "500ms"})
    with weir.client(receive_buffer=4096) as client:
        client.send_request("POST", "/", [("Content-Length", str(64 * MiB))])
        sender = threading.Thread(target=client.send_quietly, args=(b"x" * 64 * MiB,), kwargs={"seconds": 20})
        sender.start()
        wait_until(lambda: open_upstreams(weir) == 1)
        wait_until(lambda: open_upstreams(weir) == 0, 10, "the end of a deadlock")
        sender.join()


def test_a_slow_server_that_still_reads_the_request_is_not_late_with_its_answer(site, tmp_path):
    """timeouts.response counts from the request's end: not from when weir had it all."""
    listening = socket.socket(socket.AF_UNIX)  # its buffers do not grow
    listening.bind(str(tmp_path / "app.sock"))
    listening.listen()
    weir = site([{"upstream": "app"}], {"app": f"unix:{tmp_path}/app.sock"}, timeouts={"response": "700ms"})
    size = 300 * KiB
    with weir.client() as client, listening:
        client.send_request("POST", "/", [("Content-Length", str(size))])
        client.send(b"x" * size)
        with ServerConnection(listening.accept()[0]) as up:
            up.read_request_head()
            got = len(up.buffer)
            up.buffer.clear()
            deadline = Deadline(20)
            while got < size:
                assert up.fill(deadline, 8 * KiB)
                got += len(up.buffer)
                up.buffer.clear()
                threading.Event().wait(0.05)
            up.send(OK)
            assert client.read_response("POST").status == 200


def test_a_route_may_give_a_clients_body_more_time(site, http_backend):
    weir = site([{"upstream": "app", "timeouts": {"body": "5s"}}], {"app": http_backend().address}, timeouts={"body": "300ms"})
    with weir.client() as client:
        client.send_request("POST", "/echo", [("Content-Length", "2")])
        client.send(b"a")
        threading.Event().wait(0.8)
        client.send(b"b")
        assert client.read_response("POST").body == b"ab"


# -- upgraded connections --------------------------------------------------------------------------------------------------

def upgraded(weir, server):
    client = weir.client()
    client.send_request(headers=UPGRADE)
    up = server.accept()
    up.read_request_head()
    up.send(AGREE + b"\r\n")
    assert client.read_head()[0] == 101
    return client, up


def test_an_upgraded_connection_that_the_server_half_closed_is_ended_when_idle(site, server):
    weir = site([{"upstream": "app"}], {"app": server.address}, timeouts={"idle": "500ms"})
    client, up = upgraded(weir, server)
    up.half_close()
    client.read_to_end()
    up.read_to_end(seconds=5)
    wait_until(lambda: open_upstreams(weir) == 0)
    client.close()


def test_an_upgraded_connection_ends_when_the_server_that_half_closed_it_resets_it(raw):
    weir, server = raw
    client, up = upgraded(weir, server)
    up.half_close()
    client.read_to_end()
    up.reset()
    wait_until(lambda: open_upstreams(weir) == 0)
    wait_until(lambda: not client.send_quietly(b"x"))
    client.close()


@pytest.mark.parametrize("asked", ["h2c", "websocket, h2c", "h2c, websocket"])
def test_a_101_that_was_not_asked_for_upstream_is_refused(raw, asked):
    weir, server = raw
    with weir.client() as client:
        client.send_request(headers=[("Connection", "Upgrade"), ("Upgrade", asked)])
        up = server.accept()
        assert "upgrade" not in up.read_request_head().fields
        up.send(AGREE + b"\r\n")
        assert client.read_response().status == 502


def test_a_101_has_no_content_length(raw):
    weir, server = raw
    with weir.client() as client:
        client.send_request(headers=UPGRADE)
        up = server.accept()
        up.read_request_head()
        up.send(AGREE + b"Content-Length: 0\r\n\r\n")
        status, _, _, fields, _ = client.read_head()
        assert status == 101 and "content-length" not in fields
        up.send(b"x")
        assert client.read_exact(1) == b"x"


# -- heads -----------------------------------------------------------------------------------------------------------------

def test_a_response_without_a_date_gets_one(raw):
    """RFC 9110 §6.6.1."""
    weir, server = raw
    with weir.client() as client:
        client.send_request()
        up = server.accept()
        up.read_request()
        up.send(OK)
        assert client.read_response()["date"].endswith(" GMT")
        client.send_request()
        up.read_request()
        up.send(b"HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 0\r\n\r\n")
        assert client.read_response().fields.all("date") == ["Sun, 06 Nov 1994 08:49:37 GMT"]


def test_via_of_a_response_tells_the_version_that_the_server_spoke(raw):
    """RFC 9110 §7.6.3."""
    weir, server = raw
    with weir.client() as client:
        client.send_request()
        up = server.accept()
        up.read_request()
        up.send(b"HTTP/1.0 200 OK\r\nVia: 1.1 first\r\nContent-Length: 0\r\n\r\n")
        assert client.read_response().fields.all("via") == ["1.1 first", "1.0 weir"]


def test_a_head_that_edits_made_too_large_ends_in_a_close_and_nothing_stays_behind(site, server):
    edits = {"set": {f"x-{n}": "${header.x-a}" for n in range(6)}}
    weir = site([{"upstream": "app", "response_headers": edits}], {"app": server.address})
    with weir.client() as client:
        client.send_request(headers=[("X-A", "a" * 30_000)])
        up = server.accept()
        up.read_request()
        up.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nx")
        assert client.read_response_or_end() is None
        up.read_to_end()
    wait_until(lambda: open_upstreams(weir) == 0)
    with weir.client() as client:
        client.send_request(headers=[("X-A", "a")])
        up = server.accept()
        up.read_request()
        up.send(OK)
        assert client.read_response()["x-5"] == "a"


@pytest.mark.parametrize("name", ["X_Forwarded_For", "x-forwarded_for", "X_FORWARDED_PROTO", "X_Forwarded-Host", "x_request_id"])
def test_a_field_that_servers_may_take_for_one_of_weirs_does_not_pass(site, http_backend, name):
    """Servers that make variables of fields (CGI, WSGI) see no difference between - and _."""
    backend = http_backend()
    weir = site([{"upstream": "app"}], {"app": backend.address})
    weir.get(headers=[(name, "6.6.6.6"), ("X_Own_Field", "stays")])
    request = backend.requests[-1]
    assert name.lower() not in [n.lower() for n, _ in request.fields] and request["x_own_field"] == "stays"
    assert "6.6.6.6" not in [v for _, v in request.fields]


@pytest.mark.parametrize("accept,json", [("application/json;q=0", False), ("application/json; q=0.0, */*", False), ("application/json;q=0.5", True),
                                         ("application/vnd.api+json", True), ("text/html;q=0, application/json", True)])
def test_a_weight_of_0_is_not_accepted(site, accept, json):
    """RFC 9110 §12.4.2."""
    weir = site([{"host": "other.example", "respond": {"status": 200}}])
    answer = weir.get(headers=[("Accept", accept)])
    assert (answer["content-type"] == "application/problem+json") == json


# -- logs ------------------------------------------------------------------------------------------------------------------

def test_a_cut_response_under_tls_is_logged(site, server, localhost_cert, authority, tmp_path):
    log = tmp_path / "access.log"
    weir = site([{"upstream": "app"}], {"app": server.address},
                {"web": {"tls": {"certificates": [{"cert": localhost_cert[0], "key": localhost_cert[1]}]}}},
                log={"access": {"format": "${status} ${tls_version} ${tls_sni}", "output": str(log)}})
    with weir.client(tls=trusting(authority.file), server_name="localhost") as client:
        client.send_request()
        up = server.accept()
        up.read_request()
        up.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        client.read_head()
        up.close()
        client.read_to_end()
    wait_until(lambda: log.read_text() == "200 TLSv1.3 localhost\n")


# -- sending again ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_what_is_sent_again_is_the_same_to_the_byte(site, raw_server, framing):
    """A kept connection that the server had given up: the body, its end and its trailers go out once more, whole."""
    heads = []

    def serve(connection):
        heads.append(connection.read_request())
        if heads[-1].target == "/first":
            connection.respond()
            connection.read_request()
            connection.reset()
        else:
            connection.respond(body="again")

    weir = site([{"upstream": "app"}], {"app": raw_server(serve).address}, workers=1)
    data = pattern(50_000)
    with weir.client() as client:
        client.get("/first")
        if framing == "length":
            client.send_request("PUT", "/second", body=data)
        else:
            client.send_request("PUT", "/second", [("Transfer-Encoding", "chunked")])
            for at in range(0, len(data), 9_000):
                piece = data[at:at + 9_000]
                client.send(b"%x\r\n%s\r\n" % (len(piece), piece))
            client.send(b"0\r\nX-Sum: 42\r\n\r\n")
        assert client.read_response("PUT").body == b"again"
    assert heads[-1].target == "/second" and heads[-1].body == data and heads[-1].is_complete
    if framing == "chunked":
        assert heads[-1].trailers.all("x-sum") == ["42"]


@pytest.mark.parametrize("part", [0, 10, 50_000])
def test_a_body_that_still_comes_is_sent_again_and_goes_on(site, raw_server, part):
    second = raw_server()

    def serve(connection):
        connection.read_request()
        connection.respond()
        connection.read_request_head()
        connection.read_exact(part)
        connection.reset()
        server.sock.close()  # nobody is there any more; the other server is asked

    server = raw_server(serve)
    weir = site([{"upstream": "app"}], {"app": {"servers": [server.address, {"address": second.address, "backup": True}]}}, workers=1)
    data = pattern(60_000)
    with weir.client() as client:
        client.get("/first")
        client.send_request("PUT", "/second", [("Content-Length", str(len(data)))])
        client.send(data[:part])
        up = second.accept()
        assert up.read_request_head().target == "/second"
        client.send(data[part:])
        assert up.read_exact(len(data)) == data
        up.send(OK)
        assert client.read_response("PUT").body == b"ok"


# -- HTTP/1.0 --------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("split", [False, True])
def test_trailers_for_an_http_1_0_client_are_dropped(raw, split):
    weir, server = raw
    with weir.client() as client:
        client.send(b"GET / HTTP/1.0\r\n\r\n")
        up = server.accept()
        assert up.read_request()["host"] == ""
        if split:
            up.send(CHUNKED_OK[:-10], CHUNKED_OK[-10:])
        else:
            up.send(CHUNKED_OK)
        answer = client.read_response()
        assert answer.framing == "close" and answer.body == b"ok" and answer.is_complete


def test_a_chunked_answer_to_head_from_http_1_0_keeps_the_connection(raw):
    weir, server = raw
    with weir.client() as client:
        client.send(b"HEAD / HTTP/1.0\r\nHost: t.example\r\nConnection: keep-alive\r\n\r\n")
        up = server.accept()
        up.read_request()
        up.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert not client.read_response("HEAD").will_close
        client.send_request()
        up.read_request()
        up.send(OK)
        assert client.read_response().body == b"ok"

