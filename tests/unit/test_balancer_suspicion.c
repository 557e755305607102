/* Servers that could not be reached are passed over for a moment, by a clock of the test's own. */
#include "balancer_fixture.h"

#define SECOND UINT64_C(1000000)

struct scene {
    struct fixture f;
    struct server *a, *b;
    usec_t now;
};

static struct scene make(const char *balance)
{
    struct scene s = {.now = 1000 * SECOND};
    char text[256];
    snprintf(text, sizeof text, "{balance: %s, servers: ['127.0.0.1:1', '127.0.0.1:2']}", balance);
    fixture_make(&s.f, text, NULL, 1);
    s.a = fixture_server(&s.f, "127.0.0.1:1");
    s.b = fixture_server(&s.f, "127.0.0.1:2");
    return s;
}

static struct server *ask(struct scene *s)
{
    struct upstream *u = s->f.upstream;
    struct server_set *set = upstream_enter(u, 0);
    struct pick p = {.now_us = s->now};
    struct server *got = upstream_pick(u, set, 0, &p, NULL);
    if (got)
        server_end(got);
    upstream_leave(u, set, 0);
    return got;
}

static void ends(struct scene *s, struct server *of, enum outcome_kind kind, usec_t took)
{
    struct outcome o = {.kind = kind, .status = 200, .took_us = took, .now_us = s->now};
    suspicion_learn(of, &o);
}

/* How many of `count` picks get it. */
static unsigned share(struct scene *s, const struct server *of, unsigned count)
{
    unsigned got = 0;
    for (unsigned i = 0; i < count; i++)
        got += ask(s) == of;
    return got;
}

static const char *const policies[] = {"round_robin", "least_connections", "random_two", "ewma", "ring_hash",
                                       "maglev",      "source_hash"};

static void test_a_server_that_was_not_reached_is_passed_over_by_every_policy(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(policies); i++) {
        struct scene s = make(policies[i]);
        ends(&s, s.a, OUTCOME_UNREACHABLE, 10);
        assert_int_equal(share(&s, s.a, 40), 0);
        fixture_free(&s.f);
    }
}

static void test_when_all_are_suspect_they_are_asked(void **state)
{
    (void)state;
    struct scene s = make("round_robin");
    ends(&s, s.a, OUTCOME_UNREACHABLE, 10);
    ends(&s, s.b, OUTCOME_TIMEOUT, 10);
    assert_int_equal(share(&s, s.a, 40), 20);
    fixture_free(&s.f);
}

static void test_after_the_moment_one_request_alone_tries_it(void **state)
{
    (void)state;
    struct scene s = make("round_robin");
    ends(&s, s.a, OUTCOME_UNREACHABLE, 10);
    s.now += SUSPICION_MIN_US;
    assert_int_equal(share(&s, s.a, 40), 1);
    fixture_free(&s.f);
}

static void test_the_moment_grows_with_each_failure_to_five_seconds(void **state)
{
    (void)state;
    struct scene s = make("round_robin");
    usec_t moment = SUSPICION_MIN_US;
    for (unsigned i = 0; i < 10; i++) {
        ends(&s, s.a, OUTCOME_UNREACHABLE, 0);
        s.now += moment - 1;
        assert_true(server_is_suspect(s.a, s.now));
        s.now += 1;
        assert_false(server_is_suspect(s.a, s.now));
        moment = moment * 2 < SUSPICION_MAX_US ? moment * 2 : SUSPICION_MAX_US;
    }
    fixture_free(&s.f);
}

static void test_many_failures_of_one_moment_count_as_one(void **state)
{
    (void)state;
    struct scene s = make("round_robin");
    for (unsigned i = 0; i < 50; i++) {
        s.now += 10;
        ends(&s, s.a, OUTCOME_UNREACHABLE, 1000);
    }
    assert_false(server_is_suspect(s.a, s.now + SUSPICION_MIN_US));
    fixture_free(&s.f);
}

static void test_an_answer_ends_it_at_once(void **state)
{
    (void)state;
    struct scene s = make("round_robin");
    ends(&s, s.a, OUTCOME_UNREACHABLE, 10);
    s.now += 10;
    ends(&s, s.a, OUTCOME_ANSWERED, 5);
    assert_int_equal(share(&s, s.a, 40), 20);
    fixture_free(&s.f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_server_that_was_not_reached_is_passed_over_by_every_policy),
        cmocka_unit_test(test_when_all_are_suspect_they_are_asked),
        cmocka_unit_test(test_after_the_moment_one_request_alone_tries_it),
        cmocka_unit_test(test_the_moment_grows_with_each_failure_to_five_seconds),
        cmocka_unit_test(test_many_failures_of_one_moment_count_as_one),
        cmocka_unit_test(test_an_answer_ends_it_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
