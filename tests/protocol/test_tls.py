"""TLS on both sides: versions, names, certificates, resumption, client certificates, and the end of a stream."""

import os
import shutil
import socket
import ssl
import subprocess

import pytest

from harness import Deadline, RawClient, SCALE, wait_until
from harness.certs import certificate_of, serial_of, serial_of_file
from harness.http_backend import pattern
from harness.raw_client import trusting
from harness.raw_server import serving
from harness.wire import Closed

OK = [{"respond": {"status": 200, "body": "ok"}}]
V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def entry(pair, **more):
    return {"cert": pair[0], "key": pair[1], **more}


def listener(*pairs, **tls):
    return {"web": {"tls": {"certificates": [entry(p) if isinstance(p, tuple) else p for p in pairs], **tls}}}


@pytest.fixture(scope="module")
def certs(authority):
    return {
        "one": authority.leaf("one.example"),
        "two": authority.leaf("two.example", kind="rsa"),
        "wild": authority.leaf("*.wild.example"),
        "exact": authority.leaf("exact.wild.example"),
        "both-rsa": authority.leaf("both.example", kind="rsa"),
        "both-ecdsa": authority.leaf("both.example", kind="ecdsa"),
    }


@pytest.fixture(scope="module")
def names(module_site, certs, module_backend):
    return module_site([{"upstream": "app"}], {"app": module_backend.address}, listener(*certs.values()))


def connect(weir, authority, name, verify=True, **options):
    extra = {k: options.pop(k) for k in ("session", "source", "receive_buffer") if k in options}
    return RawClient(weir.port(), tls=trusting(authority.file, verify, **options), server_name=name, **extra)


def serial(client):
    return serial_of(client.sock.getpeercert(True))


# -- versions and names ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("version,name", [(V12, "TLSv1.2"), (V13, "TLSv1.3")])
def test_both_versions_are_spoken(names, authority, version, name):
    with connect(names, authority, "one.example", minimum=version, maximum=version) as client:
        assert client.sock.version() == name
        assert client.get().body == b"module"


@pytest.mark.parametrize("flag", ["-tls1", "-tls1_1"])
def test_older_versions_are_refused(names, flag):
    done = s_client(names.port(), flag, "-cipher", "ALL:@SECLEVEL=0", "-servername", "one.example")
    assert "BEGIN CERTIFICATE" not in done.stdout or "Cipher    : 0000" in done.stdout or "Cipher is (NONE)" in done.stdout


@pytest.mark.parametrize("version", [V12, V13])
@pytest.mark.parametrize("name,expected", [
    ("one.example", "one"), ("two.example", "two"), ("ONE.example", "one"), ("a.wild.example", "wild"), ("exact.wild.example", "exact"),
])
def test_the_certificate_follows_the_name(names, authority, certs, name, expected, version):
    with connect(names, authority, name, minimum=version, maximum=version) as client:
        assert serial(client) == serial_of_file(certs[expected][0])


@pytest.mark.parametrize("name", ["unknown.example", "wild.example", "a.b.wild.example", None])
def test_an_unknown_name_gets_the_first_certificate(names, authority, certs, name):
    with connect(names, authority, name, verify=False) as client:
        assert serial(client) == serial_of_file(certs["one"][0])


@pytest.mark.parametrize("cipher,expected", [("ECDHE-RSA-AES128-GCM-SHA256", "both-rsa"), ("ECDHE-ECDSA-AES128-GCM-SHA256", "both-ecdsa")])
def test_rsa_and_ecdsa_serve_one_name_by_what_the_client_can(names, authority, certs, cipher, expected):
    with connect(names, authority, "both.example", maximum=V12, ciphers=cipher) as client:
        assert serial(client) == serial_of_file(certs[expected][0])


def test_rsa_and_ecdsa_serve_one_name_in_tls_1_3(names, authority, certs):
    for algorithm, expected in (("rsa_pss_rsae_sha256", "both-rsa"), ("ecdsa_secp256r1_sha256", "both-ecdsa")):
        done = s_client(names.port(), "-tls1_3", "-servername", "both.example", "-sigalgs", algorithm)
        assert _serial_in(done.stdout) == serial_of_file(certs[expected][0])


