"""The PROXY protocol: the header that proxies in front send is taken, and servers are sent one."""

import socket
import ssl
import struct

import hpack
import pytest

from harness import RawClient, wait_until
from harness.raw_client import build_request, trusting

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
V1 = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"
V1_SIX = b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n"


def v2(source="192.0.2.1", destination="198.51.100.2", ports=(56324, 443), details=b"", command=1):
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    body = socket.inet_pton(family, source) + socket.inet_pton(family, destination) + struct.pack("!HH", *ports) + details
    return SIGNATURE + struct.pack("!BBH", 0x20 | command, 0x21 if ":" in source else 0x11, len(body)) + body


V2 = v2()
WHO = {"respond": {"status": 200, "body": "${client} ${client_port}\n"}}


def who(site, **listener):
    return site([WHO], listeners={"web": {"proxy_protocol": True, **listener}})


# -- taken ------------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("header,expected", [
    (V1, "192.0.2.1 56324"), (V1_SIX, "2001:db8::1 56324"), (V2, "192.0.2.1 56324"),
    (v2("2001:db8::1", "::1", (1, 2)), "2001:db8::1 1"),
    (v2(details=b"\x04\x00\x64" + b"x" * 100 + b"\x01\x00\x02h2"), "192.0.2.1 56324"),
], ids=["v1", "v1-ipv6", "v2", "v2-ipv6", "v2-tlvs"])
def test_the_client_is_whom_the_header_names(site, header, expected):
    weir = who(site)
    with weir.client() as client:
        client.send(header + build_request())
        assert client.read_response().text.strip() == expected
        assert client.get().text.strip() == expected, "for every request of the connection"


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN ::1 ::2 1 2\r\n", v2(command=0), SIGNATURE + b"\x20\0\0\0", SIGNATURE + b"\x21\0\0\0"])
def test_a_header_that_says_nothing_leaves_the_peer_the_client(site, header):
    with who(site).client() as client:
        client.send(header + build_request())
        assert client.read_response().text.split()[0] == "127.0.0.1"


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
def test_a_header_may_come_in_any_pieces(site, header):
    weir = who(site)
    whole = header + build_request()
    for cut in range(1, len(header) + 2):
        with weir.client() as client:
            client.send(whole[:cut])
            client.expect_silence(0.002)
            client.send(whole[cut:])
            assert client.read_response().text.startswith("192.0.2.1 ")
    with weir.client() as client:
        client.send(*[whole[i:i + 1] for i in range(len(whole))])
        assert client.read_response().text.startswith("192.0.2.1 ")


@pytest.mark.parametrize("bytes_", [
    build_request(), b"PROXY TCP4 1.2.3.4\r\n", b"PROXY " + b"x" * 200, SIGNATURE + b"\x31\x11\0\0", SIGNATURE + b"\x21\x11\xff\xff", b"\x16\x03\x01",
], ids=["none", "short", "long", "version", "length", "tls"])
def test_without_a_good_header_the_connection_is_closed_without_a_word(site, bytes_):
    weir = who(site)
    with weir.client() as client:
        client.send(bytes_)
        assert client.read_to_end() == b""
    wait_until(lambda: weir.admin.metrics().sum("weir_connections", listener="web") == 0)


def test_an_end_within_the_header_closes(site):
    with who(site).client() as client:
        client.send(V1[:20])
        client.half_close()
        assert client.read_to_end() == b""


def test_the_header_has_a_deadline(site):
    weir = who(site, timeouts={"header": "300ms"})
    with weir.client() as silent, weir.client() as slow:
        slow.send(V1[:10])
        assert silent.read_to_end() == b"" and slow.read_to_end() == b""
    wait_until(lambda: weir.admin.metrics().sum("weir_connections", listener="web") == 0)


def test_only_trusted_proxies_may_send_one(site):
    weir = who(site, trusted_proxies=["127.0.0.2/32"])
    with weir.client(source="127.0.0.2") as client:
        client.send(V1 + build_request())
        assert client.read_response().text.startswith("192.0.2.1 ")
    with weir.client(source="127.0.0.3") as client:
        client.send_quietly(V1 + build_request())
        assert client.read_to_end() == b""


def test_whom_the_header_names_is_not_trusted_by_that(site):
    weir = who(site, trusted_proxies=["127.0.0.2/32"])
    with weir.client(source="127.0.0.2") as client:
        client.send(V1 + build_request(headers=[("X-Forwarded-For", "203.0.113.9")]))
        assert client.read_response().text.startswith("192.0.2.1 ")


