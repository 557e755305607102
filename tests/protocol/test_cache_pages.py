"""Large stored bodies, whose pages go into the sockets without a copy: what clients get stays true whatever becomes of the object."""

import hashlib
import os
import random
import re
import socket
import threading

import pytest

from harness import Answer, Cached, Gate, cache_status, fresh, wait_until
from harness.deadline import SCALE
from harness.http_backend import pattern
from harness.raw_client import build_request, trusting
from test_h2 import H2

KiB, MiB = 1 << 10, 1 << 20
BODY = pattern(4 * MiB)
SIZES = [15 * KiB, 16 * KiB, 20_001, 64 * KiB - 1, 64 * KiB, 64 * KiB + 1, 100 * KiB, 333_333, MiB, 3 * MiB + 7]


def start(site, origin, memory="64MiB", workers=2, listeners=None):
    return site([{"upstream": "origin", "cache": True, "retries": {"attempts": 0}}], {"origin": origin.address}, listeners,
                workers=workers, cache={"memory": memory})


@pytest.fixture
def web(site, cache_origin):
    return Cached(start(site, cache_origin), cache_origin, "/x")


def bytes_of(seed, count):
    return random.Random(seed).randbytes(count)


def purge(weir, **what):
    assert weir.admin.request("POST", "/api/v1/cache/purge", what).status == 200


