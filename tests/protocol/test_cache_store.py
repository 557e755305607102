"""The store: its budget, what it lets in, what it throws out and when, what a reload and a restart keep."""

import random
import threading

import pytest

from harness import Answer, Cached, Gate, cache_status, fresh, outlive, wait_until
from harness.deadline import SCALE
from harness.http_backend import pattern

KiB, MiB = 1 << 10, 1 << 20
BODY = pattern(8 * MiB)


def start(site, origin, route=True, **store):
    return site([{"upstream": "origin", "cache": route}], {"origin": origin.address}, cache=store)


def state(weir):
    return weir.admin.json("/api/v1/cache")


def page(weir, origin, path, size, control="max-age=3600"):
    web = Cached(weir, origin, path)
    web.on(fresh(BODY[:size], control))
    return web


# -- the budget ----------------------------------------------------------------------------------------------------------------

@pytest.mark.slow
@pytest.mark.parametrize("policy", ["lru", "s3fifo"])
def test_the_budget_is_never_passed_by_a_mix_of_sizes(site, cache_origin, policy):
    memory = 48 * MiB
    weir = start(site, cache_origin, memory="48MiB", policy=policy)
    sizes = {}
    for i in range(200):
        sizes[f"/{i}"] = int(2 ** random.Random(i).uniform(0, 23))
        cache_origin.on(f"/{i}", fresh(BODY[:sizes[f"/{i}"]]))
    cache_origin.on("/0", fresh(BODY))
    sizes["/0"] = len(BODY)
    seen, wrong, stop = [], [], threading.Event()

    def watch():
        while not stop.is_set():
            seen.append(state(weir)["bytes"])

    def ask(seed):
        chance = random.Random(seed)
        with weir.client(seconds=60) as client:
            for _ in range(250):
                path = f"/{chance.randrange(200)}"
                answer = client.get(path, seconds=60)
                if answer.status != 200 or not answer.is_complete or answer.body != BODY[:sizes[path]]:
                    wrong.append((path, answer.status, len(answer.body)))
                    return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    askers = [threading.Thread(target=ask, args=(seed,), daemon=True) for seed in range(4)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join(100 * SCALE)
        assert not asker.is_alive()
    stop.set()
    watcher.join(30)
    assert not wrong
    assert len(seen) > 5 and max(seen) <= memory
    assert max(seen) > memory // 4, "the store was used"
    assert state(weir)["memory"] == memory
    assert weir.admin.metrics().sum("weir_cache_evictions_total") > 0
    if not weir.is_sanitized:
        assert weir.rss_bytes() < 2 * memory + 96 * MiB


def test_small_objects_are_counted_with_their_heads_and_keys(site, cache_origin):
    weir = start(site, cache_origin, memory="16MiB")
    before = state(weir)["bytes"]
    with weir.client() as client:
        for i in range(200):
            client.get(f"/{'k' * 200}/{i}")
    wait_until(lambda: state(weir)["bytes"] - before > 200 * 300, what="the bytes of keys, heads and the index")


def test_a_flood_of_small_objects_stays_within_the_budget(site, cache_origin):
    weir = start(site, cache_origin, memory="4MiB")
    cache_origin.on("/flood", lambda request, number: fresh(BODY[:3000]))
    most = 0
    with weir.client() as client:
        for i in range(3000):
            client.get(f"/flood?{i}")
            if i % 100 == 0:
                most = max(most, state(weir)["bytes"])
    assert MiB < max(most, state(weir)["bytes"]) <= 4 * MiB
    weir.await_metric("weir_cache_evictions_total", lambda v: v > 100)


# -- eviction ------------------------------------------------------------------------------------------------------------------

def test_an_object_that_is_evicted_while_it_is_being_sent_stays_whole(site, cache_origin):
    weir = start(site, cache_origin, memory="24MiB")
    web = page(weir, cache_origin, "/big", 6 * MiB)
    web.keep()
    slow = weir.client(receive_buffer=4096, seconds=60)
    slow.send_request(target="/big")
    slow.read_head()
    first = slow.read_exact(1000)

    def gone():
        for i in range(40):
            cache_origin.on(f"/other/{gone.number}", fresh(BODY[:900 * KiB]))
            for _ in range(2):
                weir.get(f"/other/{gone.number}")
            gone.number += 1
        return not web.is_stored()
    gone.number = 0
    wait_until(gone, 60, "the eviction")
    rest = slow.read_exact(6 * MiB - 1000, 60)
    assert first + rest == BODY[:6 * MiB]
    slow.close()
    assert state(weir)["bytes"] <= 24 * MiB


@pytest.mark.parametrize("policy", ["lru", "s3fifo"])
def test_what_is_asked_for_often_stays_and_what_is_not_goes(site, cache_origin, policy):
    weir = start(site, cache_origin, memory="8MiB", policy=policy)
    often, seldom = page(weir, cache_origin, "/often", 20 * KiB), page(weir, cache_origin, "/seldom", 20 * KiB)
    for web in (often, seldom):
        web.forwarded()
        web.await_stored()
    cache_origin.on("/other", lambda request, number: fresh(BODY[:20 * KiB]))
    with weir.client() as client:
        for turn in range(6):  # a use counts as a new one when the last that counted is a second old
            for i in range(150):
                client.get(f"/other?{turn}-{i}")
            outlive(0)
            assert cache_status(client.get("/often")).is_hit
    assert not seldom.is_stored()
    assert often.asked == 1


# -- admission -----------------------------------------------------------------------------------------------------------------

def test_no_object_over_max_object_is_stored(site, cache_origin):
    weir = start(site, cache_origin, memory="64MiB", max_object="1MiB")
    at, over = page(weir, cache_origin, "/at", MiB - 16 * KiB), page(weir, cache_origin, "/over", MiB + 1)
    chunked = Cached(weir, cache_origin, "/chunked")
    chunked.on(Answer(headers={"Cache-Control": "max-age=60"}, body=[BODY[:MiB], BODY[MiB:MiB + 100 * KiB]], framing="chunked"))
    at.keep()
    for web, size in ((over, MiB + 1), (chunked, MiB + 100 * KiB)):
        for _ in range(3):
            answer = web.forwarded()
            assert answer.is_complete and answer.body == BODY[:size]
        assert not web.is_stored()
    assert state(weir)["bytes"] < 2 * MiB + 512 * KiB


def test_a_large_object_is_stored_at_its_second_request(site, cache_origin):
    weir = start(site, cache_origin, memory="32MiB")
    large, small = page(weir, cache_origin, "/large", 7 * MiB), page(weir, cache_origin, "/small", KiB)
    small.forwarded()
    small.await_stored()
    large.forwarded()
    large.forwarded()
    large.await_stored()
    assert large.hit().body == BODY[:7 * MiB]
    assert large.asked == 2


# -- reload and restart ----------------------------------------------------------------------------------------------------------

def test_a_reload_keeps_everything(site, cache_origin):
    weir = start(site, cache_origin, memory="32MiB")
    webs = [page(weir, cache_origin, f"/{i}", 10 * KiB) for i in range(20)]
    for web in webs:
        web.forwarded()
        web.await_stored()
    weir.reload()
    weir.reload(routes=[{"upstream": "origin", "cache": True, "response_headers": {"set": {"x-new": "1"}}}])
    for web in webs:
        assert web.hit()["x-new"] == "1"
        assert web.asked == 1


def test_a_restart_keeps_nothing_and_the_log_says_so(site, cache_origin):
    weir = start(site, cache_origin)
    web = page(weir, cache_origin, "/x", KiB)
    web.forwarded()
    web.await_stored()
    weir.stop()
    weir.await_log("begins with an empty cache", "objects=1")
    weir.start()
    assert not web.is_stored()
    web.forwarded()


def test_a_reload_gives_the_store_less_memory_and_more(site, cache_origin):
    weir = start(site, cache_origin, memory="32MiB")
    cache_origin.on("/other", lambda request, number: fresh(BODY[:500 * KiB]))
    def fill(count):
        with weir.client() as client:
            for i in range(count):
                for _ in range(2):
                    client.get(f"/other?{i}")
    fill(40)
    assert state(weir)["bytes"] > 8 * MiB
    weir.reload(cache={"memory": "8MiB"})
    wait_until(lambda: state(weir)["bytes"] <= 8 * MiB, what="a smaller store")
    assert state(weir)["memory"] == 8 * MiB
    fill(40)
    assert state(weir)["bytes"] <= 8 * MiB
    weir.reload(cache={"memory": "32MiB"})
    fill(40)
    wait_until(lambda: state(weir)["bytes"] > 8 * MiB, what="a larger store")


def test_a_route_that_loses_its_cache_at_a_reload_asks_the_origin(site, cache_origin):
    weir = start(site, cache_origin)
    web = page(weir, cache_origin, "/x", KiB)
    web.forwarded()
    web.await_stored()
    weir.reload(routes=[{"upstream": "origin"}])
    weir.get("/x")
    assert web.asked == 2


def test_a_fetch_goes_on_over_a_reload(site, cache_origin):
    gate = Gate()
    weir = start(site, cache_origin)
    web = Cached(weir, cache_origin, "/x")
    web.on(Answer(headers={"Cache-Control": "max-age=60"}, body=[BODY[:1000], gate, BODY[1000:5000]]))
    with weir.client() as client:
        client.send_request(target="/x")
        client.read_head()
        weir.reload()
        gate.open()
        assert client.read_exact(5000) == BODY[:5000]
    assert web.hit().body == BODY[:5000]


def test_a_server_that_stops_amid_a_fetch_ends_in_time(site, cache_origin):
    gate = Gate()
    weir = start(site, cache_origin)
    web = Cached(weir, cache_origin, "/x")
    web.on(Answer(headers={"Cache-Control": "max-age=60"}, body=[BODY[:1000], gate, BODY[1000:5000]]))
    client = weir.client()
    client.send_request(target="/x")
    client.read_head()
    weir.stop()
    client.close()
    gate.open()