def test_the_server_is_told_the_named_client(site, http_backend):
    backend = http_backend()
    weir = site([{"upstream": "app"}], {"app": backend.address}, {"web": {"proxy_protocol": True}})
    with weir.client() as client:
        client.send(V1_SIX + build_request())
        client.read_response()
    assert backend.requests[0]["x-forwarded-for"] == "2001:db8::1"


def test_the_header_comes_before_tls(site, authority, localhost_cert):
    weir = who(site, tls={"certificates": [{"cert": localhost_cert[0], "key": localhost_cert[1]}]})
    raw = RawClient(weir.port())
    raw.send(V2)
    raw.sock = trusting(authority.file).wrap_socket(raw.sock, server_hostname="localhost")
    with raw as client:
        assert client.get().text.strip() == "192.0.2.1 56324"


def test_what_is_in_one_segment_with_the_header_is_not_lost_under_tls(site, authority, localhost_cert):
    weir = who(site, tls={"certificates": [{"cert": localhost_cert[0], "key": localhost_cert[1]}]})
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = trusting(authority.file).wrap_bio(incoming, outgoing, server_hostname="localhost")
    with weir.client() as client:
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        client.send(V1 + outgoing.read())
        while True:
            incoming.write(client.sock.recv(65536))
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                pass
        assert tls.version()


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
def test_a_tcp_stream_goes_on_behind_the_header(site, server, header):
    weir = site(None, {"db": server.address}, {"db": {"protocol": "tcp", "upstream": "db", "proxy_protocol": True}})
    with weir.client("db") as client:
        client.send(header + b"first")
        up = server.accept()
        assert up.read_exact(5) == b"first"
        client.send(b"second")
        assert up.read_exact(6) == b"second"
        up.send(b"back")
        assert client.read_exact(4) == b"back"


def test_limits_count_the_socket_s_peer(site):
    weir = who(site, limits={"connections_per_ip": 2})
    with weir.client() as one, weir.client() as two:
        for n, client in enumerate((one, two)):
            client.send(b"PROXY TCP4 192.0.2.%d 198.51.100.2 1 2\r\n" % (n + 1) + build_request())
            assert client.read_response().status == 200
        with weir.client() as third:
            third.send_quietly(V1 + build_request())
            assert third.read_to_end() == b""
    wait_until(lambda: weir.admin.metrics().sum("weir_connections", listener="web") == 0)
    with weir.client() as again:
        again.send(V1 + build_request())
        assert again.read_response().status == 200


def test_a_connection_counts_once(site):
    weir = who(site, limits={"connections": 1})
    for _ in range(3):
        with weir.client() as client:
            client.send(V1[:5])
            client.expect_silence(0.01)
            client.send(V1[5:] + build_request())
            assert client.read_response().status == 200
            assert weir.admin.metrics().sum("weir_connections", listener="web") == 1
        wait_until(lambda: weir.admin.metrics().sum("weir_connections", listener="web") == 0)


def test_a_header_that_began_before_a_reload_is_taken_after_it(site):
    weir = who(site)
    with weir.client() as client:
        client.send(V1[:9])
        wait_until(lambda: weir.admin.metrics().sum("weir_connections", listener="web") == 1)
        weir.reload(timeouts={"idle": "5m"})
        client.send(V1[9:] + build_request())
        assert client.read_response().text.startswith("192.0.2.1 ")


def test_a_stop_does_not_wait_for_a_header(site):
    weir = who(site, timeouts={"header": "1h"})
    with weir.client() as client:
        client.send(V1[:9])
        wait_until(lambda: weir.admin.metrics().sum("weir_connections", listener="web") == 1)
        weir.change(timeouts={"drain": "1h"})
        weir.stop(seconds=5)
        assert client.read_to_end() == b""


# -- sent -------------------------------------------------------------------------------------------------------------------------

class Sent:
    """A PROXY header as a server reads it."""

    def __init__(self, wire):
        self.details, self.source, self.destination, self.local = {}, None, None, False
        first = wire.read_exact(13)
        if first.startswith(b"PROXY "):
            line = first + wire.read_until(b"\r\n")
            assert line.endswith(b"\r\n") and len(line) <= 107
            words = line[:-2].decode().split(" ")
            self.version, self.family = 1, words[1]
            if words[1] == "UNKNOWN":
                self.local = True
                return
            self.source, self.destination = (words[2], int(words[4])), (words[3], int(words[5]))
            return
        assert first.startswith(SIGNATURE) and first[12] >> 4 == 2
        self.version, self.local = 2, first[12] & 15 == 0
        family, length = struct.unpack("!BH", wire.read_exact(3))
        body = wire.read_exact(length)
        self.family = {0: "UNSPEC", 0x11: "TCP4", 0x21: "TCP6"}[family]
        if self.family == "UNSPEC":
            self.details = self._details(body)
            return
        size, af = (4, socket.AF_INET) if family == 0x11 else (16, socket.AF_INET6)
        source_port, destination_port = struct.unpack("!HH", body[2 * size:2 * size + 4])
        self.source = socket.inet_ntop(af, body[:size]), source_port
        self.destination = socket.inet_ntop(af, body[size:2 * size]), destination_port
        self.details = self._details(body[2 * size + 4:])

    @staticmethod
    def _details(body):
        found = {}
        while body:
            kind, length = struct.unpack("!BH", body[:3])
            assert len(body) >= 3 + length
            found[kind], body = body[3:3 + length], body[3 + length:]
        return found


