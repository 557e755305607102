"""What a hostile or broken server may answer. The client gets a 502, or a response that is plainly cut; never a second response, never
another client's; the connection to that server is not used again, and weir lives on."""

import pytest

from harness import RawClient
from harness.wire import Closed

OK = b"HTTP/1.1 200 OK\r\n"
EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"

# A head that has no reading or more than one: 502.
HEADS = {
    "cl-and-te": OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + EVIL,
    "te-and-cl": OK + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + EVIL,
    "two-cl-differing": OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n12345",
    "two-cl-same": OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n12345",
    "cl-list": OK + b"Content-Length: 5, 6\r\n\r\n12345",
    "cl-list-same": OK + b"Content-Length: 5, 5\r\n\r\n12345",
    "cl-plus": OK + b"Content-Length: +5\r\n\r\n12345",
    "cl-minus": OK + b"Content-Length: -5\r\n\r\n12345",
    "cl-hex": OK + b"Content-Length: 0x5\r\n\r\n12345",
    "cl-empty": OK + b"Content-Length:\r\n\r\n12345",
    "cl-letters": OK + b"Content-Length: five\r\n\r\n12345",
    "cl-trailing": OK + b"Content-Length: 5 x\r\n\r\n12345",
    "cl-overflow": OK + b"Content-Length: 99999999999999999999999\r\n\r\n12345",
    "cl-overflow-wraps": OK + b"Content-Length: 18446744073709551621\r\n\r\n12345" + EVIL,
    "cl-name-space": OK + b"Content-Length : 5\r\n\r\n12345" + EVIL,
    "te-unknown": OK + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "te-gzip-chunked": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "te-chunked-gzip": OK + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "te-chunked-twice": OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "te-chunked-two-lines": OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "te-identity": OK + b"Transfer-Encoding: identity\r\n\r\nabc",
    "te-empty": OK + b"Transfer-Encoding:\r\n\r\nabc",
    "te-quoted": OK + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "te-nul": OK + b"Transfer-Encoding: chunked\x00\r\n\r\n0\r\n\r\n",
    "te-vertical-tab": OK + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "te-name-space": OK + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "te-folded": OK + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "te-in-http-1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "obs-fold": OK + b"X-A: one\r\n two\r\nContent-Length: 0\r\n\r\n",
    "obs-fold-first": OK + b" X-A: one\r\nContent-Length: 0\r\n\r\n",
    "bare-lf-everywhere": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "bare-lf-header": OK + b"X: y\nContent-Length: 0\r\n\r\n",
    "bare-lf-end": OK + b"Content-Length: 0\r\n\n",
    "bare-cr-value": OK + b"X: y\rz\r\nContent-Length: 0\r\n\r\n",
    "cr-cr-lf": b"HTTP/1.1 200 OK\r\r\nContent-Length: 0\r\n\r\n",
    "nul-in-value": OK + b"X: a\x00b\r\nContent-Length: 0\r\n\r\n",
    "nul-in-name": OK + b"X\x00: b\r\nContent-Length: 0\r\n\r\n",
    "nul-in-reason": b"HTTP/1.1 200 O\x00K\r\nContent-Length: 0\r\n\r\n",
    "control-in-value": OK + b"X: a\x01b\r\nContent-Length: 0\r\n\r\n",
    "del-in-value": OK + b"X: a\x7fb\r\nContent-Length: 0\r\n\r\n",
    "space-in-name": OK + b"X A: b\r\nContent-Length: 0\r\n\r\n",
    "space-before-colon": OK + b"X-A : b\r\nContent-Length: 0\r\n\r\n",
    "empty-name": OK + b": b\r\nContent-Length: 0\r\n\r\n",
    "no-colon": OK + b"nonsense\r\nContent-Length: 0\r\n\r\n",
    "high-byte-in-name": OK + b"X-\xe4: b\r\nContent-Length: 0\r\n\r\n",
    "version-2": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "version-0.9": b"<html>hello</html>\r\n\r\n",
    "version-lower": b"http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "version-1.10": b"HTTP/1.10 200 OK\r\nContent-Length: 0\r\n\r\n",
    "version-missing": b"200 OK\r\nContent-Length: 0\r\n\r\n",
    "version-other": b"ICY 200 OK\r\n\r\n",
    "status-2-digits": b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
    "status-4-digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    "status-letters": b"HTTP/1.1 2xx OK\r\nContent-Length: 0\r\n\r\n",
    "status-negative": b"HTTP/1.1 -20 OK\r\nContent-Length: 0\r\n\r\n",
    "status-000": b"HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n",
    "status-099": b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
    "status-missing": b"HTTP/1.1 \r\nContent-Length: 0\r\n\r\n",
    "status-two-spaces": b"HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n",
    "status-tab": b"HTTP/1.1\t200\tOK\r\nContent-Length: 0\r\n\r\n",
    "leading-space": b" HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "garbage": bytes(range(128, 256)) + b"\r\n\r\n",
    "tls-alert": b"\x15\x03\x01\x00\x02\x02\x28" * 10 + b"\r\n\r\n",
    "zeros": b"\x00" * 1000,
    "huge-header": OK + b"X: " + b"y" * 200_000 + b"\r\nContent-Length: 0\r\n\r\n",
    "huge-reason": b"HTTP/1.1 200 " + b"y" * 200_000 + b"\r\nContent-Length: 0\r\n\r\n",
    "too-many-headers": OK + b"".join(b"X-%d: y\r\n" % n for n in range(5000)) + b"Content-Length: 0\r\n\r\n",
    "head-without-end": OK + b"X: y\r\n" * 20000,
    "unasked-101": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nevil",
    "1xx-with-garbage": b"HTTP/1.1 103 Early Hints\r\nX Y: z\r\n\r\n" + EVIL,
    "request-as-response": b"GET / HTTP/1.1\r\nHost: t.example\r\n\r\n",
}

