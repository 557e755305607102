/* Eviction policies, the ghost queue and the doorkeeper: who goes when, by hand-made sequences. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>

#include "cache/doorkeeper.h"
#include "cache/miniature.h"

#define SECOND UINT64_C(1000)
#define START  UINT64_C(1000000)

enum { NODES = 200 };

struct fixture {
    struct cache_policy policy;
    struct cache_policy_node nodes[NODES];
    msec_t now;
};

/* Hashes as a keyed hash gives them. */
static uint64_t hash_of(uint64_t key)
{
    uint64_t x = key * UINT64_C(0x9e3779b97f4a7c15) + 1;
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static void set_up(struct fixture *f, const struct cache_policy_ops *ops)
{
    cache_policy_init(&f->policy, ops);
    f->now = START;
    for (size_t i = 0; i < NODES; i++)
        cache_policy_node_init(&f->nodes[i], hash_of(i), 1);
}

static void insert(struct fixture *f, size_t node)
{
    cache_policy_insert(&f->policy, &f->nodes[node], f->now);
}

static void insert_many(struct fixture *f, size_t first, size_t count)
{
    for (size_t i = first; i < first + count; i++)
        insert(f, i);
}

/* As a worker does that hands in each promotion at once. */
static void hit(struct fixture *f, size_t node, unsigned times)
{
    for (unsigned i = 0; i < times; i++) {
        f->now += SECOND;
        if (cache_policy_touch(&f->policy, &f->nodes[node], f->now))
            cache_policy_promote(&f->policy, &f->nodes[node]);
    }
}

static size_t victim(struct fixture *f)
{
    struct cache_policy_node *n = cache_policy_victim(&f->policy);
    assert_non_null(n);
    assert_int_equal(n->queue, CACHE_POLICY_NONE);
    return (size_t)(n - f->nodes);
}

static void assert_victims(struct fixture *f, const size_t *expected, size_t count)
{
    for (size_t i = 0; i < count; i++)
        assert_int_equal(victim(f), expected[i]);
}

#define ASSERT_VICTIMS(f, ...)                                                                               \
    assert_victims(f, (const size_t[]){__VA_ARGS__}, sizeof((const size_t[]){__VA_ARGS__}) / sizeof(size_t))

static size_t in_main(const struct fixture *f)
{
    return f->policy.queues[CACHE_POLICY_MAIN].count;
}

/* Every policy. */

static void test_an_empty_policy_has_no_victim(void **state)
{
    (void)state;
    for (size_t i = 0; i < CACHE_POLICIES; i++) {
        struct fixture f;
        set_up(&f, cache_policies[i]);
        assert_null(cache_policy_victim(&f.policy));
        insert(&f, 0);
        assert_int_equal(victim(&f), 0);
        assert_null(cache_policy_victim(&f.policy));
        cache_policy_clear(&f.policy);
    }
}

static void test_the_bytes_are_those_of_the_nodes_whatever_happens_to_them(void **state)
{
    (void)state;
    for (size_t policy = 0; policy < CACHE_POLICIES; policy++) {
        struct fixture f;
        set_up(&f, cache_policies[policy]);
        uint64_t random = 42;
        for (unsigned step = 0; step < 200000; step++) {
            random = hash_of(random);
            struct cache_policy_node *n = &f.nodes[random % NODES];
            switch (random >> 32 & 7) {
            case 0:
            case 1:
                if (n->queue == CACHE_POLICY_NONE) {
                    n->bytes = random >> 40 & 0xffff;
                    cache_policy_insert(&f.policy, n, f.now);
                }
                break;
            case 2:
                cache_policy_remove(&f.policy, n);
                break;
            case 3:
                cache_policy_resize(&f.policy, n, random >> 40 & 0xffff);
                break;
            case 4:
                cache_policy_victim(&f.policy);
                break;
            default:
                hit(&f, random % NODES, 1); /* of one that went, too: the promotion comes too late */
            }
            if (step % 1000 == 999)
                cache_policy_change(&f.policy, cache_policies[(step / 1000 + policy) % 2]);
            uint64_t bytes = 0;
            size_t count = 0;
            for (size_t i = 0; i < NODES; i++)
                if (f.nodes[i].queue != CACHE_POLICY_NONE) {
                    assert_true(list_linked(&f.nodes[i].link));
                    bytes += f.nodes[i].bytes;
                    count++;
                } else {
                    assert_false(list_linked(&f.nodes[i].link));
                }
            assert_int_equal(cache_policy_bytes(&f.policy), bytes);
            assert_int_equal(cache_policy_count(&f.policy), count);
        }
        cache_policy_clear(&f.policy);
    }
}

static void test_a_removed_node_is_no_victim_and_a_late_promotion_does_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < CACHE_POLICIES; i++) {
        struct fixture f;
        set_up(&f, cache_policies[i]);
        insert_many(&f, 0, 3);
        cache_policy_remove(&f.policy, &f.nodes[0]);
        cache_policy_remove(&f.policy, &f.nodes[0]);
        cache_policy_promote(&f.policy, &f.nodes[0]);
        ASSERT_VICTIMS(&f, 1, 2);
        cache_policy_promote(&f.policy, &f.nodes[1]);
        assert_null(cache_policy_victim(&f.policy));
        cache_policy_clear(&f.policy);
    }
}