def test_weak_ciphers_are_refused(names, authority):
    for cipher in ("AES128-SHA", "ECDHE-RSA-AES128-SHA"):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            connect(names, authority, "two.example", maximum=V12, ciphers=cipher + ":@SECLEVEL=0").close()


@pytest.mark.parametrize("offer,selected", [(["http/1.1"], "http/1.1"), (["http/1.1", "x-own"], "http/1.1"), (None, None)])
def test_alpn(names, authority, offer, selected):
    with connect(names, authority, "one.example", alpn=offer) as client:
        assert client.sock.selected_alpn_protocol() == selected
        assert client.get().status == 200


def test_a_client_that_prefers_h2_is_still_understood(names, authority):
    with connect(names, authority, "one.example", alpn=["h2", "http/1.1"]) as client:
        assert client.sock.selected_alpn_protocol() in ("http/1.1", "h2")
        if client.sock.selected_alpn_protocol() == "http/1.1":
            assert client.get().status == 200


def test_min_version_1_3_refuses_1_2(site, authority, certs):
    weir = site(OK, listeners=listener(certs["one"], min_version="1.3"))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        connect(weir, authority, "one.example", maximum=V12).close()
    with connect(weir, authority, "one.example") as client:
        assert client.get().status == 200


def test_self_signed_makes_a_certificate_for_its_names(site):
    weir = site(OK, listeners={"web": {"tls": {"self_signed": ["localhost", "dev.example"]}}})
    with RawClient(weir.port(), tls=trusting(None, verify=False), server_name="localhost") as client:
        assert client.get().body == b"ok"
        assert b"localhost" in client.sock.getpeercert(True) and b"dev.example" in client.sock.getpeercert(True)


# -- streams -------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("version", [V12, V13])
@pytest.mark.parametrize("size", [0, 1, 16383, 16384, 16385, 1_000_000])
def test_bodies_pass_both_ways(names, authority, size, version):
    with connect(names, authority, "one.example", minimum=version, maximum=version) as client:
        assert client.request("POST", "/echo", body=pattern(size), seconds=10).body == pattern(size)
        assert client.get(f"/chunked/{size}", seconds=10).body == pattern(size)


def test_pipelined_requests_in_one_record_are_all_answered(names, authority):
    with connect(names, authority, "one.example") as client:
        client.send(b"".join(b"GET /bytes/%d HTTP/1.1\r\nHost: one.example\r\n\r\n" % n for n in range(20)))
        for n in range(20):
            assert client.read_response().body == pattern(n)


def test_a_request_in_tiny_records_is_understood(names, authority):
    with connect(names, authority, "one.example") as client:
        for byte in b"GET /bytes/5 HTTP/1.1\r\nHost: one.example\r\n\r\n":
            client.send(bytes([byte]))
        assert client.read_response().body == pattern(5)


def test_a_slow_reader_gets_everything(names, authority):
    with connect(names, authority, "one.example", receive_buffer=65536) as client:
        client.send_request(target="/bytes/3000000")
        for _ in range(100):
            assert client.fill(Deadline(5), 512)
        answer = client.read_response(seconds=30)
    assert answer.is_complete and answer.body == pattern(3_000_000)


def test_the_end_of_a_connection_is_told_by_close_notify(names, authority):
    with connect(names, authority, "one.example") as client:
        assert client.get(headers=[("Connection", "close")]).status == 200
        assert client.expect_end() == "closed"


