#include "tests/unit/balancer_fixture.h"

#include "balancer/counters.h"
#include "balancer/flapping.h"
#include "balancer/outlier.h"
#include "core/log.h"

#define SECOND UINT64_C(1000000)

/* An upstream whose group's clock is turned by hand. */
struct bench {
    struct loop loop;
    struct server_registry *registry;
    struct fixture f;
    struct server_group *group;
    usec_t now_us;
    unsigned changes;
    struct server_totals totals[16]; /* by the last digit of the server's port */
};

static void on_change(struct server *s, void *argument)
{
    (void)s;
    ((struct bench *)argument)->changes++;
}

static unsigned number_of(const struct server *s)
{
    return (unsigned)(s->name.at[s->name.len - 1] - '0');
}

static void totals_of(const struct server *s, struct server_totals *out, void *argument)
{
    *out = ((struct bench *)argument)->totals[number_of(s)];
}

static void set_up(struct bench *b, const char *text)
{
    memset(b, 0, sizeof *b);
    log_set(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    assert_int_equal(loop_init(&b->loop, 1), 0);
    b->registry = registry_create(&(struct registry_options){.loop = &b->loop, .tls_worker = 1});
    fixture_make(&b->f, text, b->registry, 1);
    assert_int_equal(upstream_activate(b->f.upstream), 0);
    b->group = registry_group(b->registry, S("up"));
    b->now_us = 1000 * SECOND;
}

static void tear_down(struct bench *b)
{
    upstream_deactivate(b->f.upstream);
    registry_free(b->registry);
    loop_free(&b->loop);
    fixture_free(&b->f);
}

static struct server *server(struct bench *b, unsigned number)
{
    char name[32];
    snprintf(name, sizeof name, "127.0.0.1:%u", number);
    return fixture_server(&b->f, name);
}

static void pass(struct bench *b, usec_t us)
{
    const struct group_watch w = {.changed = on_change, .totals = totals_of, .argument = b};
    b->now_us += us;
    group_tick(b->group, b->now_us, &w);
}

static void end_attempt(struct bench *b, unsigned number, enum outcome_kind kind, unsigned status)
{
    struct outcome o = {.kind = kind, .status = (uint16_t)status, .now_us = b->now_us};
    outlier_note(b->f.settings.outlier, server(b, number), &o);
}

static void fail_times(struct bench *b, unsigned number, unsigned times)
{
    for (unsigned i = 0; i < times; i++)
        end_attempt(b, number, OUTCOME_ANSWERED, 503);
}

static struct server_report report(struct bench *b, unsigned number)
{
    struct server_report r;
    server_report(server(b, number), &r);
    return r;
}

#define FOUR "servers: ['127.0.0.1:1', '127.0.0.1:2', '127.0.0.1:3', '127.0.0.1:4']"

static void test_errors_in_a_row_eject_and_time_lets_back(void **state)
{
    (void)state;
    struct bench b;
    set_up(&b, "{" FOUR ", outlier: {errors: 5, eject: 30s}}");
    fail_times(&b, 1, 4);
    assert_true(server_usable(server(&b, 1)));
    fail_times(&b, 1, 1);
    assert_false(server_usable(server(&b, 1)));
    struct server_report r = report(&b, 1);
    assert_string_equal(r.state, "ejected");
    assert_string_equal(r.reason, "ejected for 30 s: 5 errors in a row, the last: status 503");
    assert_int_equal(r.ejections[EJECTED_STATUS], 1);
    assert_int_equal(r.health, HEALTH_UNKNOWN);

    pass(&b, 29 * SECOND);
    assert_int_equal(b.changes, 1);
    assert_false(server_usable(server(&b, 1)));
    pass(&b, SECOND);
    assert_true(server_usable(server(&b, 1)));
    assert_string_equal(report(&b, 1).state, "up");
    assert_int_equal(b.changes, 2);
    assert_int_equal(atomic_load(&b.group->ejected), 0);
    fail_times(&b, 1, 4);
    assert_true(server_usable(server(&b, 1)));
    tear_down(&b);
}

static void test_which_ends_are_errors(void **state)
{
    (void)state;
    static const struct {
        enum outcome_kind kind;
        unsigned status;
        bool is_error, ends_the_row;
        const char *last;
    } cases[] = {
        {OUTCOME_ANSWERED, 200, false, true, NULL},
        {OUTCOME_ANSWERED, 404, false, true, NULL},
        {OUTCOME_ANSWERED, 499, false, true, NULL},
        {OUTCOME_ANSWERED, 0, false, true, NULL},
        {OUTCOME_ANSWERED, 500, true, false, "status 500"},
        {OUTCOME_ANSWERED, 599, true, false, "status 599"},
        {OUTCOME_ABANDONED, 0, false, false, NULL},
        {OUTCOME_UNREACHABLE, 0, true, false, "no connection"},
        {OUTCOME_RESET, 200, true, false, "the connection broke"},
        {OUTCOME_BAD, 0, true, false, "a bad answer"},
        {OUTCOME_TIMEOUT, 0, true, false, "a timeout"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct bench b;
        set_up(&b, "{" FOUR ", outlier: {errors: 3}}");
        fail_times(&b, 1, 2);
        end_attempt(&b, 1, cases[i].kind, cases[i].status);
        assert_int_equal(server_ejected(server(&b, 1)), cases[i].is_error);
        if (cases[i].is_error)
            assert_non_null(strstr(report(&b, 1).reason, cases[i].last));
        fail_times(&b, 1, cases[i].is_error ? 0 : 1);
        assert_int_equal(server_ejected(server(&b, 1)), cases[i].is_error || !cases[i].ends_the_row);
        tear_down(&b);
    }
}

static void test_no_more_than_max_ejected_are_out(void **state)
{
    (void)state;
    static const struct {
        uint32_t count;
        double share;
        uint32_t most;
    } cases[] = {{1, 0.5, 0}, {1, 1, 1},   {2, 0.5, 1},  {2, 0.1, 1}, {2, 0, 0},
                 {3, 0.5, 1}, {4, 0.5, 2}, {10, 0.3, 3}, {10, 1, 10}, {0, 1, 0}};
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        assert_int_equal(group_may_eject(cases[i].count, cases[i].share), cases[i].most);

    struct bench b;
    set_up(&b, "{" FOUR ", outlier: {errors: 2, eject: 10s}}");
    for (unsigned n = 1; n <= 4; n++)
        fail_times(&b, n, 9);
    assert_true(server_ejected(server(&b, 1)) && server_ejected(server(&b, 2)));
    assert_true(server_usable(server(&b, 3)) && server_usable(server(&b, 4)));
    pass(&b, 10 * SECOND);
    fail_times(&b, 3, 1); /* its row goes on */
    assert_true(server_ejected(server(&b, 3)));
    tear_down(&b);
}

static void test_the_time_grows_and_falls_again_when_it_is_quiet(void **state)
{
    (void)state;
    struct bench b;
    set_up(&b, "{" FOUR ", outlier: {errors: 1, eject: 10s}}");
    for (unsigned n = 1; n <= 12; n++) {
        usec_t lasts = (n < 10 ? n : 10) * 10 * SECOND;
        char expected[64];
        fail_times(&b, 1, 1);
        snprintf(expected, sizeof expected, "ejected for %u s: 1 error: status 503",
                 (unsigned)(lasts / SECOND));
        assert_string_equal(report(&b, 1).reason, expected);
        pass(&b, lasts - 1);
        assert_true(server_ejected(server(&b, 1)));
        pass(&b, 1);
        assert_false(server_ejected(server(&b, 1)));
    }
    b.now_us += 40 * SECOND; /* four times quiet */
    fail_times(&b, 1, 1);
    assert_non_null(strstr(report(&b, 1).reason, "ejected for 70 s"));
    pass(&b, 70 * SECOND);
    b.now_us += 1000 * SECOND;
    fail_times(&b, 1, 1);
    assert_non_null(strstr(report(&b, 1).reason, "ejected for 10 s"));
    tear_down(&b);
}

static void test_a_check_that_fails_keeps_a_server_down_after_its_ejection(void **state)
{
    (void)state;
    struct bench b;
    set_up(&b, "{" FOUR ", outlier: {errors: 1, eject: 10s}}");
    struct server *s = server(&b, 1);
    fail_times(&b, 1, 1);
    server_set_health(s, HEALTH_DOWN, "http check: status 500", 1);
    assert_string_equal(report(&b, 1).state, "down");
    pass(&b, 10 * SECOND);
    assert_false(server_usable(s));
    server_set_health(s, HEALTH_UP, "", 2);
    assert_true(server_usable(s));

    fail_times(&b, 1, 1);
    server_set_health(s, HEALTH_DOWN, "", 3);
    server_set_health(s, HEALTH_UP, "", 4); /* a good check does not end an ejection */
    assert_false(server_usable(s));
    tear_down(&b);
}

static void test_a_reload_without_outlier_lets_all_back(void **state)
{
    (void)state;
    struct bench b;
    struct fixture second;
    set_up(&b, "{" FOUR ", outlier: {errors: 1, eject: 1h}}");
    fail_times(&b, 1, 1);
    fixture_make(&second, "{" FOUR "}", b.registry, 1);
    assert_int_equal(upstream_activate(second.upstream), 0);
    fixture_free(&b.f);
    b.f = second;
    pass(&b, SECOND);
    assert_true(server_usable(server(&b, 1)));
    tear_down(&b);
}

static void test_a_server_that_leaves_gives_its_ejection_back(void **state)
{
    (void)state;
    struct bench b;
    struct fixture second;
    set_up(&b, "{" FOUR ", outlier: {errors: 1, eject: 1h}}");
    fail_times(&b, 1, 1);
    struct server *s = server_hold(server(&b, 1));
    fixture_make(&second, "{servers: ['127.0.0.1:2'], outlier: {errors: 1}}", b.registry, 1);
    assert_int_equal(upstream_activate(second.upstream), 0);
    upstream_deactivate(b.f.upstream);
    assert_int_equal(atomic_load(&b.group->ejected), 0);
    fail_times(&b, 1, 3); /* an old request's end */
    assert_int_equal(atomic_load(&b.group->ejected), 0);
    fixture_free(&b.f);
    b.f = second;
    server_release(s);
    tear_down(&b);
}

/* `count` responses of so many milliseconds more. */
static void respond(struct bench *b, unsigned number, unsigned count, unsigned ms)
{
    b->totals[number].durations[0] += count;
    b->totals[number].duration_us += (uint64_t)count * ms * 1000;
}

static void test_a_server_far_slower_than_its_peers_is_ejected(void **state)
{
    (void)state;
    static const struct {
        unsigned ms[4], responses;
        bool ejected; /* the first */
    } cases[] = {
        {{100, 10, 12, 14}, 30, true}, {{30, 10, 12, 14}, 30, false},     {{100, 10, 12, 14}, 19, false},
        {{4, 1, 1, 1}, 100, false},    {{100, 100, 100, 100}, 30, false},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct bench b;
        set_up(&b, "{" FOUR ", outlier: {latency: 3x}}");
        pass(&b, SECOND);
        for (unsigned n = 0; n < 4; n++)
            respond(&b, n + 1, n ? 100 : cases[i].responses, cases[i].ms[n]);
        pass(&b, SECOND);
        assert_int_equal(server_ejected(server(&b, 1)), cases[i].ejected);
        for (unsigned n = 2; n <= 4; n++)
            assert_false(server_ejected(server(&b, n)));
        if (cases[i].ejected)
            assert_string_equal(report(&b, 1).reason,
                                "ejected for 30 s: 100.0 ms a response, its peers take 12.0 ms");
        tear_down(&b);
    }
}

static void test_old_responses_do_not_count(void **state)
{
    (void)state;
    struct bench b;
    set_up(&b, "{" FOUR ", outlier: {latency: 3x}}");
    pass(&b, SECOND);
    for (unsigned n = 1; n <= 4; n++)
        respond(&b, n, 15, n == 1 ? 500 : 10);
    for (unsigned i = 0; i < 11; i++)
        pass(&b, SECOND);
    for (unsigned n = 1; n <= 4; n++)
        respond(&b, n, 15, 10);
    pass(&b, SECOND);
    assert_false(server_ejected(server(&b, 1)));
    tear_down(&b);
}

static void test_panic_begins_and_ends_with_the_share_that_is_well(void **state)
{
    (void)state;
    struct bench b;
    set_up(&b, "{" FOUR ", panic_threshold: 50%, outlier: {errors: 1, eject: 10s, max_ejected: 100%}}");
    server_set_admin(server(&b, 4), ADMIN_DOWN);
    pass(&b, SECOND);
    server_set_health(server(&b, 1), HEALTH_DOWN, "bad", 1);
    pass(&b, SECOND);
    assert_false(group_in_panic(b.group)); /* two of three */
    assert_false(server_usable(server(&b, 1)));
    fail_times(&b, 2, 1);
    pass(&b, SECOND);
    assert_true(group_in_panic(b.group));
    assert_true(server_usable(server(&b, 1)) && server_usable(server(&b, 2)));
    assert_false(server_usable(server(&b, 4)));
    assert_string_equal(report(&b, 1).state, "down");
    pass(&b, 9 * SECOND);
    assert_false(group_in_panic(b.group));
    assert_false(server_usable(server(&b, 1)));
    assert_true(server_usable(server(&b, 2)));
    tear_down(&b);
}

static void test_backups_go_before_panic(void **state)
{
    (void)state;
    struct bench b;
    set_up(&b, "{servers: ['127.0.0.1:1', '127.0.0.1:2', {address: '127.0.0.1:3', backup: true}], "
               "panic_threshold: 60%}");
    server_set_health(server(&b, 1), HEALTH_DOWN, "bad", 1);
    pass(&b, SECOND);
    assert_true(group_in_panic(b.group));
    server_set_health(server(&b, 2), HEALTH_DOWN, "bad", 1);
    pass(&b, SECOND);
    assert_false(group_in_panic(b.group));
    assert_false(server_usable(server(&b, 1)));
    server_set_health(server(&b, 3), HEALTH_DOWN, "bad", 1);
    pass(&b, SECOND);
    assert_true(server_usable(server(&b, 1)) && server_usable(server(&b, 3)));
    tear_down(&b);
}

static void test_a_flapping_server_needs_more_good_checks(void **state)
{
    (void)state;
    static const unsigned times[] = {1, 1, 1, 1, 2, 2, 4, 4, 8};
    struct flapping f = {0};
    usec_t now = 5000 * SECOND;
    for (unsigned i = 0; i < COUNT_OF(times); i++) {
        assert_int_equal(flapping_changes(&f, now, 2000), i);
        assert_int_equal(flapping_times(i), times[i]);
        flapping_note(&f, now);
        now += SECOND;
    }
    assert_int_equal(flapping_changes(&f, now, 2000), 8);
    assert_int_equal(flapping_changes(&f, now + 113 * SECOND, 2000), 6);
    assert_int_equal(flapping_changes(&f, now + 120 * SECOND, 2000), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_errors_in_a_row_eject_and_time_lets_back),
        cmocka_unit_test(test_which_ends_are_errors),
        cmocka_unit_test(test_no_more_than_max_ejected_are_out),
        cmocka_unit_test(test_the_time_grows_and_falls_again_when_it_is_quiet),
        cmocka_unit_test(test_a_check_that_fails_keeps_a_server_down_after_its_ejection),
        cmocka_unit_test(test_a_reload_without_outlier_lets_all_back),
        cmocka_unit_test(test_a_server_that_leaves_gives_its_ejection_back),
        cmocka_unit_test(test_a_server_far_slower_than_its_peers_is_ejected),
        cmocka_unit_test(test_old_responses_do_not_count),
        cmocka_unit_test(test_panic_begins_and_ends_with_the_share_that_is_well),
        cmocka_unit_test(test_backups_go_before_panic),
        cmocka_unit_test(test_a_flapping_server_needs_more_good_checks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
