/* Zones: servers of weir's own come first, the others when none of those can take it, backups last. */
#include "tests/unit/balancer_fixture.h"

static const char settings[] = "{prefer_zone: a, servers: [{address: 127.0.0.1:1, zone: b},"
                               "{address: 127.0.0.1:2, zone: a, max_connections: 1}, 127.0.0.1:3,"
                               "{address: 127.0.0.1:4, zone: b, backup: true},"
                               "{address: 127.0.0.1:5, zone: a, backup: true}]}";

static struct server *pick(struct fixture *f)
{
    enum pick_failure why;
    return upstream_pick(f->upstream, f->upstream->set, 0, &(struct pick){0}, &why);
}

static void done(struct fixture *f, struct server *s)
{
    upstream_done(f->upstream, f->upstream->set, 0, s, NULL);
}

static void down(struct fixture *f, const char *name)
{
    server_set_health(fixture_server(f, name), HEALTH_DOWN, "test", 1);
}

/* Which servers get the next requests, one after the other; each is done at once. */
static void check(struct fixture *f, const char *one, const char *other)
{
    unsigned got = 0;
    for (int i = 0; i < 6; i++) {
        struct server *s = pick(f);
        assert_non_null(s);
        got |= s == fixture_server(f, one) ? 1 : s == fixture_server(f, other) ? 2 : 4;
        done(f, s);
    }
    assert_int_equal(got, strcmp(one, other) == 0 ? 1 : 3);
}

static void test_the_own_zone_comes_first_then_others_then_backups(void **state)
{
    (void)state;
    struct fixture f;
    fixture_make(&f, settings, NULL, 1);
    check(&f, "127.0.0.1:2", "127.0.0.1:2");
    down(&f, "127.0.0.1:2");
    check(&f, "127.0.0.1:1", "127.0.0.1:3");
    down(&f, "127.0.0.1:1");
    down(&f, "127.0.0.1:3");
    check(&f, "127.0.0.1:5", "127.0.0.1:5");
    down(&f, "127.0.0.1:5");
    check(&f, "127.0.0.1:4", "127.0.0.1:4");
    fixture_free(&f);
}

static void test_a_full_zone_lets_requests_go_to_the_others_but_not_to_backups(void **state)
{
    (void)state;
    struct fixture f;
    enum pick_failure why;
    fixture_make(&f, settings, NULL, 1);
    struct server *near = pick(&f);
    assert_ptr_equal(near, fixture_server(&f, "127.0.0.1:2"));
    check(&f, "127.0.0.1:1", "127.0.0.1:3");

    down(&f, "127.0.0.1:1");
    down(&f, "127.0.0.1:3");
    assert_null(upstream_pick(f.upstream, f.upstream->set, 0, &(struct pick){0}, &why));
    assert_int_equal(why, PICK_ALL_BUSY);
    assert_int_equal(upstream_state(f.upstream), PICK_ALL_BUSY);
    done(&f, near);
    check(&f, "127.0.0.1:2", "127.0.0.1:2");
    fixture_free(&f);
}

static void test_without_a_preference_zones_do_not_matter(void **state)
{
    (void)state;
    struct fixture f;
    fixture_make(&f,
                 "{prefer_zone: '', servers: [{address: 127.0.0.1:1, zone: b}, "
                 "{address: 127.0.0.1:2, zone: a}]}",
                 NULL, 1);
    check(&f, "127.0.0.1:1", "127.0.0.1:2");
    fixture_free(&f);
}

static void test_more_weight_by_hand_counts_once_the_upstream_is_reweighed(void **state)
{
    (void)state;
    struct fixture f;
    size_t got = 0;
    fixture_make(&f, "{balance: random_two, servers: [127.0.0.1:1, 127.0.0.1:2]}", NULL, 2);
    server_set_weight(fixture_server(&f, "127.0.0.1:2"), 9);
    assert_int_equal(upstream_reweigh(f.upstream), 0);
    for (int i = 0; i < 1000; i++) {
        struct server_set *set = upstream_enter(f.upstream, 1);
        enum pick_failure why;
        struct server *s = upstream_pick(f.upstream, set, 1, &(struct pick){0}, &why);
        got += s == fixture_server(&f, "127.0.0.1:2");
        upstream_done(f.upstream, set, 1, s, NULL);
        upstream_leave(f.upstream, set, 1);
    }
    assert_in_range(got, 860, 940);
    fixture_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_own_zone_comes_first_then_others_then_backups),
        cmocka_unit_test(test_a_full_zone_lets_requests_go_to_the_others_but_not_to_backups),
        cmocka_unit_test(test_without_a_preference_zones_do_not_matter),
        cmocka_unit_test(test_more_weight_by_hand_counts_once_the_upstream_is_reweighed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
