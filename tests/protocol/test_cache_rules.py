"""What the cache stores, reuses, validates and says of it: RFC 9111, 9110 §13 and §14, 9211, 9213, 5861, as a client and the origin see it."""

import itertools
import re

import pytest

from harness import Answer, Cached, Fields, Gate, cache_status, fresh, http_date, outlive, validated, wait_until
from harness.message import parse_fields

_paths = (f"/rules/{n}" for n in itertools.count())


def named(value):
    """A test's name, the same in every process that runs some of them."""
    return re.sub(r"\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT", "DATE", str(value))


@pytest.fixture(scope="module")
def caching(module_site, module_origin):
    route = {"upstream": "origin", "cache": True, "retries": {"attempts": 0}}
    return module_site([{**route, "path": "/told", "response_headers": {"set": {"x-cache": "${cache}"}}}, route],
                       {"origin": module_origin.address}, {"web": {}, "other": {}})


@pytest.fixture(params=["lines", "fields"])
def web(caching, module_origin, request):
    """With heads that go out as they are stored, and with heads that the route changes: what is said of one is true of the other."""
    return Cached(caching, module_origin, ("/told" if request.param == "fields" else "") + next(_paths))


@pytest.fixture
def told(caching, module_origin):
    """Of a route whose answers say in X-Cache what the cache did."""
    return Cached(caching, module_origin, "/told" + next(_paths))


# -- storing: RFC 9111 §3, §4.2 ----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("fields", [
    [("Cache-Control", "max-age=60")],
    [("Cache-Control", "s-maxage=60")],
    [("Cache-Control", "max-age=0, s-maxage=60")],
    [("Cache-Control", "public, max-age=60")],
    [("Cache-Control", "MAX-AGE=60")],
    [("Cache-Control", "max-age=60, must-revalidate, proxy-revalidate")],
    [("Cache-Control", "public"), ("Cache-Control", "max-age=60")],
    [("Cache-Control", "max-age=60, unheard-of=\"a, no-store\"")],
    [("Cache-Control", "max-age=99999999999999999999")],
    [("Cache-Control", "no-store, must-understand, max-age=60")],
    [("Cache-Control", "max-age=60"), ("Expires", http_date(-60))],
    [("Expires", http_date(86400))],
    [("Last-Modified", http_date(-10 * 86400))],
    [("Cache-Control", "no-store"), ("CDN-Cache-Control", "max-age=60")],
    [("Cache-Control", "private"), ("CDN-Cache-Control", "max-age=60")],
    [("Cache-Control", "max-age=60"), ("Pragma", "no-cache")],
], ids=named)
def test_an_answer_that_is_fresh_is_reused(web, fields):
    web.store(Answer(headers=fields, body=b"kept"))
    assert web.hit().body == b"kept"
    assert web.asked == 1


@pytest.mark.parametrize("fields", [
    [],
    [("Cache-Control", "no-store")],
    [("Cache-Control", "no-store, max-age=60")],
    [("Cache-Control", "max-age=60"), ("Cache-Control", "no-store")],
    [("Cache-Control", "private, max-age=60")],
    [("Cache-Control", "no-cache, max-age=60")],
    [("Cache-Control", "max-age=0")],
    [("Cache-Control", "max-age=60, s-maxage=0")],
    [("Cache-Control", "max-age=-60")],
    [("Cache-Control", "max-age=60"), ("Age", "61")],
    [("Cache-Control", "max-age=60"), ("Date", http_date(-100))],
    [("Expires", http_date(-60))],
    [("Expires", "0")],
    [("Cache-Control", "max-age=60"), ("Vary", "*")],
    [("Cache-Control", "max-age=60"), ("Vary", "accept, *")],
    [("Cache-Control", "max-age=60"), ("CDN-Cache-Control", "no-store")],
    [("Cache-Control", "max-age=60"), ("CDN-Cache-Control", "max-age=0")],
    [("Cache-Control", "max-age=60"), ("Set-Cookie", "session=1")],
], ids=named)
def test_an_answer_that_may_not_be_reused_is_fetched_each_time(web, fields):
    web.on(Answer(headers=fields, body=b"1"), Answer(headers=fields, body=b"2"))
    assert web.forwarded().body == b"1"
    assert web.forwarded().body == b"2"
    assert web.asked == 2


@pytest.mark.parametrize("status", [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501])
def test_a_status_with_explicit_freshness_is_stored(web, status):
    web.store(Answer(status, {"Cache-Control": "max-age=60", "Location": "/x"}))
    assert web.hit().status == status


def test_a_302_without_freshness_is_not_stored(web):
    web.on(Answer(302, {"Location": "/x", "Last-Modified": http_date(-86400)}))
    web.forwarded()
    web.forwarded()


