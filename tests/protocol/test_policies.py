"""Every balancing policy through the running program: keys, weights, slow servers, zones, and what is refused."""

import json
import time

import pytest

from harness import Reply, SCALE, run_cli, wait_until
from harness.raw_client import get

from test_balancing import ask, balanced, holding, in_flight  # noqa: F401

ALL = ["round_robin", "least_connections", "random_two", "ewma", "ring_hash", "maglev", "source_hash"]
BY_KEY = ["ring_hash", "maglev"]


@pytest.fixture
def five(http_backend):
    return [http_backend(name) for name in "abcde"]


def addresses(backends):
    return [b.address for b in backends]


def by_key(weir, key, count=4, **request):
    """Who answers requests with that header, each on a connection of its own (so on any worker)."""
    return {get(weir.port(), headers=[("X-User", key)], **request).text for _ in range(count)}


# -- every policy ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("policy", ALL)
def test_every_policy_serves_and_leaves_out_what_is_down(site, five, policy):
    weir = balanced(site, addresses(five), balance=policy)
    assert set(ask(weir, 10)) <= set("abcde")
    for backend in five[:4]:
        weir.admin.request("PATCH", f"/api/v1/upstreams/app/servers/{backend.address}", {"state": "down"})
    assert set(ask(weir, 5)) == {"e"}


@pytest.mark.parametrize("policy", ALL)
def test_a_server_that_cannot_be_reached_is_left_for_another(site, five, policy):
    five[0].close()
    weir = balanced(site, addresses(five), balance=policy)
    assert "a" not in ask(weir, 20)


@pytest.mark.parametrize("policy", ["random_two", "ewma", "ring_hash", "maglev"])
def test_weights_are_kept_and_a_change_by_hand_counts_at_once(site, http_backend, policy):
    pair = [http_backend(name) for name in "ab"]
    keys = {"hash_key": "${request_id}"} if policy in BY_KEY else {}
    weir = balanced(site, [{"address": b.address, "weight": w} for b, w in zip(pair, (1, 3))], balance=policy, workers=1, **keys)
    if policy != "ewma":  # of two servers the better one wins, whatever its weight
        assert 18 <= ask(weir, 200).count("a") <= 90
    change = f"/api/v1/upstreams/app/servers/{pair[0].address}"
    assert weir.admin.request("PATCH", change, {"weight": 300}).status == 200
    wait_until(lambda: ask(weir, 50).count("a") >= (40 if policy != "ewma" else 1))
    assert weir.admin.request("PATCH", change, {"weight": 0}).status == 200
    assert "a" not in ask(weir, 20)


@pytest.mark.parametrize("policy", ["random_two", "maglev", "ring_hash", "round_robin"])
def test_a_weight_that_a_reload_brings_counts(site, http_backend, policy):
    pair = [http_backend(name) for name in "ab"]
    keys = {"hash_key": "${request_id}"} if policy in BY_KEY else {}
    weir = balanced(site, addresses(pair), balance=policy, workers=1, **keys)
    config = weir.config
    config["upstreams"]["app"]["servers"] = [{"address": pair[0].address, "weight": 60}, pair[1].address]
    weir.write(config)
    assert weir.admin.reload().status == 200
    assert ask(weir, 100).count("a") > 85


def test_random_two_goes_to_the_less_loaded(site, holding):  # noqa: F811
    servers = [holding(name) for name in "ab"]
    weir = balanced(site, [s.address for s in servers], balance="random_two")
    in_flight(weir, 20)
    wait_until(lambda: sum(s.now for s in servers) == 20)
    assert abs(servers[0].now - servers[1].now) <= 6


def test_ewma_leaves_a_slow_server_alone(site, http_backend):
    def slowly(_request):
        time.sleep(0.15)
        return Reply(body=b"slow")
    slow = http_backend("slow", handler=slowly)
    quick = [http_backend(name) for name in "abc"]
    weir = balanced(site, addresses([slow, *quick]), balance="ewma", workers=1)
    ask(weir, 40)
    assert ask(weir, 100).count("slow") <= 3
    learned = {s["address"]: s["learned_ms"] for s in weir.admin.upstreams()["upstreams"][0]["servers"]}
    assert learned[slow.address] > 50 and all(learned[b.address] for b in quick)


def test_ewma_outlives_a_reload(site, http_backend):
    def slowly(_request):
        time.sleep(0.15)
        return Reply(body=b"slow")
    slow = http_backend("slow", handler=slowly)
    quick = [http_backend(name) for name in "abc"]
    weir = balanced(site, addresses([slow, *quick]), balance="ewma", workers=1)
    ask(weir, 40)
    asked = len(slow.requests)
    assert weir.admin.reload().status == 200
    ask(weir, 60)
    assert len(slow.requests) - asked <= 2


