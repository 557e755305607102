"""Errors as operators make them, and what weir says to each: the place, the reason, and the way to mend it.

An entry is a name, the status of `weir check` (0: it only warns), the file, and for each line that must come its place, its path in the
file and its essential words. Other lines may come beside."""

import os
import socket
import subprocess

import pytest

from harness import run_cli
from harness.weir import BINARY

BASE = """\
listeners:
  web: { bind: "127.0.0.1:18080" }
routes:
  - { name: all, path: /, upstream: app }
upstreams:
  app: { servers: ["127.0.0.1:3000"] }
"""


def L(listener):
    return BASE.replace('bind: "127.0.0.1:18080"', listener)


def R(route):
    return BASE.replace("{ name: all, path: /, upstream: app }", route)


def U(upstream):
    return BASE.replace('servers: ["127.0.0.1:3000"]', upstream)


# fmt: off
ERRORS = [
    ('empty', 1, "",
     ('1:1', '', 'missing key "listeners"')),
    ('only-comment', 1, "# nothing\n",
     ('1:1', '', 'missing key "listeners"')),
    ('a-list-at-the-top', 1, "- a\n- b\n",
     ('1:1', '', 'a configuration is a map, written "name: value" line by line', 'found a list')),
    ('a-text-at-the-top', 1, "hello\n",
     ('1:1', '', 'a configuration is a map, written "name: value" line by line', 'found "hello"')),
    ('typo-top-key', 1, BASE.replace("listeners:", "listners:"),
     ('1:1', 'listners', 'unknown key', 'did you mean "listeners"?'), ('1:1', '', 'missing key "listeners"')),
    ('typo-in-upstreams-key', 1, U('servers: ["127.0.0.1:3000"], helth_check: true'),
     ('6:39', 'upstreams.app.helth_check', 'unknown key', 'did you mean "health_check"?')),
    ('typo-in-value', 1, L('bind: ":18080", protocol: htpp'),
     ('2:36', 'listeners.web.protocol', 'unknown value "htpp"', '(one of: http, tcp, udp)', 'did you mean "http"?')),
    ('wrong-case-of-key', 1, L('Bind: ":18080"'),
     ('2:8', 'listeners.web', 'missing key "bind"'), ('2:10', 'listeners.web.Bind', 'unknown key', 'did you mean "bind"?')),
    ('hyphen-for-underscore', 1, U('servers: ["127.0.0.1:3000"], health-check: { path: / }'),
     ('6:39', 'upstreams.app.health-check', 'unknown key', 'did you mean "health_check"?')),
    ('key-of-nginx', 1, L('listen: 80'),
     ('2:8', 'listeners.web', 'missing key "bind"'), ('2:10', 'listeners.web.listen', 'unknown key', 'did you mean "bind"?')),
    ('key-of-other-place', 1, L('bind: ":18080", upstreams: {}'),
     ('2:26', 'listeners.web.upstreams', 'unknown key', 'did you mean "upstream"?')),
    ('servers-at-route', 1, R('{ path: /, servers: ["127.0.0.1:3000"] }'),
     ('4:5', 'routes[0]', 'needs an action: upstream, split, redirect, respond or files'), ('4:16', 'routes[0].servers', 'unknown key', 'did you mean "upstream"?')),
    ('tab', 1, "listeners:\n\tweb:\n\t\tbind: ':8080'\n",
     ('2:1', '', 'a tab cannot indent', 'use spaces')),
    ('tab-in-the-middle', 1, "listeners:\n  web:\n\t    bind: ':8080'\n",
     ('3:1', '', 'a tab cannot indent', 'use spaces')),
    ('wrong-indentation-less', 1, "listeners:\n  web:\n    bind: ':18080'\n   protocol: http\nroutes: []\n",
     ('4:4', '', 'expected another key of the map (mind the indentation)')),
    ('wrong-indentation-more', 1, "listeners:\n  web:\n    bind: ':18080'\n      protocol: http\n",
     ('4:7', '', 'expected another key of the map (mind the indentation)')),
    ('child-not-indented', 1, "listeners:\nweb:\n  bind: ':18080'\nroutes:\n  - respond: {body: x}\n",
     ('1:1', '', 'missing key "listeners"'), ('2:1', 'web', 'unknown key', '(one of: workers, log, admin, limits, timeouts, listeners,')),
    ('missing-space-after-colon', 1, "listeners:\n  web:\n    bind:':18080'\n",
     ('3:5', 'listeners.web', 'expected a map', 'found "bind:\':18080\'"', ': a space is missing behind its ":"')),
    ('missing-colon', 1, "listeners\n  web:\n    bind: ':18080'\n",
     ('2:6', '', 'a ":" is not expected here', '(put the text in quotes, mind the indentation, or the key')),
    ('unquoted-colon-in-value', 1, "listeners:\n  web:\n    bind: ':18080'\nroutes:\n  - respond: { body: hello: world }\n",
     ('5:27', '', 'expected "," or "}" in the map', '(put text with one of , : [ ] { } in quotes)')),
    ('unquoted-colon-block', 1, "listeners:\n  web:\n    bind: ':18080'\nroutes:\n  - name: a: b\n    respond: { body: x }\n",
     ('5:12', '', 'a ":" is not expected here', '(put the text in quotes, mind the indentation, or the key')),
    ('unclosed-quote', 1, "listeners:\n  web:\n    bind: ':18080\nroutes:\n  - upstream: app\n",
     ('3:11', '', 'this quote is never closed')),
    ('unclosed-brace', 1, "listeners:\n  web: { bind: ':18080'\nroutes:\n  - upstream: app\n",
     ('3:1', '', 'expected "," or "}" in the map', '(put text with one of , : [ ] { } in quotes)')),
    ('unclosed-bracket', 1, "listeners:\n  web:\n    bind: [':18080'\nroutes:\n  - upstream: app\n",
     ('4:1', '', 'expected "," or "]" in the list', '(put text with one of , : [ ] { } in quotes)')),
    ('unquoted-star-host', 1, "listeners:\n  web: { bind: ':18080' }\nroutes:\n  - host: *.example.com\n    respond: { body: x }\n",
     ('4:11', '', 'an alias "*name" needs a name of letters and digits', '(put text that begins with "*" in quotes)')),
    ('unquoted-at-sign', 1, "listeners:\n  web: { bind: ':18080' }\nroutes:\n  - name: @all\n    respond: { body: x }\n",
     ('4:11', '', 'text cannot begin with "@"', 'put it in quotes')),
    ('template-unquoted-in-flow', 1, "listeners:\n  web: { bind: ':18080' }\nroutes:\n  - { redirect: https://${host}${target} }\n",
     ('4:26', '', 'expected "," or "}" in the map', '(put text with one of , : [ ] { } in quotes)')),
    ('backslash-in-double-quotes', 1, "listeners:\n  web: { bind: ':18080' }\nroutes:\n  - { path: { regex: \"^/a\\d+\" }, respond: { body: x } }\n",
     ('4:26', '', 'unknown escape behind "\\" in double quotes (write \\\\ for one')),
    ('not-utf-8', 1, b"listeners:\n  web: { bind: ':18080' }\nroutes:\n  - { name: caf\xe9, respond: { body: x } }\n",
     ('4:17', '', 'this is not UTF-8 text')),
    ('dup-key', 1, "listeners:\n  web: { bind: ':18080' }\n  web: { bind: ':18081' }\nroutes:\n  - { respond: { body: x } }\n",
     ('3:3', 'listeners.web', 'duplicate key', 'the first is at weir.yaml:2:3')),
    ('dup-section', 1, BASE + "routes:\n  - { path: /b, upstream: app }\n",
     ('7:1', 'routes', 'duplicate key', 'the first is at weir.yaml:3:1')),
    ('unknown-alias', 1, U('servers: ["127.0.0.1:3000"], health_check: *check'),
     ('6:53', 'upstreams.app.health_check', 'no anchor "&check" stands before this alias')),
    ('merge-of-not-a-map', 1, "x-a: &a [1]\n" + BASE.replace("app: {", "app: { <<: *a,"),
     ('1:10', 'x-a[0]', 'expected a map or a list of maps to merge, written <<: *name or <<:', 'found "1"')),
    ('two-documents', 1, BASE + "---\n" + BASE,
     ('7:1', '', 'a second document begins here', 'a file holds one')),
    ('list-for-a-map', 1, "listeners:\n  - { bind: ':18080' }\nroutes:\n  - { respond: { body: x } }\n",
     ('2:3', 'listeners', 'expected a map of names, written "name: …" line by line', 'found a list')),
    ('map-for-a-list', 1, "listeners:\n  web: { bind: ':18080' }\nroutes:\n  all: { respond: { body: x } }\n",
     ('4:3', 'routes', 'expected a list of routes, each with "- " before it')),
    ('map-for-list-servers', 1, U('servers: { a: "127.0.0.1:3000" }'),
     ('6:19', 'upstreams.app.servers', 'missing key "address"'), ('6:21', 'upstreams.app.servers.a', 'unknown key', '(one of: address, weight, backup, max_connections, zone,')),
    ('text-for-map', 1, U('servers: ["127.0.0.1:3000"], health_check: /healthz'),
     ('6:53', 'upstreams.app.health_check', 'expected a map, written {name: value} or "name: value" line by line', 'found "/healthz"')),
    ('text-for-number', 1, BASE + "limits: { connections: many }\n",
     ('7:24', 'limits.connections', 'expected a whole number, written with digits alone, like 100', 'found "many"')),
    ('negative-number', 1, BASE + "limits: { connections: -1 }\n",
     ('7:24', 'limits.connections', '"-1" is too small (at least 0)')),
    ('float-weight', 1, U('servers: [{ address: "127.0.0.1:3000", weight: 1.5 }]'),
     ('6:57', 'upstreams.app.servers[0].weight', 'expected a whole number, written with digits alone, like 100', 'found "1.5"')),
    ('number-too-large', 1, U('servers: [{ address: "127.0.0.1:3000", weight: 99999999999 }]'),
     ('6:57', 'upstreams.app.servers[0].weight', '"99999999999" is too large (at most 65535)')),
    ('yes-for-true', 1, U('servers: [{ address: "127.0.0.1:3000", backup: yes }]'),
     ('6:57', 'upstreams.app.servers[0].backup', '"yes" is no boolean', 'write true or false, without quotes', 'did you mean true?')),
    ('duration-no-unit', 1, BASE + "timeouts: { connect: 5 }\n",
     ('7:22', 'timeouts.connect', 'a duration needs a unit, written 500ms, 10s, 5m, 1h or 1d', 'did you mean "5s"?')),
    ('duration-bad-unit', 1, BASE + "timeouts: { connect: 5sec }\n",
     ('7:22', 'timeouts.connect', 'expected a duration, written 500ms, 10s, 5m, 1h or 1d', 'found "5sec"')),
    ('duration-with-space', 1, BASE + "timeouts: { connect: 5 s }\n",
     ('7:22', 'timeouts.connect', 'expected a duration, written 500ms, 10s, 5m, 1h or 1d', 'found "5 s"')),
    ('duration-zero', 1, BASE + "timeouts: { connect: 0s }\n",
     ('7:22', 'timeouts.connect', '"0s" is too short (at least 1ms)')),
    ('duration-negative', 1, BASE + "timeouts: { connect: -5s }\n",
     ('7:22', 'timeouts.connect', 'expected a duration, written 500ms, 10s, 5m, 1h or 1d', 'found "-5s"')),
    ('size-bad-unit', 1, BASE + "limits: { body_size: 8 megabytes }\n",
     ('7:22', 'limits.body_size', 'expected a size, written 64k, 16KiB, 8MiB or 1GiB', 'found "8 megabytes"')),
    ('size-MB', 1, BASE + "limits: { body_size: 8MB }\n",
     ('7:22', 'limits.body_size', 'expected a size, written 64k, 16KiB, 8MiB or 1GiB', 'did you mean "8MiB"?')),
    ('size-too-large', 1, BASE + "limits: { header_size: 1MiB }\n",
     ('7:24', 'limits.header_size', '"1MiB" is too large (at most 64KiB)')),
    ('percent-bad', 1, U('servers: ["127.0.0.1:3000"], panic_threshold: 150%'),
     ('6:56', 'upstreams.app.panic_threshold', '"150%" is too large (at most 100%)')),
    ('bind-only-port-num', 1, L('bind: 18080'),
     ('2:16', 'listeners.web.bind', 'a port alone has a colon before it, like :80')),
    ('bind-no-port', 1, L('bind: 127.0.0.1'),
     ('2:16', 'listeners.web.bind', 'the port is missing: expected an address like 127.0.0.1:80')),
    ('bind-hostname', 1, L('bind: "www.example.com:80"'),
     ('2:16', 'listeners.web.bind', 'a listener needs an address, not the name "www.example.com"')),
    ('bind-port-too-big', 1, L('bind: ":80800"'),
     ('2:16', 'listeners.web.bind', 'the port must be a number from 0 to 65535')),
    ('bind-port-word', 1, L('bind: ":http"'),
     ('2:16', 'listeners.web.bind', 'the port must be a number from 0 to 65535')),
    ('bind-ipv6-no-brackets', 1, L('bind: "::1:18080"'),
     ('2:16', 'listeners.web.bind', 'an IPv6 address stands in brackets before its port, like [::1]:80')),
    ('bind-ipv6-no-brackets-2', 1, L('bind: "fe80::1"'),
     ('2:16', 'listeners.web.bind', 'an IPv6 address stands in brackets before its port, like [::1]:80')),
    ('bind-octet', 1, L('bind: "127.0.0.256:18080"'),
     ('2:16', 'listeners.web.bind', 'expected an address like 127.0.0.1:80, [::1]:80, name.example:80 or')),
    ('bind-url', 1, L('bind: "http://127.0.0.1:18080"'),
     ('2:16', 'listeners.web.bind', 'an address has no scheme', 'write 127.0.0.1:80 or name.example:80, without http://')),
    ('bind-empty', 1, L('bind: ""'),
     ('2:16', 'listeners.web.bind', 'the port is missing: expected an address like 127.0.0.1:80')),
    ('bind-missing', 1, L('protocol: http'),
     ('2:8', 'listeners.web', 'missing key "bind"')),
    ('bind-twice', 1, "listeners:\n  a: { bind: ':18080' }\n  b: { bind: ':18080' }\nroutes:\n  - { respond: { body: x } }\n",
     ('3:14', 'listeners.b.bind', "the address is listener a's already")),
    ('server-no-port', 1, U('servers: ["127.0.0.1"]'),
     ('6:20', 'upstreams.app.servers[0]', 'the port is missing: expected an address like 127.0.0.1:80')),
    ('server-url', 1, U('servers: ["http://127.0.0.1:3000"]'),
     ('6:20', 'upstreams.app.servers[0]', 'an address has no scheme', 'write 127.0.0.1:80 or name.example:80, without http://')),
    ('server-with-path', 1, U('servers: ["127.0.0.1:3000/app"]'),
     ('6:20', 'upstreams.app.servers[0]', 'an address has no path', 'write 127.0.0.1:80 or name.example:80')),
    ('server-ipv6-no-brackets', 1, U('servers: ["::1:3000"]'),
     ('6:20', 'upstreams.app.servers[0]', 'an IPv6 address stands in brackets before its port, like [::1]:80')),
    ('server-twice', 1, U('servers: ["127.0.0.1:3000", "127.0.0.1:3000"]'),
     ('6:38', 'upstreams.app.servers[1]', '127.0.0.1:3000 is listed already', 'a greater share is `weight`')),
    ('server-name-bad-char', 1, U('servers: ["my_host:3000", "ho st:1"]'),
     ('6:36', 'upstreams.app.servers[1]', 'expected an address like 127.0.0.1:80, [::1]:80, name.example:80 or')),
    ('servers-missing', 1, U('balance: round_robin'),
     ('6:8', 'upstreams.app', 'missing key "servers"')),
    ('servers-empty', 1, U('servers: []'),
     ('6:19', 'upstreams.app.servers', 'may not be empty')),
    ('server-addr-typo-key', 1, U('servers: [{ adress: "127.0.0.1:3000" }]'),
     ('6:20', 'upstreams.app.servers[0]', 'missing key "address"'), ('6:22', 'upstreams.app.servers[0].adress', 'unknown key', 'did you mean "address"?')),
    ('unknown-upstream', 1, R("{ path: /, upstream: ap }"),
     ('4:26', 'routes[0].upstream', 'no upstream is called "ap"', '(one of: app)')),
    ('unknown-upstream-no-near', 1, R("{ path: /, upstream: backend }"),
     ('4:26', 'routes[0].upstream', 'no upstream is called "backend"', '(one of: app)')),
    ('route-upstream-url', 1, R("{ path: /, upstream: 'http://127.0.0.1:3000' }"),
     ('4:26', 'routes[0].upstream', 'no upstream is called "http://127.0.0.1:3000"', 'an action names one of the `upstreams`, where addresses')),
    ('unknown-listener', 1, R("{ path: /, listener: wbe, upstream: app }"),
     ('4:26', 'routes[0].listener', 'no listener is called "wbe"', 'did you mean "web"?')),
    ('no-action', 1, R("{ path: / }"),
     ('4:5', 'routes[0]', 'needs an action: upstream, split, redirect, respond or files')),
    ('two-actions', 1, R("{ path: /, upstream: app, redirect: '/x' }"),
     ('4:31', 'routes[0].redirect', 'the route has an action already, "upstream"', 'it takes one')),
    ('two-equal-routes', 1, R("{ path: /, upstream: app }\n  - { name: b, path: /, upstream: app }"),
     ('5:5', 'routes[1]', 'is as specific as route "routes[0]" (line 4), and a request can meet', 'give one of them another path, one more condition or other')),
    ('two-routes-same-name', 1, R("{ name: a, path: /, upstream: app }\n  - { name: a, path: /b, upstream: app }"),
     ('5:13', 'routes[1].name', '"a" is the name of another route too (routes[0], line 4)')),
    ('path-without-slash', 1, R("{ path: api, upstream: app }"),
     ('4:13', 'routes[0].path', 'a path begins with "/"')),
    ('path-glob', 0, R("{ path: '/api/*', upstream: app }"),
     ('4:13', 'routes[0].path', '"*" is a character like others here', 'a prefix needs none, a pattern is written {regex: "…"}')),
    ('path-with-query', 1, R("{ path: '/api?x=1', upstream: app }"),
     ('4:13', 'routes[0].path', 'a path has no "?" and no "#"', 'conditions on the query go under "query"')),
    ('regex-broken', 1, R('{ path: { regex: "^/(a" }, upstream: app }'),
     ('4:22', 'routes[0].path.regex', '"^/(a" is no regex: missing closing parenthesis at character 5')),
    ('regex-as-text-nginx', 1, R('{ path: "~ ^/a", upstream: app }'),
     ('4:13', 'routes[0].path', 'a path begins with "/"')),
    ('host-with-port', 1, R("{ host: 'example.com:8080', upstream: app }"),
     ('4:13', 'routes[0].host', 'hosts are compared without their port', 'leave ":8080" away')),
    ('host-with-scheme', 1, R("{ host: 'https://example.com', upstream: app }"),
     ('4:13', 'routes[0].host', '"https://example.com" is no host: leave the scheme away, and a path')),
    ('host-star-in-middle', 1, R("{ host: 'a.*.com', upstream: app }"),
     ('4:13', 'routes[0].host', '"a.*.com" is no host: write a name like example.com, or *.example.com')),
    ('method-lower', 1, R("{ methods: [get], upstream: app }"),
     ('4:17', 'routes[0].methods[0]', 'methods are told apart by case', 'did you mean "GET"?')),
    ('status-not-number', 1, R("{ respond: { status: ok } }"),
     ('4:26', 'routes[0].respond.status', 'expected a whole number, written with digits alone, like 100', 'found "ok"')),
    ('status-out-of-range', 1, R("{ respond: { status: 999 } }"),
     ('4:26', 'routes[0].respond.status', '"999" is too large (at most 599)')),
    ('redirect-status-200', 1, R("{ redirect: { to: /x, status: 200 } }"),
     ('4:35', 'routes[0].redirect.status', 'a redirect is 301, 302, 303, 307 or 308')),
    ('redirect-without-to', 1, R("{ redirect: { status: 301 } }"),
     ('4:17', 'routes[0].redirect', 'missing key "to"')),
    ('header-name-bad', 1, R("{ upstream: app, response_headers: { set: { 'x y': 1 } } }"),
     ('4:49', 'routes[0].response_headers.set["x y"]', '"x y" is no name of a header field')),
    ('header-list-instead-of-map', 1, R("{ upstream: app, response_headers: { set: [x-a, 1] } }"),
     ('4:47', 'routes[0].response_headers.set', 'expected a map of names and texts, written {name: text} or "name:', 'found a list')),
    ('headers-at-top-of-response_headers', 1, R("{ upstream: app, response_headers: { x-frame-options: DENY } }"),
     ('4:42', 'routes[0].response_headers.x-frame-options', 'unknown key', '(one of: set, add, remove)')),
    ('unknown-variable', 1, R("{ upstream: app, request_headers: { set: { x-ip: '${remote_addr}' } } }"),
     ('4:54', 'routes[0].request_headers.set.x-ip', 'unknown variable ${remote_addr}', 'did you mean "client"?')),
    ('variable-not-closed', 1, R("{ upstream: app, request_headers: { set: { x-ip: '${client' } } }"),
     ('4:54', 'routes[0].request_headers.set.x-ip', '"${" without "}"', 'write "$${" for the text itself')),
    ('response-var-in-request', 1, R("{ upstream: app, request_headers: { set: { x-s: '${status}' } } }"),
     ('4:53', 'routes[0].request_headers.set.x-s', '${status} is not known yet when a request is handled')),
    ('env-unset', 1, BASE + "admin: { token: '${WEIR_NOT_SET}' }\n",
     ('7:17', 'admin.token', 'the environment has no variable WEIR_NOT_SET', 'set it, or write ${WEIR_NOT_SET:-default}')),
    ('split-unknown', 1, R("{ split: { app: 90, green: 10 } }"),
     ('4:25', 'routes[0].split.green', 'no upstream is called "green"', '(one of: app)')),
    ('split-zero', 1, R("{ split: { app: 0 } }"),
     ('4:14', 'routes[0].split', 'needs an upstream with a weight above 0')),
    ('split-percents', 1, R("{ split: { app: 90% } }"),
     ('4:21', 'routes[0].split.app', 'expected a whole number, written with digits alone, like 100', 'found "90%"')),
    ('files-missing-root', 0, R("{ files: ./nothere }"),
     ('4:14', 'routes[0].files', '"./nothere" is no directory now', 'every request will be a 404')),
    ('files-root-is-a-file', 0, R("{ files: ./weir.yaml }"),
     ('4:14', 'routes[0].files', '"./weir.yaml" is no directory now', 'every request will be a 404')),
    ('errors-page-missing', 1, R("{ upstream: app, errors: { 502: nothere.html } }"),
     ('4:37', 'routes[0].errors.502', 'cannot read nothere.html: No such file or directory')),
    ('errors-status-bad', 1, R("{ upstream: app, errors: { 5xx: weir.yaml } }"),
     ('4:32', 'routes[0].errors.5xx', 'is no status of an error', 'write 400 to 599')),
    ('cidr-bad', 1, R("{ upstream: app, allow: [10.0.0.0/33] }"),
     ('4:30', 'routes[0].allow[0]', '"10.0.0.0/33" is no network', 'write 10.0.0.0/8 (no bits set behind the prefix), 10.0.0.1')),
    ('cidr-host-bits', 1, R("{ upstream: app, allow: [10.0.0.1/8] }"),
     ('4:30', 'routes[0].allow[0]', '"10.0.0.1/8" is no network', 'write 10.0.0.0/8 (no bits set behind the prefix), 10.0.0.1')),
    ('cidr-name', 1, R("{ upstream: app, allow: [office] }"),
     ('4:30', 'routes[0].allow[0]', '"office" is no network', 'write 10.0.0.0/8 (no bits set behind the prefix), 10.0.0.1')),
    ('trusted_proxies-bad', 1, L('bind: ":18080", trusted_proxies: [10.0.0]'),
     ('2:44', 'listeners.web.trusted_proxies[0]', 'expected a network like 10.0.0.0/8 or 2001:db8::/32, or an address')),
    ('health-path-no-slash', 1, U('servers: ["127.0.0.1:3000"], health_check: { path: healthz }'),
     ('6:61', 'upstreams.app.health_check.path', 'expected a path that begins with "/" and has no spaces')),
    ('health-full-url', 1, U('servers: ["127.0.0.1:3000"], health_check: { path: "http://x/healthz" }'),
     ('6:61', 'upstreams.app.health_check.path', 'expected a path that begins with "/" and has no spaces')),
    ('health-expect-bad', 1, U('servers: ["127.0.0.1:3000"], health_check: { path: /, expect: [2xx] }'),
     ('6:73', 'upstreams.app.health_check.expect[0]', 'expected a status like 200, or a range like 200-399')),
    ('health-rise-0', 1, U('servers: ["127.0.0.1:3000"], health_check: { path: /, rise: 0 }'),
     ('6:70', 'upstreams.app.health_check.rise', '"0" is too small (at least 1)')),
    ('health-path-with-tcp', 1, U('servers: ["127.0.0.1:3000"], health_check: { type: tcp, path: /x }'),
     ('6:66', 'upstreams.app.health_check.path', 'only with type: http')),
    ('balance-unknown', 1, U('servers: ["127.0.0.1:3000"], balance: least_conn'),
     ('6:48', 'upstreams.app.balance', 'unknown value "least_conn"', '(one of: round_robin, least_connections, random_two, ewma,', 'did you mean "least_connections"?')),
    ('balance-rr-hyphen', 1, U('servers: ["127.0.0.1:3000"], balance: roundrobin'),
     ('6:48', 'upstreams.app.balance', 'unknown value "roundrobin"', '(one of: round_robin, least_connections, random_two, ewma,', 'did you mean "round_robin"?')),
    ('hash_key-without', 1, U('servers: ["127.0.0.1:3000"], hash_key: path'),
     ('6:39', 'upstreams.app.hash_key', 'only with balance: ring_hash or maglev')),
    ('hash_key-bad', 1, U('servers: ["127.0.0.1:3000"], balance: maglev, hash_key: "header:"'),
     ('6:66', 'upstreams.app.hash_key', 'write ${header.NAME}')),
    ('sticky-no-cookie', 1, U('servers: ["127.0.0.1:3000"], sticky: { ttl: 1h }'),
     ('6:47', 'upstreams.app.sticky', 'missing key "cookie"')),
    ('udp-with-routes', 1, "listeners:\n  dns: { bind: ':15353', protocol: udp, upstream: app }\nroutes:\n  - { listener: dns, upstream: app }\nupstreams:\n  app: { servers: ['127.0.0.1:3000'] }\n",
     ('4:17', 'routes[0].listener', 'listener "dns" does not serve http', 'routes are for those that do')),
    ('udp-no-upstream', 1, "listeners:\n  dns: { bind: ':15353', protocol: udp }\n",
     ('2:8', 'listeners.dns', 'a udp listener needs "upstream"')),
    ('tcp-no-upstream', 1, "listeners:\n  pg: { bind: ':15353', protocol: tcp }\n",
     ('2:7', 'listeners.pg', 'a tcp listener needs "upstream" or "sni"')),
    ('tcp-unknown-upstream', 1, "listeners:\n  pg: { bind: ':15353', protocol: tcp, upstream: db }\nupstreams:\n  dbs: { servers: ['127.0.0.1:3000'] }\n",
     ('2:50', 'listeners.pg.upstream', 'no upstream is called "db"', '(one of: dbs)')),
    ('http-with-upstream-in-listener', 1, L('bind: ":18080", upstream: app'),
     ('2:26', 'listeners.web.upstream', 'an http listener has routes', '"upstream" is for protocols tcp and udp')),
    ('udp-tls', 1, "listeners:\n  dns: { bind: ':15353', protocol: udp, upstream: app, tls: { self_signed: a } }\nupstreams:\n  app: { servers: ['127.0.0.1:3000'] }\n",
     ('2:56', 'listeners.dns.tls', 'there is no TLS over datagrams: "tls" is for protocols http and tcp')),
    ('tls-true', 1, L('bind: ":18080", tls: true'),
     ('2:31', 'listeners.web.tls', 'true does not say enough', 'expected a map, written {name: value} or line by line')),
    ('tls-empty', 1, L('bind: ":18080", tls: {}'),
     ('2:31', 'listeners.web.tls', 'needs certificates: [{cert: …, key: …}], or self_signed: [names]')),
    ('tls-cert-missing', 1, L('bind: ":18080", tls: { certificates: [{ cert: no.pem, key: no.key }] }'),
     ('2:56', 'listeners.web.tls.certificates[0].cert', 'cannot read no.pem: No such file or directory'), ('2:69', 'listeners.web.tls.certificates[0].key', 'cannot read no.key: No such file or directory')),
    ('tls-cert-text', 1, L('bind: ":18080", tls: { certificates: no.pem }'),
     ('2:31', 'listeners.web.tls', 'needs certificates: [{cert: …, key: …}], or self_signed: [names]'), ('2:47', 'listeners.web.tls.certificates', 'expected a list of maps, written with "- " before each, or [{…}, {…}]', 'found "no.pem"')),
    ('tls-no-certs', 1, L('bind: ":18080", tls: { min_version: "1.2" }'),
     ('2:31', 'listeners.web.tls', 'needs certificates: [{cert: …, key: …}], or self_signed: [names]')),
    ('tls-version-1.1', 1, L('bind: ":18080", tls: { self_signed: a, min_version: "1.1" }'),
     ('2:62', 'listeners.web.tls.min_version', 'unknown value "1.1"', '(one of: 1.2, 1.3)', 'did you mean "1.2"?')),
    ('tls-version-TLSv1.2', 1, L('bind: ":18080", tls: { self_signed: a, min_version: TLSv1.2 }'),
     ('2:62', 'listeners.web.tls.min_version', 'unknown value "TLSv1.2"', '(one of: 1.2, 1.3)')),
    ('tls-ciphers-bad', 1, L('bind: ":18080", tls: { self_signed: a, ciphers: NOPE }'),
     ('2:58', 'listeners.web.tls.ciphers', 'OpenSSL takes no cipher from this list: no cipher match')),
    ('tls-both', 1, L('bind: ":18080", tls: { self_signed: a, certificates: [] }'),
     ('2:63', 'listeners.web.tls.certificates', 'may not be empty')),
    ('upstream-tls-ca-missing', 1, U('servers: ["127.0.0.1:3000"], tls: { ca: no.pem }'),
     ('6:50', 'upstreams.app.tls.ca', 'cannot read no.pem: No such file or directory')),
    ('proxy_protocol-v3', 1, U('servers: ["127.0.0.1:3000"], proxy_protocol: v3'),
     ('6:55', 'upstreams.app.proxy_protocol', 'unknown value "v3"', '(one of: none, v1, v2)')),
    ('no-listeners', 1, "routes:\n  - { respond: { body: x } }\n",
     ('1:1', '', 'missing key "listeners"')),
    ('listeners-empty', 1, "listeners: {}\n",
     ('1:12', 'listeners', 'may not be empty')),
    ('listeners-null', 1, "listeners:\nroutes:\n",
     ('1:1', '', 'missing key "listeners"')),
    ('include-nothing', 0, "include: conf.d/*.yaml\n" + BASE,
     ('1:10', 'include', '"conf.d/*.yaml" matches no file now')),
    ('include-missing', 1, "include: missing.yaml\n" + BASE,
     ('1:10', 'include', '"missing.yaml": there is no such file')),
    ('include-self', 1, "include: weir.yaml\n" + BASE,
     ('1:10', 'include', 'weir.yaml: includes itself')),
    ('admin-bind-no-port', 1, BASE + "admin: { bind: localhost }\n",
     ('7:16', 'admin.bind', 'the port is missing: expected an address like 127.0.0.1:80')),
    ('log-level', 1, BASE + "log: { level: warning }\n",
     ('7:15', 'log.level', 'unknown value "warning"', '(one of: debug, info, warn, error)', 'did you mean "warn"?')),
    ('log-access-path-dir-missing', 1, BASE + "log: { access: { output: /nowhere/x/access.log } }\n",
     ('7:26', 'log.access.output', 'cannot be written: No such file or directory')),
    ('log-access-fmt-var', 1, BASE + "log: { access: { format: '${remote_addr}' } }\n",
     ('7:26', 'log.access.format', 'unknown variable ${remote_addr}', 'did you mean "client"?')),
    ('user-unknown', 0, BASE + "user: nosuchuser\n",
     ('7:7', 'user', 'there is no user "nosuchuser": weir would not start as root')),
    ('workers-zero', 1, BASE + "workers: 0\n",
     ('7:10', 'workers', 'expected auto or a number from 1 to 256')),
    ('workers-word', 1, BASE + "workers: many\n",
     ('7:10', 'workers', 'expected auto or a number from 1 to 256')),
    ('test-fails', 1, BASE + "tests:\n  - { request: 'GET http://x:18080/', expect: { route: other } }\n",
     ('8:56', 'tests[0].expect.route', 'expected route "other", met route "all" (weir.yaml:4)')),
    ('test-unknown-route', 1, BASE + "tests:\n  - { request: 'GET http://x:18080/', expect: { rout: all } }\n",
     ('8:49', 'tests[0].expect.rout', 'unknown key', 'did you mean "route"?')),
    ('test-bad-url', 1, BASE + "tests:\n  - { request: '/x', expect: { route: all } }\n",
     ('8:16', 'tests[0].request', 'a request is a method and a URL: GET https://example.com/')),
    ('cache-ttl-no-unit', 1, R("{ upstream: app, cache: { ttl: 60 } }"),
     ('4:36', 'routes[0].cache.ttl', 'a duration needs a unit, written 500ms, 10s, 5m, 1h or 1d', 'did you mean "60s"?')),
    ('cache-of-a-redirect', 1, R("{ redirect: /x, cache: true }"),
     ('4:21', 'routes[0].cache', 'only answers of an upstream are cached')),
    ('cache-memory', 1, BASE + "cache: { memory: lots }\n",
     ('7:18', 'cache.memory', 'expected a size, written 64k, 16KiB, 8MiB or 1GiB', 'found "lots"')),
    ('rewrite-prefix-no-path', 1, R("{ upstream: app, rewrite: { prefix: api } }"),
     ('4:41', 'routes[0].rewrite.prefix', '"api" is no path: the path does not begin with a slash')),
    ('rewrite-regex-no-to', 1, R("{ upstream: app, rewrite: { regex: '^/a' } }"),
     ('4:31', 'routes[0].rewrite', 'needs "to": what the regex\'s match becomes')),
    ('retries-on-bad', 1, R("{ upstream: app, retries: { on: [5xx] } }"),
     ('4:38', 'routes[0].retries.on[0]', 'unknown cause "5xx"', '(one of: connect, reset, timeout, or a status from 400 to')),
    ('retries-number', 1, R("{ upstream: app, retries: 3 }"),
     ('4:31', 'routes[0].retries', 'expected a map, written {name: value} or "name: value" line by line', 'found "3"')),
]
# fmt: on


