/* The exposition: sums over workers, escaping, histograms, and that a family stands once with its type. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "admin/internal.h"
#include "cache/store.h"

struct site {
    struct runtime runtime;
    struct snapshot snapshot;
    struct worker *workers[2];
    struct admin *admin;
    char *text;
};

static int set_up(void **state)
{
    struct site *s = calloc(1, sizeof *s);
    s->admin = admin_create();
    admin_attach(s->admin, &s->runtime);
    assert_int_equal(loop_init(&s->runtime.control, 2), 0);
    assert_int_equal(stats_init(&s->runtime.stats, 2), 0);
    for (unsigned i = 0; i < 2; i++) {
        s->workers[i] = aligned_alloc(64, (sizeof *s->workers[i] + 63) & ~(size_t)63);
        memset(s->workers[i], 0, sizeof *s->workers[i]);
    }
    s->runtime.cache =
        cache_store_create(&(struct cache_settings){.memory = 8u << 20, .max_object = 1u << 20});
    assert_non_null(s->runtime.cache);
    s->runtime.workers = s->workers;
    s->runtime.worker_count = 2;
    s->runtime.snapshot = &s->snapshot;
    *state = s;
    return 0;
}

static int tear_down(void **state)
{
    struct site *s = *state;
    for (unsigned i = 0; i < 2; i++)
        free(s->workers[i]);
    cache_store_free(s->runtime.cache);
    stats_free(&s->runtime.stats);
    loop_free(&s->runtime.control);
    admin_free(s->admin);
    free(s->text);
    free(s);
    return 0;
}

static bool has_line(struct site *s, const char *line)
{
    size_t len = 0;
    free(s->text);
    s->text = metrics_text(s->admin, METRICS_TEXT, &len);
    assert_non_null(s->text);
    assert_int_equal(strlen(s->text), len);
    const char *at = strstr(s->text, line);
    return at && (at == s->text || at[-1] == '\n') && at[strlen(line)] == '\n';
}

static void test_requests_are_summed_over_workers(void **state)
{
    struct site *s = *state;
    struct listener_stats *l = stats_listener(&s->runtime.stats, S("web"));
    uint32_t id = stats_route_id(&s->runtime.stats, S("api"));
    route_stats_count(stats_route(l, 0, id), 200, 700);
    route_stats_count(stats_route(l, 1, id), 200, 1700);
    route_stats_count(stats_route(l, 1, id), 418, 40000000);
    assert_true(has_line(s, "weir_requests_total{listener=\"web\",route=\"api\",status=\"200\"} 2"));
    assert_true(has_line(s, "weir_requests_total{listener=\"web\",route=\"api\",status=\"4xx\"} 1"));
    assert_true(
        has_line(s, "weir_request_duration_seconds_bucket{listener=\"web\",route=\"api\",le=\"0.0005\"} 0"));
    assert_true(
        has_line(s, "weir_request_duration_seconds_bucket{listener=\"web\",route=\"api\",le=\"0.001\"} 1"));
    assert_true(
        has_line(s, "weir_request_duration_seconds_bucket{listener=\"web\",route=\"api\",le=\"30.0\"} 2"));
    assert_true(
        has_line(s, "weir_request_duration_seconds_bucket{listener=\"web\",route=\"api\",le=\"+Inf\"} 3"));
    assert_true(has_line(s, "weir_request_duration_seconds_sum{listener=\"web\",route=\"api\"} 40.002400"));
    assert_true(has_line(s, "weir_request_duration_seconds_count{listener=\"web\",route=\"api\"} 3"));
}

static void test_what_the_cache_did_is_summed_over_listeners_and_workers(void **state)
{
    struct site *s = *state;
    struct listener_stats *web = stats_listener(&s->runtime.stats, S("web"));
    struct listener_stats *tls = stats_listener(&s->runtime.stats, S("tls"));
    counter_add(&web->worker[0]->cache[CACHE_RESULT_HIT], 3);
    counter_add(&web->worker[1]->cache[CACHE_RESULT_HIT], 1);
    counter_add(&tls->worker[1]->cache[CACHE_RESULT_HIT], 5);
    counter_add(&tls->worker[0]->cache[CACHE_RESULT_MISS], 2);
    assert_true(has_line(s, "weir_cache_requests_total{result=\"hit\"} 9"));
    assert_true(has_line(s, "weir_cache_requests_total{result=\"miss\"} 2"));
    assert_true(has_line(s, "weir_cache_requests_total{result=\"bypass\"} 0"));
    assert_null(strstr(s->text, "result=\"\""));
    assert_true(has_line(s, "weir_cache_limit_bytes 8388608"));
    assert_true(has_line(s, "weir_cache_objects 0"));
    assert_true(has_line(s, "weir_cache_evictions_total 0"));
}

static void test_a_route_without_requests_has_no_series(void **state)
{
    struct site *s = *state;
    stats_listener(&s->runtime.stats, S("web"));
    stats_route_id(&s->runtime.stats, S("quiet"));
    assert_true(has_line(s, "weir_connections{listener=\"web\"} 0"));
    assert_null(strstr(s->text, "\"quiet\""));
}

static void test_labels_are_escaped(void **state)
{
    struct site *s = *state;
    struct listener_stats *l = stats_listener(&s->runtime.stats, S("a\"b\\c\nd"));
    counter_add(&l->worker[1]->connections, 5);
    assert_true(has_line(s, "weir_connections_total{listener=\"a\\\"b\\\\c\\nd\"} 5"));
}

static void test_handshakes_tell_version_and_resumption(void **state)
{
    struct site *s = *state;
    struct listener_stats *l = stats_listener(&s->runtime.stats, S("web"));
    counter_add(&l->worker[0]->handshakes[3][1], 2);
    counter_add(&l->worker[1]->handshakes[3][1], 1);
    counter_add(&l->worker[1]->handshakes[2][0], 4);
    assert_true(
        has_line(s, "weir_tls_handshakes_total{listener=\"web\",version=\"1.3\",resumed=\"true\"} 3"));
    assert_true(
        has_line(s, "weir_tls_handshakes_total{listener=\"web\",version=\"1.2\",resumed=\"false\"} 4"));
}

static void test_reloads_are_told(void **state)
{
    struct site *s = *state;
    s->runtime.stats.reloads = 3;
    s->runtime.stats.reload_failures = 1;
    assert_true(has_line(s, "weir_config_reloads_total 3"));
    assert_true(has_line(s, "weir_config_reload_failures_total 1"));
    assert_true(has_line(s, "# TYPE weir_config_reloads_total counter"));
}

/* Every sample's family was opened by the TYPE line before it, and no family twice. */
static void test_every_sample_stands_in_its_family(void **state)
{
    struct site *s = *state;
    struct listener_stats *l = stats_listener(&s->runtime.stats, S("web"));
    route_stats_count(stats_route(l, 0, stats_route_id(&s->runtime.stats, S("api"))), 200, 700);
    assert_true(has_line(s, "weir_draining 0"));
    char *rest = s->text, *line, seen[8192] = "", family[128] = "";
    while ((line = strsep(&rest, "\n")) != NULL && rest) {
        if (strncmp(line, "# TYPE ", 7) == 0) {
            size_t len = strcspn(line + 7, " ");
            snprintf(family, sizeof family, "%.*s", (int)len, line + 7);
            char wanted[160];
            snprintf(wanted, sizeof wanted, "|%s|", family);
            assert_null(strstr(seen, wanted));
            strncat(seen, wanted, sizeof seen - strlen(seen) - 1);
        } else if (line[0] != '#') {
            assert_int_equal(strncmp(line, family, strlen(family)), 0);
        }
    }
    assert_true(strlen(seen) > 200);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_requests_are_summed_over_workers),
        TEST(test_what_the_cache_did_is_summed_over_listeners_and_workers),
        TEST(test_a_route_without_requests_has_no_series),
        TEST(test_labels_are_escaped),
        TEST(test_handshakes_tell_version_and_resumption),
        TEST(test_reloads_are_told),
        TEST(test_every_sample_stands_in_its_family),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