# -- keys ----------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("policy", BY_KEY)
def test_a_header_is_a_key_and_keys_are_spread(site, five, policy):
    weir = balanced(site, addresses(five), balance=policy, hash_key="header:x-user")
    homes = {}
    for user in range(90):
        homes[user], = by_key(weir, f"user-{user}", count=2)
    assert len(set(homes.values())) == 5


@pytest.mark.parametrize("key,same,other", [
    ("cookie:sid", [("Cookie", "a=1; sid=7")], [("Cookie", "sid=%d")]),
    ("${header.x-a}-${arg.tenant}", [("X-A", "1")], [("X-A", "%d")]),
])
def test_cookies_and_templates_are_keys(site, five, key, same, other):
    weir = balanced(site, addresses(five), balance="maglev", hash_key=key)
    assert len({get(weir.port(), "/?tenant=x", headers=same).text for _ in range(6)}) == 1
    spread = {get(weir.port(), "/?tenant=x", headers=[(k, v % n) for k, v in other]).text for n in range(90)}
    assert len(spread) == 5


@pytest.mark.parametrize("key", ["host", "path"])
def test_host_and_path_are_keys(site, five, key):
    weir = balanced(site, addresses(five), balance="ring_hash", hash_key=key)

    def one(n):
        return get(weir.port(), f"/p{n}" if key == "path" else "/", host="t.example" if key == "path" else f"t{n}.example").text
    assert {one(1) for _ in range(6)} == {one(1)}
    assert len({one(n) for n in range(90)}) == 5


def test_a_request_without_its_key_goes_anywhere(site, five):
    weir = balanced(site, addresses(five), balance="maglev", hash_key="header:x-user")
    assert set(ask(weir, 100)) == set("abcde")


@pytest.mark.parametrize("policy", BY_KEY + ["source_hash"])
def test_the_clients_address_is_the_key_by_default(site, five, policy):
    weir = site([{"upstream": "app"}], {"app": {"servers": addresses(five), "balance": policy}},
                {"web": {"trusted_proxies": ["127.0.0.0/8"]}})

    def one(n):
        return get(weir.port(), headers=[("X-Forwarded-For", f"192.0.2.{n}")]).text
    assert {one(1) for _ in range(6)} == {one(1)}
    assert len({one(n) for n in range(1, 90)}) == 5


@pytest.mark.parametrize("policy", ["maglev", "source_hash"])
def test_tcp_streams_are_kept_by_the_clients_address(site, tcp_backend, policy):
    servers = [tcp_backend(greeting=name.encode()) for name in "abcde"]
    unbounded = {"hash_balance": 0} if policy == "maglev" else {}  # the stream before may not have ended yet
    weir = site([], {"app": {"servers": [s.address for s in servers], "balance": policy, **unbounded}},
                {"web": {"protocol": "tcp", "upstream": "app"}})

    def one(source):
        import socket
        with socket.create_connection(("127.0.0.1", weir.port()), 5 * SCALE, source_address=(source, 0)) as s:
            return s.recv(1)
    assert {one("127.0.0.9") for _ in range(6)} == {one("127.0.0.9")}
    assert len({one(f"127.0.1.{n}") for n in range(1, 90)}) == 5


@pytest.mark.parametrize("policy", BY_KEY)
def test_the_keys_of_a_server_that_is_down_move_and_come_back(site, five, policy):
    weir = balanced(site, addresses(five), balance=policy, hash_key="header:x-user")
    before = {n: by_key(weir, f"u{n}", count=1).pop() for n in range(90)}
    change = f"/api/v1/upstreams/app/servers/{five[2].address}"
    weir.admin.request("PATCH", change, {"state": "down"})
    during = {n: by_key(weir, f"u{n}", count=1).pop() for n in range(90)}
    assert {n for n in before if before[n] != during[n]} == {n for n in before if before[n] == "c"}
    weir.admin.request("PATCH", change, {"state": "up"})
    assert {n: by_key(weir, f"u{n}", count=1).pop() for n in range(90)} == before


@pytest.mark.parametrize("policy", BY_KEY)
def test_a_hot_key_is_bounded_and_is_not_with_0(site, holding, policy):  # noqa: F811
    servers = [holding(name) for name in "abcd"]
    weir = balanced(site, [s.address for s in servers], balance=policy, hash_key="host", workers=1)
    in_flight(weir, 20)
    wait_until(lambda: sum(s.now for s in servers) == 20)
    assert max(s.now for s in servers) <= 7  # 1.25 × 20 / 4, and one


