/* Which route a request meets: by table, and against a matcher that tries all. */
#include "tests/unit/routing_fixture.h"

struct ask {
    unsigned listener;
    const char *request, *headers, *expected;
};

static void ask_all(const char *text, const struct ask *table, size_t count)
{
    struct routing r;
    routing_make(&r, text);
    for (size_t i = 0; i < count; i++) {
        const char *got = routing_ask(&r, table[i].listener, table[i].request, table[i].headers);
        if (strcmp(got, table[i].expected) != 0)
            fail_msg("%s [%s]: met %s, not %s", table[i].request, table[i].headers ? table[i].headers : "",
                     got, table[i].expected);
    }
    routing_free(&r);
}

#define ROUTE(name, match) "- {name: " name ", " match "respond: {body: x}}\n"

static const char hosts[] = "routes:\n" ROUTE("any", "") ROUTE("exact", "host: a.example, ")
    ROUTE("two", "host: [l1.example, L2.Example.], ") ROUTE("wild", "host: '*.example', ")
        ROUTE("wild-longer", "host: '*.b.example', ") ROUTE("in-wild", "host: x.b.example, ")
            ROUTE("v6", "host: '[::1]', ") ROUTE("below", "host: x.b.example, path: /only, ");

static void test_the_more_specific_host_wins(void **state)
{
    (void)state;
    static const struct ask table[] = {
        {0, "GET http://nobody.test/", NULL, "any"},
        {0, "GET http://a.example/", NULL, "exact"},
        {0, "GET http://A.EXAMPLE.:8080/", NULL, "exact"},
        {0, "GET http://l1.example/", NULL, "two"},
        {0, "GET http://l2.example/", NULL, "two"},
        {0, "GET http://other.example/", NULL, "wild"},
        {0, "GET http://b.example/", NULL, "wild"},
        {0, "GET http://c.d.example/", NULL, "wild"},
        {0, "GET http://example/", NULL, "any"},
        {0, "GET http://notexample/", NULL, "any"},
        {0, "GET http://y.b.example/", NULL, "wild-longer"},
        {0, "GET http://z.y.b.example/", NULL, "wild-longer"},
        {0, "GET http://x.b.example/", NULL, "in-wild"},
        {0, "GET http://x.b.example/only", NULL, "below"},
        {0, "GET http://z.x.b.example/", NULL, "wild-longer"},
        {0, "GET http://[::1]:80/", NULL, "v6"},
        {0, "GET http://.example/", NULL, "any"},
        {0, "GET http://.b.example/", NULL, "any"},
        {0, "GET /", NULL, "any"},
        {0, "OPTIONS *", NULL, "any"},
    };
    ask_all(hosts, table, COUNT_OF(table));
}

static const char paths[] =
    "routes:\n" ROUTE("root", "path: /, ") ROUTE("v1", "path: /v1/, ") ROUTE("users", "path: /v1/users, ")
        ROUTE("me", "path: {exact: /v1/users/me}, ") ROUTE("first", "path: {regex: '^/r/.*'}, ")
            ROUTE("second", "path: {regex: '^/r/x'}, ") ROUTE("deep", "path: /a/b/c/d, ")
                ROUTE("fork", "path: /a/b/x, ") ROUTE("top", "path: /a, ") ROUTE("empty", "path: /e//, ")
                    ROUTE("cafe", "path: /café, ") ROUTE("regex-over-prefix", "path: {regex: '/items/'}, ");

