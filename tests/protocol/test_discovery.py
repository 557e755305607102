"""Servers that come and go: behind a DNS name, SRV records, a file, or by hand; and what stays as it was meanwhile."""

import json
import os
import threading

import pytest

from harness import DnsServer, Reply, SCALE, after, free_port, wait_until
from harness.dns_server import NXDOMAIN, SERVFAIL, SILENT
from harness.raw_server import serving

NAME = "api.internal"
SRV = "_http._tcp.api.internal"
FAST = {"interval": "100ms", "timeout": "3s", "rise": 1, "fall": 1}


@pytest.fixture
def dns():
    server = DnsServer()
    yield server
    server.close()


@pytest.fixture
def fleet(http_backend):
    """Backends 127.0.0.1, 127.0.0.2, … on one port; each is named by its address."""
    port = free_port()
    return lambda count, **options: [http_backend(f"127.0.0.{i + 1}", port=port, address=f"127.0.0.{i + 1}", **options)
                                     for i in range(count)]


def serve(site, dns, servers, **rest):
    upstream = {k: rest.pop(k) for k in ("health_check", "keepalive", "tls", "balance") if k in rest}
    return site([{"upstream": "app"}], {"app": {"servers": servers, **upstream}}, environment=dns.environment if dns else {}, **rest)


def upstream(weir):
    return next(u for u in weir.admin.upstreams()["upstreams"] if u["name"] == "app")


def servers(weir):
    return sorted(s["address"] for s in upstream(weir)["servers"])


def server(weir, address):
    return next(s for s in upstream(weir)["servers"] if s["address"] == address)


def wait_for(weir, backends, seconds=10):
    wanted = sorted(b if isinstance(b, str) else b.address for b in backends)
    wait_until(lambda: servers(weir) == wanted, seconds, f"servers {wanted}")


def answers(weir, count=12):
    """Who answered; workers take a new set up a moment after the API shows it, so callers wait."""
    return {weir.get().text for _ in range(count)}


def source(weir, index=0):
    return upstream(weir)["sources"][index]


# -- dns -------------------------------------------------------------------------------------------------------------------


def test_every_address_of_a_name_is_a_server(site, dns, fleet):
    a, b = fleet(2)
    dns.set(NAME, "A", ["127.0.0.1", "127.0.0.2"])
    weir = serve(site, dns, [{"dns": f"{NAME}:{a.port}"}])
    wait_for(weir, [a, b])
    wait_until(lambda: answers(weir) == {"127.0.0.1", "127.0.0.2"})
    assert server(weir, a.address)["source"] == f"dns {NAME}:{a.port}"
    assert source(weir)["servers"] == 2 and source(weir)["reason"] == ""


def test_ipv6_addresses_are_servers_too(site, dns, fleet):
    a, = fleet(1)
    dns.set(NAME, "A", ["127.0.0.1"])
    dns.set(NAME, "AAAA", ["::1", "2001:db8::7"])
    weir = serve(site, dns, [{"dns": f"{NAME}:{a.port}"}])
    wait_for(weir, [a.address, f"[::1]:{a.port}", f"[2001:db8::7]:{a.port}"])


def test_the_answer_s_ttl_says_when_it_is_asked_again(site, dns, fleet):
    a, b = fleet(2)
    dns.set(NAME, "A", ["127.0.0.1"], ttl=1)
    weir = serve(site, dns, [{"dns": f"{NAME}:{a.port}", "refresh": "1h"}])
    wait_for(weir, [a])
    dns.set(NAME, "A", ["127.0.0.1", "127.0.0.2"], ttl=3000)
    wait_for(weir, [a, b])
    asked = dns.count(NAME, "A")
    dns.set(NAME, "A", ["127.0.0.1"], ttl=1)
    # Another name's look-ups are the clock: three of its seconds pass, and the long TTL is not over.
    clock = "clock.internal"
    dns.set(clock, "A", ["127.0.0.1"], ttl=1)
    weir.reload(upstreams={"app": {"servers": [{"dns": f"{NAME}:{a.port}", "refresh": "1h"}]},
                           "clock": {"servers": [{"dns": f"{clock}:80"}]}})
    wait_until(lambda: dns.count(clock, "A") >= 4, 30)
    assert dns.count(NAME, "A") == asked
    assert servers(weir) == sorted([a.address, b.address])


