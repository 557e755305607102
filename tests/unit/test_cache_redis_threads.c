/* Workers on threads of their own, purges from any of them, a Redis that is killed meanwhile: for
 * ThreadSanitizer. */
#include <pthread.h>

#include "tests/unit/redis_fixture.h"

#define WORKERS 2
#define CALLS   8

struct worker {
    pthread_t thread;
    struct loop loop;
    struct timer turn;
    struct node *node;
    struct cache_redis *tier;
    struct call calls[CALLS];
    uint64_t begun, found;
    _Atomic bool stop;
};

static void on_turn(struct timer *t)
{
    struct worker *k = CONTAINER_OF(t, struct worker, turn);
    struct iovec iov = {(void *)(uintptr_t) "content", 7};
    struct slice tag = S("t");
    for (int i = 0; i < CALLS; i++) {
        if (k->calls[i].call.tier)
            continue;
        if (k->calls[i].done) {
            k->found += k->calls[i].result == CACHE_REDIS_FOUND;
            free(k->calls[i].content);
        }
        k->calls[i] = (struct call){.call.done = on_done};
        k->begun += cache_redis_get(k->tier, S("key"), &k->calls[i].call);
    }
    cache_redis_put(k->tier, &(struct cache_redis_value){.key = S("key"),
                                                         .stamp = cache_redis_now(k->node->fleet),
                                                         .url = S("u"),
                                                         .tags = &tag,
                                                         .tag_count = 1,
                                                         .content = &iov,
                                                         .count = 1,
                                                         .ttl = 60});
    if (k->begun % 128 == 0)
        cache_redis_purge(k->node->fleet, CACHE_PURGE_PREFIX, S("u"), k->begun & 1);
    if (atomic_load(&k->stop)) {
        cache_redis_close(k->tier);
        loop_stop(&k->loop);
        return;
    }
    loop_timer(&k->loop, t, 1);
}

static void *run(void *argument)
{
    struct worker *k = argument;
    loop_timer(&k->loop, &k->turn, 1);
    loop_run(&k->loop);
    loop_timer_clear(&k->loop, &k->turn);
    return NULL;
}

static void test_workers_look_up_write_and_purge_while_redis_comes_and_goes(void **state)
{
    struct world *w = *state;
    static struct worker workers[WORKERS];
    char yaml[256];
    server_start(&w->server);
    snprintf(yaml, sizeof yaml, "{address: \"unix:%s\", retry: 10ms, deadline: 5s}", w->server.socket);
    node_open_with(w, &w->a, yaml, WORKERS);
    cache_redis_close(w->a.tier);
    w->a.tier = NULL;
    for (unsigned i = 0; i < WORKERS; i++) {
        struct worker *k = &workers[i];
        *k = (struct worker){.node = &w->a};
        assert_int_equal(loop_init(&k->loop, i), 0);
        timer_init(&k->turn, on_turn);
        k->tier = cache_redis_create(w->a.fleet, &k->loop, i);
        assert_non_null(k->tier);
        assert_int_equal(pthread_create(&k->thread, NULL, run, k), 0);
    }
    for (int round = 0; round < 3; round++) {
        uint64_t hits = stats_of(&w->a).hits;
        UNTIL(w, stats_of(&w->a).hits > hits + 50 && stats_of(&w->a).purges > 0);
        server_kill(&w->server);
        UNTIL(w, !stats_of(&w->a).synced);
        server_start(&w->server);
    }
    UNTIL(w, stats_of(&w->a).workers_up == WORKERS);
    for (unsigned i = 0; i < WORKERS; i++)
        atomic_store(&workers[i].stop, true);
    cache_redis_fleet_close(w->a.fleet); /* before its tiers, which hold it */
    for (unsigned i = 0; i < WORKERS; i++) {
        struct worker *k = &workers[i];
        pthread_join(k->thread, NULL);
        loop_free(&k->loop);
        for (int n = 0; n < CALLS; n++) {
            assert_null(k->calls[n].call.tier);
            free(k->calls[n].content);
        }
        assert_true(k->found > 0);
    }
    w->a.fleet = NULL;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_workers_look_up_write_and_purge_while_redis_comes_and_goes,
                                        world_make, world_free),
    };
    return redis_is_there() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
