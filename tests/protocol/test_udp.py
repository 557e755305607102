"""UDP listeners: sessions, where answers come from, and what happens when a server or a socket goes."""

import os
import random
import resource
import select
import shutil
import signal
import socket
import struct
import subprocess
import threading

import pytest

from harness import SCALE, Deadline, DnsServer, UdpBackend, UdpClient, WeirFailed, after, free_port, wait_until

REFUSED = "127.0.0.1:9"  # nobody listens there


def udp(site, *servers, upstream=None, listener=None, **rest):
    """A weir with one UDP listener, `dns`."""
    return site(None, {"pool": {"servers": list(servers), **(upstream or {})}},
                {"dns": {"protocol": "udp", "upstream": "pool", **(listener or {})}}, **rest)


@pytest.fixture
def backend(_closing):
    def make(*arguments, **options):
        _closing.append(UdpBackend(*arguments, **options))
        return _closing[-1]
    return make


@pytest.fixture
def client(_closing):
    def make(*arguments, **options):
        _closing.append(UdpClient(*arguments, **options))
        return _closing[-1]
    return make


def sessions(weir):
    return weir.admin.metrics().sum("weir_connections", listener="dns")


def dropped(weir, reason):
    return weir.admin.metrics().sum("weir_udp_datagrams_dropped_total", listener="dns", reason=reason)


def wait_for_sessions(weir, count, seconds=10):
    wait_until(lambda: sessions(weir) == count, seconds, f"{count} sessions")


# -- sessions --------------------------------------------------------------------------------------------------------------

def test_several_round_trips_go_over_one_session(site, backend, client):
    server = backend(b"s:")
    weir = udp(site, server.address)
    c = client(weir.port("dns"))
    for n in range(10):
        assert c.ask(b"q%d" % n) == b"s:q%d" % n
    assert len(server.peers) == 1
    assert sessions(weir) == 1


def test_each_client_port_has_a_session_of_its_own(site, backend, client):
    server = backend()
    weir = udp(site, server.address)
    clients = [client(weir.port("dns")) for _ in range(20)]
    for n, c in enumerate(clients):
        c.send(b"from %d" % n)
    for n, c in enumerate(clients):
        assert c.receive() == b"from %d" % n
    assert len(server.peers) == 20 and sessions(weir) == 20


def test_datagrams_that_the_server_sends_unasked_arrive(site, backend, client):
    server = backend(handler=lambda got: None)
    weir = udp(site, server.address)
    c = client(weir.port("dns"))
    c.send(b"hello")
    wait_until(lambda: server.got, what="the datagram")
    for n in range(5):
        server.sock.sendto(b"news %d" % n, server.got[0].peer)
        assert c.receive() == b"news %d" % n


def test_several_answers_to_one_datagram_arrive_in_order(site, backend, client):
    weir = udp(site, backend(handler=lambda got: [b"%d" % n for n in range(100)]).address)
    c = client(weir.port("dns"))
    c.send(b"?")
    assert [c.receive() for _ in range(100)] == [b"%d" % n for n in range(100)]


def test_a_burst_of_one_client_arrives_whole_and_in_order(site, backend, client):
    server = backend(handler=lambda got: None)
    weir = udp(site, server.address)
    c = client(weir.port("dns"))
    sent = [b"%d" % n + b"x" * (n % 7) for n in range(500)]
    for data in sent:
        c.send(data)
    wait_until(lambda: len(server.got) == len(sent), 20, "every datagram")
    assert server.received == sent


def test_nobody_but_the_server_is_heard_on_a_session(site, backend, client):
    server = backend()
    weir = udp(site, server.address)
    c = client(weir.port("dns"))
    c.ask(b"q")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(b"spoofed", server.got[0].peer)
        c.expect_silence()
    assert c.ask(b"again") == b"again"


def test_empty_datagrams_are_passed_both_ways(site, backend, client):
    server = backend()
    weir = udp(site, server.address)
    c = client(weir.port("dns"))
    assert c.ask(b"") == b""
    assert c.ask(b"x") == b"x"
    c.send(b"")
    c.send(b"")
    assert (c.receive(), c.receive()) == (b"", b"")
    assert server.received == [b"", b"x", b"", b""]


@pytest.mark.parametrize("size", [1, 1472, 1473, 9000, 65000, 65507])
def test_datagrams_of_any_size_are_passed_both_ways(site, backend, client, size):
    weir = udp(site, backend().address)
    data = bytes(n * 7 % 251 for n in range(size))
    assert client(weir.port("dns")).ask(data) == data


UDP_SEGMENT = 103  # linux/udp.h


def in_segments(sock, size):
    try:
        sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, size)
    except OSError:
        pytest.skip("the kernel has no UDP_SEGMENT")


@pytest.mark.parametrize("upstream", [{}, {"proxy_protocol": "v2"}], ids=["plain", "proxy"])
def test_what_is_sent_in_segments_arrives_as_the_same_datagrams(site, backend, client, upstream):
    """One sendmsg() for many datagrams: they come to weir, and leave it, in one piece where the path allows."""
    server = backend(handler=lambda got: None)
    weir = udp(site, server.address, upstream=upstream)
    c = client(weir.port("dns"))
    in_segments(c.sock, 1200)
    data = bytes(n * 31 % 253 for n in range(12345))
    sent = [data[at:at + 1200] for at in range(0, len(data), 1200)]
    for _ in range(3):
        c.send(data)
    wait_until(lambda: len(server.got) == 3 * len(sent), what="the datagrams")
    received = server.received
    if upstream:
        assert received[0].startswith(b"\r\n\r\n\0\r\nQUIT\n")
        received[0] = received[0][28:]
    assert received == sent * 3
    in_segments(server.sock, 777)
    server.sock.sendto(data, server.got[0].peer)
    assert [c.receive() for _ in range(16)] == [data[at:at + 777] for at in range(0, len(data), 777)]
    weir.await_metric("weir_udp_datagrams_total", 33, direction="in")
    weir.await_metric("weir_udp_datagrams_total", 16, direction="out")


