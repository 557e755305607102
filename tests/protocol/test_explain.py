"""`weir explain` beside traffic: what it says of a request is what then happens, and saying it changes nothing. And what it says
of settings: each value in force, and where the file says it."""

import itertools
import json
import os
import re

import pytest

from harness import HttpBackend, free_port, run_cli, wait_until


def ask(weir, url, method="GET", headers=(), **more):
    """What the running process says, of requests to the port of `web`."""
    fields = {}
    for name, value in headers:
        fields.setdefault(name, []).append(value)
    answer = weir.admin.request("POST", "/api/v1/explain", {"method": method, "url": url, "headers": fields, **more})
    assert answer.status == 200, answer.text
    return json.loads(answer.body)


def at(weir, path, host="t.example", listener="web"):
    return f"http://{host}:{weir.port(listener)}{path}"


def explain_file(tmp_path, text, *arguments):
    (tmp_path / "weir.yaml").write_text(text)
    return run_cli("explain", "-c", tmp_path / "weir.yaml", *arguments)


# -- beside traffic --------------------------------------------------------------------------------------------------------------

RICH = [
    {"name": "root", "upstream": "app"},
    {"name": "api", "host": "api.example", "path": "/v1", "upstream": "api", "rewrite": {"prefix": "/new"},
     "request_headers": {"set": {"x-who": "${client} ${method} ${host}", "x-q": "${arg.q}"}, "add": {"x-more": "1"}, "remove": ["x-secret", "cookie"]},
     "response_headers": {"set": {"x-route": "${route}", "x-path": "${path}"}, "remove": ["x-backend"]}},
    {"name": "canary", "host": "api.example", "path": "/v1", "headers": {"x-canary": "1"}, "upstream": "canary",
     "response_headers": {"set": {"x-route": "canary"}}},
    {"name": "wild", "host": "*.example", "path": "/w", "respond": {"status": 203, "body": "${host}", "headers": {"x-own": "${path}"}}},
    {"name": "exact", "path": {"exact": "/exact"}, "respond": {"body": "exact"}},
    {"name": "pattern", "path": {"regex": "^/p[0-9]+$"}, "redirect": {"to": "https://${host}${target}", "status": 307}},
    {"name": "posts", "path": "/posts", "methods": ["POST", "PUT"], "upstream": "app", "limits": {"body_size": "10"}},
    {"name": "closed", "path": "/closed", "deny": ["127.0.0.0/8"], "respond": {"body": "never"}},
    {"name": "few", "path": "/few", "allow": ["10.0.0.0/8"], "deny": ["10.1.0.0/16"], "respond": {"body": "in"}},
    {"name": "cached", "path": "/cached", "upstream": "app", "cache": {"ttl": "60s", "ignore_query": ["utm_*"], "bypass_cookie": ["session"]}},
    {"name": "files", "path": "/files", "rewrite": {"prefix": "/"}, "files": {"root": "FOLDER"}},
    {"name": "argument", "path": "/q", "query": {"v": "2"}, "cookies": {"c": {"present": True}}, "respond": {"body": "both"}},
    {"name": "hashed", "path": "/hash", "upstream": "hashed", "rewrite": {"prefix": "/other"}},
]

