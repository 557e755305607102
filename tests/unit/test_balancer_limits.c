#include "tests/unit/balancer_fixture.h"

#define ROUNDS 20000

static const struct pick any = {0};

struct load {
    struct upstream *upstream;
    unsigned worker;
    _Atomic unsigned *highest;
    unsigned picked, busy;
};

static void note_highest(_Atomic unsigned *highest, unsigned now)
{
    unsigned known = atomic_load(highest);
    while (now > known && !atomic_compare_exchange_weak(highest, &known, now))
        ;
}

/* Holds two at a time, of a server that allows three to both threads. */
static void *run_load(void *argument)
{
    struct load *l = argument;
    for (int i = 0; i < ROUNDS; i++) {
        struct server *held[2];
        for (int k = 0; k < 2; k++) {
            enum pick_failure why;
            held[k] = upstream_pick(l->upstream, l->upstream->set, l->worker, &any, &why);
            l->picked += held[k] != NULL;
            l->busy += !held[k] && why == PICK_ALL_BUSY;
            if (held[k])
                note_highest(l->highest, server_in_flight(held[k]));
        }
        for (int k = 0; k < 2; k++)
            if (held[k])
                upstream_done(l->upstream, l->upstream->set, 0, held[k], NULL);
    }
    return NULL;
}

static void check_two_threads(const char *text)
{
    struct fixture f;
    _Atomic unsigned highest = 0;
    fixture_make(&f, text, NULL, 2);
    struct load loads[2] = {{f.upstream, 0, &highest, 0, 0}, {f.upstream, 1, &highest, 0, 0}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_load, &loads[i]), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_in_range(highest, 2, 3);
    for (int i = 0; i < 2; i++)
        assert_int_equal(loads[i].picked + loads[i].busy, 2 * ROUNDS);
    assert_int_equal(server_in_flight(f.upstream->set->servers[0]), 0);
    fixture_free(&f);
}

static void test_max_connections_is_never_exceeded_by_two_workers(void **state)
{
    (void)state;
    check_two_threads("servers: [{address: 127.0.0.1:1, max_connections: 3}]");
    check_two_threads("{balance: least_connections, servers: [{address: 127.0.0.1:1, max_connections: 3}]}");
}

struct changer {
    struct fixture *fixture;
    _Atomic bool stop;
};

/* The control thread: checks, the API and a reload's settings, as fast as it can. */
static void *run_changes(void *argument)
{
    struct changer *c = argument;
    struct server *s = c->fixture->upstream->set->servers[1];
    for (unsigned i = 0; !atomic_load(&c->stop); i++) {
        struct server_report r;
        server_set_health(s, i & 1 ? HEALTH_DOWN : HEALTH_UP, "flapping", i);
        server_set_weight(s, i % 4);
        server_set_admin(s, i & 2 ? ADMIN_DRAIN : ADMIN_UP);
        server_configure(s, 1 + i % 3, i % 2 ? 2 : 0, false);
        server_report(s, &r);
    }
    return NULL;
}

static void test_workers_pick_while_the_state_changes(void **state)
{
    (void)state;
    struct fixture f;
    _Atomic unsigned highest = 0;
    fixture_make(&f, "servers: [127.0.0.1:1, 127.0.0.1:2]", NULL, 2);
    struct load loads[2] = {{f.upstream, 0, &highest, 0, 0}, {f.upstream, 1, &highest, 0, 0}};
    struct changer changer = {.fixture = &f};
    pthread_t threads[3];
    assert_int_equal(pthread_create(&threads[2], NULL, run_changes, &changer), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_load, &loads[i]), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    atomic_store(&changer.stop, true);
    pthread_join(threads[2], NULL);

    /* The one that never changes can take every request. */
    for (int i = 0; i < 2; i++)
        assert_int_equal(loads[i].picked, 2 * ROUNDS);
    assert_int_equal(server_in_flight(f.upstream->set->servers[0]), 0);
    assert_int_equal(server_in_flight(f.upstream->set->servers[1]), 0);
    fixture_free(&f);
}

static void test_a_full_server_is_passed_over(void **state)
{
    (void)state;
    struct fixture f;
    fixture_make(&f, "servers: [{address: 127.0.0.1:1, max_connections: 1}, 127.0.0.1:2]", NULL, 1);
    struct server *a = fixture_server(&f, "127.0.0.1:1");
    for (int i = 0; i < 5; i++)
        assert_non_null(upstream_pick(f.upstream, f.upstream->set, 0, &any, NULL));
    assert_int_equal(server_in_flight(a), 1);
    assert_int_equal(server_in_flight(fixture_server(&f, "127.0.0.1:2")), 4);
    fixture_free(&f);
}

static void test_full_primaries_are_busy_and_do_not_spill_over_to_backups(void **state)
{
    (void)state;
    struct fixture f;
    enum pick_failure why;
    fixture_make(
        &f, "servers: [{address: 127.0.0.1:1, max_connections: 1}, {address: 127.0.0.1:2, backup: true}]",
        NULL, 1);
    struct server *a = upstream_pick(f.upstream, f.upstream->set, 0, &any, &why);
    assert_non_null(a);
    assert_null(upstream_pick(f.upstream, f.upstream->set, 0, &any, &why));
    assert_int_equal(why, PICK_ALL_BUSY);
    assert_int_equal(upstream_state(f.upstream), PICK_ALL_BUSY);

    upstream_done(f.upstream, f.upstream->set, 0, a, NULL);
    assert_ptr_equal(upstream_pick(f.upstream, f.upstream->set, 0, &any, &why), a);
    assert_int_equal(why, PICK_OK);
    fixture_free(&f);
}

static void test_a_session_pinned_to_a_full_server_is_refused(void **state)
{
    (void)state;
    struct fixture f;
    fixture_make(&f, "servers: [{address: 127.0.0.1:1, max_connections: 1}]", NULL, 1);
    struct server *a = fixture_server(&f, "127.0.0.1:1");
    assert_true(upstream_begin(f.upstream, a));
    assert_false(upstream_begin(f.upstream, a));
    assert_int_equal(server_in_flight(a), 1);
    fixture_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_max_connections_is_never_exceeded_by_two_workers),
        cmocka_unit_test(test_workers_pick_while_the_state_changes),
        cmocka_unit_test(test_a_full_server_is_passed_over),
        cmocka_unit_test(test_full_primaries_are_busy_and_do_not_spill_over_to_backups),
        cmocka_unit_test(test_a_session_pinned_to_a_full_server_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
