"""WebSockets over HTTP/2 from clients: extended CONNECT (RFC 8441) in front of HTTP/1.1 servers."""

import base64
import hashlib
import json
import struct

import pytest
from websockets.frames import Frame, Opcode

from harness import SCALE, wait_until
from harness.http_backend import pattern
from harness.raw_client import trusting
from test_h2 import CANCEL, END_STREAM, H2, PROTOCOL_ERROR, RST_STREAM, Stream, WINDOW_UPDATE, frame
from test_websocket import GUID, WebSocketBackend

CONNECT_PROTOCOL = 8  # the setting of RFC 8441


@pytest.fixture(scope="module")
def backend():
    it = WebSocketBackend()
    yield it
    it.close()


@pytest.fixture(scope="module")
def weir(module_site, backend):
    return module_site([{"upstream": "ws"}], {"ws": backend.address})


@pytest.fixture
def raw(site, server):
    return site([{"path": "/socket", "upstream": "app"}], {"app": server.address}), server


class Socket(H2):
    """One WebSocket on a connection of its own."""

    def __init__(self, weir, *args, **kwargs):
        super().__init__(weir.port(), *args, **kwargs)
        self.until(lambda: self.peer_settings)

    def ask_for(self, fields=(), path="/socket", protocol="websocket", method="CONNECT", end=False):
        extra = [(":protocol", protocol)] if protocol is not None else []
        self.id = self.next_id
        self.next_id += 2
        self.streams[self.id] = Stream()
        head = [(":method", method), (":scheme", "https" if hasattr(self.sock, "cipher") else "http"), (":path", path),
                (":authority", "t.example")]
        self.head(self.id, head + extra + [("sec-websocket-version", "13")] + list(fields), 5 if end else 4)
        return self.id

    @property
    def stream(self):
        return self.streams[self.id]

    def head_of_answer(self):
        self.until(lambda: self.stream.headers is not None or self.stream.reset is not None)
        assert self.stream.reset is None, self.stream.reset
        return self.stream

    def open(self, *args, **kwargs):
        self.ask_for(*args, **kwargs)
        assert self.head_of_answer().status == 200
        return self

    def put(self, opcode, payload, end=False):
        self.data(self.id, Frame(opcode, payload).serialize(mask=True), end)

    def frames(self, count):
        """As many whole frames as asked for, as (opcode, payload)."""
        found = []

        def enough():
            while len(found) < count:
                taken = unmasked(self.stream.body)
                if taken is None:
                    return False
                found.append(taken[:2])
                self.stream.body = self.stream.body[taken[2]:]
            return True
        self.until(enough, 20)
        return found


def unmasked(data):
    if len(data) < 2:
        return None
    length, at = data[1] & 127, 2
    assert not data[1] & 128
    if length >= 126:
        size = 2 if length == 126 else 8
        if len(data) < 2 + size:
            return None
        length, at = int.from_bytes(data[2:2 + size], "big"), 2 + size
    return (data[0] & 15, data[at:at + length], at + length) if len(data) >= at + length else None


def agreement(request, **other):
    accept = base64.b64encode(hashlib.sha1(request["sec-websocket-key"].encode() + GUID).digest()).decode()
    fields = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accept, **other}
    return "HTTP/1.1 101 Switching Protocols\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields.items() if v) + "\r\n"


def opened(raw, **options):
    weir, server = raw
    client = Socket(weir, **options)
    client.ask_for()
    up = server.accept()
    up.send(agreement(up.read_request_head()))
    assert client.head_of_answer().status == 200
    return client, up


# -- with a library as the server -------------------------------------------------------------------------------------------

def test_the_settings_offer_it(weir):
    with Socket(weir) as client:
        assert client.peer_settings[CONNECT_PROTOCOL] == 1