H = "api.example"
REQUESTS = [
    ("GET", "/", "t.example", []), ("GET", "/anything?x=1", "other.example", []), ("HEAD", "/", "t.example", []),
    ("GET", "/v1", H, []), ("GET", "/v1/users?q=a%20b", H, [("X-Secret", "s"), ("Cookie", "a=b")]), ("GET", "/v1/%41/../b", H, []),
    ("GET", "/v10", H, []), ("POST", "/v1/x", H, [("X-More", "0")]), ("GET", "/v1/x", H.upper(), [("Connection", "x-hop"), ("X-Hop", "1")]),
    ("GET", "/v1/x", H, [("X-Canary", "1")]), ("GET", "/v1/x", H, [("X-Canary", "2")]), ("GET", "/v1/x", H + ".", []),
    ("GET", "/w/x", "a.example", []), ("GET", "/w/x", "a.b.example", []), ("GET", "/w", "example", []), ("GET", "/w", "b.test", []),
    ("GET", "/exact", "t.example", []), ("GET", "/exact/", "t.example", []), ("GET", "/exact?x", "t.example", []),
    ("GET", "/p12?a=b", "t.example", []), ("GET", "/p12x", "t.example", []),
    ("GET", "/posts", "t.example", []), ("PUT", "/posts", "t.example", []), ("POST", "/posts", "t.example", [("Content-Length", "11")]),
    ("DELETE", "/posts/1", "t.example", []), ("GET", "/closed", "t.example", []), ("GET", "/few", "t.example", []),
    ("GET", "/few", "t.example", [("X-Forwarded-For", "10.2.3.4")]), ("GET", "/few", "t.example", [("X-Forwarded-For", "10.1.3.4")]),
    ("GET", "/cached/a", "t.example", []), ("GET", "/cached/a", "t.example", []), ("GET", "/cached/a?utm_x=1", "t.example", []),
    ("GET", "/cached/a?y=1", "t.example", []), ("GET", "/cached/a", "t.example", [("Cookie", "session=1")]), ("POST", "/cached/a", "t.example", []),
    ("GET", "/cached/a", "t.example", []), ("GET", "/cached/b", "t.example", [("Cache-Control", "no-store")]),
    ("GET", "/cached/c", "t.example", [("If-None-Match", '"x"'), ("Range", "bytes=0-1"), ("X-Original-URL", "/evil"), ("X-Mine", "1")]),
    ("GET", "/files/a.txt", "t.example", []), ("GET", "/files/none", "t.example", []), ("GET", "/files/sub", "t.example", []),
    ("GET", "/files/sub/", "t.example", []), ("PUT", "/files/a.txt", "t.example", []), ("GET", "/files/.hidden", "t.example", []),
    ("GET", "/q?v=2", "t.example", []), ("GET", "/q?v=2", "t.example", [("Cookie", "c=1")]), ("GET", "/q?v=3", "t.example", [("Cookie", "c=1")]),
    ("GET", "/hash/a", "t.example", []), ("GET", "/hash/b", "t.example", []), ("GET", "/hash/c", "t.example", []),
    ("GET", "/../x", "t.example", []), ("GET", "/%zz", "t.example", []), ("OPTIONS", "/", "t.example", [("Max-Forwards", "0")]),
    ("TRACE", "/", "t.example", [("Max-Forwards", "0")]), ("GET", "/", "t.example", [("Expect", "wonders")]),
    ("GET", "/", "t.example", [("Via", ", ".join(["1.1 weir"] * 16))]), ("BREW", "/", "t.example", []),
    ("GET", "/", "t.example", [("X-Long", "x" * 5000)]), ("GET", "/" + "l" * 5000, "t.example", []),
]


@pytest.fixture
def rich(site, http_backend, tmp_path):
    folder = tmp_path / "www"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text("a file")
    backends = {name: http_backend(name) for name in ("app", "api", "canary", "h0", "h1", "h2")}
    routes = json.loads(json.dumps(RICH).replace("FOLDER", str(folder)))
    upstreams = {name: backends[name].address for name in ("app", "api", "canary")}
    upstreams["hashed"] = {"servers": [backends[f"h{i}"].address for i in range(3)], "balance": "ring_hash", "hash_key": "path"}
    weir = site(routes, upstreams, listeners={"web": {"trusted_proxies": ["127.0.0.0/8"], "limits": {"header_size": "5KiB", "request_line": "4KiB"}}},
                log={"access": {"format": "${route}|${upstream}|${server}|${status}|${cache}", "output": str(tmp_path / "access.log")}})
    weir.lines = lambda: (tmp_path / "access.log").read_text().splitlines() if (tmp_path / "access.log").exists() else []
    weir.backends = backends
    return weir


