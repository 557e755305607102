/* Routes as the file says them: what is read, inherited, compiled and refused. */
#include "tests/unit/routing_fixture.h"

static void test_a_route_says_little_and_gets_the_defaults(void **state)
{
    (void)state;
    struct routing r;
    routing_make(&r, "routes: [{upstream: api}]");
    const struct route *route = &r.routes[0];
    assert_true(slice_equal(route->name, S("routes[0]")));
    assert_int_equal(route->action, ROUTE_UPSTREAM);
    assert_int_equal(route->target_count, 1);
    assert_true(slice_equal(route->targets[0].name, S("api")));
    assert_null(route->targets[0].upstream);
    assert_int_equal(route->host_count, 1);
    assert_int_equal(route->hosts[0].kind, ROUTE_HOST_ANY);
    assert_int_equal(route->path.kind, ROUTE_PATH_PREFIX);
    assert_int_equal(route->path.text.len, 0);
    assert_int_equal(route->rank, 0);
    assert_true(route->normalize);
    assert_null(route->rewrite);
    assert_int_equal(route->timeout, 0);
    assert_false(route->limits.has_body_size || route->timeouts.has_body || route->timeouts.has_response);
    assert_int_equal(route->retries.attempts, 1);
    assert_true(route->retries.budget > 0.199 && route->retries.budget < 0.201);
    assert_int_equal(route->request_headers.count + route->response_headers.count + route->error_count, 0);
    assert_true(access_is_open(&route->access));
    routing_free(&r);
}

static void test_a_route_says_everything(void **state)
{
    (void)state;
    struct routing r;
    routing_make(&r, "routes:\n"
                     "- name: api\n"
                     "  listener: [web-tls]\n"
                     "  host: [API.example.com., '*.Example.org']\n"
                     "  path: /v1/\n"
                     "  methods: [GET, POST]\n"
                     "  headers: {x-canary: 1, user-agent: {regex: ^curl}}\n"
                     "  query: {debug: {present: true}}\n"
                     "  cookies: {beta: yes}\n"
                     "  split: {blue: 90, green: 10}\n"
                     "  rewrite: {prefix: /}\n"
                     "  request_headers: {set: {x-request-id: '${request_id}'}, add: {a: b}, remove: [c]}\n"
                     "  response_headers: {remove: server}\n"
                     "  retries: {attempts: 0, budget: 5%}\n"
                     "  timeout: 30s\n"
                     "  limits: {body_size: 2GiB}\n"
                     "  timeouts: {response: 5m}\n"
                     "  allow: [10.0.0.0/8]\n"
                     "  errors: {502: pages/502.html, 503: pages/503.html}\n");
    const struct route *route = &r.routes[0];
    assert_int_equal(route->node->line, 2);
    assert_true(slice_equal(route->name, S("api")));
    assert_false(route_on_listener(route, 0));
    assert_true(route_on_listener(route, 1));
    assert_true(slice_equal(route->hosts[0].name, S("api.example.com")));
    assert_true(slice_equal(route->hosts[1].name, S(".example.org")));
    assert_int_equal(route->hosts[1].kind, ROUTE_HOST_WILDCARD);
    assert_true(slice_equal(route->path.text, S("/v1")));
    assert_int_equal(route->rank, 5);
    assert_int_equal(route->action, ROUTE_SPLIT);
    assert_int_equal(route->target_count, 2);
    assert_int_equal(route->targets[1].weight, 10);
    assert_non_null(route->rewrite);
    assert_int_equal(route->request_headers.count, 3);
    assert_int_equal(route->response_headers.count, 1);
    assert_int_equal(route->retries.attempts, 0);
    assert_int_equal(route->timeout, 30000);
    assert_true(route->limits.has_body_size);
    assert_int_equal(route->limits.body_size, (uint64_t)2 << 30);
    assert_true(route->timeouts.has_response && !route->timeouts.has_body);
    assert_int_equal(route->timeouts.response, 300000);
    assert_int_equal(route->access.allow.count, 1);
    assert_int_equal(route_error_page(route, 503)->node->line, 19);
    assert_true(slice_equal(route_error_page(route, 502)->path, S("pages/502.html")));
    assert_null(route_error_page(route, 500));
    routing_free(&r);
}

