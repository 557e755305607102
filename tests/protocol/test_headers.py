"""What a server and a client see: hop-by-hop fields, forwarding fields, header edits and their inheritance."""

import re

import pytest

from harness import RawClient, Reply


@pytest.fixture(scope="module")
def plain(module_site, module_backend):
    return module_site([{"upstream": "app"}], {"app": module_backend.address})


def seen(weir, backend, headers=(), target="/", host="t.example", **options):
    """What the backend saw of a request."""
    backend.forget()
    answer = weir.get(target, headers=headers, host=host, **options)
    assert answer.status == 200, answer
    return backend.requests[-1]


# -- to the server ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name,value", [
    ("Connection", "keep-alive"), ("Keep-Alive", "timeout=5"), ("Proxy-Connection", "keep-alive"), ("TE", "gzip"),
    ("Upgrade", "h2c"), ("Proxy-Authorization", "Basic eDp5"),
])
def test_a_hop_by_hop_field_does_not_reach_the_server(plain, module_backend, name, value):
    request = seen(plain, module_backend, [(name, value)])
    if name == "Connection":
        assert request.fields.tokens("connection") in ([], ["keep-alive"])
    elif name == "Proxy-Authorization":
        pass  # RFC 9110 §11.7.2: consumed by the proxy that asked for it; weir did not ask
    elif name == "TE":
        assert "gzip" not in request.fields.tokens("te")
    else:
        assert name not in request.fields


@pytest.mark.parametrize("connection", ["X-Private", "close, x-private", "x-other,\tX-PRIVATE ,", "X-Private, X-Private"])
def test_a_field_named_by_connection_does_not_reach_the_server(plain, module_backend, connection):
    request = seen(plain, module_backend, [("Connection", connection), ("X-Private", "secret"), ("X-Public", "1")])
    assert "x-private" not in request.fields and request["x-public"] == "1"


def test_a_second_connection_line_counts_too(plain, module_backend):
    request = seen(plain, module_backend, [("Connection", "x-a"), ("X-A", "1"), ("Connection", "x-b"), ("X-B", "2")])
    assert "x-a" not in request.fields and "x-b" not in request.fields


@pytest.mark.parametrize("victim", ["Host", "Content-Length", "X-Forwarded-For", "Via", "Cookie"])
def test_connection_cannot_take_away_what_matters(plain, module_backend, victim):
    """Naming framing, host or weir's own fields in Connection must not remove them from what the server gets."""
    module_backend.forget()
    with plain.client() as client:
        answer = client.request("POST", "/echo", [("Connection", victim), ("Cookie", "a=b")], body=b"12345")
    if answer.status == 400:
        assert not module_backend.requests
        return
    request = module_backend.requests[-1]
    assert request.body == b"12345" and request["host"] == "t.example"
    assert "x-forwarded-for" in request.fields and "via" in request.fields


def test_end_to_end_fields_keep_their_order_case_and_bytes(plain, module_backend):
    fields = [("X-Zed", "1"), ("x-alpha", 'a "quoted, string"; p=1'), ("X-Zed", "2"), ("X-Utf8", "caf\xc3\xa9"), ("X-Empty", "")]
    request = seen(plain, module_backend, fields)
    got = [(n, v) for n, v in request.fields if n.lower() in ("x-zed", "x-alpha", "x-utf8", "x-empty")]
    assert [(n.lower(), v) for n, v in got] == [(n.lower(), v) for n, v in fields]


def test_whitespace_around_a_value_is_no_part_of_it(plain, module_backend):
    module_backend.forget()
    with plain.client() as client:
        client.send(b"GET / HTTP/1.1\r\nHost: t.example\r\nX-Padded: \t  value with  spaces \t \r\nX-Tight:tight\r\n\r\n")
        assert client.read_response().status == 200
    request = module_backend.requests[-1]
    assert request["x-padded"] == "value with  spaces" and request["x-tight"] == "tight"


@pytest.mark.parametrize("host", ["t.example", "T.Example", "t.example:8080", "t.example.", "127.0.0.1", "[::1]:80"])
def test_host_is_passed_on_as_it_came(plain, module_backend, host):
    assert seen(plain, module_backend, host=host)["host"] == host