def test_the_first_request_finds_the_servers_of_a_name(site, dns, fleet):
    a, b = fleet(2)
    dns.set("one.internal", "A", ["127.0.0.1"])
    dns.set(SRV, "SRV", [(1, 1, a.port, "one.internal")])
    dns.set(NAME, "A", ["127.0.0.2"])
    weir = serve(site, dns, [{"srv": SRV}, {"dns": f"{NAME}:{b.port}"}])
    assert [weir.get().status for _ in range(8)] == [200] * 8
    assert servers(weir) == sorted([a.address, b.address])
    log = weir.log()
    assert log.index("servers have changed") < log.index("serving ")


def test_a_resolver_that_is_silent_delays_the_start_a_little_and_no_more(site, dns, fleet):
    a, = fleet(1)
    dns.answer_with(NAME, SILENT)
    weir = serve(site, dns, [{"dns": f"{NAME}:{a.port}"}, a.address])
    assert weir.get().status == 200


def test_refresh_bounds_a_long_ttl(site, dns, fleet):
    a, b = fleet(2)
    dns.set(NAME, "A", ["127.0.0.1"], ttl=3000)
    weir = serve(site, dns, [{"dns": f"{NAME}:{a.port}", "refresh": "1s"}])
    wait_for(weir, [a])
    dns.set(NAME, "A", ["127.0.0.2"], ttl=3000)
    wait_for(weir, [b])


def test_a_name_that_does_not_exist_yet_is_no_obstacle(site, dns, fleet):
    a, = fleet(1)
    weir = serve(site, dns, [{"dns": f"{NAME}:{a.port}"}])
    wait_until(lambda: NAME in source(weir)["reason"], 20)
    answer = weir.get()
    assert answer.status == 503
    assert upstream(weir)["state"] == "down" and upstream(weir)["servers"] == []
    weir.await_log("servers are not found; there are none yet")
    dns.set(NAME, "A", ["127.0.0.1"])
    wait_for(weir, [a])
    wait_until(lambda: weir.get().text == "127.0.0.1")
    assert source(weir)["reason"] == ""


@pytest.mark.parametrize("trouble", [NXDOMAIN, SERVFAIL, SILENT])
def test_trouble_keeps_the_last_answer(site, dns, fleet, trouble):
    a, b = fleet(2)
    dns.set(NAME, "A", ["127.0.0.1", "127.0.0.2"])
    weir = serve(site, dns, [{"dns": f"{NAME}:{a.port}", "refresh": "1s"}])
    wait_for(weir, [a, b])
    dns.answer_with(NAME, trouble)
    wait_until(lambda: source(weir)["reason"] != "", 40)
    assert servers(weir) == sorted([a.address, b.address])
    assert weir.get().status == 200
    dns.set(NAME, "A", ["127.0.0.2"])
    wait_for(weir, [b], 40)
    assert source(weir)["reason"] == ""
    log = weir.log()
    assert "servers=0" not in log
    assert log.count("the last answer is used") == 1 and "servers are found again" in log


def test_records_that_are_all_gone_keep_the_last_answer(site, dns, fleet):
    a, b = fleet(2)
    dns.set(NAME, "A", ["127.0.0.1"])
    weir = serve(site, dns, [{"dns": f"{NAME}:{a.port}"}])
    wait_for(weir, [a])
    dns.set(NAME, "A", [])
    wait_until(lambda: source(weir)["reason"] != "", 20)
    dns.set(NAME, "A", ["127.0.0.1", "127.0.0.2"])
    wait_for(weir, [a, b])
    assert "servers=0" not in weir.log()


def test_a_family_that_fails_keeps_its_servers_and_one_that_is_gone_loses_them(site, dns, fleet):
    a, b = fleet(2)
    v6 = f"[::1]:{a.port}"
    dns.set(NAME, "A", ["127.0.0.1"])
    dns.set(NAME, "AAAA", ["::1"])
    weir = serve(site, dns, [{"dns": f"{NAME}:{a.port}"}])
    wait_for(weir, [a, v6])
    dns.set(NAME, "AAAA", [])
    dns.set(NAME, "A", ["127.0.0.1", "127.0.0.2"])
    wait_for(weir, [a, b])