static void test_actions_that_answer_at_once(void **state)
{
    (void)state;
    struct routing r;
    routing_make(
        &r,
        "routes:\n"
        "- {path: /a, redirect: 'https://${host}${target}'}\n"
        "- {path: /b, redirect: {to: /x, status: 301}}\n"
        "- {path: /c, respond: {status: 418, body: 'tea ${client}', headers: {content-type: text/x-tea}}}\n"
        "- {path: /d, files: {root: ./public, index: [a.html, b.html], fallback: /index.html, browse: "
        "true}}\n"
        "- {path: /e, files: ./public}\n"
        "- {path: /f, respond: true}\n");
    assert_int_equal(r.routes[0].redirect.status, 308);
    assert_int_equal(r.routes[0].redirect.to.count, 2);
    assert_int_equal(r.routes[1].redirect.status, 301);
    assert_true(template_is_literal(&r.routes[1].redirect.to));
    assert_int_equal(r.routes[2].respond.status, 418);
    assert_int_equal(r.routes[2].respond.headers.add_count, 1);
    assert_int_equal(r.routes[3].files->index.count, 2);
    assert_true(r.routes[3].files->browse);
    assert_true(slice_equal(r.routes[4].files->root, S("./public")));
    assert_true(slice_equal(r.routes[4].files->index.at[0], S("index.html")));
    assert_int_equal(r.routes[5].respond.status, 200);
    assert_true(template_is_empty(&r.routes[5].respond.body));
    routing_free(&r);
}

static void test_defaults_are_where_every_route_starts(void **state)
{
    (void)state;
    struct routing r;
    routing_make(
        &r,
        "defaults:\n"
        "  response_headers: {set: {x-a: default, x-b: default}, remove: [server]}\n"
        "  timeout: 10s\n"
        "  timeouts: {body: 1s}\n"
        "  errors: {502: a.html}\n"
        "  deny: [10.0.0.0/8]\n"
        "routes:\n"
        "- {path: /plain, upstream: api}\n"
        "- {path: /more, upstream: api, response_headers: {set: {x-b: route, x-c: route}, remove: [via]}}\n"
        "- {path: /less, upstream: api, response_headers: {set: {x-a: null}}, timeout: null, deny: null}\n"
        "- {path: /none, upstream: api, response_headers: null, timeouts: {response: 2s}, errors: {503: "
        "b.html}}\n");
    const struct route *routes = r.routes;
    assert_int_equal(routes[0].response_headers.set_count, 2);
    assert_int_equal(routes[0].timeout, 10000);
    assert_int_equal(routes[0].timeouts.body, 1000);
    assert_int_equal(routes[0].access.deny.count, 1);

    assert_int_equal(routes[1].response_headers.set_count, 3);
    assert_true(slice_equal(routes[1].response_headers.at[0].name, S("via")));
    assert_true(slice_equal(routes[1].response_headers.at[2].value.literal, S("route")));
    assert_int_equal(routes[1].response_headers.count, 4);

    assert_int_equal(routes[2].response_headers.set_count, 1);
    assert_int_equal(routes[2].timeout, 0);
    assert_int_equal(routes[2].access.deny.count, 0);

    assert_int_equal(routes[3].response_headers.count, 0);
    assert_true(routes[3].timeouts.has_body && routes[3].timeouts.has_response);
    assert_non_null(route_error_page(&routes[3], 502));
    assert_non_null(route_error_page(&routes[3], 503));
    routing_free(&r);
}

/* ` (one of: …)`, the keys of `defaults` that are not planned. */
static void list_keys(char *out, size_t size)
{
    size_t used = (size_t)snprintf(out, size, " (one of: ");
    const char *before = "";
    for (size_t i = 0; i < defaults_table.count; i++)
        if (defaults_table.options[i].type != OPTION_PLANNED) {
            used += (size_t)snprintf(out + used, size - used, "%s%s", before, defaults_table.options[i].name);
            before = ", ";
        }
    snprintf(out + used, size - used, ")");
}

static void test_defaults_have_no_match_and_no_action(void **state)
{
    (void)state;
    char keys[1024], expected[4096];
    list_keys(keys, sizeof keys);
    snprintf(expected, sizeof expected,
             "weir.yaml:2:3: defaults.host: unknown key%s\n"
             "weir.yaml:3:3: defaults.upstream: unknown key%s\n"
             "weir.yaml:4:3: defaults.timout: unknown key; did you mean \"timeout\"?\n"
             "weir.yaml:5:3: defaults.compress: not supported yet\n",
             keys, keys);
    assert_route_faults("defaults:\n  host: a\n  upstream: api\n  timout: 3s\n  compress: [gzip]\n"
                        "routes: [{upstream: api}, {path: /x, upstream: app}]\n",
                        expected);
    assert_string_equal(defaults_table.options[0].name, "rewrite");
}

