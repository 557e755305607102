"""Which route a request meets, and what the actions without a backend answer."""

import json
import random

import pytest

from harness import Reply, free_port, wait_until
from harness.admin import find


def says(name, **match):
    return {"name": name, **match, "respond": {"status": 200, "body": name}}


TABLE = [
    says("any"),
    says("exact-host", host="a.example"),
    says("two-hosts", host=["l1.example", "l2.example"]),
    says("wild", host="*.example"),
    says("wild-longer", host="*.b.example"),
    says("exact-in-wild", host="x.b.example"),
    says("prefix", path="/v1"),
    says("prefix-longer", path="/v1/users"),
    says("exact-path", path={"exact": "/v1/users/me"}),
    says("regex", path={"regex": "^/v[0-9]+/items/"}),
    says("get-only", path="/only", methods=["GET"]),
    says("post-only", path="/only", methods=["POST"]),
    says("put-or-delete", path="/writes", methods=["PUT", "DELETE"]),
    says("header", path="/h", headers={"x-canary": "1"}),
    says("header-two", path="/h", headers={"x-canary": "1", "x-more": "2"}),
    says("header-regex", path="/hr", headers={"user-agent": {"regex": "^curl/"}}),
    says("header-present", path="/hp", headers={"authorization": {"present": True}}),
    says("query", path="/q", query={"debug": "1"}),
    says("query-present", path="/qp", query={"debug": {"present": True}}),
    says("cookie", path="/c", cookies={"beta": "yes"}),
    says("host-and-path", host="a.example", path="/v1"),
    says("host-slash", host="s.example", path="/"),
]

CASES = [  # (method, host, target, headers, route)
    ("GET", "nobody.test", "/", {}, "any"),
    ("GET", "a.example", "/", {}, "exact-host"),
    ("GET", "A.EXAMPLE", "/", {}, "exact-host"),
    ("GET", "a.example:8080", "/", {}, "exact-host"),
    ("GET", "a.example.", "/", {}, "exact-host"),
    ("GET", "A.Example.:80", "/", {}, "exact-host"),
    ("GET", "l1.example", "/", {}, "two-hosts"),
    ("GET", "l2.example", "/", {}, "two-hosts"),
    ("GET", "other.example", "/", {}, "wild"),
    ("GET", "example", "/", {}, "any"),
    ("GET", "notexample", "/", {}, "any"),
    ("GET", "y.b.example", "/", {}, "wild-longer"),
    ("GET", "Y.B.Example", "/", {}, "wild-longer"),
    ("GET", "x.b.example", "/", {}, "exact-in-wild"),
    ("GET", "b.example", "/", {}, "wild"),
    ("GET", "t", "/v1", {}, "prefix"),
    ("GET", "t", "/v1/", {}, "prefix"),
    ("GET", "t", "/v1/x", {}, "prefix"),
    ("GET", "t", "/v1?x=/v1/users", {}, "prefix"),
    ("GET", "t", "/v10", {}, "any"),
    ("GET", "t", "/v1x/y", {}, "any"),
    ("GET", "t", "/V1", {}, "any"),
    ("GET", "t", "/x/v1", {}, "any"),
    ("GET", "t", "/v1/users", {}, "prefix-longer"),
    ("GET", "t", "/v1/users/", {}, "prefix-longer"),
    ("GET", "t", "/v1/users/you", {}, "prefix-longer"),
    ("GET", "t", "/v1/usersx", {}, "prefix"),
    ("GET", "t", "/v1/users/me", {}, "exact-path"),
    ("GET", "t", "/v1/users/me?x=1", {}, "exact-path"),
    ("GET", "t", "/v1/users/me/x", {}, "prefix-longer"),
    ("GET", "t", "/v1/items/5", {}, "regex"),
    ("GET", "t", "/v22/items/5", {}, "regex"),
    ("GET", "t", "/vx/items/5", {}, "any"),
    ("GET", "t", "/only", {}, "get-only"),
    ("POST", "t", "/only", {}, "post-only"),
    ("DELETE", "t", "/writes/1", {}, "put-or-delete"),
    ("GET", "t", "/h", {"x-canary": "1"}, "header"),
    ("GET", "t", "/h", {"X-CANARY": "1"}, "header"),
    ("GET", "t", "/h", {"x-canary": "2"}, "any"),
    ("GET", "t", "/h", {}, "any"),
    ("GET", "t", "/h", {"x-canary": "1", "x-more": "2"}, "header-two"),
    ("GET", "t", "/hr", {"user-agent": "curl/8"}, "header-regex"),
    ("GET", "t", "/hr", {"user-agent": "not curl/8"}, "any"),
    ("GET", "t", "/hp", {"authorization": "anything"}, "header-present"),
    ("GET", "t", "/hp", {}, "any"),
    ("GET", "t", "/q?debug=1", {}, "query"),
    ("GET", "t", "/q?a=b&debug=1&c", {}, "query"),
    ("GET", "t", "/q?debug=11", {}, "any"),
    ("GET", "t", "/q?xdebug=1", {}, "any"),
    ("GET", "t", "/qp?debug", {}, "query-present"),
    ("GET", "t", "/qp?debug=", {}, "query-present"),
    ("GET", "t", "/qp", {}, "any"),
    ("GET", "t", "/c", {"cookie": "a=b; beta=yes"}, "cookie"),
    ("GET", "t", "/c", {"cookie": "beta=no"}, "any"),
    ("GET", "t", "/c", {"cookie": "xbeta=yes"}, "any"),
    ("GET", "a.example", "/v1/x", {}, "host-and-path"),
    ("GET", "a.example", "/v1/users", {}, "host-and-path"),
    ("GET", "s.example", "/anything", {}, "host-slash"),
    ("GET", "t", "/v1/../v1/users", {}, "prefix-longer"),
    ("GET", "t", "/%76%31", {}, "prefix"),
    ("GET", "t", "/v1%2Fusers", {}, "any"),
    ("GET", "t", "/x/../v1/./users/me", {}, "exact-path"),
]