def test_the_forwarding_fields_are_set(plain, module_backend):
    request = seen(plain, module_backend, host="t.example:8080")
    assert request["x-forwarded-for"] == "127.0.0.1"
    assert request["x-forwarded-proto"] == "http"
    assert request["x-forwarded-host"] == "t.example:8080"
    assert re.match(r"1\.1 \S+", request["via"])


def test_forwarding_fields_of_an_untrusted_client_are_replaced(plain, module_backend):
    request = seen(plain, module_backend, [("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-Proto", "https"),
                                           ("X-Forwarded-Host", "evil.example"), ("X-Forwarded-For", "7.7.7.7")])
    assert request["x-forwarded-for"] == "127.0.0.1"
    assert request["x-forwarded-proto"] == "http"
    assert request["x-forwarded-host"] == "t.example"


def test_forwarded_of_an_untrusted_client_does_not_pass(plain, module_backend):
    request = seen(plain, module_backend, [("Forwarded", "for=6.6.6.6")])
    assert "6.6.6.6" not in " ".join(request.fields.all("forwarded"))


def test_forwarding_fields_of_a_trusted_client_are_extended(site, http_backend):
    backend = http_backend()
    weir = site([{"upstream": "app"}], {"app": backend.address}, {"web": {"trusted_proxies": ["127.0.0.0/8"]}})
    request = seen(weir, backend, [("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-Proto", "https"),
                                   ("X-Forwarded-Host", "outer.example")])
    assert request.fields.tokens("x-forwarded-for") == ["6.6.6.6", "127.0.0.1"]
    assert request["x-forwarded-proto"] == "https" and request["x-forwarded-host"] == "outer.example"


def test_a_request_id_is_made_and_each_differs(plain, module_backend):
    ids = {seen(plain, module_backend)["x-request-id"] for _ in range(5)}
    assert len(ids) == 5 and all(len(i) >= 8 for i in ids)


def test_a_request_id_of_the_client_is_kept(plain, module_backend):
    assert seen(plain, module_backend, [("X-Request-Id", "my-own-id-1")])["x-request-id"] == "my-own-id-1"


def test_via_of_earlier_proxies_is_extended(plain, module_backend):
    via = seen(plain, module_backend, [("Via", "1.0 fred")]).fields.tokens("via")
    assert via[0] == "1.0 fred" and len(via) == 2


def test_via_tells_the_version_that_was_received(plain, module_backend):
    module_backend.forget()
    with plain.client() as client:
        client.send(b"GET / HTTP/1.0\r\nHost: t.example\r\n\r\n")
        client.read_response()
    assert module_backend.requests[-1].fields.tokens("via")[-1].startswith("1.0 ")


@pytest.mark.parametrize("headers,body", [([], b"12345"), ([("Transfer-Encoding", "chunked")], b"5\r\n12345\r\n0\r\n\r\n")])
def test_the_server_gets_one_framing(plain, module_backend, headers, body):
    module_backend.forget()
    with plain.client() as client:
        client.request("POST", "/echo", headers, body=body)
    request = module_backend.requests[-1]
    assert ("content-length" in request.fields) != ("transfer-encoding" in request.fields) and request.body == b"12345"


def test_a_request_without_a_body_gets_no_framing_from_a_get(plain, module_backend):
    request = seen(plain, module_backend)
    assert "transfer-encoding" not in request.fields and request["content-length"] in (None, "0")


def test_the_server_is_spoken_to_in_http_1_1(plain, module_backend):
    module_backend.forget()
    with plain.client() as client:
        client.send(b"GET / HTTP/1.0\r\nHost: t.example\r\n\r\n")
        client.read_response()
    assert module_backend.requests[-1].version == "HTTP/1.1"


def test_an_absolute_target_is_sent_as_a_path_with_its_authority_as_host(plain, module_backend):
    module_backend.forget()
    with plain.client() as client:
        client.send(b"GET http://real.example/p?q=1 HTTP/1.1\r\nHost: real.example\r\n\r\n")
        assert client.read_response().status == 200
    request = module_backend.requests[-1]
    assert request.target == "/p?q=1" and request["host"] == "real.example"


# -- to the client ------------------------------------------------------------------------------------------------------------

@pytest.fixture
def answering(site, http_backend):
    """start(headers) -> answer of a backend with those response fields."""
    def run(headers, request_headers=(), **route):
        backend = http_backend(handler=lambda r: Reply(body=b"x", headers=headers))
        return site([{"upstream": "app", **route}], {"app": backend.address}).get("/", headers=request_headers)
    return run


