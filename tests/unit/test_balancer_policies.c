/* What every policy owes: shares by weight, evenness over workers, no herd, nothing for a server that is
 * down. Random draws are seeded, so that these never fail by chance. */
#include "tests/unit/policy_fixture.h"

#include "balancer/edf.h"

static const struct {
    const struct policy *policy;
    double off; /* by how much of its share a server of a hundred may be off */
} policies[] = {
    {&policy_round_robin, 0.01}, {&policy_least_connections, 0.12}, {&policy_random_two, 0.12},
    {&policy_ewma, 0.12},        {&policy_ring_hash, 0.35},         {&policy_maglev, 0.12},
    {&policy_source_hash, 0.12},
};

static bool is(size_t i, const struct policy *policy)
{
    return policies[i].policy == policy;
}

static void check_shares(const struct bench_tier *b, const size_t *got, size_t requests, double off)
{
    double total = 0;
    for (size_t i = 0; i < b->tier.count; i++)
        total += server_weight(b->servers[i]);
    for (size_t i = 0; i < b->tier.count; i++) {
        double share = (double)requests * server_weight(b->servers[i]) / total;
        double wrong = ((double)got[i] - share) / (share > 0 ? share : 1);
        if (wrong > off || wrong < -off)
            fail_msg("%s: server %zu of %zu got %zu, its share is %.0f", b->policy->name, i, b->tier.count,
                     got[i], share);
    }
}

static void test_every_policy_gives_shares_by_weight(void **state)
{
    (void)state;
    static const size_t counts[] = {3, 20, 100};
    for (size_t i = 0; i < COUNT_OF(policies); i++) {
        for (size_t c = 0; c < COUNT_OF(counts); c++) {
            /* Idle servers of one after the other: the least loaded is the heaviest. */
            if (is(i, &policy_least_connections) && counts[c] <= 64)
                continue;
            struct bench_tier b;
            uint32_t weights[100];
            for (size_t k = 0; k < counts[c]; k++)
                weights[k] = 1 + (uint32_t)(k % 3);
            tier_make(&b, policies[i].policy, counts[c], weights, 1);
            size_t *got = tier_count(&b, 200000);
            check_shares(&b, got, 200000, policies[i].off);
            free(got);
            tier_free(&b);
        }
    }
}

/* Requests that stay: as many more as there are in flight already. */
static void test_what_is_in_flight_follows_the_weights(void **state)
{
    (void)state;
    static const struct policy *const by_load[] = {&policy_least_connections, &policy_random_two};
    static const size_t counts[] = {10, 100};
    for (size_t i = 0; i < 4; i++) {
        struct bench_tier b;
        uint32_t weights[100];
        for (size_t k = 0; k < counts[i % 2]; k++)
            weights[k] = k % 2 ? 3 : 1;
        tier_make(&b, by_load[i / 2], counts[i % 2], weights, 2);
        size_t each = 300, requests = counts[i % 2] * 2 * each, *got = calloc(101, sizeof *got);
        for (size_t k = 0; k < requests; k++) {
            struct server *s = tier_pick(&b, (unsigned)(k % 2), &(struct pick){0});
            server_begin(s);
            got[tier_index(&b, s)]++;
        }
        check_shares(&b, got, requests, 0.05);
        free(got);
        tier_free(&b);
    }
}

static void test_workers_together_are_even(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(policies); i++) {
        struct bench_tier b;
        tier_make(&b, policies[i].policy, 100, NULL, 8);
        size_t *got = tier_count(&b, 200000);
        check_shares(&b, got, 200000, policies[i].off);
        free(got);
        tier_free(&b);
    }
}

