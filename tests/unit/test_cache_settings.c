/* The options of the cache: the store's at the top of the file, and a route's. */
#include "tests/unit/routing_fixture.h"

#include "cache/settings.h"
#include "proxy/http/cache/settings.h"
#include "proxy/http/message.h"

static int read_store(struct config *c, const char *text, struct cache_settings *s)
{
    config_init(c);
    c->environment = no_environment;
    config_parse(c, "weir.yaml", slice_text(text));
    return option_apply(c, &cache_table, config_get(c->root, "cache"), s);
}

static void test_a_store_that_nobody_described_has_the_defaults(void **state)
{
    (void)state;
    struct config c;
    struct cache_settings s;
    assert_int_equal(read_store(&c, "user: nobody\n", &s), 0);
    assert_null(s.node);
    assert_int_equal(s.memory, 256u << 20);
    assert_int_equal(s.max_object, 8u << 20);
    assert_int_equal(s.policy, CACHE_POLICY_LRU);
    config_free(&c);
}

static void test_a_store_as_described(void **state)
{
    (void)state;
    struct config c;
    struct cache_settings s;
    assert_int_equal(read_store(&c, "cache: {memory: 1GiB, policy: s3fifo, max_object: 64MiB}\n", &s), 0);
    assert_int_equal(s.memory, 1u << 30);
    assert_int_equal(s.max_object, 64u << 20);
    assert_int_equal(s.policy, CACHE_POLICY_S3FIFO);
    assert_int_equal(c.warning_count, 0);
    config_free(&c);
}

static void test_an_object_of_the_default_size_fits_into_a_small_memory(void **state)
{
    (void)state;
    struct config c;
    struct cache_settings s;
    assert_int_equal(read_store(&c, "cache: {memory: 1MiB}\n", &s), 0);
    assert_int_equal(s.max_object, 512u << 10);
    config_free(&c);
}

static void test_a_store_that_cannot_be_is_refused(void **state)
{
    (void)state;
    static const char *const table[][2] = {
        {"cache: {memory: 1000KiB}\n", "cache.memory: "},
        {"cache: {memory: 4MiB, max_object: 5MiB}\n",
         "cache.max_object: an object of 5242880 bytes has no room in a memory of 4194304"},
        {"cache: {max_object: 0}\n", "cache.max_object: "},
        {"cache: {policy: lfu}\n", "cache.policy: unknown value \"lfu\" (one of: lru, s3fifo)"},
        {"cache: {memroy: 4MiB}\n", "cache.memroy: unknown key; did you mean \"memory\"?"},
        {"cache: true\n", "cache: "},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        struct config c;
        struct cache_settings s;
        assert_int_equal(read_store(&c, table[i][0], &s), -1);
        if (c.error_count != 1 || !strstr(c.errors[0].message, table[i][1]))
            fail_msg("%s: %s", table[i][0], config_errors_text(&c));
        config_free(&c);
    }
}

static void test_an_object_larger_than_half_the_memory_is_warned_of(void **state)
{
    (void)state;
    struct config c;
    struct cache_settings s;
    assert_int_equal(read_store(&c, "cache: {memory: 4MiB, max_object: 3MiB}\n", &s), 0);
    assert_int_equal(c.warning_count, 1);
    config_free(&c);
}

static void test_a_route_without_cache_has_none(void **state)
{
    (void)state;
    struct routing r;
    routing_make(&r, "routes: [{upstream: api}, {path: /b, upstream: api, cache: false}, "
                     "{path: /c, upstream: api, cache: null}]");
    for (size_t i = 0; i < r.count; i++)
        assert_null(r.routes[i].cache);
    routing_free(&r);
}

static void test_cache_true_is_all_defaults(void **state)
{
    (void)state;
    struct routing r;
    routing_make(&r, "routes: [{upstream: api, cache: true}, {path: /b, split: {blue: 1}, cache: {}}]");
    for (size_t i = 0; i < r.count; i++) {
        const struct route_cache *cache = r.routes[i].cache;
        assert_non_null(cache);
        assert_int_equal(cache->rules.ttl, CACHE_UNSET);
        assert_int_equal(cache->rules.stale_while_revalidate, CACHE_UNSET);
        assert_int_equal(cache->rules.stale_if_error, CACHE_UNSET);
        assert_null(cache->rules.statuses);
        assert_false(cache->rules.store_set_cookie || cache->has_key || cache->sort_query ||
                     cache->ignore_whole_query);
        assert_true(cache->collapse);
        assert_int_equal(cache->set_cookie, ROUTE_CACHE_COOKIE_REFUSE);
        assert_int_equal(cache->ignore_query_count + cache->key_header_count + cache->key_cookie_count +
                             cache->bypass_cookie_count + cache->tags_header.len,
                         0);
    }
    assert_int_equal(r.c.warning_count, 0);
    routing_free(&r);
}

