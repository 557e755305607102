/* The exposition: sums over workers, escaping, histograms, and that a family stands once with its type. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "admin/metrics.h"
#include "cache/store.h"
#include "core/writer.h"

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
    s->runtime.writer = writer_create();
    assert_non_null(s->runtime.writer);
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
    writer_free(s->runtime.writer, 0);
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

/* The writer itself. */

static void expect_text(struct metrics_writer *w, const char *wanted)
{
    assert_false(w->failed);
    assert_int_equal(w->out.len, strlen(wanted));
    assert_memory_equal(w->out.at, wanted, w->out.len);
    metrics_writer_free(w);
}

static void test_a_counter_in_both_formats(void **state)
{
    (void)state;
    struct metrics_writer text = {.format = METRICS_TEXT}, open = {.format = METRICS_OPENMETRICS};
    metrics_single(&text, METRICS_COUNTER, "busy_seconds_total", "Busy.", 1.5);
    metrics_end(&text);
    expect_text(&text, "# HELP weir_busy_seconds_total Busy.\n# TYPE weir_busy_seconds_total counter\n"
                       "weir_busy_seconds_total 1.5\n");
    metrics_single(&open, METRICS_COUNTER, "busy_seconds_total", "Busy.", 1.5);
    metrics_end(&open);
    expect_text(&open, "# HELP weir_busy_seconds Busy.\n# TYPE weir_busy_seconds counter\n"
                       "# UNIT weir_busy_seconds seconds\nweir_busy_seconds_total 1.5\n# EOF\n");
}

static void test_labels_are_kept_until_they_are_cut(void **state)
{
    (void)state;
    struct metrics_writer w = {0};
    size_t none = metrics_label(&w, "a", S("x\"\\\n"));
    size_t one = metrics_label(&w, "b", S("\xff\xc3\xa9\xed\xa0\x80"));
    metrics_count(&w, "n", UINT64_MAX);
    metrics_cut(&w, one);
    metrics_number(&w, "n", -0.25);
    metrics_cut(&w, none);
    metrics_number(&w, "n", 1e300);
    expect_text(&w,
                "weir_n{a=\"x\\\"\\\\\\n\",b=\"\xef\xbf\xbd\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"} "
                "18446744073709551615\nweir_n{a=\"x\\\"\\\\\\n\"} -0.25\nweir_n 1e+300\n");
}

static void test_only_openmetrics_has_exemplars(void **state)
{
    (void)state;
    static const char wanted[] =
        "weir_t_bucket{le=\"0.0025\"} 1 # {request_id=\"r1\",trace_id=\"t1\"} 0.002000 "
        "1700000000.250\n";
    static const char bound[] = "{le=\"1.0\"} 1\n";
    uint64_t durations[COUNTERS_DURATIONS] = {[2] = 1};
    struct exemplar_text exemplars[EXEMPLARS] = {[2] = {.value = 2000,
                                                        .wall_us = 1700000000250000,
                                                        .id_len = 2,
                                                        .trace_len = 2,
                                                        .id = "r1",
                                                        .trace = "t1"}};
    for (int format = METRICS_TEXT; format <= METRICS_OPENMETRICS; format++) {
        struct metrics_writer w = {.format = (enum metrics_format)format};
        metrics_histogram(&w, "t", durations, 2000, exemplars);
        bool found = memmem(w.out.at, w.out.len, wanted, sizeof wanted - 1) != NULL;
        assert_int_equal(found, format == METRICS_OPENMETRICS);
        assert_non_null(memmem(w.out.at, w.out.len, bound, sizeof bound - 1));
        metrics_writer_free(&w);
    }
}

static void test_a_route_that_is_gone_is_shown_for_ten_minutes(void **state)
{
    struct site *s = *state;
    struct listener_stats *l = stats_listener(&s->runtime.stats, S("web"));
    uint32_t id = stats_route_id(&s->runtime.stats, S("api"));
    static const char line[] = "weir_requests_total{listener=\"web\",route=\"api\",status=\"200\"} 1";
    route_stats_count(stats_route(l, 0, id), 200, 700);
    assert_true(has_line(s, line));
    s->runtime.stats.route_gone_us[id] -= METRICS_GONE_US - 10000000;
    assert_true(has_line(s, line));
    s->runtime.stats.route_gone_us[id] -= 10000001;
    assert_false(has_line(s, line));
    uint32_t ids[] = {id};
    struct route routes[1];
    s->snapshot.route_count = 1;
    s->snapshot.routes = routes;
    s->snapshot.route_stats_ids = ids;
    assert_true(has_line(s, line));
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
        TEST(test_a_route_that_is_gone_is_shown_for_ten_minutes),
        cmocka_unit_test(test_a_counter_in_both_formats),
        cmocka_unit_test(test_labels_are_kept_until_they_are_cut),
        cmocka_unit_test(test_only_openmetrics_has_exemplars),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
