#include "tests/unit/balancer_fixture.h"

#include "balancer/queue.h"
#include "core/log.h"

#define WORKERS 2u

/* An upstream of one server with one place, two workers on one thread, and requests that wait for it. */
struct bench {
    struct loop control, loops[WORKERS];
    struct server_registry *registry;
    struct fixture f;
    struct server_set *sets[WORKERS];
};

struct request {
    struct bench *bench;
    struct queue_waiter waiter;
    unsigned worker;
    struct server *server;
    bool is_late, may_have_none, finds_none;
    struct request *cancels; /* when its turn comes */
};

static enum queue_turn turn(struct queue_waiter *w)
{
    struct request *r = CONTAINER_OF(w, struct request, waiter);
    const struct pick p = {0};
    if (r->may_have_none)
        return QUEUE_PASSED;
    if (r->finds_none)
        return QUEUE_BUSY;
    r->server = upstream_pick(r->bench->f.upstream, r->bench->sets[r->worker], r->worker, &p, NULL);
    if (!r->server)
        return QUEUE_BUSY;
    queue_leave(w);
    if (r->cancels)
        queue_leave(&r->cancels->waiter);
    return QUEUE_DONE;
}

static void late(struct queue_waiter *w)
{
    struct request *r = CONTAINER_OF(w, struct request, waiter);
    assert_null(w->queue);
    r->is_late = true;
}