def test_the_session_of_a_quiet_client_ends_after_idle(site, backend, client):
    server = backend()
    weir = udp(site, server.address, timeouts={"idle": "300ms"})
    c = client(weir.port("dns"))
    c.ask(b"1")
    wait_for_sessions(weir, 0)
    c.ask(b"2")
    assert len(server.peers) == 2


def test_datagrams_either_way_keep_a_session(site, backend, client):
    server = backend(handler=lambda got: None)
    idle = 0.6 * SCALE
    weir = udp(site, server.address, timeouts={"idle": f"{idle * 1000:.0f}ms"})
    c = client(weir.port("dns"))
    c.send(b"1")
    wait_until(lambda: server.got, what="the datagram")
    for _ in range(12):
        server.sock.sendto(b"tick", server.got[0].peer)
        c.receive()
        c.expect_silence(idle / 6)
    assert len(server.peers) == 1 and sessions(weir) == 1


def test_bytes_and_datagrams_are_counted(site, backend, client):
    weir = udp(site, backend(b"12345").address)
    c = client(weir.port("dns"))
    c.ask(b"x" * 100)
    c.ask(b"y" * 200)

    def counted():
        m = weir.admin.metrics()
        return (m.sum("weir_bytes_total", listener="dns", direction="in"), m.sum("weir_bytes_total", listener="dns", direction="out"),
                m.sum("weir_udp_datagrams_total", listener="dns", direction="in"),
                m.sum("weir_udp_datagrams_total", listener="dns", direction="out"),
                m.sum("weir_connections_total", listener="dns")) == (300, 310, 2, 2, 1)
    wait_until(counted, what="the counters")
    listener = [entry for entry in weir.admin.json("/api/v1/listeners")["listeners"] if entry["name"] == "dns"][0]
    assert listener["protocol"] == "udp" and listener["connections"] == 1 and listener["upstream"] == "pool"


def test_many_clients_of_two_workers_get_their_own_answers(site, backend, client):
    weir = udp(site, backend(b"a:").address, backend(b"b:").address, workers=2)
    clients = [client(weir.port("dns")) for _ in range(50)]
    for turn in range(5):
        for n, c in enumerate(clients):
            c.send(b"%d/%d" % (n, turn))
        for n, c in enumerate(clients):
            assert c.receive()[2:] == b"%d/%d" % (n, turn)


# -- where answers come from -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("bind", ["*", ""])
def test_an_answer_leaves_from_the_address_that_was_asked(site, backend, client, bind):
    port = free_port()
    weir = udp(site, backend().address, listener={"bind": [f"{bind}:{port}"]})
    clients = [client((f"127.0.0.{n}", port)) for n in (1, 2, 3, 77)]
    for n, c in enumerate(clients):
        assert c.ask(b"%d" % n) == b"%d" % n
    assert sessions(weir) == 4


def test_one_client_socket_may_ask_two_addresses(site, backend):
    port = free_port()
    server = backend()
    weir = udp(site, server.address, listener={"bind": [f":{port}"]})
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(5 * SCALE)
        for address in ("127.0.0.1", "127.0.0.2"):
            s.sendto(address.encode(), (address, port))
        got = dict(s.recvfrom(100)[::-1] for _ in range(2))
    assert got == {("127.0.0.1", port): b"127.0.0.1", ("127.0.0.2", port): b"127.0.0.2"}
    assert sessions(weir) == 2


@pytest.mark.parametrize("bind", ["[::1]", ""])
def test_clients_of_ipv6_are_served(site, backend, client, bind):
    port = free_port()
    weir = udp(site, backend(host="::1").address, listener={"bind": [f"{bind}:{port}"]})
    c = client(("::1", port))
    assert c.ask(b"six") == b"six"
    assert c.ask(b"x" * 65507) == b"x" * 65507
    assert sessions(weir) == 1


def test_a_client_of_ipv6_reaches_a_server_of_ipv4(site, backend, client):
    port = free_port()
    udp(site, backend().address, listener={"bind": [f"[::]:{port}"]})
    assert client(("::1", port)).ask(b"six") == b"six"
    assert client(("127.0.0.1", port)).ask(b"four") == b"four"


def link_local():
    """(address, interface) of this machine, or None."""
    with open("/proc/net/if_inet6") as table:
        for line in table:
            digits, _, _, scope, flags, name = line.split()
            if scope == "20" and not int(flags, 16) & 0x48:  # neither tentative nor failed
                return ":".join(digits[i:i + 4] for i in range(0, 32, 4)), name
    return None


