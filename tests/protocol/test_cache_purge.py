"""Purging: by address, prefix, tag, all; hard and soft; over the API and by `weir purge`."""

import itertools
import json

import pytest

from harness import Answer, Cached, Gate, cache_status, fresh, validated, wait_until

_numbers = itertools.count()


@pytest.fixture(scope="module")
def caching(module_site, module_origin):
    return module_site([{"upstream": "origin", "cache": True},
                        {"path": "/own/", "upstream": "origin", "cache": {"tags_header": "x-labels"}}],
                       {"origin": module_origin.address})


@pytest.fixture
def pages(caching, module_origin):
    """pages(NAME…): stored pages under a folder of the test's own; the folder is pages.root."""
    root = f"/purge/{next(_numbers)}"

    def make(*names, **fields):
        made = []
        for name in names:
            web = Cached(caching, module_origin, f"{root}/{name}")
            web.store(fresh(name.encode(), **fields))
            made.append(web)
        return made
    make.root = root
    return make


def purge(weir, **what):
    answer = weir.admin.request("POST", "/api/v1/cache/purge", what)
    assert answer.status == 200, (answer.status, answer.text)
    return json.loads(answer.body)


def is_gone(web):
    return not web.is_stored()


def test_by_url_with_every_variant_and_nothing_else(caching, pages):
    a, b = pages("a", "b")
    varied, = pages("varied", Vary="X-Kind")
    for kind in "xy":
        varied.forwarded([("X-Kind", kind)])
        varied.await_stored([("X-Kind", kind)])
    purge(caching, url=f"http://t.example{a.path}")
    assert is_gone(a)
    assert not is_gone(b)
    purge(caching, url=f"http://t.example{varied.path}")
    assert is_gone(varied)
    assert not any(varied.is_stored([("X-Kind", kind)]) for kind in "xy")
    a.forwarded()
    a.await_stored()
    a.hit()


def test_by_url_the_query_counts(caching, pages):
    web, = pages("q")
    for query in ("?1", "?2"):
        web.forwarded(path=web.path + query)
        web.await_stored(path=web.path + query)
    purge(caching, url=f"http://t.example{web.path}?1")
    assert not web.is_stored(path=web.path + "?1")
    assert web.is_stored(path=web.path + "?2") and web.is_stored()


def test_by_url_of_another_host_nothing_goes(caching, pages):
    web, = pages("a")
    purge(caching, url=f"http://other.example{web.path}")
    assert not is_gone(web)


def test_by_prefix(caching, pages):
    inside, deep, beside, outside = pages("in/a", "in/b/c", "inside", "out")
    purge(caching, prefix=f"http://t.example{pages.root}/in/")
    assert is_gone(inside) and is_gone(deep)
    assert not is_gone(beside) and not is_gone(outside)
    inside.forwarded()
    inside.await_stored()
    inside.hit()


@pytest.mark.parametrize("name", ["Surrogate_Key", "Cache_Tag"])
def test_by_tag(caching, pages, name):
    tag = pages.root.replace("/", "-")
    separator = " " if name == "Surrogate_Key" else ","
    tagged, = pages("tagged", **{name: separator.join(["first" + tag, "second" + tag])})
    other, = pages("other", **{name: "third" + tag})
    plain, = pages("plain")
    purge(caching, tag="none" + tag)
    purge(caching, tag="secon")
    assert not is_gone(tagged)
    purge(caching, tag="second" + tag)
    assert is_gone(tagged)
    assert not is_gone(other) and not is_gone(plain)
    tagged.forwarded()
    tagged.await_stored()
    tagged.hit()


def test_by_tag_of_a_header_of_the_routes_own(caching, module_origin):
    web = Cached(caching, module_origin, "/own/x")
    web.store(fresh(b"x", X_Labels="mine"))
    purge(caching, tag="mine")
    assert is_gone(web)


def test_all(site, cache_origin):
    weir = site([{"upstream": "origin", "cache": True}], {"origin": cache_origin.address})
    webs = [Cached(weir, cache_origin, f"/{i}") for i in range(5)]
    for web in webs:
        web.store()
    purge(weir, all=True)
    assert all(is_gone(web) for web in webs)
    for web in webs:
        web.forwarded()
        web.await_stored()
        web.hit()
    wait_until(lambda: weir.admin.metrics().sum("weir_cache_objects") <= 5, what="the old ones' memory")


@pytest.mark.parametrize("kind", ["url", "prefix", "tag"])
def test_a_soft_purge_makes_stale_what_can_still_be_validated(caching, module_origin, pages, kind):
    path = f"{pages.root}/soft"
    web = Cached(caching, module_origin, path)
    tag = pages.root.replace("/", "-")
    web.store(validated(b"body", '"v"', control="max-age=600", Surrogate_Key=tag))
    what = {"url": f"http://t.example{path}", "prefix": f"http://t.example{path}", "tag": tag}[kind]
    purge(caching, **{kind: what, "soft": True})
    answer = web.forwarded()
    assert (answer.status, answer.body) == (200, b"body")
    assert cache_status(answer)["fwd"] == "stale" and cache_status(answer)["fwd-status"] == 304
    web.hit()