/* lru. */

static void test_lru_the_least_recently_used_goes_first(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f, &cache_policy_lru);
    insert_many(&f, 0, 5);
    hit(&f, 1, 1);
    hit(&f, 0, 1);
    ASSERT_VICTIMS(&f, 2, 3, 4, 1, 0);
    assert_int_equal(cache_policy_overhead(&f.policy), 0);
    cache_policy_clear(&f.policy);
}

static void test_lru_a_node_asks_for_one_promotion_in_its_time(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f, &cache_policy_lru);
    insert(&f, 0);
    assert_false(cache_policy_touch(&f.policy, &f.nodes[0], START + CACHE_POLICY_PROMOTE_MS - 1));
    assert_true(cache_policy_touch(&f.policy, &f.nodes[0], START + CACHE_POLICY_PROMOTE_MS));
    assert_false(cache_policy_touch(&f.policy, &f.nodes[0], START + 2 * CACHE_POLICY_PROMOTE_MS - 1));
    assert_true(cache_policy_touch(&f.policy, &f.nodes[0], START + 2 * CACHE_POLICY_PROMOTE_MS));
    cache_policy_clear(&f.policy);
}

static void test_lru_knows_the_time_across_the_wrap_of_its_stamp(void **state)
{
    (void)state;
    const msec_t starts[] = {UINT32_MAX - UINT64_C(10), 5 * (UINT32_MAX + UINT64_C(1)) + 10};
    for (size_t i = 0; i < COUNT_OF(starts); i++) {
        struct fixture f;
        set_up(&f, &cache_policy_lru);
        f.now = starts[i];
        insert(&f, 0);
        assert_false(cache_policy_touch(&f.policy, &f.nodes[0], f.now + 100));
        assert_true(cache_policy_touch(&f.policy, &f.nodes[0], f.now + CACHE_POLICY_PROMOTE_MS));
        cache_policy_clear(&f.policy);
    }
}

/* s3fifo. */

/* 90 in the main queue, 10 in the small one. */
static void fill_s3fifo(struct fixture *f)
{
    set_up(f, &cache_policy_lru);
    insert_many(f, 0, 90);
    cache_policy_change(&f->policy, &cache_policy_s3fifo);
    assert_int_equal(in_main(f), 90);
    insert_many(f, 100, 10);
}

static void test_s3fifo_what_is_asked_for_once_more_goes_and_what_is_twice_stays(void **state)
{
    (void)state;
    struct fixture f;
    fill_s3fifo(&f);
    hit(&f, 100, 1); /* one hit is not enough */
    hit(&f, 101, 2);
    hit(&f, 102, 3);
    assert_int_equal(victim(&f), 100);
    insert_many(&f, 110, 4);
    assert_int_equal(victim(&f), 103);
    assert_int_equal(f.nodes[101].queue, CACHE_POLICY_MAIN);
    assert_int_equal(f.nodes[102].queue, CACHE_POLICY_MAIN);
    assert_int_equal(f.nodes[101].freq, 0); /* the move forgets */
    cache_policy_clear(&f.policy);
}