def test_what_traffic_does_is_what_explain_said_just_before(rich):
    """Route, upstream, server, status, header fields both ways and the cache's result, of all requests in turn."""
    assert len(REQUESTS) >= 40
    for method, target, host, headers in REQUESTS:
        told = ask(rich, at(rich, target, host), method, headers)
        for backend in rich.backends.values():
            backend.forget()
        before = len(rich.lines())
        body = b"x" * 11 if ("Content-Length", "11") in headers else None
        with rich.client() as client:
            client.send_request(method, target, headers=[h for h in headers if h[0] != "Content-Length"], body=body,
                                host=f"{host}:{rich.port()}")
            answer = client.read_response(method)
        wait_until(lambda: len(rich.lines()) > before, 10, f"a line of {method} {target}")
        route, upstream, server, status, cache = rich.lines()[-1].split("|")
        where = f"{method} {host} {target} {headers}\n{told['text']}\n{answer}"
        assert (told["route"] or "") == route, where
        assert int(status) == answer.status and told["status"] in (None, answer.status), where
        assert (told["cache"]["result"] if told["cache"] else "") == cache, where
        seen = [(b, r) for b in rich.backends.values() for r in b.requests]
        is_hit = told["cache"] and told["cache"]["result"] == "hit"
        goes_on = told["status"] is None and not is_hit
        assert bool(seen) == goes_on, where
        if told["status"] is None:
            check_response(told, answer, where)
        elif told["route"] and answer.status in (200, 203, 307):
            check_response(told, answer, where)
        if goes_on:
            check_request(told, seen, upstream, server, where)
        if cache in ("miss", "hit"):
            wait_until(lambda: ask(rich, at(rich, target, host), method, headers)["cache"]["result"] == "hit", 10, "what came is stored")


def check_response(told, answer, where):
    for header in told["response_headers"]:
        if header["after"] is None:
            assert answer.fields.get(header["name"]) is None, (header, where)
        elif header["name"].lower() != "via" or told["status"] is not None:
            assert header["after"] in answer.fields.all(header["name"]), (header, where)
    if told["location"]:
        assert answer.fields.get("location") == told["location"], where


def check_request(told, seen, upstream, server, where):
    [(backend, request)] = seen
    [target] = told["targets"]
    assert target["upstream"] == upstream == told["upstreams"][0] and backend.address == server, where
    assert target["pick"]["server"] == server, where
    assert request.target.split("?")[0] == told["path"], where
    for header in told["request_headers"]:
        got, made = request.fields.all(header["name"]), "(made" in (header["after"] or "")
        if header["after"] is None:
            assert header["before"] not in got, (header, where)
        else:
            assert (got if made else header["after"] in got), (header, got, where)


def test_the_turn_that_explain_tells_is_the_next_one_and_asking_does_not_take_it(site, http_backend):
    backends = [http_backend() for _ in range(3)]
    weir = site([{"upstream": "app"}], {"app": {"servers": [{"address": b.address, "weight": i + 1} for i, b in enumerate(backends)]}}, workers=1)
    with weir.client() as client:
        for _ in range(13):
            told = {ask(weir, at(weir, "/"))["targets"][0]["pick"]["server"] for _ in range(4)}
            for backend in backends:
                backend.forget()
            assert client.get("/").status == 200
            assert told == {b.address for b in backends if b.requests}


def test_explain_sends_nothing_stores_nothing_and_counts_nothing(rich):
    ask(rich, at(rich, "/"))
    before = rich.admin.request("GET", "/metrics").text
    for method, target, host, headers in REQUESTS:
        ask(rich, at(rich, target, host), method, headers)

    def counted(text):
        return sorted(line for line in text.splitlines()
                      if re.match(r"weir_(requests|upstream|cache_(objects|requests|insert)|retries|queue|route|rate)", line) and not line.startswith("#"))
    assert counted(rich.admin.request("GET", "/metrics").text) == counted(before)
    assert not any(b.requests or b.connection_count for b in rich.backends.values()) and not rich.lines()