static void test_the_more_specific_path_wins_and_prefixes_hold_whole_segments(void **state)
{
    (void)state;
    static const struct ask table[] = {
        {0, "GET /", NULL, "root"},
        {0, "GET /v1", NULL, "v1"},
        {0, "GET /v1/", NULL, "v1"},
        {0, "GET /v1/x", NULL, "v1"},
        {0, "GET /v1x", NULL, "root"},
        {0, "GET /v10/users", NULL, "root"},
        {0, "GET /V1", NULL, "root"},
        {0, "GET /x/v1", NULL, "root"},
        {0, "GET /v1/users", NULL, "users"},
        {0, "GET /v1/users/you", NULL, "users"},
        {0, "GET /v1/usersx", NULL, "v1"},
        {0, "GET /v1/users/me", NULL, "me"},
        {0, "GET /v1/users/me?x=1", NULL, "me"},
        {0, "GET /v1/users/me/", NULL, "users"},
        {0, "GET /v1/users/me/x", NULL, "users"},
        {0, "GET /r/x", NULL, "first"},
        {0, "GET /v1/items/5", NULL, "regex-over-prefix"},
        {0, "GET /a/b/c/d/e", NULL, "deep"},
        {0, "GET /a/b/c", NULL, "top"},
        {0, "GET /a/b/c/dd", NULL, "top"},
        {0, "GET /a/b/x", NULL, "fork"},
        {0, "GET /a/b", NULL, "top"},
        {0, "GET /ab", NULL, "root"},
        {0, "GET /e", NULL, "root"},
        {0, "GET /e/", NULL, "empty"},
        {0, "GET /e//", NULL, "empty"},
        {0, "GET /e//x", NULL, "empty"},
        {0, "GET /e/x", NULL, "root"},
        {0, "GET /caf%c3%a9/x", NULL, "cafe"},
        {0, "GET /x/../%761/./users/me", NULL, "me"},
        {0, "GET /v1%2Fusers", NULL, "root"},
        {0, "GET /v1/../..", NULL, "400"},
        {0, "OPTIONS *", NULL, "root"},
    };
    ask_all(paths, table, COUNT_OF(table));
}

static const char conditions[] =
    "routes:\n" ROUTE("plain", "path: /h, ") ROUTE("one", "path: /h, headers: {x-canary: '1'}, ")
        ROUTE("two", "path: /h, headers: {x-canary: '1', x-more: yes}, ")
            ROUTE("regex", "path: /hr, headers: {user-agent: {regex: '^curl/'}}, ")
                ROUTE("there", "path: /hp, headers: {x-a: {present: true}}, ")
                    ROUTE("gone", "path: /hp, headers: {x-a: {present: false}}, ")
                        ROUTE("debug", "path: /q, query: {debug: 1}, ")
                            ROUTE("arg", "path: /qp, query: {debug: {present: true}}, ")
                                ROUTE("beta", "path: /c, cookies: {beta: yes}, ")
                                    ROUTE("none", "path: /c, cookies: {beta: no}, ");

static void test_conditions_hold_and_more_of_them_win(void **state)
{
    (void)state;
    static const struct ask table[] = {
        {0, "GET /h", NULL, "plain"},
        {0, "GET /h", "X-CANARY: 1", "one"},
        {0, "GET /h", "x-canary: 2", "plain"},
        {0, "GET /h", "x-canary: 11", "plain"},
        {0, "GET /h", "x-canary: 1\nx-more: yes", "two"},
        {0, "GET /h", "x-canary: 2\nx-canary: 1", "plain"},
        {0, "GET /hr", "user-agent: curl/8", "regex"},
        {0, "GET /hr", "user-agent: not curl/8", "404"},
        {0, "GET /hr", NULL, "404"},
        {0, "GET /hp", "x-a:", "there"},
        {0, "GET /hp", NULL, "gone"},
        {0, "GET /q?debug=1", NULL, "debug"},
        {0, "GET /q?a=b&debug=1&c", NULL, "debug"},
        {0, "GET /q?debug=11", NULL, "404"},
        {0, "GET /q?xdebug=1", NULL, "404"},
        {0, "GET /q?debug=2&debug=1", NULL, "404"},
        {0, "GET /q?&&debug=1", NULL, "debug"},
        {0, "GET /qp?debug", NULL, "arg"},
        {0, "GET /qp?debug=", NULL, "arg"},
        {0, "GET /qp", NULL, "404"},
        {0, "GET /c", "cookie: a=b; beta=yes", "beta"},
        {0, "GET /c", "cookie: a=b\ncookie: beta=yes", "beta"},
        {0, "GET /c", "cookie: beta=no;beta=yes", "none"},
        {0, "GET /c", "cookie: xbeta=yes", "404"},
        {0, "GET /c", "cookie: beta", "404"},
    };
    ask_all(conditions, table, COUNT_OF(table));
}