static void test_a_fault_in_defaults_is_told_once(void **state)
{
    (void)state;
    assert_route_faults("defaults: {response_headers: {set: {connection: x}}}\n"
                        "routes: [{upstream: api}, {path: /x, upstream: app}]\n",
                        "weir.yaml:1:37: defaults.response_headers.set.connection: connection frames the "
                        "message or belongs to "
                        "one connection; weir sees to it\n");
}

/* One route's YAML and the beginnings of its faults' messages. */
static void assert_refused(const char *route, const char *fault)
{
    char text[512];
    struct routing r;
    snprintf(text, sizeof text, "routes:\n- %s\n", route);
    routing_read(&r, text);
    if (r.c.error_count != 1 || !strstr(r.c.errors[0].message, fault))
        fail_msg("%s: %s", route, config_errors_text(&r.c));
    routing_free(&r);
}

static void test_what_is_wrong_is_refused(void **state)
{
    (void)state;
    static const char *const table[][2] = {
        {"{path: /x}", "routes[0]: needs an action: upstream, split, redirect, respond or files"},
        {"{upstream: api, files: ./x}", "routes[0].files: the route has an action already, \"upstream\""},
        {"{upstream: apii}", "routes[0].upstream: no upstream is called \"apii\"; did you mean \"api\"?"},
        {"{split: {blu: 1}}", "routes[0].split.blu: no upstream is called \"blu\"; did you mean \"blue\"?"},
        {"{split: {blue: 0}}", "routes[0].split: needs an upstream with a weight above 0"},
        {"{split: {}}", "routes[0].split: needs an upstream with a weight above 0"},
        {"{split: {blue: x}}", "routes[0].split.blue: "},
        {"{upstream: api, listener: wbe}",
         "routes[0].listener: no listener is called \"wbe\"; did you mean \"web\"?"},
        {"{upstream: api, listener: db}", "routes[0].listener: listener \"db\" does not serve http"},
        {"{upstream: api, host: 'a.b:80'}", "routes[0].host: hosts are compared without their port"},
        {"{upstream: api, host: 'a.*.b'}", "routes[0].host: \"a.*.b\" is no host"},
        {"{upstream: api, host: '*b'}", "routes[0].host: \"*b\" is no host"},
        {"{upstream: api, host: .b}", "routes[0].host: \".b\" is no host"},
        {"{upstream: api, host: 'a..b'}", "routes[0].host: \"a..b\" is no host"},
        {"{upstream: api, host: 'a/b'}", "routes[0].host: \"a/b\" is no host"},
        {"{upstream: api, host: ''}", "routes[0].host: \"\" is no host"},
        {"{upstream: api, path: x}", "routes[0].path: a path begins with \"/\""},
        {"{upstream: api, path: '^/x'}",
         "routes[0].path: a path begins with \"/\"; a regex is written {regex: \"…\"}"},
        {"{upstream: api, path: '/x?y'}", "routes[0].path: a path has no \"?\""},
        {"{upstream: api, path: /../x}",
         "routes[0].path: \"/../x\" is no path: the path climbs above the root"},
        {"{upstream: api, path: '/%zz'}", "routes[0].path: \"/%zz\" is no path: bad percent-escape"},
        {"{upstream: api, path: {regex: '('}}", "routes[0].path.regex: \"(\" is no regex"},
        {"{upstream: api, path: {regx: a}}", "routes[0].path.regx: unknown key"},
        {"{upstream: api, path: {exact: /a, regex: b}}", "routes[0].path: expected a path like"},
        {"{upstream: api, methods: [get]}",
         "routes[0].methods[0]: methods are told apart by case; did you mean \"GET\"?"},
        {"{upstream: api, methods: ['a b']}", "routes[0].methods[0]: \"a b\" is no method"},
        {"{upstream: api, headers: {'a b': c}}", "is no name of a header field"},
        {"{upstream: api, headers: {a: {regex: '['}}}", "routes[0].headers.a.regex: \"[\" is no regex"},
        {"{upstream: api, headers: {a: [b]}}",
         "routes[0].headers.a: expected a value, {regex: \"…\"} or {present: true}"},
        {"{upstream: api, query: [a]}", "routes[0].query: expected a map"},
        {"{redirect: {status: 301}}", "routes[0].redirect: missing key \"to\""},
        {"{redirect: {to: /x, status: 200}}",
         "routes[0].redirect.status: a redirect is 301, 302, 303, 307 or 308"},
        {"{redirect: {to: '${status}'}}", "routes[0].redirect.to: ${status} is not known yet"},
        {"{respond: {status: 99}}", "routes[0].respond.status: "},
        {"{respond: {status: 204, body: x}}",
         "routes[0].respond.body: an answer with status 204 has no body"},
        {"{respond: {headers: {content-length: 3}}}", "routes[0].respond.headers.content-length"},
        {"{respond: {body: '${nope}'}}", "routes[0].respond.body: unknown variable ${nope}"},
        {"{files: {browse: true}}", "routes[0].files: missing key \"root\""},
        {"{files: {root: x, fallback: y}}", "routes[0].files.fallback: begins with \"/\""},
        {"{files: {root: x, index: a/b}}", "routes[0].files.index: is a file's name"},
        {"{upstream: api, errors: {200: x}}", "is no status of an error"},
        {"{upstream: api, errors: {502: ''}}", "needs a file"},
        {"{upstream: api, allow: [x]}", "routes[0].allow[0]: \"x\" is no network"},
        {"{upstream: api, compress: [gzip]}", "routes[0].compress: not supported yet"},
        {"{upstream: api, retries: {on: [rest]}}", "routes[0].retries.on[0]: unknown cause \"rest\""},
        {"{upstream: api, timeouts: {connect: 1s}}", "routes[0].timeouts.connect: unknown key"},
        {"{upstream: api, timout: 1s}", "routes[0].timout: unknown key; did you mean \"timeout\"?"},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++)
        assert_refused(table[i][0], table[i][1]);
}