@pytest.mark.skipif(not link_local(), reason="no interface has a link-local address")
@pytest.mark.parametrize("wildcard", [True, False])
def test_link_local_addresses_are_served(site, backend, wildcard):
    address, name = link_local()
    port = free_port()
    bind = f":{port}" if wildcard else f"[{address}%{name}]:{port}"
    udp(site, backend().address, listener={"bind": [bind]})
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
        s.settimeout(5 * SCALE)
        where = socket.getaddrinfo(f"{address}%{name}", port, type=socket.SOCK_DGRAM)[0][4]
        s.sendto(b"near", where)
        data, peer = s.recvfrom(100)
    assert data == b"near" and peer[1] == port and peer[3] == where[3]


def test_one_port_serves_connections_and_datagrams(site, backend, client, tcp_backend):
    port = free_port()
    listeners = {"dns": {"protocol": "udp", "upstream": "pool", "bind": [f"127.0.0.1:{port}"]},
                 "dns-tcp": {"protocol": "tcp", "upstream": "tcp", "bind": [f"127.0.0.1:{port}"]}}
    site(None, {"pool": {"servers": [backend(b"udp:").address]}, "tcp": {"servers": [tcp_backend(b"tcp:").address]}}, listeners)
    assert client(port).ask(b"q") == b"udp:q"
    with socket.create_connection(("127.0.0.1", port), 5 * SCALE) as s:
        assert s.recv(4) == b"tcp:"


# -- limits ----------------------------------------------------------------------------------------------------------------

def test_at_the_bound_the_quietest_session_makes_room(site, backend, client):
    server = backend()
    weir = udp(site, server.address, listener={"limits": {"connections": 3}}, workers=1)
    a, b, c, d = (client(weir.port("dns")) for _ in range(4))
    for each in (a, b, c):
        each.ask(b"first")
        each.expect_silence(0.02)
    a.ask(b"still here")
    d.ask(b"new")  # b was quiet for longest
    peers = [g.peer for g in server.got]
    assert sessions(weir) == 3
    assert weir.admin.metrics().sum("weir_udp_sessions_evicted_total", listener="dns") == 1
    server.got.clear()
    a.ask(b"a")
    c.ask(b"c")
    d.ask(b"d")
    assert [g.peer for g in server.got] == [peers[0], peers[2], peers[4]]
    b.ask(b"back")
    assert server.got[-1].peer not in peers
    assert weir.admin.metrics().sum("weir_udp_sessions_evicted_total", listener="dns") == 2


def test_a_client_over_its_own_limit_is_dropped_and_takes_nobodys_place(site, backend, client):
    server = backend()
    weir = udp(site, server.address, listener={"limits": {"connections": 3, "connections_per_ip": 2}})
    mine = client(weir.port("dns"), source="127.0.0.9")
    mine.ask(b"1")
    greedy = [client(weir.port("dns"), source="127.0.0.8") for _ in range(5)]
    assert [greedy[0].ask(b"2"), greedy[1].ask(b"3")] == [b"2", b"3"]
    for each in greedy[2:]:
        each.send(b"too many")
    wait_until(lambda: dropped(weir, "limit") == 3, what="the drops")
    assert weir.admin.metrics().sum("weir_udp_sessions_evicted_total", listener="dns") == 0
    assert sessions(weir) == 3 and mine.ask(b"4") == b"4" and b"too many" not in server.received


def test_max_connections_of_a_server_counts_sessions(site, backend, client):
    weir = udp(site, {"address": backend(b"a").address, "max_connections": 1}, {"address": backend(b"b").address, "max_connections": 1})
    one, two, three = (client(weir.port("dns")) for _ in range(3))
    assert {one.ask(b""), two.ask(b"")} == {b"a", b"b"}
    three.send(b"")
    wait_until(lambda: dropped(weir, "no_server") == 1, what="the drop")
    three.expect_silence(0.05)


def test_without_descriptors_the_oldest_sessions_go(site, backend, client):
    weir = udp(site, backend().address)
    before = resource.prlimit(weir.pid, resource.RLIMIT_NOFILE)
    used = len(os.listdir(f"/proc/{weir.pid}/fd"))
    resource.prlimit(weir.pid, resource.RLIMIT_NOFILE, (used + 10, before[1]))
    clients = [client(weir.port("dns")) for _ in range(40)]
    for n, c in enumerate(clients):
        assert c.ask_again(b"%d" % n, answers=[b"%d" % n])
    resource.prlimit(weir.pid, resource.RLIMIT_NOFILE, before)
    assert weir.admin.metrics().sum("weir_udp_sessions_evicted_total", listener="dns") >= 20


# -- servers ---------------------------------------------------------------------------------------------------------------

def test_sessions_are_shared_among_servers(site, backend, client):
    a, b = backend(b"a"), backend(b"b")
    weir = udp(site, a.address, b.address, workers=1)
    assert sorted(client(weir.port("dns")).ask(b"") for _ in range(10)) == [b"a"] * 5 + [b"b"] * 5


def test_with_source_hash_every_session_of_a_client_goes_to_one_server(site, backend, client):
    servers = [backend(b"%d" % n) for n in range(4)]
    weir = udp(site, *[s.address for s in servers], upstream={"balance": "source_hash"})
    homes = set()
    for n in range(1, 13):
        answers = {client(weir.port("dns"), source=f"127.0.1.{n}").ask(b"") for _ in range(4)}
        assert len(answers) == 1
        homes |= answers
    assert len(homes) > 1


