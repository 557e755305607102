#include "tests/unit/balancer_fixture.h"

#include "core/log.h"

static const struct pick any;

/* An upstream of four servers, and sets of any of them. */
struct bench {
    struct fixture f;
    struct loop control, worker;
    struct server_registry *registry;
    bool threads;
};

static struct loop *loop_of_worker(void *argument, unsigned index)
{
    struct bench *b = argument;
    return index == 0 ? &b->worker : &b->control; /* the second "worker" is the control thread's loop */
}

static void set_up(struct bench *b, bool threads)
{
    memset(b, 0, sizeof *b);
    log_set(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    assert_int_equal(loop_init(&b->control, 2), 0);
    assert_int_equal(loop_init(&b->worker, 0), 0);
    b->registry = registry_create(&(struct registry_options){
        .loop = &b->control, .argument = b, .worker = threads ? loop_of_worker : NULL});
    fixture_make(&b->f,
                 "servers: [127.0.0.1:1, 127.0.0.1:2, 127.0.0.1:3, {address: 127.0.0.1:4, backup: true}]",
                 b->registry, 2);
    assert_int_equal(upstream_activate(b->f.upstream), 0);
}

static void tear_down(struct bench *b)
{
    loop_deliver(&b->worker);
    loop_deliver(&b->control);
    fixture_free(&b->f);
    registry_free(b->registry);
    loop_free(&b->worker);
    loop_free(&b->control);
}

/* The first `primaries` servers, and the backup. */
static struct server_set *make(struct bench *b, size_t primaries)
{
    struct upstream *u = b->f.upstream;
    struct server *servers[4];
    char name[32];
    for (size_t i = 0; i < primaries; i++) {
        snprintf(name, sizeof name, "127.0.0.1:%zu", i + 1);
        servers[i] = registry_find(b->registry, S("up"), slice_text(name));
    }
    servers[primaries] = registry_find(b->registry, S("up"), S("127.0.0.1:4"));
    const size_t sizes[2] = {primaries, 1};
    struct server_set *set =
        server_set_create(u->policy, NULL, 2, 0, b->threads ? &b->control : NULL, servers, sizes, 2);
    assert_non_null(set);
    return set;
}

static size_t sets(const struct bench *b)
{
    size_t n = 0;
    LIST_EACH (node, &b->f.upstream->sets) {
        n++;
    }
    return n;
}

static void test_a_set_is_freed_when_its_last_user_has_left(void **state)
{
    (void)state;
    struct bench b;
    set_up(&b, false);
    struct upstream *u = b.f.upstream;
    struct server_set *before = upstream_enter(u, 0);
    struct server *third = server_set_find(before, S("127.0.0.1:3"));
    assert_non_null(third);
    upstream_replace(u, make(&b, 2));
    assert_int_equal(sets(&b), 2);
    assert_null(server_set_find(u->set, S("127.0.0.1:3")));
    assert_string_equal(third->name.at, "127.0.0.1:3"); /* still readable */

    struct server_set *now = upstream_enter(u, 0);
    assert_ptr_not_equal(now, before);
    upstream_leave(u, before, 0);
    assert_int_equal(sets(&b), 1);
    upstream_leave(u, now, 0);
    assert_int_equal(sets(&b), 1);
    tear_down(&b);
}

static void test_a_worker_takes_a_set_at_its_letter_and_misses_those_between(void **state)
{
    (void)state;
    struct bench b;
    set_up(&b, true);
    b.threads = true;
    struct upstream *u = b.f.upstream;
    struct server_set *first = upstream_enter(u, 0);
    upstream_replace(u, make(&b, 3));
    upstream_replace(u, make(&b, 2));
    upstream_replace(u, make(&b, 1));
    struct server_set *still = upstream_enter(u, 0);
    assert_ptr_equal(still, first);
    upstream_leave(u, still, 0);
    assert_int_equal(sets(&b), 2); /* those between are gone: no worker has seen them */

    loop_deliver(&b.worker);
    loop_deliver(&b.control);
    struct server_set *last = upstream_enter(u, 0);
    assert_int_equal(last->count, 2);
    assert_int_equal(sets(&b), 2); /* the first is held by a request */
    upstream_leave(u, first, 0);
    loop_deliver(&b.control);
    assert_int_equal(sets(&b), 1);
    upstream_leave(u, last, 0);
    tear_down(&b);
}

static void test_the_next_tier_serves_when_the_one_before_is_down(void **state)
{
    (void)state;
    struct bench b;
    set_up(&b, false);
    struct upstream *u = b.f.upstream;
    upstream_replace(u, make(&b, 1));
    struct server_set *set = upstream_enter(u, 1);
    enum pick_failure why;
    struct server *s = upstream_pick(u, set, 1, &any, &why);
    assert_string_equal(s->name.at, "127.0.0.1:1");
    assert_int_equal(server_set_tier(set, s), 0);
    upstream_done(u, set, 1, s, NULL);
    server_set_health(s, HEALTH_DOWN, "test", 1);
    s = upstream_pick(u, set, 1, &any, &why);
    assert_string_equal(s->name.at, "127.0.0.1:4");
    assert_int_equal(server_set_tier(set, s), 1);
    upstream_done(u, set, 1, s, NULL);
    upstream_leave(u, set, 1);
    tear_down(&b);
}

/* Counts what it shares. */
static int shared;

static void *share_it(const struct tier *t)
{
    shared++;
    return malloc(t->count + 1);
}

static void unshare_it(void *at)
{
    shared--;
    free(at);
}

static void test_what_workers_share_is_made_once_a_tier(void **state)
{
    (void)state;
    struct bench b;
    set_up(&b, false);
    struct policy p = policy_round_robin;
    p.share = share_it;
    p.unshare = unshare_it;
    struct server_set *from = b.f.upstream->set;
    const size_t sizes[3] = {1, 0, 2};
    struct server_set *set = server_set_create(&p, NULL, 2, 5, NULL, from->servers, sizes, 3);
    assert_int_equal(shared, 3);
    assert_non_null(set->tiers[0].shared);
    assert_int_equal(server_set_tier(set, from->servers[2]), 2);
    server_set_free(set);
    assert_int_equal(shared, 0);
    tear_down(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_set_is_freed_when_its_last_user_has_left),
        cmocka_unit_test(test_a_worker_takes_a_set_at_its_letter_and_misses_those_between),
        cmocka_unit_test(test_the_next_tier_serves_when_the_one_before_is_down),
        cmocka_unit_test(test_what_workers_share_is_made_once_a_tier),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
