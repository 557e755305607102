"""The cache as an operator sees it: numbers, metrics, logs, explain, the dashboard, and how purges are named."""

import itertools
import json

import pytest

from harness import Cached, fresh, wait_until
from harness.browser import IS_THERE, Browser
from harness.raw_client import get
from harness.redis_server import RedisServer

_numbers = itertools.count()
RESULTS = {"hit", "stale", "revalidated", "miss", "bypass"}


@pytest.fixture
def caching(site, cache_origin):
    def start(cache=True, listeners=None, routes=None, **rest):
        return site(routes or [{"name": "pages", "upstream": "origin", "cache": cache}], {"origin": cache_origin.address}, listeners, **rest)
    return start


@pytest.fixture
def page(cache_origin):
    """page(weir, PATH, answer): a stored page."""
    def make(weir, path="/page", answer=None, **options):
        web = Cached(weir, cache_origin, path, **options)
        web.store(answer or fresh(b"page"))
        return web
    return make


def cache_of(weir):
    return weir.admin.json("/api/v1/cache")


def counted(weir, result):
    return weir.admin.metrics().sum("weir_cache_requests_total", result=result)


def command(weir, *arguments):
    done = weir.cli(*arguments)
    return done.returncode, done.stdout, done.stderr


def purge(weir, **what):
    answer = weir.admin.request("POST", "/api/v1/cache/purge", what)
    return answer.status, json.loads(answer.body)


# Numbers.

def test_an_empty_cache_tells_its_settings(caching):
    weir = caching()
    told = cache_of(weir)
    assert told["memory"] == 256 << 20 and told["max_object"] == 8 << 20 and told["policy"] == "lru"
    assert told["routes"] == 1 and told["objects"] == 0 and told["evictions"] == 0
    assert 0 < told["bytes"] <= told["memory"]
    assert set(told["requests"]) == RESULTS and not any(told["requests"].values())
    assert told["hit_ratio"] is None and told["advice"] is None


def test_what_requests_met_is_counted_by_result(caching, cache_origin, page):
    weir = caching({"bypass_cookie": ["session"]})
    web = page(weir)
    before = cache_of(weir)["requests"]
    web.hit()
    web.hit()
    web.forwarded([("Cookie", "session=1")])
    web.forwarded(path="/another")
    wait_until(lambda: cache_of(weir)["requests"]["miss"] == before["miss"] + 1, 10, "the numbers")
    told = cache_of(weir)
    assert told["requests"] == {**before, "hit": before["hit"] + 2, "bypass": before["bypass"] + 1, "miss": before["miss"] + 1}
    assert told["objects"] == 2
    hits, misses = told["requests"]["hit"], told["requests"]["miss"]
    assert told["hit_ratio"] == pytest.approx(hits / (hits + misses))
    for result in RESULTS:
        assert counted(weir, result) == told["requests"][result]


def test_metrics_of_the_cache_are_there_before_anything_happened(caching):
    metrics = caching().admin.metrics()
    assert {labels["result"] for labels, _ in metrics.matching("weir_cache_requests_total")} == RESULTS
    for name, kind in (("weir_cache_bytes", "gauge"), ("weir_cache_objects", "gauge"), ("weir_cache_evictions_total", "counter"),
                       ("weir_cache_requests_total", "counter")):
        assert metrics.types[name] == kind
        assert len(metrics.matching(name)) >= 1
    assert metrics.sum("weir_cache_limit_bytes") == 256 << 20


def test_bytes_and_objects_grow_with_what_is_stored_and_fall_when_it_is_purged(caching, page):
    weir = caching()
    empty = cache_of(weir)
    page(weir, answer=fresh(b"x" * 500_000))
    full = cache_of(weir)
    assert full["objects"] == 1 and 500_000 < full["bytes"] - empty["bytes"] < 600_000
    assert weir.admin.metrics().sum("weir_cache_bytes") >= full["bytes"] - 1000
    assert purge(weir, all=True)[0] == 200
    wait_until(lambda: cache_of(weir)["objects"] == 0 and cache_of(weir)["bytes"] < empty["bytes"] + 100_000, 10, "the memory back")
    assert cache_of(weir)["purges"] == 1


