"""`hedge`: a second attempt on another server when an answer is late; the first answer wins."""

import threading

import pytest

from harness import RawClient, Reply, wait_until
from harness.admin import find


class Late:
    """A backend that waits for its gate, where that is closed."""

    def __init__(self, make, name):
        self.gate, self.is_late = threading.Event(), False
        self.backend = make(name, handler=self._handle)
        self.address, self.targets = self.backend.address, self.backend.targets

    def _handle(self, request):
        if self.is_late:
            self.gate.wait(30)
        return Reply(body=self.backend.name.encode())


@pytest.fixture
def late(http_backend):
    made = []

    def make(name):
        made.append(Late(http_backend, name))
        return made[-1]
    yield make
    for one in made:
        one.gate.set()


def hedged(site, servers, workers=1, protocol="http1", **hedge):
    return site([{"upstream": "app"}], {"app": {"servers": [s.address for s in servers], "protocol": protocol,
                                                "hedge": {"after": "50ms", "max": "100%", **hedge}}}, workers=workers)


def count(weir, name):
    return weir.admin.metrics().sum(f"weir_{name}_total", upstream="app")


def test_a_late_answer_is_overtaken_and_nothing_is_left_in_flight(site, late, http_backend):
    slow, good = late("slow"), http_backend("good")
    slow.is_late = True
    weir = hedged(site, [slow, good])
    with weir.client() as client:
        assert [client.get(seconds=20).text for _ in range(6)] == ["good"] * 6
    assert count(weir, "hedges") == count(weir, "hedges_won") == 3 and count(weir, "retries") == 0
    assert all(s["in_flight"] == 0 for s in find(weir.admin.upstreams(), name="app")[0]["servers"])
    kept = weir.admin.json("/api/v1/requests")["slowest"][0]
    assert [a["outcome"] for a in kept["attempts"]] == ["abandoned", "answered"]
    assert kept["attempts"][0]["reason"] == "the other attempt answered first" and kept["status"] == 200


def test_the_first_attempt_may_win_after_all(site, late):
    first, second = late("first"), late("second")
    first.is_late = second.is_late = True
    weir = hedged(site, [first, second])
    with weir.client() as client:
        client.send_request()
        wait_until(lambda: first.targets() and second.targets(), 10, "both attempts")
        winner = first if count(weir, "hedges") else second
        winner.gate.set()
        assert client.read_response().text == "first"
    assert count(weir, "hedges_won") == 0


def test_a_post_is_not_hedged_and_a_put_is_with_its_body(site, late, http_backend):
    slow, good = late("slow"), http_backend("good")
    slow.is_late = True
    weir = hedged(site, [slow, good])
    timer = threading.Timer(1, slow.gate.set)
    with weir.client() as client:
        assert client.request("PUT", "/", body=b"kept", seconds=20).text == "good"
        assert good.requests[-1].body == b"kept"
        assert client.request("PUT", "/", body=b"kept", seconds=20).text == "good"
        timer.start()
        assert {client.request("POST", "/", body=b"once", seconds=20).text for _ in range(2)} == {"good", "slow"}
    assert count(weir, "hedges") == 1


def test_one_attempt_that_fails_leaves_the_request_to_the_other(site, late, raw_server):
    slow = late("slow")
    slow.is_late = True

    def slam(connection):
        connection.read_request()
        slow.gate.set()
        connection.reset()
    weir = hedged(site, [slow, raw_server(slam)])
    with weir.client() as client:
        assert client.get(seconds=20).text == "slow"


def test_both_fail_and_the_client_gets_an_error(site, raw_server):
    seen = []

    def slam(connection):
        connection.read_request()
        seen.append(connection)
        wait_until(lambda: len(seen) >= 2, 10)
        connection.reset()
    weir = hedged(site, [raw_server(slam), raw_server(slam)])
    with weir.client() as client:
        assert client.get(seconds=20).status == 502


def test_a_client_that_leaves_ends_both(site, late):
    first, second = late("first"), late("second")
    first.is_late = second.is_late = True
    weir = hedged(site, [first, second])
    client = RawClient(weir.port())
    client.send_request()
    wait_until(lambda: first.targets() and second.targets(), 10, "both attempts")
    client.reset()
    wait_until(lambda: all(s["in_flight"] == 0 for s in find(weir.admin.upstreams(), name="app")[0]["servers"]), 10, "both to be let go of")


def test_no_more_than_the_share_is_hedged(site, late, http_backend):
    slow, good = late("slow"), http_backend("good")
    slow.is_late = True
    weir = hedged(site, [slow, good], max="10%")
    threading.Timer(1.5, slow.gate.set).start()
    with weir.client() as client:
        for _ in range(100):
            assert client.get(seconds=20).status == 200
    assert count(weir, "hedges") <= 10


def test_by_a_quantile_only_once_enough_is_known(site, late, http_backend):
    slow, good = late("slow"), http_backend("good")
    weir = hedged(site, [slow, good], after="p95")
    with weir.client() as client:
        for _ in range(250):
            client.get()
        slow.is_late = True
        assert [client.get(seconds=20).text for _ in range(4)] == ["good"] * 4
    assert count(weir, "hedges") >= 2


def test_a_single_server_is_not_asked_twice(site, late):
    slow = late("slow")
    slow.is_late = True
    weir = hedged(site, [slow])
    threading.Timer(0.5, slow.gate.set).start()
    with weir.client() as client:
        assert client.get(seconds=20).text == "slow"
    assert len(slow.targets()) == 1


def test_a_sticky_session_stays_where_it_is(site, late, http_backend):
    slow, good = late("slow"), http_backend("good")
    weir = site([{"upstream": "app"}], {"app": {"servers": [slow.address, good.address], "sticky": {"cookie": "id"},
                                                "hedge": {"after": "50ms", "max": "100%"}}}, workers=1)
    answers = [weir.get("/"), weir.get("/")]
    session = next(a["set-cookie"] for a in answers if a.text == "slow").split(";")[0]
    slow.is_late = True
    with weir.client() as client:
        client.send_request(headers=[("Cookie", session)])
        wait_until(lambda: len(slow.targets()) == 2, 10, "the session's request")
        assert [weir.get("/", seconds=20).text for _ in range(2)] == ["good"] * 2
        assert count(weir, "hedges") == 1, "the one that has no session"
        slow.gate.set()
        answer = client.read_response()
        assert answer.text == "slow" and "set-cookie" not in answer.fields