def test_a_server_that_refuses_is_left_and_the_datagram_is_sent_again(site, backend, client):
    weir = udp(site, REFUSED, backend(b"good:").address, workers=1)
    for n in range(4):
        assert client(weir.port("dns")).ask(b"%d" % n) == b"good:%d" % n
    weir.await_metric("weir_upstream_connections", 0, upstream="pool", server=REFUSED)
    assert sessions(weir) == 4


def test_two_datagrams_that_nobody_answered_are_both_sent_again(site, backend, client):
    weir = udp(site, REFUSED, backend().address, workers=1)
    for _ in range(3):
        c = client(weir.port("dns"))
        c.send(b"A?")
        c.send(b"AAAA?")
        assert {c.receive(), c.receive()} == {b"A?", b"AAAA?"}


def test_a_session_that_is_not_answered_follows_its_servers_name(site, backend, client):
    name = "syslog.internal"
    well = threading.Event()
    well.set()
    gone = backend(handler=lambda got: b"well" if got.data == b"check" and well.is_set() else None)
    fresh = backend(handler=lambda got: b"well" if got.data == b"check" else b"fresh:" + got.data, host="127.0.0.2", port=gone.port)
    dns = DnsServer()
    dns.set(name, "A", ["127.0.0.1"])
    check = {"type": "udp", "send": "check", "receive": "well", "interval": "100ms", "timeout": "1s", "rise": 1, "fall": 1}
    weir = udp(site, f"{name}:{gone.port}", upstream={"health_check": check}, environment=dns.environment)
    c = client(weir.port("dns"))
    c.send(b"lost")
    wait_until(lambda: b"lost" in gone.received, what="the datagram")
    dns.set(name, "A", ["127.0.0.2"])
    well.clear()
    wait_until(lambda: b"check" in fresh.received, 40, "another address")
    assert c.ask_again(b"found", answers=[b"fresh:found"]) == b"fresh:found"
    assert sessions(weir) == 1
    dns.close()


def test_a_server_that_dies_is_replaced_at_the_next_datagram(site, backend, client):
    dies, stays = backend(b"1:"), backend(b"2:")
    weir = udp(site, dies.address, {"address": stays.address, "backup": True}, upstream={"health_check": {
        "type": "udp", "send": "ping", "receive": "", "interval": "50ms", "timeout": "2s", "fall": 1}})
    c = client(weir.port("dns"))
    assert c.ask(b"x") == b"1:x"
    dies.close()
    assert c.ask_again(b"y", answers=[b"2:y"]) == b"2:y"


def test_a_session_that_was_answered_ends_when_its_server_refuses(site, backend, client):
    dies = backend()
    weir = udp(site, dies.address)
    c = client(weir.port("dns"))
    c.ask(b"x")
    dies.close()
    c.send(b"y")
    wait_for_sessions(weir, 0)


def test_without_a_server_datagrams_are_dropped_and_counted(site, client):
    weir = udp(site, REFUSED)
    c = client(weir.port("dns"))
    c.send(b"x")
    c.expect_silence(0.1)
    wait_until(lambda: "server cannot be reached" in weir.log(), what="the log")
    wait_for_sessions(weir, 0)


@pytest.mark.parametrize("on_down,moves", [("close", True), ("keep", False)])
def test_a_server_that_is_drained_keeps_its_sessions_or_not(site, backend, client, on_down, moves):
    a, b = backend(b"a"), backend(b"b")
    weir = udp(site, a.address, b.address, upstream={"on_down": on_down})
    c = client(weir.port("dns"))
    first = c.ask(b"")
    home = a if first == b"a" else b
    answer = weir.admin.request("PATCH", f"/api/v1/upstreams/pool/servers/{home.address}", {"state": "drain"})
    assert answer.status == 200, answer.text
    for _ in range(3):
        assert c.ask(b"") == ((b"b" if first == b"a" else b"a") if moves else first)


def test_a_server_that_fails_its_check_loses_its_sessions_with_on_down_close(site, backend, client):
    sick = set()

    def handler(name):
        return lambda got: (None if name in sick else b"pong") if got.data == b"ping" else name + got.data
    a, b = backend(handler=handler(b"a")), backend(handler=handler(b"b"))
    weir = udp(site, a.address, b.address, upstream={"on_down": "close", "health_check": {
        "type": "udp", "send": "ping", "receive": "pong", "interval": "50ms", "timeout": "200ms", "fall": 2, "rise": 1}})
    c = client(weir.port("dns"))
    first = c.ask(b"")
    other = b"b" if first == b"a" else b"a"
    sick.add(first)
    home = a if first == b"a" else b
    wait_until(lambda: weir.admin.server_is_up("pool", home.address) is False, what="the server down")
    assert c.ask(b"") == other
    sick.clear()
    wait_until(lambda: weir.admin.server_is_up("pool", home.address), what="the server up")
    assert c.ask(b"") == other


# -- PROXY -----------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("wildcard", [True, False])
def test_the_first_datagram_says_who_the_client_is(site, backend, client, wildcard):
    port = free_port()
    server = backend(handler=lambda got: b"ok")
    udp(site, server.address, upstream={"proxy_protocol": "v2"}, listener={"bind": [f"{'*' if wildcard else '127.0.0.1'}:{port}"]})
    c = client(port)
    c.ask(b"one")
    c.ask(b"two")
    first, second = server.received
    header = b"\r\n\r\n\0\r\nQUIT\n" + bytes([0x21, 0x12, 0, 12])
    assert first[:16] == header
    assert first[16:24] == socket.inet_aton("127.0.0.1") * 2
    assert int.from_bytes(first[24:26], "big") == c.sock.getsockname()[1] and int.from_bytes(first[26:28], "big") == port
    assert first[28:] == b"one" and second == b"two"


