/* Rewrites of paths: the route's YAML, the path before, the path after. */
#include "tests/unit/routing_fixture.h"

static void test_a_path_is_rewritten(void **state)
{
    (void)state;
    static const struct {
        const char *route, *path, *sent;
        int fault;
    } table[] = {
        {"path: /strip, rewrite: {prefix: /}", "/strip/users", "/users", 0},
        {"path: /strip, rewrite: {prefix: /}", "/strip", "/", 0},
        {"path: /strip/, rewrite: {prefix: /}", "/strip/", "/", 0},
        {"path: /strip/, rewrite: {prefix: /}", "/strip/a/b/", "/a/b/", 0},
        {"path: /strip, rewrite: {prefix: /}", "/strip//a", "//a", 0},
        {"path: /swap, rewrite: {prefix: /other}", "/swap", "/other", 0},
        {"path: /swap, rewrite: {prefix: /other/}", "/swap", "/other", 0},
        {"path: /swap, rewrite: {prefix: /other/}", "/swap/", "/other/", 0},
        {"path: /swap, rewrite: {prefix: /other}", "/swap/x", "/other/x", 0},
        {"rewrite: {prefix: /below}", "/x", "/below/x", 0},
        {"rewrite: {prefix: /below}", "/", "/below/", 0},
        {"path: {exact: /a/b}, rewrite: {prefix: /c}", "/a/b", "/c", 0},
        {"rewrite: {prefix: '/caf\xc3\xa9/%7e'}", "/x", "/caf%C3%A9/~/x", 0},
        {"rewrite: {regex: '^/old/(.*)', to: /new/$1}", "/old/a/b", "/new/a/b", 0},
        {"rewrite: {regex: '^/old/(.*)', to: /new/$1}", "/old/", "/new/", 0},
        {"rewrite: {regex: '^/old/(.*)', to: /new/$1}", "/other", "/other", 0},
        {"rewrite: {regex: '^/old', to: /new}", "/old/rest", "/new/rest", 0},
        {"rewrite: {regex: '([a-z]+)-([0-9]+)', to: $2$1}", "/x/ab-12/cd-34", "/x/12ab/cd-34", 0},
        {"rewrite: {regex: '^/(a)|^/(b)', to: '/[$1][$2]'}", "/b", "/[][b]", 0},
        {"rewrite: {regex: '^/p', to: '/$$1$0'}", "/p", "/$1/p", 0},
        {"rewrite: {regex: '^/u/', to: '/.'}", "/u/./x", "/.x", 0},
        {"rewrite: {regex: '^/a/(.*)', to: '/x/../$1'}", "/a/y", "/y", 0},
        {"rewrite: {regex: '^/a/(.*)', to: '/../$1'}", "/a/y", NULL, TARGET_ABOVE_ROOT},
        {"rewrite: {regex: '%2F', to: '%'}", "/a%2Fb", NULL, TARGET_BAD_ESCAPE},
        {"rewrite: {regex: '^/', to: ''}", "/a", NULL, TARGET_NO_SLASH},
        {"rewrite: {regex: '^.*$', to: ''}", "/a", NULL, TARGET_NO_SLASH},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        char text[256], request[64];
        struct routing r;
        struct plain_request p;
        struct explanation e;
        snprintf(text, sizeof text, "routes: [{%s, upstream: api}]", table[i].route);
        snprintf(request, sizeof request, "GET %s?a=%%2e/../b", table[i].path);
        routing_make(&r, text);
        routing_request(&r, request, NULL, &p);
        assert_int_equal(router_decide(r.router, &p, &r.scratch, &r.arena, &e), 0);
        assert_non_null(e.route);
        if (e.rewrite_fault != table[i].fault ||
            (table[i].sent && !slice_equal(e.path, slice_text(table[i].sent))))
            fail_msg("{%s}: %s became %.*s (%d)", table[i].route, table[i].path, SLICE_FMT(e.path),
                     e.rewrite_fault);
        assert_int_equal(e.status, table[i].fault ? 400 : 0);
        routing_free(&r);
    }
}

static void test_what_has_no_path_is_not_rewritten(void **state)
{
    (void)state;
    struct routing r;
    struct plain_request p;
    struct explanation e;
    routing_make(&r, "routes: [{rewrite: {prefix: /x}, upstream: api}]");
    routing_request(&r, "OPTIONS *", NULL, &p);
    assert_int_equal(router_decide(r.router, &p, &r.scratch, &r.arena, &e), 0);
    assert_true(slice_equal(e.path, S("*")));
    routing_free(&r);
}

static void test_a_wrong_rewrite_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *route, *fault;
    } table[] = {
        {"rewrite: {}", "routes[0].rewrite: needs a prefix, or a regex and what it becomes (to)"},
        {"rewrite: {prefix: /, regex: a, to: b}", "routes[0].rewrite: has both a prefix and a regex"},
        {"rewrite: {regex: a}", "routes[0].rewrite: needs \"to\""},
        {"rewrite: {prefix: /a, to: b}", "routes[0].rewrite: \"to\" goes with a regex alone"},
        {"rewrite: {prefix: a}", "routes[0].rewrite.prefix: \"a\" is no path"},
        {"rewrite: {prefix: /..}",
         "routes[0].rewrite.prefix: \"/..\" is no path: the path climbs above the root"},
        {"rewrite: {prefix: '/a?b'}", "routes[0].rewrite.prefix: is a path: no \"?\""},
        {"rewrite: {regex: a, to: '/b?c'}", "routes[0].rewrite.to: is a path: no \"?\""},
        {"rewrite: {regex: a, to: '/b c'}", "routes[0].rewrite.to: is a path"},
        {"rewrite: {regex: (a), to: /$2}", "routes[0].rewrite.to: $2: the regex has 1 groups"},
        {"rewrite: {regex: '(a', to: /}",
         "routes[0].rewrite.regex: \"(a\" is no regex: missing closing parenthesis"},
        {"path: {regex: a}, rewrite: {prefix: /}",
         "routes[0].rewrite.prefix: replaces a path that is a prefix or exact"},
        {"normalize: false, rewrite: {prefix: /}",
         "routes[0].rewrite: changes the path, which \"normalize: false\""},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        char text[256];
        struct routing r;
        snprintf(text, sizeof text, "routes: [{%s, upstream: api}]", table[i].route);
        routing_read(&r, text);
        if (r.c.error_count != 1 || !strstr(r.c.errors[0].message, table[i].fault))
            fail_msg("{%s}: %s", table[i].route, config_errors_text(&r.c));
        routing_free(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_path_is_rewritten),
        cmocka_unit_test(test_what_has_no_path_is_not_rewritten),
        cmocka_unit_test(test_a_wrong_rewrite_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
