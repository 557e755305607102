/* ring_hash, maglev and source_hash: keys stay where they are, and no server gets too much. */
#include "tests/unit/policy_fixture.h"

#include "balancer/hashing.h"

#define KEYS 100000u

static const struct policy *const hashing[] = {&policy_ring_hash, &policy_maglev, &policy_source_hash};

static void map(struct bench_tier *b, struct server **to)
{
    for (uint64_t k = 0; k < KEYS; k++)
        to[k] = tier_pick(b, 0, &(struct pick){.hash = key(k)});
}

/* The share of keys that moved, those of `gone` excepted. */
static double moved(struct server **before, struct server **after, const struct server *gone)
{
    size_t count = 0;
    for (size_t k = 0; k < KEYS; k++)
        count += before[k] != gone && before[k] != after[k];
    return (double)count / KEYS;
}

static void test_only_the_keys_of_a_server_that_leaves_move(void **state)
{
    (void)state;
    struct server **before = malloc(KEYS * sizeof *before), **after = malloc(KEYS * sizeof *after);
    for (size_t i = 0; i < COUNT_OF(hashing); i++) {
        struct bench_tier b;
        tier_make(&b, hashing[i], 100, NULL, 1);
        map(&b, before);

        tier_drop_states(&b);
        struct server *gone = b.servers[42];
        b.servers[42] = b.servers[99];
        b.tier.count = 99;
        tier_states(&b);
        map(&b, after);
        size_t lost = 0;
        for (size_t k = 0; k < KEYS; k++)
            lost += before[k] == gone;
        double others = moved(before, after, gone);
        print_message("%s: one of 100 servers leaves: %.2f %% of keys were its own, %.2f %% of others move\n",
                      b.policy->name, 100.0 * (double)lost / KEYS, 100 * others);
        assert_in_range(lost, KEYS / 200, KEYS / 50);
        if (i == 0)
            assert_true(others == 0);
        else
            assert_true(others < 0.012);
        server_release(gone);
        tier_free(&b);
    }
    free(before);
    free(after);
}

static void test_a_server_that_goes_down_moves_its_own_keys_alone_and_evenly(void **state)
{
    (void)state;
    struct server **before = malloc(KEYS * sizeof *before), **after = malloc(KEYS * sizeof *after);
    for (size_t i = 0; i < COUNT_OF(hashing); i++) {
        struct bench_tier b;
        size_t heirs[20] = {0}, lost = 0;
        tier_make(&b, hashing[i], 20, NULL, 1);
        map(&b, before);
        server_set_health(b.servers[7], HEALTH_DOWN, "test", 1);
        map(&b, after);
        assert_true(moved(before, after, b.servers[7]) == 0);
        for (size_t k = 0; k < KEYS; k++) {
            if (before[k] != b.servers[7])
                continue;
            lost++;
            heirs[tier_index(&b, after[k])]++;
        }
        for (size_t h = 0; h < 20; h++)
            assert_true(h == 7 ? heirs[h] == 0 : heirs[h] > lost / 60 && heirs[h] < lost / 7);

        server_set_health(b.servers[7], HEALTH_UP, "", 2);
        map(&b, after);
        assert_true(moved(before, after, NULL) == 0);
        tier_free(&b);
    }
    free(before);
    free(after);
}

static void test_the_order_of_the_list_and_the_worker_do_not_matter(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(hashing); i++) {
        struct bench_tier b;
        tier_make(&b, hashing[i], 30, NULL, 3);
        struct server *before[500];
        for (uint64_t k = 0; k < 500; k++)
            before[k] = tier_pick(&b, (unsigned)(k % 3), &(struct pick){.hash = key(k)});
        tier_drop_states(&b);
        for (size_t k = 0; k < 15; k++) {
            struct server *s = b.servers[k];
            b.servers[k] = b.servers[29 - k];
            b.servers[29 - k] = s;
        }
        tier_states(&b);
        for (uint64_t k = 0; k < 500; k++)
            assert_ptr_equal(tier_pick(&b, 0, &(struct pick){.hash = key(k)}), before[k]);
        tier_free(&b);
    }
}

static void test_a_server_that_starts_slowly_takes_always_the_same_share_of_its_keys(void **state)
{
    (void)state;
    struct server **before = malloc(KEYS * sizeof *before), **less = malloc(KEYS * sizeof *less);
    for (size_t i = 0; i < COUNT_OF(hashing); i++) {
        struct bench_tier b;
        uint32_t weights[10];
        size_t full = 0, kept = 0, strange = 0;
        for (size_t k = 0; k < 10; k++)
            weights[k] = 100;
        tier_make(&b, hashing[i], 10, weights, 1);
        map(&b, before);
        server_set_weight(b.servers[4], 25);
        map(&b, less);
        for (size_t k = 0; k < KEYS; k++) {
            full += before[k] == b.servers[4];
            kept += before[k] == b.servers[4] && less[k] == b.servers[4];
            strange += before[k] != b.servers[4] && less[k] != before[k];
        }
        assert_in_range(kept, full * 23 / 100, full * 27 / 100);
        assert_int_equal(strange, 0);

        /* With more weight it keeps what it has. */
        server_set_weight(b.servers[4], 60);
        for (uint64_t k = 0; k < KEYS; k++)
            if (less[k] == b.servers[4])
                assert_ptr_equal(tier_pick(&b, 0, &(struct pick){.hash = key(k)}), b.servers[4]);
        tier_free(&b);
    }
    free(before);
    free(less);
}

