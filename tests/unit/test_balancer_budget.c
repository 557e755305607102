/* How many retries a worker may make, by a clock of the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "balancer/budget.h"

#define SECOND UINT64_C(1000000)

/* Retries that are allowed of `count` requests which all want one, `gap` apart, while nothing answers. */
static unsigned in_an_outage(struct retry_budget *b, usec_t *now, unsigned count, usec_t gap)
{
    unsigned retries = 0;
    for (unsigned i = 0; i < count; i++, *now += gap) {
        budget_request(b, 0.2);
        retries += budget_retry(b, *now);
    }
    return retries;
}

static void test_in_a_long_outage_no_more_than_the_share_is_retried(void **state)
{
    (void)state;
    for (usec_t gap = 100; gap <= SECOND; gap *= 10) {
        static struct retry_budget b;
        usec_t now = 100 * SECOND;
        budget_init(&b);
        budget_answered(&b, now);
        assert_in_range(in_an_outage(&b, &now, 10000, gap), 1990, 2000);
    }
}

static void test_a_few_are_retried_however_long_nobody_asked(void **state)
{
    (void)state;
    static struct retry_budget b; /* aligned to a cache line, as a stack need not be */
    budget_init(&b);
    usec_t now = 100 * SECOND;
    budget_answered(&b, now);
    now += 3600 * SECOND;
    assert_int_equal(in_an_outage(&b, &now, 10, SECOND), 10);
    assert_int_equal(in_an_outage(&b, &now, 39, SECOND), 0);
    assert_int_equal(in_an_outage(&b, &now, 6, SECOND), 1);
}

static void test_all_that_is_saved_is_there_when_a_server_dies_among_others(void **state)
{
    (void)state;
    static struct retry_budget b; /* aligned to a cache line, as a stack need not be */
    budget_init(&b);
    usec_t now = 100 * SECOND;
    budget_answered(&b, now);
    unsigned retries = 0;
    for (unsigned i = 0; i < 150; i++)
        retries += budget_retry(&b, now + i);
    assert_int_equal(retries, BUDGET_TOKENS_MAX);
}

static void test_answers_between_leave_the_share_alone(void **state)
{
    (void)state;
    static struct retry_budget b; /* aligned to a cache line, as a stack need not be */
    budget_init(&b);
    usec_t now = 100 * SECOND;
    unsigned retries = 0;
    for (unsigned i = 0; i < 10000; i++, now += SECOND) {
        budget_request(&b, 0.2);
        retries += budget_retry(&b, now);
        budget_answered(&b, now);
    }
    assert_in_range(retries, 2000, 2000 + BUDGET_TOKENS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_a_long_outage_no_more_than_the_share_is_retried),
        cmocka_unit_test(test_a_few_are_retried_however_long_nobody_asked),
        cmocka_unit_test(test_all_that_is_saved_is_there_when_a_server_dies_among_others),
        cmocka_unit_test(test_answers_between_leave_the_share_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