static void test_s3fifo_the_main_queue_gives_when_the_small_one_has_less_than_a_tenth(void **state)
{
    (void)state;
    struct fixture f;
    fill_s3fifo(&f);
    assert_int_equal(victim(&f), 100); /* 10 of 100 */
    assert_int_equal(victim(&f), 0);   /* 9 of 99 */
    assert_int_equal(victim(&f), 1);   /* 9 of 98 */
    cache_policy_clear(&f.policy);
}

static void test_s3fifo_a_tenth_is_of_bytes(void **state)
{
    (void)state;
    struct fixture f;
    fill_s3fifo(&f);
    for (size_t i = 0; i < 5; i++)
        cache_policy_remove(&f.policy, &f.nodes[105 + i]);
    assert_int_equal(victim(&f), 0); /* 5 bytes of 95 */
    cache_policy_resize(&f.policy, &f.nodes[104], 100);
    assert_int_equal(victim(&f), 100); /* 104 of 193 */
    cache_policy_clear(&f.policy);
}

static void test_s3fifo_what_comes_again_soon_goes_into_the_main_queue(void **state)
{
    (void)state;
    struct fixture f;
    fill_s3fifo(&f);
    assert_int_equal(victim(&f), 100);
    insert(&f, 100);
    assert_int_equal(f.nodes[100].queue, CACHE_POLICY_MAIN);
    cache_policy_remove(&f.policy, &f.nodes[100]); /* purged, not evicted: the ghost queue has it no more */
    insert(&f, 100);
    assert_int_equal(f.nodes[100].queue, CACHE_POLICY_SMALL);
    cache_policy_clear(&f.policy);
}

static void test_s3fifo_a_hit_in_the_main_queue_is_one_round_more_and_three_are_three_at_most(void **state)
{
    (void)state;
    struct fixture f;
    fill_s3fifo(&f);
    for (size_t i = 0; i < 10; i++)
        cache_policy_remove(&f.policy, &f.nodes[100 + i]);
    for (size_t i = 4; i < 90; i++)
        cache_policy_remove(&f.policy, &f.nodes[i]);
    hit(&f, 0, 100);
    hit(&f, 1, 1);
    assert_int_equal(f.nodes[0].freq, CACHE_POLICY_FREQ_MAX);
    ASSERT_VICTIMS(&f, 2, 3, 1, 0);
    cache_policy_clear(&f.policy);
}

static void test_s3fifo_one_search_sends_no_more_than_a_thousand_round(void **state)
{
    (void)state;
    enum { MANY = 5000 };
    struct cache_policy p;
    struct cache_policy_node *nodes = calloc(MANY, sizeof *nodes);
    assert_non_null(nodes);
    cache_policy_init(&p, &cache_policy_lru);
    for (size_t i = 0; i < MANY; i++) {
        cache_policy_node_init(&nodes[i], hash_of(i), 1);
        cache_policy_insert(&p, &nodes[i], START);
    }
    cache_policy_change(&p, &cache_policy_s3fifo);
    for (size_t i = 0; i < MANY; i++)
        for (unsigned times = 0; times < 3; times++)
            cache_policy_touch(&p, &nodes[i], START);
    assert_ptr_equal(cache_policy_victim(&p), &nodes[1000]);
    cache_policy_clear(&p);
    free(nodes);
}

static void test_s3fifo_one_search_lets_no_more_than_a_thousand_into_the_main_queue(void **state)
{
    (void)state;
    enum { MANY = 5000 };
    struct cache_policy p;
    struct cache_policy_node *nodes = calloc(MANY, sizeof *nodes);
    assert_non_null(nodes);
    cache_policy_init(&p, &cache_policy_s3fifo);
    for (size_t i = 0; i < MANY; i++) {
        cache_policy_node_init(&nodes[i], hash_of(i), 1);
        cache_policy_insert(&p, &nodes[i], START);
        for (unsigned times = 0; times < 3; times++)
            cache_policy_touch(&p, &nodes[i], START);
    }
    assert_non_null(cache_policy_victim(&p));
    assert_int_equal(p.queues[CACHE_POLICY_SMALL].count, MANY - 1000);
    for (size_t i = 1; i < MANY; i++)
        assert_non_null(cache_policy_victim(&p));
    assert_null(cache_policy_victim(&p));
    cache_policy_clear(&p);
    free(nodes);
}

