"""L4: bytes both ways, half-close kept, and what happens when one side is gone."""

import threading

import pytest

from harness import SCALE, RawClient, free_port, wait_until
from harness.http_backend import pattern
from harness.raw_client import trusting

MiB = 1 << 20


def l4(site, *addresses, tls=None, upstream=None, **rest):
    listener = {"protocol": "tcp", "upstream": "db"}
    if tls:
        listener["tls"] = tls
    return site(None, {"db": {"servers": list(addresses), **(upstream or {})}}, {"db": listener}, **rest)


@pytest.fixture
def pair(site, server):
    """(client, the server's end) of one stream through weir."""
    weir = l4(site, server.address)
    client = weir.client("db")
    client.send(b"!")
    up = server.accept()
    up.read_exact(1)
    yield client, up
    client.close()


def test_bytes_pass_both_ways(pair):
    client, up = pair
    for n in range(20):
        client.send(b"ask %d" % n)
        assert up.read_exact(len(b"ask %d" % n)) == b"ask %d" % n
        up.send(b"tell %d" % n)
        assert client.read_exact(len(b"tell %d" % n)) == b"tell %d" % n


def test_a_server_that_speaks_first_is_heard(site, tcp_backend):
    with l4(site, tcp_backend(b"220 hello\r\n").address).client("db") as client:
        assert client.read_exact(11) == b"220 hello\r\n"


def test_a_half_close_of_the_client_reaches_the_server_and_its_answer_comes_back(pair):
    client, up = pair
    client.send(b"all")
    client.half_close()
    assert up.read_to_end() == b"all" and up.ended == "closed"
    up.send(b"still talking")
    assert client.read_exact(13) == b"still talking"
    up.close()
    client.expect_end()


def test_a_half_close_of_the_server_reaches_the_client_which_goes_on(pair):
    client, up = pair
    up.send(b"all")
    up.half_close()
    assert client.read_to_end() == b"all" and client.ended == "closed"
    client.send(b"still talking")
    assert up.read_exact(13) == b"still talking"
    client.close()
    up.expect_end()


def test_a_reset_of_the_server_reaches_the_client(pair):
    client, up = pair
    up.reset()
    client.read_to_end()
    assert client.ended in ("reset", "closed")


def test_a_reset_of_the_client_reaches_the_server(pair):
    client, up = pair
    client.reset()
    up.read_to_end()
    assert up.ended in ("reset", "closed")


def test_bytes_before_a_close_are_not_lost(site, server):
    weir = l4(site, server.address)
    data = pattern(3 * MiB)
    with weir.client("db") as client:
        up = server.accept()
        sender = threading.Thread(target=lambda: (up.send(data), up.close()))
        sender.start()
        assert client.read_to_end(20) == data
        sender.join()


@pytest.mark.slow
def test_a_big_transfer_both_ways_at_once_arrives_with_bounded_memory(site, tcp_backend):
    weir = l4(site, tcp_backend().address)
    block, count = pattern(MiB), 128
    with weir.client("db") as client:
        client._keep = False
        client.send(b"")
        before = weir.rss_bytes()
        sender = threading.Thread(target=lambda: [client.sock.sendall(block) for _ in range(count)] and client.half_close())
        client.sock.settimeout(60)
        sender.start()
        got = 0
        while True:
            data = client.sock.recv(1 << 18)
            if not data:
                break
            view = memoryview(data)
            while view:
                at = got % MiB
                part = view[: MiB - at]
                assert block[at:at + len(part)] == part
                got += len(part)
                view = view[len(part):]
        sender.join()
    assert got == count * MiB
    if not weir.is_sanitized:
        assert weir.rss_bytes() - before < 8 * MiB


def test_a_peer_that_does_not_read_stops_the_other(pair):
    client, up = pair
    up.sock.settimeout(0.5)
    sent = 0
    try:
        while sent < 256 * MiB:
            sent += up.sock.send(b"x" * 65536)
    except OSError:
        pass
    assert sent < 64 * MiB


def test_a_stream_without_a_byte_is_ended_after_idle(site, server):
    weir = l4(site, server.address, timeouts={"idle": "500ms"})
    with weir.client("db") as client:
        up = server.accept()
        client.read_to_end()
        up.read_to_end()


