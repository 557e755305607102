/* Lines that repeat: the first at once, then one a second with how many were left out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/log_limit.h"

static const char unreachable[] = "server cannot be reached", silent[] = "no answer";

struct limit {
    struct log_limit at;
    uint64_t repeated;
};

static bool allows(struct limit *l, const char *event, uint64_t about, usec_t now)
{
    l->repeated = UINT64_MAX;
    return log_limit_allows(&l->at, event, about, now, &l->repeated);
}

static void test_the_first_is_told_at_once_even_when_the_clock_begins(void **state)
{
    struct limit l = {0};
    (void)state;
    assert_true(allows(&l, unreachable, 1, 0));
    assert_int_equal(l.repeated, 0);
    assert_false(allows(&l, unreachable, 1, 0));
}

static void test_those_within_a_second_are_counted_and_told_by_the_next(void **state)
{
    struct limit l = {0};
    (void)state;
    assert_true(allows(&l, unreachable, 1, 5000000));
    for (usec_t i = 1; i <= 700; i++)
        assert_false(allows(&l, unreachable, 1, 5000000 + i * 1000));
    assert_false(allows(&l, unreachable, 1, 5999999));
    assert_true(allows(&l, unreachable, 1, 6000000));
    assert_int_equal(l.repeated, 701);
    assert_false(allows(&l, unreachable, 1, 6999999));
    assert_true(allows(&l, unreachable, 1, 9000000));
    assert_int_equal(l.repeated, 1);
    assert_true(allows(&l, unreachable, 1, 10000000));
    assert_int_equal(l.repeated, 0);
}

static void test_another_event_and_another_server_are_told_for_themselves(void **state)
{
    struct limit l = {0};
    (void)state;
    assert_true(allows(&l, unreachable, 1, 100));
    assert_true(allows(&l, silent, 1, 100));
    assert_true(allows(&l, unreachable, 2, 100));
    assert_false(allows(&l, unreachable, 1, 200));
    assert_false(allows(&l, silent, 1, 200));
    assert_false(allows(&l, unreachable, 2, 200));
}

static void test_the_first_is_told_however_many_there_are(void **state)
{
    struct limit l = {0};
    (void)state;
    for (uint64_t i = 0; i < 4 * LOG_LIMIT_SLOTS; i++) {
        assert_true(allows(&l, unreachable, i, 100 + i));
        assert_int_equal(l.repeated, 0);
        assert_false(allows(&l, unreachable, i, 100 + i));
    }
}

static void test_a_hundred_servers_that_fail_in_turn_are_all_held_to_one_a_second(void **state)
{
    struct limit l = {0};
    unsigned told = 0;
    (void)state;
    for (usec_t now = 1; now < 1000000; now += 10000)
        for (uint64_t server = 1; server <= 100; server++)
            told += allows(&l, unreachable, server, now);
    assert_int_equal(told, 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_first_is_told_at_once_even_when_the_clock_begins),
        cmocka_unit_test(test_those_within_a_second_are_counted_and_told_by_the_next),
        cmocka_unit_test(test_another_event_and_another_server_are_told_for_themselves),
        cmocka_unit_test(test_the_first_is_told_however_many_there_are),
        cmocka_unit_test(test_a_hundred_servers_that_fail_in_turn_are_all_held_to_one_a_second),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
