"""Poisoned keys: what of a request reaches the origin but not the key lets one client write what another reads. The origin here tells
back all that it was sent, and each attack is followed by a victim's request, whose answer must be as if the attack had never been."""

import itertools
import json

import pytest

from harness import Answer, Cached, cache_status, fresh
from harness.raw_client import build_request, trusting
from test_h2 import H2

EVIL = "evil.example"
OF_EACH_REQUEST = ("x-request-id", "x-forwarded-for", "via", "connection", "surrogate-capability")  # an answer made of these is nobody else's anyway

_numbers = itertools.count()


def telling(request, number):
    """All of the request that an application may build its answer on."""
    fields = sorted((n.lower(), v) for n, v in request.fields if n.lower() not in OF_EACH_REQUEST)
    said = {"method": request.method, "target": request.target, "fields": fields, "body": request.body.decode("latin-1")}
    return Answer(headers={"Cache-Control": "max-age=600"}, body=json.dumps(said).encode())


@pytest.fixture(scope="module")
def caching(module_site, module_origin, authority, localhost_cert):
    tls = {"certificates": [{"cert": localhost_cert[0], "key": localhost_cert[1]}]}
    routes = [{"upstream": "origin", "cache": True},
              {"path": "/raw/", "upstream": "origin", "cache": True, "normalize": False},
              {"path": "/ignoring/", "upstream": "origin", "cache": {"ignore_query": ["utm_*", "fbclid"]}},
              {"path": "/sorting/", "upstream": "origin", "cache": {"sort_query": True}},
              {"path": "/fields/", "upstream": "origin", "cache": {"key_headers": ["X-Kind"]}},
              {"path": "/cookies/", "upstream": "origin", "cache": {"key_cookies": ["lang"]}},
              {"path": "/template/", "upstream": "origin", "cache": {"key": "${host}${path}?${query}"}},
              {"path": "/ttl/", "upstream": "origin", "cache": {"ttl": "60s"}}]
    return module_site(routes, {"origin": module_origin.address},
                       {"web": {}, "tls": {"tls": tls}, "behind": {"trusted_proxies": ["127.0.0.0/8"]}})


@pytest.fixture
def fresh_path(module_origin):
    def make(folder="keys"):
        path = f"/{folder}/{next(_numbers)}"
        module_origin.on(path, telling)
        return path
    return make


def send(weir, raw, listener="web"):
    with weir.client(listener) as client:
        client.send(raw)
        return client.read_response_or_end()


def unharmed(caching, path, attack, fresh_path, listener="web", **victim):
    """Sends the attack (bytes, or a call), then the victim's request for `path`; what it gets must be what a path that nobody attacked
    gives."""
    folder = path.split("/")[1]
    clean = fresh_path(folder)
    query = victim.pop("query", "")
    if callable(attack):
        attack()
    else:
        send(caching, attack, listener)
    got = caching.get(path + query, listener, **victim)
    expected = caching.get(clean + query, listener, **victim)
    assert cache_status(caching.get(clean + query, listener, **victim)).is_hit, "what is not kept cannot be poisoned"
    assert (got.status, got.body.decode().replace(path, "PATH")) == (expected.status, expected.body.decode().replace(clean, "PATH"))
    names = {"cache-control", "location", "set-cookie", "content-type", "vary"}
    assert [f for f in got.fields if f[0].lower() in names] == [f for f in expected.fields if f[0].lower() in names]


# -- fields ------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("listener", ["web", "behind"])
@pytest.mark.parametrize("name, value", [
    ("X-Forwarded-Host", EVIL), ("X-Forwarded-Server", EVIL), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Scheme", "https"),
    ("X-Forwarded-Port", "444"), ("X-Forwarded-Prefix", "/evil"), ("Forwarded", f"host={EVIL};proto=https"),
    ("X-Host", EVIL), ("X-Original-Host", EVIL), ("X-HTTP-Host-Override", EVIL), ("X-Original-URL", "/evil"), ("X-Rewrite-URL", "/evil"),
    ("X-HTTP-Method-Override", "POST"), ("X-HTTP-Method", "POST"), ("X-Method-Override", "DELETE"), ("X-Forwarded-SSL", "on"),
    ("X-Url-Scheme", "https"), ("Front-End-Https", "on"),
])
def test_a_field_by_which_an_application_may_be_misled(caching, module_origin, fresh_path, listener, name, value):
    path = fresh_path()
    unharmed(caching, path, build_request(target=path, headers=[(name, value)]), fresh_path, listener)


