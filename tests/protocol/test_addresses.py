"""Every kind of address, for listeners and for servers: IPv4, IPv6, both, a zone, Unix sockets with and without a file."""

import os
import socket
import stat
import uuid

import pytest

from harness import RawClient, wait_until
from harness.wire import Wire

WHO = {"listener": "inner", "respond": {"body": "${client} ${header.x-forwarded-for}"}}
OUTER = {"listener": "web", "upstream": "inner"}


class UnixClient(RawClient):
    """`path` as the file has it: unix:/run/x.sock, unix:@name."""

    def __init__(self, address):
        path = address[len("unix:"):]
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(10)
        sock.connect("\0" + path[1:] if path.startswith("@") else path)
        Wire.__init__(self, sock)
        self.host = "t.example"


def link_local():
    """("fe80::…", "eth0") of an interface of this machine, or None."""
    with open("/proc/net/if_inet6") as table:
        for line in table:
            digits, _, _, scope, _, name = line.split()
            if scope == "20":
                return socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits)), name
    return None


@pytest.fixture
def unix_file(tmp_path):
    return f"unix:{tmp_path}/s.sock"


@pytest.fixture
def abstract():
    return f"unix:@weir-test-{uuid.uuid4()}"


@pytest.fixture(params=["file", "abstract"])
def unix_address(request, unix_file, abstract):
    return unix_file if request.param == "file" else abstract


def serves(address):
    def answers():
        with UnixClient(address) as client:
            return client.get().status == 200
    wait_until(answers)


def nested(site, address, **upstream):
    """One weir as its own server, by that address; and the plain client's answer through both."""
    check = {"type": "http", "interval": "50ms", "timeout": "2s"}
    weir = site([WHO, OUTER], {"inner": {"servers": [address], "health_check": check, **upstream}}, {"web": {}, "inner": {"bind": [address]}})
    wait_until(lambda: weir.admin.server_is_up("inner", address))
    return weir


# -- listeners --------------------------------------------------------------------------------------------------------------------

def listening_on(site, bind, **listener):
    weir = site([{"respond": {"body": "${client}"}}], listeners={"web": {}}, start=False)
    weir.change(listeners={"web": {"bind": [bind.format(port=weir.port())], **listener}})
    return weir.start()


@pytest.mark.parametrize("bind,reached", [
    ("127.0.0.1:{port}", ["127.0.0.1"]), ("[::1]:{port}", ["::1"]), (":{port}", ["127.0.0.1", "::1"]), ("[::]:{port}", ["::1"]),
    ("*:{port}", ["127.0.0.1"]), ("0.0.0.0:{port}", ["127.0.0.1"]),
])
def test_a_listener_is_reached_where_it_is_bound(site, bind, reached):
    weir = listening_on(site, bind)
    for address in reached:
        with RawClient((address, weir.port())) as client:
            assert client.get().text == address, "IPv4 is told as such on a dual socket too"
    for address in {"127.0.0.1", "::1"} - set(reached) - ({"127.0.0.1"} if bind.startswith("[::]") else set()):
        with pytest.raises(OSError):
            RawClient((address, weir.port()), seconds=1)