static void set_up(struct bench *b, const char *queue)
{
    memset(b, 0, sizeof *b);
    log_set(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    assert_int_equal(loop_init(&b->control, WORKERS), 0);
    for (unsigned w = 0; w < WORKERS; w++)
        assert_int_equal(loop_init(&b->loops[w], w), 0);
    b->registry = registry_create(&(struct registry_options){.loop = &b->control, .tls_worker = 1});
    char text[256];
    snprintf(text, sizeof text, "{servers: [{address: '127.0.0.1:1', max_connections: 1}], queue: {%s}}",
             queue);
    fixture_make(&b->f, text, b->registry, WORKERS);
    assert_int_equal(upstream_activate(b->f.upstream), 0);
    for (unsigned w = 0; w < WORKERS; w++)
        b->sets[w] = upstream_enter(b->f.upstream, w);
}

static void tear_down(struct bench *b)
{
    for (unsigned w = 0; w < WORKERS; w++)
        upstream_leave(b->f.upstream, b->sets[w], w);
    upstream_deactivate(b->f.upstream);
    registry_free(b->registry);
    for (unsigned w = 0; w < WORKERS; w++)
        loop_free(&b->loops[w]);
    loop_free(&b->control);
    fixture_free(&b->f);
}

static struct queue *queue_of(struct bench *b)
{
    return b->f.upstream->queue;
}

/* As long as something is ready. */
static void settle(struct bench *b)
{
    for (unsigned i = 0; i < 6; i++) {
        struct loop *l = &b->loops[i % WORKERS];
        struct ticker t = {.loop = l};
        timer_init(&t.timer, ticker_fire);
        loop_timer(l, &t.timer, 1);
        loop_pass(l);
        loop_timer_clear(l, &t.timer);
    }
}

static struct server *take(struct bench *b, unsigned worker)
{
    const struct pick p = {0};
    return upstream_pick(b->f.upstream, b->sets[worker], worker, &p, NULL);
}

static void give(struct bench *b, unsigned worker, struct server *s)
{
    upstream_done(b->f.upstream, b->sets[worker], worker, s, NULL);
}

static bool join(struct bench *b, struct request *r, unsigned worker)
{
    *r = (struct request){
        .bench = b,
        .worker = worker,
        .waiter = {.turn = turn, .late = late, .choice = b->sets[worker]},
    };
    return upstream_wait(b->f.upstream, worker, &b->loops[worker], &r->waiter);
}

/* What is to be woken gets no second chance from the clock. */
static void stop_looking(struct bench *b)
{
    for (unsigned w = 0; w < WORKERS; w++)
        loop_timer_clear(&b->loops[w], &queue_of(b)->locals[w].look);
}

static void test_first_come_first_served(void **state)
{
    (void)state;
    struct bench b;
    struct request r[5];
    set_up(&b, "size: 8");
    struct server *s = take(&b, 0);
    assert_non_null(s);
    for (unsigned i = 0; i < 5; i++)
        assert_true(join(&b, &r[i], 0));
    settle(&b);
    assert_int_equal(queue_waiting(queue_of(&b)), 5);
    for (unsigned i = 0; i < 5; i++) {
        give(&b, 0, i ? r[i - 1].server : s);
        settle(&b);
        for (unsigned k = 0; k < 5; k++)
            assert_int_equal(r[k].server != NULL, k <= i);
    }
    give(&b, 0, r[4].server);
    assert_int_equal(queue_waiting(queue_of(&b)), 0);
    tear_down(&b);
}

static void test_a_place_that_one_worker_frees_is_taken_on_another(void **state)
{
    (void)state;
    struct bench b;
    struct request r;
    set_up(&b, "size: 8");
    struct server *s = take(&b, 0);
    assert_true(join(&b, &r, 1));
    settle(&b);
    assert_null(r.server);
    give(&b, 0, s);
    settle(&b);
    assert_non_null(r.server);
    give(&b, 1, r.server);
    tear_down(&b);
}

static void test_the_worker_whose_first_waits_longest_is_woken(void **state)
{
    (void)state;
    struct bench b;
    struct request older, younger;
    set_up(&b, "size: 8");
    struct server *s = take(&b, 0);
    assert_true(join(&b, &older, 1));
    loop_read_clock(&b.loops[0]);
    usec_t later = older.waiter.since_us + 1;
    while (loop_now_us(&b.loops[0]) <= later)
        loop_read_clock(&b.loops[0]);
    assert_true(join(&b, &younger, 0));
    give(&b, 0, s);
    settle(&b);
    assert_non_null(older.server);
    assert_null(younger.server);
    give(&b, 1, older.server);
    settle(&b);
    assert_non_null(younger.server);
    give(&b, 0, younger.server);
    tear_down(&b);
}

static void test_a_higher_level_goes_first_here_and_on_other_workers(void **state)
{
    (void)state;
    static const struct {
        unsigned worker;
        enum queue_level level;
        unsigned turn;
    } rows[] = {{0, QUEUE_LOW, 5},  {0, QUEUE_NORMAL, 3}, {1, QUEUE_NORMAL, 4},
                {1, QUEUE_HIGH, 1}, {0, QUEUE_HIGH, 2},   {1, QUEUE_LOW, 6}};
    struct bench b;
    struct request r[COUNT_OF(rows)];
    set_up(&b, "size: 8");
    struct server *s = take(&b, 0);
    for (unsigned i = 0; i < COUNT_OF(rows); i++) {
        struct loop *l = &b.loops[rows[i].worker];
        for (usec_t before = i ? r[i - 1].waiter.since_us : 0; i && loop_now_us(l) <= before;)
            loop_read_clock(l); /* each comes later than the one before */
        r[i] = (struct request){
            .bench = &b,
            .worker = rows[i].worker,
            .waiter = {.turn = turn, .late = late, .choice = b.sets[0], .level = (int8_t)rows[i].level}};
        assert_true(upstream_wait(b.f.upstream, rows[i].worker, l, &r[i].waiter));
    }
    settle(&b);
    give(&b, 0, s);
    for (unsigned n = 1; n <= COUNT_OF(rows); n++) {
        settle(&b);
        for (unsigned i = 0; i < COUNT_OF(rows); i++)
            if ((r[i].server != NULL) != (rows[i].turn <= n))
                fail_msg("place %u: request %u", n, i);
        for (unsigned i = 0; i < COUNT_OF(rows); i++)
            if (rows[i].turn == n)
                give(&b, rows[i].worker, r[i].server);
    }
    tear_down(&b);
}

static void test_a_place_freed_between_the_pick_and_the_joining_is_not_lost(void **state)
{
    (void)state;
    struct bench b;
    struct request r;
    set_up(&b, "size: 8");
    struct server *s = take(&b, 0);
    assert_null(take(&b, 1));
    give(&b, 0, s); /* nobody waits yet, so nobody is woken */
    assert_true(join(&b, &r, 1));
    loop_pass(&b.loops[1]);
    assert_non_null(r.server);
    give(&b, 1, r.server);
    tear_down(&b);
}

static void test_it_is_bounded_over_all_workers(void **state)
{
    (void)state;
    struct bench b;
    struct request r[3];
    set_up(&b, "size: 2");
    struct server *s = take(&b, 0);
    assert_true(join(&b, &r[0], 0));
    assert_true(join(&b, &r[1], 1));
    assert_false(join(&b, &r[2], 0));
    assert_int_equal(atomic_load(&queue_of(&b)->refused), 1);
    queue_leave(&r[0].waiter);
    queue_leave(&r[0].waiter);
    assert_true(join(&b, &r[2], 0));
    queue_leave(&r[1].waiter);
    queue_leave(&r[2].waiter);
    give(&b, 0, s);
    tear_down(&b);
}

static void test_who_leaves_is_not_woken_and_the_next_one_is(void **state)
{
    (void)state;
    struct bench b;
    struct request gone, next;
    set_up(&b, "size: 8");
    struct server *s = take(&b, 0);
    assert_true(join(&b, &gone, 1));
    assert_true(join(&b, &next, 0));
    give(&b, 0, s); /* the letter is on its way to worker 1 … */
    queue_leave(&gone.waiter);
    settle(&b);
    assert_null(gone.server);
    assert_non_null(next.server); /* … which hands on what it has no use for */
    give(&b, 0, next.server);
    tear_down(&b);
}

static void test_one_that_ends_another_in_its_turn_harms_nothing(void **state)
{
    (void)state;
    struct bench b;
    struct request first, second, third;
    set_up(&b, "size: 8");
    struct server *s = take(&b, 0);
    assert_true(join(&b, &first, 0) && join(&b, &second, 0) && join(&b, &third, 0));
    first.cancels = &second;
    give(&b, 0, s);
    settle(&b);
    assert_non_null(first.server);
    assert_null(second.server);
    give(&b, 0, first.server);
    settle(&b);
    assert_non_null(third.server);
    give(&b, 0, third.server);
    tear_down(&b);
}

static void test_one_that_may_have_no_server_does_not_hold_up_the_others(void **state)
{
    (void)state;
    struct bench b;
    struct request stuck, other;
    set_up(&b, "size: 8");
    struct server *s = take(&b, 0);
    assert_true(join(&b, &stuck, 0) && join(&b, &other, 0));
    stuck.may_have_none = true;
    give(&b, 0, s);
    settle(&b);
    assert_non_null(other.server);
    assert_int_equal(queue_waiting(queue_of(&b)), 1);
    queue_leave(&stuck.waiter);
    give(&b, 0, other.server);
    tear_down(&b);
}

/* The one ahead was told of the place while it left: it is still counted, and can no more be woken. */
static void test_a_place_freed_while_the_only_one_that_waits_leaves_is_not_lost(void **state)
{
    (void)state;
    struct bench b;
    struct request r;
    set_up(&b, "size: 8");
    struct server *s = take(&b, 0);
    assert_null(take(&b, 1));
    atomic_fetch_add(&queue_of(&b)->waiting, 1);
    give(&b, 0, s);
    assert_true(join(&b, &r, 1));
    atomic_fetch_sub(&queue_of(&b)->waiting, 1);
    stop_looking(&b);
    settle(&b);
    assert_non_null(r.server);
    give(&b, 1, r.server);
    tear_down(&b);
}

static void test_behind_one_that_may_not_have_the_place_it_is_taken_at_once(void **state)
{
    (void)state;
    struct bench b;
    struct request stuck, other;
    set_up(&b, "size: 8");
    for (unsigned worker = 0; worker < WORKERS; worker++) {
        struct server *s = take(&b, 0);
        assert_true(join(&b, &stuck, 0));
        stuck.may_have_none = true;
        give(&b, 0, s);
        settle(&b);
        assert_true(join(&b, &other, worker));
        stop_looking(&b);
        settle(&b);
        assert_non_null(other.server);
        queue_leave(&stuck.waiter);
        give(&b, worker, other.server);
    }
    tear_down(&b);
}

static void test_a_place_that_one_worker_has_no_use_for_is_handed_on(void **state)
{
    (void)state;
    struct bench b;
    struct request stuck, other;
    set_up(&b, "size: 8");
    struct server *s = take(&b, 0);
    assert_true(join(&b, &stuck, 0));
    stuck.may_have_none = true;
    settle(&b);
    assert_true(join(&b, &other, 1));
    settle(&b);
    assert_null(other.server);
    stop_looking(&b);
    give(&b, 0, s);
    settle(&b);
    assert_non_null(other.server);
    queue_leave(&stuck.waiter);
    give(&b, 1, other.server);
    tear_down(&b);
}

/* As after a reload: the first knows none of the servers that came. */
static void test_one_that_chooses_from_other_servers_holds_nobody_up(void **state)
{
    (void)state;
    struct bench b;
    struct request before, other;
    set_up(&b, "size: 8");
    for (unsigned worker = 0; worker < WORKERS; worker++) {
        struct server *s = take(&b, 0);
        assert_true(join(&b, &before, 0));
        before.waiter.choice = &b;
        before.finds_none = true;
        settle(&b);
        assert_true(join(&b, &other, worker));
        settle(&b);
        stop_looking(&b);
        give(&b, 0, s);
        settle(&b);
        assert_non_null(other.server);
        queue_leave(&before.waiter);
        give(&b, worker, other.server);
    }
    tear_down(&b);
}

/* As the streams of one connection that breaks. */
static bool gone(struct queue_waiter *w)
{
    struct request *r = CONTAINER_OF(w, struct request, waiter);
    if (!r->cancels)
        return false;
    queue_leave(w);
    queue_leave(&r->cancels->waiter);
    return true;
}

static void test_who_is_gone_may_take_others_along(void **state)
{
    (void)state;
    struct bench b;
    struct request r[3];
    set_up(&b, "size: 8");
    struct server *s = take(&b, 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(join(&b, &r[i], 0));
        r[i].waiter.gone = gone;
    }
    settle(&b);
    r[0].cancels = &r[1];
    RUN_UNTIL(&b.loops[0], queue_waiting(queue_of(&b)) == 1);
    give(&b, 0, s);
    settle(&b);
    assert_non_null(r[2].server);
    give(&b, 0, r[2].server);
    tear_down(&b);
}

static void test_who_waits_too_long_leaves(void **state)
{
    (void)state;
    struct bench b;
    struct request r;
    set_up(&b, "timeout: 20ms");
    struct server *s = take(&b, 0);
    assert_true(join(&b, &r, 0));
    RUN_UNTIL(&b.loops[0], r.is_late);
    assert_int_equal(queue_waiting(queue_of(&b)), 0);
    assert_int_equal(atomic_load(&queue_of(&b)->timeouts), 1);
    give(&b, 0, s);
    settle(&b);
    assert_null(r.server);
    tear_down(&b);
}

static void test_a_greater_limit_is_noticed_without_a_wake(void **state)
{
    (void)state;
    struct bench b;
    struct request r;
    set_up(&b, "size: 8");
    struct server *s = take(&b, 0);
    assert_true(join(&b, &r, 1));
    settle(&b);
    server_configure(s, 1, 2, false);
    RUN_UNTIL(&b.loops[1], r.server != NULL);
    give(&b, 0, s);
    give(&b, 1, r.server);
    tear_down(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_come_first_served),
        cmocka_unit_test(test_a_place_that_one_worker_frees_is_taken_on_another),
        cmocka_unit_test(test_the_worker_whose_first_waits_longest_is_woken),
        cmocka_unit_test(test_a_higher_level_goes_first_here_and_on_other_workers),
        cmocka_unit_test(test_a_place_freed_between_the_pick_and_the_joining_is_not_lost),
        cmocka_unit_test(test_it_is_bounded_over_all_workers),
        cmocka_unit_test(test_who_leaves_is_not_woken_and_the_next_one_is),
        cmocka_unit_test(test_one_that_ends_another_in_its_turn_harms_nothing),
        cmocka_unit_test(test_one_that_may_have_no_server_does_not_hold_up_the_others),
        cmocka_unit_test(test_a_place_freed_while_the_only_one_that_waits_leaves_is_not_lost),
        cmocka_unit_test(test_behind_one_that_may_not_have_the_place_it_is_taken_at_once),
        cmocka_unit_test(test_a_place_that_one_worker_has_no_use_for_is_handed_on),
        cmocka_unit_test(test_one_that_chooses_from_other_servers_holds_nobody_up),
        cmocka_unit_test(test_who_is_gone_may_take_others_along),
        cmocka_unit_test(test_who_waits_too_long_leaves),
        cmocka_unit_test(test_a_greater_limit_is_noticed_without_a_wake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
