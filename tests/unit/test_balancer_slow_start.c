#include "tests/unit/balancer_fixture.h"

#include "balancer/group.h"
#include "core/log.h"

#define SECOND UINT64_C(1000000)
#define PICKS  20000u

struct bench {
    struct loop loop;
    struct server_registry *registry;
    struct fixture f;
    struct server_group *group;
    usec_t now_us;
};

static void set_up(struct bench *b, const char *text)
{
    memset(b, 0, sizeof *b);
    log_set(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    assert_int_equal(loop_init(&b->loop, 1), 0);
    b->registry = registry_create(&(struct registry_options){.loop = &b->loop, .tls_worker = 1});
    fixture_make(&b->f, text, b->registry, 1);
    assert_int_equal(upstream_activate(b->f.upstream), 0);
    b->group = registry_group(b->registry, S("up"));
    b->now_us = 1000 * SECOND;
}

static void tear_down(struct bench *b)
{
    upstream_deactivate(b->f.upstream);
    registry_free(b->registry);
    loop_free(&b->loop);
    fixture_free(&b->f);
}

static void pass(struct bench *b, usec_t us)
{
    const struct group_watch w = {.argument = b};
    b->now_us += us;
    group_tick(b->group, b->now_us, &w);
}

static struct server *server(struct bench *b, unsigned number)
{
    char name[32];
    snprintf(name, sizeof name, "127.0.0.1:%u", number);
    return fixture_server(&b->f, name);
}

static void check_weight(struct bench *b, unsigned number, uint32_t expected)
{
    assert_int_equal(server_weight(server(b, number)), expected);
}

static void test_at_the_start_all_have_their_whole_weight(void **state)
{
    (void)state;
    struct bench b;
    set_up(&b, "{servers: ['127.0.0.1:1', {address: '127.0.0.1:2', weight: 3}], slow_start: 10s}");
    check_weight(&b, 1, SERVER_WEIGHT_SCALE);
    check_weight(&b, 2, 3 * SERVER_WEIGHT_SCALE);
    pass(&b, SECOND);
    check_weight(&b, 2, 3 * SERVER_WEIGHT_SCALE);
    tear_down(&b);
}

static void test_a_server_that_comes_back_grows_evenly(void **state)
{
    (void)state;
    struct bench b;
    set_up(&b, "{servers: ['127.0.0.1:1', {address: '127.0.0.1:2', weight: 4}], slow_start: 10s}");
    pass(&b, SECOND);
    server_set_health(server(&b, 2), HEALTH_DOWN, "bad", 1);
    check_weight(&b, 2, 0);
    server_set_health(server(&b, 2), HEALTH_UP, "", 1);
    check_weight(&b, 2, 4 * SERVER_RAMP_LEAST);
    pass(&b, SECOND / 10); /* from here on */
    check_weight(&b, 2, 4 * SERVER_RAMP_LEAST);
    pass(&b, 5 * SECOND);
    check_weight(&b, 2, 2 * SERVER_WEIGHT_SCALE);
    assert_true(group_watched(b.group));
    struct server_report r;
    server_report(server(&b, 2), &r);
    assert_int_equal(r.weight, 4);
    assert_int_equal(r.ramp, SERVER_WEIGHT_SCALE / 2);
    pass(&b, 5 * SECOND);
    check_weight(&b, 2, 4 * SERVER_WEIGHT_SCALE);
    assert_false(b.group->restless);
    tear_down(&b);
}

static void test_every_way_back_is_slow(void **state)
{
    (void)state;
    struct bench b;
    set_up(&b, "{servers: ['127.0.0.1:1', '127.0.0.1:2'], slow_start: 10s, outlier: true}");
    struct server *s = server(&b, 2);
    pass(&b, SECOND);
    server_set_admin(s, ADMIN_DRAIN);
    server_set_admin(s, ADMIN_UP);
    check_weight(&b, 2, SERVER_RAMP_LEAST);
    pass(&b, SECOND);
    pass(&b, 11 * SECOND);
    check_weight(&b, 2, SERVER_WEIGHT_SCALE);

    assert_true(group_begin_ejection(b.group, 1));
    assert_true(server_eject(s, b.now_us, 5 * SECOND, EJECTED_RESET, ""));
    pass(&b, 5 * SECOND);
    check_weight(&b, 2, SERVER_RAMP_LEAST);
    tear_down(&b);
}

static void test_a_server_that_is_added_starts_slowly(void **state)
{
    (void)state;
    struct bench b;
    struct fixture second;
    set_up(&b, "{servers: ['127.0.0.1:1'], slow_start: 10s}");
    pass(&b, SECOND);
    fixture_make(&second, "{servers: ['127.0.0.1:1', '127.0.0.1:2'], slow_start: 10s}", b.registry, 1);
    assert_int_equal(upstream_activate(second.upstream), 0);
    fixture_free(&b.f);
    b.f = second;
    check_weight(&b, 1, SERVER_WEIGHT_SCALE);
    check_weight(&b, 2, SERVER_RAMP_LEAST);
    tear_down(&b);
}

static void test_without_slow_start_a_server_is_back_at_once(void **state)
{
    (void)state;
    struct bench b;
    set_up(&b, "{servers: ['127.0.0.1:1', '127.0.0.1:2']}");
    pass(&b, SECOND);
    server_set_health(server(&b, 2), HEALTH_DOWN, "bad", 1);
    server_set_health(server(&b, 2), HEALTH_UP, "", 1);
    check_weight(&b, 2, SERVER_WEIGHT_SCALE);
    tear_down(&b);
}

/* The share of picks that a server of three gets which has been back for so long; requests last for the next
 * `in_flight` picks. */
static double share_after(const char *balance, usec_t back_us, unsigned in_flight)
{
    struct bench b;
    char text[256];
    struct server *open[256] = {0};
    unsigned hits = 0;
    snprintf(text, sizeof text,
             "{servers: ['127.0.0.1:1', '127.0.0.1:2', '127.0.0.1:3'], slow_start: 10s, balance: %s}",
             balance);
    set_up(&b, text);
    pass(&b, SECOND);
    server_set_health(server(&b, 3), HEALTH_DOWN, "bad", 1);
    server_set_health(server(&b, 3), HEALTH_UP, "", 1);
    pass(&b, SECOND / 10);
    pass(&b, back_us);
    struct server_set *set = upstream_enter(b.f.upstream, 0);
    for (unsigned i = 0; i < PICKS; i++) {
        const struct pick p = {0};
        struct server **place = &open[i % in_flight];
        if (*place)
            upstream_done(b.f.upstream, set, 0, *place, NULL);
        *place = upstream_pick(b.f.upstream, set, 0, &p, NULL);
        hits += *place == server(&b, 3);
    }
    for (unsigned i = 0; i < in_flight; i++)
        if (open[i])
            upstream_done(b.f.upstream, set, 0, open[i], NULL);
    upstream_leave(b.f.upstream, set, 0);
    tear_down(&b);
    return (double)hits / PICKS;
}

static void test_its_share_of_requests_grows_and_there_is_no_herd(void **state)
{
    (void)state;
    static const char *const policies[] = {"round_robin", "least_connections"};
    for (size_t i = 0; i < COUNT_OF(policies); i++) {
        for (unsigned tenth = 0; tenth <= 10; tenth++) {
            double ramp = tenth ? tenth / 10.0 : (double)SERVER_RAMP_LEAST / SERVER_WEIGHT_SCALE;
            double expected = ramp / (2 + ramp);
            double share = share_after(policies[i], tenth * SECOND, 200);
            if (share < expected - 0.02 || share > expected + 0.02)
                fail_msg("%s after %u s: %.3f, expected %.3f", policies[i], tenth, share, expected);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_at_the_start_all_have_their_whole_weight),
        cmocka_unit_test(test_a_server_that_comes_back_grows_evenly),
        cmocka_unit_test(test_every_way_back_is_slow),
        cmocka_unit_test(test_a_server_that_is_added_starts_slowly),
        cmocka_unit_test(test_without_slow_start_a_server_is_back_at_once),
        cmocka_unit_test(test_its_share_of_requests_grows_and_there_is_no_herd),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