def test_a_listener_with_a_zone(site):
    found = link_local()
    if not found:
        pytest.skip("no interface has a link-local address")
    weir = listening_on(site, f"[{found[0]}%{found[1]}]:{{port}}")
    sock = socket.create_connection((f"{found[0]}%{found[1]}", weir.port()))
    sock.sendall(b"GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
    assert b"200 OK" in sock.recv(65536)
    sock.close()


def test_a_zone_that_is_no_interface_is_a_fault(site):
    weir = site([{"respond": {"body": "x"}}], listeners={"web": {"bind": ["[fe80::1%nowhere0]:80"]}}, start=False)
    done = weir.cli("check")
    assert done.returncode == 1 and "is no network interface here" in done.stderr + done.stdout


def test_a_unix_listener_serves_http(site, unix_address):
    site([{"respond": {"body": "${client}"}}], listeners={"web": {}, "unix": {"bind": [unix_address]}})
    with UnixClient(unix_address) as client:
        for _ in range(3):
            assert client.get().text == "unix:"


def test_a_unix_listener_serves_streams(site, tcp_backend, unix_address):
    backend = tcp_backend(b"hello ")
    site(None, {"db": backend.address}, {"db": {"protocol": "tcp", "upstream": "db", "bind": [unix_address]}})
    with UnixClient(unix_address) as client:
        assert client.read_exact(6) == b"hello "
        client.send(b"x")
        assert client.read_exact(1) == b"x"


def test_a_unix_listener_takes_a_proxy_header(site, unix_address):
    site([{"respond": {"body": "${client}"}}], listeners={"web": {}, "unix": {"bind": [unix_address], "proxy_protocol": True, "trusted_proxies": ["10.0.0.0/8"]}})
    with UnixClient(unix_address) as client:
        client.send(b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n")
        assert client.get().text == "2001:db8::1"


def test_a_socket_s_file_that_was_left_behind_is_taken_over(site, unix_file):
    path = unix_file[len("unix:"):]
    left = socket.socket(socket.AF_UNIX)
    left.bind(path)
    left.close()
    weir = site([{"respond": {"body": "x"}}], listeners={"web": {}, "unix": {"bind": [unix_file]}})
    serves(unix_file)
    assert stat.S_ISSOCK(os.stat(path).st_mode)
    weir.stop()
    assert not os.path.exists(path)


def test_a_reload_keeps_adds_and_removes_unix_listeners(site, unix_file, abstract):
    weir = site([{"respond": {"body": "x"}}], listeners={"web": {}, "one": {"bind": [unix_file]}})
    web = weir.config["listeners"]["web"]
    with UnixClient(unix_file) as client:
        assert client.get().status == 200
        weir.reload(listeners={"web": web, "one": {"bind": [unix_file]}, "two": {"bind": [abstract]}})
        assert client.get().status == 200
        serves(unix_file)
        serves(abstract)
    weir.reload(listeners={"web": web, "two": {"bind": [abstract]}})
    wait_until(lambda: not os.path.exists(unix_file[len("unix:"):]))
    serves(abstract)


# -- servers ----------------------------------------------------------------------------------------------------------------------

def test_a_unix_server_is_checked_and_served_by(site, unix_address):
    weir = nested(site, unix_address)
    assert weir.get().text == "unix: 127.0.0.1"


def test_a_unix_server_is_told_the_client_by_a_proxy_header(site, unix_address):
    for version in ("v1", "v2"):
        address = unix_address + version
        weir = site([WHO, OUTER], {"inner": {"servers": [address], "proxy_protocol": version}}, {"web": {}, "inner": {"bind": [address], "proxy_protocol": True}})
        assert weir.get().text == "127.0.0.1 127.0.0.1"


def test_a_unix_client_is_told_as_one_that_nobody_knows(site, unix_address):
    weir = site([WHO, {"listener": "unix", "upstream": "inner"}], {"inner": {"servers": ["127.0.0.1:1"]}}, {"inner": {}, "unix": {"bind": [unix_address]}}, start=False)
    weir.change(upstreams={"inner": {"servers": [f"127.0.0.1:{weir.port('inner')}"]}})
    weir.start()
    with UnixClient(unix_address) as client:
        assert client.get(headers=[("Forwarded", "for=192.0.2.1")]).text.startswith("127.0.0.1 ")


def test_a_server_by_ipv6(site):
    weir = site([WHO, OUTER], {"inner": {"servers": ["[::1]:1"]}}, {"web": {}, "inner": {}}, start=False)
    address = f"[::1]:{weir.port('inner')}"
    weir.change(upstreams={"inner": {"servers": [address], "health_check": {"type": "http", "interval": "50ms"}}},
                listeners={**weir.config["listeners"], "inner": {"bind": [address]}})
    weir.start()
    wait_until(lambda: weir.admin.server_is_up("inner", address))
    assert weir.get().text == "::1 127.0.0.1"


def test_a_server_with_a_zone(site):
    found = link_local()
    if not found:
        pytest.skip("no interface has a link-local address")
    weir = site([WHO, OUTER], {"inner": {"servers": ["[::1]:1"]}}, {"web": {}, "inner": {}}, start=False)
    address = f"[{found[0]}%{found[1]}]:{weir.port('inner')}"
    weir.change(upstreams={"inner": {"servers": [address], "health_check": {"type": "http", "interval": "50ms"}}},
                listeners={**weir.config["listeners"], "inner": {"bind": [address]}})
    weir.start()
    wait_until(lambda: weir.admin.server_is_up("inner", address))
    assert weir.get().text == f"{found[0]} 127.0.0.1"


def test_a_server_by_a_name_of_both_families(site, http_backend):
    backend = http_backend()
    weir = site([{"upstream": "app"}], {"app": f"localhost:{backend.port}"})
    wait_until(lambda: weir.get().status == 200)


def test_a_unix_server_that_is_not_there_is_a_502(site, unix_file):
    assert site([{"upstream": "app"}], {"app": unix_file}).get().status == 502
