"""`concurrency`: how many requests may be in flight on a route, over all workers and across reloads."""

import threading

import pytest

from harness import RawClient, Reply, SCALE, wait_until


@pytest.fixture
def held(http_backend):
    """A backend whose answers wait for the gate."""
    gate = threading.Event()

    def handle(request):
        gate.wait(30 * SCALE)
        return Reply(body=b"held")

    backend = http_backend("held", handler=handle)
    backend.gate = gate
    yield backend
    gate.set()


def limited(site, backend, limit, **rest):
    return site([{"path": "/limited", "name": "limited", "upstream": "app", "concurrency": limit}, {"respond": {"status": 200, "body": "free"}}],
                {"app": {"servers": [backend.address]}}, workers=2, **rest)


def waiting(weir, count, backend):
    clients = [RawClient(weir.port()) for _ in range(count)]
    for client in clients:
        client.send_request(target="/limited")
    wait_until(lambda: len(backend.targets()) >= count, 10, "the requests to be in flight")
    return clients


def test_a_request_past_the_routes_concurrency_gets_503_and_others_are_served(site, held):
    weir = limited(site, held, 3)
    clients = waiting(weir, 3, held)
    with weir.client() as client:
        refused = client.get("/limited")
        assert refused.status == 503 and int(refused["retry-after"]) >= 1
        assert client.get("/other").text == "free"
    held.gate.set()
    assert [c.read_response().text for c in clients] == ["held"] * 3
    with weir.client() as client:
        assert client.get("/limited").status == 200
    wait_until(lambda: weir.admin.metrics().sum("weir_terminations_total", termination="concurrency") == 1, 5, "the word to be counted")


def test_a_request_that_ends_early_gives_its_place_back(site, held):
    weir = limited(site, held, 1)
    waiting(weir, 1, held)[0].close()

    def served():
        held.gate.set()
        with weir.client() as client:
            return client.get("/limited").status == 200
    wait_until(served, 10, "the place to be free")


def test_a_reload_does_not_forget_what_is_in_flight(site, held):
    weir = limited(site, held, 2)
    clients = waiting(weir, 2, held)
    assert weir.admin.reload().status == 200
    with weir.client() as client:
        assert client.get("/limited").status == 503
    held.gate.set()
    assert [c.read_response().status for c in clients] == [200, 200]