static void test_a_route_says_everything_of_its_cache(void **state)
{
    (void)state;
    struct routing r;
    routing_make(&r, "routes:\n"
                     "- upstream: api\n"
                     "  cache:\n"
                     "    ttl: 60s\n"
                     "    statuses: [200, 404]\n"
                     "    key: '${host}${path}?${query}'\n"
                     "    ignore_query: [utm_*, '*_id', fbclid]\n"
                     "    sort_query: true\n"
                     "    key_headers: [X-Country, Accept]\n"
                     "    key_cookies: lang\n"
                     "    bypass_cookie: [session, Admin]\n"
                     "    stale_while_revalidate: 30s\n"
                     "    stale_if_error: 1h\n"
                     "    collapse: false\n"
                     "    tags_header: X-Tags\n"
                     "    set_cookie: strip\n");
    const struct route_cache *cache = r.routes[0].cache;
    assert_int_equal(cache->rules.ttl, 60);
    assert_int_equal(cache->rules.stale_while_revalidate, 30);
    assert_int_equal(cache->rules.stale_if_error, 3600);
    assert_int_equal(cache->rules.status_count, 2);
    assert_int_equal(cache->rules.statuses[1], 404);
    assert_true(cache->rules.store_set_cookie);
    assert_int_equal(cache->set_cookie, ROUTE_CACHE_COOKIE_STRIP);
    assert_true(cache->has_key && cache->sort_query && !cache->collapse);
    assert_int_equal(cache->key_header_count, 2);
    assert_true(slice_equal(cache->key_headers[0].name, S("x-country")));
    assert_int_equal(cache->key_headers[1].field_id, field_id(S("accept")));
    assert_true(slice_equal(cache->key_cookies[0], S("lang")));
    assert_int_equal(cache->bypass_cookie_count, 2);
    assert_true(slice_equal(cache->bypass_cookies[1], S("Admin")));
    assert_true(slice_equal(cache->tags_header, S("x-tags")));
    assert_int_equal(r.c.warning_count, 0);
    routing_free(&r);
}

static void test_which_parameters_are_left_out_of_the_key(void **state)
{
    (void)state;
    struct routing r;
    routing_make(&r, "routes: [{upstream: api, cache: {ignore_query: [utm_*, '*_id', fbclid]}}, "
                     "{path: /b, upstream: api, cache: {ignore_query: '*'}}]");
    const struct route_cache *some = r.routes[0].cache, *all = r.routes[1].cache;
    assert_true(route_cache_ignores(some, S("utm_source")));
    assert_true(route_cache_ignores(some, S("utm_")));
    assert_true(route_cache_ignores(some, S("click_id")));
    assert_true(route_cache_ignores(some, S("fbclid")));
    assert_false(route_cache_ignores(some, S("fbclid2")));
    assert_false(route_cache_ignores(some, S("UTM_source")));
    assert_false(route_cache_ignores(some, S("id")));
    assert_false(route_cache_ignores(some, S("")));
    assert_true(all->ignore_whole_query);
    assert_true(route_cache_ignores(all, S("anything")) && route_cache_ignores(all, S("")));
    routing_free(&r);
}

static void test_defaults_turn_the_cache_on_where_there_is_an_upstream(void **state)
{
    (void)state;
    struct routing r;
    routing_make(&r, "defaults: {cache: {ttl: 5s, collapse: false}}\n"
                     "routes:\n"
                     "- {upstream: api}\n"
                     "- {path: /b, upstream: api, cache: {ttl: 9s}}\n"
                     "- {path: /c, upstream: api, cache: false}\n"
                     "- {path: /d, respond: true}\n"
                     "- {path: /e, upstream: api, cache: null}\n");
    assert_int_equal(r.routes[0].cache->rules.ttl, 5);
    assert_int_equal(r.routes[1].cache->rules.ttl, 9);
    assert_false(r.routes[1].cache->collapse);
    assert_null(r.routes[2].cache);
    assert_null(r.routes[3].cache);
    assert_null(r.routes[4].cache);
    routing_free(&r);
}