def test_a_removed_server_finishes_its_requests_and_loses_its_idle_connections(site, dns, fleet):
    gate, begun = threading.Event(), threading.Event()

    def handler(request):
        if request.target == "/slow":
            begun.set()
            gate.wait(30 * SCALE)
        return Reply(body=b"done")
    a, b = fleet(2, handler=handler)
    dns.set(NAME, "A", ["127.0.0.1"])
    weir = serve(site, dns, [{"dns": f"{NAME}:{a.port}"}])
    wait_for(weir, [a])
    wait_until(lambda: weir.get("/quick").text == "done")  # leaves an idle connection
    got = []
    slow = threading.Thread(target=lambda: got.append(weir.get("/slow", seconds=60)))
    slow.start()
    assert begun.wait(10 * SCALE)
    dns.set(NAME, "A", ["127.0.0.2"])
    wait_for(weir, [b])
    wait_until(lambda: weir.get("/quick").text == "done" and "/quick" in b.targets())
    seen = len(a.targets())
    for _ in range(8):
        weir.get("/quick")
    assert len(a.targets()) == seen
    gate.set()
    slow.join(30 * SCALE)
    assert got and got[0].status == 200 and got[0].text == "done"
    wait_until(lambda: a.ended == a.connection_count, 20, "its connections to be closed")
    assert not weir.admin.metrics().matching("weir_upstream_up", server=a.address)


def test_a_server_that_is_soon_back_is_as_it_was(site, dns, fleet):
    a, b = fleet(2)
    dns.set(NAME, "A", ["127.0.0.1", "127.0.0.2"])
    weir = serve(site, dns, [{"dns": f"{NAME}:{a.port}"}])
    wait_for(weir, [a, b])
    assert weir.admin.request("PATCH", f"/api/v1/upstreams/app/servers/{a.address}", {"weight": 7}).status == 200
    wait_until(lambda: answers(weir) >= {"127.0.0.1"})
    opened = server(weir, a.address)["connections"]["opened"]
    dns.set(NAME, "A", ["127.0.0.2"])
    wait_for(weir, [b])
    dns.set(NAME, "A", ["127.0.0.1", "127.0.0.2"])
    wait_for(weir, [a, b])
    assert server(weir, a.address)["weight"] == 7
    assert server(weir, a.address)["connections"]["opened"] >= opened > 0


def test_the_retries_of_a_server_that_leaves_stay_in_the_sum(site, dns, fleet):
    a, = fleet(1)
    dns.set(NAME, "A", ["127.0.0.1", "127.0.0.2"])  # nobody listens at the second
    weir = serve(site, dns, [{"dns": f"{NAME}:{a.port}"}])
    gone = f"127.0.0.2:{a.port}"
    wait_until(lambda: gone in servers(weir))

    def retries():
        return weir.admin.metrics().sum("weir_retries_total", upstream="app")
    wait_until(lambda: weir.get("/").status == 200 and retries() >= 3)
    told = retries()
    dns.set(NAME, "A", ["127.0.0.2"])
    wait_until(lambda: len(upstream(weir)["servers"]) == 1)
    assert retries() == told
    dns.set(NAME, "A", ["127.0.0.1", "127.0.0.2"])
    wait_until(lambda: len(upstream(weir)["servers"]) == 2)
    assert retries() == told, "it is back, and counted once"
    weir.reload(upstreams={"app": {"servers": [gone]}})
    assert retries() == told


def test_who_stays_keeps_health_and_connections(site, dns, fleet):
    a, b = fleet(2)
    dns.set(NAME, "A", ["127.0.0.1", "127.0.0.9"])
    weir = serve(site, dns, [{"dns": f"{NAME}:{a.port}"}], health_check=FAST, workers=1)
    gone = f"127.0.0.9:{a.port}"
    wait_until(lambda: server(weir, gone)["state"] == "down", 20)
    changed = server(weir, gone)["changed"]
    wait_until(lambda: weir.get().text == "127.0.0.1")
    connections = a.connection_count
    dns.set(NAME, "A", ["127.0.0.1", "127.0.0.2", "127.0.0.9"])
    wait_for(weir, [a, b, gone])
    assert server(weir, gone)["changed"] == changed
    wait_until(lambda: answers(weir) == {"127.0.0.1", "127.0.0.2"})
    assert server(weir, a.address)["connections"]["reused"] > 0
    checks = 60  # each a connection of its own
    assert a.connection_count < connections + checks