static size_t greatest(const struct bench_tier *b)
{
    size_t most = 0;
    for (size_t i = 0; i < b->tier.count; i++)
        if (server_in_flight(b->servers[i]) > most)
            most = server_in_flight(b->servers[i]);
    return most;
}

/* Every request has the same key, and stays. */
static void test_one_hot_key_cannot_take_a_server_above_its_bound(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        static const size_t counts[] = {10, 200};
        for (size_t c = 0; c < 2; c++) {
            struct bench_tier b;
            size_t n = counts[c];
            tier_make(&b, hashing[i], n, NULL, 2);
            for (size_t k = 1; k <= 40 * n; k++) {
                struct server *s = tier_pick(&b, (unsigned)(k % 2), &(struct pick){.hash = key(1)});
                server_begin(s);
                size_t bound = (k * 125 + n * 100 - 1) / (n * 100);
                if (c == 0 && server_in_flight(s) > bound)
                    fail_msg("%s: %u in flight of %zu at one of %zu servers", b.policy->name,
                             server_in_flight(s), k, n);
            }
            /* Many servers are added up now and then, not at each pick. */
            assert_in_range(greatest(&b), 40, c == 0 ? 50 : 60);
            tier_free(&b);
        }
    }
}

static void test_the_bound_counts_weights(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct bench_tier b;
        const uint32_t weights[] = {1, 1, 2, 4};
        tier_make(&b, hashing[i], 4, weights, 1);
        for (size_t k = 1; k <= 800; k++)
            server_begin(tier_pick(&b, 0, &(struct pick){.hash = key(k % 3)}));
        for (size_t k = 0; k < 4; k++)
            assert_in_range(server_in_flight(b.servers[k]), 0, 125 * weights[k] + 1);
        tier_free(&b);
    }
}

static void test_without_a_bound_a_key_keeps_its_server(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(hashing); i++) {
        struct bench_tier b;
        tier_make(&b, hashing[i], 10, NULL, 1);
        if (hashing[i] != &policy_source_hash) {
            tier_drop_states(&b);
            b.options.bound = 0;
            tier_states(&b);
        }
        struct server *first = tier_pick(&b, 0, &(struct pick){.hash = key(5)});
        for (size_t k = 0; k < 500; k++) {
            struct server *s = tier_pick(&b, 0, &(struct pick){.hash = key(5)});
            server_begin(s);
            assert_ptr_equal(s, first);
        }
        tier_free(&b);
    }
}

static void test_requests_without_a_key_are_spread(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(hashing); i++) {
        struct bench_tier b;
        size_t got[10] = {0};
        tier_make(&b, hashing[i], 10, NULL, 1);
        for (size_t k = 0; k < 10000; k++)
            got[tier_index(&b, tier_pick(&b, 0, &(struct pick){0}))]++;
        for (size_t k = 0; k < 10; k++)
            assert_in_range(got[k], 850, 1150);
        tier_free(&b);
    }
}

/* What was added up while all were down is nothing to divide by. */
static void test_a_server_that_comes_up_while_all_were_down_is_picked(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct bench_tier b;
        tier_make(&b, hashing[i], 100, NULL, 1);
        for (size_t k = 0; k < 100; k++)
            server_set_health(b.servers[k], HEALTH_DOWN, "test", 1);
        assert_null(tier_pick(&b, 0, &(struct pick){.hash = key(1)}));
        server_set_health(b.servers[7], HEALTH_UP, "", 2);
        assert_ptr_equal(tier_pick(&b, 0, &(struct pick){.hash = key(1)}), b.servers[7]);
        tier_free(&b);
    }
}

/* Great weights do not make great tables. */
static void test_great_weights_keep_their_shares(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(hashing); i++) {
        struct bench_tier b;
        uint32_t weights[40];
        for (size_t k = 0; k < 40; k++)
            weights[k] = k == 0 ? 65535 : 21845;
        tier_make(&b, hashing[i], 40, weights, 1);
        size_t *got = tier_count(&b, 84000);
        assert_in_range(got[0], 5400, 6600); /* 3 of 42 */
        for (size_t k = 1; k < 40; k++)
            assert_in_range(got[k], 1700, 2300);
        free(got);
        tier_free(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_the_keys_of_a_server_that_leaves_move),
        cmocka_unit_test(test_a_server_that_goes_down_moves_its_own_keys_alone_and_evenly),
        cmocka_unit_test(test_the_order_of_the_list_and_the_worker_do_not_matter),
        cmocka_unit_test(test_a_server_that_starts_slowly_takes_always_the_same_share_of_its_keys),
        cmocka_unit_test(test_one_hot_key_cannot_take_a_server_above_its_bound),
        cmocka_unit_test(test_the_bound_counts_weights),
        cmocka_unit_test(test_without_a_bound_a_key_keeps_its_server),
        cmocka_unit_test(test_requests_without_a_key_are_spread),
        cmocka_unit_test(test_a_server_that_comes_up_while_all_were_down_is_picked),
        cmocka_unit_test(test_great_weights_keep_their_shares),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
