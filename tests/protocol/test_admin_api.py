"""What the admin API says to what it does not take: a problem that names the field and the way to mend it, and nothing has changed. What
may be said twice, names that need escapes, and health while things go wrong."""

import json

import pytest

from harness import get, wait_until
from harness.control_socket import ControlSocket

SERVER = "/api/v1/upstreams/blue/servers/10.1.1.1:80"
SERVERS = "/api/v1/upstreams/blue/servers"
SPLIT = "/api/v1/routes/app"
PURGE = "/api/v1/cache/purge"
EXPLAIN = "/api/v1/explain"
RELOAD = "/api/v1/reload"


@pytest.fixture(scope="module")
def weir(module_site):
    weir = module_site([{"name": "app", "split": {"blue": 50, "green": 50}}, {"name": 'a/b "c" 100%', "path": "/x", "split": {"blue": 1, "green": 1}},
                        {"name": "plain", "path": "/plain", "upstream": "blue"}],
                       {"blue": "10.1.1.1:80", "green": "10.1.1.2:80", "odd/name é": {"servers": ["[2001:db8::1]:80", "unix:/run/odd.sock"]}})
    weir.control = ControlSocket(weir.socket_file)
    return weir


@pytest.mark.parametrize("method,path,body,status,words", [
    ("PATCH", SERVER, {"weight": -1}, 400, ['"weight"', "0 to 65535"]),
    ("PATCH", SERVER, {"weight": 65536}, 400, ['"weight"', "0 to 65535"]),
    ("PATCH", SERVER, {"weight": 1.5}, 400, ['"weight"', "whole number"]),
    ("PATCH", SERVER, {"weight": "3"}, 400, ['"weight"', "whole number"]),
    ("PATCH", SERVER, {"weight": True}, 400, ['"weight"']),
    ("PATCH", SERVER, {"state": "off"}, 400, ['"state"', '"drain"']),
    ("PATCH", SERVER, {"state": None}, 400, ['"state"']),
    ("PATCH", SERVER, {"weight": 3, "state": "off"}, 400, ['"state"']),
    ("PATCH", SERVER, {"wieght": 3}, 400, ['"wieght"', 'did you mean "weight"']),
    ("PATCH", SERVER, {}, 400, ['"weight"', '"state"']),
    ("PATCH", SERVERS + "/10.1.1.9:80", {"weight": 3}, 404, ["10.1.1.9:80", "10.1.1.1:80"]),
    ("PATCH", "/api/v1/upstreams/bleu/servers/10.1.1.1:80", {"weight": 3}, 404, ["no upstream is called bleu"]),
    ("POST", SERVERS, {}, 400, ['"address"']),
    ("POST", SERVERS, {"address": 5}, 400, ["address"]),
    ("POST", SERVERS, {"address": "10.1.1.1"}, 400, ["address"]),
    ("POST", SERVERS, {"address": "10.1.1.3:80", "weight": -1}, 400, ["weight"]),
    ("POST", SERVERS, {"address": "10.1.1.3:80", "wieght": 1}, 400, ["wieght", "weight"]),
    ("POST", SERVERS, {"address": "10.1.1.1:80"}, 409, ["PATCH"]),
    ("DELETE", SERVERS + "/10.1.1.9:80", None, 404, ["10.1.1.9:80"]),
    ("PATCH", SPLIT, {}, 400, ['"split"']),
    ("PATCH", SPLIT, {"split": []}, 400, ['"split"']),
    ("PATCH", SPLIT, {"split": {"red": 1}}, 422, ["split"]),
    ("PATCH", SPLIT, {"split": {"blue": -1}}, 422, ["0 to 1000000"]),
    ("PATCH", SPLIT, {"split": {"blue": 0, "green": 0}}, 422, ["weights"]),
    ("PATCH", SPLIT, {"splits": {"blue": 1}}, 400, ['did you mean "split"']),
    ("PATCH", "/api/v1/routes/plain", {"split": {"blue": 1}}, 422, ["no split"]),
    ("PATCH", "/api/v1/routes/none", {"split": {"blue": 1}}, 404, ["/api/v1/routes"]),
    ("POST", PURGE, {}, 400, ['"url"', '"all"']),
    ("POST", PURGE, {"all": False}, 400, ['"all" must be true']),
    ("POST", PURGE, {"tag": ""}, 400, ['"tag"']),
    ("POST", PURGE, {"url": 5}, 400, ['"url"']),
    ("POST", PURGE, {"url": "/a"}, 400, ["host"]),
    ("POST", PURGE, {"tag": "a", "all": True}, 400, ["at a time"]),
    ("POST", PURGE, {"tag": "a", "soft": 1}, 400, ['"soft"']),
    ("POST", EXPLAIN, {}, 400, ['"url"']),
    ("POST", EXPLAIN, {"url": "http://x/", "headers": {"x": 1}}, 400, ['"headers"']),
    ("POST", EXPLAIN, {"url": "http://x/", "header": {}}, 400, ['did you mean "headers"']),
    ("POST", RELOAD, {"now": True}, 400, ['"now"']),
    ("GET", "/api/v1/requests?id=none", None, 404, ["id"]),
])
def test_a_problem_names_what_is_wrong(weir, method, path, body, status, words):
    before = weir.control.state()
    answer = weir.admin.request(method, path, body)
    problem = json.loads(answer.body)
    told = problem["detail"] + " ".join(problem.get("errors", []))
    assert answer.status == status == problem["status"], told
    assert answer["content-type"] == "application/problem+json" and problem["title"] == answer.reason
    assert not [word for word in words if word not in told], told
    assert weir.control.state() == before