static void test_s3fifo_never_asks_for_a_promotion_and_writes_nothing_when_nothing_changes(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f, &cache_policy_s3fifo);
    insert(&f, 0);
    for (unsigned i = 0; i < 10; i++)
        assert_false(cache_policy_touch(&f.policy, &f.nodes[0], START + i * SECOND));
    assert_int_equal(f.nodes[0].freq, 3);
    assert_int_equal((uint32_t)START, f.nodes[0].promoted_ms);
    cache_policy_clear(&f.policy);
}

static void test_what_s3fifo_remembers_stays_within_what_is_said(void **state)
{
    (void)state;
    enum { MANY = 20000 };
    struct miniature m;
    assert_int_equal(miniature_init(&m, &cache_policy_s3fifo, MANY, MANY), 0);
    for (uint64_t i = 0; i < 10 * MANY; i++) {
        miniature_access(&m, hash_of(i), 1, START);
        assert_true(cache_policy_overhead(&m.policy) <= 512 + 20 * (i + 1));
        assert_true(cache_policy_overhead(&m.policy) <= 512 + 20 * MANY);
    }
    assert_true(cache_policy_overhead(&m.policy) > 5 * MANY);
    miniature_clear(&m);
}

/* Miniatures. */

static void test_a_miniature_never_holds_more_than_its_capacity_or_its_nodes(void **state)
{
    (void)state;
    for (size_t policy = 0; policy < CACHE_POLICIES; policy++) {
        struct miniature m;
        assert_int_equal(miniature_init(&m, cache_policies[policy], 10000, 100), 0);
        size_t bytes = miniature_bytes(&m);
        for (uint64_t i = 0; i < 100000; i++) {
            uint64_t key = hash_of(i) % 500, size = hash_of(i / 1000 + key) % (i % 500 ? 120 : 12000);
            miniature_access(&m, hash_of(key), size, START);
            assert_in_range(cache_policy_bytes(&m.policy), 0, 10000);
            assert_in_range(cache_policy_count(&m.policy), 0, 100);
        }
        assert_true(m.evicted > 0 && m.crowded);
        assert_int_equal(miniature_bytes(&m) - cache_policy_overhead(&m.policy), bytes);
        miniature_clear(&m);
    }
}

static void test_an_object_of_another_size_keeps_its_place_in_a_miniature(void **state)
{
    (void)state;
    struct miniature m;
    assert_int_equal(miniature_init(&m, &cache_policy_lru, 100, 10), 0);
    assert_false(miniature_access(&m, hash_of(1), 20, START));
    assert_false(miniature_access(&m, hash_of(2), 20, START));
    assert_true(miniature_access(&m, hash_of(1), 70, START));
    assert_int_equal(cache_policy_bytes(&m.policy), 90);
    assert_false(miniature_access(&m, hash_of(3), 20, START)); /* 1 is still the oldest */
    assert_int_equal(cache_policy_bytes(&m.policy), 40);
    assert_true(miniature_access(&m, hash_of(3), 101, START)); /* and now it is too large, alone */
    assert_int_equal(cache_policy_bytes(&m.policy), 20);
    assert_true(miniature_access(&m, hash_of(2), 20, START));
    assert_false(miniature_access(&m, hash_of(3), 20, START));
    miniature_clear(&m);
}

/* A change of policy. */

static void test_changing_the_policy_keeps_the_order_from_lru_to_s3fifo(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f, &cache_policy_lru);
    insert_many(&f, 0, 5);
    hit(&f, 0, 4);
    cache_policy_change(&f.policy, &cache_policy_s3fifo);
    ASSERT_VICTIMS(&f, 1, 2, 3, 4, 0);
    cache_policy_clear(&f.policy);
}

