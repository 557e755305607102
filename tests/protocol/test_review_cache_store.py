"""What the store keeps apart and together: many tags, purges of others beside fetches, Vary that must not merge."""

import itertools

import pytest

from harness import Answer, Cached, Gate, fresh, validated, wait_until
from test_cache_collapse import asking, finish, in_flight
from test_cache_purge import is_gone, purge

_numbers = itertools.count()


@pytest.fixture(scope="module")
def caching(module_site, module_origin):
    return module_site([{"upstream": "origin", "cache": True, "retries": {"attempts": 0}}], {"origin": module_origin.address}, workers=2)


@pytest.fixture
def web(caching, module_origin):
    return Cached(caching, module_origin, f"/review/{next(_numbers)}")


def test_each_of_many_tags_counts(caching, web):
    web.store(fresh(b"x", Surrogate_Key=" ".join(f"t{n}" for n in range(200))))
    purge(caching, tag="t200")
    assert not is_gone(web)
    purge(caching, tag="t199")
    assert is_gone(web)


def test_what_has_more_tags_than_are_remembered_goes_with_each_purge_of_a_tag(caching, web):
    web.store(fresh(b"x", Surrogate_Key=" ".join(f"u{n}" for n in range(300))))
    purge(caching, url="http://t.example/another")
    assert not is_gone(web)
    purge(caching, tag="u299")
    assert is_gone(web)


def test_an_unsafe_request_for_another_url_parts_nobody_from_a_fetch(web):
    gate = Gate()
    web.on(Answer(headers={"Cache-Control": "max-age=60"}, body=b"x", before=gate))
    web.on(Answer(204), path=web.path + "/other")
    first = asking(web, 1)
    web.origin.await_count(1, web.path)
    assert web.get(path=web.path + "/other", method="POST").status == 204
    rest = asking(web, 5)
    in_flight(web, 6)
    gate.open()
    assert [a.body for a in finish(first + rest)] == [b"x"] * 6
    assert web.asked == 1


def test_what_is_purged_while_it_is_validated_does_not_come_back(caching, web):
    web.store(validated(b"old", '"v"', control="max-age=600"))
    gate = Gate()
    web.on(Answer(304, {"Cache-Control": "max-age=600", "ETag": '"v"'}, before=gate))
    validating = asking(web, 1, headers=[("Cache-Control", "max-age=0")])
    web.origin.await_count(2, web.path)
    purge(caching, url=f"http://t.example{web.path}")
    gate.open()
    finish(validating)
    web.on(fresh(b"new"))
    assert web.get().body == b"new"


def test_who_refuses_a_coding_decides_for_nobody_who_does_not_name_it(web):
    """The origin looks for the name alone, as many do."""
    web.on(lambda request, number: Answer(headers={"Cache-Control": "max-age=60", "Vary": "Accept-Encoding"},
                                          body=b"br" if "br" in request["accept-encoding"] else b"plain"))
    assert web.get([("Accept-Encoding", "gzip, br;q=0")]).body == b"br"
    wait_until(lambda: web.get([("Accept-Encoding", "gzip, br;q=0")])["cache-status"].find("hit") >= 0, 10, "stored")
    assert web.get([("Accept-Encoding", "gzip")]).body == b"plain"