@pytest.mark.parametrize("status", [206, 304])
def test_a_partial_answer_that_nobody_asked_for_is_not_stored_as_a_whole(web, status):
    web.on(Answer(206, {"Cache-Control": "max-age=60", "Content-Range": "bytes 0-3/10"}, b"part") if status == 206 else
           Answer(304, {"Cache-Control": "max-age=60", "ETag": '"a"'}), fresh(b"whole"))
    web.get()
    answer = web.forwarded()
    assert (answer.status, answer.body) == (200, b"whole")


@pytest.mark.parametrize("framing, pieces", [("length", [b"abc", "cut"]), ("length", [b"abc", "end"]), ("chunked", [b"abc", "cut"]),
                                             ("chunked", [b"abc", "end"])])
def test_an_incomplete_answer_is_never_served_again(web, framing, pieces):
    web.on(Answer(headers={"Cache-Control": "max-age=60"}, body=pieces, framing=framing, length=10 if framing == "length" else None),
           fresh(b"the whole"))
    with web.weir.client() as client:
        client.send_request(target=web.path)
        cut = client.read_response_or_end()
    assert cut is None or not cut.is_complete or cut.status >= 500
    assert web.forwarded().body == b"the whole"
    assert web.hit().body == b"the whole"


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
def test_a_body_of_any_framing_is_kept_whole(web, framing):
    body = bytes(range(256)) * 300
    web.store(Answer(headers={"Cache-Control": "max-age=60", "X-Field": "as it was"}, body=[body[:1000], body[1000:]], framing=framing))
    answer = web.hit()
    assert answer.body == body and answer.is_complete
    assert answer["content-length"] == str(len(body))
    assert answer["x-field"] == "as it was"


def test_hop_by_hop_fields_are_not_kept(web):
    web.store(Answer(headers={"Cache-Control": "max-age=60", "Connection": "X-Hop", "X-Hop": "1", "Keep-Alive": "timeout=5",
                              "Proxy-Authenticate": "Basic", "X-End": "2"}))
    answer = web.hit()
    assert answer["x-end"] == "2"
    for name in ("x-hop", "keep-alive", "proxy-authenticate"):
        assert name not in answer.fields
    assert answer.fields.tokens("connection") in ([], ["close"], ["keep-alive"])


@pytest.mark.parametrize("control, stored", [("max-age=60", False), ("max-age=60, public", True), ("s-maxage=60", True),
                                             ("max-age=60, must-revalidate", True), ("private", False)])
def test_the_answer_to_a_request_with_authorization(web, control, stored):  # RFC 9111 §3.5
    web.on(fresh(b"1", control), fresh(b"2", control))
    credentials = [("Authorization", "Basic YTpi")]
    assert web.forwarded(credentials).body == b"1"
    if stored:
        web.await_stored(credentials)
        assert web.hit(credentials).body == b"1"
        assert web.hit().body == b"1"
    else:
        assert web.forwarded().body == b"2"


def test_fields_named_by_private_or_no_cache_do_not_reach_another_client(web):  # RFC 9111 §5.2.2.4, §5.2.2.7
    web.on(Answer(headers={"Cache-Control": 'max-age=60, private="X-Secret"', "X-Secret": "of the first"}),
           Answer(headers={"Cache-Control": 'max-age=60, private="X-Secret"', "X-Secret": "of the second"}))
    assert web.forwarded()["x-secret"] == "of the first"
    answer = web.get()
    assert answer["x-secret"] in (None, "of the second")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"])
def test_only_get_and_head_are_answered_from_the_store(web, method):
    web.store(fresh(b"of GET"))
    web.on(fresh(b"of the other"))
    assert web.forwarded(method=method, body=b"").body == b"of the other"


def test_the_answer_to_a_post_is_not_given_to_a_get(web):
    web.on(fresh(b"of POST"), fresh(b"of GET"))
    assert web.get(method="POST", body=b"x").body == b"of POST"
    assert web.forwarded().body == b"of GET"


def test_date_and_via_stay_and_age_grows(web):
    web.store(Answer(headers={"Cache-Control": "max-age=60", "Date": http_date(-10)}))
    first = web.hit()
    assert 10 <= int(first["age"]) < 60
    assert "weir" in first["via"].lower()
    date = first["date"]
    def older():
        answer = web.hit()
        assert answer["date"] == date
        return int(answer["age"]) > int(first["age"])
    wait_until(older, 10, "an Age that grows")