def test_tls_verifies_the_name_behind_the_address(site, dns, authority, http_backend):
    backend = http_backend("secret", tls=serving(*authority.leaf(NAME)))
    dns.set(NAME, "A", ["127.0.0.1"])
    weir = serve(site, dns, [{"dns": f"{NAME}:{backend.port}"}], tls={"ca": authority.file})
    wait_for(weir, [backend])
    wait_until(lambda: weir.get().text == "secret")


# -- srv -------------------------------------------------------------------------------------------------------------------


def test_srv_targets_are_servers_with_port_weight_and_tier(site, dns, fleet):
    a, b, c = fleet(3)
    dns.set("one.internal", "A", ["127.0.0.1"])
    dns.set("two.internal", "A", ["127.0.0.2"])
    dns.set("three.internal", "A", ["127.0.0.3"])
    dns.set(SRV, "SRV", [(10, 5, a.port, "one.internal"), (10, 0, b.port, "two.internal"), (20, 3, c.port, "three.internal")])
    weir = serve(site, dns, [{"srv": SRV, "weight": 2}])
    wait_for(weir, [a, b, c])
    shown = {s["address"]: (s["weight"], s["backup"]) for s in upstream(weir)["servers"]}
    assert shown == {a.address: (10, False), b.address: (2, False), c.address: (6, True)}
    wait_until(lambda: answers(weir, 30) == {"127.0.0.1", "127.0.0.2"})


def test_srv_records_that_change_are_followed(site, dns, fleet):
    a, b = fleet(2)
    dns.set("one.internal", "A", ["127.0.0.1"])
    dns.set("two.internal", "A", ["127.0.0.2"])
    dns.set(SRV, "SRV", [(1, 1, a.port, "one.internal")])
    weir = serve(site, dns, [{"srv": SRV}])
    wait_for(weir, [a])
    dns.set(SRV, "SRV", [(1, 1, b.port, "two.internal")])
    wait_for(weir, [b])
    wait_until(lambda: answers(weir) == {"127.0.0.2"})


def test_a_target_that_does_not_resolve_leaves_the_others(site, dns, fleet):
    a, b = fleet(2)
    dns.set("one.internal", "A", ["127.0.0.1"])
    dns.set(SRV, "SRV", [(1, 1, a.port, "one.internal"), (1, 1, b.port, "two.internal")])
    weir = serve(site, dns, [{"srv": SRV}])
    wait_for(weir, [a])
    assert "two.internal" in source(weir)["reason"]
    dns.set("two.internal", "A", ["127.0.0.2"])
    wait_for(weir, [a, b], 20)
    wait_until(lambda: source(weir)["reason"] == "")


def test_a_service_that_says_it_is_not_there_keeps_its_servers(site, dns, fleet):
    a, = fleet(1)
    dns.set("one.internal", "A", ["127.0.0.1"])
    dns.set(SRV, "SRV", [(1, 1, a.port, "one.internal")])
    weir = serve(site, dns, [{"srv": SRV}])
    wait_for(weir, [a])
    dns.set(SRV, "SRV", [(0, 0, 0, ".")])
    wait_until(lambda: source(weir)["reason"] != "", 20)
    dns.set(SRV, "SRV", [(1, 1, a.port, "one.internal"), (1, 1, a.port + 1, "one.internal")])
    wait_for(weir, [a.address, f"127.0.0.1:{a.port + 1}"])
    assert "servers=0" not in weir.log()


# -- file ------------------------------------------------------------------------------------------------------------------


def write(path, entries):
    with open(f"{path}.new", "w") as f:
        f.write(entries if isinstance(entries, str) else json.dumps(entries))
    os.rename(f"{path}.new", path)


def test_a_file_that_is_renamed_over_is_taken_up(site, fleet, tmp_path):
    a, b = fleet(2)
    path = tmp_path / "servers.yaml"
    write(path, f"- {a.address}\n")
    weir = serve(site, None, [{"file": str(path), "max_connections": 50, "refresh": "1h"}])
    wait_for(weir, [a])
    write(path, f"- {a.address}\n- {{ address: {b.address}, weight: 3 }}\n")
    wait_for(weir, [a, b])
    assert server(weir, a.address)["max_connections"] == 50
    assert server(weir, b.address)["weight"] == 3
    assert server(weir, b.address)["source"] == f"file {path}"
    wait_until(lambda: answers(weir) == {"127.0.0.1", "127.0.0.2"})


