#include "tests/unit/balancer_fixture.h"

#include "balancer/counters.h"

static void test_workers_counts_are_summed(void **state)
{
    (void)state;
    struct server_ids *ids = server_ids_create();
    struct server *s = server_create(ids, S("up"), S("127.0.0.1:1"));
    static struct counters tables[2];
    struct counters *const both[] = {&tables[0], &tables[1]};
    for (unsigned i = 0; i < 2; i++) {
        counters_init(&tables[i]);
        struct server_counters *c = counters_of(&tables[i], s);
        counter_add(&c->opened, 3);
        counters_response(c, 200, 400);
        counters_response(c, 418, 700);
        counters_response(c, 0, 100000000);
    }
    struct server_totals t;
    counters_sum(both, 2, s, &t);
    assert_int_equal(t.opened, 6);
    assert_int_equal(t.statuses[counters_status_slot(200)], 2);
    assert_int_equal(t.statuses[counters_status_slot(418)], 2);
    assert_int_equal(t.statuses[counters_status_slot(0)], 2);
    assert_int_equal(t.durations[0], 2);
    assert_int_equal(t.durations[1], 2);
    assert_int_equal(t.durations[COUNTERS_DURATIONS - 1], 2);
    assert_int_equal(t.duration_us, 2 * (400 + 700 + 100000000));
    counters_free(&tables[0]);
    counters_free(&tables[1]);
    server_release(s);
    server_ids_release(ids);
}

static void test_a_duration_is_in_the_bucket_of_its_size(void **state)
{
    (void)state;
    for (usec_t us = 0; us < 80000000; us += us / 97 + 1) {
        unsigned fine = counters_fine_slot(us), coarse = counters_duration_slot(us);
        assert_true(fine < COUNTERS_FINE && coarse < COUNTERS_DURATIONS);
        assert_true(!counters_fine_bound(fine) || us <= counters_fine_bound(fine));
        assert_true(fine == 0 || us > counters_fine_bound(fine - 1));
        assert_true(!counters_duration_bound(coarse) || us <= counters_duration_bound(coarse));
        assert_true(coarse == 0 || us > counters_duration_bound(coarse - 1));
    }
    assert_int_equal(counters_fine_slot(UINT64_MAX), COUNTERS_FINE - 1);
    for (unsigned i = 0; i + 1 < COUNTERS_FINE; i++) {
        assert_int_equal(counters_fine_slot(counters_fine_bound(i)), i);
        assert_int_equal(counters_fine_slot(counters_fine_bound(i) + 1), i + 1);
        assert_int_equal(counters_duration_slot(counters_fine_bound(i)), counters_fine_duration(i));
    }
    /* So fine that a percentile is off by an eighth at the most, from 50 us on. */
    for (unsigned i = 1; i + 4 < COUNTERS_FINE; i++)
        assert_true((double)counters_fine_bound(i) <= 1.29 * (double)counters_fine_bound(i - 1));
}

static void test_statuses_have_slots_of_their_own_or_their_classes(void **state)
{
    (void)state;
    assert_string_equal(counters_status_text(counters_status_slot(101)), "101");
    assert_string_equal(counters_status_text(counters_status_slot(200)), "200");
    assert_string_equal(counters_status_text(counters_status_slot(299)), "2xx");
    assert_string_equal(counters_status_text(counters_status_slot(418)), "4xx");
    assert_string_equal(counters_status_text(counters_status_slot(504)), "504");
    assert_string_equal(counters_status_text(counters_status_slot(505)), "5xx");
    assert_string_equal(counters_status_text(counters_status_slot(600)), "none");
    assert_null(counters_status_text(COUNTERS_STATUSES));
    for (unsigned i = 6; i < COUNTERS_STATUSES; i++)
        assert_int_equal(counters_status_slot((unsigned)atoi(counters_status_text(i))), i);
}

static void test_an_id_used_again_begins_at_zero(void **state)
{
    (void)state;
    struct server_ids *ids = server_ids_create();
    static struct counters table;
    struct counters *const one[] = {&table};
    struct server_totals t;
    counters_init(&table);
    struct server *a = server_create(ids, S("up"), S("127.0.0.1:1"));
    uint32_t id = a->id;
    counter_add(&counters_of(&table, a)->reused, 5);
    server_release(a);

    struct server *b = server_create(ids, S("up"), S("127.0.0.1:2"));
    assert_int_equal(b->id, id);
    counters_sum(one, 1, b, &t);
    assert_int_equal(t.reused, 0);
    counter_add(&counters_of(&table, b)->reused, 1);
    counters_sum(one, 1, b, &t);
    assert_int_equal(t.reused, 1);
    counters_free(&table);
    server_release(b);
    server_ids_release(ids);
}

static void test_ids_are_dense_and_the_lowest_free_one_is_given(void **state)
{
    (void)state;
    struct server_ids *ids = server_ids_create();
    struct server *s[600];
    for (uint32_t i = 0; i < COUNT_OF(s); i++) {
        s[i] = server_create(ids, S("up"), S("127.0.0.1:1"));
        assert_int_equal(s[i]->id, i);
    }
    server_release(s[70]);
    server_release(s[300]);
    s[70] = server_create(ids, S("up"), S("127.0.0.1:1"));
    s[300] = server_create(ids, S("up"), S("127.0.0.1:1"));
    assert_int_equal(s[70]->id, 70);
    assert_int_equal(s[300]->id, 300);
    assert_int_not_equal(s[70]->serial, 71);
    server_ids_release(ids);
    for (uint32_t i = 0; i < COUNT_OF(s); i++)
        server_release(s[i]);
}

struct reader {
    struct counters *table;
    struct server *server;
    _Atomic bool stop;
};

static void *read_on(void *argument)
{
    struct reader *r = argument;
    struct server_totals t;
    uint64_t last = 0;
    while (!atomic_load(&r->stop)) {
        counters_sum(&r->table, 1, r->server, &t);
        assert_true(t.opened >= last);
        last = t.opened;
    }
    return NULL;
}

static void test_another_thread_reads_while_the_worker_counts(void **state)
{
    (void)state;
    struct server_ids *ids = server_ids_create();
    struct server *s = server_create(ids, S("up"), S("127.0.0.1:1"));
    static struct counters table;
    counters_init(&table);
    struct reader r = {.table = &table, .server = s};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, read_on, &r), 0);
    for (int i = 0; i < 100000; i++)
        counter_add(&counters_of(&table, s)->opened, 1);
    atomic_store(&r.stop, true);
    pthread_join(thread, NULL);
    counters_free(&table);
    server_release(s);
    server_ids_release(ids);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_workers_counts_are_summed),
        cmocka_unit_test(test_a_duration_is_in_the_bucket_of_its_size),
        cmocka_unit_test(test_statuses_have_slots_of_their_own_or_their_classes),
        cmocka_unit_test(test_an_id_used_again_begins_at_zero),
        cmocka_unit_test(test_ids_are_dense_and_the_lowest_free_one_is_given),
        cmocka_unit_test(test_another_thread_reads_while_the_worker_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