@pytest.mark.parametrize("age", [b"abc", b"-5", b"5.5", b"5, 7"])
def test_an_age_that_is_no_number_never_makes_an_answer_younger(web, age):
    web.on(Answer(headers={"Cache-Control": "max-age=60", "Age": age.decode()}))
    web.get()
    answer = web.get()
    assert re.fullmatch(r"[0-9]+", answer["age"] or "0") or web.asked == 2


def test_the_age_of_the_way_before_counts(web):  # RFC 9111 §4.2.3
    web.store(Answer(headers={"Cache-Control": "max-age=600", "Age": "100"}))
    assert 100 <= int(web.hit()["age"]) < 200


# -- what a request says: RFC 9111 §5.2.1 ------------------------------------------------------------------------------------

@pytest.mark.parametrize("directive", ["no-cache", "max-age=0", "max-age=50", "min-fresh=1000000"])
def test_a_request_that_wants_it_fresher_is_forwarded(web, directive):
    web.store(Answer(headers={"Cache-Control": "max-age=3600", "Age": "100"}, body=b"1"), fresh(b"2"))
    answer = web.forwarded([("Cache-Control", directive)])
    assert answer.body == b"2"
    assert cache_status(answer)["fwd"] == "request"
    web.await_stored()
    assert web.hit().body == b"2", "the newer answer took the older one's place"


@pytest.mark.parametrize("directive", ["max-age=3600", "min-fresh=10", "max-stale", "max-stale=10", "only-if-cached", "no-transform",
                                       "unheard-of", ""])
def test_a_request_that_is_content_with_the_stored_answer_gets_it(web, directive):
    web.store(fresh(b"1"))
    assert web.hit([("Cache-Control", directive)]).body == b"1"


def test_the_answer_to_a_request_with_no_store_is_not_stored(web):
    web.on(fresh(b"1"), fresh(b"2"))
    web.forwarded([("Cache-Control", "no-store")])
    assert web.forwarded().body == b"2"


def test_only_if_cached_gets_504_and_the_origin_hears_nothing(web):
    answer = web.get([("Cache-Control", "only-if-cached")])
    assert answer.status == 504
    assert web.asked == 0


def test_only_if_cached_gets_504_for_what_is_known_not_to_be_kept(web):
    web.on(fresh(b"", "no-store"))
    for _ in range(3):
        web.forwarded()
    assert web.get([("Cache-Control", "only-if-cached")]).status == 504
    assert web.asked == 3


def test_max_stale_takes_what_is_stale_unless_it_must_be_validated(web):
    web.store(Answer(headers={"Cache-Control": "max-age=1", "ETag": '"a"'}, body=b"1"))
    outlive(1)
    assert web.hit([("Cache-Control", "max-stale=600")]).body == b"1"
    assert web.hit([("Cache-Control", "max-stale")]).body == b"1"
    assert web.asked == 1

    strict = Cached(web.weir, web.origin, next(_paths))
    strict.on(validated(b"2", '"b"', control="max-age=1, must-revalidate"))
    strict.forwarded()
    outlive(1)
    assert strict.get([("Cache-Control", "max-stale=600")]).body == b"2"
    assert strict.asked == 2


# -- Vary: RFC 9111 §4.1 -----------------------------------------------------------------------------------------------------

def by_field(name, control="max-age=60", vary=None):
    return lambda request, number: Answer(headers={"Cache-Control": control, "Vary": vary or name},
                                          body=str(request.fields.all(name)).encode())


def test_each_variant_is_kept_for_those_who_ask_alike(web):
    web.on(by_field("X-Kind"))
    for value in ("a", "b"):
        web.forwarded([("X-Kind", value)])
        web.await_stored([("X-Kind", value)])
    web.forwarded()
    assert web.hit([("X-Kind", "a")]).body == b"['a']"
    assert web.hit([("x-kind", "b")]).body == b"['b']"
    assert web.hit().body == b"[]"
    assert web.asked == 3


def test_a_miss_for_want_of_the_variant_says_so(web):
    web.on(by_field("X-Kind"))
    web.store(headers=[("X-Kind", "a")])
    assert cache_status(web.forwarded([("X-Kind", "b")]))["fwd"] == "vary-miss"


def test_every_field_that_vary_names_counts(web):
    web.on(lambda request, number: Answer(headers=[("Cache-Control", "max-age=60"), ("Vary", "X-One, , x-two"), ("Vary", "X-Three")],
                                          body=str(number).encode()))
    fields = [("X-One", "1"), ("X-Two", "2"), ("X-Three", "3")]
    web.store(headers=fields)
    web.hit(fields)
    web.hit(list(reversed(fields)))
    for i in range(3):
        web.forwarded(fields[:i] + [(fields[i][0], "other")] + fields[i + 1:])
        web.forwarded(fields[:i] + fields[i + 1:])