@pytest.fixture(scope="module", params=["as-written", "reversed", "shuffled"])
def table(request, module_site):
    routes = list(TABLE)
    if request.param == "reversed":
        routes.reverse()
    elif request.param == "shuffled":
        random.Random(4).shuffle(routes)
    return module_site(routes)


@pytest.mark.parametrize("method,host,target,headers,route", CASES, ids=[f"{n}-{c[4]}" for n, c in enumerate(CASES)])
def test_the_most_specific_route_wins_whatever_the_order(table, method, host, target, headers, route):
    with table.client() as client:
        answer = client.request(method, target, headers, host=host)
    assert (answer.status, answer.text) == (200, route)


@pytest.fixture(scope="module")
def narrow(module_site):
    """No route for any path."""
    return module_site([says("get", path="/a", methods=["GET", "PUT"]), says("post", path="/a", methods=["POST"]),
                        says("host", host="only.example", path="/h"), says("first", path={"regex": "^/r/.*"}),
                        says("second", path={"regex": "^/r/x"})])


def test_no_route_is_a_404(narrow):
    assert narrow.get("/none").status == 404


def test_another_host_is_a_404(narrow):
    assert narrow.get("/h", host="other.example").status == 404
    assert narrow.get("/h", host="only.example").status == 200


def test_another_method_is_a_405_that_names_those_allowed(narrow):
    answer = narrow.get("/a", method="DELETE")
    assert answer.status == 405
    assert {"get", "put", "post"} <= set(answer.fields.tokens("allow"))
    assert "delete" not in answer.fields.tokens("allow")


def test_a_route_for_get_takes_head(narrow):
    assert narrow.get("/a", method="HEAD").status in (200, 405)


def test_regexes_are_tried_in_file_order(narrow):
    assert narrow.get("/r/x").text == "first"