def test_a_response_cut_by_the_server_never_looks_complete(site, server, authority, certs):
    weir = site([{"upstream": "app"}], {"app": server.address}, listener(certs["one"]))
    for head, part in ((b"Content-Length: 100", b"part"), (b"Transfer-Encoding: chunked", b"4\r\npart\r\n")):
        with connect(weir, authority, "one.example") as client:
            client.send_request()
            up = server.accept()
            up.read_request()
            up.send(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n" + part)
            up.close()
            assert not client.read_response().is_complete


def test_a_cut_response_to_http_1_0_has_no_close_notify(site, server, authority, certs):
    weir = site([{"upstream": "app"}], {"app": server.address}, listener(certs["one"]))
    with connect(weir, authority, "one.example") as client:
        client.send(b"GET / HTTP/1.0\r\nHost: one.example\r\n\r\n")
        up = server.accept()
        up.read_request()
        up.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n")
        client.read_until(b"part")
        up.close()
        client.read_to_end()
    assert client.ended in ("reset", "truncated")


def test_a_request_truncated_under_tls_is_never_complete(site, server, authority, certs):
    weir = site([{"upstream": "app"}], {"app": server.address}, listener(certs["one"]))
    client = connect(weir, authority, "one.example")
    client.send_request("POST", "/", [("Content-Length", "10")])
    client.send(b"half")
    up = server.accept()
    up.read_request_head()
    raw = socket.socket(fileno=client.sock.detach())
    raw.shutdown(socket.SHUT_RDWR)
    raw.close()
    assert len(up.read_to_end()) < 10


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\nHost: one.example\r\n\r\n", b"\x00" * 100, b"\x16\x03\x01\xff\xff" + b"\xff" * 70000,
                                  b"\x80\x2e\x01\x00\x02", b"\x16\x03\x01\x00\x00"])
def test_what_is_no_handshake_ends_the_connection_and_nothing_else(names, authority, data):
    with RawClient(names.port()) as client:
        client.send_quietly(data)
        client.half_close()
        client.read_to_end()
    with connect(names, authority, "one.example") as client:
        assert client.get().status == 200


# -- resumption -------------------------------------------------------------------------------------------------------------------

def session_of(weir, authority, version):
    context = trusting(authority.file, minimum=version, maximum=version)
    with RawClient(weir.port(), tls=context, server_name="one.example") as client:
        assert client.get().status == 200
        assert not client.sock.session_reused
        return context, client.tls_session


def is_resumed(weir, context, session):
    with RawClient(weir.port(), tls=context, server_name="one.example", session=session) as client:
        assert client.get().status == 200
        return client.sock.session_reused


@pytest.mark.parametrize("version", [V12, V13])
def test_a_session_is_resumed_on_whatever_worker(names, authority, version):
    for _ in range(6):
        assert is_resumed(names, *session_of(names, authority, version))


def test_a_session_is_resumed_after_a_reload(site, authority, certs):
    weir = site(OK, listeners=listener(certs["one"]))
    sessions = [session_of(weir, authority, v) for v in (V12, V13)]
    weir.reload(routes=[{"respond": {"status": 200, "body": "new"}}])
    for context, session in sessions:
        assert is_resumed(weir, context, session)


def test_resumption_is_counted(site, authority, certs):
    weir = site(OK, listeners=listener(certs["one"]))
    assert is_resumed(weir, *session_of(weir, authority, V13))
    metrics = weir.admin.metrics()
    series = metrics.matching("weir_tls_handshakes_total", listener="web")
    assert sum(v for _, v in series) == 2
    assert sum(v for l, v in series if l["resumed"] in ("true", "1", "yes")) == 1
    assert all("1.3" in l["version"] for l, v in series if v)


def test_without_session_tickets_no_ticket_is_given(site, authority, certs):
    """What is resumed then is looked up at the server; TLS 1.2 tells the two apart on the wire."""
    weir = site(OK, listeners=listener(certs["one"], session_tickets=False))
    context = trusting(authority.file)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with RawClient(weir.port(), tls=context, server_name="one.example") as client:
        client.get()
        assert not client.tls_session.has_ticket


def test_openssl_resumes_too(names, tmp_path):
    file = str(tmp_path / "session")
    request = "GET / HTTP/1.1\r\nHost: one.example\r\nConnection: close\r\n\r\n"
    first = s_client(names.port(), "-tls1_3", "-servername", "one.example", "-sess_out", file, "-ign_eof", text=request)
    assert "New, TLSv1.3" in first.stdout and os.path.exists(file)
    second = s_client(names.port(), "-tls1_3", "-servername", "one.example", "-sess_in", file, "-ign_eof", text=request)
    assert "Reused, TLSv1.3" in second.stdout