def test_weir_status_has_a_line_of_the_cache(caching, page):
    weir = caching()
    page(weir).hit()
    status, out, err = command(weir, "status")
    line = [line for line in out.splitlines() if line.startswith("cache ")]
    assert status == 0 and len(line) == 1 and "lru" in line[0] and "1 objects" in line[0] and "of 256.0 MiB" in line[0], out


def test_weir_status_says_nothing_of_a_cache_that_no_route_has(caching):
    weir = caching(cache=False)
    status, out, _ = command(weir, "status")
    assert status == 0 and not any(line.startswith("cache ") for line in out.splitlines())


def test_weir_top_tells_of_the_cache(caching, page):
    weir = caching()
    web = page(weir)
    web.hit()
    status, out, err = command(weir, "top", "--once", "--json", "-d", "0.1")
    told = json.loads(out)["cache"]
    assert status == 0 and told["objects"] == 1 and told["memory"] == 256 << 20 and told["hit_ratio"] is None, err
    assert "cache no requests, " in command(weir, "top", "--once", "-d", "0.1")[1].splitlines()[0]


def test_the_api_tells_which_routes_have_a_cache(caching):
    weir = caching(routes=[{"name": "a", "upstream": "origin", "cache": {}}, {"name": "b", "path": "/b", "upstream": "origin"},
                           {"name": "c", "path": "/c", "respond": True}], defaults={"cache": False})
    assert {r["name"]: r["cache"] for r in weir.admin.json("/api/v1/routes")["routes"]} == {"a": True, "b": False, "c": False}


# Settings while it runs.

def test_a_reload_takes_up_the_stores_settings(caching, page):
    weir = caching()
    web = page(weir)
    answer = weir.reload(cache={"memory": "32MiB", "policy": "s3fifo", "max_object": "1MiB"})
    assert any(line.startswith("cache") for line in json.loads(answer.body)["changes"]), answer.text
    told = cache_of(weir)
    assert (told["memory"], told["policy"], told["max_object"]) == (32 << 20, "s3fifo", 1 << 20)
    web.hit()


def test_a_reload_with_a_cache_that_cannot_be_is_refused(caching, page):
    weir = caching()
    web = page(weir)
    weir.change(cache={"memory": "2MiB", "max_object": "4MiB"})
    answer = weir.admin.reload()
    assert answer.status == 422 and "cache.max_object" in answer.text
    assert cache_of(weir)["memory"] == 256 << 20
    web.hit()


def test_a_process_that_stops_says_that_the_cache_is_not_kept(caching, page):
    weir = caching()
    page(weir)
    weir.stop()
    assert "what was cached is not kept" in weir.log() and "objects=1" in weir.log()


# How purges are named.

@pytest.mark.parametrize("url", [
    "http://t.example/page?a=1", "t.example/page?a=1", "HTTP://T.Example:80/page?a=1", "http://t.example./page?a=1",
    "http://t.example/x/../page?a=1", "http://t.example/%70age?a=1", "http://t.example/./page?a=1#part",
])
def test_a_url_is_read_as_a_requests_is(caching, page, url):
    weir = caching()
    web = page(weir, "/page?a=1")
    status, said = purge(weir, url=url)
    assert status == 200 and said == {"purged": {"url": "t.example/page?a=1"}, "soft": False}
    assert not web.is_stored()


def test_a_url_without_a_scheme_is_that_of_http_and_of_https(caching, page):
    weir = caching()
    plain, with_port = page(weir), page(weir, host="t.example:443")
    assert purge(weir, url="t.example:443/page")[0] == 200
    assert not plain.is_stored() and not with_port.is_stored()


@pytest.mark.parametrize("url", ["http://t.example/page", "http://t.example/page?a=1&", "http://t.example:8080/page?a=1", "http://t.example/Page?a=1",
                                 "https://t.example:80/page?a=1"])
def test_another_url_is_another(caching, page, url):
    weir = caching()
    web = page(weir, "/page?a=1")
    assert purge(weir, url=url)[0] == 200
    assert web.is_stored()