def test_values_that_mean_the_same_are_one_variant(web):
    web.on(by_field("Accept-Language"))
    web.store(headers=[("Accept-Language", "en, de")])
    assert web.hit([("Accept-Language", "en,de")]).body == b"['en, de']"
    assert web.hit([("Accept-Language", "en"), ("Accept-Language", "de")]).body == b"['en, de']"
    web.forwarded([("Accept-Language", "en;q=0.5, de")])


def test_an_empty_field_and_none_are_not_mistaken_for_a_value(web):
    web.on(by_field("X-Kind"))
    web.store(headers=[("X-Kind", "a")])
    web.forwarded([("X-Kind", "")])
    web.forwarded()


def test_variants_are_bounded(web):
    web.on(by_field("User-Agent", "max-age=600"))
    count = 300
    for i in range(count):
        web.get([("User-Agent", f"agent {i}")])
    web.await_stored([("User-Agent", f"agent {count - 1}")])
    kept = sum(web.is_stored([("User-Agent", f"agent {i}")]) for i in range(count))
    assert 1 <= kept < count


# -- validation: RFC 9111 §4.3 -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("validators, sent", [
    ({"etag": '"one"'}, {"if-none-match": '"one"'}),
    ({"etag": 'W/"one"'}, {"if-none-match": 'W/"one"'}),
    ({"modified": http_date(-1000)}, {"if-modified-since": None}),
    ({"etag": '"one"', "modified": http_date(-1000)}, {"if-none-match": '"one"'}),
], ids=["strong", "weak", "date", "both"])
def test_what_is_stale_is_validated(told, validators, sent):
    told.store(validated(b"body", **validators))
    outlive(1)
    answer = told.forwarded()
    assert (answer.status, answer.body) == (200, b"body")
    status = cache_status(answer)
    assert status["fwd"] == "stale" and status["fwd-status"] == 304
    assert answer["x-cache"] == "revalidated"
    request = told.origin.last(told.path)
    for name, value in sent.items():
        assert request[name] == (value or validators["modified"])
    assert told.hit().body == b"body", "fresh again"


def test_an_answer_with_no_cache_is_validated_each_time(web):
    web.on(validated(b"body", '"v"', control="no-cache"))
    web.forwarded()
    for _ in range(2):
        answer = web.forwarded()
        assert (answer.status, answer.body) == (200, b"body")
        assert web.origin.last(web.path)["if-none-match"] == '"v"'


def test_what_changed_takes_the_stale_ones_place(web):
    web.store(Answer(headers={"Cache-Control": "max-age=1", "ETag": '"1"'}, body=b"old"), fresh(b"new", ETag='"2"'))
    outlive(1)
    answer = web.forwarded()
    assert answer.body == b"new"
    assert cache_status(answer)["fwd-status"] == 200
    web.await_stored()
    assert web.hit().body == b"new"


def test_a_304_updates_the_stored_fields(web):  # RFC 9111 §3.2
    web.store(validated(b"body", '"v"', control="max-age=1", X_Kept="kept", X_Changed="before",
                        changed={"Cache-Control": "max-age=600", "X-Changed": "after", "X-New": "new"}))
    outlive(1)
    for answer in (web.forwarded(), web.hit()):
        assert answer.body == b"body" and answer["content-length"] == "4"
        assert (answer["x-kept"], answer["x-changed"], answer["x-new"]) == ("kept", "after", "new")
        assert answer["cache-control"] == "max-age=600"
        assert int(answer["age"] or 0) < 100


def test_a_304_does_not_change_what_describes_the_stored_body(web):
    web.store(validated(b"body", '"v"', Content_Type="text/plain", Content_Encoding="x-none",
                        changed={"Cache-Control": "max-age=600", "Content-Encoding": "gzip", "Content-Length": "999", "Content-Range": "bytes 0-1/2"}))
    outlive(1)
    for answer in (web.forwarded(), web.hit()):
        assert answer.status == 200 and answer.body == b"body" and answer.is_complete
        assert answer["content-length"] == "4" and answer["content-encoding"] == "x-none"
        assert "content-range" not in answer.fields


def test_a_304_for_another_representation_freshens_nothing(web):
    web.store(Answer(headers={"Cache-Control": "max-age=1", "ETag": '"1"'}, body=b"old"),
              Answer(304, {"Cache-Control": "max-age=600", "ETag": '"2"'}), fresh(b"new", ETag='"2"'))
    outlive(1)
    answer = web.get()
    assert (answer.status, answer.body) != (200, b"new") or web.asked == 3
    assert web.get().body == b"new"