def test_a_file_that_is_written_in_place_is_taken_up(site, fleet, tmp_path):
    a, b = fleet(2)
    path = tmp_path / "servers.json"
    path.write_text(json.dumps([a.address]))
    weir = serve(site, None, [{"file": str(path), "refresh": "1h"}])
    wait_for(weir, [a])
    path.write_text(json.dumps([{"address": b.address}]))
    wait_for(weir, [b])


def test_a_link_that_is_swapped_is_followed(site, fleet, tmp_path):
    """As Kubernetes swaps a ConfigMap: servers.yaml -> ..data/servers.yaml, and ..data is renamed over."""
    a, b = fleet(2)
    mount = tmp_path / "mount"
    for version, backend in (("..1", a), ("..2", b)):
        (mount / version).mkdir(parents=True)
        (mount / version / "servers.yaml").write_text(f"[{backend.address}]")
    (mount / "..data").symlink_to("..1")
    (mount / "servers.yaml").symlink_to("..data/servers.yaml")
    weir = serve(site, None, [{"file": str(mount / "servers.yaml"), "refresh": "1h"}])
    wait_for(weir, [a])
    (mount / "..data_tmp").symlink_to("..2")
    os.rename(mount / "..data_tmp", mount / "..data")
    wait_for(weir, [b])
    (mount / "..2" / "servers.yaml").write_text(f"[{a.address}, {b.address}]")
    wait_for(weir, [a, b])


@pytest.mark.parametrize("text, where", [
    ("- 127.0.0.1:80\n- { address: 127.0.0.2:80, wieght: 2 }\n", ":2:28: "),
    ("- 127.0.0.1\n", ":1:3: "),
    ("- 127.0.0.1:80\n  - x: [\n", ":2:"),
    ("- { dns: a.example:80 }\n", "addresses alone"),
    ("", "empty"),
])
def test_a_bad_file_keeps_the_old_list_and_is_told_with_its_place(site, fleet, tmp_path, text, where):
    a, b = fleet(2)
    path = tmp_path / "servers.yaml"
    write(path, f"- {a.address}\n")
    weir = serve(site, None, [{"file": str(path)}])
    wait_for(weir, [a])
    write(path, text)
    wait_until(lambda: source(weir)["reason"] != "")
    assert str(path) in source(weir)["reason"] and where in source(weir)["reason"]
    assert servers(weir) == [a.address] and weir.get().status == 200
    write(path, [b.address])
    wait_for(weir, [b])
    assert "servers=0" not in weir.log()


def test_a_file_that_is_not_there_yet_is_no_obstacle_and_one_that_goes_keeps_its_list(site, fleet, tmp_path):
    a, = fleet(1)
    path = tmp_path / "servers.yaml"
    weir = serve(site, None, [{"file": str(path), "refresh": "1h"}])
    assert weir.get().status == 503
    assert "cannot be read" in source(weir)["reason"]
    write(path, [a.address])
    wait_for(weir, [a])
    path.unlink()
    wait_until(lambda: "cannot be read" in source(weir)["reason"])
    assert servers(weir) == [a.address]


def test_an_empty_list_is_taken_at_its_word(site, fleet, tmp_path):
    a, = fleet(1)
    path = tmp_path / "servers.yaml"
    write(path, [a.address])
    weir = serve(site, None, [{"file": str(path)}])
    wait_for(weir, [a])
    write(path, "[]")
    wait_for(weir, [])
    wait_until(lambda: weir.get().status == 503)


# -- together --------------------------------------------------------------------------------------------------------------


def test_entries_may_be_mixed_and_who_is_named_twice_is_one(site, dns, fleet, tmp_path):
    a, b, c = fleet(3)
    path = tmp_path / "servers.yaml"
    write(path, [c.address, {"address": a.address, "weight": 9}])
    dns.set(NAME, "A", ["127.0.0.1", "127.0.0.2"])
    weir = serve(site, dns, [{"address": a.address, "weight": 4}, {"dns": f"{NAME}:{a.port}"}, {"file": str(path), "backup": True}])
    wait_for(weir, [a, b, c])
    assert server(weir, a.address)["weight"] == 4 and server(weir, a.address)["source"] == "file"
    assert server(weir, c.address)["backup"] is True