static void test_changing_the_policy_keeps_the_order_from_s3fifo_to_lru(void **state)
{
    (void)state;
    struct fixture f;
    fill_s3fifo(&f);
    for (size_t i = 3; i < 90; i++)
        cache_policy_remove(&f.policy, &f.nodes[i]);
    hit(&f, 101, 2);
    cache_policy_change(&f.policy, &cache_policy_lru);
    ASSERT_VICTIMS(&f, 100, 102, 103, 104, 105, 106, 107, 108, 109, 0, 1, 2, 101);
    assert_int_equal(cache_policy_overhead(&f.policy), 0);
    cache_policy_clear(&f.policy);
}

/* Threads that touch at once. */

struct toucher {
    struct fixture *fixture;
    unsigned promotions;
};

static void *touch_all(void *argument)
{
    struct toucher *t = argument;
    for (unsigned round = 0; round < 1000; round++)
        for (size_t i = 0; i < NODES; i++)
            t->promotions += cache_policy_touch(&t->fixture->policy, &t->fixture->nodes[i], START + round);
    return NULL;
}

static void test_many_threads_touch_at_once(void **state)
{
    (void)state;
    for (size_t policy = 0; policy < CACHE_POLICIES; policy++) {
        struct fixture f;
        struct toucher touchers[4] = {{&f, 0}, {&f, 0}, {&f, 0}, {&f, 0}};
        pthread_t threads[4];
        set_up(&f, cache_policies[policy]);
        insert_many(&f, 0, NODES);
        for (size_t i = 0; i < 4; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, touch_all, &touchers[i]), 0);
        for (size_t i = 0; i < 4; i++) {
            pthread_join(threads[i], NULL);
            assert_int_equal(touchers[i].promotions, 0); /* all within the first second */
        }
        for (size_t i = 0; i < NODES; i++)
            assert_int_equal(f.nodes[i].freq, f.policy.ops == &cache_policy_s3fifo ? 3 : 0);
        cache_policy_clear(&f.policy);
    }
}

/* The ghost queue. */

static void test_the_ghost_queue_has_the_last_entries_and_gives_each_once(void **state)
{
    (void)state;
    struct ghost g;
    ghost_init(&g);
    assert_false(ghost_take(&g, hash_of(0)));
    enum { LIMIT = 1000, INSERTED = 5000 };
    for (uint64_t i = 0; i < INSERTED; i++)
        ghost_insert(&g, hash_of(i), LIMIT);
    size_t lost = 0;
    for (uint64_t i = 0; i < INSERTED - LIMIT; i++)
        assert_false(ghost_take(&g, hash_of(i)));
    for (uint64_t i = INSERTED - LIMIT; i < INSERTED; i++) {
        lost += !ghost_take(&g, hash_of(i));
        assert_false(ghost_take(&g, hash_of(i)));
    }
    assert_true(lost < LIMIT / 20);
    ghost_clear(&g);
}

static void test_the_ghost_queue_keeps_its_entries_when_it_grows_and_forgets_when_it_shrinks(void **state)
{
    (void)state;
    struct ghost g;
    ghost_init(&g);
    for (uint64_t i = 0; i < 4000; i++)
        ghost_insert(&g, hash_of(i), i + 1);
    size_t small = ghost_bytes(&g), kept = 0;
    assert_in_range(small, 4000 * 32 / 3, 4000 * 64 / 3);
    ghost_insert(&g, hash_of(4000), 100000);
    assert_true(ghost_bytes(&g) > small);
    for (uint64_t i = 0; i < 4000; i += 2)
        kept += ghost_take(&g, hash_of(i));
    assert_true(kept > 1800);
    ghost_insert(&g, hash_of(4001), 1000);
    assert_true(ghost_bytes(&g) < small);
    kept = 0;
    for (uint64_t i = 1; i < 4000; i += 2) {
        bool there = ghost_take(&g, hash_of(i));
        assert_true(!there || i > 4001 - 1000);
        kept += there;
    }
    assert_in_range(kept, 400, 500);
    ghost_clear(&g);
}

/* The doorkeeper. */

static void test_the_doorkeeper_knows_who_comes_again(void **state)
{
    (void)state;
    struct doorkeeper d;
    doorkeeper_init(&d, 1024);
    assert_int_equal(doorkeeper_bytes(&d), 0);
    assert_false(doorkeeper_seen(&d, hash_of(1)));
    assert_false(doorkeeper_seen(&d, hash_of(2)));
    assert_true(doorkeeper_seen(&d, hash_of(1)));
    assert_true(doorkeeper_seen(&d, hash_of(1)));
    doorkeeper_clear(&d);
}

