"""Collapsing: one fetch for many who wait, given to all as it arrives; what happens when someone of them, or the origin, goes."""

import threading

import pytest

from harness import Answer, Cached, Gate, RawClient, cache_status, fresh, outlive, validated, wait_until
from harness.crowd import Crowd
from harness.http_backend import pattern
from harness.raw_client import trusting
from test_h2 import H2

MiB = 1 << 20


def start(site, origin, listeners=None, cache=True):
    return site([{"upstream": "origin", "cache": cache, "retries": {"attempts": 0}}], {"origin": origin.address}, listeners,
                workers=4, cache={"memory": "128MiB", "max_object": "16MiB"})


@pytest.fixture
def web(site, cache_origin):
    return Cached(start(site, cache_origin), cache_origin, "/x")


class Asking:
    """A request that is sent now and answered later; read by a thread of its own."""

    def __init__(self, web, headers=(), method="GET", path=None):
        self.client = web.weir.client(seconds=60)
        self.answer, self.method = None, method
        self.client.send_request(method, path or web.path, headers)
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        try:
            self.answer = self.client.read_response_or_end(self.method, 60)
        except (OSError, TimeoutError, ValueError) as error:
            self.answer = error

    def finish(self):
        self.thread.join(60)
        self.client.close()
        return self.answer


def asking(web, count, **options):
    return [Asking(web, **options) for _ in range(count)]


def in_flight(web, count):
    """Waits until weir has that many client connections open: those who wait have come in."""
    web.weir.await_metric("weir_connections", lambda v: v >= count, listener="web")


def finish(all_asking):
    return [a.finish() for a in all_asking]


# -- one fetch ---------------------------------------------------------------------------------------------------------------

@pytest.mark.slow
def test_a_thousand_clients_ask_for_one_cold_object_of_ten_mebibytes(web):
    count, body, gate = 1000, pattern(10 * MiB), Gate()
    web.on(fresh(b"small"), path="/small")
    web.on(Answer(headers={"Cache-Control": "max-age=600"}, body=[body[:1000], gate, body[1000:]]))
    with Crowd(web.weir.port(), count, b"small") as crowd:
        crowd.ask("/small")
        crowd.until(crowd.whole)
        before = web.weir.rss_bytes()

        crowd.body = memoryview(body)
        crowd.ask(web.path)
        crowd.until(lambda m: m.body_bytes > 0)
        assert web.asked == 1
        assert not gate._event.is_set(), "all have the first bytes while the origin still sends"
        gate.open()
        crowd.until(crowd.whole, 100)
        grown = web.weir.rss_bytes() - before
    assert all(m.is_right and m.status == 200 for m in crowd.members)
    assert web.asked == 1
    if not web.weir.is_sanitized:
        assert grown < 4 * len(body), f"{grown / MiB:.1f} MiB for an object of 10"