def test_a_client_that_sends_conditions_gets_its_304_when_the_stored_answer_is_validated(web):
    web.store(validated(b"body", '"v"'))
    outlive(1)
    answer = web.forwarded([("If-None-Match", '"v"')])
    assert (answer.status, answer.body, answer["etag"]) == (304, b"", '"v"')
    assert web.hit().body == b"body"


def test_a_304_to_the_clients_own_condition_on_a_cold_path_is_not_stored_as_an_answer(web):
    web.on(validated(b"body", '"v"', control="max-age=60"))
    assert web.get([("If-None-Match", '"v"')]).status == 304
    answer = web.get()
    assert (answer.status, answer.body) == (200, b"body")


# -- conditions answered from the store: RFC 9110 §13, RFC 9111 §4.3.2 ----------------------------------------------------------

NOW = http_date(-1000)


@pytest.mark.parametrize("conditions, status", [
    ([("If-None-Match", '"v"')], 304),
    ([("If-None-Match", 'W/"v"')], 304),
    ([("If-None-Match", '"x", "v"')], 304),
    ([("If-None-Match", '"x"'), ("If-None-Match", '"v"')], 304),
    ([("If-None-Match", "*")], 304),
    ([("If-None-Match", '"x"')], 200),
    ([("If-None-Match", '"x"'), ("If-Modified-Since", http_date(0))], 200),
    ([("If-Modified-Since", NOW)], 304),
    ([("If-Modified-Since", http_date(-10))], 304),
    ([("If-Modified-Since", http_date(-5000))], 200),
    ([("If-Modified-Since", "yesterday")], 200),
], ids=named)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_condition_is_answered_from_the_store(web, conditions, status, method):
    web.store(Answer(headers={"Cache-Control": "max-age=60", "ETag": '"v"', "Last-Modified": NOW, "Vary": "x-y", "Content-Location": "/c"},
                     body=b"body"))
    answer = web.hit(conditions, method=method)
    assert answer.status == status
    assert answer.body == (b"" if status == 304 or method == "HEAD" else b"body")
    assert answer["etag"] == '"v"' and answer["cache-control"] == "max-age=60" and answer["vary"] == "x-y"
    assert answer["content-location"] == "/c" and answer["date"] and "age" in answer.fields


# -- ranges: RFC 9110 §14, §13.1.5 ---------------------------------------------------------------------------------------------

BODY = bytes(range(256)) * 400
TAGGED = Answer(headers={"Cache-Control": "max-age=60", "ETag": '"v"', "Last-Modified": NOW, "Content-Type": "x/y"}, body=BODY)


@pytest.mark.parametrize("value, first, last", [("0-0", 0, 0), ("0-99", 0, 99), ("1000-70000", 1000, 70000), ("-5", len(BODY) - 5, len(BODY) - 1),
                                                ("102000-", 102000, len(BODY) - 1), ("0-9999999", 0, len(BODY) - 1),
                                                ("-9999999", 0, len(BODY) - 1)])
def test_a_range_is_cut_from_the_stored_answer(web, value, first, last):
    web.store(TAGGED)
    answer = web.hit([("Range", f"bytes={value}")])
    assert answer.status == 206
    assert answer["content-range"] == f"bytes {first}-{last}/{len(BODY)}"
    assert answer.body == BODY[first:last + 1] and answer["content-length"] == str(last + 1 - first)
    assert answer["etag"] == '"v"' and answer["content-type"] == "x/y"


@pytest.mark.parametrize("value", ["bytes=102400-", "bytes=999999-1000000", "bytes=-0"])
def test_a_range_past_the_end_gets_416(web, value):
    web.store(TAGGED)
    answer = web.hit([("Range", value)])
    assert answer.status == 416
    assert answer["content-range"] == f"bytes */{len(BODY)}"


@pytest.mark.parametrize("value", ["lines=1-2", "bytes=5-1", "bytes=abc", "bytes="])
def test_a_range_that_is_none_is_as_if_it_were_not_there(web, value):
    web.store(TAGGED)
    answer = web.hit([("Range", value)])
    assert (answer.status, answer.body) == (200, BODY)


def test_several_ranges_come_as_multipart(web):
    web.store(TAGGED)
    answer = web.hit([("Range", "bytes=0-9,100-199,-10")])
    assert answer.status == 206
    boundary = re.fullmatch(r'multipart/byteranges; *boundary="?([^"]+)"?', answer["content-type"])[1].encode()
    assert "content-range" not in answer.fields
    parts = (b"\r\n" + answer.body).split(b"\r\n--" + boundary)
    assert parts[0].strip() == b"" and parts[-1].strip() == b"--"
    found = []
    for part in parts[1:-1]:
        head, _, body = part[2:].partition(b"\r\n\r\n")
        fields = parse_fields(head + b"\r\n")
        assert isinstance(fields, Fields) and fields.get("content-type") == "x/y"
        found.append((fields.get("content-range"), body))
    assert found == [(f"bytes {a}-{b}/{len(BODY)}", BODY[a:b + 1]) for a, b in ((0, 9), (100, 199), (len(BODY) - 10, len(BODY) - 1))]


