#include "tests/unit/balancer_fixture.h"

static const struct pick any = {0};

/* Picks without ever being done; the servers' in-flight counts in the file's order. */
static void load(struct fixture *f, unsigned workers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        assert_non_null(upstream_pick(f->upstream, f->upstream->set, (unsigned)(i % workers), &any, NULL));
}

static void unload(struct fixture *f)
{
    for (size_t i = 0; i < f->upstream->set->count; i++)
        while (server_in_flight(f->upstream->set->servers[i]))
            upstream_done(f->upstream, f->upstream->set, 0, f->upstream->set->servers[i], NULL);
}

static void test_requests_in_flight_follow_the_weights_over_all_workers(void **state)
{
    (void)state;
    struct fixture f;
    fixture_make(&f,
                 "{balance: least_connections, servers: [{address: 127.0.0.1:1, weight: 4}, 127.0.0.1:2, "
                 "{address: 127.0.0.1:3, weight: 2}]}",
                 NULL, 3);
    load(&f, 3, 70);
    assert_int_equal(server_in_flight(f.upstream->set->servers[0]), 40);
    assert_int_equal(server_in_flight(f.upstream->set->servers[1]), 10);
    assert_int_equal(server_in_flight(f.upstream->set->servers[2]), 20);
    unload(&f);
    fixture_free(&f);
}

static void test_the_least_loaded_is_chosen(void **state)
{
    (void)state;
    struct fixture f;
    fixture_make(&f, "{balance: least_connections, servers: [127.0.0.1:1, 127.0.0.1:2, 127.0.0.1:3]}", NULL,
                 1);
    load(&f, 1, 9);
    upstream_done(f.upstream, f.upstream->set, 0, f.upstream->set->servers[1], NULL);
    upstream_done(f.upstream, f.upstream->set, 0, f.upstream->set->servers[1], NULL);
    assert_ptr_equal(upstream_pick(f.upstream, f.upstream->set, 0, &any, NULL), f.upstream->set->servers[1]);
    assert_ptr_equal(upstream_pick(f.upstream, f.upstream->set, 0, &any, NULL), f.upstream->set->servers[1]);
    assert_int_equal(server_in_flight(f.upstream->set->servers[1]), 3);
    unload(&f);
    fixture_free(&f);
}

static void test_equal_servers_take_turns(void **state)
{
    (void)state;
    struct fixture f;
    fixture_make(&f, "{balance: least_connections, servers: [127.0.0.1:1, 127.0.0.1:2, 127.0.0.1:3]}", NULL,
                 1);
    unsigned got[3] = {0};
    for (unsigned i = 0; i < 30; i++) {
        struct server *s = upstream_pick(f.upstream, f.upstream->set, 0, &any, NULL);
        for (size_t k = 0; k < 3; k++)
            got[k] += s == f.upstream->set->servers[k];
        upstream_done(f.upstream, f.upstream->set, 0, s, NULL);
    }
    for (size_t k = 0; k < 3; k++)
        assert_int_equal(got[k], 10);
    fixture_free(&f);
}

static void test_down_and_tried_servers_get_nothing(void **state)
{
    (void)state;
    struct fixture f;
    fixture_make(&f, "{balance: least_connections, servers: [127.0.0.1:1, 127.0.0.1:2, 127.0.0.1:3]}", NULL,
                 1);
    server_set_health(f.upstream->set->servers[0], HEALTH_DOWN, "test", 1);
    struct server *tried[] = {f.upstream->set->servers[1]};
    const struct pick p = {.tried = tried, .tried_count = 1};
    for (int i = 0; i < 4; i++)
        assert_ptr_equal(upstream_pick(f.upstream, f.upstream->set, 0, &p, NULL),
                         f.upstream->set->servers[2]);
    unload(&f);
    fixture_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests_in_flight_follow_the_weights_over_all_workers),
        cmocka_unit_test(test_the_least_loaded_is_chosen),
        cmocka_unit_test(test_equal_servers_take_turns),
        cmocka_unit_test(test_down_and_tried_servers_get_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