/* After a reload or a start every worker has made a few picks: they must not be of the same servers. */
static void test_workers_start_elsewhere(void **state)
{
    (void)state;
    static const struct policy *const own[] = {&policy_round_robin, &policy_least_connections,
                                               &policy_random_two, &policy_ewma};
    for (size_t i = 0; i < COUNT_OF(own); i++) {
        struct bench_tier b;
        size_t distinct = 0, got[100] = {0};
        tier_make(&b, own[i], 100, NULL, 8);
        for (unsigned w = 0; w < 8; w++)
            got[tier_index(&b, tier_pick(&b, w, &(struct pick){0}))]++;
        for (size_t k = 0; k < 100; k++)
            distinct += got[k] != 0;
        assert_in_range(distinct, 6, 8);
        tier_free(&b);
    }
}

static void test_what_is_down_tried_or_full_is_not_picked(void **state)
{
    (void)state;
    static const size_t counts[] = {4, 100};
    for (size_t i = 0; i < COUNT_OF(policies) * 2; i++) {
        struct bench_tier b;
        tier_make(&b, policies[i / 2].policy, counts[i % 2], NULL, 1);
        struct server *tried[] = {b.servers[0]};
        for (size_t k = 2; k < counts[i % 2]; k++)
            server_set_health(b.servers[k], HEALTH_DOWN, "test", 1);
        for (size_t k = 0; k < 50; k++) {
            struct pick p = {.tried = tried, .tried_count = 1, .hash = key(k)};
            assert_ptr_equal(tier_pick(&b, 0, &p), b.servers[1]);
        }
        server_configure(b.servers[1], 1, 1, false);
        server_begin(b.servers[1]);
        for (size_t k = 0; k < 50; k++)
            assert_ptr_equal(tier_pick(&b, 0, &(struct pick){.hash = key(k)}), b.servers[0]);
        server_set_admin(b.servers[0], ADMIN_DRAIN);
        assert_null(tier_pick(&b, 0, &(struct pick){.hash = key(1)}));
        assert_null(tier_pick(&b, 0, &(struct pick){0}));
        server_end(b.servers[1]);
        tier_free(&b);
    }
}

/* A server that was down while others got thousands takes its share from now on, not what it has missed. */
static void test_a_server_that_returns_is_not_overrun(void **state)
{
    (void)state;
    static const size_t counts[] = {10, 100};
    for (size_t i = 0; i < COUNT_OF(policies) * 2; i++) {
        struct bench_tier b;
        size_t n = counts[i % 2], got = 0, requests = 40 * n;
        tier_make(&b, policies[i / 2].policy, n, NULL, 1);
        server_set_health(b.servers[5], HEALTH_DOWN, "test", 1);
        free(tier_count(&b, 5000));
        server_set_health(b.servers[5], HEALTH_UP, "", 2);
        for (size_t k = 0; k < requests; k++)
            got += tier_pick(&b, 0, &(struct pick){.hash = key(k + 77777)}) == b.servers[5];
        if (got < 15 || got > 70)
            fail_msg("%s of %zu: %zu requests for one that returned, 40 are its share",
                     policies[i / 2].policy->name, n, got);
        tier_free(&b);
    }
}

static void test_all_that_return_at_once_are_not_taken_in_a_row(void **state)
{
    (void)state;
    struct bench_tier b;
    tier_make(&b, &policy_round_robin, 200, NULL, 1);
    for (size_t i = 100; i < 200; i++)
        server_set_health(b.servers[i], HEALTH_DOWN, "test", 1);
    free(tier_count(&b, 3000));
    for (size_t i = 100; i < 200; i++)
        server_set_health(b.servers[i], HEALTH_UP, "", 2);
    size_t returned = 0;
    for (size_t i = 0; i < 100; i++)
        returned += tier_index(&b, tier_pick(&b, 0, &(struct pick){0})) >= 100;
    assert_in_range(returned, 25, 75);
    tier_free(&b);
}