def test_a_sticky_cookie_names_the_server_that_explain_tells(site, http_backend):
    backends = [http_backend() for _ in range(4)]
    weir = site([{"upstream": "app"}], {"app": {"servers": [b.address for b in backends], "sticky": {"cookie": "where"}}})
    cookie = weir.get("/").fields.get("set-cookie").split(";")[0]
    served = next(b for b in backends if b.requests)
    told = ask(weir, at(weir, "/"), headers=[("Cookie", cookie)])
    assert told["targets"][0]["pick"]["server"] == served.address
    assert f"would pick {served.address} (sticky: the cookie where names it)" in told["text"]
    assert "it has no cookie where" in ask(weir, at(weir, "/"))["text"]
    assert "its cookie where names no server" in ask(weir, at(weir, "/"), headers=[("Cookie", "where=nobody")])["text"]


def test_what_is_stored_is_told_with_its_age_and_size(site, http_backend):
    from harness.http_backend import Reply
    backend = http_backend(handler=lambda _: Reply(body=b"x" * 1234, headers=[("Cache-Control", "max-age=1000"), ("Age", "100")]))
    weir = site([{"upstream": "app", "cache": True}], {"app": backend.address})
    cache = ask(weir, at(weir, "/a"))["cache"]
    assert (cache["result"], cache["stored"]) == ("miss", None) and cache["why"] == "nothing is stored"
    weir.get("/a", host=f"t.example:{weir.port()}")
    cache = wait_until(lambda: (c := ask(weir, at(weir, "/a"))["cache"])["result"] == "hit" and c)
    assert cache["stored"]["bytes"] == 1234 and cache["stored"]["status"] == 200 and cache["stored"]["lifetime"] == 1000
    assert 100 <= cache["stored"]["age"] < 200
    cache = ask(weir, at(weir, "/a"), headers=[("Cache-Control", "no-cache")])["cache"]
    assert cache["result"] == "revalidated" and cache["why"] == "the request wants the origin to be asked first"
    assert re.search(r"^  stored +200, 1234 bytes, 1\d\ds old, fresh for another \d+s$", ask(weir, at(weir, "/a"))["text"], re.M)


def test_states_of_servers_are_told_with_their_reason(site, http_backend):
    good, dead = http_backend(), free_port()
    weir = site([{"upstream": "app"}], {"app": {"servers": [good.address, {"address": f"127.0.0.1:{dead}", "max_connections": 7, "zone": "b"}],
                                                "health_check": {"type": "tcp", "interval": "100ms", "fall": 1}, "panic_threshold": "90%",
                                                "queue": {"size": 5}, "breaker": {}}}, workers=1)
    weir.await_metric("weir_upstream_up", 0, server=f"127.0.0.1:{dead}")
    told = wait_until(lambda: (t := ask(weir, at(weir, "/"))["targets"][0])["now"] and any("panic" in n for n in t["now"]) and t)
    [up, down] = told["servers"]
    assert up["state"] == "up" and down["state"] == "down" and "refused" in down["reason"].lower() and down["max_connections"] == 7 and down["zone"] == "b"
    assert any(n.startswith("breaker closed") for n in told["now"]) and "queue: 0 of at most 5 wait" in told["now"]
    assert any(re.fullmatch(r"retries: the budget has \d+ left now", n) for n in told["now"])


# -- where settings come from ----------------------------------------------------------------------------------------------------

ORIGINS = """\
limits: { header_count: 50, body_size: 1MiB }
timeouts: { connect: 2s, response: 20s }
listeners:
  web: { bind: "127.0.0.1:8080", timeouts: { connect: 3s, body: 4s }, limits: { body_size: 2MiB } }
defaults:
  timeouts: { body: 5s }
  retries: { attempts: 3 }
routes:
  - { name: a, upstream: app }
  - { name: b, path: /b, upstream: app, timeouts: { response: 6s }, limits: { body_size: 3MiB }, retries: { budget: 5% } }
  - { name: c, path: /c, upstream: app, timeouts: { body: null } }
upstreams:
  app: { servers: ["127.0.0.1:9000"], sticky: { cookie: c, secret: very-secret }, health_check: { headers: { authorization: hidden } } }
"""