def test_messages_are_echoed(weir):
    with Socket(weir) as client:
        client.open()
        for payload in (b"hello", b"", b"x" * 126, b"y" * 70_000, pattern(1_000_000)):
            client.put(Opcode.BINARY, payload)
            assert client.frames(1) == [(Opcode.BINARY, payload)]


def test_messages_are_echoed_under_tls(site, backend, authority, localhost_cert):
    weir = site([{"upstream": "ws"}], {"ws": backend.address},
                {"web": {"tls": {"certificates": [{"cert": localhost_cert[0], "key": localhost_cert[1]}]}}})
    context = trusting(authority.file)
    context.set_alpn_protocols(["h2"])
    with Socket(weir, tls=context) as client:
        client.open()
        client.put(Opcode.TEXT, b"hello")
        assert client.frames(1) == [(Opcode.TEXT, b"hello")]


def test_a_thousand_messages_and_a_close_code(weir):
    with Socket(weir) as client:
        client.open()
        for n in range(1000):
            client.put(Opcode.TEXT, b"%d" % n)
        assert client.frames(1000) == [(Opcode.TEXT, b"%d" % n) for n in range(1000)]
        client.put(Opcode.PING, b"p")
        assert client.frames(1) == [(Opcode.PONG, b"p")]
        client.put(Opcode.TEXT, b"close")
        (opcode, payload), = client.frames(1)
        assert opcode == Opcode.CLOSE and payload[:2] == struct.pack(">H", 4001)
        client.put(Opcode.CLOSE, payload)
        client.until(lambda: client.stream.ended)


def test_many_sockets_share_a_connection_with_requests(weir):
    with Socket(weir) as client:
        ids = [client.open().id for _ in range(20)]
        for number in range(10):
            for each in ids:
                client.id = each
                client.put(Opcode.TEXT, b"%d-%d" % (each, number))
        for each in ids:
            client.id = each
            assert client.frames(10) == [(Opcode.TEXT, b"%d-%d" % (each, n)) for n in range(10)]
        assert client.ask(path="/plain").status == 426  # the library's server: it wants an upgrade


# -- the handshake ---------------------------------------------------------------------------------------------------------

def test_the_server_sees_a_handshake_of_http_1_1(raw):
    weir, server = raw
    with Socket(weir) as client:
        client.ask_for([("sec-websocket-protocol", "chat"), ("sec-websocket-key", "mine"), ("origin", "https://o.example")])
        request = server.accept().read_request_head()
        assert (request.method, request.target, request["host"]) == ("GET", "/socket", "t.example")
        assert request["upgrade"] == "websocket" and "upgrade" in request.fields.tokens("connection")
        assert request["sec-websocket-version"] == "13" and request["sec-websocket-protocol"] == "chat"
        assert len(base64.b64decode(request["sec-websocket-key"])) == 16
        assert "content-length" not in request.fields and "transfer-encoding" not in request.fields


def test_no_two_keys_are_the_same(raw):
    weir, server = raw
    keys = set()
    for _ in range(3):
        with Socket(weir) as client:
            client.ask_for()
            keys.add(server.accept().read_request_head()["sec-websocket-key"])
    assert len(keys) == 3


def test_the_answer_is_200_without_what_is_the_connections(raw):
    weir, server = raw
    with Socket(weir) as client:
        client.ask_for()
        up = server.accept()
        up.send(agreement(up.read_request_head(), **{"Sec-WebSocket-Protocol": "chat", "Content-Length": "0"}))
        answer = client.head_of_answer()
        assert answer.status == 200 and answer.get("sec-websocket-protocol") == "chat" and not answer.ended
        for name in ("upgrade", "connection", "sec-websocket-accept", "content-length", "transfer-encoding"):
            assert answer.get(name) is None


@pytest.mark.parametrize("other", [{"Sec-WebSocket-Accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="}, {"Sec-WebSocket-Accept": ""},
                                   {"Upgrade": "chat"}, {"Upgrade": ""}, {"Connection": ""}])