/* Less weight counts at once, in every policy. */
static void test_less_weight_by_hand_counts_at_once(void **state)
{
    (void)state;
    static const size_t counts[] = {10, 100};
    for (size_t i = 0; i < COUNT_OF(policies) * 2; i++) {
        if (is(i / 2, &policy_least_connections) && i % 2 == 0)
            continue;
        struct bench_tier b;
        size_t n = counts[i % 2];
        uint32_t weights[100];
        for (size_t k = 0; k < n; k++)
            weights[k] = 4;
        tier_make(&b, policies[i / 2].policy, n, weights, 1);
        free(tier_count(&b, 100));
        server_set_weight(b.servers[3], 1);
        size_t *got = tier_count(&b, 2000 * n);
        double share = 2000.0 * (double)n * 1 / (4 * (double)n - 3);
        if ((double)got[3] < share * 0.5 || (double)got[3] > share * 1.5)
            fail_msg("%s of %zu: got %zu, the new share is %.0f", policies[i / 2].policy->name, n, got[3],
                     share);
        server_set_weight(b.servers[3], 0);
        size_t *then = tier_count(&b, 1000);
        assert_int_equal(then[3], 0);
        free(got);
        free(then);
        tier_free(&b);
    }
}

/* Round robin looks at weights as it goes; the others with the next table. */
static void test_more_weight_by_hand_counts_soon(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(policies); i++) {
        struct bench_tier b;
        tier_make(&b, policies[i].policy, 100, NULL, 1);
        free(tier_count(&b, 150));
        server_set_weight(b.servers[3], 100);
        if (policies[i].policy->share) {
            tier_drop_states(&b);
            tier_states(&b);
        }
        size_t *got = tier_count(&b, 20000);
        if (got[3] < 7500 || got[3] > 12500)
            fail_msg("%s: got %zu, about half are its share", policies[i].policy->name, got[3]);
        free(got);
        tier_free(&b);
    }
}

static void test_round_robin_of_many_is_as_smooth_as_of_few(void **state)
{
    (void)state;
    struct bench_tier b;
    uint32_t weights[100];
    size_t last[100] = {0};
    for (size_t i = 0; i < 100; i++)
        weights[i] = i == 0 ? 100 : 1;
    tier_make(&b, &policy_round_robin, 100, weights, 1);
    /* Weight 100 of 199: every second pick, give or take one; weight 1: once in 199. */
    for (size_t k = 1; k < 5000; k++) {
        size_t i = tier_index(&b, tier_pick(&b, 0, &(struct pick){0}));
        size_t gap = k - last[i];
        if (last[i] && i == 0 && gap > 3)
            fail_msg("pick %zu: the heavy one waited for %zu picks", k, gap);
        if (last[i] && i != 0 && (gap < 190 || gap > 210))
            fail_msg("pick %zu: server %zu came after %zu picks", k, i, gap);
        last[i] = k;
    }
    tier_free(&b);
}

/* A worker's round robin over many servers counts time up; the count may not run over after months. */
static void test_round_robin_of_many_goes_on_for_years(void **state)
{
    (void)state;
    struct bench_tier b;
    tier_make(&b, &policy_round_robin, 100, NULL, 1);
    struct edf *turns = b.states[0]; /* its state begins with them */
    edf_advance(turns, (uint64_t)0 - (UINT64_MAX - 50 * edf_step(SERVER_WEIGHT_SCALE)));
    size_t *got = tier_count(&b, 20000);
    for (size_t i = 0; i < 100; i++)
        assert_in_range(got[i], 199, 201);
    free(got);
    tier_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_policy_gives_shares_by_weight),
        cmocka_unit_test(test_what_is_in_flight_follows_the_weights),
        cmocka_unit_test(test_workers_together_are_even),
        cmocka_unit_test(test_workers_start_elsewhere),
        cmocka_unit_test(test_what_is_down_tried_or_full_is_not_picked),
        cmocka_unit_test(test_a_server_that_returns_is_not_overrun),
        cmocka_unit_test(test_all_that_return_at_once_are_not_taken_in_a_row),
        cmocka_unit_test(test_less_weight_by_hand_counts_at_once),
        cmocka_unit_test(test_more_weight_by_hand_counts_soon),
        cmocka_unit_test(test_round_robin_of_many_is_as_smooth_as_of_few),
        cmocka_unit_test(test_round_robin_of_many_goes_on_for_years),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