def test_a_url_reaches_what_is_stored_without_the_parameters_that_do_not_count(caching, page):
    weir = caching({"ignore_query": ["utm_*"], "sort_query": True})
    web = page(weir, "/page?b=2&utm_source=x&a=1")
    assert purge(weir, url="http://t.example/page?utm_campaign=y&b=2&a=1")[0] == 200
    assert not web.is_stored()


def test_a_url_reaches_what_is_stored_under_a_key_of_the_routes_own(caching, page):
    weir = caching({"key": "${host}${path}${header.x-kind}"})
    web = page(weir, "/page")
    web.forwarded([("X-Kind", "b")])
    web.await_stored([("X-Kind", "b")])
    assert purge(weir, url="http://t.example/page")[0] == 200
    assert not web.is_stored() and not web.is_stored([("X-Kind", "b")])


def test_a_host_as_a_prefix_is_that_host_alone(caching, page):
    weir = caching()
    mine, other = page(weir), page(weir, host="t.example.other")
    status, said = purge(weir, prefix="http://T.example")
    assert status == 200 and said["purged"] == {"prefix": "t.example/"}
    assert not mine.is_stored() and other.is_stored()


@pytest.mark.parametrize("body, word", [
    ({}, "say what"), ({"soft": True}, "say what"), ({"url": "http://t.example/", "tag": "x"}, "at a time"), ({"all": False}, "true"), ({"all": "yes"}, "true"),
    ({"url": 3}, "text"), ({"tag": ""}, "text"), ({"tag": "a b"}, "tag"), ({"tag": "a,b"}, "tag"), ({"url": "/page"}, "host"), ({"url": "http:///page"}, "host"),
    ({"url": "ftp://t.example/"}, "http"), ({"url": "http://t.example/%zz"}, "escape"), ({"url": "http://t.example/../../x"}, "root"),
    ({"url": "http://t.example/ä"}, "ASCII"), ({"ulr": "http://t.example/"}, 'did you mean \\"url\\"'), ({"all": True, "soft": "yes"}, "soft"),
])
def test_a_purge_that_is_not_understood_says_why_and_purges_nothing(caching, page, body, word):
    weir = caching()
    web = page(weir)
    answer = weir.admin.request("POST", "/api/v1/cache/purge", body)
    assert answer.status == 400 and answer["content-type"] == "application/problem+json" and word in answer.text, answer.text
    assert web.is_stored()
    assert cache_of(weir)["purges"] == 0


def test_a_page_of_another_site_purges_nothing(caching, page):
    weir = caching()
    web = page(weir)
    answer = get(weir.admin.port, "/api/v1/cache/purge", [("Origin", "http://evil.example")], host=f"127.0.0.1:{weir.admin.port}", method="POST",
                 body=b'{"all": true}')
    assert answer.status == 403
    assert web.is_stored()


@pytest.mark.parametrize("arguments, said", [
    (["http://T.example/page"], "purged: url t.example/page\n"), (["--prefix", "t.example/pa"], "purged: prefix t.example/pa\n"),
    (["--tag", "news"], "purged: tag news\n"), (["--all"], "purged: everything\n"), (["--soft", "--tag", "news"], "made stale: tag news\n"),
])
def test_the_command_says_what_went(caching, page, arguments, said):
    weir = caching()
    web = page(weir, answer=fresh(b"x", Surrogate_Key="news"))
    assert command(weir, "purge", *arguments)[:2] == (0, said)
    assert not web.is_stored()


@pytest.mark.parametrize("arguments", [[], ["--soft"], ["--all", "http://t.example/"], ["--tag"], ["--tag", "a", "--prefix", "b"], ["--tog", "x"]])
def test_a_wrong_call_of_the_command_purges_nothing(caching, page, arguments):
    weir = caching()
    web = page(weir)
    status, out, err = command(weir, "purge", *arguments)
    assert status == 2 and out == "" and err.startswith("weir purge: ") and "weir help purge" in err
    assert web.is_stored()


def test_a_url_that_the_command_cannot_read_is_a_failure(caching):
    status, out, err = command(caching(), "purge", "/page")
    assert status == 1 and out == "" and "begins with its host" in err