def test_without_a_bound_a_hot_key_stays(site, holding):  # noqa: F811
    servers = [holding(name) for name in "abcd"]
    weir = balanced(site, [s.address for s in servers], balance="maglev", hash_key="host", hash_balance="0%")
    in_flight(weir, 20)
    wait_until(lambda: sum(s.now for s in servers) == 20)
    assert max(s.now for s in servers) == 20


# -- zones -----------------------------------------------------------------------------------------------------------------------

def zoned(backends, zones):
    return [{"address": b.address, "zone": z, **({"backup": True} if z == "spare" else {})} for b, z in zip(backends, zones)]


def test_the_own_zone_is_preferred_then_others_then_backups(site, http_backend):
    servers = [http_backend(name) for name in "abcd"]
    weir = balanced(site, zoned(servers, ["west", "east", "east", "spare"]), prefer_zone="east")
    assert set(ask(weir, 12)) == {"b", "c"}
    for server, left in ((servers[1], {"c"}), (servers[2], {"a"}), (servers[0], {"d"})):
        weir.admin.request("PATCH", f"/api/v1/upstreams/app/servers/{server.address}", {"state": "down"})
        assert set(ask(weir, 6)) == left


def test_the_zone_may_come_from_the_environment_and_be_empty(site, http_backend):
    servers = [http_backend(name) for name in "ab"]
    weir = balanced(site, zoned(servers, ["west", "east"]), prefer_zone="${NO_SUCH_ZONE:-}")
    assert set(ask(weir, 6)) == {"a", "b"}


def test_a_full_zone_spills_into_the_others(site, holding):  # noqa: F811
    servers = [holding(name) for name in "ab"]
    weir = balanced(site, [{"address": servers[0].address, "zone": "east", "max_connections": 2},
                           {"address": servers[1].address, "zone": "west"}], prefer_zone="east")
    in_flight(weir, 6)
    wait_until(lambda: sum(s.now for s in servers) == 6)
    assert [s.now for s in servers] == [2, 4]


# -- what is refused ----------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("keys,said", [
    ({"balance": "maglev", "hash_key": "${nope}"}, "unknown variable ${nope}"),
    ({"balance": "maglev", "hash_key": "nonsense"}, "the same for every request"),
    ({"balance": "ring_hash", "hash_key": "header:a b"}, "write ${header.NAME}"),
    ({"balance": "ring_hash", "hash_key": "${status}"}, "${status} is not known yet"),
    ({"balance": "ewma", "hash_key": "ip"}, "only with balance: ring_hash or maglev"),
], ids=["variable", "word", "name", "status", "policy"])
def test_a_key_that_cannot_be_is_refused_where_it_stands(tmp_path, keys, said):
    file = tmp_path / "weir.yaml"
    file.write_text(json.dumps({"listeners": {"web": {"bind": "127.0.0.1:8080"}}, "routes": [{"upstream": "app"}],
                                "upstreams": {"app": {"servers": ["127.0.0.1:1"], **keys}}}))
    done = run_cli("check", "-c", str(file))
    assert done.returncode == 1 and f"upstreams.app.hash_key: {said}" in done.stdout + done.stderr


@pytest.mark.parametrize("protocol, upstream, words", [
    ("tcp", {"balance": "maglev", "hash_key": "path"}, "theirs is the client's address"),
    ("udp", {"balance": "ring_hash", "hash_key": "header:x"}, "theirs is the client's address"),
    ("tcp", {"sticky": {"cookie": "id"}}, '"sticky" of upstream app is for HTTP alone'),
    ("tcp", {"hedge": True}, '"hedge" of upstream app is for HTTP alone'),
    ("udp", {"queue": True}, '"queue" of upstream app is not for datagrams'),
    ("tcp", {"balance": "maglev", "queue": True}, None),
    ("udp", {"balance": "maglev", "hash_key": "ip"}, None),
])
def test_check_warns_of_options_that_do_nothing_for_streams_and_datagrams(site, protocol, upstream, words):
    weir = site(None, {"app": {"servers": ["127.0.0.1:9"], **upstream}},
                {"raw": {"protocol": protocol, "upstream": "app", "bind": ["127.0.0.1:1"]}}, start=False)
    answer = weir.cli("check")
    said = answer.stderr + answer.stdout
    assert answer.returncode == 0 and (words in said if words else "upstream app" not in said)