def test_many_tiny_or_overlapping_ranges_do_not_multiply_the_body(web):
    web.store(TAGGED)
    answer = web.hit([("Range", "bytes=" + ",".join(["0-"] * 100))])
    assert len(answer.body) < 2 * len(BODY)


@pytest.mark.parametrize("value, status", [('"v"', 206), ('"x"', 200), ('W/"v"', 200), (NOW, 206), (http_date(-5000), 200), (http_date(0), 200)],
                         ids=named)
def test_if_range_decides_from_the_store(web, value, status):
    web.store(TAGGED)
    answer = web.hit([("Range", "bytes=0-4"), ("If-Range", value)])
    assert answer.status == status
    assert answer.body == (BODY[:5] if status == 206 else BODY)


def test_a_range_of_head_is_ignored(web):
    web.store(TAGGED)
    answer = web.hit([("Range", "bytes=0-4")], method="HEAD")
    assert (answer.status, answer["content-length"]) == (200, str(len(BODY)))


def by_range(request, number):
    """An origin that serves ranges of BODY."""
    wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.fields.get("range") or "")
    if not wanted:
        return TAGGED
    first, last = int(wanted[1]), int(wanted[2] or len(BODY) - 1)
    return Answer(206, {"Cache-Control": "max-age=60", "ETag": '"v"', "Content-Range": f"bytes {first}-{last}/{len(BODY)}"}, BODY[first:last + 1])


def test_a_range_of_what_is_not_stored_is_never_taken_for_the_whole(web):
    web.on(by_range)
    answer = web.get([("Range", "bytes=0-4")])
    assert (answer.status, answer.body, answer["content-range"]) == (206, BODY[:5], f"bytes 0-4/{len(BODY)}")
    assert web.get().body == BODY
    web.await_stored()
    assert web.hit([("Range", "bytes=5-9")]).body == BODY[5:10]


# -- HEAD: RFC 9111 §4 -----------------------------------------------------------------------------------------------------------

def test_head_is_answered_by_the_stored_answer_to_get(web):
    web.store(fresh(b"12345", X_Field="1"))
    answer = web.hit(method="HEAD")
    assert (answer.status, answer.body, answer["content-length"], answer["x-field"]) == (200, b"", "5", "1")


def test_a_get_after_a_cold_head_has_its_body(web):
    web.on(fresh(b"12345"))
    assert web.get(method="HEAD")["content-length"] == "5"
    assert web.get().body == b"12345"


# -- invalidation: RFC 9111 §4.4 ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "MADEUP"])
@pytest.mark.parametrize("status", [200, 201, 204, 303])
def test_an_unsafe_method_that_succeeds_makes_the_stored_answer_invalid(web, method, status):
    web.store(fresh(b"before"))
    web.on(Answer(status, {"Location": "/elsewhere"}))
    web.get(method=method, body=b"")
    web.on(fresh(b"after"))
    assert web.forwarded().body == b"after"


@pytest.mark.parametrize("method, status", [("POST", 400), ("POST", 500), ("DELETE", 404), ("OPTIONS", 200), ("HEAD", 200)])
def test_one_that_fails_or_is_safe_does_not(web, method, status):
    web.store(fresh(b"before"))
    web.on(Answer(status))
    web.get(method=method, body=b"" if method != "HEAD" else None)
    assert web.hit().body == b"before"


@pytest.mark.parametrize("name", ["Location", "Content-Location"])
@pytest.mark.parametrize("form", ["{path}/x", "http://t.example{path}/x", "//t.example{path}/x", "x"])
def test_what_the_answer_points_at_is_invalid_too(web, name, form):
    web.on(fresh(b"before"), path=web.path + "/x")
    web.forwarded(path=web.path + "/x")
    web.await_stored(path=web.path + "/x")
    web.on(Answer(201, {name: form.format(path=web.path)}), path=web.path + "/y")
    web.get(path=web.path + "/y", method="POST", body=b"")
    web.on(fresh(b"after"), path=web.path + "/x")
    assert web.get(path=web.path + "/x").body == b"after"


def test_another_origins_answers_cannot_be_made_invalid(web):  # RFC 9111 §4.4: a denial of service otherwise
    web.store(fresh(b"before"))
    web.on(Answer(201, {"Location": f"http://t.example{web.path}", "Content-Location": f"http://t.example{web.path}"}), path="/evil")
    web.get(path="/evil", method="POST", body=b"", host="evil.example")
    assert web.hit().body == b"before"