def test_a_purge_is_logged(caching):
    weir = caching()
    purge(weir, tag="news", soft=True)
    weir.await_log("purged", "what=tag", "text=news", "soft=true")


# Logs.

def test_the_access_log_tells_what_the_cache_did(caching, page, tmp_path):
    log = tmp_path / "access.log"
    weir = caching(routes=[{"upstream": "origin", "cache": True}, {"path": "/plain", "upstream": "origin"}],
                   log={"access": {"output": str(log), "format": "json"}})
    page(weir).hit()
    weir.get("/plain")
    lines = wait_until(lambda: log.exists() and len(log.read_text().splitlines()) >= 4 and [json.loads(line) for line in log.read_text().splitlines()], 10, "lines")
    told = {line["request_id"]: line.get("cache") for line in lines if line["target"] == "/page"}
    assert set(told.values()) >= {"hit", "miss"}
    assert all("cache" not in line for line in lines if line["target"] == "/plain")


def test_cache_is_a_variable_of_logs_and_of_header_edits(caching, page, tmp_path):
    log = tmp_path / "access.log"
    weir = caching(routes=[{"upstream": "origin", "cache": True, "response_headers": {"set": {"x-cache": "${cache}"}}}],
                   log={"access": {"output": str(log), "format": "<${target} ${cache}>"}})
    web = page(weir)
    assert web.hit()["x-cache"] == "hit"
    assert web.get(path="/other")["x-cache"] == "miss"
    wait_until(lambda: "</page hit>" in log.read_text() and "</other miss>" in log.read_text(), 10, "lines")


# Explain.

def explain(weir, *arguments):
    status, out, err = command(weir, "explain", *arguments)
    assert status == 0, err
    lines = out.splitlines()
    if "cache" not in lines:
        return None
    at = lines.index("cache") + 1
    return [" ".join(line.split()) for line in itertools.takewhile(bool, lines[at:])]


def test_explain_tells_the_key_and_the_url_that_a_purge_names(caching):
    weir = caching({"ignore_query": ["utm_*"], "key_headers": ["x-kind"], "key_cookies": ["lang"]})
    told = explain(weir, "-H", "X-Kind: a", "-H", "Cookie: lang=de", "GET", "http://T.example/x/../a?utm_x=1&b=2")
    assert "http://t.example/a?b=2" in told and "purged as t.example/a?b=2" in told
    assert any("x-kind" in line and line.endswith("a") for line in told) and any("lang" in line and line.endswith("de") for line in told)


@pytest.mark.parametrize("headers, method, reason", [
    ([], "POST", "method"), (["Cache-Control: no-store"], "GET", "no-store"), (["Cookie: session=1"], "GET", "cookie"),
])
def test_explain_tells_why_the_cache_is_bypassed(caching, headers, method, reason):
    weir = caching({"bypass_cookie": ["session"]})
    told = explain(weir, *[a for h in headers for a in ("-H", h)], method, "http://t.example/a")
    assert len(told) == 1 and told[0].startswith(f"bypassed {reason}: ")


def test_explain_says_nothing_of_a_cache_that_the_route_has_not(caching):
    weir = caching(routes=[{"upstream": "origin"}])
    assert explain(weir, "GET", "http://t.example/a") is None


def test_the_api_explains_the_key_that_the_data_path_uses(caching, cache_origin):
    """Requests that explain gives one key are answered by one fetch, others are not."""
    weir = caching({"key": "${host}${path}?${query}", "ignore_query": ["utm_*"], "sort_query": True})

    def key(target):
        answer = weir.admin.request("POST", "/api/v1/explain", {"url": f"http://t.example{target}"})
        told = json.loads(answer.body)["cache"]
        assert told["lookup"] is True and told["reason"] is None
        return told["key"]
    assert key("/a?x=1&y=2") == key("/a?y=2&utm_source=z&x=1") != key("/a?x=1")
    targets = ["/a?x=1&y=2", "/a?y=2&x=1", "/a?y=2&utm_source=z&x=1", "/a?x=1", "/a?x=1&y=3", "/a", "/a?", "/b"]
    for one, two in itertools.combinations(targets, 2):
        root = f"/{next(_numbers)}"
        web = Cached(weir, cache_origin, root + one)
        web.forwarded()
        web.await_stored()
        assert web.is_stored(path=root + two) == (key(one) == key(two)), (one, two)
    told = json.loads(weir.admin.request("POST", "/api/v1/explain", {"method": "PUT", "url": "http://t.example/a"}).body)["cache"]
    assert {k: told[k] for k in ("lookup", "reason", "key", "url", "result")} == {
        "lookup": False, "reason": "method", "key": None, "url": "t.example/a", "result": "bypass"}