def assert_said(text, place, path, words):
    prefix = f"weir.yaml:{place}: " + (f"{path}: " if path else "")
    lines = [line for line in text.replace(": warning: ", ": ").splitlines() if line.startswith(prefix)]
    assert lines, f"no line begins with {prefix!r}:\n{text}"
    assert any(all(word in line for word in words) for line in lines), f"{words} in none of:\n" + "\n".join(lines)


@pytest.mark.parametrize("status, text, said", [pytest.param(e[1], e[2], e[3:], id=e[0]) for e in ERRORS])
def test_the_error_is_explained(status, text, said, tmp_path):
    (tmp_path / "weir.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    done = run_cli("check", "-c", "weir.yaml", cwd=tmp_path)
    assert done.returncode == status, done.stderr
    for place, path, *words in said:
        assert_said(done.stderr, place, path, words)


def test_every_error_of_a_file_is_told_at_once(tmp_path):
    (tmp_path / "weir.yaml").write_text(BASE.replace("web:", "web: &w").replace("upstream: app", "upstream: ap, timeout: 5") + "limits: { body_size: 8MB }\n")
    done = run_cli("check", "-c", "weir.yaml", cwd=tmp_path)
    assert [line.split(":")[1] for line in done.stderr.splitlines()] == ["4", "4", "7"]


def test_an_included_file_is_named(tmp_path):
    (tmp_path / "weir.yaml").write_text("include: api.yaml\n" + BASE)
    (tmp_path / "api.yaml").write_text("upstreams:\n  api: { servers: [] }\n")
    done = run_cli("check", "-c", "weir.yaml", cwd=tmp_path)
    assert done.returncode == 1 and "api.yaml:2:19: upstreams.api.servers: may not be empty" in done.stderr


# -- certificates and keys -------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def pems(tmp_path_factory, authority):
    folder = tmp_path_factory.mktemp("pems")
    for name, leaf in {"a": authority.leaf("a.example"), "b": authority.leaf("b.example"), "old": authority.leaf("old.example", days=-3)}.items():
        for path in leaf:
            (folder / f"{name}{os.path.splitext(path)[1]}").write_bytes(open(path, "rb").read())
    subprocess.run(["openssl", "pkey", "-in", "a.key", "-aes256", "-passout", "pass:x", "-out", "locked.key"], cwd=folder, check=True)
    subprocess.run(["openssl", "x509", "-in", "a.pem", "-outform", "der", "-out", "a.der"], cwd=folder, check=True)
    (folder / "text.pem").write_text("hello\n")
    (folder / "short.key").write_bytes(bytes(79))
    return folder


TLS_ERRORS = [
    ("another-key", 1, "certificates: [{ cert: a.pem, key: b.key }]", "certificates[0].key", "the key in b.key does not match the certificate in a.pem"),
    ("swapped", 1, "certificates: [{ cert: a.key, key: a.pem }]", "certificates[0].cert", "a.key holds no certificate"),
    ("locked", 1, "certificates: [{ cert: a.pem, key: locked.key }]", "certificates[0].key", "holds no private key that can be used (an encrypted one cannot)"),
    ("der", 1, "certificates: [{ cert: a.der, key: a.key }]", "certificates[0].cert", "no PEM block"),
    ("text", 1, "certificates: [{ cert: text.pem, key: a.key }]", "certificates[0].cert", "text.pem holds no certificate"),
    ("no-key", 1, "certificates: [{ cert: a.pem }]", "certificates[0]", "a.pem holds no private key"),
    ("missing", 1, "certificates: [{ cert: a.pem, key: none.key }]", "certificates[0].key", "cannot read none.key: No such file or directory"),
    ("a-folder", 1, "certificates: [{ cert: ., key: a.key }]", "certificates[0].cert", "Is a directory"),
    ("expired", 0, "certificates: [{ cert: old.pem, key: old.key }]", "certificates[0].cert", "expired on"),
    ("ticket-key", 1, "certificates: [{ cert: a.pem, key: a.key }], ticket_keys: short.key", "ticket_keys", "short.key has 79 bytes"),
    ("no-authorities", 1, "certificates: [{ cert: a.pem, key: a.key }], client_ca: text.pem", "client_ca", "text.pem holds no certificates"),
    ("verify-by-whom", 1, "certificates: [{ cert: a.pem, key: a.key }], client_verify: require", "", "client_verify needs client_ca"),
    ("curve", 1, "certificates: [{ cert: a.pem, key: a.key }], curves: X25518", "curves", "does not know"),
    ("both", 1, "certificates: [{ cert: a.pem, key: a.key }], self_signed: a", "", "certificates and self_signed exclude each other"),
]


@pytest.mark.parametrize("status, tls, path, words", [pytest.param(*e[1:], id=e[0]) for e in TLS_ERRORS])
def test_an_error_of_tls_is_explained(status, tls, path, words, pems, tmp_path):
    for name in os.listdir(pems):
        os.symlink(pems / name, tmp_path / name)
    (tmp_path / "weir.yaml").write_text(L(f"bind: ':18443', tls: {{ {tls} }}"))
    done = run_cli("check", "-c", "weir.yaml", cwd=tmp_path)
    assert done.returncode == status, done.stderr
    assert "cannot read :" not in done.stderr
    line = next(line for line in done.stderr.replace(": warning: ", ": ").splitlines() if words in line)
    assert line.startswith("weir.yaml:2:") and f"listeners.web.tls{'.' if path else ''}{path}: " in line


# -- what only a start finds -----------------------------------------------------------------------------------------------------

def run_until_it_ends(text, folder, *before):
    (folder / "weir.yaml").write_text(text)
    done = subprocess.run([*before, BINARY, "run", "-c", "weir.yaml"], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    return done.stderr


def at_start(bind="127.0.0.1:0", admin="socket: ''"):
    return f"listeners:\n  web: {{ bind: '{bind}' }}\nadmin: {{ {admin} }}\nroutes:\n  - respond: {{ body: x }}\n"


def test_a_port_in_use(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = run_until_it_ends(at_start(f"127.0.0.1:{port}"), tmp_path)
    assert_said(said, "2:16", "listeners.web.bind", [f"cannot listen on 127.0.0.1:{port}", "Address already in use", "`ss -ltnup` says which"])


def test_an_address_of_another_machine(tmp_path):
    said = run_until_it_ends(at_start("198.51.100.7:18080"), tmp_path)
    assert_said(said, "2:16", "listeners.web.bind", ["Cannot assign requested address", "this machine has no such address", "`ip address`"])


def test_a_socket_in_a_folder_that_is_not_there(tmp_path):
    said = run_until_it_ends(at_start("unix:/nowhere/weir.sock"), tmp_path)
    assert_said(said, "2:16", "listeners.web.bind", ["No such file or directory", "its folder must be there"])


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_a_port_that_is_for_root(tmp_path):
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as f:
        if int(f.read()) <= 81:
            pytest.skip("every port is for everybody here")
    os.chmod(tmp_path, 0o755)
    for folder in tmp_path.parents:
        if str(folder).startswith("/tmp/"):
            os.chmod(folder, 0o755)
    said = run_until_it_ends(at_start("127.0.0.1:81"), tmp_path, "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--bounding-set", "-all", "--inh-caps", "-all")
    assert_said(said, "2:16", "listeners.web.bind", ["Permission denied", "ports under 1024 are for root, or need CAP_NET_BIND_SERVICE"])


def test_a_control_socket_that_another_weir_has(tmp_path, site):
    running = site(routes=[{"respond": {"body": "x"}}])
    said = run_until_it_ends(at_start(admin=f"socket: '{running.socket_file}'"), tmp_path)
    assert_said(said, "3:18", "admin.socket", ["another weir listens there", "give this one a socket of its own"])


def test_an_admin_address_that_is_taken(tmp_path, site):
    running = site(routes=[{"respond": {"body": "x"}}])
    said = run_until_it_ends(at_start(admin=f"socket: '', bind: '127.0.0.1:{running.port('admin')}'"), tmp_path)
    assert_said(said, "3:28", "admin.bind", ["cannot listen on", "Address already in use"])


# -- calls -----------------------------------------------------------------------------------------------------------------------

CALLS = [
    (["run"], 2, "which file? Say -c FILE"),
    (["check"], 2, "which file? Say -c FILE"),
    (["chek", "-c", "x"], 2, 'unknown command "chek"; did you mean "check"?'),
    (["check", "weir.yaml"], 2, 'unexpected argument "weir.yaml"'),
    (["check", "-c", "none.yaml"], 1, "none.yaml: cannot be read: No such file or directory"),
    (["check", "-c", "."], 1, "cannot be read: Is a directory"),
    (["status", "-s", "none.sock"], 1, "no weir runs at none.sock: No such file or directory; say which by -c FILE or -s SOCKET"),
]


@pytest.mark.parametrize("call, status, words", CALLS, ids=["-".join(c[0]) for c in CALLS])
def test_a_wrong_call_is_explained(call, status, words, tmp_path):
    done = run_cli(*call, cwd=tmp_path)
    assert done.returncode == status and words in done.stderr, done.stderr
