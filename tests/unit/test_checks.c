/* `tests:` of a file, and why a route wins. */
#include "tests/unit/routing_fixture.h"

static const uint16_t web_ports[] = {8080, 80}, tls_ports[] = {443};
static const struct plain_listener plain_listeners[] = {{SLICE("web"), 0, false, web_ports, 2, NULL},
                                                        {SLICE("web-tls"), 1, true, tls_ports, 1, NULL}};

#define ROUTES                                                                                               \
    "routes:\n"                                                                                              \
    "- {name: api, listener: web-tls, host: api.example.com, path: /v1/, upstream: api, rewrite: {prefix: "  \
    "/}}\n"                                                                                                  \
    "- {name: canary, listener: web-tls, host: api.example.com, path: /v1/, headers: {x-canary: '1'}, "      \
    "upstream: app}\n"                                                                                       \
    "- {name: secure, listener: web, redirect: 'https://${host}${target}'}\n"                                \
    "- {name: inner, listener: web-tls, path: /inner, allow: [10.0.0.0/8], split: {blue: 1, green: 0}}\n"    \
    "- {name: tea, listener: web-tls, path: /tea, methods: POST, respond: {status: 418}}\n"

/* Runs the tests; the faults are these. */
static void assert_checked(const char *tests, size_t passed, const char *faults)
{
    char text[4096];
    struct routing r;
    snprintf(text, sizeof text, "%stests:\n%s", ROUTES, tests);
    routing_make(&r, text);
    const struct checks with = {r.router, plain_listeners, 2, NULL, 0};
    size_t good = 0;
    size_t failed = checks_run(&r.c, config_get(r.c.root, "tests"), &with, &good);
    assert_string_equal(config_errors_text(&r.c), faults);
    assert_int_equal(good, passed);
    assert_int_equal(failed > 0, *faults != 0);
    routing_free(&r);
}

static void test_what_is_expected_passes(void **state)
{
    (void)state;
    assert_checked(
        "- {request: GET https://api.example.com/v1/users?a=b, expect: {route: api, upstream: api, status: "
        "200, path: /users}}\n"
        "- {request: GET https://API.example.com:443/v1/users, headers: {X-Canary: 1}, expect: {route: "
        "canary, path: /v1/users}}\n"
        "- {request: 'GET http://a.example:8080/x?y=%20', expect: {route: secure, status: 308, location: "
        "'https://a.example/x?y=%20'}}\n"
        "- {request: GET https://x/inner/a, client: 10.1.2.3, expect: {route: inner, upstream: blue}}\n"
        "- {request: GET https://x/inner/a, expect: {route: inner, status: 403}}\n"
        "- {request: POST https://x/tea, expect: {status: 418}}\n"
        "- {request: GET https://x/tea, expect: {route: null, status: 405}}\n"
        "- {request: GET https://x/none, expect: {route: ~, status: 404}}\n"
        "- {request: GET https://x/.., expect: {status: 400}}\n"
        "- {request: GET http://x/tea, listener: web-tls, expect: {status: 405}}\n"
        "- {request: GET /x, headers: {host: b.example}, expect: {location: 'https://b.example/x'}}\n",
        11, "");
}