def test_a_101_that_does_not_prove_itself_is_502(raw, other):
    weir, server = raw
    with Socket(weir) as client:
        client.ask_for()
        up = server.accept()
        up.send(agreement(up.read_request_head(), **other))
        assert client.answer(client.id).status == 502


@pytest.mark.parametrize("status", ["403 Forbidden", "404 Not Found", "302 Found", "426 Upgrade Required"])
def test_a_refusal_is_the_answer_and_ends_the_stream(raw, status):
    weir, server = raw
    with Socket(weir) as client:
        client.ask_for()
        up = server.accept()
        up.read_request_head()
        up.respond(status, body="no")
        answer = client.answer(client.id)
        assert answer.status == int(status[:3]) and answer.body == b"no"
        assert client.ask(path="/elsewhere").status == 404


def test_a_200_of_the_server_opens_nothing(raw):
    weir, server = raw
    with Socket(weir) as client:
        client.ask_for()
        up = server.accept()
        up.read_request_head()
        up.respond(body="a page")
        assert client.answer(client.id).status == 502


def test_a_route_that_answers_itself_opens_nothing(site):
    weir = site([{"respond": {"status": 200, "body": "hi"}}])
    with Socket(weir) as client:
        client.ask_for()
        assert client.answer(client.id).status == 502


def test_it_is_routed_as_a_get(site, backend):
    weir = site([{"methods": ["GET"], "path": "/socket", "upstream": "ws"}], {"ws": backend.address})
    with Socket(weir) as client:
        client.open()
        assert client.ask(method="POST", path="/socket").status == 405


@pytest.mark.parametrize("protocol", ["connect-udp", "WebSocket2"])
def test_another_protocol_is_501(raw, protocol):
    with Socket(raw[0]) as client:
        client.ask_for(protocol=protocol)
        assert client.answer(client.id).status == 501


def test_a_plain_connect_is_still_501(raw):
    with Socket(raw[0]) as client:
        client.streams[1] = Stream()
        client.head(1, [(":method", "CONNECT"), (":authority", "t.example:443")], 4)
        assert client.answer(1).status == 501


@pytest.mark.parametrize("fields, end", [([("content-length", "5")], False), ([], True)])
def test_one_that_has_a_length_or_no_future_is_400(raw, fields, end):
    with Socket(raw[0]) as client:
        client.ask_for(fields, end=end)
        assert client.answer(client.id).status == 400


def test_protocol_without_connect_is_malformed(raw):
    with Socket(raw[0]) as client:
        client.ask_for(method="GET")
        client.until(lambda: client.stream.reset is not None)
        assert client.stream.reset == PROTOCOL_ERROR


# -- the stream of bytes ----------------------------------------------------------------------------------------------------

def test_what_came_before_the_answer_waits_for_it(raw):
    weir, server = raw
    with Socket(weir) as client:
        client.ask_for()
        client.data(client.id, b"early", end=False)
        client.sock.sendall(frame(6, 0, 0, b"12345678"))
        client.until(lambda: client.pings)
        up = server.accept()
        request = up.read_request_head()
        up.send(agreement(request))
        assert up.read_exact(5) == b"early"
        client.data(client.id, b"later", end=False)
        assert up.read_exact(5) == b"later"


def test_an_early_end_reaches_the_server_after_it_agreed(raw):
    weir, server = raw
    with Socket(weir) as client:
        client.ask_for()
        client.data(client.id, b"early", end=True)
        up = server.accept()
        up.send(agreement(up.read_request_head()))
        assert up.read_to_end() == b"early"
        up.send(b"bye")
        up.close()
        client.until(lambda: client.stream.ended)
        assert client.stream.body == b"bye"


def test_bytes_right_behind_the_101_reach_the_client(raw):
    weir, server = raw
    with Socket(weir) as client:
        client.ask_for()
        up = server.accept()
        up.send(agreement(up.read_request_head()).encode() + b"first")
        client.until(lambda: client.stream.body == b"first")


