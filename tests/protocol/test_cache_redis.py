"""The second tier in Redis: what one proxy has fetched another one finds, a purge reaches both, and a Redis that fails costs nothing."""

import itertools
import signal

import pytest

from harness import Answer, Cached, cache_status, fresh, outlive, validated, wait_until
from harness.redis_server import RedisServer

pytestmark = pytest.mark.skipif(not RedisServer.is_there(), reason="no redis-server")
_numbers = itertools.count()


@pytest.fixture
def redis(tmp_path):
    server = RedisServer(tmp_path / "redis").start()
    yield server
    server.close()


@pytest.fixture
def node(site, redis, cache_origin):
    """node(**more) -> a weir of the fleet; its deadline is one that a busy machine keeps."""
    def start(route=True, **more):
        options = {"address": redis.address, "deadline": "5s", "retry": "20ms", **more}
        return site([{"upstream": "origin", "cache": route}], {"origin": cache_origin.address}, cache={"redis": options},
                    workers=1)  # so that what one test has warmed is what the next request meets
    return start


def at(weir, origin, path):
    return Cached(weir, origin, path)


def is_shared(answer):
    return cache_status(answer).is_hit and cache_status(answer).get("detail") == "second-tier"


def share(redis, origin, a, b):
    """Waits until both nodes use Redis: what one fetches the other one has from there."""
    for one, other in ((a, b), (b, a)):
        def works():
            path = f"/share/{next(_numbers)}"
            at(one, origin, path).get()
            return is_shared(at(other, origin, path).get())
        wait_until(works, 20, "the nodes sharing what they fetch")


def put(redis, web, *answers, headers=()):
    """Fetched by one node, and in Redis."""
    before = redis.keys()
    if answers:
        web.on(*answers)
    answer = web.forwarded(headers)
    wait_until(lambda: redis.keys() > before, 10, "the response in Redis")
    return answer


def purge(weir, **what):
    answer = weir.admin.request("POST", "/api/v1/cache/purge", what)
    assert answer.status == 200, answer.text


@pytest.fixture
def fleet(node, redis, cache_origin):
    a, b = node(), node()
    share(redis, cache_origin, a, b)
    return a, b


def test_what_one_node_fetched_another_answers_with(fleet, redis, cache_origin):
    a, b = (at(n, cache_origin, "/page") for n in fleet)
    first = put(redis, a, fresh(b"the page" * 1000, Content_Type="text/plain", X_Own="1", ETag='"v1"', Set="a, b"))
    second = b.get()
    assert is_shared(second) and second.body == first.body == b"the page" * 1000
    for name in ("content-type", "x-own", "etag", "set", "cache-control"):
        assert second[name] == first[name]
    assert b.asked == 1
    third = b.hit()
    assert "detail" not in cache_status(third), "it is in this node's memory now"
    assert int(third["age"]) >= 0


def test_age_goes_on_and_nothing_stale_comes_from_there(fleet, redis, cache_origin):
    a, b = (at(n, cache_origin, "/aged") for n in fleet)
    put(redis, a, fresh(b"x", "max-age=60", Age="50"))
    answer = b.get()
    assert is_shared(answer) and 50 <= int(answer["age"]) <= 60
    stale = at(fleet[0], cache_origin, "/stale")
    before = redis.keys()
    stale.on(fresh(b"x", "max-age=0, stale-while-revalidate=60"))
    stale.get()
    put(redis, at(fleet[0], cache_origin, "/marker"), fresh(b"m"))
    assert redis.keys() == before + 1


def test_what_is_stale_in_memory_is_had_fresh_from_the_fleet(fleet, redis, cache_origin):
    a, b = (at(n, cache_origin, "/renewed") for n in fleet)
    put(redis, a, fresh(b"old", "max-age=4"), fresh(b"new body"))
    assert b.get().body == b"old"
    outlive(4)
    assert a.get().body == b"new body" and a.asked == 2
    wait_until(lambda: any(redis.value(k).endswith(b"new body") for k in redis.names()), 10, "the new one in Redis")
    answer = b.get()
    assert is_shared(answer) and answer.body == b"new body" and b.asked == 2


def test_variants_stand_beside_each_other(fleet, redis, cache_origin):
    a, b = (at(n, cache_origin, "/varied") for n in fleet)
    a.on(lambda request, number: fresh(request["x-kind"].encode(), Vary="X-Kind"))
    for kind in "xy":
        put(redis, a, headers=[("X-Kind", kind)])
    for kind in "yx":
        answer = b.get([("X-Kind", kind)])
        assert is_shared(answer) and answer.body == kind.encode()
    assert b.forwarded([("X-Kind", "z")]).body == b"z"
    assert b.asked == 3