def test_every_variant_is_made_invalid(web):
    web.on(by_field("X-Kind"))
    for kind in "abc":
        web.store(headers=[("X-Kind", kind)])
    web.get(method="POST", body=b"")
    for kind in "abc":
        web.forwarded([("X-Kind", kind)])


# -- stale answers: RFC 5861, RFC 9111 §4.2.4 ---------------------------------------------------------------------------------------

def test_stale_while_revalidate_serves_at_once_and_fetches_behind(told):
    gate = Gate()
    told.store(fresh(b"old", "max-age=1, stale-while-revalidate=600"), Answer(headers={"Cache-Control": "max-age=600"}, body=b"new", before=gate))
    outlive(1)
    answer = told.get()
    assert answer.body == b"old"
    status = cache_status(answer)
    assert status.is_hit and status.get("ttl", -1) < 0
    assert answer["x-cache"] in ("stale", "updating")
    told.origin.await_count(2, told.path)
    for _ in range(3):
        assert told.get().body == b"old"
    assert told.asked == 2, "one fetch behind, however many ask"
    gate.open()
    wait_until(lambda: told.get().body == b"new", what="the new answer")
    assert told.asked == 2


def test_a_fetch_behind_that_fails_leaves_the_stale_answer(web):
    web.store(fresh(b"old", "max-age=1, stale-while-revalidate=600"), "cut", fresh(b"new"))
    outlive(1)
    assert web.get().body == b"old"
    web.origin.await_count(2, web.path)
    wait_until(lambda: web.get().body == b"new", what="the new answer")


def test_a_stale_answer_past_its_grace_is_not_served(web):
    web.store(fresh(b"old", "max-age=1, stale-while-revalidate=1"), fresh(b"new"))
    outlive(2)
    assert web.forwarded().body == b"new"


@pytest.mark.parametrize("failure", [Answer(500, body=b"no"), Answer(502), Answer(503), Answer(504), "cut", "end"], ids=named)
def test_stale_if_error_serves_the_stale_answer_for_an_error(told, failure):
    told.store(fresh(b"old", "max-age=1, stale-if-error=600", ETag='"v"'), failure)
    outlive(1)
    answer = told.get()
    assert (answer.status, answer.body) == (200, b"old")
    assert answer["x-cache"] == "stale"
    status = cache_status(answer)
    assert status.get("fwd") == "stale" or status.is_hit and status["ttl"] < 0


@pytest.mark.parametrize("control", ["max-age=1", "max-age=1, stale-if-error=600, must-revalidate", "max-age=1, stale-if-error=600, proxy-revalidate",
                                     "s-maxage=1"])
def test_an_error_is_passed_on_when_stale_answers_are_not_allowed(web, control):
    web.store(fresh(b"old", control, ETag='"v"'), Answer(503, body=b"no"))
    outlive(1)
    assert web.get().status in (503, 504)


def test_an_error_of_the_client_is_no_reason_for_a_stale_answer(web):
    web.store(fresh(b"old", "max-age=1, stale-if-error=600"), Answer(404, body=b"gone"))
    outlive(1)
    assert web.get().status == 404


def test_when_no_server_can_be_reached_stale_if_error_serves(site, cache_origin):
    weir = site([{"upstream": "origin", "cache": {"stale_if_error": "1h"}}], {"origin": cache_origin.address})
    web = Cached(weir, cache_origin, "/x")
    web.store(fresh(b"old", "max-age=1"))
    outlive(1)
    cache_origin.close()
    answer = web.get()
    assert (answer.status, answer.body) == (200, b"old")


def test_the_routes_own_grace_stands_where_the_answer_gives_none(site, cache_origin):
    weir = site([{"upstream": "origin", "cache": {"stale_while_revalidate": "10m"}}], {"origin": cache_origin.address})
    web = Cached(weir, cache_origin, "/x")
    web.store(fresh(b"old", "max-age=1"), fresh(b"new"))
    outlive(1)
    assert web.get().body == b"old"
    wait_until(lambda: web.get().body == b"new", what="the new answer")
    own = Cached(weir, cache_origin, "/own")
    own.store(fresh(b"old", "max-age=1, stale-while-revalidate=0"), fresh(b"new"))
    outlive(1)
    assert own.get().body == b"new"


# -- Cache-Status: RFC 9211; ${cache} -------------------------------------------------------------------------------------------------