def test_a_route_of_one_listener_is_not_met_on_another(site):
    weir = site([{**says("one"), "listener": "web"}, {**says("both", path="/both"), "listener": ["web", "other"]}],
                listeners={"web": {}, "other": {}})
    assert weir.get("/").text == "one" and weir.get("/", "other").status == 404
    assert weir.get("/both").text == "both" and weir.get("/both", "other").text == "both"


def test_a_regex_that_explodes_does_not_hang(site):
    weir = site([says("bad", path={"regex": "^/(a+)+$"}), says("any")])
    assert weir.get("/" + "a" * 3000 + "!", seconds=5).status in (200, 404, 500)
    assert weir.get("/aaa").text == "bad"


def test_ten_thousand_routes_are_told_apart(site):
    weir = site([{"host": f"h{n}.example", "path": f"/p{n}", "respond": {"body": str(n)}} for n in range(10_000)])
    for n in (0, 1, 4999, 9999):
        assert weir.get(f"/p{n}/x", host=f"h{n}.example").text == str(n)
    assert weir.get("/p1", host="h2.example").status == 404


# -- what is sent on ------------------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def forwarding(module_site, module_backend):
    return module_site([
        {"upstream": "app"},
        {"path": "/raw", "upstream": "app", "normalize": False},
        {"path": "/strip", "upstream": "app", "rewrite": {"prefix": "/"}},
        {"path": "/swap", "upstream": "app", "rewrite": {"prefix": "/other"}},
        {"path": "/old", "upstream": "app", "rewrite": {"regex": "^/old/(.*)", "to": "/new/$1"}},
    ], {"app": module_backend.address})


@pytest.mark.parametrize("target,sent", [
    ("/", "/"), ("/a/b", "/a/b"), ("/a/./b", "/a/b"), ("/a/../b", "/b"), ("/a/b/..", "/a/"), ("/a/b/.", "/a/b/"), ("/a/b/../", "/a/"),
    ("/%7Euser", "/~user"), ("/%7euser", "/~user"), ("/a%2fb", "/a%2Fb"), ("/a%2Fb", "/a%2Fb"), ("/%41%62", "/Ab"),
    ("/a//b", "/a//b"), ("//a", "//a"), ("/a/%2e%2e/b", "/b"), ("/a/%2E/b", "/a/b"), ("/caf%c3%a9", "/caf%C3%A9"), ("/a%20b", "/a%20b"),
    ("/a/..%2fb", "/a/..%2Fb"), ("/a...b/..c", "/a...b/..c"), ("/?q=%7e%2f/../x", "/?q=%7e%2f/../x"), ("/a?", "/a?"), ("/a??b", "/a??b"),
    ("/a%3Fb", "/a%3Fb"), ("/a%23b", "/a%23b"), ("/a%25b", "/a%25b"),
    ("/a;p=1/b", "/a;p=1/b"), ("/raw/a/%7e/x%2fy", "/raw/a/%7e/x%2fy"),
    ("/strip/users", "/users"), ("/strip/users?x=1", "/users?x=1"), ("/strip", "/"), ("/strip/", "/"), ("/strip/a/b", "/a/b"),
    ("/swap/x", "/other/x"), ("/swap", "/other"), ("/old/a/b?c=d", "/new/a/b?c=d"), ("/old/", "/new/"),
])
def test_the_path_is_normalised_and_rewritten_once(forwarding, module_backend, target, sent):
    module_backend.forget()
    assert forwarding.get(target).status == 200
    assert module_backend.targets() == [sent]


@pytest.mark.parametrize("target", ["/..", "/../x", "/a/../../x", "/%2e%2e/x", "/a/%2e%2e/%2e%2e/x"])
def test_a_path_that_climbs_above_the_root_is_a_400(forwarding, module_backend, target):
    module_backend.forget()
    assert forwarding.get(target).status == 400 and not module_backend.requests


# -- actions --------------------------------------------------------------------------------------------------------------------------

def test_respond_answers_with_its_status_body_and_headers(site):
    weir = site([{"respond": {"status": 418, "body": "tea\n", "headers": {"content-type": "text/x-tea", "x-a": "1"}}}])
    answer = weir.get()
    assert (answer.status, answer.body, answer["content-type"], answer["x-a"]) == (418, b"tea\n", "text/x-tea", "1")