def test_what_may_not_be_stored_does_not_stand_there(fleet, redis, cache_origin):
    before = redis.keys()
    for n, control in enumerate(("no-store", "private", "no-cache", "max-age=0")):
        web = at(fleet[0], cache_origin, f"/not/{n}")
        web.on(fresh(b"x", control))
        web.get()
    put(redis, at(fleet[0], cache_origin, "/marker"), fresh(b"m"))
    assert redis.keys() == before + 1


def test_who_wants_a_fresh_answer_gets_it_from_the_origin(fleet, redis, cache_origin):
    a, b = (at(n, cache_origin, "/fresh") for n in fleet)
    put(redis, a, fresh(b"x", Age="50"))
    assert not is_shared(b.get([("Cache-Control", "max-age=10")]))
    c = at(fleet[1], cache_origin, "/fresh2")
    put(redis, at(fleet[0], cache_origin, "/fresh2"), fresh(b"x"))
    assert not is_shared(c.get([("Cache-Control", "no-cache")]))


def aging(body):
    """Stale a second after it was fetched; validated, it is good for a minute more."""
    def answer(request, number):
        if "if-none-match" in request.fields:
            return Answer(304, {"Cache-Control": "max-age=60", "ETag": '"v"', "Age": "0"})
        return fresh(body, "max-age=60", ETag='"v"', Age="59")
    return answer


def test_what_is_stale_there_is_validated_and_good_again(fleet, redis, cache_origin):
    a, b = (at(n, cache_origin, "/aging") for n in fleet)
    put(redis, a, aging(b"the page"))
    outlive(1)
    answer = b.forwarded()
    assert answer.status == 200 and answer.body == b"the page"
    assert cache_status(answer).get("fwd-status") == 304
    assert b.hit().body == b"the page"


def test_what_one_node_has_validated_no_other_one_validates(fleet, redis, cache_origin):
    a, b = (at(n, cache_origin, "/aging2") for n in fleet)
    put(redis, a, aging(b"the page"))
    assert is_shared(b.get())
    outlive(1)
    assert cache_status(a.forwarded()).get("fwd-status") == 304

    def answer_is_shared():
        answer = b.get()
        assert answer.body == b"the page"
        return is_shared(answer) and b.asked == 2
    assert answer_is_shared()


def test_what_was_purged_softly_is_validated(fleet, redis, cache_origin):
    a, b = (at(n, cache_origin, "/soft") for n in fleet)
    put(redis, a, validated(b"x", etag='"v"', control="max-age=600"))
    purge(fleet[0], url="http://t.example/soft", soft=True)
    wait_until(lambda: fleet[1].admin.json("/api/v1/cache")["purges"] > 0, 10, "the purge at the other node")
    assert cache_status(b.forwarded()).get("fwd-status") == 304


def test_who_followed_and_wants_it_younger_asks_for_himself(fleet, redis, cache_origin):
    a, b = (at(n, cache_origin, "/younger") for n in fleet)
    put(redis, a, fresh(b"old", Age="50"), fresh(b"new"))
    redis.signal(signal.SIGSTOP)
    clients = [fleet[1].client() for _ in range(3)]
    for client, headers in zip(clients, ([], [("Cache-Control", "max-age=10")], [])):
        client.send_request("GET", "/younger", host="t.example", headers=headers)
        fleet[1].await_metric("weir_cache_fills", 1)
    redis.signal(signal.SIGCONT)
    first, younger, last = (client.read_response() for client in clients)
    assert is_shared(first) and first.body == b"old"
    assert younger.body == b"new" and cache_status(younger).get("fwd") == "request"
    assert last.body in (b"old", b"new")


def test_a_head_that_contradicts_what_is_there_is_believed(fleet, redis, cache_origin):
    a, b = (at(n, cache_origin, "/head") for n in fleet)
    put(redis, a, fresh(b"old", ETag='"1"'), fresh(b"new", ETag='"2"'))
    a.get([("Cache-Control", "no-cache")], method="HEAD")
    assert a.get().body == b"new"


def test_an_answer_that_is_for_nobody_else_ends_what_is_there(fleet, redis, cache_origin):
    a, b = (at(n, cache_origin, "/ended") for n in fleet)
    put(redis, a, fresh(b"old"), fresh(b"new", "private"))
    assert a.get([("Cache-Control", "no-cache")]).body == b"new"
    wait_until(lambda: b.get().body == b"new", 10, "the purge at the other node")


