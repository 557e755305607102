/* Peak EWMA: what is learned of a server's times, and what follows from it. */
#include "tests/unit/policy_fixture.h"

#include "balancer/ewma.h"

#define SECOND UINT64_C(1000000)

static void answered(struct server *s, usec_t took, usec_t now)
{
    ewma_learn(s,
               &(struct outcome){
                   .kind = OUTCOME_ANSWERED, .status = 200, .head_us = took, .took_us = took, .now_us = now});
}

static struct server *make(void)
{
    struct server *s = server_create(NULL, S("up"), S("10.0.0.1:80"));
    assert_non_null(s);
    return s;
}

static void test_a_slower_answer_counts_at_once_and_a_faster_one_by_and_by(void **state)
{
    (void)state;
    struct server *s = make();
    usec_t now = 100 * SECOND;
    assert_int_equal(ewma_value(s, now), 0);
    answered(s, 1000, now);
    assert_int_equal(ewma_value(s, now), 1000);
    answered(s, 50000, now + 1000);
    assert_int_equal(ewma_value(s, now + 1000), 50000);
    answered(s, 1000, now + 101000);
    assert_in_range(ewma_value(s, now + 101000), 48000, 50000);
    for (usec_t t = 0; t < 30 * SECOND; t += 100000)
        answered(s, 1000, now + 200000 + t);
    assert_in_range(ewma_value(s, now + 30 * SECOND), 1000, 4000);
    server_release(s);
}

static void test_what_is_old_fades(void **state)
{
    (void)state;
    struct server *s = make();
    usec_t now = 100 * SECOND;
    answered(s, 100000, now);
    assert_in_range(ewma_value(s, now + 10 * SECOND), 35000, 38500); /* 1/e */
    assert_in_range(ewma_value(s, now + 50 * SECOND), 400, 1100);
    assert_int_equal(ewma_value(s, now + 10000 * SECOND), 1);
    assert_int_equal(ewma_value(s, 0), 100000);
    server_release(s);
}

static void test_a_failure_counts_as_a_slow_answer(void **state)
{
    (void)state;
    static const struct outcome failures[] = {
        {.kind = OUTCOME_UNREACHABLE, .took_us = 100, .now_us = 100 * SECOND},
        {.kind = OUTCOME_RESET, .status = 200, .head_us = 10, .took_us = 100, .now_us = 100 * SECOND},
        {.kind = OUTCOME_ANSWERED, .status = 503, .head_us = 10, .took_us = 100, .now_us = 100 * SECOND},
    };
    for (size_t i = 0; i < COUNT_OF(failures); i++) {
        struct server *s = make();
        answered(s, 1000, 99 * SECOND);
        ewma_learn(s, &failures[i]);
        assert_int_equal(ewma_value(s, 100 * SECOND), EWMA_FAILURE_US);
        server_release(s);
    }
    struct server *s = make();
    ewma_learn(s, &(struct outcome){.kind = OUTCOME_TIMEOUT, .took_us = 60 * SECOND, .now_us = 100 * SECOND});
    assert_int_equal(ewma_value(s, 100 * SECOND), 60 * SECOND);
    server_release(s);
}

static void test_a_stream_teaches_nothing(void **state)
{
    (void)state;
    struct server *s = make();
    ewma_learn(s,
               &(struct outcome){.kind = OUTCOME_ANSWERED, .took_us = 60 * SECOND, .now_us = 100 * SECOND});
    assert_int_equal(ewma_value(s, 100 * SECOND), 0);
    server_release(s);
}

static void test_a_slow_server_is_left_alone_and_tried_again_later(void **state)
{
    (void)state;
    struct bench_tier b;
    size_t slow = 0;
    usec_t now = 100 * SECOND;
    tier_make(&b, &policy_ewma, 10, NULL, 1);
    for (size_t i = 0; i < 10; i++)
        answered(b.servers[i], i == 3 ? 100000 : 10000, now);
    for (size_t i = 0; i < 2000; i++)
        slow += tier_pick(&b, 0, &(struct pick){.now_us = now}) == b.servers[3];
    assert_int_equal(slow, 0);

    /* The others go on as before; the slow one has not been asked for a minute. */
    now += 60 * SECOND;
    for (size_t i = 0; i < 10; i++)
        if (i != 3)
            answered(b.servers[i], 10000, now);
    for (size_t i = 0; i < 2000; i++)
        slow += tier_pick(&b, 0, &(struct pick){.now_us = now}) == b.servers[3];
    assert_in_range(slow, 100, 1000);
    tier_free(&b);
}

static void test_what_is_in_flight_counts(void **state)
{
    (void)state;
    struct bench_tier b;
    tier_make(&b, &policy_ewma, 2, NULL, 1);
    answered(b.servers[0], 10000, SECOND);
    answered(b.servers[1], 30000, SECOND);
    /* 10 ms × (1 + n) meets 30 ms × (1 + m). */
    for (size_t i = 0; i < 40; i++)
        server_begin(tier_pick(&b, 0, &(struct pick){.now_us = SECOND}));
    assert_in_range(server_in_flight(b.servers[1]), 8, 12);
    tier_free(&b);
}

static void test_a_server_of_which_nothing_is_known_is_not_overrun(void **state)
{
    (void)state;
    struct bench_tier b;
    tier_make(&b, &policy_ewma, 2, NULL, 1);
    answered(b.servers[0], 10000, SECOND);
    for (size_t i = 0; i < 20; i++)
        server_begin(tier_pick(&b, 0, &(struct pick){.now_us = SECOND}));
    assert_in_range(server_in_flight(b.servers[1]), 1, 3); /* not 10, which is its share */
    tier_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_slower_answer_counts_at_once_and_a_faster_one_by_and_by),
        cmocka_unit_test(test_what_is_old_fades),
        cmocka_unit_test(test_a_failure_counts_as_a_slow_answer),
        cmocka_unit_test(test_a_stream_teaches_nothing),
        cmocka_unit_test(test_a_slow_server_is_left_alone_and_tried_again_later),
        cmocka_unit_test(test_what_is_in_flight_counts),
        cmocka_unit_test(test_a_server_of_which_nothing_is_known_is_not_overrun),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
