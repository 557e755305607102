#include "tests/unit/balancer_fixture.h"

/* The last byte of the port tells the server: 127.0.0.1:1 is `a`, :2 is `b`. */
static void picks(struct upstream *u, unsigned worker, const struct pick *p, size_t count, char *out)
{
    for (size_t i = 0; i < count; i++) {
        enum pick_failure why;
        struct server *s = upstream_pick(u, u->set, worker, p, &why);
        out[i] = s ? (char)('a' + (s->name.at[s->name.len - 1] - '1')) : '-';
        if (s)
            upstream_done(u, u->set, 0, s, NULL);
    }
    out[count] = '\0';
}

static const struct pick any = {0};

static void check_order(const char *text, const char *expected)
{
    struct fixture f;
    char got[64];
    fixture_make(&f, text, NULL, 1);
    picks(f.upstream, 0, &any, strlen(expected), got);
    assert_string_equal(got, expected);
    fixture_free(&f);
}

static void test_weights_are_spread_smoothly(void **state)
{
    (void)state;
    check_order("servers: [{address: 127.0.0.1:1, weight: 5}, 127.0.0.1:2, 127.0.0.1:3]", "aabacaaaabacaa");
    check_order("servers: [127.0.0.1:1, 127.0.0.1:2, 127.0.0.1:3]", "abcabc");
    check_order("servers: [{address: 127.0.0.1:1, weight: 2}, 127.0.0.1:2]", "abaaba");
    check_order("servers: [127.0.0.1:1, {address: 127.0.0.1:2, weight: 0}]", "aaa");
    check_order("servers: [127.0.0.1:1]", "aaa");
}

static void test_a_server_that_is_down_or_drained_gets_nothing(void **state)
{
    (void)state;
    struct fixture f;
    char got[16];
    fixture_make(&f, "servers: [127.0.0.1:1, 127.0.0.1:2, 127.0.0.1:3]", NULL, 1);

    server_set_health(fixture_server(&f, "127.0.0.1:2"), HEALTH_DOWN, "test", 1);
    picks(f.upstream, 0, &any, 4, got);
    assert_string_equal(got, "acac");

    server_set_admin(fixture_server(&f, "127.0.0.1:1"), ADMIN_DRAIN);
    picks(f.upstream, 0, &any, 3, got);
    assert_string_equal(got, "ccc");

    server_set_admin(fixture_server(&f, "127.0.0.1:3"), ADMIN_DOWN);
    enum pick_failure why;
    assert_null(upstream_pick(f.upstream, f.upstream->set, 0, &any, &why));
    assert_int_equal(why, PICK_NONE_UP);
    assert_int_equal(upstream_state(f.upstream), PICK_NONE_UP);
    fixture_free(&f);
}

static void test_a_server_that_comes_back_gets_no_more_than_its_share(void **state)
{
    (void)state;
    struct fixture f;
    char got[64];
    fixture_make(&f, "servers: [127.0.0.1:1, 127.0.0.1:2]", NULL, 1);
    struct server *b = fixture_server(&f, "127.0.0.1:2");
    server_set_health(b, HEALTH_DOWN, "test", 1);
    picks(f.upstream, 0, &any, 33, got);

    server_set_health(b, HEALTH_UP, "", 2);
    picks(f.upstream, 0, &any, 8, got);
    unsigned count = 0;
    for (size_t i = 0; i < 8; i++)
        count += got[i] == 'b';
    assert_int_equal(count, 4);
    fixture_free(&f);
}

static void test_a_weight_set_by_hand_counts_at_once(void **state)
{
    (void)state;
    struct fixture f;
    char got[16];
    fixture_make(&f, "servers: [127.0.0.1:1, 127.0.0.1:2]", NULL, 1);
    server_set_weight(fixture_server(&f, "127.0.0.1:1"), 3);
    picks(f.upstream, 0, &any, 8, got);
    assert_string_equal(got, "aabaaaba");
    fixture_free(&f);
}