@pytest.mark.parametrize("path,name,value,origin", [
    ("/a", "timeouts.header", "10s", "default"),
    ("/a", "timeouts.response", "20s", "timeouts.response (FILE:2)"),
    ("/a", "timeouts.connect", "3s", "listeners.web.timeouts.connect (FILE:4)"),
    ("/a", "timeouts.body", "5s", "defaults.timeouts.body (FILE:6)"),
    ("/b", "timeouts.response", "6s", "routes[1].timeouts.response (FILE:10)"),
    ("/c", "timeouts.body", "4s", "listeners.web.timeouts.body (FILE:4)"),
    ("/a", "limits.header_count", "50", "limits.header_count (FILE:1)"),
    ("/a", "limits.body_size", "2MiB", "listeners.web.limits.body_size (FILE:4)"),
    ("/b", "limits.body_size", "3MiB", "routes[1].limits.body_size (FILE:10)"),
    ("/b", "retries.attempts", "3", "defaults.retries.attempts (FILE:7)"),
    ("/b", "retries.budget", "5% of the requests", "routes[1].retries.budget (FILE:10)"),
    ("/b", "retries.on", "connect, reset", "default"),
])
def test_each_setting_in_force_says_where_it_comes_from(tmp_path, path, name, value, origin):
    done = explain_file(tmp_path, ORIGINS, "--json", f"http://t.example:8080{path}")
    settings = {s["name"]: (s["value"], s["from"]) for s in json.loads(done.stdout)["settings"]}
    assert settings[name] == (value, origin.replace("FILE", str(tmp_path / "weir.yaml")))


def test_the_key_that_chooses_the_server_is_told(site, http_backend):
    weir = site([{"upstream": "app", "path": "/a", "rewrite": {"prefix": "/b"}, "cache": {"key": "${host}${path}"}}],
                {"app": {"servers": [http_backend().address, http_backend().address], "balance": "maglev", "hash_key": "path"}})
    told = ask(weir, at(weir, "/a/x"))
    assert ' (maglev: by the request\'s key, "/b/x", ' in told["text"] and told["cache"]["key"].endswith("t.example/b/x")


def test_tls_to_the_servers_is_told_with_what_is_verified(tmp_path):
    text = ORIGINS.replace("upstreams:\n", "upstreams:\n  safe: { servers: ['127.0.0.1:9443'], tls: { server_name: api.internal } }\n").replace(
        "name: c, path: /c, upstream: app", "name: c, path: /c, upstream: safe")
    said = explain_file(tmp_path, text, "http://t.example:8080/c").stdout
    assert "safe (round_robin, over TLS)" in said and "tls.verify true   [default]" in said
    assert re.search(r"tls\.server_name api\.internal   \[upstreams\.safe\.tls\.server_name \(.*weir\.yaml:13\)\]", said)


def test_secrets_are_not_shown(tmp_path):
    for arguments in ((), ("--json",)):
        said = explain_file(tmp_path, ORIGINS, *arguments, "http://t.example:8080/a").stdout
        assert "sticky.secret" in said and "very-secret" not in said and "hidden" not in said


def test_what_the_file_puts_into_requests_in_secret_is_not_shown(tmp_path):
    text = """listeners: { web: { bind: "127.0.0.1:8080" } }
upstreams: { app: { servers: ["127.0.0.1:9000"], health_check: { path: "/h?token=hush-1" } } }
routes:
  - { name: keyed, path: /k, upstream: app, headers: { x-api-key: hush-2 }, query: { token: { regex: "^hush-3$" } } }
  - name: set
    upstream: app
    request_headers: { set: { authorization: "Bearer hush-4", x-plain: shown-1, cookie: "s=${NONE:-hush-5}" }, add: { x-shared-key: hush-6 } }
    response_headers: { set: { set-cookie: "a=hush-7" } }
"""
    for arguments in ((), ("--json",)):
        for path in ("/k", "/other"):
            done = explain_file(tmp_path, text, *arguments, "-H", "cookie: mine-1", f"http://t.example:8080{path}")
            assert done.returncode == 0 and "shown-1" in done.stdout and "mine-1" in done.stdout and "•••" in done.stdout
            assert "hush" not in done.stdout, done.stdout