# The dashboard.

SHOWN = """
    const look = () => {
        const text = id => document.getElementById(id).textContent;
        if (document.getElementById("cache-card").hidden || text("cache-hits") === "–") { setTimeout(look, 50); return; }
        done({objects: text("cache-objects"), results: text("cache-results"), memory: text("cache-memory"), hits: text("cache-hits")});
    };
    look();
"""
PURGE = """
    document.getElementById("purge-what").value = arguments[0];
    document.getElementById("purge-what").dispatchEvent(new Event("change"));
    document.getElementById("purge-text").value = arguments[1];
    document.getElementById("purge").requestSubmit();
    document.getElementById("dialog-yes").click();
    const look = () => {
        const message = document.getElementById("message");
        const text = document.getElementById("message-text").textContent;
        if (message.hidden) setTimeout(look, 50); else done([text, message.classList.contains("bad")]);
    };
    look();
"""


@pytest.mark.skipif(not IS_THERE, reason="no chromium and chromedriver here")
def test_the_dashboard_shows_the_cache_and_purges(caching, page, tmp_path):
    weir = caching()
    web = page(weir)
    web.hit()
    with Browser(tmp_path / "browser") as browser:
        browser.open(f"http://127.0.0.1:{weir.admin.port}/")
        shown = browser.run(SHOWN)
        assert shown["objects"] == "1" and "256 MiB, lru" in shown["memory"] and "hit " in shown["results"], shown
        assert browser.run(PURGE, "url", "http://t.example/page") == ["Purged: url t.example/page", False]
        assert not web.is_stored()
        browser.open(f"http://127.0.0.1:{weir.admin.port}/")
        browser.run(SHOWN)
        said, is_bad = browser.run(PURGE, "url", "/page")
        assert is_bad and "begins with its host" in said


# The second tier.

@pytest.mark.skipif(not RedisServer.is_there(), reason="no redis-server")
def test_redis_is_told_of_while_it_is_there_and_while_it_is_not(site, cache_origin, page, tmp_path):
    redis = RedisServer(tmp_path / "redis").start()
    try:
        weir = site([{"upstream": "origin", "cache": True}], {"origin": cache_origin.address}, workers=1,
                    cache={"redis": {"address": redis.address, "deadline": "5s", "retry": "20ms"}})

        def told():
            return cache_of(weir)["redis"]
        numbers = itertools.count()

        def is_used():
            page(weir, f"/{next(numbers)}")
            return told()["misses"] > 0 and told()["puts"] > 0
        wait_until(is_used, 20, "a look-up in Redis")
        assert told()["state"] == "up" and told()["reason"] == "" and told()["synced"] and told()["workers_up"] == 1
        assert told()["address"] == redis.address
        metrics = weir.admin.metrics()
        assert metrics.sum("weir_cache_redis_lookups_total", result="miss") > 0 and metrics.sum("weir_cache_redis_synced") == 1
        assert f"cache's redis {redis.address}: up" in command(weir, "status")[1]
        redis.close()
        wait_until(lambda: told()["state"] == "away" and told()["reason"], 20, "Redis being away")
        assert f"cache's redis {redis.address}: away: " in command(weir, "status")[1]
        page(weir, "/after").hit()
    finally:
        redis.close()


def test_without_redis_nothing_is_told_of_it(caching):
    weir = caching()
    assert cache_of(weir)["redis"] is None
    assert not weir.admin.metrics().matching("weir_cache_redis_lookups_total")
