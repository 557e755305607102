/* Sticky sessions: tokens, and whether a session's server still takes it. */
#include "tests/unit/balancer_fixture.h"

#include "balancer/sticky.h"

static const char settings[] =
    "{sticky: {cookie: id}, servers: [127.0.0.1:1, 127.0.0.1:2, {address: 127.0.0.1:3, max_connections: 1}]}";

static void check_tokens(const char *text, const char *name, char *out)
{
    struct fixture f;
    fixture_make(&f, text, NULL, 1);
    struct server *s = fixture_server(&f, name);
    struct slice token = sticky_token(f.upstream->set->sticky, s);
    assert_int_equal(token.len, STICKY_TOKEN);
    assert_ptr_equal(sticky_find(f.upstream->set->sticky, token), s);
    snprintf(out, STICKY_TOKEN + 1, "%.*s", SLICE_FMT(token));
    fixture_free(&f);
}

static void test_a_token_outlives_restarts_and_other_lists(void **state)
{
    (void)state;
    char one[STICKY_TOKEN + 1], two[STICKY_TOKEN + 1];
    check_tokens(settings, "127.0.0.1:2", one);
    check_tokens("{sticky: {cookie: id}, servers: [a:1, 127.0.0.1:9, 127.0.0.1:2]}", "127.0.0.1:2", two);
    assert_string_equal(one, two);
}

static void test_a_token_is_of_one_server_cookie_and_secret(void **state)
{
    (void)state;
    static const char *const others[] = {
        "{sticky: {cookie: id}, servers: [127.0.0.1:3]}",
        "{sticky: {cookie: id2}, servers: [127.0.0.1:2]}",
        "{sticky: {cookie: id, secret: x}, servers: [127.0.0.1:2]}",
        "{sticky: {cookie: id, secret: y}, servers: [127.0.0.1:2]}",
    };
    char tokens[5][STICKY_TOKEN + 1];
    check_tokens(settings, "127.0.0.1:2", tokens[4]);
    for (size_t i = 0; i < COUNT_OF(others); i++) {
        check_tokens(others[i], i == 0 ? "127.0.0.1:3" : "127.0.0.1:2", tokens[i]);
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(tokens[i], tokens[k]);
        assert_string_not_equal(tokens[i], tokens[4]);
    }
}

static void test_what_is_no_token_finds_nothing(void **state)
{
    (void)state;
    struct fixture f;
    fixture_make(&f, settings, NULL, 1);
    const struct sticky_tokens *t = f.upstream->set->sticky;
    assert_null(sticky_find(t, S("")));
    assert_null(sticky_find(t, S("127.0.0.1:1")));
    assert_null(sticky_find(t, S("AAAAAAAAAAAAAAAAAAAAAA")));
    assert_null(sticky_find(t, S("AAAAAAAAAAAAAAAAAAAAAAA")));
    fixture_free(&f);
}

static struct server *pick_for(struct fixture *f, const char *name)
{
    enum pick_failure why;
    const struct pick p = {.prefer = fixture_server(f, name)};
    struct server *s = upstream_pick(f->upstream, f->upstream->set, 0, &p, &why);
    assert_non_null(s);
    upstream_done(f->upstream, f->upstream->set, 0, s, NULL);
    return s;
}

static void test_a_session_stays_while_its_server_is_drained(void **state)
{
    (void)state;
    struct fixture f;
    fixture_make(&f, settings, NULL, 1);
    struct server *s = fixture_server(&f, "127.0.0.1:2");
    for (int i = 0; i < 5; i++)
        assert_ptr_equal(pick_for(&f, "127.0.0.1:2"), s);

    server_set_admin(s, ADMIN_DRAIN);
    assert_ptr_equal(pick_for(&f, "127.0.0.1:2"), s);
    server_set_admin(s, ADMIN_UP);
    server_set_weight(s, 0);
    assert_ptr_equal(pick_for(&f, "127.0.0.1:2"), s);
    for (int i = 0; i < 5; i++)
        assert_ptr_not_equal(pick_for(&f, "127.0.0.1:1"), s);
    fixture_free(&f);
}

static void test_a_session_whose_server_cannot_take_it_gets_another(void **state)
{
    (void)state;
    struct fixture f;
    fixture_make(&f, settings, NULL, 1);
    struct server *s = fixture_server(&f, "127.0.0.1:3");

    server_set_health(s, HEALTH_DOWN, "test", 1);
    assert_ptr_not_equal(pick_for(&f, "127.0.0.1:3"), s);
    server_set_health(s, HEALTH_UP, "", 2);
    server_set_admin(s, ADMIN_DOWN);
    assert_ptr_not_equal(pick_for(&f, "127.0.0.1:3"), s);
    server_set_admin(s, ADMIN_UP);
    assert_ptr_equal(pick_for(&f, "127.0.0.1:3"), s);

    server_begin(s); /* full */
    assert_ptr_not_equal(pick_for(&f, "127.0.0.1:3"), s);
    server_end(s);

    atomic_store(&s->suspect_until_us, 1000);
    assert_ptr_not_equal(pick_for(&f, "127.0.0.1:3"), s);
    atomic_store(&s->suspect_until_us, 0);

    server_set_weight(s, 0);
    assert_ptr_equal(pick_for(&f, "127.0.0.1:3"), s);
    atomic_store(&s->ejected, true);
    assert_ptr_not_equal(pick_for(&f, "127.0.0.1:3"), s);

    struct server *tried[] = {s};
    const struct pick p = {.prefer = s, .tried = tried, .tried_count = 1};
    enum pick_failure why;
    struct server *other = upstream_pick(f.upstream, f.upstream->set, 0, &p, &why);
    assert_ptr_not_equal(other, s);
    upstream_done(f.upstream, f.upstream->set, 0, other, NULL);
    fixture_free(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_token_outlives_restarts_and_other_lists),
        cmocka_unit_test(test_a_token_is_of_one_server_cookie_and_secret),
        cmocka_unit_test(test_what_is_no_token_finds_nothing),
        cmocka_unit_test(test_a_session_stays_while_its_server_is_drained),
        cmocka_unit_test(test_a_session_whose_server_cannot_take_it_gets_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