static void test_the_doorkeeper_forgets_and_its_memory_is_bounded(void **state)
{
    (void)state;
    struct doorkeeper d;
    doorkeeper_init(&d, 1024);
    doorkeeper_seen(&d, hash_of(0));
    size_t bytes = doorkeeper_bytes(&d);
    assert_in_range(bytes, 1024 * 32 / 3, 1024 * 64 / 3);
    size_t lost = 0;
    for (uint64_t i = 1; i < 100000; i++) {
        assert_false(doorkeeper_seen(&d, hash_of(i)));
        if (i % 1000 == 500)
            lost += !doorkeeper_seen(&d, hash_of(i - 450));
        assert_int_equal(doorkeeper_bytes(&d), bytes);
    }
    assert_true(lost < 10); /* of a hundred */
    assert_false(doorkeeper_seen(&d, hash_of(0)));
    doorkeeper_clear(&d);
}

/* One in four million is expected; two million strangers make five at most but once in a hundred million. */
static void test_the_doorkeeper_takes_few_strangers_for_friends(void **state)
{
    (void)state;
    struct doorkeeper d;
    doorkeeper_init(&d, 1024);
    size_t wrong = 0;
    for (uint64_t i = 0; i < 2000000; i++)
        wrong += doorkeeper_seen(&d, hash_of(i));
    assert_in_range(wrong, 0, 5);
    doorkeeper_clear(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_empty_policy_has_no_victim),
        cmocka_unit_test(test_the_bytes_are_those_of_the_nodes_whatever_happens_to_them),
        cmocka_unit_test(test_a_removed_node_is_no_victim_and_a_late_promotion_does_nothing),
        cmocka_unit_test(test_lru_the_least_recently_used_goes_first),
        cmocka_unit_test(test_lru_a_node_asks_for_one_promotion_in_its_time),
        cmocka_unit_test(test_lru_knows_the_time_across_the_wrap_of_its_stamp),
        cmocka_unit_test(test_s3fifo_what_is_asked_for_once_more_goes_and_what_is_twice_stays),
        cmocka_unit_test(test_s3fifo_the_main_queue_gives_when_the_small_one_has_less_than_a_tenth),
        cmocka_unit_test(test_s3fifo_a_tenth_is_of_bytes),
        cmocka_unit_test(test_s3fifo_what_comes_again_soon_goes_into_the_main_queue),
        cmocka_unit_test(test_s3fifo_a_hit_in_the_main_queue_is_one_round_more_and_three_are_three_at_most),
        cmocka_unit_test(test_s3fifo_one_search_sends_no_more_than_a_thousand_round),
        cmocka_unit_test(test_s3fifo_one_search_lets_no_more_than_a_thousand_into_the_main_queue),
        cmocka_unit_test(test_s3fifo_never_asks_for_a_promotion_and_writes_nothing_when_nothing_changes),
        cmocka_unit_test(test_what_s3fifo_remembers_stays_within_what_is_said),
        cmocka_unit_test(test_a_miniature_never_holds_more_than_its_capacity_or_its_nodes),
        cmocka_unit_test(test_an_object_of_another_size_keeps_its_place_in_a_miniature),
        cmocka_unit_test(test_changing_the_policy_keeps_the_order_from_lru_to_s3fifo),
        cmocka_unit_test(test_changing_the_policy_keeps_the_order_from_s3fifo_to_lru),
        cmocka_unit_test(test_many_threads_touch_at_once),
        cmocka_unit_test(test_the_ghost_queue_has_the_last_entries_and_gives_each_once),
        cmocka_unit_test(test_the_ghost_queue_keeps_its_entries_when_it_grows_and_forgets_when_it_shrinks),
        cmocka_unit_test(test_the_doorkeeper_knows_who_comes_again),
        cmocka_unit_test(test_the_doorkeeper_forgets_and_its_memory_is_bounded),
        cmocka_unit_test(test_the_doorkeeper_takes_few_strangers_for_friends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