def test_such_a_field_does_not_throw_out_what_others_read(caching, module_origin, fresh_path):
    web = Cached(caching, module_origin, fresh_path())
    web.store()
    before = web.hit().body
    for name in ("X-Forwarded-Host", "X-Original-URL", "X-HTTP-Method-Override"):
        web.get([(name, EVIL)])
    assert web.hit().body == before


def test_fields_that_connection_names_are_neither_key_nor_variant(caching, module_origin, fresh_path):
    path = fresh_path("fields")
    attack = build_request(target=path, headers=[("X-Kind", "b"), ("Connection", "X-Kind")])
    unharmed(caching, path, attack, fresh_path, headers=[("X-Kind", "b")])

    path = fresh_path()
    module_origin.on(path, lambda request, number: Answer(headers={"Cache-Control": "max-age=60", "Vary": "X-Kind"},
                                                          body=str(request["x-kind"]).encode()))
    send(caching, build_request(target=path, headers=[("X-Kind", "b"), ("Connection", "X-Kind")]))
    assert caching.get(path, headers=[("X-Kind", "b")]).body == b"b"


@pytest.mark.parametrize("named", ["Host", "X-Forwarded-For", "Cookie", "Authorization", "Via", "Cache-Control", "Age", "X-Forwarded-Proto"])
def test_connection_cannot_take_away_what_weir_says(caching, module_origin, fresh_path, named):
    path = fresh_path()
    unharmed(caching, path, build_request(target=path, headers=[("Connection", f"close, {named}")]), fresh_path)


def test_key_headers_tell_apart(caching, module_origin, fresh_path):
    web = Cached(caching, module_origin, fresh_path("fields"))
    for kind in ("a", "b", "a, b", ""):
        web.forwarded([("X-Kind", kind)])
    web.forwarded()
    assert b'"a"' in web.hit([("x-kind", "a")]).body
    assert b'"b"' in web.hit([("X-Kind", "b")]).body
    answer = web.get([("X-Kind", "a"), ("X-Kind", "b")])
    assert b'["x-kind", "a"]' not in answer.body or b'["x-kind", "b"]' in answer.body


COOKIE_READERS = {"the first": lambda found: found[0], "the last": lambda found: found[-1]}


def by_cookie(choose):
    """An application that reads the cookie `lang`, as lenient as they are."""
    def handle(request, number):
        pairs = [p.partition("=") for line in request.fields.all("cookie") for p in line.split(";")]
        found = [value.strip().strip('"') for name, _, value in pairs if name.strip() == "lang"]
        return fresh(choose(found).encode() if found else b"none")
    return handle


@pytest.mark.parametrize("reader", COOKIE_READERS)
@pytest.mark.parametrize("victim", ["lang=de", "x=1; lang=de", None])
@pytest.mark.parametrize("attack", ["lang=de; lang=en", "lang=en; lang=de", "Lang=en", "x=1; lang=en", "lang=\"en\"", "lang =en", " lang=en", "xlang=en",
                                    "lang=en%3B", "=lang=en", "lang", "lang=", "lang=de;lang=en", "lang=de, lang=en", "x=\"; lang=en\"", "lang\t=en"])
def test_key_cookies_tell_apart(caching, module_origin, fresh_path, attack, victim, reader):
    path, clean = fresh_path("cookies"), fresh_path("cookies")
    for each in (path, clean):
        module_origin.on(each, by_cookie(COOKIE_READERS[reader]))
    send(caching, build_request(target=path, headers=[("Cookie", attack)]))
    headers = [("Cookie", victim)] if victim else []
    assert caching.get(path, headers=headers).body == caching.get(clean, headers=headers).body
    assert cache_status(caching.get(path, headers=headers)).is_hit


# -- method and body -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("raw", [
    b"GET {path} HTTP/1.1\r\nHost: t.example\r\nContent-Length: 4\r\n\r\nevil",
    b"GET {path} HTTP/1.1\r\nHost: t.example\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 6\r\n\r\nq=evil",
    b"GET {path} HTTP/1.1\r\nHost: t.example\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n",
    b"HEAD {path} HTTP/1.1\r\nHost: t.example\r\nContent-Length: 4\r\n\r\nevil",
    b"POST {path} HTTP/1.1\r\nHost: t.example\r\nContent-Length: 4\r\n\r\nevil",
    b"HEAD {path} HTTP/1.1\r\nHost: t.example\r\n\r\n",
    b"get {path} HTTP/1.1\r\nHost: t.example\r\n\r\n",
], ids=["length", "form", "chunked", "head", "post", "plain head", "lower case"])
def test_a_body_or_another_method(caching, module_origin, fresh_path, raw):
    path = fresh_path()
    def attack():
        with caching.client() as client:
            client.send(raw.replace(b"{path}", path.encode()))
            client.read_response_or_end(raw.split()[0].decode())
    unharmed(caching, path, attack, fresh_path)