def test_respond_with_a_request_body_keeps_the_connection_in_step(site):
    weir = site([says("r")])
    with weir.client() as client:
        for _ in range(3):
            assert client.request("POST", "/", body=b"x" * 100_000).text == "r"
        client.send_request("POST", "/", [("Transfer-Encoding", "chunked")])
        client.send(b"3\r\nabc\r\n0\r\n\r\n")
        assert client.read_response("POST").text == "r"
        assert client.get().text == "r"


def test_respond_to_head_has_no_body(site):
    with site([says("r")]).client() as client:
        assert client.request("HEAD").body == b""
        assert client.get().text == "r"


def test_redirect_fills_its_template_and_uses_its_status(site):
    weir = site([{"redirect": {"to": "https://${host}${target}", "status": 308}}])
    answer = weir.get("/a/b?c=d")
    assert answer.status == 308 and answer["location"] == "https://t.example/a/b?c=d"


def test_redirect_has_a_sensible_default_status(site):
    assert site([{"redirect": {"to": "/x"}}]).get().status in (301, 302, 307, 308)


@pytest.mark.parametrize("target", ["/%0d%0aSet-Cookie:x=1", "/?a=%0d%0aX-Evil:1"])
def test_redirect_cannot_be_made_to_inject_a_field(site, target):
    answer = site([{"redirect": {"to": "https://x.example${target}"}}]).get(target)
    assert "set-cookie" not in answer.fields and "x-evil" not in answer.fields


def test_split_keeps_its_proportions(site, http_backend):
    blue, green = http_backend("blue"), http_backend("green")
    weir = site([{"split": {"blue": 90, "green": 10}}], {"blue": blue.address, "green": green.address})
    with weir.client() as client:
        for _ in range(1000):
            assert client.get().status == 200
    assert 50 <= len(green.requests) <= 160 and len(blue.requests) + len(green.requests) == 1000


def test_split_with_a_weight_of_0_sends_nothing_there(site, http_backend):
    blue, green = http_backend("blue"), http_backend("green")
    weir = site([{"split": {"blue": 0, "green": 1}}], {"blue": blue.address, "green": green.address})
    with weir.client() as client:
        for _ in range(100):
            assert client.get().text == "green"


# -- allow and deny ---------------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("rules,source,status", [
    ({"allow": ["127.0.0.0/8"]}, "127.0.0.1", 200),
    ({"allow": ["10.0.0.0/8"]}, "127.0.0.1", 403),
    ({"deny": ["127.0.0.2/32"]}, "127.0.0.2", 403),
    ({"deny": ["127.0.0.2/32"]}, "127.0.0.1", 200),
    ({"allow": ["127.0.0.2/32"], "deny": ["127.0.0.0/8"]}, "127.0.0.2", 200),
    ({"allow": ["127.0.0.2/32"], "deny": ["127.0.0.0/8"]}, "127.0.0.3", 403),
    ({"allow": ["127.0.0.0/8"], "deny": ["127.0.0.3/32"]}, "127.0.0.3", 403),
    ({"allow": ["127.0.0.0/8"], "deny": ["127.0.0.3/32"]}, "127.0.0.4", 200),
    ({"allow": ["127.0.0.2"]}, "127.0.0.2", 200),
])
def test_allow_and_deny_by_the_longest_prefix(site, rules, source, status):
    assert site([{**says("r"), **rules}]).get(source=source).status == status


def test_allow_looks_at_the_true_client_behind_a_trusted_proxy(site):
    weir = site([{**says("r"), "allow": ["10.1.0.0/16"]}], listeners={"web": {"trusted_proxies": ["127.0.0.1/32"]}})
    assert weir.get(headers=[("X-Forwarded-For", "10.1.2.3")]).status == 200
    assert weir.get(headers=[("X-Forwarded-For", "10.2.2.3")]).status == 403
    assert weir.get(headers=[("X-Forwarded-For", "10.1.2.3, 10.2.2.3")]).status == 403
    assert weir.get(headers=[("X-Forwarded-For", "10.1.2.3")], source="127.0.0.2").status == 403