@pytest.mark.parametrize("body,word", [
    (b"{", "line 1, column"), (b"[1]", "JSON object"), (b'"x"', "JSON"), (b"{'weight': 3}", "line 1"), (b'{"weight": 3, "weight": 4}', "duplicate"),
    (b'{"weight": NaN}', "line 1"), (b'{"state": "\xff"}', "line 1"), (b'{"\xc3\xa9' * 1 + b'\xc3\xa9' * 40 + b'": 1}', "unknown key"),
    (b'{"weight": 99999999999999999999}', "big"), (b'{"a": "\\u0000"}', "line 1"), (b"[" * 3000, "depth"), (b'{"weight": 3} {}', "line 1")])
def test_what_is_no_json_is_told_where(weir, body, word):
    answer = get(weir.port("admin"), SERVER, [("Content-Type", "application/json")], method="PATCH", body=body, host="127.0.0.1")
    assert answer.status == 400 and word in json.loads(answer.body)["detail"], answer.body


# Names.

def test_names_with_slashes_percents_and_spaces_are_escaped(weir):
    answer = weir.admin.request("PATCH", "/api/v1/routes/a%2Fb%20%22c%22%20100%25", {"split": {"blue": 3}})
    assert answer.status == 200 and json.loads(answer.body)["name"] == 'a/b "c" 100%'
    # A route's name is the last of its path: slashes may stand as they are.
    assert weir.admin.request("PATCH", "/api/v1/routes/a/b%20%22c%22%20100%25", {"split": {"blue": 1}}).status == 200
    for server in ("[2001:db8::1]:80", "%5B2001:db8::1%5D:80", "unix:/run/odd.sock", "unix:%2Frun%2Fodd.sock"):
        assert weir.admin.request("PATCH", f"/api/v1/upstreams/odd%2Fname%20%C3%A9/servers/{server}", {"weight": 3}).status == 200, server
    assert weir.admin.request("PATCH", "/api/v1/upstreams/odd/name/servers/x", {"weight": 3}).status == 404


@pytest.mark.parametrize("name", ["%", "%2", "%zz", "%00", "a%00b", "%ff", "%c3%28", "..", "%2e%2e", "%0d%0aX:%20y", "x" * 4000])
def test_names_that_are_none_are_not_found(weir, name):
    for path, method in ((f"/api/v1/routes/{name}", "PATCH"), (f"/api/v1/upstreams/{name}/servers/10.1.1.1:80", "PATCH"), (SERVERS + "/" + name, "DELETE")):
        answer = weir.admin.request(method, path, {"weight": 3} if method == "PATCH" else None)
        assert answer.status == 404 and json.loads(answer.body)["status"] == 404
        assert "x" not in answer.fields


# Twice.

def test_what_is_said_twice_is_so_once(weir):
    def patch():
        answer = weir.admin.request("PATCH", SERVER, {"weight": 7, "state": "drain"})
        assert answer.status == 200
        return weir.control.state()
    assert patch() == patch()
    weir.admin.request("PATCH", SERVER, {"weight": None, "state": "up"})
    statuses = [weir.admin.request("POST", SERVERS, {"address": "10.1.1.7:80"}).status for _ in range(2)]
    statuses += [weir.admin.request("DELETE", SERVERS + "/10.1.1.7:80").status for _ in range(2)]
    assert statuses == [201, 409, 200, 404]


# Health.

def test_a_refused_reload_leaves_health_as_it_is(site):
    weir = site([{"respond": {"body": "ok"}}])
    weir.change(routes=[{"upstream": "missing"}])
    assert weir.admin.reload().status == 422
    answer = weir.admin.health()
    assert (answer.status, answer.body) == (200, b"ok\n") and weir.get().status == 200


def test_health_tells_of_the_drain_while_answers_are_under_way(site, server):
    weir = site([{"upstream": "app"}], {"app": server.address}, timeouts={"drain": "60s"})
    with weir.client() as client:
        client.send_request("GET", "/")
        with server.accept() as backend:
            backend.read_request()
            weir.signal(15)
            wait_until(lambda: weir.admin.health().status == 503)
            answer = weir.admin.health()
            assert (answer.status, answer.body) == (503, b"draining\n")
            assert weir.admin.metrics().sum("weir_draining") == 1
            backend.respond()
        assert client.read_response("GET").status == 200
    weir.wait()


def test_health_answers_in_the_sandbox(site):
    weir = site([{"respond": {"body": "ok"}}], sandbox=True)
    assert weir.admin.health().status == 200 and weir.admin.metrics().samples
    assert weir.admin.reload().status == 200