static void test_what_came_instead_is_told_where_the_expectation_stands(void **state)
{
    (void)state;
    assert_checked(
        "- {request: GET https://api.example.com/v1, headers: {x-canary: 1},\n"
        "   expect: {route: api}}\n"
        "- request: GET https://x/none\n"
        "  expect:\n"
        "    route: api\n"
        "    upstream: api\n"
        "- request: GET https://api.example.com/v1\n"
        "  expect: {route: null, upstream: app, status: 403, path: /x}\n"
        "- {request: GET http://x/, expect: {status: 301, location: http://x/}}\n"
        "- {request: GET https://x/inner, client: 10.0.0.1, expect: {upstream: green}}\n",
        0,
        "weir.yaml:9:20: tests[0].expect.route: expected route \"api\", met route \"canary\" (weir.yaml:3)\n"
        "weir.yaml:12:12: tests[1].expect.route: expected route \"api\", met no route (404)\n"
        "weir.yaml:13:15: tests[1].expect.upstream: expected upstream \"api\", met no upstream, by no route "
        "(404)\n"
        "weir.yaml:15:19: tests[2].expect.route: expected no route, met route \"api\" (weir.yaml:2)\n"
        "weir.yaml:15:35: tests[2].expect.upstream: expected upstream \"app\", met upstream \"api\", by "
        "route \"api\" (weir.yaml:2)\n"
        "weir.yaml:15:48: tests[2].expect.status: expected weir to answer 403, but route \"api\" "
        "(weir.yaml:2) sends the request on\n"
        "weir.yaml:15:59: tests[2].expect.path: expected \"/x\", got \"/\", from route \"api\" "
        "(weir.yaml:2)\n"
        "weir.yaml:16:45: tests[3].expect.status: expected status 301, got 308, from route \"secure\" "
        "(weir.yaml:4)\n"
        "weir.yaml:16:60: tests[3].expect.location: expected \"http://x/\", got \"https://x/\", from route "
        "\"secure\" (weir.yaml:4)\n"
        "weir.yaml:17:71: tests[4].expect.upstream: expected upstream \"green\", met upstream \"blue\", by "
        "route \"inner\" (weir.yaml:5)\n");
}

static void test_a_test_that_makes_no_sense_is_a_fault(void **state)
{
    (void)state;
    static const char *const table[][2] = {
        {"- {request: GET, expect: {status: 200}}", "tests[0].request: a URL begins with http://"},
        {"- {request: GET ftp://x/, expect: {status: 200}}", "tests[0].request: a URL begins with http://"},
        {"- {request: GET http://, expect: {status: 200}}", "tests[0].request: the URL needs a host"},
        {"- {request: GET http://u@x/, expect: {status: 200}}",
         "tests[0].request: the URL needs a host, without a user"},
        {"- {request: G@T http://x/, expect: {status: 200}}",
         "tests[0].request: a request is a method and a URL"},
        {"- {request: GET http://x/a b, expect: {status: 200}}",
         "tests[0].request: a URL is printable ASCII"},
        {"- {request: GET http://x/, client: nobody, expect: {status: 200}}", "the client is no IP address"},
        {"- {request: GET http://x/, listener: wbe, expect: {status: 200}}",
         "tests[0].listener: no http listener is called"},
        {"- {request: GET http://x/, headers: {'a b': c}, expect: {status: 200}}", "a header is"},
        {"- {request: GET http://x/}", "tests[0]: missing key \"expect\""},
        {"- {request: GET http://x/, expect: {rout: x}}",
         "tests[0].expect.rout: unknown key; did you mean \"route\"?"},
        {"  a: b", "tests: expected a list of tests"},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        char text[2048];
        struct routing r;
        snprintf(text, sizeof text, "%stests:\n%s\n", ROUTES, table[i][0]);
        routing_make(&r, text);
        const struct checks with = {r.router, plain_listeners, 2, NULL, 0};
        assert_int_equal(checks_run(&r.c, config_get(r.c.root, "tests"), &with, NULL), 1);
        if (r.c.error_count != 1 || !strstr(r.c.errors[0].message, table[i][1]))
            fail_msg("%s: %s", table[i][0], config_errors_text(&r.c));
        routing_free(&r);
    }
}

static void test_a_url_leads_to_a_listener(void **state)
{
    (void)state;
    static const uint16_t one[] = {8443}, two[] = {443}, three[] = {80};
    static const struct plain_listener listeners[] = {{SLICE("a"), 0, true, one, 1, NULL},
                                                      {SLICE("b"), 1, true, two, 1, NULL},
                                                      {SLICE("c"), 2, false, three, 1, NULL}};
    static const struct {
        const char *request;
        unsigned slot;
    } table[] = {{"GET https://x/", 1},
                 {"GET https://x:8443/", 0},
                 {"GET https://x:9/", 0},
                 {"GET http://x/", 2},
                 {"GET http://x:443/", 2}};
    struct routing r;
    routing_make(&r, "{}");
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        struct plain_request p;
        routing_request(&r, table[i].request, NULL, &p);
        assert_ptr_equal(plain_request_listener(&p, listeners, 3), &listeners[table[i].slot]);
        assert_int_equal(p.listener_slot, table[i].slot);
    }
    struct plain_request p;
    routing_request(&r, "GET http://x/", NULL, &p);
    assert_ptr_equal(plain_request_listener(&p, listeners, 2), &listeners[0]);
    assert_null(plain_request_listener(&p, listeners, 0));
    routing_free(&r);
}