def test_a_denied_request_never_reaches_the_server(site, http_backend):
    backend = http_backend()
    weir = site([{"upstream": "app", "deny": ["127.0.0.0/8"]}], {"app": backend.address})
    assert weir.get().status == 403 and not backend.requests


# -- errors -----------------------------------------------------------------------------------------------------------------------------

def test_an_error_is_a_short_page_for_a_browser(site):
    weir = site([{"upstream": "app"}], {"app": f"127.0.0.1:{free_port()}"})
    answer = weir.get(headers=[("Accept", "text/html,*/*;q=0.8")])
    assert answer.status in (502, 503) and answer["content-type"].startswith("text/")
    assert str(answer.status).encode() in answer.body and len(answer.body) < 4096


def test_an_error_is_problem_json_for_a_client_that_accepts_json(site):
    weir = site([{"upstream": "app"}], {"app": f"127.0.0.1:{free_port()}"})
    answer = weir.get(headers=[("Accept", "application/json"), ("X-Request-Id", "id-for-the-error")])
    assert answer["content-type"].startswith("application/problem+json")
    problem = json.loads(answer.body)
    assert problem["status"] == answer.status and problem["title"]
    assert "id-for-the-error" in answer.body.decode()


def test_an_error_page_shows_the_request_id(site):
    weir = site([says("a", path="/a")])
    assert "shown-id-7" in weir.get("/none", headers=[("X-Request-Id", "shown-id-7")]).text


def test_a_request_id_cannot_inject_markup_into_an_error_page(site):
    weir = site([says("a", path="/a")])
    answer = weir.get("/none", headers=[("X-Request-Id", "<script>alert(1)</script>"), ("Accept", "text/html")])
    assert b"<script>" not in answer.body


def test_an_error_never_tells_the_address_of_the_server(site):
    port = free_port()
    weir = site([{"upstream": "app"}], {"app": f"127.0.0.1:{port}"})
    for accept in ("text/html", "application/json"):
        answer = weir.get(headers=[("Accept", accept)])
        assert str(port).encode() not in answer.raw_head + answer.body


def test_errors_of_a_route_are_the_file_named(site, tmp_path):
    (tmp_path / "sorry.html").write_text("<h1>sorry</h1>")
    weir = site([{"upstream": "app", "errors": {502: str(tmp_path / "sorry.html"), 503: str(tmp_path / "sorry.html")}}],
                {"app": f"127.0.0.1:{free_port()}"})
    answer = weir.get()
    assert answer.status in (502, 503) and answer.body == b"<h1>sorry</h1>" and answer["content-type"].startswith("text/html")


def test_errors_do_not_replace_what_the_server_answers(site, http_backend, tmp_path):
    (tmp_path / "sorry.html").write_text("sorry")
    backend = http_backend(handler=lambda r: Reply(status="502 Bad Gateway", body=b"the server's own"))
    weir = site([{"upstream": "app", "errors": {502: str(tmp_path / "sorry.html")}}], {"app": backend.address})
    assert weir.get().body == b"the server's own"


def test_a_head_request_gets_an_error_without_a_body(site):
    weir = site([says("a", path="/a")])
    with weir.client() as client:
        assert client.request("HEAD", "/none").status == 404
        assert client.get("/a").text == "a"


def test_an_error_keeps_the_connection_in_step(site):
    weir = site([says("a", path="/a")])
    with weir.client() as client:
        assert client.request("POST", "/none", body=b"x" * 1000).status == 404
        assert client.get("/a").text == "a"


def test_the_route_that_served_is_counted(site):
    weir = site([says("counted")])
    weir.get()
    wait_until(lambda: weir.admin.metrics().sum("weir_requests_total", route="counted", status=200) == 1)
    assert find(weir.admin.json("/api/v1/routes"), name="counted")