def test_a_refused_first_datagram_is_introduced_to_the_next_server_too(site, backend, client):
    server = backend(handler=lambda got: b"ok")
    weir = udp(site, REFUSED, server.address, upstream={"proxy_protocol": "v2"}, workers=1)
    for data in (b"", b"one", b""):
        del server.got[:]
        c = client(weir.port("dns"))
        c.ask_again(data)
        assert server.received[0][:12] == b"\r\n\r\n\0\r\nQUIT\n" and server.received[0][28:] == data


# -- health checks -------------------------------------------------------------------------------------------------------------

CHECK = {"type": "udp", "send": "ping\\x00", "receive": "po", "interval": "50ms", "timeout": f"{200 * SCALE:.0f}ms", "fall": 2, "rise": 2}


def checked(site, server, **check):
    return udp(site, server, upstream={"health_check": {**CHECK, **check}})


def test_a_udp_check_sends_its_bytes_and_wants_its_answer(site, backend):
    server = backend(handler=lambda got: b"pong")
    weir = checked(site, server.address)
    wait_until(lambda: len(server.got) >= 3, what="checks")
    assert set(server.received) == {b"ping\0"} and weir.admin.server_is_up("pool", server.address)


@pytest.mark.parametrize("answer,words", [(None, "no answer within"), (b"nope", "nope"), (b"p", "is not expected")])
def test_a_udp_check_without_the_right_answer_takes_a_server_down_and_back_up(site, backend, answer, words):
    says = [answer]
    server = backend(handler=lambda got: says[0])
    weir = checked(site, server.address)
    wait_until(lambda: weir.admin.server_is_up("pool", server.address) is False, 10, "the server down")
    weir.await_log("udp check: ", words)
    says[0] = b"pong"
    wait_until(lambda: weir.admin.server_is_up("pool", server.address), 10, "the server up")


def test_a_udp_check_is_refused_by_a_machine_without_the_server(site):
    weir = checked(site, REFUSED, receive=None)
    wait_until(lambda: weir.admin.server_is_up("pool", REFUSED) is False, 10, "the server down")
    weir.await_log("udp check: Connection refused")


def test_a_udp_check_that_wants_no_answer_takes_silence_for_good(site, backend):
    server = backend(handler=lambda got: None)
    weir = checked(site, server.address, receive=None, timeout="100ms", fall=1)
    wait_until(lambda: len(server.got) >= 4, 10, "checks")
    assert weir.admin.server_is_up("pool", server.address) and "is down" not in weir.log()


def test_a_tcp_check_may_judge_a_server_of_datagrams(site, backend, client, tcp_backend):
    tcp = tcp_backend()
    server = backend(port=tcp.port)
    weir = udp(site, server.address, upstream={"health_check": {"type": "tcp", "send": "a", "receive": "a", "interval": "50ms", "fall": 1}})
    assert client(weir.port("dns")).ask(b"x") == b"x"
    tcp.close()
    wait_until(lambda: weir.admin.server_is_up("pool", server.address) is False, 10, "the server down")


def test_a_udp_check_behind_proxy_headers_names_nobody(site, backend):
    server = backend(handler=lambda got: b"pong")
    udp(site, server.address, upstream={"proxy_protocol": "v2", "health_check": CHECK})
    wait_until(lambda: server.got, what="a check")
    assert server.received[0] == b"\r\n\r\n\0\r\nQUIT\n" + bytes([0x20, 0, 0, 0]) + b"ping\0"


# -- what the file may say -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("listener,upstream,words", [
    ({"tls": {"self_signed": ["a.example"]}}, {}, 'there is no TLS over datagrams: "tls" is for protocols http and tcp'),
    ({"http2": True}, {}, '"http2" is for protocol http'),
    ({"sni": {"default": "pool"}}, {}, '"sni" is for protocol tcp'),
    ({"passthrough": {"a.example": "pool"}}, {}, '"passthrough" is for protocols http and tcp'),
    ({"proxy_protocol": True}, {}, '"proxy_protocol" is received with protocols http and tcp alone'),
    ({"trusted_proxies": ["10.0.0.0/8"]}, {}, '"trusted_proxies" are for protocols http and tcp'),
    ({"upstream": None}, {}, 'a udp listener needs "upstream"'),
    ({"upstream": "pol"}, {}, 'no upstream is called "pol"'),
    ({"bind": ["unix:/tmp/x.sock"]}, {}, "a udp listener needs an IP address and a port"),
    ({}, {"tls": True}, 'upstream pool has "tls", and a udp listener sends plain datagrams'),
    ({}, {"proxy_protocol": "v1"}, "upstream pool has proxy_protocol v1, which cannot tell of datagrams; v2 can"),
    ({}, {"servers": ["unix:/tmp/y.sock"]}, "unix:/tmp/y.sock of upstream pool cannot be sent datagrams"),
    ({}, {"health_check": {"type": "udp"}}, 'a udp check needs "send"'),
    ({}, {"health_check": {"type": "tls", "send": "x"}}, "only with type: tcp or udp"),
])
def test_check_says_what_datagrams_cannot_have(site, listener, upstream, words):
    weir = udp(site, "127.0.0.1:9", upstream=upstream, listener=listener, start=False)
    answer = weir.cli("check")
    assert answer.returncode == 1 and words in answer.stderr + answer.stdout