# -- client certificates ---------------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def people(authority, other_authority):
    return {"friend": authority.leaf("friend", client=True, common_name="friend"), "stranger": other_authority.leaf("stranger", client=True)}


def ask(weir, authority, name="one.example", person=None, version=None, host=None):
    """The status of a request with that client certificate; None when the connection is refused (in TLS 1.3 after the handshake)."""
    cert, key = person or (None, None)
    try:
        with connect(weir, authority, name, cert=cert, key=key, minimum=version, maximum=version) as client:
            return client.get(host=host).status
    except (ssl.SSLError, ConnectionError, Closed):
        return None


@pytest.mark.parametrize("version", [V12, V13])
def test_client_verify_require(site, authority, certs, people, version):
    weir = site(OK, listeners=listener(certs["one"], client_ca=authority.file, client_verify="require"))
    assert ask(weir, authority, person=people["friend"], version=version) == 200
    assert ask(weir, authority, person=people["stranger"], version=version) is None
    assert ask(weir, authority, version=version) is None


@pytest.mark.parametrize("version", [V12, V13])
def test_client_verify_optional(site, authority, certs, people, version):
    weir = site(OK, listeners=listener(certs["one"], client_ca=authority.file, client_verify="optional"))
    assert ask(weir, authority, person=people["friend"], version=version) == 200
    assert ask(weir, authority, version=version) == 200
    assert ask(weir, authority, person=people["stranger"], version=version) is None


def test_client_ca_alone_requires_a_certificate(site, authority, certs, people):
    weir = site(OK, listeners=listener(certs["one"], client_ca=authority.file))
    assert ask(weir, authority) is None and ask(weir, authority, person=people["friend"]) == 200


def test_client_ca_of_a_certificates_entry_is_for_its_names_alone(site, authority, certs, people):
    weir = site(OK, listeners=listener(entry(certs["one"]), entry(certs["two"], client_ca=authority.file, client_verify="require")))
    assert ask(weir, authority, "one.example") == 200
    assert ask(weir, authority, "two.example") is None
    assert ask(weir, authority, "two.example", people["friend"]) == 200


def test_a_name_with_another_client_verify_than_the_connections_is_a_421(site, authority, certs, people):
    """Otherwise SNI one.example and Host two.example would be a way around the certificate."""
    weir = site(OK, listeners=listener(entry(certs["one"]), entry(certs["two"], client_ca=authority.file, client_verify="require")))
    assert ask(weir, authority, "one.example", host="two.example") == 421
    assert ask(weir, authority, "one.example", host="TWO.example.:443") == 421
    assert ask(weir, authority, "two.example", people["friend"], host="two.example") == 200


def test_a_session_without_a_certificate_is_no_way_around_one(site, authority, certs):
    """A ticket got under one name must not open another that asks for a certificate."""
    weir = site(OK, listeners=listener(entry(certs["one"]), entry(certs["two"], client_ca=authority.file, client_verify="require")))
    for version in (V12, V13):
        context, session = session_of(weir, authority, version)
        try:
            with RawClient(weir.port(), tls=context, server_name="two.example", session=session) as client:
                status = client.get(host="two.example").status
        except (ssl.SSLError, ConnectionError, Closed):
            status = None
        assert status != 200


def test_the_server_learns_of_the_tls_connection(site, authority, certs, people, http_backend):
    backend = http_backend()
    weir = site([{"upstream": "app", "request_headers": {"set": {
        "x-version": "${tls_version}", "x-sni": "${tls_sni}", "x-cn": "${tls_client_cn}", "x-cipher": "${tls_cipher}"}}}],
        {"app": backend.address}, listener(certs["one"], client_ca=authority.file))
    assert ask(weir, authority, person=people["friend"], version=V13) == 200
    request = backend.requests[0]
    assert request["x-forwarded-proto"] == "https" and request["x-sni"] == "one.example" and request["x-cn"] == "friend"
    assert request["x-version"].replace(" ", "") in ("TLSv1.3", "1.3", "TLS1.3") and any(c in request["x-cipher"] for c in ("AES", "CHACHA"))