@pytest.mark.parametrize("protocol", ["http1", "tls", "h2", "h2 over tls"])
def test_one_fetch_over_every_protocol_and_worker(site, cache_origin, authority, localhost_cert, protocol):
    tls = {"certificates": [{"cert": localhost_cert[0], "key": localhost_cert[1]}]}
    web = Cached(start(site, cache_origin, listeners={"web": {"tls": tls} if "tls" in protocol else {}}), cache_origin, "/x")
    body, gate = pattern(MiB), Gate()
    web.on(Answer(headers={"Cache-Control": "max-age=600"}, body=[body[:5000], gate, body[5000:]]))
    count, bodies, begun = 40, [], threading.Semaphore(0)

    def fetch_h2():
        context = trusting(authority.file, alpn=["h2"]) if "tls" in protocol else None
        with H2(web.weir.port(), tls=context) as client:
            streams = [client.request(path="/x") for _ in range(2)]
            client.until(lambda: all(client.streams[s].body for s in streams))
            begun.release(2)
            for stream in streams:
                bodies.append(client.answer(stream, 30).body)

    def fetch_h1():
        context = trusting(authority.file, alpn=["http/1.1"]) if "tls" in protocol else None
        with RawClient(web.weir.port(), tls=context, server_name="localhost" if context else None) as client:
            client.send_request(target="/x", host="localhost")
            client.read_head(20)
            first = client.read_exact(1, 20)
            begun.release()
            bodies.append(first + client.read_exact(len(body) - 1, 30))

    threads = [threading.Thread(target=fetch_h2 if "h2" in protocol else fetch_h1, daemon=True)
               for _ in range(count // 2 if "h2" in protocol else count)]
    for thread in threads:
        thread.start()
    for _ in range(count):
        assert begun.acquire(timeout=60), "a client without its first byte"
    assert web.asked == 1
    gate.open()
    for thread in threads:
        thread.join(60)
    assert len(bodies) == count and all(b == body for b in bodies)
    assert web.asked == 1


def test_those_who_wait_say_that_they_were_collapsed(web):
    gate = Gate()
    web.on(Answer(headers={"Cache-Control": "max-age=600"}, body=b"x", before=gate))
    first = asking(web, 1)
    web.origin.await_count(1, web.path)
    others = asking(web, 5)
    in_flight(web, 6)
    gate.open()
    answers = finish(first + others)
    assert [a.body for a in answers] == [b"x"] * 6
    collapsed = [cache_status(a).get("collapsed") is True or cache_status(a).is_hit for a in answers]
    assert collapsed.count(False) == 1
    assert any(cache_status(a).get("collapsed") is True for a in answers)
    assert web.asked == 1


def test_collapse_false_asks_for_each(site, cache_origin):
    web = Cached(start(site, cache_origin, cache={"collapse": False}), cache_origin, "/x")
    gate = Gate()
    web.on(Answer(headers={"Cache-Control": "max-age=600"}, body=b"x", before=gate))
    all_asking = asking(web, 4)
    wait_until(lambda: gate.waiting == 4, what="each at the origin")
    gate.open()
    assert [a.body for a in finish(all_asking)] == [b"x"] * 4


def test_many_who_find_it_stale_validate_it_once(web):
    web.store(validated(b"body", '"v"', control="max-age=1"))
    outlive(1)
    gate = Gate()
    web.on(Answer(304, {"Cache-Control": "max-age=600", "ETag": '"v"'}, before=gate))
    all_asking = asking(web, 10)
    in_flight(web, 10)
    web.origin.await_count(2, web.path)
    gate.open()
    assert [(a.status, a.body) for a in finish(all_asking)] == [(200, b"body")] * 10
    assert web.asked == 2


def test_a_body_without_a_length_is_given_as_it_arrives(web):
    gate, body = Gate(), pattern(300_000)
    web.on(Answer(headers={"Cache-Control": "max-age=600"}, body=[body[:100_000], gate, body[100_000:]], framing="chunked"))
    first = web.weir.client()
    first.send_request(target=web.path)
    first.read_head()
    second = web.weir.client()
    second.send_request(target=web.path)
    second.read_head()
    gate.open()
    first.close()
    second.close()
    wait_until(lambda: web.get().body == body, what="the whole")
    assert web.asked == 1


# -- those who leave, and those who are slow -------------------------------------------------------------------------------------

@pytest.mark.parametrize("when", ["before the head", "amid the body"])
def test_the_first_client_leaves_and_the_others_are_served(web, when):
    gate, body = Gate(), pattern(400_000)
    if when == "before the head":
        web.on(Answer(headers={"Cache-Control": "max-age=600"}, body=body, before=gate))
    else:
        web.on(Answer(headers={"Cache-Control": "max-age=600"}, body=[body[:1000], gate, body[1000:]]))
    leader = web.weir.client()
    leader.send_request(target=web.path)
    web.origin.await_count(1, web.path)
    others = asking(web, 5)
    in_flight(web, 6)
    if when == "amid the body":
        leader.read_head()
    leader.reset()
    web.weir.await_metric("weir_connections", lambda v: v <= 5, listener="web")
    gate.open()
    assert all(a.is_complete and a.body == body for a in finish(others))
    assert web.asked == 1


def test_waiters_who_leave_are_forgotten(web):
    gate = Gate()
    web.on(Answer(headers={"Cache-Control": "max-age=600"}, body=b"x", before=gate))
    leader = asking(web, 1)
    web.origin.await_count(1, web.path)
    waiters = [web.weir.client() for _ in range(20)]
    for waiter in waiters:
        waiter.send_request(target=web.path)
    in_flight(web, 21)
    for waiter in waiters:
        waiter.reset()
    web.weir.await_metric("weir_connections", 1, listener="web")
    gate.open()
    assert finish(leader)[0].body == b"x"
    assert web.hit().body == b"x"


def test_when_all_leave_the_next_one_is_served_in_full(web):
    gate, body = Gate(), pattern(200_000)
    web.on(Answer(headers={"Cache-Control": "max-age=600"}, body=[body[:1000], gate, body[1000:]]))
    clients = [web.weir.client() for _ in range(3)]
    for client in clients:
        client.send_request(target=web.path)
        client.read_head()
    for client in clients:
        client.reset()
    web.weir.await_metric("weir_connections", 0, listener="web")
    gate.open()
    answer = web.get()
    assert answer.is_complete and answer.body == body


def test_one_who_does_not_read_holds_nobody_up(web):
    body, gate = pattern(8 * MiB), Gate()
    web.on(Answer(headers={"Cache-Control": "max-age=600"}, body=[body[i:i + MiB] for i in range(0, len(body), MiB)], before=gate))
    slow = web.weir.client(receive_buffer=4096, seconds=60)
    slow.send_request(target=web.path)
    web.origin.await_count(1, web.path)
    others = asking(web, 3)
    in_flight(web, 4)
    gate.open()
    assert all(a.body == body for a in finish(others))
    assert slow.read_response(seconds=60).body == body
    slow.close()
    assert web.asked == 1


def test_clients_who_take_their_time_have_no_copies_of_the_body(web):
    body, count = pattern(8 * MiB), 100
    web.on(fresh(body))
    web.keep()
    clients = [web.weir.client(receive_buffer=4096, seconds=60) for _ in range(count)]
    before = web.weir.rss_bytes()
    for client in clients:
        client.send_request(target=web.path)
        client.read_head()
    for client in clients[:5]:
        assert client.read_exact(len(body), 60) == body
    if not web.weir.is_sanitized:
        assert web.weir.rss_bytes() - before < count * 64 * 1024
    for client in clients:
        client.close()


# -- an origin that fails ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("end", ["cut", "end"])
def test_before_the_head_a_waiter_takes_over(web, end):
    first, second = Gate(), Gate()

    def handle(request, number):
        if number == 1:
            first.pass_through()
            return end
        return Answer(headers={"Cache-Control": "max-age=600"}, body=b"good", before=second)
    web.on(handle)
    leader = asking(web, 1)
    web.origin.await_count(1, web.path)
    waiters = asking(web, 10)
    in_flight(web, 11)
    first.open()
    web.origin.await_count(2, web.path)
    second.open()
    answers = finish(leader + waiters)
    assert all(a.status in (200, 502) for a in answers)
    good = [a for a in answers if a.status == 200]
    assert len(good) >= 10 and all(a.body == b"good" for a in good)
    assert web.asked == 2


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_after_the_head_those_whose_answer_had_begun_see_a_cut(web, framing):
    gate, body = Gate(), pattern(100_000)
    broken = Answer(headers={"Cache-Control": "max-age=600"}, body=[body[:50_000], gate, "cut"], framing=framing,
                    length=100_000 if framing == "length" else None)
    web.on(broken, fresh(body))
    clients = [web.weir.client() for _ in range(5)]
    for client in clients:
        client.send_request(target=web.path)
    for client in clients:
        client.read_head()
    gate.open()
    for client in clients:
        kind = ("length", 100_000) if framing == "length" else ("chunked", 0)
        got, _, is_complete = client.read_body(kind, 10)
        assert not is_complete and body.startswith(got)
        client.close()
    answer = web.get()
    assert answer.is_complete and answer.body == body
    assert web.asked == 2


def test_an_answer_of_5xx_reaches_all_who_wait_or_each_asks_for_itself(web):
    gate = Gate()
    web.on(Answer(503, body=b"busy", before=gate))
    all_asking = asking(web, 5)
    web.origin.await_count(1, web.path)
    in_flight(web, 5)
    gate.open()
    assert [(a.status, a.body) for a in finish(all_asking)] == [(503, b"busy")] * 5
    web.on(fresh(b"well"))
    assert web.get().body == b"well", "and is not remembered as the answer"


# -- what cannot be shared -------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("headers", [{"Cache-Control": "no-store"}, {"Cache-Control": "private, max-age=60"}, {},
                                     {"Cache-Control": "max-age=60", "Set-Cookie": "a=1"}, {"Cache-Control": "max-age=60", "Vary": "*"}],
                         ids=["no-store", "private", "nothing", "set-cookie", "vary"])
