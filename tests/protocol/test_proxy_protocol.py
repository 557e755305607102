"""The PROXY protocol: the header that proxies in front send is taken, and servers are sent one."""

import socket
import ssl
import struct

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