static const char methods[] = "routes:\n" ROUTE("get", "path: /only, methods: GET, ")
    ROUTE("post", "path: /only, methods: [POST, PURGE], ") ROUTE("any", "path: /mixed, ")
        ROUTE("put", "path: /mixed, methods: PUT, ")
            ROUTE("conditional", "path: /only, methods: [BREW], headers: {x-a: '1'}, ")
                ROUTE("other", "host: a.example, path: /only, methods: [DELETE], ");

static void test_methods_choose_and_a_405_names_those_allowed(void **state)
{
    (void)state;
    static const struct ask table[] = {
        {0, "GET /only", NULL, "get"},
        {0, "HEAD /only", NULL, "get"},
        {0, "POST /only", NULL, "post"},
        {0, "PURGE /only", NULL, "post"},
        {0, "DELETE /only", NULL, "405 GET, HEAD, POST, PURGE"},
        {0, "get /only", NULL, "405 GET, HEAD, POST, PURGE"},
        {0, "NONSENSE /only", NULL, "405 GET, HEAD, POST, PURGE"},
        {0, "DELETE /only", "x-a: 1", "405 GET, HEAD, POST, PURGE, BREW"},
        {0, "PATCH http://a.example/only", NULL, "405 GET, HEAD, POST, DELETE, PURGE"},
        {0, "PUT /mixed", NULL, "put"},
        {0, "GET /mixed", NULL, "any"},
        {0, "NONSENSE /mixed", NULL, "any"},
        {0, "GET /none", NULL, "404"},
    };
    ask_all(methods, table, COUNT_OF(table));
}

static const char listeners[] =
    "routes:\n" ROUTE("plain", "listener: web, ") ROUTE("both", "path: /both, listener: [web, web-tls], ")
        ROUTE("secure", "listener: web-tls, host: a.example, methods: GET, ");

static void test_a_route_is_met_on_its_listeners_alone(void **state)
{
    (void)state;
    static const struct ask table[] = {
        {0, "GET /", NULL, "plain"},
        {1, "GET /", NULL, "404"},
        {0, "GET /both", NULL, "both"},
        {1, "GET /both", NULL, "both"},
        {1, "GET http://a.example/", NULL, "secure"},
        {0, "GET http://a.example/", NULL, "plain"},
        {1, "POST http://a.example/", NULL, "405 GET, HEAD"},
        {0, "POST http://a.example/", NULL, "plain"},
    };
    ask_all(listeners, table, COUNT_OF(table));
}

static const char fallthrough[] = "routes:\n" ROUTE("exact", "host: a.example, path: /x, methods: POST, ")
    ROUTE("wild", "host: '*.example', path: /x, headers: {x-a: '1'}, ") ROUTE("any", "path: /x/y, ")
        ROUTE("any-short", "path: {regex: ^/x}, methods: GET, ");

static void test_a_request_goes_on_to_less_specific_routes_that_want_it(void **state)
{
    (void)state;
    static const struct ask table[] = {
        {0, "POST http://a.example/x/y", NULL, "exact"},
        {0, "GET http://a.example/x/y", "x-a: 1", "wild"},
        {0, "GET http://a.example/x/y", NULL, "any-short"},
        {0, "PUT http://a.example/x/y", NULL, "any"},
        {0, "PUT http://a.example/x", NULL, "405 GET, HEAD, POST"},
    };
    ask_all(fallthrough, table, COUNT_OF(table));
}