def test_an_answer_for_one_releases_all_at_once_and_is_remembered(web, headers):
    first, rest, count = Gate(), Gate(), 12

    def handle(request, number):
        return Answer(headers=headers, body=str(number).encode(), before=first if number == 1 else rest)
    web.on(handle)
    leader = asking(web, 1)
    web.origin.await_count(1, web.path)
    waiters = asking(web, count - 1)
    in_flight(web, count)
    first.open()
    wait_until(lambda: rest.waiting == count - 1, 20, "all others at the origin at the same time")
    rest.open()
    answers = finish(leader + waiters)
    assert sorted(int(a.body) for a in answers) == list(range(1, count + 1)), "each got an answer of its own"

    again = Gate()
    web.on(lambda request, number: Answer(headers=headers, body=b"x", before=again))
    later = asking(web, 6)
    wait_until(lambda: again.waiting == 6, 20, "all at the origin: what cannot be shared is not waited for again")
    again.open()
    finish(later)


def test_who_asks_for_another_variant_does_not_get_the_leaders(web):
    gate = Gate()
    web.on(lambda request, number: Answer(headers={"Cache-Control": "max-age=60", "Vary": "X-Kind"}, body=request["x-kind"].encode(),
                                          before=gate if request["x-kind"] == "a" else None))
    leader = asking(web, 1, headers=[("X-Kind", "a")])
    web.origin.await_count(1, web.path)
    alike = asking(web, 3, headers=[("X-Kind", "a")])
    others = asking(web, 3, headers=[("X-Kind", "b")])
    in_flight(web, 7)
    gate.open()
    assert [a.body for a in finish(leader + alike)] == [b"a"] * 4
    assert [a.body for a in finish(others)] == [b"b"] * 3
    assert web.asked <= 4


