/* The circuit breaker, by a clock of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "balancer/breaker.h"

static const struct breaker_settings settings = {
    .errors = 0.5, .window = 10000, .min_requests = 20, .open = 5000};

#define SECOND UINT64_C(1000000)

struct clocked {
    struct breaker *b;
    usec_t now;
};

static struct clocked make(unsigned workers)
{
    struct clocked c = {.b = breaker_create(&settings, workers), .now = 1000 * SECOND};
    assert_non_null(c.b);
    return c;
}

static bool ends(struct clocked *c, unsigned worker, enum outcome_kind kind, unsigned status)
{
    struct outcome o = {.kind = kind, .status = (uint16_t)status, .took_us = 10, .now_us = c->now};
    return breaker_learn(c->b, worker, &o);
}

static void many(struct clocked *c, unsigned worker, unsigned count, unsigned status)
{
    for (unsigned i = 0; i < count; i++)
        ends(c, worker, OUTCOME_ANSWERED, status);
}

static void test_few_failures_say_nothing(void **state)
{
    (void)state;
    struct clocked c = make(1);
    many(&c, 0, 19, 500);
    assert_int_equal(breaker_state(c.b), BREAKER_CLOSED);
    assert_true(breaker_admits(c.b, c.now));
    breaker_free(c.b);
}

static void test_it_opens_at_the_share_and_refuses(void **state)
{
    (void)state;
    struct clocked c = make(1);
    many(&c, 0, 30, 200);
    many(&c, 0, 29, 503);
    assert_int_equal(breaker_state(c.b), BREAKER_CLOSED);
    assert_true(ends(&c, 0, OUTCOME_RESET, 0));
    assert_int_equal(breaker_state(c.b), BREAKER_OPEN);
    assert_false(breaker_admits(c.b, c.now));
    assert_false(breaker_admits(c.b, c.now + 5 * SECOND - 1));
    assert_int_equal(c.b->opened, 1);
    breaker_free(c.b);
}

static void test_workers_failures_add_up(void **state)
{
    (void)state;
    struct clocked c = make(4);
    for (unsigned w = 0; w < 4; w++)
        many(&c, w, 5, 502);
    assert_int_equal(breaker_state(c.b), BREAKER_OPEN);
    breaker_free(c.b);
}

static void test_what_is_older_than_the_window_is_forgotten(void **state)
{
    (void)state;
    struct clocked c = make(1);
    many(&c, 0, 19, 500);
    c.now += 11 * SECOND;
    many(&c, 0, 19, 500);
    assert_int_equal(breaker_state(c.b), BREAKER_CLOSED);
    many(&c, 0, 1, 500);
    assert_int_equal(breaker_state(c.b), BREAKER_OPEN);
    breaker_free(c.b);
}

static struct clocked opened(void)
{
    struct clocked c = make(2);
    many(&c, 0, 20, 500);
    assert_int_equal(breaker_state(c.b), BREAKER_OPEN);
    c.now += 5 * SECOND;
    return c;
}

static void test_after_a_while_one_attempt_alone_is_let_through(void **state)
{
    (void)state;
    struct clocked c = opened();
    assert_true(breaker_admits(c.b, c.now));
    assert_int_equal(breaker_state(c.b), BREAKER_HALF_OPEN);
    assert_false(breaker_admits(c.b, c.now));
    assert_false(breaker_admits(c.b, c.now + 1));
    breaker_free(c.b);
}

static void test_its_success_closes_and_the_old_failures_are_forgotten(void **state)
{
    (void)state;
    struct clocked c = opened();
    assert_true(breaker_admits(c.b, c.now));
    c.now += 20;
    assert_false(ends(&c, 1, OUTCOME_ANSWERED, 200));
    assert_int_equal(breaker_state(c.b), BREAKER_CLOSED);
    c.now += 2 * SECOND;
    many(&c, 0, 19, 500);
    assert_int_equal(breaker_state(c.b), BREAKER_CLOSED);
    breaker_free(c.b);
}

static void test_its_failure_opens_for_the_same_time(void **state)
{
    (void)state;
    struct clocked c = opened();
    assert_true(breaker_admits(c.b, c.now));
    c.now += 20;
    assert_true(ends(&c, 0, OUTCOME_UNREACHABLE, 0));
    assert_false(breaker_admits(c.b, c.now + 5 * SECOND - 1));
    assert_true(breaker_admits(c.b, c.now + 5 * SECOND));
    assert_int_equal(c.b->opened, 2);
    breaker_free(c.b);
}

static void test_what_began_before_says_nothing_about_now(void **state)
{
    (void)state;
    struct clocked c = opened();
    assert_true(breaker_admits(c.b, c.now));
    struct outcome old = {
        .kind = OUTCOME_ANSWERED, .status = 200, .took_us = 6 * SECOND, .now_us = c.now + 20};
    breaker_learn(c.b, 0, &old);
    assert_int_equal(breaker_state(c.b), BREAKER_HALF_OPEN);
    breaker_free(c.b);
}

static void test_a_try_that_never_ends_is_followed_by_another(void **state)
{
    (void)state;
    struct clocked c = opened();
    assert_true(breaker_admits(c.b, c.now));
    assert_false(breaker_admits(c.b, c.now + 4 * SECOND));
    assert_true(breaker_admits(c.b, c.now + 5 * SECOND));
    breaker_free(c.b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_few_failures_say_nothing),
        cmocka_unit_test(test_it_opens_at_the_share_and_refuses),
        cmocka_unit_test(test_workers_failures_add_up),
        cmocka_unit_test(test_what_is_older_than_the_window_is_forgotten),
        cmocka_unit_test(test_after_a_while_one_attempt_alone_is_let_through),
        cmocka_unit_test(test_its_success_closes_and_the_old_failures_are_forgotten),
        cmocka_unit_test(test_its_failure_opens_for_the_same_time),
        cmocka_unit_test(test_what_began_before_says_nothing_about_now),
        cmocka_unit_test(test_a_try_that_never_ends_is_followed_by_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