static void test_a_backup_is_used_only_when_no_primary_is_up(void **state)
{
    (void)state;
    struct fixture f;
    char got[16];
    fixture_make(&f, "servers: [{address: 127.0.0.1:1, backup: true}, 127.0.0.1:2, 127.0.0.1:3]", NULL, 1);
    picks(f.upstream, 0, &any, 4, got);
    assert_string_equal(got, "bcbc");

    server_set_health(fixture_server(&f, "127.0.0.1:2"), HEALTH_DOWN, "test", 1);
    server_set_health(fixture_server(&f, "127.0.0.1:3"), HEALTH_DOWN, "test", 1);
    picks(f.upstream, 0, &any, 2, got);
    assert_string_equal(got, "aa");

    server_set_health(fixture_server(&f, "127.0.0.1:3"), HEALTH_UP, "", 2);
    picks(f.upstream, 0, &any, 2, got);
    assert_string_equal(got, "cc");
    fixture_free(&f);
}

static void test_a_server_that_was_tried_is_not_picked_again(void **state)
{
    (void)state;
    struct fixture f;
    char got[16];
    fixture_make(&f, "servers: [127.0.0.1:1, 127.0.0.1:2]", NULL, 1);
    struct server *tried[] = {fixture_server(&f, "127.0.0.1:1"), fixture_server(&f, "127.0.0.1:2")};

    picks(f.upstream, 0, &(struct pick){.tried = tried, .tried_count = 1}, 3, got);
    assert_string_equal(got, "bbb");

    enum pick_failure why;
    assert_null(upstream_pick(f.upstream, f.upstream->set, 0,
                              &(struct pick){.tried = tried, .tried_count = 2}, &why));
    assert_int_equal(why, PICK_ALL_TRIED);
    fixture_free(&f);
}

static void test_a_backup_is_the_next_when_every_primary_was_tried(void **state)
{
    (void)state;
    struct fixture f;
    char got[16];
    fixture_make(&f, "servers: [127.0.0.1:1, {address: 127.0.0.1:2, backup: true}]", NULL, 1);
    struct server *tried[] = {fixture_server(&f, "127.0.0.1:1")};
    picks(f.upstream, 0, &(struct pick){.tried = tried, .tried_count = 1}, 1, got);
    assert_string_equal(got, "b");
    fixture_free(&f);
}

static void test_workers_start_at_different_servers(void **state)
{
    (void)state;
    struct fixture f;
    char got[4][8];
    fixture_make(&f, "servers: [127.0.0.1:1, 127.0.0.1:2, 127.0.0.1:3]", NULL, 4);
    for (unsigned w = 0; w < 4; w++)
        picks(f.upstream, w, &any, 3, got[w]);
    assert_string_equal(got[0], "abc");
    assert_string_equal(got[1], "bca");
    assert_string_equal(got[2], "cab");
    assert_string_equal(got[3], "abc");
    fixture_free(&f);
}

static void test_picks_count_in_flight_until_done(void **state)
{
    (void)state;
    struct fixture f;
    fixture_make(&f, "servers: [127.0.0.1:1]", NULL, 1);
    struct server *s = upstream_pick(f.upstream, f.upstream->set, 0, &any, NULL);
    upstream_pick(f.upstream, f.upstream->set, 0, &any, NULL);
    assert_int_equal(server_in_flight(s), 2);
    upstream_done(f.upstream, f.upstream->set, 0, s, NULL);
    upstream_done(f.upstream, f.upstream->set, 0, s, NULL);
    assert_int_equal(server_in_flight(s), 0);
    fixture_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_weights_are_spread_smoothly),
        cmocka_unit_test(test_a_server_that_is_down_or_drained_gets_nothing),
        cmocka_unit_test(test_a_server_that_comes_back_gets_no_more_than_its_share),
        cmocka_unit_test(test_a_weight_set_by_hand_counts_at_once),
        cmocka_unit_test(test_a_backup_is_used_only_when_no_primary_is_up),
        cmocka_unit_test(test_a_server_that_was_tried_is_not_picked_again),
        cmocka_unit_test(test_a_backup_is_the_next_when_every_primary_was_tried),
        cmocka_unit_test(test_workers_start_at_different_servers),
        cmocka_unit_test(test_picks_count_in_flight_until_done),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