# The head is good and may have gone to the client; the body must then be seen to be cut, or never looked complete with evil bytes.
BODIES = {
    "chunk-letters": b"zz\r\nabc\r\n0\r\n\r\n",
    "chunk-negative": b"-1\r\nabc\r\n0\r\n\r\n",
    "chunk-0x": b"0x3\r\nabc\r\n0\r\n\r\n",
    "chunk-leading-space": b" 3\r\nabc\r\n0\r\n\r\n",
    "chunk-overflow": b"10000000000000003\r\nabc\r\n0\r\n\r\n",
    "chunk-all-f": b"ffffffffffffffff\r\nabc\r\n0\r\n\r\n",
    "chunk-empty": b"\r\nabc\r\n0\r\n\r\n",
    "chunk-bare-lf": b"3\nabc\n0\n\n",
    "chunk-bare-cr": b"3\rabc\r0\r\r",
    "chunk-too-long": b"3\r\nabcdef\r\n0\r\n\r\n",
    "chunk-too-short": b"9\r\nabc\r\n0\r\n\r\n",
    "chunk-data-lf": b"3\r\nabc\n0\r\n\r\n",
    "chunk-ext-nul": b"3;\x00\r\nabc\r\n0\r\n\r\n",
    "chunk-ext-lf": b"3;a\nb\r\nabc\r\n0\r\n\r\n",
    "chunk-ext-huge": b"3;" + b"x" * 30_000 + b"\r\nabc\r\n0\r\n\r\n",
    "last-chunk-lf": b"3\r\nabc\r\n0\n\n",
    "trailer-bad": b"3\r\nabc\r\n0\r\nX Y: z\r\n\r\n",
    "trailer-fold": b"3\r\nabc\r\n0\r\nX: y\r\n z\r\n\r\n",
    "trailer-nul": b"3\r\nabc\r\n0\r\nX: \x00\r\n\r\n",
    "trailer-huge": b"3\r\nabc\r\n0\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
    "no-chunks-at-all": b"just text\r\n\r\n",
}

# Odd, with one reading: passed on.
PECULIAR = {
    "no-reason": b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok",
    "no-reason-no-space": b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok",
    "empty-value": OK + b"X-Empty:\r\nContent-Length: 2\r\n\r\nok",
    "obs-text-reason": b"HTTP/1.1 200 D\xe9j\xe0\r\nContent-Length: 2\r\n\r\nok",
    "mixed-case": OK + b"cOnTeNt-LeNgTh: 2\r\n\r\nok",
    "chunk-extension": OK + b"Transfer-Encoding: chunked\r\n\r\n2;a=b\r\nok\r\n0\r\n\r\n",
    "chunk-upper-hex": OK + b"Transfer-Encoding: chunked\r\n\r\n02\r\nok\r\n000\r\n\r\n",
    "http-1.0-length": b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "many-1xx": b"HTTP/1.1 102 Processing\r\n\r\n" * 5 + OK + b"Content-Length: 2\r\n\r\nok",
}


class Scripted:
    """What the module's one backend answers is set by each test."""

    def __init__(self, raw_server_class):
        self.answer, self.goes_on = None, False
        self.server = raw_server_class(self._serve)

    def _serve(self, connection):
        while True:
            request = connection.read_request(30)
            answer = self.answer if request.target == "/hostile" else b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"
            if not connection.send_quietly(answer):
                return
            if request.target == "/hostile" and not self.goes_on:
                connection.read_to_end(1)  # stays open a while: weir must not wait for the end
                return


@pytest.fixture(scope="module")
def scripted():
    from harness import RawServer
    it = Scripted(RawServer)
    yield it
    it.server.close()


@pytest.fixture(scope="module")
def target(module_site, scripted):
    return module_site([{"upstream": "app"}], {"app": scripted.server.address}, timeouts={"response": "2s", "body": "2s"}, workers=1)


