"""`breaker`: while most of what is sent to an upstream fails, requests are refused at once; then one is let through to try."""

from harness import Reply, wait_until
from harness.admin import find


def state(weir):
    return find(weir.admin.upstreams(), name="app")[0]["breaker"]


def broken(site, http_backend, **breaker):
    answers = {"status": "500 Internal Server Error"}
    backend = http_backend("a", handler=lambda request: Reply(answers["status"], body=b"a"))
    weir = site([{"upstream": "app"}], {"app": {"servers": [backend.address], "breaker": {"min_requests": 10, "open": "300ms", **breaker}}}, workers=2)
    return weir, backend, answers


def test_it_opens_and_refuses_without_asking_the_server_and_closes_when_one_succeeds(site, http_backend):
    weir, backend, answers = broken(site, http_backend, open="1s")
    with weir.client() as client:
        assert [client.get().status for _ in range(10)] == [500] * 10
        asked = len(backend.targets())
        refused = client.get()
        assert refused.status == 503 and refused["retry-after"]
        assert len(backend.targets()) == asked == 10
        assert state(weir) == "open"
        answers["status"] = "200 OK"
        wait_until(lambda: client.get().status == 200, 20, "the breaker to close")
        assert state(weir) == "closed"
        assert [client.get().status for _ in range(20)] == [200] * 20
    weir.await_metric("weir_upstream_breaker_opened_total", 1, upstream="app")
    weir.await_metric("weir_upstream_breaker", 0, upstream="app")
    weir.await_metric("weir_terminations_total", lambda n: n >= 1, termination="breaker_open")


def test_a_failing_try_keeps_it_open(site, http_backend):
    weir, backend, answers = broken(site, http_backend)
    with weir.client() as client:
        for _ in range(10):
            client.get()
        wait_until(lambda: client.get().status == 500, 20, "a try to be let through")
        assert client.get().status == 503
        wait_until(lambda: weir.admin.metrics().sum("weir_upstream_breaker_opened_total", upstream="app") >= 2, 5)


def test_answers_that_are_no_failures_keep_it_closed(site, http_backend):
    weir, backend, answers = broken(site, http_backend)
    answers["status"] = "404 Not Found"
    with weir.client() as client:
        assert [client.get().status for _ in range(40)] == [404] * 40
    assert state(weir) == "closed"
