"""How long servers keep idle connections: what they say, what is seen of them, and that weir closes first."""

import time

import pytest

from harness import wait_until
from harness.admin import find
from harness.h2_server import H2Server

SECONDS = 20  # to learn something


def learned(weir, server):
    return find(weir.admin.upstreams(), address=server.address)[0]["keepalive_learned_ms"]


def one(site, server, **more):
    return site([{"upstream": "app"}], {"app": {"servers": [server.address], **more}}, workers=1)


def ask_until_learned(weir, server, pause):
    """Asks again and again, `pause` seconds apart."""
    def asked():
        assert weir.get().status == 200
        return learned(weir, server) is not None
    wait_until(asked, seconds=SECONDS, every=pause)


class Script:
    """Plays a server that ends a connection after `limit` seconds without a request (None: never)."""

    def __init__(self, limit=None, fields=()):
        self.limit, self.fields = limit, fields
        self.ended_by_weir = 0

    def __call__(self, connection):
        requests = 0
        while True:
            try:
                limit = self.limit if requests and self.limit else 60
                connection.sock.settimeout(limit)
                if not connection.sock.recv(1, 2):  # MSG_PEEK
                    self.ended_by_weir += 1
                    return
            except TimeoutError:
                return
            connection.read_request()
            requests += 1
            connection.respond(headers=self.fields, body="ok")


# -- what they say ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("value", ["timeout=1", "max=100, timeout=1", "Timeout = 1 , max=5", "x, timeout=1"])
def test_a_server_that_says_its_limit_is_not_the_one_that_closes(site, raw_server, value):
    script = Script(fields=[("Keep-Alive", value)])
    server = raw_server(script)
    weir = one(site, server)
    began = time.monotonic()
    assert weir.get().status == 200
    assert learned(weir, server) == 1000
    wait_until(lambda: script.ended_by_weir == 1)
    assert time.monotonic() - began >= 0.9
    assert weir.get().status == 200
    assert len(server.connections) == 2


@pytest.mark.parametrize("value", ["max=100", "timeout=", "timeout=soon", "timeout=-1", "timeout=1.5", "timeout", "=5", ""])
def test_what_says_no_limit_is_passed_over(site, raw_server, value):
    server = raw_server(Script(fields=[("Keep-Alive", value)]))
    weir = one(site, server)
    assert weir.get().status == weir.get().status == 200
    assert learned(weir, server) is None
    assert len(server.connections) == 1


def test_a_limit_of_nothing_keeps_no_connection(site, raw_server):
    script = Script(fields=[("Keep-Alive", "timeout=0")])
    server = raw_server(script)
    weir = one(site, server)
    assert weir.get().status == weir.get().status == 200
    assert len(server.connections) == 2
    wait_until(lambda: script.ended_by_weir == 2)


def test_a_limit_without_end_is_a_day(site, raw_server):
    server = raw_server(Script(fields=[("Keep-Alive", "timeout=18446744073709551615")]))
    weir = one(site, server)
    assert weir.get().status == weir.get().status == 200
    assert learned(weir, server) == 86400 * 1000
    assert len(server.connections) == 1


def test_the_field_is_not_passed_on(site, raw_server):
    server = raw_server(Script(fields=[("Keep-Alive", "timeout=5"), ("Connection", "Keep-Alive")]))
    assert one(site, server).get()["keep-alive"] is None


# -- what is seen -----------------------------------------------------------------------------------------------------------

def test_a_server_that_ends_idle_connections_is_learnt_and_weir_closes_first(site, raw_server):
    script = Script(limit=0.5)
    server = raw_server(script)
    weir = one(site, server)

    def ended():
        """Asks anew when the last connection has ended."""
        if find(weir.admin.upstreams(), address=server.address)[0]["connections"]["idle"] == 0:
            assert weir.get().status == 200
        return learned(weir, server) is not None
    wait_until(ended, seconds=SECONDS)
    assert 450 <= learned(weir, server) < 60000
    script.limit = None
    before = script.ended_by_weir
    assert weir.get().status == 200
    wait_until(lambda: script.ended_by_weir > before)

    weir.reload(timeouts={"upstream_keepalive": "50s"})
    assert learned(weir, server) is not None, "a reload forgets nothing"


def test_one_end_alone_teaches_nothing(site, raw_server):
    script = Script(limit=0.5)
    server = raw_server(script)
    weir = one(site, server)
    assert weir.get().status == 200
    wait_until(lambda: find(weir.admin.upstreams(), address=server.address)[0]["connections"]["idle"] == 0)
    assert learned(weir, server) is None


def test_connections_that_turn_out_dead_teach_it_too(site, raw_server):
    """The end is on its way while the request is: the server resets what it does not expect any more."""
    def script(connection):
        connection.read_request()
        connection.respond(body="ok")
        if connection.sock.recv(1):
            connection.reset()
    server = raw_server(script)
    weir = one(site, server)
    ask_until_learned(weir, server, 0.4)
    assert learned(weir, server) >= 350
    assert weir.admin.metrics().sum("weir_retries_total", upstream="app") >= 2, "it was learnt from lost requests"


def test_a_connection_that_dies_under_load_is_no_idle_one(site, raw_server):
    """Requests close behind each other: whatever ends them, it is no limit of idle time."""
    def script(connection):
        connection.read_request()
        connection.respond(body="ok")
        connection.sock.recv(1)
        connection.reset()
    server = raw_server(script)
    weir = one(site, server)
    with weir.client() as client:
        for _ in range(30):
            assert client.get().status == 200
    limit = learned(weir, server)
    assert limit is None or limit >= 250, "only where a loaded machine made them idle for so long"


def test_over_http_2_too(site):
    def handler(request):
        request.respond(body="ok")
        time.sleep(0.5)
        if len(request.peer.order) == 1:
            request.peer.say_goaway()
    with H2Server(handler) as server:
        weir = one(site, server, protocol="http2")

        def ended():
            if find(weir.admin.upstreams(), address=server.address)[0]["connections"]["idle"] == 0:
                assert weir.get().status == 200
            return learned(weir, server) is not None
        wait_until(ended, seconds=SECONDS)
        assert learned(weir, server) >= 450