static void test_every_route_is_told_why_it_lost(void **state)
{
    (void)state;
    static const struct {
        enum explain_reason reason;
        const char *text;
    } expected[] = {
        {EXPLAIN_LISTENER, "not on listener web"},
        {EXPLAIN_HOST, "host a.example is not b.example, *.c.example"},
        {EXPLAIN_PATH, "path /v1/users is not below /v2"},
        {EXPLAIN_PATH, "path /v1/users is not /v1"},
        {EXPLAIN_PATH, "path /v1/users does not match the regex ^/x"},
        {EXPLAIN_METHOD, "method GET is not among POST, PUT"},
        {EXPLAIN_CONDITION, "header x-a is not \"1\""},
        {EXPLAIN_CONDITION, "query argument q is not there"},
        {EXPLAIN_CONDITION, "cookie c does not match the regex ^y"},
        {EXPLAIN_LESS_SPECIFIC, "less specific than winner (weir.yaml:13): its host is less specific"},
        {EXPLAIN_LESS_SPECIFIC, "less specific than winner (weir.yaml:13): its path is less specific"},
        {EXPLAIN_WON, "host a.example, path prefix /v1/users, 1 condition"},
        {EXPLAIN_LESS_SPECIFIC, "less specific than winner (weir.yaml:13): it has fewer conditions"},
    };
    struct routing r;
    routing_make(&r,
                 "routes:\n"
                 "- {listener: web-tls, upstream: api}\n"
                 "- {host: [b.example, '*.c.example'], upstream: api}\n"
                 "- {path: /v2, upstream: api}\n"
                 "- {path: {exact: /v1}, upstream: api}\n"
                 "- {path: {regex: ^/x}, upstream: api}\n"
                 "- {methods: [POST, PUT], upstream: api}\n"
                 "- {path: /v1, headers: {x-a: 1}, upstream: api}\n"
                 "- {host: a.example, query: {q: {present: true}}, upstream: api}\n"
                 "- {path: /v1, cookies: {c: {regex: ^y}, d: e}, upstream: api}\n"
                 "- {path: /v1/users, upstream: api}\n"
                 "- {host: a.example, path: /v1, upstream: api}\n"
                 "- {name: winner, host: a.example, path: /v1/users, headers: {accept: x}, upstream: api}\n"
                 "- {host: a.example, path: /v1/users, upstream: api}\n");
    struct plain_request p;
    struct explanation e;
    routing_request(&r, "GET http://a.example/v1/users", "accept: x", &p);
    p.listener = S("web");
    assert_int_equal(router_explain(r.router, r.routes, r.count, &p, &r.scratch, &r.arena, &e), 0);
    assert_int_equal(e.step_count, COUNT_OF(expected));
    for (size_t i = 0; i < e.step_count; i++) {
        if (e.steps[i].reason != expected[i].reason ||
            !slice_equal(e.steps[i].text, slice_text(expected[i].text)))
            fail_msg("routes[%zu]: %.*s", i, SLICE_FMT(e.steps[i].text));
        assert_ptr_equal(e.steps[i].route, &r.routes[i]);
    }
    assert_ptr_equal(e.route, &r.routes[11]);
    assert_int_equal(e.action, EXPLAIN_ROUTED);
    routing_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_expected_passes),
        cmocka_unit_test(test_what_came_instead_is_told_where_the_expectation_stands),
        cmocka_unit_test(test_a_test_that_makes_no_sense_is_a_fault),
        cmocka_unit_test(test_a_url_leads_to_a_listener),
        cmocka_unit_test(test_every_route_is_told_why_it_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