static void test_a_regex_that_explodes_does_not_match(void **state)
{
    (void)state;
    struct routing r;
    routing_make(&r, "routes:\n" ROUTE("bad", "path: {regex: '^/(a+)+$'}, ") ROUTE("any", ""));
    char text[4096] = "GET /";
    memset(text + 5, 'a', 3000);
    assert_string_equal(routing_ask(&r, 0, text, NULL), "bad");
    text[3005] = '!';
    assert_string_equal(routing_ask(&r, 0, text, NULL), "any");
    routing_free(&r);
}

static void test_the_part_of_the_path_that_was_taken_is_told(void **state)
{
    (void)state;
    struct routing r;
    routing_make(&r, "routes:\n" ROUTE("a", "path: /v1/, ") ROUTE("b", "path: {exact: /v1/x}, ")
                         ROUTE("c", "path: {regex: ^/r}, ") ROUTE("d", ""));
    static const struct {
        const char *request;
        size_t len;
    } table[] = {{"GET /v1", 3}, {"GET /v1/y/z", 3}, {"GET /v1/x", 5}, {"GET /r/x", 0}, {"GET /other", 0}};
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        struct plain_request p;
        struct route_match match;
        routing_request(&r, table[i].request, NULL, &p);
        assert_non_null(router_find(r.router, 0, &p.request, p.host, p.path, &r.scratch, &match));
        assert_int_equal(match.prefix_len, table[i].len);
    }
    routing_free(&r);
}

/* --- conflicts
 * ------------------------------------------------------------------------------------------------- */

static void assert_conflicts(const char *text, size_t count, unsigned line)
{
    struct routing r;
    routing_read(&r, text);
    if (r.c.error_count != count || (count && r.c.errors[0].line != line))
        fail_msg("%s: %s", text, config_errors_text(&r.c));
    if (count && !strstr(r.c.errors[0].message, "is as specific as route"))
        fail_msg("%s", r.c.errors[0].message);
    routing_free(&r);
}

static void test_two_routes_that_no_rule_tells_apart_are_an_error_at_the_later(void **state)
{
    (void)state;
    static const char *const bad[] = {
        ROUTE("a", "") ROUTE("b", ""),
        ROUTE("a", "") ROUTE("b", "path: /, "),
        ROUTE("a", "path: /v1, ") ROUTE("b", "path: /v1/, "),
        ROUTE("a", "path: /%7Ex, ") ROUTE("b", "path: /~x, "),
        ROUTE("a", "path: {exact: /a}, ") ROUTE("b", "path: {exact: /a}, "),
        ROUTE("a", "path: {regex: a}, ") ROUTE("b", "path: {regex: a}, "),
        ROUTE("a", "host: [a, b], ") ROUTE("b", "host: [c, B.], "),
        ROUTE("a", "host: '*.a', ") ROUTE("b", "host: '*.A', "),
        ROUTE("a", "methods: GET, ") ROUTE("b", "methods: HEAD, "),
        ROUTE("a", "methods: [GET, PUT], ") ROUTE("b", "methods: [PUT, POST], "),
        ROUTE("a", "methods: GET, ") ROUTE("b", "headers: {a: '1'}, "),
        ROUTE("a", "headers: {a: '1'}, ") ROUTE("b", "headers: {b: '1'}, "),
        ROUTE("a", "headers: {a: '1'}, ") ROUTE("b", "headers: {A: '1'}, "),
        ROUTE("a", "headers: {a: '1'}, ") ROUTE("b", "headers: {a: {regex: '1'}}, "),
        ROUTE("a", "headers: {a: '1'}, ") ROUTE("b", "headers: {a: {present: true}}, "),
        ROUTE("a", "headers: {a: '1'}, ") ROUTE("b", "query: {a: '2'}, "),
        ROUTE("a", "listener: web, ") ROUTE("b", ""),
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        char text[512];
        snprintf(text, sizeof text, "routes:\n%s", bad[i]);
        assert_conflicts(text, 1, 3);
    }
    assert_route_faults(
        "routes:\n" ROUTE("a", "host: a.b, path: /v1, ") ROUTE("b", "host: a.b, path: /v1/, "),
        "weir.yaml:3:3: routes[1]: is as specific as route \"a\" (line 2), and a request can meet both: "
        "host a.b, path \"/v1\"; give one of them another path, one more condition or other methods\n");
}