def test_a_get_with_a_body_is_not_answered_as_one_without(caching, module_origin, fresh_path):
    path = fresh_path()
    caching.get(path)
    answer = caching.get(path, body=b"question")
    assert json.loads(answer.body)["body"] in ("question", "")
    if json.loads(answer.body)["body"] == "":
        assert cache_status(answer).is_hit, "the body is ignored, or it counts"


# -- path ------------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("form", ["{0}%2F{1}", "{0}%2f{1}", "{0}//{1}", "{0}/{1}/", "{0}/{1}%20", "{0}\\{1}", "{0}%5C{1}", "{0}/{1}%00", "{0};x/{1}",
                                  "{0}/{1};x", "{0}/%2e%2e/{1}", "{0}/x/../{1}", "{0}/./{1}", "{0}/x%2F..%2F{1}", "{0}/{1}?", "{0}/{1}#x", "{0}/{1}%3F",
                                  "{0}/{1}%23", "/KEYS/{1}", "{0}/{1}%", "{0}/{1}?x", "{0}/..%2F{1}"])
@pytest.mark.parametrize("folder", ["keys", "raw"])
def test_another_form_of_the_path(caching, module_origin, fresh_path, form, folder):
    path = fresh_path(folder)
    attack = form.format("/" + folder, path.rsplit("/", 1)[1])
    module_origin.on(attack.split("?")[0].split("#")[0], telling)
    unharmed(caching, path, build_request(target=attack), fresh_path)


def test_what_was_looked_up_is_what_was_sent(caching, module_origin, fresh_path):
    path = fresh_path()
    letter = path[1]
    answers = [caching.get(form) for form in (path, path.replace(letter, f"%{ord(letter):02x}", 1), f"/x/..{path}", f"/.{path}")]
    assert len({a.body for a in answers}) == 1
    assert module_origin.count(path) == 1


# -- host, scheme ------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("host", ["T.EXAMPLE", "t.example:81", "t.example:80", "t.example:443", "t.example.", "t.example:", EVIL, "t.example@evil.example",
                                  "t.example/evil", "t.example#evil", "t.example,evil.example", "t.example evil", "[::1]", ""])
def test_another_form_of_the_host(caching, module_origin, fresh_path, host):
    path = fresh_path()
    unharmed(caching, path, build_request(target=path, host=host), fresh_path)


@pytest.mark.parametrize("head", [
    "GET http://evil.example{path} HTTP/1.1\r\nHost: t.example\r\n\r\n",
    "GET http://t.example{path} HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    "GET https://t.example{path} HTTP/1.1\r\nHost: t.example\r\n\r\n",
    "GET http://t.example:81{path} HTTP/1.1\r\nHost: t.example\r\n\r\n",
    "GET http://user@t.example{path} HTTP/1.1\r\nHost: t.example\r\n\r\n",
    "GET {path} HTTP/1.1\r\nHost: t.example\r\nHost: evil.example\r\n\r\n",
    "GET {path} HTTP/1.0\r\nHost: t.example\r\n\r\n",
    "GET {path} HTTP/1.0\r\n\r\n",
    "GET {path} HTTP/1.1\r\nHost : evil.example\r\nHost: t.example\r\n\r\n",
    "GET {path} HTTP/1.1\r\n Host: evil.example\r\nHost: t.example\r\n\r\n",
], ids=range(10))
def test_absolute_form_and_two_hosts(caching, module_origin, fresh_path, head):
    path = fresh_path()
    unharmed(caching, path, head.replace("{path}", path).encode(), fresh_path)


def test_http_and_https_are_kept_apart(caching, module_origin, fresh_path, authority):
    path = fresh_path()
    context = trusting(authority.file, alpn=["http/1.1"])

    def attack():
        with caching.client("tls", tls=context, server_name="localhost") as client:
            client.get(path, host="t.example")
    unharmed(caching, path, attack, fresh_path)