BOTH = pytest.mark.parametrize("version", ["v1", "v2"])
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@BOTH
def test_a_server_of_streams_is_told_the_client(site, server, version):
    weir = site(None, {"db": {"servers": [server.address], "proxy_protocol": version}}, {"db": {"protocol": "tcp", "upstream": "db"}})
    with weir.client("db") as client:
        client.send(b"hello")
        up = server.accept()
        sent = Sent(up)
        assert (f"v{sent.version}", sent.family) == (version, "TCP4")
        assert sent.source == client.sock.getsockname() and sent.destination == ("127.0.0.1", weir.port("db"))
        assert up.read_exact(5) == b"hello"


@BOTH
def test_a_server_that_speaks_first_still_gets_the_header(site, server, version):
    weir = site(None, {"db": {"servers": [server.address], "proxy_protocol": version}}, {"db": {"protocol": "tcp", "upstream": "db"}})
    with weir.client("db") as client:
        up = server.accept()
        assert Sent(up).source == client.sock.getsockname()
        up.send(b"220 hello")
        assert client.read_exact(9) == b"220 hello"


@BOTH
def test_what_was_taken_is_sent_on(site, server, version):
    weir = site(None, {"db": {"servers": [server.address], "proxy_protocol": version}},
                {"db": {"protocol": "tcp", "upstream": "db", "proxy_protocol": True}})
    for header, family, source, destination in ((V1, "TCP4", "192.0.2.1", "198.51.100.2"), (V1_SIX, "TCP6", "2001:db8::1", "2001:db8::2")):
        with weir.client("db") as client:
            client.send(header + b"x")
            up = server.accept()
            sent = Sent(up)
            assert sent.family == family and sent.source == (source, 56324) and sent.destination == (destination, 443)
            assert up.read_exact(1) == b"x"


@BOTH
def test_http_requests_carry_it_and_no_connection_serves_two(site, server, version):
    weir = site([{"upstream": "app"}], {"app": {"servers": [server.address], "proxy_protocol": version}})
    with weir.client() as client:
        for _ in range(3):
            client.send_request()
            up = server.accept()
            assert Sent(up).source == client.sock.getsockname()
            up.read_until(b"\r\n\r\n")
            up.send(OK)
            assert client.read_response().text == "ok"
            assert up.read_to_end() == b"" and up.ended == "closed"


@BOTH
@pytest.mark.parametrize("header,source,destination", [(V1, "192.0.2.1", "198.51.100.2"), (v2("2001:db8::1", "2001:db8::2"), "2001:db8::1", "2001:db8::2")])
def test_http_sends_on_what_was_taken(site, server, version, header, source, destination):
    weir = site([{"upstream": "app"}], {"app": {"servers": [server.address], "proxy_protocol": version}}, {"web": {"proxy_protocol": True}})
    with weir.client() as client:
        client.send(header + build_request())
        up = server.accept()
        sent = Sent(up)
        assert sent.source == (source, 56324) and sent.destination == (destination, 443)
        up.read_until(b"\r\n\r\n")
        up.send(OK)
        assert client.read_response().text == "ok"


def test_http_tells_the_client_that_trusted_proxies_name(site, server):
    weir = site([{"upstream": "app"}], {"app": {"servers": [server.address], "proxy_protocol": "v2"}}, {"web": {"trusted_proxies": ["127.0.0.1"]}})
    with weir.client() as client:
        client.send_request(headers=[("X-Forwarded-For", "192.0.2.7")])
        up = server.accept()
        assert Sent(up).source == ("192.0.2.7", 0)
        up.read_until(b"\r\n\r\n")
        up.send(OK)
        client.read_response()


class Exact:
    """Takes from a socket what is asked for, and no byte more."""

    def __init__(self, sock):
        self.sock = sock

    def read_exact(self, count):
        return self.sock.recv(count, socket.MSG_WAITALL)