def test_a_reload_begins_with_the_answer_that_is_known(site, dns, fleet):
    a, b = fleet(2)
    dns.set(NAME, "A", ["127.0.0.1"], ttl=3000)
    weir = serve(site, dns, [{"dns": f"{NAME}:{a.port}", "refresh": "1h"}])
    wait_for(weir, [a])
    dns.answer_with(NAME, SILENT)
    asked = dns.count(NAME, "A")
    weir.reload(upstreams={"app": {"servers": [{"dns": f"{NAME}:{a.port}", "refresh": "1h", "weight": 2}, b.address]}})
    assert servers(weir) == sorted([a.address, b.address])
    assert server(weir, a.address)["weight"] == 2
    assert dns.count(NAME, "A") == asked
    wait_until(lambda: answers(weir) == {"127.0.0.1", "127.0.0.2"})


def test_check_and_explain_resolve_nothing(site, dns, fleet, tmp_path):
    weir = serve(site, dns, [{"dns": f"{NAME}:80"}, {"srv": SRV}, {"file": "servers.yaml"}], start=False)
    assert weir.cli("check").returncode == 0
    done = weir.cli("explain", "GET", "http://t.example/")
    assert done.returncode == 0 and f"dns {NAME}:80" in done.stdout and f"srv {SRV}" in done.stdout, done.stdout
    assert dns.questions == []


def test_streams_and_health_checks_follow(site, dns, tcp_backend):
    a = tcp_backend(b"hello")
    dns.set(NAME, "A", ["127.0.0.1"])
    weir = site(None, {"db": {"servers": [{"dns": f"{NAME}:{a.port}"}], "health_check": {**FAST, "type": "tcp"}}},
                {"db": {"protocol": "tcp", "upstream": "db"}, "web": {}}, environment=dns.environment)
    wait_until(lambda: weir.admin.server_is_up("db", a.address))
    with weir.client("db") as client:
        assert client.read_exact(5) == b"hello"


# -- by hand ---------------------------------------------------------------------------------------------------------------


def post(weir, body, name="app"):
    return weir.admin.request("POST", f"/api/v1/upstreams/{name}/servers", body)


def delete(weir, address):
    return weir.admin.request("DELETE", f"/api/v1/upstreams/app/servers/{address}")


def test_a_server_is_added_by_hand_and_stays_over_reloads(site, fleet):
    a, b = fleet(2)
    weir = serve(site, None, [a.address])
    answer = post(weir, {"address": b.address, "weight": 3})
    assert answer.status == 201, answer.text
    shown = json.loads(answer.body)
    assert shown["address"] == b.address and shown["weight"] == 3 and shown["source"] == "hand"
    assert shown["lasts"] == "until weir stops, or DELETE"
    wait_until(lambda: answers(weir) == {"127.0.0.1", "127.0.0.2"})
    weir.reload(upstreams={"app": {"servers": [{"address": a.address, "max_connections": 9}]}})
    assert servers(weir) == sorted([a.address, b.address])
    wait_until(lambda: answers(weir) == {"127.0.0.1", "127.0.0.2"})
    assert delete(weir, b.address).status == 200
    assert servers(weir) == [a.address]
    wait_until(lambda: answers(weir) == {"127.0.0.1"})


def test_a_server_of_the_file_is_removed_by_hand_and_stays_away_until_it_is_added(site, fleet):
    a, b = fleet(2)
    weir = serve(site, None, [a.address, b.address])
    answer = delete(weir, b.address)
    assert answer.status == 200 and json.loads(answer.body)["lasts"] == "until weir stops, or POST"
    assert servers(weir) == [a.address] and upstream(weir)["removed"] == [b.address]
    weir.reload()
    assert servers(weir) == [a.address]
    assert post(weir, {"address": b.address}).status == 201
    assert servers(weir) == sorted([a.address, b.address]) and upstream(weir)["removed"] == []


def test_a_server_that_discovery_gives_can_be_removed_by_hand(site, dns, fleet):
    a, b = fleet(2)
    dns.set(NAME, "A", ["127.0.0.1", "127.0.0.2"])
    weir = serve(site, dns, [{"dns": f"{NAME}:{a.port}"}])
    wait_for(weir, [a, b])
    assert delete(weir, a.address).status == 200
    asked = dns.count(NAME, "A")
    wait_until(lambda: dns.count(NAME, "A") > asked + 1, 20)
    assert servers(weir) == [b.address]