def test_check_takes_an_address_once_for_connections_and_once_for_datagrams(site):
    port = free_port()
    bind = {"bind": [f"127.0.0.1:{port}"], "upstream": "pool"}
    weir = site(None, {"pool": "127.0.0.1:9"}, {"a": {"protocol": "udp", **bind}, "b": {"protocol": "tcp", **bind}}, start=False)
    assert weir.cli("check").returncode == 0
    weir.change(listeners={"a": {"protocol": "udp", **bind}, "b": {"protocol": "udp", **bind}})
    answer = weir.cli("check")
    assert answer.returncode == 1 and "the address is listener a's already" in answer.stderr + answer.stdout


def test_an_address_that_another_process_has_is_told(site, backend):
    taken = backend()
    weir = udp(site, "127.0.0.1:9", listener={"bind": [f"127.0.0.1:{taken.port}"]}, start=False)
    weir.any_status = True
    with pytest.raises(WeirFailed, match="cannot listen on .*Address already in use"):
        weir.start()


# -- reload, stop, upgrade -----------------------------------------------------------------------------------------------------

def test_a_reload_under_traffic_loses_nothing(site, backend, client):
    server = backend(b"a:")
    weir = udp(site, server.address)
    clients = [client(weir.port("dns")) for _ in range(10)]
    for turn in range(30):
        for n, c in enumerate(clients):
            c.send(b"%d.%d" % (turn, n))
        if turn % 5 == 0:
            weir.reload(limits={"header_count": 100 + turn})
        for n, c in enumerate(clients):
            assert c.receive() == b"a:%d.%d" % (turn, n)
    assert len(server.peers) == 10 and sessions(weir) == 10


def test_a_reload_keeps_the_sessions_of_servers_that_stay_and_moves_the_others(site, backend, client):
    a, b, c = backend(b"a"), backend(b"b"), backend(b"c")
    weir = udp(site, a.address, b.address, workers=1)
    one, two = client(weir.port("dns")), client(weir.port("dns"))
    assert {one.ask(b""), two.ask(b"")} == {b"a", b"b"}
    if one.ask(b"") != b"a":
        one, two = two, one
    weir.reload(upstreams={"pool": {"servers": [a.address, c.address]}})
    assert wait_until(lambda: two.ask(b"") in (b"a", b"c"), what="the session of b moved")
    assert one.ask(b"") == b"a" and len(a.peers | {two}) <= 3
    weir.reload(upstreams={"other": {"servers": [c.address]}},
                listeners={"dns": {"protocol": "udp", "upstream": "other", "bind": [f"127.0.0.1:{weir.port('dns')}"]}})
    assert wait_until(lambda: one.ask(b"") == b"c", what="the session goes to the other upstream")
    assert sessions(weir) == 2


def test_an_old_configuration_is_let_go_when_its_sessions_have_moved(site, backend, client):
    weir = udp(site, backend().address)
    c = client(weir.port("dns"))
    before = None
    for turn in range(30):
        c.ask(b"x")
        weir.reload(limits={"header_count": 100 + turn})
        c.ask_again(b"y")
        if turn == 10:
            before = weir.rss_bytes()
    assert weir.rss_bytes() - before < 3 << 20 or weir.is_sanitized


def test_a_listener_that_is_removed_brings_what_was_asked_and_is_gone(site, backend, client):
    asked = []
    server = backend(handler=lambda got: asked.append(got))
    weir = udp(site, server.address, listener={"bind": [f"127.0.0.1:{free_port()}"]})
    port = int(weir.config["listeners"]["dns"]["bind"][0].split(":")[1])
    c = client(port)
    c.send(b"slow")
    wait_until(lambda: asked, what="the datagram")
    listeners = {"other": {"protocol": "udp", "upstream": "pool", "bind": [f"127.0.0.1:{free_port()}"]}}
    was = weir.config["listeners"]
    weir.reload(listeners=listeners)
    server.sock.sendto(b"late", asked[0].peer)
    assert c.receive() == b"late"
    wait_for_sessions(weir, 0)
    # Taken back, even while the old socket may still be open.
    weir.reload(listeners=was)
    c.send(b"again")
    wait_until(lambda: [g for g in server.got if g.data == b"again"], what="the datagram")


def test_a_listener_may_come_back_while_its_old_socket_still_waits_for_an_answer(site, backend, client):
    asked = []
    server = backend(handler=lambda got: asked.append(got) if got.data == b"slow" else got.data)
    weir = udp(site, server.address, listener={"bind": [f"127.0.0.1:{free_port()}"]})
    was = weir.config["listeners"]
    port = int(was["dns"]["bind"][0].split(":")[1])
    early = client(port)
    early.send(b"slow")
    wait_until(lambda: asked, what="the datagram")
    weir.reload(listeners={"other": {"protocol": "udp", "upstream": "pool", "bind": [f"127.0.0.1:{free_port()}"]}})
    weir.reload(listeners=was)
    assert client(port).ask_again(b"new") == b"new"
    server.sock.sendto(b"late", asked[0].peer)
    assert early.receive() == b"late"


