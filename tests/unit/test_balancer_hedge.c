/* When a second attempt is due, and how exact a quantile of one number is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "balancer/hedge.h"

/* Of uniform numbers in (0, 1), by a generator that gives the same on every machine. */
static double next(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (double)((*state >> 11) + 1) * 0x1p-53;
}

/* With a tail as long as those of real servers. */
static usec_t sample_of(uint64_t *random, double middle_us)
{
    double u = next(random);
    return (usec_t)(middle_us * u / (1.0001 - u));
}

static double distance(double a, double b)
{
    return a > b ? a - b : b - a;
}

/* The share of later samples below the estimate. */
static double share_below(double share, double mean_us)
{
    struct quantile q = {0};
    uint64_t random = 7;
    for (int i = 0; i < 20000; i++)
        quantile_add(&q, share, sample_of(&random, mean_us));
    int below = 0;
    for (int i = 0; i < 20000; i++) {
        usec_t sample = sample_of(&random, mean_us);
        below += sample < quantile_us(&q);
        quantile_add(&q, share, sample);
    }
    return below / 20000.0;
}

static void test_the_estimate_has_the_wanted_share_below_it(void **state)
{
    (void)state;
    const double shares[] = {0.5, 0.9, 0.95, 0.99}, means[] = {200, 50000, 3e6};
    for (size_t i = 0; i < COUNT_OF(shares); i++)
        for (size_t k = 0; k < COUNT_OF(means); k++) {
            double got = share_below(shares[i], means[k]);
            if (distance(got, shares[i]) > 0.02)
                fail_msg("p%g of mean %g: %g", shares[i] * 100, means[k], got);
        }
}

static void test_it_follows_when_times_change(void **state)
{
    (void)state;
    struct quantile q = {0};
    for (int i = 0; i < 1000; i++)
        quantile_add(&q, 0.95, 1000);
    for (int i = 0; i < 200; i++)
        quantile_add(&q, 0.95, 50000);
    assert_true(quantile_us(&q) > 40000);
}

static void test_too_few_samples_say_nothing(void **state)
{
    (void)state;
    struct hedge h = {0};
    const struct hedge_settings s = {.after = {.share = 0.95}, .max = 0.05};
    struct outcome o = {.kind = OUTCOME_ANSWERED, .status = 200, .head_us = 5000};
    for (unsigned i = 0; i < QUANTILE_WARM_UP - 1; i++) {
        hedge_learn(&h, &s, &o);
        assert_int_equal(hedge_delay(&h, &s), 0);
    }
    hedge_learn(&h, &s, &o);
    assert_in_range(hedge_delay(&h, &s), 3, 8);
}

static void test_a_time_needs_no_samples(void **state)
{
    (void)state;
    struct hedge h = {0};
    const struct hedge_settings s = {.after = {.time = 200}};
    assert_int_equal(hedge_delay(&h, &s), 200);
}

/* One answer in ten is slow. Who is overtaken never tells how slow, which must not make it look rare. */
static void test_who_is_overtaken_counts_as_late(void **state)
{
    (void)state;
    struct hedge h = {0};
    const struct hedge_settings s = {.after = {.share = 0.95}, .max = 1};
    struct outcome quick = {.kind = OUTCOME_ANSWERED, .status = 200, .head_us = 10000};
    struct outcome slow = {.kind = OUTCOME_ANSWERED, .status = 200, .head_us = 500000};
    for (unsigned i = 0; i < 5000; i++) {
        msec_t delay = hedge_delay(&h, &s);
        bool overtaken = i % 10 == 0 && delay && delay < 490;
        if (overtaken)
            hedge_overtaken(&h, &s, delay * 1000 + 10000);
        hedge_learn(&h, &s, i % 10 || overtaken ? &quick : &slow);
    }
    assert_true(hedge_delay(&h, &s) > 100);
}

static void test_no_more_than_the_share_is_hedged(void **state)
{
    (void)state;
    struct hedge h = {0};
    const struct hedge_settings s = {.after = {.time = 1}, .max = 0.05};
    unsigned hedged = 0;
    for (int i = 0; i < 10000; i++) {
        hedge_request(&h, &s);
        hedged += hedge_take(&h);
    }
    assert_in_range(hedged, 499, 500);
}

static void test_what_may_stand_in_after(void **state)
{
    static const struct {
        const char *text;
        msec_t time;
        double share;
        bool good;
    } cases[] = {
        {"{after: p95}", 0, 0.95, true}, {"{after: p99.9}", 0, 0.999, true}, {"{after: 200ms}", 200, 0, true},
        {"{}", 0, 0.95, true},           {"{after: p100}", 0, 0, false},     {"{after: p}", 0, 0, false},
        {"{after: p9.}", 0, 0, false},   {"{after: p40}", 0, 0, false},      {"{after: 0}", 0, 0, false},
        {"{after: soon}", 0, 0, false},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct config c;
        struct hedge_settings s;
        config_init(&c);
        assert_int_equal(config_parse(&c, "test.yaml", slice_text(cases[i].text)), 0);
        option_apply(&c, &hedge_table, c.root, &s);
        if ((c.error_count == 0) != cases[i].good)
            fail_msg("%s: %zu faults", cases[i].text, c.error_count);
        if (cases[i].good &&
            (s.after.time != cases[i].time || distance(hedge_share(&s), cases[i].share) > 1e-9))
            fail_msg("%s", cases[i].text);
        config_free(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_estimate_has_the_wanted_share_below_it),
        cmocka_unit_test(test_it_follows_when_times_change),
        cmocka_unit_test(test_too_few_samples_say_nothing),
        cmocka_unit_test(test_a_time_needs_no_samples),
        cmocka_unit_test(test_who_is_overtaken_counts_as_late),
        cmocka_unit_test(test_no_more_than_the_share_is_hedged),
        cmocka_unit_test(test_what_may_stand_in_after),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