# -- certificates that change -------------------------------------------------------------------------------------------------------------

def renew(authority, file):
    authority.leaf("one.example", file=file)


@pytest.fixture
def renewable(authority, tmp_path):
    name = f"renewable-{os.path.basename(str(tmp_path))}"
    pair = authority.leaf("one.example", file=name)
    return pair, name


def test_a_changed_certificate_is_taken_up_at_reload_and_old_connections_live(site, authority, renewable):
    pair, name = renewable
    weir = site(OK, listeners=listener(pair))
    with connect(weir, authority, "one.example") as old:
        before = serial(old)
        renew(authority, name)
        weir.reload()
        with connect(weir, authority, "one.example") as new:
            assert serial(new) == serial_of_file(pair[0]) != before
        assert old.get().status == 200


def test_a_changed_certificate_that_is_broken_leaves_the_old_one(site, authority, renewable, certs):
    pair, name = renewable
    weir = site(OK, listeners=listener(pair))
    before = serial_of_file(pair[0])
    shutil.copy(certs["two"][1], pair[1])  # a key that does not match
    assert weir.admin.reload().status == 422
    with connect(weir, authority, "one.example") as client:
        assert serial(client) == before


@pytest.mark.slow
@pytest.mark.timeout(200 * SCALE)
def test_a_changed_certificate_is_taken_up_by_itself_within_a_minute(site, authority, renewable):
    pair, name = renewable
    weir = site(OK, listeners=listener(pair))
    renew(authority, name)

    def is_new():
        with connect(weir, authority, "one.example") as client:
            return serial(client) == serial_of_file(pair[0])
    wait_until(is_new, 75, "the new certificate", every=1)


# -- TLS to servers ---------------------------------------------------------------------------------------------------------------------------

@pytest.fixture
def upstream(site, http_backend, authority):
    """start(certificate names, tls options, server options) -> (weir, backend, names that the backend was asked for)."""
    def start(*names, tls, address=None, alpn=None, **server):
        pair = authority.leaf(*names)
        context = serving(*pair, **server)
        asked = []
        context.sni_callback = lambda sock, name, ctx: asked.append(name)
        backend = http_backend("secure", tls=context)
        where = address.format(port=backend.port) if address else backend.address
        return site([{"upstream": "app"}], {"app": {"servers": [where], "tls": tls}}), backend, asked
    return start


def test_an_upstream_whose_certificate_is_right_is_served(upstream, authority):
    weir, backend, asked = upstream("api.internal", tls={"ca": authority.file, "server_name": "api.internal"})
    with weir.client() as client:
        for n in (0, 10, 100_000):
            assert client.request("POST", "/echo", body=pattern(n)).body == pattern(n)
    assert asked == ["api.internal"], "one handshake, with SNI, and then kept alive"


def test_an_upstream_by_address_is_verified_by_its_address(upstream, authority):
    weir, backend, asked = upstream("127.0.0.1", tls={"ca": authority.file})
    assert weir.get().body == b"secure"


def test_an_upstream_by_name_is_verified_by_its_name(upstream, authority):
    weir, backend, asked = upstream("localhost", tls={"ca": authority.file}, address="localhost:{port}")
    wait_until(lambda: weir.get().body == b"secure")
    assert "localhost" in asked


@pytest.mark.parametrize("names,trust", [(("other.internal",), "authority"), (("api.internal",), "other_authority"), (("api.internal",), None)],
                         ids=["wrong-name", "unknown-authority", "system-authorities"])
def test_an_upstream_whose_certificate_is_wrong_is_a_502_and_gets_no_request(upstream, request, names, trust):
    tls = {"server_name": "api.internal"}
    if trust:
        tls["ca"] = request.getfixturevalue(trust).file
    weir, backend, _ = upstream(*names, tls=tls)
    assert weir.get().status in (502, 503)
    assert not backend.requests