def test_a_stop_forwards_what_waits_in_the_socket(site, backend, client):
    server = backend(handler=lambda got: None)
    weir = udp(site, server.address, workers=1)
    c = client(weir.port("dns"))
    with open("/proc/sys/net/core/rmem_max") as limit:
        room = 8 << 20 if os.geteuid() == 0 else 2 * int(limit.read())
    sent = [b"%d" % n for n in range(min(5000, room // 1024))]
    weir.signal(signal.SIGSTOP)
    for data in sent:
        c.send(data)
    weir.signal(signal.SIGTERM)
    weir.signal(signal.SIGCONT)
    assert weir.wait() == 0
    wait_until(lambda: len(server.got) >= len(sent), 5, "every datagram")
    assert server.received == sent


def test_an_address_that_widens_goes_on_serving(site, backend, client):
    port = free_port()
    weir = udp(site, backend().address, listener={"bind": [f"127.0.0.1:{port}"]})
    c = client(port)
    c.ask(b"1")
    c.send(b"2")
    weir.reload(listeners={"dns": {"protocol": "udp", "upstream": "pool", "bind": [f":{port}"]}})
    assert c.receive() == b"2"
    for n in range(20):
        assert c.ask(b"%d" % n) == b"%d" % n
    assert client(("127.0.0.5", port)).ask(b"wide") == b"wide"


def test_a_stop_brings_what_was_asked(site, backend, client):
    asked = []
    server = backend(handler=lambda got: asked.append(got))
    weir = udp(site, server.address)
    done, waits = client(weir.port("dns")), client(weir.port("dns"))
    done.send(b"1")
    wait_until(lambda: asked, what="the datagram")
    server.sock.sendto(b"answer", asked[0].peer)
    done.receive()
    waits.send(b"2")
    wait_until(lambda: len(asked) == 2, what="the datagram")
    weir.signal(15)
    wait_until(lambda: "draining" in weir.log(), what="the drain")
    wait_until(lambda: weir.admin.health().status == 503 and sessions(weir) == 1, what="the idle session's end")
    server.sock.sendto(b"last words", asked[1].peer)
    assert waits.receive() == b"last words"
    assert weir.wait() == 0


def test_an_upgrade_under_traffic_loses_nothing(site, backend, client):
    weir = udp(site, backend(b"a:").address, timeouts={"drain": "20s"})
    clients = [client(weir.port("dns")) for _ in range(10)]
    stop, faults = threading.Event(), []

    def ask(c, n):
        turn = 0
        while not stop.is_set():
            turn += 1
            question = b"%d.%d" % (n, turn)
            try:
                if c.ask(question) != b"a:" + question:
                    faults.append(question)
            except TimeoutError:
                faults.append((question, "lost"))
                return
    threads = [threading.Thread(target=ask, args=(c, n)) for n, c in enumerate(clients)]
    for t in threads:
        t.start()
    try:
        weir.upgrade(30)
        wait_for_sessions(weir, 10)
    finally:
        stop.set()
        for t in threads:
            t.join()
    assert not faults


# -- many ----------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("count", [pytest.param(5000, id="5000")])
def test_every_one_of_many_sessions_gets_its_own_answers(site, backend, count):
    """Every client is a socket of its own, so that an answer to the wrong one shows."""
    servers = [backend(b"<", handler=lambda got: b"<" + got.data + b">") for _ in range(2)]
    weir = udp(site, *[s.address for s in servers])
    where = ("127.0.0.1", weir.port("dns"))
    sockets = []
    poller = select.epoll()
    try:
        for n in range(count):
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.setblocking(False)
            sockets.append(s)
            poller.register(s, select.EPOLLIN)
        by_fd = {s.fileno(): n for n, s in enumerate(sockets)}
        for turn in range(2):
            waiting = set(range(count))
            deadline = Deadline(30)
            while waiting:
                deadline.left()
                for start in range(0, count, 100):
                    for n in range(start, min(start + 100, count)):
                        if n in waiting:
                            sockets[n].sendto(b"%d:%d" % (n, turn), where)
                    for fd, _ in poller.poll(0.02, 200):
                        n = by_fd[fd]
                        data, peer = sockets[n].recvfrom(100)
                        assert peer == where and data.startswith(b"<%d:" % n), (n, data, peer)
                        if data == b"<%d:%d>" % (n, turn):
                            waiting.discard(n)
                for fd, _ in poller.poll(0.2, count):
                    n = by_fd[fd]
                    data, peer = sockets[n].recvfrom(100)
                    assert peer == where and data.startswith(b"<%d:" % n), (n, data, peer)
                    if data == b"<%d:%d>" % (n, turn):
                        waiting.discard(n)
        assert sessions(weir) == count
        assert sum(len(s.peers) for s in servers) == count
    finally:
        for s in sockets:
            s.close()
        poller.close()


# -- DNS -----------------------------------------------------------------------------------------------------------------------

@pytest.fixture
def dnsmasq(tmp_path):
    """A real DNS server: its port, or a skip. It knows a.test, and big.test with an answer of more than 1,500 bytes."""
    program = shutil.which("dnsmasq", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if not program:
        pytest.skip("dnsmasq is not installed")
    port = free_port()
    big = [f"--txt-record=big.test,{'x' * 200}{n:03}" for n in range(12)]
    process = subprocess.Popen([program, "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root",
                                f"--port={port}", "--listen-address=127.0.0.1", "--bind-interfaces", "--pid-file=",
                                "--address=/a.test/192.0.2.7", "--edns-packet-max=8192", *big],
                               stdin=subprocess.DEVNULL, stdout=open(tmp_path / "dnsmasq", "wb"), stderr=subprocess.STDOUT)

    def answers():
        assert process.poll() is None, (tmp_path / "dnsmasq").read_text()
        with UdpClient(port) as c:
            return c.ask(dns_query(1, "a.test", 1), 0.2)
    try:
        wait_until(answers, 10, "dnsmasq")
        yield port
    finally:
        process.kill()
        process.wait()


def dns_query(number, name, kind, size=4096):
    """RFC 1035 §4.1, with an OPT record (RFC 6891) that takes answers of `size` bytes."""
    labels = b"".join(bytes([len(l)]) + l.encode() for l in name.split("."))
    head = struct.pack(">6H", number, 0x0100, 1, 0, 0, 1 if size else 0)
    opt = b"\0" + struct.pack(">HHIH", 41, size, 0, 0) if size else b""
    return head + labels + b"\0" + struct.pack(">HH", kind, 1) + opt


def dns_answer(data):
    """(id, is truncated, count of answers)"""
    number, flags, _, answers = struct.unpack(">4H", data[:8])
    assert flags & 0x8000 and not flags & 0xf, f"no good answer: flags {flags:04x}"
    return number, bool(flags & 0x200), answers


def test_dns_through_a_real_server(site, client, dnsmasq):
    weir = udp(site, f"127.0.0.1:{dnsmasq}", upstream={"health_check": {
        "type": "udp", "send": "\\x00\\x07\\x01\\x00\\x00\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x01a\\x04test\\x00\\x00\\x01\\x00\\x01",
        "receive": "\\x00\\x07", "interval": "100ms", "fall": 1}})
    c = client(weir.port("dns"))
    for n in range(20):
        got = c.ask(dns_query(n, "a.test", 1))
        assert dns_answer(got) == (n, False, 1) and socket.inet_aton("192.0.2.7") in got
    assert sessions(weir) == 1 and weir.admin.server_is_up("pool", f"127.0.0.1:{dnsmasq}")


def test_large_answers_of_dns_come_whole(site, client, dnsmasq):
    weir = udp(site, f"127.0.0.1:{dnsmasq}")
    c = client(weir.port("dns"))
    got = c.ask(dns_query(3, "big.test", 16))
    assert len(got) > 2400 and dns_answer(got) == (3, False, 12)
    assert dns_answer(c.ask(dns_query(4, "big.test", 16, size=0)))[:2] == (4, True)


def test_many_questions_to_dns_are_answered_to_who_asked(site, client, dnsmasq):
    weir = udp(site, f"127.0.0.1:{dnsmasq}")
    clients = [client(weir.port("dns")) for _ in range(30)]
    for turn in range(10):
        for n, c in enumerate(clients):
            c.send(dns_query(turn * 100 + n, "a.test", 1))
        for n, c in enumerate(clients):
            assert dns_answer(c.receive())[0] == turn * 100 + n


# -- everything at once --------------------------------------------------------------------------------------------------------

def any_configuration(choose, port, servers):
    """What a reload may bring: other servers, policies, limits and addresses, or another listener."""
    pool = {"servers": [f"127.0.0.1:{p}" for p in choose.sample(servers, choose.randint(1, len(servers)))],
            "on_down": choose.choice(["close", "keep"]), "balance": choose.choice(["round_robin", "least_connections", "source_hash"])}
    if choose.random() < 0.5:
        pool["health_check"] = {"type": "udp", "send": "ping", "interval": "20ms", "timeout": "50ms", "fall": 1, "rise": 1}
    listener = {"protocol": "udp", "upstream": "pool", "bind": [choose.choice(["127.0.0.1", ""]) + f":{port}"],
                "limits": {"connections": choose.choice([5, 50, 500])}, "timeouts": {"idle": choose.choice(["50ms", "300ms", "10s"])}}
    return {"upstreams": {"pool": pool}, "listeners": {choose.choice(["dns", "dns", "dns", "other"]): listener}}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_sessions_end_well_while_servers_die_and_configurations_change(site, backend, client, seed):
    choose = random.Random(seed)
    port, servers, alive = free_port(), [free_port() for _ in range(5)], {}
    weir = site(None, **any_configuration(choose, port, servers))
    clients = [client((choose.choice(["127.0.0.1", "127.0.0.2"]), port)) for _ in range(200)]
    for c in clients:
        c.sock.setblocking(False)
    end = after(5)
    while not end.passed():
        for c in choose.sample(clients, 50):
            try:
                c.send(choose.choice([b"", b"x" * 1500, b"y" * 60000]))
                while True:
                    c.sock.recv(1 << 16)
            except OSError:
                pass
        which = choose.choice(servers)
        if choose.random() < 0.1 and which in alive:
            alive.pop(which).close()
        elif choose.random() < 0.2 and which not in alive:
            alive[which] = backend(port=which, handler=lambda got: choose.choice([got.data, [got.data] * 3, None, b""]))
        if choose.random() < 0.1:
            weir.reload(**any_configuration(choose, port, servers))
    last = backend(b"last:")
    weir.reload(upstreams={"pool": {"servers": [last.address]}},
                listeners={"last": {"protocol": "udp", "upstream": "pool", "bind": [f":{port}"], "timeouts": {"idle": "1s"}}})
    with UdpClient(port) as c:
        assert c.ask_again(b"x", answers=[b"last:x"])
    wait_until(lambda: weir.admin.metrics().sum("weir_connections") == 0, 15, "the end of every session")