def test_the_end_of_each_side_is_half_a_close(raw):
    client, up = opened(raw)
    client.data(client.id, b"bye", end=True)
    assert up.read_to_end() == b"bye"
    up.send(b"still here")
    client.until(lambda: client.stream.body == b"still here")
    up.close()
    client.until(lambda: client.stream.ended)
    assert client.stream.reset is None
    client.sock.close()


def test_the_end_of_the_server_leaves_the_clients_way_open(raw):
    client, up = opened(raw)
    up.half_close()
    client.until(lambda: client.stream.ended)
    client.data(client.id, b"one more", end=True)
    assert up.read_to_end() == b"one more"
    client.sock.close()


def test_a_reset_of_the_client_ends_the_server(raw):
    client, up = opened(raw)
    client.send(frame(RST_STREAM, 0, client.id, struct.pack(">I", CANCEL)))
    up.read_to_end()
    assert client.ask(path="/elsewhere").status == 404
    client.sock.close()


def test_a_reset_of_the_server_resets_the_stream(raw):
    client, up = opened(raw)
    up.reset()
    client.until(lambda: client.stream.reset is not None)
    assert client.stream.reset == CANCEL
    assert client.ask(path="/elsewhere").status == 404
    client.sock.close()


def test_a_header_section_on_the_stream_is_an_error(raw):
    client, up = opened(raw)
    client.head(client.id, [("x", "y")], END_STREAM | 4)
    client.until(lambda: client.stream.reset is not None)
    assert client.stream.reset == PROTOCOL_ERROR
    up.read_to_end()
    client.sock.close()


def test_a_client_that_takes_nothing_stops_the_server(raw):
    client, up = opened(raw, window=False)
    client.send(frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 1 << 24)))
    sent = 0
    up.sock.settimeout(1)
    try:
        while sent < 64 << 20:
            sent += up.sock.send(bytes(1 << 16))
    except TimeoutError:
        pass
    assert sent < 32 << 20
    client.until(lambda: len(client.stream.body) == 65535)
    assert client.ask(path="/elsewhere").status == 404
    client.sock.close()


def test_a_server_that_takes_nothing_stops_the_client(raw):
    client, up = opened(raw)
    sent = 0
    with pytest.raises(TimeoutError):
        while sent < 64 << 20:
            n = min(16384, client.room(client.id), client.room(0))
            if n == 0:
                client.step(0.5)
            else:
                client.data(client.id, bytes(n), end=False)
                sent += n
    assert sent >= 65535
    assert client.ask(path="/elsewhere").status == 404
    up.read_exact(sent, 20)
    client.sock.close()


def test_silence_ends_it_after_idle_and_pings_do_not_let_it(site, server):
    weir = site([{"path": "/socket", "upstream": "app"}], {"app": server.address},
                timeouts={"idle": f"{int(1000 * SCALE)}ms", "body": "200ms", "response": "10s"})
    client, up = opened((weir, server))
    for _ in range(3):
        client.put(Opcode.PING, b"")
        assert up.read_exact(6)
        with pytest.raises(TimeoutError):
            client.step(0.4)
    client.until(lambda: client.stream.reset is not None)
    assert client.stream.reset == CANCEL
    up.read_to_end()
    client.sock.close()


# -- seen from outside -------------------------------------------------------------------------------------------------------

def test_the_access_log_has_it_as_a_get_over_http_2(site, backend, tmp_path):
    log = tmp_path / "access.log"
    weir = site([{"upstream": "ws"}], {"ws": backend.address}, log={"access": {"output": str(log), "format": "json"}})
    with Socket(weir) as client:
        client.open()
        client.put(Opcode.TEXT, b"hello")
        client.frames(1)
    wait_until(lambda: log.exists() and log.read_text())
    line = json.loads(log.read_text())
    assert (line["method"], line["target"], line["status"], line["protocol"]) == ("GET", "/socket", 200, "HTTP/2.0")