def test_an_object_past_max_object_reaches_everyone(site, cache_origin):
    weir = site([{"upstream": "origin", "cache": True}], {"origin": cache_origin.address}, cache={"max_object": "1MiB"})
    web = Cached(weir, cache_origin, "/x")
    body = pattern(2 * MiB)
    for framing in ("length", "chunked"):
        web.on(Answer(headers={"Cache-Control": "max-age=60"}, body=[body[:MiB], body[MiB:]], framing=framing))
        answers = finish(asking(web, 6))
        assert all(a.is_complete and a.body == body for a in answers)


# -- range and HEAD join ------------------------------------------------------------------------------------------------------------------

def test_a_range_joins_the_fetch_and_is_answered_as_soon_as_its_bytes_are_there(web):
    gate, body = Gate(), pattern(300_000)
    web.on(Answer(headers={"Cache-Control": "max-age=600", "ETag": '"v"'}, body=[body[:100_000], gate, body[100_000:]]))
    whole = asking(web, 1)
    web.origin.await_count(1, web.path)
    early = web.get([("Range", "bytes=10-19")])
    assert (early.status, early.body, early["content-range"]) == (206, body[10:20], "bytes 10-19/300000")
    late = asking(web, 1, headers=[("Range", "bytes=-10")])
    in_flight(web, 2)
    assert web.asked == 1
    gate.open()
    assert finish(late)[0].body == body[-10:]
    assert finish(whole)[0].body == body
    assert web.asked == 1


def test_head_joins_the_fetch_and_does_not_wait_for_the_body(web):
    gate, body = Gate(), pattern(300_000)
    web.on(Answer(headers={"Cache-Control": "max-age=600", "X-Field": "1"}, body=[body[:1000], gate, body[1000:]]))
    whole = asking(web, 1)
    web.origin.await_count(1, web.path)
    answer = web.get(method="HEAD")
    assert (answer.status, answer["content-length"], answer["x-field"]) == (200, "300000", "1")
    gate.open()
    assert finish(whole)[0].body == body
    assert web.asked == 1


def test_a_client_with_a_condition_joins_the_fetch(web):
    gate = Gate()
    web.on(Answer(headers={"Cache-Control": "max-age=600", "ETag": '"v"'}, body=b"body", before=gate))
    whole = asking(web, 1)
    web.origin.await_count(1, web.path)
    knowing = asking(web, 1, headers=[("If-None-Match", '"v"')])
    in_flight(web, 2)
    gate.open()
    assert finish(knowing)[0].status == 304
    assert finish(whole)[0].body == b"body"
    assert web.asked == 1