def test_hop_by_hop_fields_of_the_server_do_not_reach_the_client(answering):
    answer = answering([("Connection", "x-private, keep-alive"), ("X-Private", "1"), ("Keep-Alive", "timeout=9"),
                        ("Proxy-Connection", "keep-alive"), ("Upgrade", "h2c"), ("X-Public", "2")])
    for name in ("x-private", "proxy-connection", "upgrade"):
        assert name not in answer.fields
    assert answer.fields.all("keep-alive") != ["timeout=9"] and answer["x-public"] == "2"
    assert "x-private" not in answer.fields.tokens("connection")


def test_via_is_added_to_a_response(answering):
    assert re.match(r"1\.1 \S+", answering([])["via"])


def test_cookies_are_kept_apart(answering):
    answer = answering([("Set-Cookie", "a=1"), ("Set-Cookie", "b=2; Expires=Wed, 09 Jun 2027 10:18:14 GMT")])
    assert answer.fields.all("set-cookie") == ["a=1", "b=2; Expires=Wed, 09 Jun 2027 10:18:14 GMT"]


def test_server_and_date_of_the_server_pass(answering):
    answer = answering([("Server", "inner/1"), ("Date", "Sun, 06 Nov 1994 08:49:37 GMT")])
    assert answer["server"] == "inner/1" and answer["date"] == "Sun, 06 Nov 1994 08:49:37 GMT"


# -- edits ----------------------------------------------------------------------------------------------------------------------

def edited(site, backend, headers=(), target="/", **route):
    weir = site([{"name": "edit", "upstream": "app", **route}], {"app": backend.address})
    return seen(weir, backend, headers, target), weir


def test_set_replaces_every_line_of_a_request_header(site, http_backend):
    request, _ = edited(site, http_backend(), [("X-A", "1"), ("x-a", "2")], request_headers={"set": {"X-A": "new"}})
    assert request.fields.all("x-a") == ["new"]


def test_set_adds_a_request_header_that_was_absent(site, http_backend):
    request, _ = edited(site, http_backend(), request_headers={"set": {"x-new": "v"}})
    assert request["x-new"] == "v"


def test_add_keeps_what_was_there(site, http_backend):
    request, _ = edited(site, http_backend(), [("X-A", "1")], request_headers={"add": {"x-a": "2"}})
    assert request.fields.all("x-a") == ["1", "2"] or request.fields.tokens("x-a") == ["1", "2"]


def test_remove_takes_every_line_away(site, http_backend):
    request, _ = edited(site, http_backend(), [("Cookie", "a=1"), ("X-B", "1"), ("x-b", "2")],
                        request_headers={"remove": ["x-b", "COOKIE"]})
    assert "x-b" not in request.fields and "cookie" not in request.fields


def test_host_can_be_set(site, http_backend):
    request, _ = edited(site, http_backend(), request_headers={"set": {"host": "inner.example"}})
    assert request["host"] == "inner.example"


@pytest.mark.parametrize("template,expected", [
    ("${client}", "127.0.0.1"), ("${method}", "GET"), ("${scheme}", "http"), ("${host}", "t.example"),
    ("${target}", "/a/b?x=1&y=two"), ("${path}", "/a/b"), ("${query}", "x=1&y=two"), ("${protocol}", "HTTP/1.1"),
    ("${route}", "edit"), ("${upstream}", "app"), ("${listener}", "web"), ("${header.user-agent}", "tester"),
    ("${cookie.sid}", "42"), ("${arg.y}", "two"), ("${arg.none}", ""), ("${header.none}", ""),
    ("a${method}b${scheme}c", "aGETbhttpc"), ("no variables", "no variables"),
])
def test_a_template_is_filled_in(site, http_backend, template, expected):
    request, _ = edited(site, http_backend(), [("User-Agent", "tester"), ("Cookie", "x=1; sid=42")], "/a/b?x=1&y=two",
                        request_headers={"set": {"x-t": template}})
    assert (request["x-t"] or "") == expected


def test_the_template_request_id_is_the_one_that_the_server_sees(site, http_backend):
    request, _ = edited(site, http_backend(), request_headers={"set": {"x-copy": "${request_id}"}})
    assert request["x-copy"] == request["x-request-id"]