static void test_routes_that_exclude_each_other_are_no_conflict(void **state)
{
    (void)state;
    static const char *const good[] = {
        ROUTE("a", "methods: GET, ") ROUTE("b", "methods: POST, "),
        ROUTE("a", "") ROUTE("b", "methods: POST, "),
        ROUTE("a", "headers: {a: '1'}, ") ROUTE("b", "headers: {a: '2'}, "),
        ROUTE("a", "headers: {a: '1'}, ") ROUTE("b", "headers: {a: {regex: '2'}}, "),
        ROUTE("a", "headers: {a: {regex: '1'}}, ") ROUTE("b", "headers: {a: {regex: '2'}}, "),
        ROUTE("a", "headers: {a: '1'}, ") ROUTE("b", "headers: {a: {present: false}}, "),
        ROUTE("a", "headers: {a: '1', b: '1'}, ") ROUTE("b", "headers: {b: '2', c: '1'}, "),
        ROUTE("a", "query: {a: '1'}, ") ROUTE("b", "query: {a: '2'}, "),
        ROUTE("a", "query: {a: '1'}, ") ROUTE("b", "query: {A: '2', a: '2'}, "),
        ROUTE("a", "path: {regex: a}, ") ROUTE("b", "path: {regex: b}, "),
        ROUTE("a", "path: {exact: /a}, ") ROUTE("b", "path: /a, "),
        ROUTE("a", "listener: web, ") ROUTE("b", "listener: web-tls, "),
        ROUTE("a", "host: a, ") ROUTE("b", "host: b, "),
        ROUTE("a", "host: [a, A], "),
    };
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        char text[512];
        snprintf(text, sizeof text, "routes:\n%s", good[i]);
        assert_conflicts(text, 0, 0);
    }
}

/* --- against a matcher that tries all
 * ----------------------------------------------------------------------------- */

static bool ends_with(struct slice s, struct slice end)
{
    return s.len > end.len && memcmp(s.at + s.len - end.len, end.at, end.len) == 0;
}

/* Host rank of the route for this host; 0 = no. */
static unsigned host_rank(const struct route *r, struct slice host)
{
    unsigned best = 0;
    for (size_t i = 0; i < r->host_count; i++) {
        const struct route_host *h = &r->hosts[i];
        unsigned rank = h->kind == ROUTE_HOST_ANY ? 1
                        : h->kind == ROUTE_HOST_WILDCARD && ends_with(host, h->name)
                            ? 2 + (unsigned)h->name.len
                        : h->kind == ROUTE_HOST_EXACT && slice_equal(h->name, host) ? 10000
                                                                                    : 0;
        best = rank > best ? rank : best;
    }
    return best;
}

static unsigned path_rank(const struct route *r, struct slice path)
{
    struct slice p = r->path.text;
    char text[128];
    snprintf(text, sizeof text, "%.*s", SLICE_FMT(path));
    if (r->path.kind == ROUTE_PATH_EXACT)
        return slice_equal(p, path) ? 20000 : 0;
    if (r->path.kind == ROUTE_PATH_REGEX) /* the generator's are ^text */
        return strncmp(text, p.at + 1, p.len - 1) == 0 ? 19000 - (unsigned)r->index : 0;
    if (strncmp(text, p.at, p.len) != 0 || (text[p.len] != 0 && text[p.len] != '/' && p.len))
        return 0;
    return 1 + (unsigned)p.len;
}

