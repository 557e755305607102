"""The admin API under random bodies - valid, nearly valid and hostile - of every endpoint that takes one. Whatever is refused has
changed nothing, every answer is JSON of a known status, and weir is healthy at the end."""

import json
import random

import pytest

from harness import RawClient, SCALE
from harness.admin_table import endpoints
from harness.control_socket import ControlSocket

KNOWN = {200, 201, 202, 400, 404, 405, 408, 409, 411, 413, 415, 417, 422, 431, 503}
ROUNDS = 150 if SCALE > 1 else 400

VALID = {
    "PATCH /api/v1/routes/{*}": [{"split": {"blue": 7, "green": 93}}, {"split": {"blue": 1}}],
    "PATCH /api/v1/upstreams/{}/servers/{*}": [{"state": "down", "weight": 9}, {"state": "up"}, {"weight": None}, {"state": "drain"}],
    "POST /api/v1/upstreams/{}/servers": [{"address": "127.0.0.1:9"}, {"address": "10.8.8.8:80", "weight": 3, "backup": True}],
    "POST /api/v1/cache/purge": [{"all": True}, {"url": "http://x/"}, {"prefix": "x/", "soft": True}, {"tag": "t"}],
    "POST /api/v1/explain": [{"url": "http://t.example/"}, {"url": "http://t.example/a?b", "method": "PUT", "headers": {"x-a": ["1", "2"]}, "client": "10.0.0.1"}],
    "POST /api/v1/reload": [{}],
}
TABLE = [e for e in endpoints() if e.method != "GET" and not e.is_local]
NAMES = ["app", "blue", "green", "10.1.1.1:80", "10.1.1.2:80", "10.8.8.8:80", "none", "%ff", "%00", "a%2fb", "%e2%82%ac", "..", "%2e%2e%2f", "x" * 300, "%", "%zz"]


@pytest.fixture(scope="module")
def weir(module_site):
    weir = module_site([{"name": "app", "split": {"blue": 50, "green": 50}}],
                       {"blue": "10.1.1.1:80", "green": "10.1.1.2:80"})
    weir.control = ControlSocket(weir.socket_file)
    return weir


def some_value(r, depth=0):
    kinds = [
        lambda: r.choice([None, True, False, "", 0, -1, 1, 65535, 65536, 1 << 31, 1 << 63, -(1 << 63), 10 ** 30, 0.5, -0.0, 1e308]),
        lambda: r.choice(["up", "down", "drain", "blue", "10.1.1.1:80", "http://t.example/", "é€😀", "\x00", "\x7f", "a\nb", "%s%n", "../../etc/passwd",
                          "' OR 1=1", "<script>", "\ud800", "x" * r.choice([60, 61, 255, 256, 5000])]),
        lambda: [some_value(r, depth + 1) for _ in range(r.randrange(4))],
        lambda: {r.choice(["weight", "state", "split", "address", "url", "all", "soft", "headers", "blue", "é" * 40, "", "x"]): some_value(r, depth + 1)
                 for _ in range(r.randrange(4))},
    ]
    return r.choice(kinds if depth < 4 else kinds[:2])()


def some_body(r, e):
    base = json.loads(json.dumps(r.choice(VALID.get(f"{e.method} {e.path}", [{}]))))
    how = r.randrange(12)
    if how < 3:
        return json.dumps(base).encode()
    if how < 6 and base:
        base[r.choice(list(base))] = some_value(r)
    elif how == 6:
        base[r.choice(["weihgt", "é" * 31, "x" * 70, "\\u0000", "__proto__", ""])] = some_value(r)
    elif how == 7:
        base = some_value(r)
    text = json.dumps(base).encode("ascii")
    if how == 8:  # no JSON any more
        at = r.randrange(len(text) + 1)
        return text[:at] + bytes([r.randrange(256)]) + text[at + r.randrange(2):]
    if how == 9:
        return r.choice([b'{"weight": NaN}', b'{"weight": Infinity}', b'{"weight": 1, "weight": 2}', b'{"a": 1e999}', b"[" * 100000, b'{"a":' * 5000,
                         b'{"split": ' * 1500 + b"1" + b"}" * 1500, b'\xff\xfe{"a": 1}', b'{"state": "\xff"}', b'{"state": "\\u0000"}', b'{"state": "\\ud800"}',
                         b"\xef\xbb\xbf{}", b"{}{}", b"{} x", b'{"weight": 007}', b"{'weight': 1}", b'{"weight": 1,}', b"\0", b"null", b"[]", b'"x"', b"1"])
    if how == 10:
        return json.dumps({r.choice(["state", "url", "address", "x"]): "y" * ((1 << 20) - 64)}).encode()
    return text


def exchange(weir, e, target, body, content_type):
    with RawClient(weir.port("admin"), seconds=20) as client:
        headers = [("Content-Type", content_type)] if content_type else []
        if e.method == "DELETE":
            body = None
        client.send_request(e.method, target, headers, body, host="127.0.0.1")
        return client.read_response(e.method, seconds=20)


@pytest.mark.parametrize("seed", range(4))
def test_what_is_refused_has_changed_nothing(weir, seed):
    r = random.Random(f"admin {seed}")
    before = weir.control.state()
    accepted = refused = 0
    for _ in range(ROUNDS):
        e = r.choice(TABLE)
        target = e.target(*[r.choice(NAMES[:5] if r.random() < 0.7 else NAMES) for _ in range(e.argument_count)])
        body = some_body(r, e)
        answer = exchange(weir, e, target, body, r.choice(["application/json"] * 9 + ["text/plain", None]))
        told = (e.method, target, body[:200], answer.status, answer.body[:300])
        assert answer.status in KNOWN, told
        assert answer.status != 503, told
        value = json.loads(answer.body)
        after = weir.control.state()
        if answer.status >= 400:
            refused += 1
            assert answer["content-type"] == "application/problem+json" and value["status"] == answer.status and value["detail"], told
            assert {**after, "generation": None} == {**before, "generation": None}, told
            assert answer.status == 422 or after["generation"] == before["generation"], told
        else:
            accepted += 1
        before = after
    assert accepted > ROUNDS / 20 and refused > ROUNDS / 4
    assert weir.admin.health().status == 200 and weir.is_running()


def test_raw_noise_is_answered_or_closed(weir):
    r = random.Random("noise")
    before = weir.control.state()
    whole = b"PATCH /api/v1/upstreams/blue/servers/10.1.1.1:80 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 13\r\n\r\n{\"weight\": x}"
    for _ in range(ROUNDS):
        noise = bytearray(whole)
        for _ in range(r.randrange(1, 6)):
            at = r.randrange(len(noise))
            noise[at:at + r.randrange(3)] = bytes(r.choice(b"\r\n\0 :/%{}\"\xff0aA") for _ in range(r.randrange(4)))
        with RawClient(weir.port("admin")) as client:
            client.send_quietly(bytes(noise))
            client.half_close()
            client.read_to_end(seconds=20)
            assert not client.received or client.received.startswith(b"HTTP/1.1 ")
    assert weir.admin.health().status == 200
    after = weir.control.state()
    assert after == before