def test_it_goes_ahead_of_tls_to_the_server(site, authority, localhost_cert):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(20)
        weir = site([{"upstream": "app"}], {"app": {"servers": ["127.0.0.1:%d" % listening.getsockname()[1]], "proxy_protocol": "v2",
                                                   "tls": {"ca": authority.file, "server_name": "localhost"}}})
        with weir.client() as client:
            client.send_request()
            up, _ = listening.accept()
            assert Sent(Exact(up)).source == client.sock.getsockname()
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*localhost_cert)
            with context.wrap_socket(up, server_side=True) as tls:
                assert tls.recv(65536).startswith(b"GET / HTTP/1.1\r\n")
                tls.sendall(OK)
                assert client.read_response().text == "ok"


def test_version_2_tells_of_the_client_s_tls(site, server, authority, localhost_cert):
    friend = authority.leaf("friend", client=True)
    weir = site(None, {"db": {"servers": [server.address], "proxy_protocol": "v2"}},
                {"db": {"protocol": "tcp", "upstream": "db", "tls": {
                    "certificates": [{"cert": localhost_cert[0], "key": localhost_cert[1]}], "alpn": ["db/1"],
                    "client_ca": authority.file, "client_verify": "optional"}}})

    def told(**identity):
        context = trusting(authority.file)
        context.set_alpn_protocols(["db/1"])
        if identity:
            context.load_cert_chain(**identity)
        with RawClient(weir.port("db"), tls=context, server_name="localhost") as client:
            client.send(b"x")
            up = server.accept()
            details = Sent(up).details
            assert up.read_exact(1) == b"x"
            assert details[1] == b"db/1" and details[2] == b"localhost"
            flags, verify = struct.unpack("!BI", details[0x20][:5])
            inner = Sent._details(details[0x20][5:])
            assert inner[0x21] == client.sock.version().encode()
            return flags, verify, inner.get(0x22)
    assert told(certfile=friend[0], keyfile=friend[1]) == (7, 0, b"friend")
    flags, verify, name = told()
    assert flags == 1 and verify != 0 and name is None


def test_a_plain_client_has_no_tls_to_tell_of(site, server):
    weir = site(None, {"db": {"servers": [server.address], "proxy_protocol": "v2"}}, {"db": {"protocol": "tcp", "upstream": "db"}})
    with weir.client("db"):
        assert Sent(server.accept()).details == {}


@pytest.mark.parametrize("kind", ["http", "tcp"])
@BOTH
def test_health_checks_send_one_that_names_nobody(site, raw_server, version, kind):
    seen = []

    def script(connection):
        seen.append(Sent(connection))
        connection.read_until(b"\r\n\r\n" if kind == "http" else b"PING")
        connection.send(OK if kind == "http" else b"PONG")
    server = raw_server(script)
    check = {"type": kind, "interval": "50ms", **({"send": "PING", "receive": "PONG"} if kind == "tcp" else {})}
    weir = site([{"upstream": "app"}], {"app": {"servers": [server.address], "proxy_protocol": version, "health_check": check}})
    wait_until(lambda: len(seen) >= 3)
    assert all(s.local and f"v{s.version}" == version for s in seen)
    assert weir.admin.server_is_up("app", server.address)


@BOTH
def test_one_weir_understands_another(site, http_backend, version):
    backend = http_backend()
    inner = site([{"upstream": "app"}], {"app": backend.address}, {"web": {"proxy_protocol": True}})
    outer = site([{"upstream": "inner"}], {"inner": {"servers": [f"127.0.0.1:{inner.port()}"], "proxy_protocol": version}})
    with outer.client(source="127.0.0.9") as client:
        for _ in range(3):
            assert client.get().status == 200
    assert {r["x-forwarded-for"] for r in backend.requests} == {"127.0.0.9"}


def h2_headers(stream):
    """A GET as an HTTP/2 frame (RFC 9113 §6.2)."""
    block = hpack.Encoder().encode([(":method", "GET"), (":scheme", "http"), (":authority", "t.example"), (":path", "/")])
    return struct.pack("!I", len(block))[1:] + struct.pack("!BBI", 1, 5, stream) + block


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
def test_http2_behind_a_header_and_each_request_is_introduced(site, server, header):
    weir = site([{"upstream": "app"}], {"app": {"servers": [server.address], "proxy_protocol": "v2"}}, {"web": {"proxy_protocol": True}})
    with weir.client() as client:
        client.send(header + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0" + h2_headers(1) + h2_headers(3))
        for _ in range(2):
            up = server.accept()
            sent = Sent(up)
            assert sent.source == ("192.0.2.1", 56324) and sent.destination == ("198.51.100.2", 443)
            assert b"192.0.2.1" in up.read_until(b"\r\n\r\n")
            up.send(OK)
            assert up.read_to_end() == b""