static void test_faults_stand_where_the_value_stands(void **state)
{
    (void)state;
    assert_route_faults(
        "routes:\n"
        "- upstream: apii\n"
        "  methods: [GET, put]\n"
        "- split:\n"
        "    gren: 3\n"
        "  path: {regex: 'a('}\n",
        "weir.yaml:2:13: routes[0].upstream: no upstream is called \"apii\"; did you mean \"api\"?\n"
        "weir.yaml:3:18: routes[0].methods[1]: methods are told apart by case; did you mean \"PUT\"?\n"
        "weir.yaml:5:5: routes[1].split.gren: no upstream is called \"gren\"; did you mean \"green\"?\n"
        "weir.yaml:6:17: routes[1].path.regex: \"a(\" is no regex: missing closing parenthesis at character "
        "3\n");
}

static void test_a_route_whose_match_is_wrong_is_in_nobodys_way(void **state)
{
    (void)state;
    assert_route_faults("routes: [{upstream: api}, {upstream: api, path: x}]",
                        "weir.yaml:1:49: routes[1].path: a path begins with \"/\"\n");
}

static void test_a_name_stands_for_one_route(void **state)
{
    (void)state;
    assert_route_faults(
        "routes:\n- {name: a, upstream: api}\n- {name: a, path: /x, upstream: api}\n",
        "weir.yaml:3:10: routes[1].name: \"a\" is the name of another route too (routes[0], line 2)\n");
}

static void test_split_follows_the_weights_as_they_are(void **state)
{
    (void)state;
    struct routing r;
    routing_make(&r, "routes: [{split: {blue: 3, green: 1, app: 0}}]");
    struct route *route = &r.routes[0];
    unsigned counts[3] = {0};
    for (uint64_t i = 0; i < 1000; i++)
        counts[split_pick(route, (uint32_t)(i * 4294967)) - route->targets]++;
    assert_in_range(counts[0], 749, 751);
    assert_in_range(counts[1], 249, 251);
    assert_int_equal(counts[2], 0);
    assert_ptr_equal(split_pick(route, UINT32_MAX), &route->targets[1]);

    atomic_store(&route->targets[0].weight, 0);
    assert_ptr_equal(split_pick(route, 0), &route->targets[1]);
    atomic_store(&route->targets[1].weight, 0);
    assert_null(split_pick(route, 7));
    routing_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_route_says_little_and_gets_the_defaults),
        cmocka_unit_test(test_a_route_says_everything),
        cmocka_unit_test(test_actions_that_answer_at_once),
        cmocka_unit_test(test_defaults_are_where_every_route_starts),
        cmocka_unit_test(test_defaults_have_no_match_and_no_action),
        cmocka_unit_test(test_a_fault_in_defaults_is_told_once),
        cmocka_unit_test(test_what_is_wrong_is_refused),
        cmocka_unit_test(test_faults_stand_where_the_value_stands),
        cmocka_unit_test(test_a_route_whose_match_is_wrong_is_in_nobodys_way),
        cmocka_unit_test(test_a_name_stands_for_one_route),
        cmocka_unit_test(test_split_follows_the_weights_as_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