def test_tls_true_verifies(upstream):
    weir, backend, _ = upstream("127.0.0.1", tls=True)
    assert weir.get().status in (502, 503) and not backend.requests


def test_verify_false_takes_any_certificate(upstream):
    weir, _, _ = upstream("whatever.internal", tls={"verify": False})
    assert weir.get().body == b"secure"


def test_an_upstream_that_asks_for_a_certificate_gets_ours(upstream, authority):
    pair = authority.leaf("weir", client=True, common_name="weir-client")
    weir, backend, _ = upstream("api.internal", client_ca=authority.file, tls={
        "ca": authority.file, "server_name": "api.internal", "cert": pair[0], "key": pair[1]})
    assert weir.get().body == b"secure"
    assert certificate_of(backend.tls_sockets[0].getpeercert(True)).subject.rfc4514_string() == "CN=weir-client"


def test_an_upstream_that_asks_for_a_certificate_and_gets_none_is_a_502(upstream, authority):
    weir, backend, _ = upstream("api.internal", client_ca=authority.file, tls={"ca": authority.file, "server_name": "api.internal"})
    assert weir.get(seconds=8).status == 502 and not backend.requests


def test_an_upstream_that_speaks_no_tls_is_an_error_of_the_gateway(site, http_backend):
    weir = site([{"upstream": "app"}], {"app": {"servers": [http_backend().address], "tls": {"verify": False}}})
    assert weir.get(seconds=8).status in (502, 504)


def test_a_response_until_close_truncated_under_tls_never_looks_complete(site, raw_server, authority):
    """RFC 9112 §9.8: without close_notify the end of the stream may be an attacker's."""
    server = raw_server(tls=serving(*authority.leaf("api.internal")))
    weir = site([{"upstream": "app"}], {"app": {"servers": [server.address], "tls": {"verify": False}}})
    with weir.client() as client:
        client.send_request()
        up = server.accept()
        up.read_request()
        up.send(b"HTTP/1.1 200 OK\r\n\r\npart")
        head = client.read_head()
        client.read_until(b"part")
        raw = socket.socket(fileno=up.sock.detach())
        raw.shutdown(socket.SHUT_RDWR)
        raw.close()
        rest = client.read_to_end()
    if "chunked" in head[3].tokens("transfer-encoding"):
        assert not rest.endswith(b"0\r\n\r\n")
    else:
        assert client.ended == "reset"


def test_a_tls_listener_before_a_tls_upstream(site, http_backend, authority, certs):
    backend = http_backend("inner", tls=serving(*authority.leaf("api.internal")))
    weir = site([{"upstream": "app"}], {"app": {"servers": [backend.address], "tls": {"ca": authority.file, "server_name": "api.internal"}}},
                listener(certs["one"]))
    with connect(weir, authority, "one.example") as client:
        assert client.request("POST", "/echo", body=pattern(200_000)).body == pattern(200_000)


# -- helpers ---------------------------------------------------------------------------------------------------------------------------------------

def s_client(port, *arguments, text=""):
    return subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *arguments], input=text, capture_output=True,
                          text=True, errors="replace", timeout=15 * SCALE)


def _serial_in(output):
    pem = output[output.index("-----BEGIN CERTIFICATE-----"):output.index("-----END CERTIFICATE-----") + 26]
    return serial_of(ssl.PEM_cert_to_DER_cert(pem))


# -- memory ------------------------------------------------------------------------------------------------------------------

def test_an_idle_connection_keeps_little(names, authority):
    if names.is_sanitized:
        pytest.skip("a sanitizer's heap says nothing of weir's")

    def open_some(count):
        clients = [connect(names, authority, "one.example", minimum=V13) for _ in range(count)]
        for each in clients:
            assert each.get().status == 200
        return clients

    held = open_some(50)
    before = names.rss_bytes()
    held += open_some(500)
    kept = (names.rss_bytes() - before) / 500
    for each in held:
        each.close()
    assert kept < 24 * 1024