def test_many_clients_ask_redis_once_together(fleet, redis, cache_origin):
    a, b = (at(n, cache_origin, "/crowd") for n in fleet)
    put(redis, a, fresh(b"x" * 100000))
    clients = [fleet[1].client() for _ in range(8)]
    for client in clients:
        client.send_request("GET", "/crowd", host="t.example")
    assert all(client.read_response().body == b"x" * 100000 for client in clients)
    assert b.asked == 1


@pytest.mark.parametrize("what", ["url", "prefix", "tag", "all"])
def test_a_purge_at_one_node_is_one_at_all(fleet, redis, cache_origin, what):
    a, b = (at(n, cache_origin, "/purged/page") for n in fleet)
    put(redis, a, fresh(b"old", Surrogate_Key="red blue"), fresh(b"new", Surrogate_Key="red blue"))
    assert is_shared(b.get())
    purge(fleet[0], **{"url": {"url": "http://t.example/purged/page"}, "prefix": {"prefix": "http://t.example/purged/"},
                       "tag": {"tag": "blue"}, "all": {"all": True}}[what])
    wait_until(lambda: not b.is_stored(), 10, "the purge at the other node")
    assert b.get().body == b"new"
    assert b.asked == 2


def test_an_unsafe_request_at_one_node_counts_at_all(fleet, redis, cache_origin):
    a, b = (at(n, cache_origin, "/form") for n in fleet)
    put(redis, a, fresh(b"x"))
    assert is_shared(b.get())
    a.get(method="POST")
    wait_until(lambda: not b.is_stored(), 10, "the other node noticing")
    b.forwarded()


def test_a_redis_that_is_killed_and_started_again_under_load_fails_no_request(fleet, redis, cache_origin):
    def load(seconds_of):
        for n in range(60):
            for weir in fleet:
                assert at(weir, cache_origin, f"/load/{seconds_of}/{n % 20}").get().status == 200
    load("before")
    redis.kill()
    load("away")
    redis.start()
    load("back")
    share(redis, cache_origin, *fleet)


def test_a_redis_that_stands_still_costs_its_deadline_a_few_times_and_then_nothing(node, redis, cache_origin):
    a, b = node(deadline="200ms"), node(deadline="200ms")
    share(redis, cache_origin, a, b)
    redis.signal(signal.SIGSTOP)
    for n in range(30):
        assert at(a, cache_origin, f"/still/{n}").get().status == 200
    a.await_log("redis is left alone for a while")
    redis.signal(signal.SIGCONT)
    share(redis, cache_origin, a, b)


def test_without_a_redis_requests_are_answered_and_it_is_told(site, redis, cache_origin):
    redis.kill()
    weir = site([{"upstream": "origin", "cache": True}], {"origin": cache_origin.address},
                cache={"redis": {"address": redis.address, "retry": "20ms"}})
    assert at(weir, cache_origin, "/x").get().status == 200
    weir.await_log("redis is not used")
    redis.start()
    weir.await_log("redis is used")


def test_a_client_that_leaves_while_redis_is_asked_takes_nobody_with_it(fleet, redis, cache_origin):
    b = at(fleet[1], cache_origin, "/left")
    redis.signal(signal.SIGSTOP)
    with fleet[1].client() as client:
        client.send_request("GET", "/left", host="t.example")
    redis.signal(signal.SIGCONT)
    assert b.get().status == 200


def test_a_reload_turns_it_on_and_off(site, redis, node, cache_origin):
    other = node()
    weir = site([{"upstream": "origin", "cache": True}], {"origin": cache_origin.address}, workers=1)
    weir.reload(cache={"redis": {"address": redis.address, "deadline": "5s", "retry": "20ms"}})
    share(redis, cache_origin, weir, other)
    weir.reload(cache={})
    put(redis, at(other, cache_origin, "/off"), fresh(b"x"))
    assert not is_shared(at(weir, cache_origin, "/off").get())


def test_a_value_that_was_changed_is_not_used(fleet, redis, cache_origin):
    a, b = (at(n, cache_origin, "/tampered") for n in fleet)
    put(redis, a, fresh(b"good", X_Own="value"))
    key = next(k for k in redis.names() if b"/tampered" in redis.value(k))
    redis.set(key, redis.value(key).replace(b"value", b"va\r\nX"))
    assert not is_shared(b.get())