def test_the_text_of_a_file_is_that_of_the_running_process_but_for_what_is_going_on(site):
    weir = site([{"name": "a", "respond": {"body": "x"}}, {"name": "b", "path": "/b", "redirect": {"to": "/c"}}])
    for path in ("/", "/b"):
        alive = weir.cli("explain", at(weir, path))
        dead = run_cli("explain", "-c", weir.config_file, at(weir, path))
        assert alive.returncode == dead.returncode == 0 and alive.stdout == dead.stdout and "\x1b" not in alive.stdout
        alive = json.loads(run_cli("explain", "-s", weir.admin_socket, "--json", at(weir, path)).stdout) if hasattr(weir, "admin_socket") else None
        assert alive is None or alive["text"] == dead.stdout


# -- listeners -------------------------------------------------------------------------------------------------------------------

PLACES = """\
listeners:
  web: { bind: "127.0.0.1:8080" }
  other: { bind: "127.0.0.1:8081" }
  secure: { bind: "127.0.0.1:8443", tls: { self_signed: [t.example] }, passthrough: { legacy.example: db } }
  db: { bind: "127.0.0.1:5432", protocol: tcp, upstream: db }
  sni: { bind: "127.0.0.1:5433", protocol: tcp, sni: { a.example: db } }
  dns: { bind: "127.0.0.1:5353", protocol: udp, upstream: dns }
routes: [ { name: all, respond: { body: "${listener}" } } ]
upstreams: { db: "127.0.0.1:9000", dns: "127.0.0.1:9001" }
""".replace('db: "127.0.0.1:9000", dns: "127.0.0.1:9001"', 'db: { servers: ["127.0.0.1:9000"] }, dns: { servers: ["127.0.0.1:9001"] }')


@pytest.mark.parametrize("url,listener,does", [
    ("http://t.example:8080/", "web", "200, answered by weir"), ("http://t.example:8081/", "other", "200, answered by weir"),
    ("https://t.example:8443/", "secure", "200, answered by weir"),
    ("tcp://127.0.0.1:5432", "db", "upstream db, as a stream of bytes"), ("tcp://:5432", "db", "upstream db, as a stream of bytes"),
    ("tls://a.example:5433", "sni", "upstream db, undecrypted, by the name a.example"),
    ("tls://b.example:5433", "sni", "refused: no upstream is for the name b.example, and there is no default"),
    ("tls://legacy.example:8443", "secure", "upstream db, undecrypted, by the name legacy.example"),
    ("udp://127.0.0.1:5353", "dns", "upstream dns, as datagrams: one session for each client's address and port"),
    ("udp://127.0.0.1:5432", None, "refused: nothing listens there"), ("tcp://127.0.0.1:5353", None, "refused: nothing listens there"),
])
def test_the_listener_is_told_and_why_the_others_are_not_it(tmp_path, url, listener, does):
    told = json.loads(explain_file(tmp_path, PLACES, "--json", url).stdout)
    assert told["listener"] == listener and told["action"] == does
    assert [entry["listener"] for entry in told["listeners"] if entry["chosen"]] == ([listener] if listener else [])
    assert all(re.search(r"its protocol is|not bound to port|speak", e["reason"]) for e in told["listeners"] if not e["chosen"]), told["listeners"]


def test_a_listener_may_be_named(tmp_path):
    told = json.loads(explain_file(tmp_path, PLACES, "--json", "--listener", "other", "http://t.example/").stdout)
    assert told["listener"] == "other"
    done = explain_file(tmp_path, PLACES, "--listener", "nobody", "http://t.example/")
    assert done.returncode == 2 and "no http listener has that name" in done.stderr