def test_a_template_cannot_inject_a_field(site, http_backend):
    """What a client sends percent-encoded never turns into CR LF of a head."""
    request, _ = edited(site, http_backend(), target="/?v=a%0d%0aX-Evil:%201", request_headers={"set": {"x-t": "${arg.v}"}})
    assert "x-evil" not in request.fields


def test_response_headers_are_set_added_and_removed(site, http_backend):
    backend = http_backend(handler=lambda r: Reply(headers=[("Server", "inner"), ("X-A", "1"), ("X-B", "1")]))
    weir = site([{"upstream": "app", "response_headers": {"set": {"x-a": "2"}, "add": {"x-b": "2"}, "remove": ["server"]}}],
                {"app": backend.address})
    answer = weir.get()
    assert answer.fields.all("x-a") == ["2"] and answer.fields.tokens("x-b") == ["1", "2"] and "server" not in answer.fields


@pytest.mark.parametrize("template,expected", [
    ("${status}", "200"), ("${response_header.x-inner}", "in"), ("${upstream}", "app"), ("${method}", "GET"),
])
def test_a_response_template_is_filled_in(site, http_backend, template, expected):
    backend = http_backend(handler=lambda r: Reply(headers=[("X-Inner", "in")]))
    weir = site([{"upstream": "app", "response_headers": {"set": {"x-t": template}}}], {"app": backend.address})
    assert weir.get()["x-t"] == expected


def test_a_set_header_stands_on_errors_of_weir_too(site, http_backend):
    from harness import free_port
    weir = site([{"upstream": "app", "response_headers": {"set": {"x-frame-options": "DENY"}}}], {"app": f"127.0.0.1:{free_port()}"})
    answer = weir.get()
    assert answer.status in (502, 503) and answer["x-frame-options"] == "DENY"


def test_a_set_header_stands_on_respond_and_redirect(site):
    headers = {"response_headers": {"set": {"x-s": "1"}}}
    weir = site([{"path": "/r", "respond": {"status": 200, "body": "x"}, **headers},
                 {"path": "/d", "redirect": {"to": "/r"}, **headers}])
    assert weir.get("/r")["x-s"] == "1" and weir.get("/d")["x-s"] == "1"


# -- defaults ---------------------------------------------------------------------------------------------------------------------

def test_defaults_reach_every_route(site):
    weir = site([{"path": "/a", "respond": {"body": "a"}}, {"path": "/b", "respond": {"body": "b"}}],
                defaults={"response_headers": {"set": {"x-d": "1"}}})
    assert weir.get("/a")["x-d"] == "1" and weir.get("/b")["x-d"] == "1"


def test_maps_of_a_route_and_of_the_defaults_merge_by_key(site):
    weir = site([{"respond": {"body": "a"}, "response_headers": {"set": {"x-b": "route", "x-c": "route"}}}],
                defaults={"response_headers": {"set": {"x-a": "default", "x-b": "default"}}})
    answer = weir.get()
    assert (answer["x-a"], answer["x-b"], answer["x-c"]) == ("default", "route", "route")


def test_null_takes_an_inherited_header_away(site):
    weir = site([{"respond": {"body": "a"}, "response_headers": {"set": {"x-a": None}}}],
                defaults={"response_headers": {"set": {"x-a": "1", "x-b": "2"}}})
    answer = weir.get()
    assert "x-a" not in answer.fields and answer["x-b"] == "2"


def test_null_takes_an_inherited_map_away(site):
    weir = site([{"respond": {"body": "a"}, "response_headers": None}], defaults={"response_headers": {"set": {"x-a": "1"}}})
    assert "x-a" not in weir.get().fields


def test_a_list_of_a_route_replaces_that_of_the_defaults(site, http_backend):
    backend = http_backend(handler=lambda r: Reply(headers=[("X-A", "1"), ("X-B", "2")]))
    weir = site([{"upstream": "app", "response_headers": {"remove": ["x-b"]}}], {"app": backend.address},
                defaults={"response_headers": {"remove": ["x-a"]}})
    answer = weir.get()
    assert answer["x-a"] == "1" and "x-b" not in answer.fields


def test_a_keep_alive_client_gets_each_edit_once(site, http_backend):
    weir = site([{"upstream": "app", "response_headers": {"add": {"x-a": "1"}}}], {"app": http_backend().address})
    with RawClient(weir.port()) as client:
        for _ in range(5):
            assert client.get().fields.all("x-a") == ["1"]