def test_a_stream_with_bytes_in_one_direction_is_not_idle(site, server):
    weir = l4(site, server.address, timeouts={"idle": f"{600 * SCALE:.0f}ms"})
    with weir.client("db") as client:
        up = server.accept()
        for _ in range(15):
            up.send(b"tick")
            assert client.read_exact(4) == b"tick"
            client.expect_silence(0.1)
        client.send(b"x")
        assert up.read_exact(1) == b"x"


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_tls_is_terminated_in_front(site, tcp_backend, authority, localhost_cert, version):
    import ssl
    weir = l4(site, tcp_backend(b"hello ").address, tls={"certificates": [{"cert": localhost_cert[0], "key": localhost_cert[1]}]})
    which = getattr(ssl.TLSVersion, version)
    data = pattern(500_000)
    with RawClient(weir.port("db"), tls=trusting(authority.file, minimum=which, maximum=which), server_name="localhost") as client:
        assert client.read_exact(6) == b"hello "
        # In turns: python's ssl lets no two threads use one connection.
        for at in range(0, len(data), 50_000):
            client.send(data[at:at + 50_000])
            assert client.read_exact(50_000, 20) == data[at:at + 50_000]


def test_the_end_of_a_stream_under_tls_is_a_close_notify(site, server, authority, localhost_cert):
    weir = l4(site, server.address, tls={"certificates": [{"cert": localhost_cert[0], "key": localhost_cert[1]}]})
    with RawClient(weir.port("db"), tls=trusting(authority.file), server_name="localhost") as client:
        client.send(b"x")
        up = server.accept()
        assert up.read_exact(1) == b"x"
        up.send(b"bye")
        up.close()
        assert client.read_to_end() == b"bye" and client.ended == "closed"


def test_a_dead_first_server_is_passed_over(site, tcp_backend):
    weir = l4(site, f"127.0.0.1:{free_port()}", tcp_backend(b"second").address, workers=1)
    for _ in range(6):
        with weir.client("db") as client:
            assert client.read_exact(6) == b"second"


def test_with_every_server_dead_the_client_is_closed(site):
    weir = l4(site, f"127.0.0.1:{free_port()}")
    with weir.client("db") as client:
        assert client.read_to_end() == b""


def test_streams_are_spread_over_servers(site, tcp_backend):
    first, second = tcp_backend(b"a"), tcp_backend(b"b")
    weir = l4(site, first.address, second.address, workers=1)
    got = []
    for _ in range(10):
        with weir.client("db") as client:
            got.append(client.read_exact(1))
    assert got.count(b"a") == got.count(b"b") == 5


def test_least_connections_counts_open_streams(site, tcp_backend):
    first, second = tcp_backend(b"a"), tcp_backend(b"b")
    weir = l4(site, first.address, second.address, upstream={"balance": "least_connections"})
    clients = [weir.client("db") for _ in range(4)]
    got = [c.read_exact(1) for c in clients]
    assert got.count(b"a") == got.count(b"b") == 2
    for client, name in zip(clients, got):
        if name == b"a":
            client.close()
    wait_until(lambda: weir.admin.metrics().sum("weir_connections", listener="db") == 2)
    more = [weir.client("db") for _ in range(2)]
    assert [c.read_exact(1) for c in more] == [b"a", b"a"]
    for client in clients + more:
        client.close()


def test_many_streams_at_once_do_not_mix(site, tcp_backend):
    weir = l4(site, tcp_backend().address)
    clients = [weir.client("db") for _ in range(100)]
    for n, client in enumerate(clients):
        client.send(b"%05d" % n)
    for n, client in enumerate(clients):
        assert client.read_exact(5) == b"%05d" % n
        client.close()


def test_bytes_and_connections_are_counted(site, tcp_backend):
    weir = l4(site, tcp_backend().address)
    with weir.client("db") as client:
        client.send(b"12345")
        client.read_exact(5)
        assert weir.admin.metrics().sum("weir_connections", listener="db") == 1
    wait_until(lambda: weir.admin.metrics().sum("weir_connections", listener="db") == 0)
    weir.await_metric("weir_bytes_total", lambda n: n >= 10, listener="db")


def test_a_stream_lives_through_a_reload(site, tcp_backend):
    weir = l4(site, tcp_backend().address)
    with weir.client("db") as client:
        client.send(b"a")
        assert client.read_exact(1) == b"a"
        for _ in range(5):
            weir.reload(timeouts={"idle": "5m"})
            client.send(b"b")
            assert client.read_exact(1) == b"b"


def test_a_client_that_leaves_before_the_server_is_reached_harms_nothing(site, tcp_backend):
    weir = l4(site, f"127.0.0.1:{free_port()}", tcp_backend(b"x").address)
    for _ in range(50):
        weir.client("db").reset()
    with weir.client("db") as client:
        assert client.read_exact(1) == b"x"