def file_bytes(weir):
    """Memory of the file that large bodies are in."""
    folder, total = f"/proc/{weir.pid}/fd", 0
    for number in os.listdir(folder):
        try:
            if os.readlink(f"{folder}/{number}").startswith("/memfd:weir-cache"):
                total += os.stat(f"{folder}/{number}").st_blocks * 512
        except FileNotFoundError:
            pass  # closed meanwhile
    return total


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_hits_of_every_size_are_whole(web, size, chunked):
    body = BODY[:size]
    web.on(Answer(headers={"Cache-Control": "max-age=600"}, body=[body[:size // 3], body[size // 3:]]) if chunked else fresh(body))
    web.keep()
    with web.weir.client() as client:
        for _ in range(3):
            answer = client.get(web.path, seconds=20)
            assert cache_status(answer).is_hit and answer.is_complete and answer.body == body
        head = client.request("HEAD", web.path)
        assert head.body == b"" and head["content-length"] == str(size)
    if size >= 64 * KiB:
        assert size - 8 * KiB <= file_bytes(web.weir) <= size + 8 * KiB


def test_a_client_of_http_1_0_gets_all_and_then_the_end(web):
    web.on(fresh(BODY[:333_333]))
    web.keep()
    for _ in range(3):
        with web.weir.client() as client:
            client.send(build_request("GET", web.path, version="HTTP/1.0"))
            answer = client.read_response(seconds=20)
            assert answer.body == BODY[:333_333]
            client.expect_end()


def test_answers_to_pipelined_requests_follow_one_another(web):
    sizes = [100 * KiB, 1000, MiB, 20_000, 0, 333_333, 100 * KiB]
    for size in set(sizes):
        web.on(fresh(BODY[:size]), path=f"/{size}")
        Cached(web.weir, web.origin, f"/{size}").keep()
    for receive_buffer in None, 4096:
        with web.weir.client(receive_buffer=receive_buffer, seconds=60) as client:
            client.send(b"".join(build_request("GET", f"/{size}") for size in sizes))
            for size in sizes:
                answer = client.read_response(seconds=60)
                assert answer.body == BODY[:size] and answer["content-length"] == str(size)


@pytest.mark.parametrize("first, last", [(0, 0), (0, 16383), (1, 65535), (65535, 65536), (65536, 131071), (1000, 90_000), (131_072, 333_332)])
def test_ranges_come_from_where_they_are(web, first, last):
    web.on(fresh(BODY[:333_333]))
    web.keep()
    answer = web.hit([("Range", f"bytes={first}-{last}")])
    assert answer.status == 206 and answer.body == BODY[first:last + 1]


def test_several_long_ranges_are_parts_of_one_answer(web):
    web.on(fresh(BODY[:3 * MiB]))
    web.keep()
    ranges = [(2_000_000, 2_999_999), (5, 70_000), (100_000, 600_000)]
    answer = web.hit([("Range", "bytes=" + ",".join(f"{a}-{b}" for a, b in ranges))])
    boundary = re.fullmatch(r'multipart/byteranges; *boundary="?([^"]+)"?', answer["content-type"])[1].encode()
    parts = answer.body.split(b"--" + boundary)
    assert [p.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n") for p in parts[1:-1]] == [BODY[a:b + 1] for a, b in ranges]


@pytest.mark.parametrize("protocol", ["tls", "h2", "h2 over tls"])
def test_other_protocols_read_the_same_bytes(site, cache_origin, authority, localhost_cert, protocol):
    tls = {"certificates": [{"cert": localhost_cert[0], "key": localhost_cert[1]}]}
    listeners = {"web": {"tls": tls} if "tls" in protocol else {}, "plain": {}}
    web = Cached(start(site, cache_origin, listeners=listeners), cache_origin, "/x", listener="plain")
    web.on(fresh(BODY[:333_333]))
    web.keep()
    for _ in range(3):
        if protocol == "tls":
            with web.weir.client(tls=trusting(authority.file), server_name="localhost") as client:
                assert client.get("/x", host="localhost", seconds=20).body == BODY[:333_333]
        else:
            context = trusting(authority.file, alpn=["h2"]) if "tls" in protocol else None
            with H2(web.weir.port(), tls=context) as client:
                assert client.answer(client.request(path="/x"), 20).body == BODY[:333_333]


def test_who_follows_a_body_that_grows_gets_what_was_published(web):
    gates = [Gate() for _ in range(4)]
    cuts = [0, 10_000, 100_000, 400_000, 900_000, MiB]
    body = [BODY[cuts[0]:cuts[1]]]
    for i, gate in enumerate(gates):
        body += [gate, BODY[cuts[i + 1]:cuts[i + 2]]]
    web.on(Answer(headers={"Cache-Control": "max-age=600", "Content-Length": str(MiB)}, body=body))
    clients = [web.weir.client(seconds=60, receive_buffer=4096 if i % 3 == 0 else None) for i in range(12)]
    for client in clients:
        client.send_request("GET", web.path)
    for client in clients:
        assert client.read_head(20)[0] == 200
    for i, gate in enumerate([*gates, None]):
        for client in clients:
            assert client.read_exact(cuts[i + 1] - cuts[i], 60) == BODY[cuts[i]:cuts[i + 1]]
        if gate:
            gate.open()
    assert web.asked == 1
    for client in clients:
        assert client.get(web.path, seconds=20).body == BODY[:MiB]
        client.close()


class Slow:
    """Takes the head and little more; the rest when it is told to. Small buffers: what it has not taken is in queues of sockets."""

    def __init__(self, weir, path, body):
        self.client, self.body = weir.client(receive_buffer=4096, seconds=120), body
        self.client.send_request("GET", path)

    def begin(self, count):
        assert self.client.read_head(60)[0] == 200
        self.hash = hashlib.sha256(self.client.read_exact(count, 60))
        self.left = len(self.body) - count

    def finish(self):
        while self.left:
            piece = self.client.read_exact(min(self.left, 128 * KiB), 120)
            self.hash.update(piece)
            self.left -= len(piece)
        self.client.close()
        return self.hash.digest() == hashlib.sha256(self.body).digest()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["evicted", "purged"])
def test_slow_clients_get_what_they_asked_for_though_its_memory_is_used_again(site, cache_origin, how):
    weir = start(site, cache_origin, memory="24MiB")
    objects, clients = 8, 240
    bodies = [bytes_of(i, MiB) for i in range(objects)]
    for i, body in enumerate(bodies):
        Cached(weir, cache_origin, f"/{i}").on(fresh(body))
        Cached(weir, cache_origin, f"/{i}").keep()
    slow = [Slow(weir, f"/{i % objects}", bodies[i % objects]) for i in range(clients)]
    for i, each in enumerate(slow):
        each.begin(1 + i * 37 % 30_000)
    # Half of them go on while the memory is written anew; a few leave.
    for each in slow[:8]:
        each.client.reset()
    slow, wrong, stop = slow[8:], [], threading.Event()

    def refill():
        for n in range(100, 160):
            path, body = f"/new/{n}", bytes_of(n, MiB)
            cache_origin.on(path, fresh(body))
            with weir.client(seconds=60) as client:
                for _ in range(2):
                    if client.get(path, seconds=60).body != body:
                        wrong.append(path)

    if how == "purged":
        purge(weir, all=True)
    others = threading.Thread(target=refill, daemon=True)
    others.start()
    half = len(slow) // 2
    right = [each.finish() for each in slow[:half]]
    others.join(100 * SCALE)
    assert not others.is_alive() and not wrong
    right += [each.finish() for each in slow[half:]]
    assert all(right)
    assert file_bytes(weir) <= 24 * MiB


def test_the_memory_of_what_goes_is_given_back(web):
    web.on(fresh(BODY[:3 * MiB]))
    web.keep()
    assert file_bytes(web.weir) >= 3 * MiB
    purge(web.weir, url=f"http://t.example{web.path}")
    wait_until(lambda: file_bytes(web.weir) == 0, 20, "the pages are given back")


def test_a_client_that_leaves_in_the_middle_holds_nothing(web):
    web.on(fresh(BODY))
    web.keep()
    for how in "close", "reset", "half":
        client = web.weir.client(receive_buffer=4096)
        client.send_request("GET", web.path)
        client.read_exact(10_000)
        if how == "close":
            client.close()
        elif how == "reset":
            client.reset()
        else:
            client.sock.shutdown(socket.SHUT_WR)
            client.read_exact(20_000)
            client.close()
    assert web.hit().body == BODY


def test_a_reload_with_more_memory_keeps_what_is_there_and_takes_more(site, cache_origin):
    weir = start(site, cache_origin, memory="2MiB")
    web = Cached(weir, cache_origin, "/x")
    web.on(fresh(BODY[:100 * KiB]))
    web.keep()
    weir.reload(cache={"memory": "64MiB"})
    assert web.hit().body == BODY[:100 * KiB]
    for i in range(12):
        other = Cached(weir, cache_origin, f"/{i}")
        other.on(fresh(BODY[i:i + 3 * MiB]))
        other.keep()
        assert other.hit().body == BODY[i:i + 3 * MiB]
    assert file_bytes(weir) >= 30 * MiB
    assert web.hit().body == BODY[:100 * KiB]