def assert_next_client_is_served(weir):
    with RawClient(weir.port()) as client:
        for _ in range(2):
            answer = client.get("/good")
            assert answer.status == 200 and answer.body == b"good"
    assert weir.is_running()


@pytest.mark.parametrize("name", HEADS)
def test_a_hostile_response_head_is_a_502(target, scripted, name):
    scripted.answer = HEADS[name]
    with RawClient(target.port()) as client:
        answer = client.request("POST", "/hostile", body=b"x", seconds=8)
        assert answer.status == 502, answer
        assert b"evil" not in answer.body
        if not answer.will_close:
            assert client.get("/good").body == b"good"
    assert_next_client_is_served(target)


@pytest.mark.parametrize("name", BODIES)
def test_a_hostile_response_body_never_looks_complete(target, scripted, name):
    scripted.answer = OK + b"Transfer-Encoding: chunked\r\n\r\n" + BODIES[name]
    with RawClient(target.port()) as client:
        client.send_request("POST", "/hostile", body=b"x")
        try:
            answer = client.read_response("POST", 8)
        except Closed:
            answer = None
        assert answer is None or answer.status == 502 or not answer.is_complete, answer
    assert_next_client_is_served(target)


@pytest.mark.parametrize("name", PECULIAR)
def test_a_peculiar_response_with_one_reading_is_passed_on(target, scripted, name, monkeypatch):
    scripted.answer = PECULIAR[name]
    monkeypatch.setattr(scripted, "goes_on", True)
    with RawClient(target.port()) as client:
        answer = client.get("/hostile")
        assert answer.status == 200 and answer.body == b"ok"
    assert_next_client_is_served(target)


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_bytes_behind_a_response_without_body_reach_nobody(target, scripted, status):
    scripted.answer = f"HTTP/1.1 {status}\r\n\r\n".encode() + EVIL
    with RawClient(target.port()) as client:
        assert client.get("/hostile").status in (int(status[:3]), 502)
        if not client.ended:
            assert client.get("/good").body == b"good"
    assert_next_client_is_served(target)


@pytest.mark.parametrize("extra", [EVIL, b"x", b"\r\n", b"HTTP/1.1 500 Evil\r\n"])
def test_bytes_behind_a_complete_response_reach_nobody(target, scripted, extra):
    scripted.answer = OK + b"Content-Length: 2\r\n\r\nok" + extra
    with RawClient(target.port()) as client:
        assert client.get("/hostile").body == b"ok"
        assert client.get("/good").body == b"good"
    assert_next_client_is_served(target)


def test_a_body_behind_the_answer_to_head_reaches_nobody(target, scripted):
    scripted.answer = OK + b"Content-Length: 4\r\n\r\nevil"
    with RawClient(target.port()) as client:
        answer = client.request("HEAD", "/hostile")
        assert answer.status == 200 and answer.body == b""
        assert client.get("/good").body == b"good"
    assert_next_client_is_served(target)


def test_a_response_before_any_request_reaches_nobody(site, raw_server):
    """A server that speaks first on a kept connection: its bytes are not the answer to the next request."""
    def serve(connection):
        connection.read_request()
        served.append(connection)
        connection.send(OK + b"Content-Length: 5\r\n\r\nfirst")
        if len(served) == 1:
            connection.read_request_head()
            connection.send_quietly(OK + b"Content-Length: 6\r\n\r\nsecond")

    served = []
    server = raw_server(serve)
    weir = site([{"upstream": "app"}], {"app": server.address}, workers=1)
    with weir.client() as client:
        assert client.get().body == b"first"
        served[0].send(EVIL)
        for _ in range(3):
            assert b"evil" not in client.get().body


def test_an_endless_flood_of_interim_responses_is_ended(site, raw_server):
    def serve(connection):
        connection.read_request()
        while connection.send_quietly(b"HTTP/1.1 102 Processing\r\n\r\n" * 1000, seconds=5):
            pass

    weir = site([{"upstream": "app"}], {"app": raw_server(serve).address}, timeouts={"response": "1s"})
    before = weir.rss_bytes()
    with weir.client() as client:
        client.send_request()
        client._keep = False
        seen = 0
        try:
            while client.read_head(5)[0] == 102:
                seen += 1
                if seen > 200_000:
                    break
        except Closed:
            pass
        assert seen <= 200_000
    if not weir.is_sanitized:
        assert weir.rss_bytes() - before < 16 << 20


def test_what_weir_says_of_a_bad_server_never_names_its_address(target, scripted):
    scripted.answer = HEADS["cl-and-te"]
    with RawClient(target.port()) as client:
        answer = client.request("POST", "/hostile", body=b"x")
    assert str(scripted.server.port).encode() not in answer.raw_head + answer.body