def test_a_host_with_other_demands_than_the_connection_is_misdirected(tmp_path, localhost_cert, authority):
    strict = authority.leaf("strict.example")
    text = f"""\
listeners:
  web:
    bind: "127.0.0.1:8443"
    tls:
      certificates:
        - {{ cert: {localhost_cert[0]}, key: {localhost_cert[1]} }}
        - {{ cert: {strict[0]}, key: {strict[1]}, client_ca: {authority.file} }}
routes: [ {{ respond: {{ body: x }} }} ]
"""
    for sni, status in (("localhost", 421), ("strict.example", 200)):
        told = json.loads(explain_file(tmp_path, text, "--json", "--sni", sni, "https://strict.example:8443/").stdout)
        assert told["status"] == status, told["text"]


# -- who is let in ---------------------------------------------------------------------------------------------------------------

FENCES = """\
listeners: { web: { bind: "127.0.0.1:8080", trusted_proxies: [10.0.0.1] } }
routes:
  - { name: both, path: /both, allow: [10.0.0.0/8, 10.1.2.0/24], deny: [10.1.0.0/16], respond: { body: x } }
  - { name: alone, path: /alone, allow: [10.0.0.0/8], respond: { body: x } }
"""


@pytest.mark.parametrize("path,client,status,access", [
    ("/both", "10.2.0.1", 200, "let in by allow 10.0.0.0/8, routes[0].allow[0] (FILE:3)"),
    ("/both", "10.1.0.1", 403, "kept out by deny 10.1.0.0/16, routes[0].deny[0] (FILE:3)"),
    ("/both", "10.1.2.3", 200, "let in by allow 10.1.2.0/24, routes[0].allow[1] (FILE:3)"),
    ("/both", "192.0.2.1", 200, "let in: neither allow nor deny names its network"),
    ("/alone", "192.0.2.1", 403, "kept out: there is an allow list, and no network of it holds this address"),
])
def test_the_network_that_decides_is_told(tmp_path, path, client, status, access):
    told = json.loads(explain_file(tmp_path, FENCES, "--json", "--client", client, f"http://t.example:8080{path}").stdout)
    assert (told["status"], told["access"]) == (status, access.replace("FILE", str(tmp_path / "weir.yaml")))


def test_a_client_behind_a_trusted_proxy_is_the_one_that_it_names(tmp_path):
    header = ("-H", "X-Forwarded-For: 192.0.2.9, 10.1.0.1")
    said = explain_file(tmp_path, FENCES, "--client", "10.0.0.1", *header, "http://t.example:8080/both").stdout
    assert "client       10.1.0.1, whom 10.0.0.1 names, one of trusted_proxies" in said and "403" in said
    said = explain_file(tmp_path, FENCES, "--client", "10.0.0.2", *header, "http://t.example:8080/both").stdout
    assert "client       10.0.0.2 (its X-Forwarded-For is not believed" in said


# -- tests: in the file ------------------------------------------------------------------------------------------------------------

def test_a_test_may_expect_whatever_explain_says(tmp_path):
    text = ORIGINS + """\
tests:
  - request: GET http://t.example:8080/b?x=1
    expect: { route: b, upstream: app, path: /b, request_headers: { x-forwarded-proto: http, cookie: null }, response_headers: { via: 1.1 weir } }
  - { request: POST http://t.example:8080/a, headers: { content-length: "9999999" }, expect: { status: 413 } }
"""
    (tmp_path / "weir.yaml").write_text(text)
    done = run_cli("check", "-c", tmp_path / "weir.yaml")
    assert done.returncode == 0 and "2 tests passed" in done.stdout, done


def test_a_test_that_fails_says_where_what_came_and_why(tmp_path):
    text = ORIGINS + """\
tests:
  - { request: GET http://t.example:8080/x, expect: { route: b, request_headers: { via: none } } }
"""
    (tmp_path / "weir.yaml").write_text(text)
    done, file = run_cli("check", "-c", tmp_path / "weir.yaml"), tmp_path / "weir.yaml"
    assert done.returncode == 1
    assert f'{file}:15:62: tests[0].expect.route: expected route "b", met route "a" ({file}:9); b ({file}:10): path /x is not below /b\n' in done.stderr
    assert re.search(r':15:\d+: tests\[0\]\.expect\.request_headers\.via: expected "none", got "1\.1 weir", from route "a"', done.stderr)
