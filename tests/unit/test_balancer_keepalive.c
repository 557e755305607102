/* How long a server keeps idle connections, by a clock of the test's own. */
#include "balancer_fixture.h"

#include "balancer/keepalive.h"

#define MS     UINT64_C(1000)
#define SECOND UINT64_C(1000000)

struct scene {
    struct server *s;
    usec_t now;
};

static struct scene make(void)
{
    struct scene c = {.s = server_create(NULL, S("u"), S("127.0.0.1:1")), .now = 1000 * SECOND};
    assert_non_null(c.s);
    return c;
}

static void end(struct scene *c, msec_t idle, usec_t later)
{
    c->now += later;
    keepalive_ended(c->s, idle, c->now);
}

static msec_t limit(const struct scene *c)
{
    return keepalive_limit(c->s, c->now);
}

static void learn(struct scene *c, msec_t idle)
{
    end(c, idle, 0);
    end(c, idle, 10 * SECOND);
    assert_int_equal(limit(c), idle);
}

static void test_nothing_known_leaves_the_wish_alone(void **state)
{
    (void)state;
    struct scene c = make();
    assert_int_equal(limit(&c), 0);
    assert_int_equal(keepalive_time(c.s, 60000, c.now), 60000);
    assert_int_equal(keepalive_try(c.s, 1000, 60000, c.now), 0);
    server_release(c.s);
}

static void test_two_ends_of_about_the_same_age_tell_the_limit(void **state)
{
    (void)state;
    struct scene c = make();
    end(&c, 5040, 0);
    assert_int_equal(limit(&c), 0);
    end(&c, 5010, 7 * SECOND);
    assert_int_equal(limit(&c), 5010);
    server_release(c.s);
}

static void test_ends_of_different_ages_tell_nothing(void **state)
{
    (void)state;
    struct scene c = make();
    for (unsigned i = 0; i < 20; i++)
        end(&c, i % 2 ? 3000 : 9000, 10 * SECOND);
    assert_int_equal(limit(&c), 0);
    server_release(c.s);
}

static void test_a_server_that_ends_all_at_once_has_told_no_limit(void **state)
{
    (void)state;
    struct scene c = make();
    for (unsigned i = 0; i < 64; i++)
        end(&c, 4000, i % 8 ? 0 : MS);
    assert_int_equal(limit(&c), 0);
    server_release(c.s);
}

static void test_connections_that_were_hardly_idle_tell_nothing(void **state)
{
    (void)state;
    struct scene c = make();
    for (unsigned i = 0; i < 20; i++)
        end(&c, KEEPALIVE_LEAST_MS - 1, SECOND);
    assert_int_equal(limit(&c), 0);
    server_release(c.s);
}

static void test_the_margin_is_a_tenth_within_bounds(void **state)
{
    (void)state;
    static const struct {
        msec_t limit, time;
    } table[] = {{250, 200}, {400, 350}, {1000, 900}, {5000, 4500}, {75000, 74000}};
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        struct scene c = make();
        learn(&c, table[i].limit);
        assert_int_equal(keepalive_time(c.s, 3600000, c.now), table[i].time);
        assert_int_equal(keepalive_time(c.s, 100, c.now), 100);
        server_release(c.s);
    }
}

static void test_the_smaller_of_what_is_said_and_seen_counts(void **state)
{
    (void)state;
    struct scene c = make();
    keepalive_told(c.s, 5000, c.now);
    assert_int_equal(limit(&c), 5000);
    learn(&c, 2000);
    keepalive_told(c.s, 1000, c.now);
    assert_int_equal(limit(&c), 1000);
    keepalive_told(c.s, 5000, c.now);
    assert_int_equal(limit(&c), 2000);
    server_release(c.s);
}

static void test_what_is_not_said_any_more_is_forgotten(void **state)
{
    (void)state;
    struct scene c = make();
    keepalive_told(c.s, 5000, c.now);
    for (unsigned i = 0; i < 20; i++) {
        c.now += KEEPALIVE_TOLD_FOR_US / 2;
        keepalive_told(c.s, 5000, c.now);
        assert_int_equal(limit(&c), 5000);
    }
    c.now += KEEPALIVE_TOLD_FOR_US + SECOND;
    assert_int_equal(limit(&c), 0);
    server_release(c.s);
}

static void test_a_limit_that_shrank_is_learnt_and_one_early_end_is_not(void **state)
{
    (void)state;
    struct scene c = make();
    learn(&c, 5000);
    end(&c, 1000, 10 * SECOND);
    assert_int_equal(limit(&c), 5000);
    end(&c, 4900, 10 * SECOND);
    assert_int_equal(limit(&c), 4900);
    end(&c, 1005, 10 * SECOND);
    assert_int_equal(limit(&c), 1000);
    server_release(c.s);
}

static void test_a_trial_now_and_then_lets_the_limit_grow_and_be_forgotten(void **state)
{
    (void)state;
    struct scene c = make();
    learn(&c, 5000);
    assert_int_equal(keepalive_try(c.s, 4500, 60000, c.now), 0);
    c.now += KEEPALIVE_TRY_US;
    assert_int_equal(keepalive_try(c.s, 4500, 60000, c.now), 5500);
    assert_int_equal(keepalive_try(c.s, 4500, 60000, c.now), 0); /* one at a time */
    keepalive_lasted(c.s, 10000, 60000);
    assert_int_equal(limit(&c), 10000);

    c.now += KEEPALIVE_TRY_US;
    assert_int_equal(keepalive_try(c.s, 9000, 15000, c.now), 6000);
    keepalive_lasted(c.s, 15000, 15000); /* as long as anybody wants: there is no limit */
    assert_int_equal(limit(&c), 0);
    server_release(c.s);
}

static void test_a_trial_that_the_server_ends_tells_its_new_limit(void **state)
{
    (void)state;
    struct scene c = make();
    learn(&c, 5000);
    end(&c, 5400, 10 * SECOND); /* a coarse clock of the server's: the smaller counts */
    assert_int_equal(limit(&c), 5000);
    end(&c, 9000, 10 * SECOND);
    assert_int_equal(limit(&c), 9000);
    server_release(c.s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_known_leaves_the_wish_alone),
        cmocka_unit_test(test_two_ends_of_about_the_same_age_tell_the_limit),
        cmocka_unit_test(test_ends_of_different_ages_tell_nothing),
        cmocka_unit_test(test_a_server_that_ends_all_at_once_has_told_no_limit),
        cmocka_unit_test(test_connections_that_were_hardly_idle_tell_nothing),
        cmocka_unit_test(test_the_margin_is_a_tenth_within_bounds),
        cmocka_unit_test(test_the_smaller_of_what_is_said_and_seen_counts),
        cmocka_unit_test(test_what_is_not_said_any_more_is_forgotten),
        cmocka_unit_test(test_a_limit_that_shrank_is_learnt_and_one_early_end_is_not),
        cmocka_unit_test(test_a_trial_now_and_then_lets_the_limit_grow_and_be_forgotten),
        cmocka_unit_test(test_a_trial_that_the_server_ends_tells_its_new_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
