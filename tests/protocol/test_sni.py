"""By the name that a TLS client asks for, without decrypting: `sni` of tcp listeners, `passthrough` beside termination."""

import socket
import ssl

import pytest

from harness import RawClient, SCALE, wait_until
from harness.certs import serial_of, serial_of_file
from harness.raw_client import build_request, trusting

V1 = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"
ALERT = b"\x15\x03\x03\x00\x02\x02\x70"


def context_of(cert):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*cert)
    return context


def hello(name=None, alpn=("h2", "http/1.1")):
    """A ClientHello as OpenSSL sends it."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.set_alpn_protocols(list(alpn))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


def in_records(wire, size):
    body = wire[5:]
    return b"".join(b"\x16\x03\x01" + len(body[i:i + size]).to_bytes(2, "big") + body[i:i + size] for i in range(0, len(body), size))


class Up:
    """A TLS server of its own name, which answers requests with it."""

    def __init__(self, http_backend, authority, name):
        self.cert = authority.leaf(name, "*." + name, "localhost")
        self.backend = http_backend(name, tls=context_of(self.cert))
        self.address = self.backend.address


@pytest.fixture
def ups(http_backend, authority):
    return {name: Up(http_backend, authority, name) for name in ("a.example", "b.example", "c.example")}


def by_name(site, ups, names, **listener):
    return site(None, {n.split(".")[0]: u.address for n, u in ups.items()}, {"l4": {"protocol": "tcp", "sni": names, **listener}})


def ask(weir, authority, name, listener="l4"):
    """The body that whoever got the connection answers with."""
    context = trusting(authority.file)
    context.check_hostname = False
    with RawClient(weir.port(listener), tls=context, server_name=name) as client:
        return client.get(host=name or "x").text


def test_exact_then_the_longest_wildcard_then_the_default(site, ups, authority):
    weir = by_name(site, ups, {"a.example": "a", "*.b.example": "b", "*.x.b.example": "a", "default": "c"})
    for name, expected in (("a.example", "a.example"), ("A.EXAMPLE", "a.example"), ("y.b.example", "b.example"), ("z.y.b.example", "b.example"),
                           ("y.x.b.example", "a.example"), ("b.example", "c.example"), ("x.a.example", "c.example"), ("other.test", "c.example"),
                           (None, "c.example")):
        assert ask(weir, authority, name) == expected, name


def test_the_certificate_is_the_server_s(site, ups, authority):
    weir = by_name(site, ups, {"a.example": "a", "b.example": "b"})
    for name in ("a.example", "b.example"):
        with RawClient(weir.port("l4"), tls=trusting(authority.file), server_name=name) as client:
            assert serial_of(client.sock.getpeercert(True)) == serial_of_file(ups[name].cert[0])


def test_the_first_bytes_go_on_unchanged(site, server):
    weir = site(None, {"up": server.address}, {"l4": {"protocol": "tcp", "sni": {"a.example": "up"}}})
    first = hello("a.example")
    with weir.client("l4") as client:
        client.send(first + b"behind")
        up = server.accept()
        assert up.read_exact(len(first) + 6) == first + b"behind"
        up.send(b"back")
        assert client.read_exact(4) == b"back"
        client.half_close()
        assert up.read_to_end() == b""


@pytest.mark.parametrize("size", [1, 3, 50, 5000])
def test_the_hello_may_lie_in_many_records(site, server, size):
    weir = site(None, {"up": server.address}, {"l4": {"protocol": "tcp", "sni": {"a.example": "up"}}})
    wire = in_records(hello("a.example"), size)
    with weir.client("l4") as client:
        client.send(wire)
        assert server.accept().read_exact(len(wire)) == wire


def test_the_hello_may_come_in_many_segments(site, server):
    weir = site(None, {"up": server.address}, {"l4": {"protocol": "tcp", "sni": {"a.example": "up"}}})
    wire = hello("a.example")
    for cut in (1, 4, 5, 6, 9, 100, len(wire) - 1):
        with weir.client("l4") as client:
            client.send(wire[:cut])
            client.expect_silence(0.01)
            client.send(wire[cut:])
            assert server.accept().read_exact(len(wire)) == wire
    with weir.client("l4") as client:
        client.send(*[wire[i:i + 1] for i in range(len(wire))])
        assert server.accept().read_exact(len(wire)) == wire


@pytest.mark.parametrize("name", ["other.test", None])
def test_without_a_default_a_name_of_nobody_gets_an_alert(site, ups, name):
    weir = by_name(site, ups, {"a.example": "a"})
    with weir.client("l4") as client:
        client.send(hello(name))
        assert client.read_to_end() == ALERT and client.ended == "closed"
    wait_until(lambda: "no upstream for the name" in weir.log() and (name or "") in weir.log())
    weir.await_metric("weir_connections", 0, listener="l4")


def test_what_is_not_tls_goes_to_the_default(site, server, ups):
    weir = site(None, {"a": ups["a.example"].address, "plain": server.address},
                {"l4": {"protocol": "tcp", "sni": {"a.example": "a", "default": "plain"}}})
    with weir.client("l4") as client:
        client.send(b"S")
        assert server.accept().read_exact(1) == b"S"


def test_without_a_default_what_is_not_tls_is_closed(site, ups):
    weir = by_name(site, ups, {"a.example": "a"})
    for first in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x02", b"\x16\x03\x01\x00\x00\x01", b"\x16\x03\x01\x40\x00\x01\x00\x40\x00"):
        with weir.client("l4") as client:
            client.send_quietly(first)
            assert client.read_to_end() == b""


def test_the_hello_has_a_deadline(site, ups):
    weir = by_name(site, ups, {"a.example": "a", "default": "b"}, timeouts={"header": "300ms"})
    with weir.client("l4") as silent, weir.client("l4") as slow:
        slow.send(hello("a.example")[:50])
        assert silent.read_to_end() == b"" and slow.read_to_end() == b""


def test_an_end_amid_the_hello_closes(site, ups):
    weir = by_name(site, ups, {"a.example": "a", "default": "b"})
    with weir.client("l4") as client:
        client.send(hello("a.example")[:50])
        client.half_close()
        assert client.read_to_end() == b""


def test_a_hello_past_16_KiB_is_refused(site, ups):
    weir = by_name(site, ups, {"a.example": "a", "default": "b"})
    with weir.client("l4") as client:
        client.send_quietly(b"\x16\x03\x01\x40\x00\x01\x00\x7f\xff" + b"x" * 20000)
        assert client.read_to_end() == b""


def test_behind_a_proxy_the_header_comes_first(site, ups, server):
    weir = site(None, {"up": {"servers": [server.address], "proxy_protocol": "v1"}},
                {"l4": {"protocol": "tcp", "sni": {"a.example": "up"}, "proxy_protocol": True}})
    wire = hello("a.example")
    for pieces in ((V1 + wire,), (V1, wire), (V1[:7], V1[7:] + wire[:50], wire[50:])):
        with weir.client("l4") as client:
            for piece in pieces:
                client.send(piece)
                client.expect_silence(0.01)
            assert server.accept().read_exact(len(V1 + wire)) == V1 + wire


def test_the_server_is_told_the_name(site, server):
    weir = site(None, {"up": {"servers": [server.address], "proxy_protocol": "v2"}}, {"l4": {"protocol": "tcp", "sni": {"*.example": "up"}}})
    with weir.client("l4") as client:
        client.send(hello("A.example"))
        header = server.accept().read_exact(40)
        assert header[28:] == b"\x02\x00\x09a.example"


def test_a_reload_changes_where_names_go(site, ups, authority):
    weir = by_name(site, ups, {"a.example": "a", "default": "c"})
    context = trusting(authority.file)
    with RawClient(weir.port("l4"), tls=context, server_name="a.example") as client:
        assert client.get(host="a.example").text == "a.example"
        listeners = {"l4": {**weir.config["listeners"]["l4"], "sni": {"a.example": "b", "default": "c"}}}
        weir.reload(listeners=listeners)
        assert client.get(host="a.example").text == "a.example", "a stream stays where it is"
    assert ask(weir, authority, "a.example") == "b.example"


def test_diff_says_where_names_go_now(site, ups):
    weir = by_name(site, ups, {"a.example": "a", "b.example": "b", "default": "c"})
    weir.change(listeners={"l4": {**weir.config["listeners"]["l4"], "sni": {"a.example": "b", "x.example": "a", "default": "c"}}})
    lines = weir.cli("diff").stdout.splitlines()
    assert [l for l in lines if "sni" in l] == [
        "listener l4: changed (sni.a.example: a -> b, sni.x.example: not set -> a, sni.b.example: b -> not set)"]


# -- beside termination -----------------------------------------------------------------------------------------------------------

@pytest.fixture
def mixed(site, ups, authority, localhost_cert):
    return site([{"respond": {"body": "here ${tls_sni}"}}], {"a": ups["a.example"].address},
                {"web": {"tls": {"certificates": [{"cert": localhost_cert[0], "key": localhost_cert[1]}]},
                         "passthrough": {"a.example": "a", "*.b.example": "a"}}})


def test_names_that_are_passed_through_are_not_decrypted(mixed, ups, authority):
    assert ask(mixed, authority, "a.example", "web") == "a.example"
    assert ask(mixed, authority, "x.b.example", "web") == "a.example"
    with RawClient(mixed.port(), tls=trusting(authority.file), server_name="a.example") as client:
        assert serial_of(client.sock.getpeercert(True)) == serial_of_file(ups["a.example"].cert[0])


def test_other_names_are_terminated_here(mixed, authority):
    assert ask(mixed, authority, "localhost", "web") == "here localhost"
    assert ask(mixed, authority, "t.example", "web") == "here t.example"
    assert ask(mixed, authority, None, "web") == "here "


def test_a_hello_in_pieces_is_terminated_too(mixed, authority, localhost_cert):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = trusting(authority.file).wrap_bio(incoming, outgoing, server_hostname="localhost")
    with mixed.client() as client:
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        wire = outgoing.read()
        client.send(*[wire[i:i + 20] for i in range(0, len(wire), 20)])
        client.sock.settimeout(10 * SCALE)
        while True:
            incoming.write(client.sock.recv(65536))
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                pass
        assert tls.version() == "TLSv1.3"


def test_what_is_not_tls_is_refused_by_the_termination(mixed):
    with mixed.client() as client:
        client.send_quietly(build_request())
        answer = client.read_to_end()
        assert b"HTTP/1.1 200" not in answer


def test_passed_through_streams_count_as_the_listener_s(mixed, authority):
    context = trusting(authority.file)
    with RawClient(mixed.port(), tls=context, server_name="a.example") as client:
        assert client.get(host="a.example").status == 200
        assert mixed.admin.metrics().sum("weir_connections", listener="web") == 1
    wait_until(lambda: mixed.admin.metrics().sum("weir_connections", listener="web") == 0)


def test_a_passed_through_stream_lives_through_a_reload_that_takes_its_listener(mixed, authority):
    context = trusting(authority.file)
    with RawClient(mixed.port(), tls=context, server_name="a.example") as client:
        assert client.get(host="a.example").status == 200
        port = mixed.port("other")
        mixed.reload(listeners={"other": {"bind": [f"127.0.0.1:{port}"]}})
        assert client.get(host="a.example").status == 200


def test_a_port_that_is_closed_by_a_scan_harms_nothing(mixed):
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", mixed.port())):
            pass
    wait_until(lambda: mixed.admin.metrics().sum("weir_connections", listener="web") == 0)


# -- what the check says ----------------------------------------------------------------------------------------------------------

TLS = {"self_signed": ["localhost"]}


@pytest.mark.parametrize("listener,where,what", [
    ({"protocol": "tcp", "sni": {"a.example": "upp"}}, 'sni["a.example"]', 'no upstream is called "upp"'),
    ({"protocol": "tcp", "sni": {"a b": "up"}}, 'sni["a b"]', "expected a name like"),
    ({"protocol": "tcp", "sni": {"a.*.example": "up"}}, "sni", "expected a name like"),
    ({"protocol": "tcp", "sni": {"*": "up"}}, "sni", "expected a name like"),
    ({"protocol": "tcp", "sni": {"a.example": "up", "A.example.": "up"}}, "sni", "listed already"),
    ({"protocol": "tcp", "sni": {"a.example": "up"}, "upstream": "up"}, "sni", "\"upstream\" is given too"),
    ({"protocol": "tcp", "sni": {"a.example": "up"}, "tls": TLS}, "sni", "nothing is decrypted"),
    ({"protocol": "tcp", "sni": {}}, "", 'needs "upstream" or "sni"'),
    ({"sni": {"a.example": "up"}}, "sni", '"passthrough"'),
    ({"passthrough": {"a.example": "up"}}, "passthrough", 'only beside "tls"'),
    ({"passthrough": {"default": "up"}, "tls": TLS}, "passthrough", '"default" is for "sni"'),
    ({"passthrough": {"a.example": "other"}, "tls": TLS}, "passthrough", "no upstream is called"),
])
def test_a_fault_is_told_where_it_stands(site, listener, where, what):
    weir = site([{"respond": {"body": "x"}}] if listener.get("protocol") != "tcp" else None, {"up": "127.0.0.1:1"}, {"l4": listener}, start=False)
    done = weir.cli("check")
    assert done.returncode == 1 and f"listeners.l4{'.' if where else ''}{where}" in done.stderr + done.stdout and what in done.stderr + done.stdout, done
    assert (done.stderr + done.stdout).count("weir.yaml:") == 1, done