@pytest.mark.parametrize("drop, fields", [
    ((), [("host", EVIL)]),
    ((":authority",), [("host", EVIL)]),
    ((":authority",), [(":authority", EVIL), ("host", "t.example")]),
    ((":authority",), [(":authority", "t.example:81")]),
    ((":authority",), [(":authority", "user@t.example")]),
    ((":scheme",), [(":scheme", "https")]),
    ((":scheme",), [(":scheme", "https://evil.example/")]),
    ((":method",), [(":method", "GET /evil HTTP/1.1\r\nx: y")]),
    ((":path",), [(":path", "{path}?evil")]),
    ((":path",), [(":path", "http://evil.example{path}")]),
    ((":path",), [(":path", "{path}#evil")]),
    ((), [("x-forwarded-host", EVIL)]),
    ((), [("content-length", "0"), ("x-original-url", "/evil")]),
], ids=range(13))
def test_pseudo_fields_of_h2(caching, module_origin, fresh_path, drop, fields):
    path = fresh_path()

    def attack():
        pseudo = [(n, v.replace("{path}", path)) for n, v in fields if n.startswith(":")]
        plain = [f for f in fields if not f[0].startswith(":")]
        with H2(caching.port()) as client:
            head = [(":method", "GET"), (":scheme", "http"), (":authority", "t.example"), (":path", path)]
            head = [f for f in head if f[0] not in drop] + pseudo + plain
            stream = client.request(drop=(":method", ":scheme", ":authority", ":path"), fields=head)
            try:
                client.answer(stream)
            except Exception:  # a connection error is an answer too
                pass
    unharmed(caching, path, attack, fresh_path)


# -- query -------------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("attack", ["?a=1&utm_source=evil", "?utm_source=evil&a=1", "?a=1&fbclid=evil", "?a=1;utm_x=evil", "?utm_x=1;a=evil&a=1",
                                    "?a=1&utm_x=1;a=evil", "?a=1&utm_x=%26a=evil", "?a=1&%75tm_x=evil", "?a=1&UTM_X=evil", "?a=1&a=evil", "?a=evil&a=1",
                                    "?a=1&", "?&a=1", "?a=1&&", "?a=1&utm_x", "?a=1&utm_", "?a=1?utm_x=evil", "?a=1&utm_x[]=evil", "?a=1%26utm_x=evil",
                                    "?a=1#&utm_x=evil", "?a=1&utm_x=1?a=evil", "?A=1", "?a=%31", "?a=1&b=utm_x", "?a=1+&utm_x=1"])
def test_ignored_parameters_bring_nothing_in(caching, module_origin, fresh_path, attack):
    path = fresh_path("ignoring")
    unharmed(caching, path, build_request(target=path + attack), fresh_path, query="?a=1")


def test_ignored_parameters_are_ignored(caching, module_origin, fresh_path):
    web = Cached(caching, module_origin, fresh_path("ignoring"))
    web.forwarded(path=web.path + "?a=1")
    web.await_stored(path=web.path + "?a=1")
    for query in ("?a=1&utm_source=x", "?utm_source=x&a=1", "?fbclid=1&a=1&utm_y=2"):
        web.hit(path=web.path + query)
    for query in ("?a=2&utm_source=x", "?a=1&utm=1", "?a=1&fbclid2=1", ""):
        web.forwarded(path=web.path + query)


@pytest.mark.parametrize("attack", ["?b=2&a=1&a=evil", "?a=evil&a=1&b=2", "?a=1&b=2&b=evil", "?a=1;b=2", "?a=1&b=2;b=evil", "?b=2&a=1&c", "?b=2%26a=1",
                                    "?a=1%26b=2", "?a=1&amp;b=2", "?a=1b=2&", "?A=1&b=2"])
def test_sorting_the_query_changes_no_meaning(caching, module_origin, fresh_path, attack):
    path = fresh_path("sorting")
    unharmed(caching, path, build_request(target=path + attack), fresh_path, query="?a=1&b=2")


def test_a_sorted_query_is_one_key_and_the_order_of_equal_names_counts(caching, module_origin, fresh_path):
    web = Cached(caching, module_origin, fresh_path("sorting"))
    web.forwarded(path=web.path + "?b=2&a=1&c=3")
    web.await_stored(path=web.path + "?a=1&b=2&c=3")
    web.hit(path=web.path + "?c=3&b=2&a=1")
    web.forwarded(path=web.path + "?a=1&a=2")
    web.forwarded(path=web.path + "?a=2&a=1")