def test_cache_status_of_a_miss_and_a_hit(told):
    first = told.forwarded()
    status = cache_status(first)
    assert status.name.lower().startswith("weir")
    assert status["fwd"] in ("uri-miss", "miss") and status.get("stored") is True
    assert first["x-cache"] == "miss"
    told.await_stored()
    hit = told.hit()
    status = cache_status(hit)
    assert 3500 < status["ttl"] <= 3600
    assert hit["x-cache"] == "hit"


def test_cache_status_says_why_an_answer_was_not_stored(web):
    web.on(fresh(b"", "no-store"))
    status = cache_status(web.forwarded())
    assert status.get("stored") is not True
    assert status.get("detail"), "the reason"


def test_cache_status_of_a_method_that_no_cache_answers(web):
    assert cache_status(web.forwarded(method="POST", body=b""))["fwd"] == "method"


def test_cache_status_of_caches_before_stays(web):
    web.store(Answer(headers={"Cache-Control": "max-age=60", "Cache-Status": "origin-cache; hit; ttl=5"}))
    answer = web.hit()
    joined = ", ".join(answer.fields.all("cache-status"))
    assert joined.startswith("origin-cache; hit; ttl=5")
    assert cache_status(answer).name.lower().startswith("weir")


def test_a_route_without_a_cache_says_nothing_of_one(site, cache_origin):
    weir = site([{"path": "/cached/", "upstream": "origin", "cache": True}, {"upstream": "origin"}], {"origin": cache_origin.address})
    for _ in range(2):
        assert "cache-status" not in weir.get("/plain").fields
    assert cache_origin.count("/plain") == 2
    assert "cache-status" in weir.get("/cached/x").fields


def test_the_hits_are_counted_in_the_metrics(site, cache_origin):
    weir = site([{"upstream": "origin", "cache": True}], {"origin": cache_origin.address})
    web = Cached(weir, cache_origin, "/x")
    web.store()
    for _ in range(3):
        web.hit()
    weir.await_metric("weir_cache_requests_total", lambda v: v >= 3, result="hit")
    weir.await_metric("weir_cache_requests_total", lambda v: v >= 1, result="miss")
    weir.await_metric("weir_cache_objects", 1)
    weir.await_metric("weir_cache_bytes", lambda v: v > 0)


# -- the route's options ----------------------------------------------------------------------------------------------------------------

def test_ttl_stands_where_the_answer_gives_none(site, cache_origin):
    weir = site([{"upstream": "origin", "cache": {"ttl": "60s"}}], {"origin": cache_origin.address})
    silent, speaking = (Cached(weir, cache_origin, p) for p in ("/silent", "/speaking"))
    silent.store(Answer(body=b"x"))
    assert 0 < cache_status(silent.hit())["ttl"] <= 60
    speaking.on(fresh(b"x", "no-store"))
    speaking.forwarded()
    speaking.forwarded()


def test_only_the_routes_statuses_are_stored(site, cache_origin):
    weir = site([{"upstream": "origin", "cache": {"statuses": [200, 404]}}], {"origin": cache_origin.address})
    for status in (200, 404, 301, 410):
        web = Cached(weir, cache_origin, f"/{status}")
        web.on(Answer(status, {"Cache-Control": "max-age=60", "Location": "/x"}))
        web.forwarded()
        if status in (200, 404):
            web.await_stored()
            web.hit()
        else:
            web.forwarded()


def test_a_cookie_named_by_bypass_cookie_goes_past_the_cache(site, cache_origin):
    weir = site([{"upstream": "origin", "cache": {"bypass_cookie": ["session"]}, "response_headers": {"set": {"x-cache": "${cache}"}}}],
                {"origin": cache_origin.address})
    web = Cached(weir, cache_origin, "/x")
    web.store(fresh(b"of all"), fresh(b"of one"))
    answer = web.forwarded([("Cookie", "a=b; session=1")])
    assert answer.body == b"of one"
    assert cache_status(answer)["fwd"] == "bypass" and answer["x-cache"] == "bypass"
    assert web.hit([("Cookie", "a=b; sessions=1")]).body == b"of all"


@pytest.mark.parametrize("mode, stored, kept", [("refuse", False, True), ("store", True, True), ("strip", True, False)])
def test_set_cookie_is_refused_stored_or_stripped(site, cache_origin, mode, stored, kept):
    weir = site([{"upstream": "origin", "cache": {"set_cookie": mode}}], {"origin": cache_origin.address})
    web = Cached(weir, cache_origin, "/x")
    web.on(fresh(b"1", Set_Cookie="a=1"), fresh(b"2", Set_Cookie="a=2"))
    web.forwarded()
    if stored:
        web.await_stored()
    second = web.hit() if stored else web.forwarded()
    assert ("set-cookie" in second.fields) == kept