static bool wants(const struct route *r, const struct http_request *request)
{
    bool method = r->method_count == 0;
    for (size_t i = 0; i < r->method_count; i++)
        method |= slice_equal(r->methods[i], request->method);
    for (size_t i = 0; i < r->conditions.count; i++) {
        const struct condition *s = &r->conditions.at[i];
        bool found = false;
        for (uint32_t k = 0; k < request->fields.count; k++)
            found |= slice_equal_nocase(request->fields.at[k].name, s->name) &&
                     slice_equal(request->fields.at[k].value, s->value);
        method &= found;
    }
    return method;
}

static const struct route *try_all(const struct routing *r, const struct plain_request *p)
{
    const struct route *best = NULL;
    unsigned best_host = 0, best_path = 0;
    for (size_t i = 0; i < r->count; i++) {
        const struct route *k = &r->routes[i];
        unsigned host = host_rank(k, p->host), path = path_rank(k, p->path);
        if (!host || !path || !wants(k, &p->request) || !route_on_listener(k, p->listener_slot))
            continue;
        bool better =
            !best || host > best_host ||
            (host == best_host && (path > best_path || (path == best_path && k->rank > best->rank)));
        if (better) {
            best = k;
            best_host = host;
            best_path = path;
        }
    }
    return best;
}

static unsigned draw(unsigned *seed, unsigned below)
{
    return (unsigned)rand_r(seed) % below;
}

static void put_path(unsigned *seed, char *out, size_t size)
{
    static const char *const segments[] = {"a", "b", "ab", "c", "", "a1"};
    unsigned count = draw(seed, 5);
    size_t len = (size_t)snprintf(out, size, count ? "" : "/");
    for (unsigned i = 0; i < count; i++)
        len += (size_t)snprintf(out + len, size - len, "/%s", segments[draw(seed, 6)]);
}

static const char *put_host(unsigned *seed)
{
    static const char *const names[] = {"a", "b.a", "c.b.a", "d.c.b.a", "x.a", "b", "c.b", "a.a"};
    return names[draw(seed, 8)];
}

static void put_routes(unsigned *seed, char *out, size_t size)
{
    unsigned count = 1 + draw(seed, 40);
    size_t len = (size_t)snprintf(out, size, "routes:\n");
    for (unsigned i = 0; i < count; i++) {
        char path[64];
        put_path(seed, path, sizeof path);
        len += (size_t)snprintf(out + len, size - len, "- {respond: {}, ");
        if (draw(seed, 4))
            len += (size_t)snprintf(out + len, size - len, "host: ['%s%s', '%s'], ",
                                    draw(seed, 2) ? "*." : "", put_host(seed), put_host(seed));
        unsigned kind = draw(seed, 8);
        len += (size_t)snprintf(out + len, size - len,
                                kind == 0   ? "path: {regex: '^%s'}, "
                                : kind <= 2 ? "path: {exact: '%s'}, "
                                            : "path: '%s', ",
                                path);
        if (draw(seed, 3) == 0)
            len += (size_t)snprintf(out + len, size - len, "methods: [%s], ",
                                    draw(seed, 2) ? "PUT" : "POST, BREW");
        if (draw(seed, 4) == 0)
            len += (size_t)snprintf(out + len, size - len, "headers: {x-a: '%u'}, ", draw(seed, 2));
        if (draw(seed, 6) == 0)
            len +=
                (size_t)snprintf(out + len, size - len, "listener: %s, ", draw(seed, 2) ? "web" : "web-tls");
        len += (size_t)snprintf(out + len, size - len, "}\n");
    }
}