@pytest.mark.parametrize("attack", ["?a=evil", "?a=1&a=evil", "?", "??a=1", "?a=1?", "?a=1%00", "?a=1&b"])
def test_the_whole_query_is_in_the_key(caching, module_origin, fresh_path, attack):
    path = fresh_path()
    unharmed(caching, path, build_request(target=path + attack), fresh_path, query="?a=1")


def test_a_templates_parts_cannot_be_shifted_into_each_other(caching, module_origin, fresh_path):
    path = fresh_path("template")
    shifted = path + "%3Fa=1"
    module_origin.on(shifted, telling)
    unharmed(caching, path, build_request(target=shifted), fresh_path, query="?a=1")


# -- conditions, ranges, codings -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name, value, answer", [
    ("Range", "bytes=0-1", Answer(206, {"Cache-Control": "max-age=600", "Content-Range": "bytes 0-1/9"}, b"{\"")),
    ("Range", "bytes=99-", Answer(416, {"Cache-Control": "max-age=600", "Content-Range": "bytes */9"})),
    ("If-None-Match", "*", Answer(304, {"Cache-Control": "max-age=600", "ETag": '"evil"'})),
    ("If-Modified-Since", "Sat, 21 Nov 2026 00:00:00 GMT", Answer(304, {"Cache-Control": "max-age=600"})),
    ("If-Match", '"evil"', Answer(412, {"Cache-Control": "max-age=600"}, b"no")),
    ("If-Unmodified-Since", "Sat, 21 Nov 1990 00:00:00 GMT", Answer(412, {"Cache-Control": "max-age=600"}, b"no")),
    ("If-Range", '"evil"', None),
    ("Expect", "100-continue", None),
    ("TE", "trailers", None),
    ("Upgrade", "evil", Answer(426, {"Cache-Control": "max-age=600", "Upgrade": "x"}, b"no")),
])
def test_a_field_that_changes_the_kind_of_answer(caching, module_origin, fresh_path, name, value, answer):
    path = fresh_path()
    if answer:
        module_origin.on(path, lambda request, number: answer if name.lower() in [n.lower() for n, _ in request.fields] else telling(request, number))
    headers = [(name, value)] + ([("Connection", "Upgrade")] if name == "Upgrade" else [])
    unharmed(caching, path, build_request(target=path, headers=headers), fresh_path)


def test_a_coding_that_the_origin_chose_by_vary_is_given_to_those_who_take_it(caching, module_origin, fresh_path):
    web = Cached(caching, module_origin, fresh_path())
    web.on(lambda request, number: fresh(b"coded" if "br" in request.fields.tokens("accept-encoding") else b"plain", Vary="Accept-Encoding"))
    assert web.get([("Accept-Encoding", "br")]).body == b"coded"
    assert web.get().body == b"plain"
    assert web.get([("Accept-Encoding", "gzip")]).body == b"plain"
    assert web.get([("Accept-Encoding", "br")]).body == b"coded"


# -- errors: one client's mistake is not another's answer ---------------------------------------------------------------------------

@pytest.mark.parametrize("status", [400, 401, 403, 405, 406, 408, 413, 414, 415, 417, 421, 425, 426, 428, 429, 431, 500, 502, 503, 504])
@pytest.mark.parametrize("folder", ["keys", "ttl"])
def test_an_error_that_a_field_provoked_is_not_kept(caching, module_origin, fresh_path, status, folder):
    path = fresh_path(folder)
    module_origin.on(path, lambda request, number: Answer(status, body=b"no") if "x-big" in request.fields else telling(request, number))
    unharmed(caching, path, build_request(target=path, headers=[("X-Big", "x" * 9000)]), fresh_path)


@pytest.mark.parametrize("raw", [
    "GET {path} HTTP/1.1\r\nHost: t.example\r\nX: " + "x" * 60000 + "\r\n\r\n",
    "GET {path} HTTP/1.1\r\nHost: t.example\r\n" + "X: y\r\n" * 500 + "\r\n",
    "GET {path} HTTP/1.1\r\nHost: t.example\r\nX: \x01\r\n\r\n",
    "GET {path} HTTP/1.1\r\nHost: t.example\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "GET {path} HTTP/1.1\r\nHost: t.example\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "GET {path} HTTP/9.9\r\nHost: t.example\r\n\r\n",
], ids=range(6))
def test_what_weir_itself_refuses_is_not_kept(caching, module_origin, fresh_path, raw):
    path = fresh_path()
    unharmed(caching, path, raw.replace("{path}", path).encode("latin-1"), fresh_path)
