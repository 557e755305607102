/* The judge of a configuration on trial: what was before, what is now, the limits, and what it says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proxy/trial.h"

static struct trial_period period(uint64_t requests, uint64_t errors, usec_t took_us)
{
    struct trial_period p = {.requests = requests, .errors = errors};
    p.durations[counters_fine_slot(took_us)] = requests;
    return p;
}

static void test_errors_are_compared_with_those_before(void **state)
{
    (void)state;
    static const struct {
        uint64_t before, before_errors, now, now_errors;
        bool worse;
        const char *why;
    } cases[] = {
        {1000, 0, 100, 0, false, "none at all"},
        {1000, 0, 100, 5, false, "five points are allowed"},
        {1000, 0, 100, 6, true, "more than five points"},
        {1000, 100, 100, 15, false, "it was at ten percent already"},
        {1000, 100, 100, 16, true, "worse than the ten percent that it was"},
        {1000, 1000, 100, 100, false, "it was broken before"},
        {0, 0, 100, 6, true, "nothing is known of before: as if there had been no error"},
        {1, 1, 100, 60, true, "one that failed before is no excuse"},
        {40, 40, 100, 85, false, "nor are forty as good as none"},
        {40, 40, 100, 86, true, "what is missing to fifty counts as good"},
        {1000, 0, 49, 49, false, "too few to judge"},
        {1000, 0, 50, 50, true, "just enough"},
        {0, 0, 0, 0, false, "silence"},
    };
    struct trial_limits l = trial_limits_default();
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct trial_period before = period(cases[i].before, cases[i].before_errors, 1000);
        struct trial_period now = period(cases[i].now, cases[i].now_errors, 1000);
        char words[256] = "";
        bool worse = trial_requests_worse(&l, &before, &now, words, sizeof words);
        if (worse != cases[i].worse)
            fail_msg("%s: %s", cases[i].why, words);
        assert_true(worse == (words[0] != 0));
    }
}

static void test_the_verdict_says_both_shares(void **state)
{
    (void)state;
    struct trial_limits l = trial_limits_default();
    struct trial_period before = period(1000, 10, 1000), now = period(200, 60, 1000);
    char words[256];
    assert_true(trial_requests_worse(&l, &before, &now, words, sizeof words));
    assert_string_equal(words,
                        "errors: 30.0% of 200 requests, 1.0% of 1000 before; more than 5 points worse");
}

static void test_p95_must_be_both_times_and_milliseconds_longer(void **state)
{
    (void)state;
    static const struct {
        uint64_t before;
        usec_t before_us;
        uint64_t now;
        usec_t now_us;
        bool worse;
        const char *why;
    } cases[] = {
        {1000, 900, 1000, 9000, false, "ten times, but few milliseconds"},
        {1000, 900, 1000, 400000, true, "a hundred times"},
        {1000, 400000, 1000, 490000, false, "not twice"},
        {1000, 400000, 1000, 2000000, true, "five times"},
        {1000, 900, 199, 400000, false, "too few now"},
        {199, 900, 1000, 400000, false, "too few before"},
        {1000, 400000, 1000, 900, false, "faster"},
        {1000, 900, 1000, 60000000, true, "past the last bound"},
    };
    struct trial_limits l = trial_limits_default();
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct trial_period before = period(cases[i].before, 0, cases[i].before_us);
        struct trial_period now = period(cases[i].now, 0, cases[i].now_us);
        char words[256] = "";
        if (trial_requests_worse(&l, &before, &now, words, sizeof words) != cases[i].worse)
            fail_msg("%s: %s", cases[i].why, words);
        assert_true(!cases[i].worse || strstr(words, "p95"));
    }
}

static void test_p95_is_where_95_of_100_are(void **state)
{
    (void)state;
    struct trial_period p = {0};
    assert_true(trial_p95(&p) == 0);
    p.durations[counters_fine_slot(900)] = 95;
    p.durations[counters_fine_slot(400000)] = 5;
    assert_true(trial_p95(&p) <= 1000);
    p.durations[counters_fine_slot(400000)] = 6;
    assert_true(trial_p95(&p) > 100000);
}

static void test_limits_are_the_callers(void **state)
{
    (void)state;
    struct trial_limits l = trial_limits_default();
    struct trial_period before = period(1000, 0, 900), now = period(10, 1, 400000);
    char words[256];
    assert_false(trial_requests_worse(&l, &before, &now, words, sizeof words));
    l.requests = 10;
    assert_true(trial_requests_worse(&l, &before, &now, words, sizeof words));
    l.errors = 0.1;
    assert_false(trial_requests_worse(&l, &before, &now, words, sizeof words));
    l.latency_requests = 10;
    assert_true(trial_requests_worse(&l, &before, &now, words, sizeof words));
    l.latency_least = 10000;
    assert_false(trial_requests_worse(&l, &before, &now, words, sizeof words));
}

static void test_servers_that_fall_ill_are_counted_by_share(void **state)
{
    (void)state;
    static const struct {
        uint64_t before, now;
        bool worse;
    } cases[] = {{10, 10, false}, {10, 8, false}, {10, 7, true},    {1, 0, true},
                 {2, 1, true},    {0, 0, false},  {100, 80, false}, {100, 79, true}};
    struct trial_limits l = trial_limits_default();
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct trial_servers s = {cases[i].before, cases[i].now, "app 10.0.0.1:80: refused", ""};
        char words[256] = "";
        assert_int_equal(trial_servers_worse(&l, &s, words, sizeof words), cases[i].worse);
        assert_true(!cases[i].worse || strstr(words, "app 10.0.0.1:80: refused"));
    }
}

static void test_an_upstream_without_any_server_is_worse_at_once(void **state)
{
    (void)state;
    struct trial_limits l = trial_limits_default();
    struct trial_servers s = {10, 10, "", "app"};
    char words[256] = "";
    assert_true(trial_servers_worse(&l, &s, words, sizeof words));
    assert_non_null(strstr(words, "upstream app"));
}

static void test_a_period_is_what_came_between(void **state)
{
    (void)state;
    struct trial_period early = period(10, 1, 900), late = period(35, 3, 900);
    early.us = 5;
    late.us = 20;
    struct trial_period p = trial_between(&early, &late);
    assert_int_equal(p.us, 15);
    assert_int_equal(p.requests, 25);
    assert_int_equal(p.errors, 2);
    assert_int_equal(p.durations[counters_fine_slot(900)], 25);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_errors_are_compared_with_those_before),
        cmocka_unit_test(test_the_verdict_says_both_shares),
        cmocka_unit_test(test_p95_must_be_both_times_and_milliseconds_longer),
        cmocka_unit_test(test_p95_is_where_95_of_100_are),
        cmocka_unit_test(test_limits_are_the_callers),
        cmocka_unit_test(test_servers_that_fall_ill_are_counted_by_share),
        cmocka_unit_test(test_an_upstream_without_any_server_is_worse_at_once),
        cmocka_unit_test(test_a_period_is_what_came_between),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