static void test_the_look_up_gives_what_trying_all_gives(void **state)
{
    (void)state;
    static const char *const verbs[] = {"GET", "PUT", "POST", "BREW"};
    unsigned seed = 1, met = 0;
    for (int round = 0; round < 400; round++) {
        char text[16384];
        struct routing r;
        put_routes(&seed, text, sizeof text);
        routing_read(&r, text); /* conflicts are as they come; among equals both take the first */
        for (int k = 0; k < 50; k++) {
            char path[64], line[160];
            struct plain_request p;
            struct route_match match;
            put_path(&seed, path, sizeof path);
            snprintf(line, sizeof line, "%s http://%s%s", verbs[draw(&seed, 4)], put_host(&seed), path);
            routing_request(&r, line, draw(&seed, 2) ? "x-a: 1" : NULL, &p);
            p.listener_slot = draw(&seed, 2);
            const struct route *found =
                router_find(r.router, p.listener_slot, &p.request, p.host, p.path, &r.scratch, &match);
            const struct route *expected = try_all(&r, &p);
            if (found != expected)
                fail_msg("round %d: %s: met %zd, not %zd, of\n%s", round, line,
                         found ? (ssize_t)found->index : -1, expected ? (ssize_t)expected->index : -1, text);
            struct explanation e;
            assert_int_equal(router_explain(r.router, r.routes, r.count, &p, &r.scratch, &r.arena, &e), 0);
            assert_ptr_equal(e.route, found);
            met += found != NULL;
        }
        routing_free(&r);
    }
    assert_in_range(met, 5000, 19500);
}

/* --- many
 * ------------------------------------------------------------------------------------------------------------
 */

static void test_many_routes_are_told_apart(void **state)
{
    (void)state;
    enum { MANY = 3000 };
    char *text = malloc(MANY * 220 + 100);
    size_t len = (size_t)snprintf(text, 220, "routes:\n");
    for (unsigned i = 0; i < MANY; i++)
        len +=
            (size_t)snprintf(text + len, 220,
                             "- {host: h%u.example, path: /p%u, respond: {}}\n- {path: /p%u/x, respond: {}}\n"
                             "- {path: {exact: /p%u/x}, respond: {}}\n",
                             i, i, i, i);
    struct routing r;
    routing_make(&r, text);
    for (unsigned i = 0; i < MANY; i++) {
        char line[64], name[32];
        snprintf(line, sizeof line, "GET http://h%u.example/p%u/x", i, i);
        snprintf(name, sizeof name, "routes[%u]", 3 * i);
        assert_string_equal(routing_ask(&r, 0, line, NULL), name);
        snprintf(line, sizeof line, "GET http://h%u.example/p%u/x/y", i + 1, i);
        snprintf(name, sizeof name, "routes[%u]", 3 * i + 1);
        assert_string_equal(routing_ask(&r, 0, line, NULL), name);
        snprintf(line, sizeof line, "GET /p%u/x", i);
        snprintf(name, sizeof name, "routes[%u]", 3 * i + 2);
        assert_string_equal(routing_ask(&r, 0, line, NULL), name);
        arena_reset(&r.arena);
    }
    assert_string_equal(routing_ask(&r, 0, "GET http://h1.example/p2", NULL), "404");
    routing_free(&r);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_more_specific_host_wins),
        cmocka_unit_test(test_the_more_specific_path_wins_and_prefixes_hold_whole_segments),
        cmocka_unit_test(test_conditions_hold_and_more_of_them_win),
        cmocka_unit_test(test_methods_choose_and_a_405_names_those_allowed),
        cmocka_unit_test(test_a_route_is_met_on_its_listeners_alone),
        cmocka_unit_test(test_a_request_goes_on_to_less_specific_routes_that_want_it),
        cmocka_unit_test(test_a_regex_that_explodes_does_not_match),
        cmocka_unit_test(test_the_part_of_the_path_that_was_taken_is_told),
        cmocka_unit_test(test_two_routes_that_no_rule_tells_apart_are_an_error_at_the_later),
        cmocka_unit_test(test_routes_that_exclude_each_other_are_no_conflict),
        cmocka_unit_test(test_the_look_up_gives_what_trying_all_gives),
        cmocka_unit_test(test_many_routes_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