def test_what_was_softly_purged_is_served_stale_where_that_is_allowed(caching, module_origin, pages):
    web = Cached(caching, module_origin, f"{pages.root}/grace")
    web.store(fresh(b"old", "max-age=600, stale-while-revalidate=600"), fresh(b"new"))
    purge(caching, url=f"http://t.example{web.path}", soft=True)
    assert web.get().body == b"old"
    wait_until(lambda: web.get().body == b"new", what="the new answer")


@pytest.mark.parametrize("kind", ["url", "prefix", "tag"])
@pytest.mark.parametrize("when", ["before the head", "amid the body"])
def test_what_is_fetched_during_a_purge_is_not_reused_after_it(caching, module_origin, pages, kind, when):
    gate, path, tag = Gate(), f"{pages.root}/fetched", pages.root.replace("/", "-")
    web = Cached(caching, module_origin, path)
    headers = {"Cache-Control": "max-age=600", "Surrogate-Key": tag}
    old = Answer(headers=headers, body=b"old body", before=gate) if when == "before the head" else \
        Answer(headers=headers, body=[b"old ", gate, b"body"])
    web.on(old, fresh(b"new body"))
    with caching.client() as client:
        client.send_request(target=path)
        web.origin.await_count(1, path)
        if when == "amid the body":
            client.read_head()
        purge(caching, **{kind: {"url": f"http://t.example{path}", "prefix": f"http://t.example{pages.root}/", "tag": tag}[kind]})
        gate.open()
        if when == "amid the body":
            assert client.read_exact(8) == b"old body"
        else:
            assert client.read_response().body in (b"old body", b"new body")
    if kind != "tag" or when == "amid the body":  # a head that comes after the purge brings its tags after it
        assert web.get().body == b"new body"


def test_what_is_being_sent_when_it_is_purged_stays_whole(caching, module_origin, pages):
    body = bytes(range(256)) * 8000
    web = Cached(caching, module_origin, f"{pages.root}/big")
    web.on(fresh(body))
    web.keep()
    with caching.client(receive_buffer=4096, seconds=60) as client:
        client.send_request(target=web.path)
        client.read_head()
        purge(caching, url=f"http://t.example{web.path}")
        assert client.read_exact(len(body), 30) == body
    assert is_gone(web)


@pytest.mark.parametrize("body", [{}, {"url": 5}, {"url": "not an address"}, {"all": False}, {"tag": ""}, {"unknown": "x"}, [], "x",
                                  {"url": "http://t.example/", "tag": "x"}])
def test_a_purge_that_says_nothing_purges_nothing(caching, pages, body):
    web, = pages("a")
    answer = caching.admin.request("POST", "/api/v1/cache/purge", body)
    assert answer.status in (400, 422), answer.text
    assert not is_gone(web)


def test_purging_needs_the_token(site, cache_origin):
    weir = site([{"upstream": "origin", "cache": True}], {"origin": cache_origin.address}, admin={"token": "secret"})
    web = Cached(weir, cache_origin, "/x")
    web.store()
    assert weir.admin.request("POST", "/api/v1/cache/purge", {"all": True}, token=False).status == 401
    assert not is_gone(web)
    purge(weir, all=True)
    assert is_gone(web)


# -- weir purge ------------------------------------------------------------------------------------------------------------------

def test_the_command_purges(caching, pages):
    tag = pages.root.replace("/", "-")
    a, b, c = pages("a", "b/c", "d", Surrogate_Key=tag)
    done = caching.cli("purge", f"http://t.example{a.path}")
    assert done.returncode == 0, done.stderr
    assert is_gone(a) and not is_gone(b)
    done = caching.cli("purge", "--prefix", f"http://t.example{pages.root}/b/")
    assert done.returncode == 0, done.stderr
    assert is_gone(b) and not is_gone(c)
    done = caching.cli("purge", "--tag", tag)
    assert done.returncode == 0, done.stderr
    assert is_gone(c)


def test_the_command_purges_softly_and_all(site, cache_origin):
    weir = site([{"upstream": "origin", "cache": True}], {"origin": cache_origin.address})
    web = Cached(weir, cache_origin, "/x")
    web.store(validated(b"body", '"v"', control="max-age=600"))
    assert weir.cli("purge", "--soft", "http://t.example/x").returncode == 0
    assert cache_status(web.forwarded())["fwd-status"] == 304
    assert weir.cli("purge", "--all").returncode == 0
    assert is_gone(web)


def test_a_wrong_call_says_what_is_wrong(caching):
    for arguments in ((), ("--tag",), ("--nothing",)):
        done = caching.cli("purge", *arguments)
        assert done.returncode == 2 and done.stderr