@pytest.mark.parametrize("body, status, detail", [
    ({"address": "127.0.0.1"}, 400, "port"),
    ({"address": "127.0.0.1:80", "wieght": 2}, 400, "weight"),
    ({"address": "127.0.0.1:80", "weight": -1}, 400, "weight"),
    ({"dns": "a.example:80"}, 400, "by its address"),
    ({}, 400, "address"),
    ({"address": "${HOME}:80"}, 400, "address"),
])
def test_what_is_no_server_is_refused(site, body, status, detail):
    weir = serve(site, None, ["127.0.0.1:9"])
    answer = post(weir, body)
    assert answer.status == status and detail in answer.text, answer.text
    assert servers(weir) == ["127.0.0.1:9"]


def test_what_is_there_already_or_not_at_all_is_refused(site):
    weir = serve(site, None, ["127.0.0.1:9"])
    assert post(weir, {"address": "127.0.0.1:9"}).status == 409
    assert post(weir, {"address": "127.0.0.1:9"}, name="nobody").status == 404
    assert delete(weir, "127.0.0.1:10").status == 404


def test_changes_by_hand_need_the_token(site):
    weir = serve(site, None, ["127.0.0.1:9"], admin={"token": "geheim-geheim-geheim"})
    for method, path, body in (("POST", "/api/v1/upstreams/app/servers", {"address": "127.0.0.1:8"}),
                               ("DELETE", "/api/v1/upstreams/app/servers/127.0.0.1:9", None)):
        assert weir.admin.request(method, path, body, token=False).status == 401


def test_diff_tells_what_was_done_by_hand(site, fleet):
    a, b, c = fleet(3)
    weir = serve(site, None, [a.address, b.address])
    post(weir, {"address": c.address, "weight": 3, "backup": True})
    delete(weir, b.address)
    weir.admin.request("PATCH", f"/api/v1/upstreams/app/servers/{a.address}", {"weight": 5, "state": "drain"})
    done = weir.cli("diff")
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert f"server {c.address} was added by hand and is not in the file (weight 3, backup)" in done.stdout
    assert f"server {b.address} was removed by hand and is in the file" in done.stdout
    assert f"server {a.address} has weight 5 by hand, and 1 in the file" in done.stdout
    assert f"server {a.address} is set to drain by hand" in done.stdout
    weir.change(upstreams={"app": {"servers": [{"address": a.address, "weight": 5},
                                               {"address": c.address, "weight": 3, "backup": True}]}})
    assert "by hand and is" not in weir.cli("diff").stdout


def test_diff_tells_entries_that_come_and_go(site, dns):
    weir = serve(site, dns, ["127.0.0.1:9", {"dns": f"{NAME}:80"}])
    weir.change(upstreams={"app": {"servers": ["127.0.0.1:9", {"srv": SRV}, {"dns": f"{NAME}:80", "weight": 2}]}})
    out = weir.cli("diff").stdout
    assert f"server srv {SRV} added" in out and f"server dns {NAME}:80 weight 1 -> 2" in out, out


# -- load ------------------------------------------------------------------------------------------------------------------


def test_requests_go_on_while_servers_come_and_go_all_the_time(site, fleet, tmp_path):
    backends = fleet(4)
    path = tmp_path / "servers.yaml"
    write(path, [b.address for b in backends])
    weir = serve(site, None, [{"file": str(path)}], workers=2)
    wait_for(weir, backends)
    stop, wrong, done = threading.Event(), [], []

    def ask():
        while not stop.is_set():
            try:
                with weir.client() as client:
                    for _ in range(20):
                        answer = client.get(seconds=20)
                        done.append(answer.status)
                        if answer.status != 200:
                            wrong.append(answer.status)
            except Exception as error:  # noqa: BLE001 - any is a failure
                wrong.append(repr(error))
    clients = [threading.Thread(target=ask) for _ in range(6)]
    for client in clients:
        client.start()
    limit = after(60)
    for round_ in range(60):
        write(path, [b.address for i, b in enumerate(backends) if i == 0 or (round_ >> i - 1) & 1])
        seen = len(done)
        wait_until(lambda: len(done) > seen + 10, 20)
        if limit.passed():
            break
    write(path, [b.address for b in backends])
    wait_for(weir, backends)
    stop.set()
    for client in clients:
        client.join(30 * SCALE)
    assert not wrong, wrong[:5]