static void test_what_is_wrong_in_a_routes_cache_is_refused(void **state)
{
    (void)state;
    static const char *const table[][2] = {
        {"{respond: true, cache: true}", "routes[0].cache: only answers of an upstream are cached"},
        {"{files: ., cache: {ttl: 1s}}", "routes[0].cache: only answers of an upstream are cached"},
        {"{redirect: /x, cache: true}", "routes[0].cache: only answers of an upstream are cached"},
        {"{upstream: api, cache: yes}", "routes[0].cache: "},
        {"{upstream: api, cache: {ttl: 1500ms}}", "routes[0].cache.ttl: is counted in whole seconds"},
        {"{upstream: api, cache: {stale_if_error: 1ms}}",
         "routes[0].cache.stale_if_error: is counted in whole seconds"},
        {"{upstream: api, cache: {statuses: [199]}}", "routes[0].cache.statuses[0]: is no status"},
        {"{upstream: api, cache: {statuses: [200, 600]}}", "routes[0].cache.statuses[1]: is no status"},
        {"{upstream: api, cache: {statuses: 2xx}}", "routes[0].cache.statuses: is no status"},
        {"{upstream: api, cache: {statuses: [206]}}", "routes[0].cache.statuses[0]: a 206 is a part"},
        {"{upstream: api, cache: {statuses: []}}", "routes[0].cache.statuses: "},
        {"{upstream: api, cache: {key: '${path}${status}'}}",
         "routes[0].cache.key: ${status} is not known yet"},
        {"{upstream: api, cache: {key: '${host}${path}${request_id}'}}",
         "routes[0].cache.key: no two requests have the same ${request_id}"},
        {"{upstream: api, cache: {ignore_query: ['a*b']}}",
         "routes[0].cache.ignore_query[0]: write a parameter's name"},
        {"{upstream: api, cache: {ignore_query: ['a=1']}}",
         "routes[0].cache.ignore_query[0]: write a parameter's name"},
        {"{upstream: api, cache: {ignore_query: ['']}}",
         "routes[0].cache.ignore_query[0]: write a parameter's name"},
        {"{upstream: api, cache: {key_headers: ['x y']}}",
         "routes[0].cache.key_headers[0]: \"x y\" is no name of a header field"},
        {"{upstream: api, cache: {key_headers: [cookie]}}",
         "routes[0].cache.key_headers[0]: name the cookies that count, under \"key_cookies\""},
        {"{upstream: api, cache: {bypass_cookie: ['a=b']}}",
         "routes[0].cache.bypass_cookie[0]: \"a=b\" is no name of a cookie"},
        {"{upstream: api, cache: {tags_header: 'a b'}}",
         "routes[0].cache.tags_header: \"a b\" is no name of a header field"},
        {"{upstream: api, cache: {set_cookie: maybe}}",
         "routes[0].cache.set_cookie: unknown value \"maybe\" (one of: refuse, store, strip)"},
        {"{upstream: api, cache: {tll: 1s}}", "routes[0].cache.tll: unknown key; did you mean \"ttl\"?"},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        char text[512];
        struct routing r;
        snprintf(text, sizeof text, "routes:\n- %s\n", table[i][0]);
        routing_read(&r, text);
        if (r.c.error_count != 1 || !strstr(r.c.errors[0].message, table[i][1]))
            fail_msg("%s: %s", table[i][0], config_errors_text(&r.c));
        routing_free(&r);
    }
}

static void test_a_key_that_tells_too_little_apart_is_warned_of(void **state)
{
    (void)state;
    static const struct {
        const char *route;
        size_t warnings;
    } table[] = {
        {"{upstream: api, cache: {key: '${host}${target}'}}", 0},
        {"{upstream: api, cache: {key: '${path}'}}", 1},
        {"{upstream: api, host: a.example, cache: {key: '${path}'}}", 0},
        {"{upstream: api, host: '*.example', cache: {key: '${path}'}}", 1},
        {"{upstream: api, cache: {key: '${host}${query}'}}", 1},
        {"{upstream: api, cache: {key: all}}", 2},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        char text[512];
        struct routing r;
        snprintf(text, sizeof text, "routes:\n- %s\n", table[i].route);
        routing_make(&r, text);
        if (r.c.warning_count != table[i].warnings)
            fail_msg("%s: %s", table[i].route, config_warnings_text(&r.c));
        routing_free(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_store_that_nobody_described_has_the_defaults),
        cmocka_unit_test(test_a_store_as_described),
        cmocka_unit_test(test_an_object_of_the_default_size_fits_into_a_small_memory),
        cmocka_unit_test(test_a_store_that_cannot_be_is_refused),
        cmocka_unit_test(test_an_object_larger_than_half_the_memory_is_warned_of),
        cmocka_unit_test(test_a_route_without_cache_has_none),
        cmocka_unit_test(test_cache_true_is_all_defaults),
        cmocka_unit_test(test_a_route_says_everything_of_its_cache),
        cmocka_unit_test(test_which_parameters_are_left_out_of_the_key),
        cmocka_unit_test(test_defaults_turn_the_cache_on_where_there_is_an_upstream),
        cmocka_unit_test(test_what_is_wrong_in_a_routes_cache_is_refused),
        cmocka_unit_test(test_a_key_that_tells_too_little_apart_is_warned_of),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
