/* The process's cache: made at the start, told of new settings by a reload, swept now and then. */
#include <stdlib.h>

#include "cache/redis.h"
#include "cache/store.h"
#include "core/log.h"
#include "proxy/runtime_internal.h"

#define SWEEP_MS      1000
#define SWEEP_MORE_MS 10 /* while there is more to do */

static void sweep(struct timer *t)
{
    struct runtime *rt = CONTAINER_OF(t, struct runtime, cache_sweep);
    bool more = cache_sweep(rt->cache);
    loop_timer(&rt->control, &rt->cache_sweep, more ? SWEEP_MORE_MS : SWEEP_MS);
}

int runtime_cache_start(struct runtime *rt, const struct cache_settings *s)
{
    rt->cache = cache_store_create(s);
    if (!rt->cache)
        return -1;
    timer_init(&rt->cache_sweep, sweep);
    loop_timer(&rt->control, &rt->cache_sweep, SWEEP_MS);
    return 0;
}

void runtime_cache_configure(struct runtime *rt, const struct cache_settings *s)
{
    cache_store_configure(rt->cache, s);
}

void runtime_cache_stop(struct runtime *rt)
{
    struct cache_stats s;
    cache_store_stats(rt->cache, &s);
    if (s.objects)
        log_info("what was cached is not kept: the next process begins with an empty cache",
                 LOG_U64("objects", s.objects), LOG_U64("bytes", s.bytes));
    loop_timer_clear(&rt->control, &rt->cache_sweep);
    cache_redis_fleet_close(rt->redis);
    rt->redis = NULL;
    cache_store_free(rt->cache);
    rt->cache = NULL;
}

/* The second tier. */

/* The worker's tier is another one from now on. */
struct redis_letter {
    struct letter letter;
    struct worker *worker;
    struct cache_redis *tier; /* NULL = none */
};

static void change_tier(struct letter *letter)
{
    struct redis_letter *l = CONTAINER_OF(letter, struct redis_letter, letter);
    struct worker *w = l->worker;
    cache_redis_close(w->redis);
    w->redis = l->tier;
    if (w->ended) {
        cache_redis_close(w->redis);
        w->redis = NULL;
    }
    free(l);
}

static void on_fleet_purge(void *argument, enum cache_purge_kind kind, struct slice text, bool soft)
{
    struct runtime *rt = argument;
    cache_store_purge(rt->cache, kind, text, soft);
    loop_timer(&rt->control, &rt->cache_sweep, SWEEP_MORE_MS);
}

static bool is_as_before(const struct runtime *rt, const struct cache_redis_settings *s)
{
    if (!s || !rt->redis)
        return !s && !rt->redis;
    return cache_redis_fleet_is_of(rt->redis, s);
}

void runtime_redis_apply(struct runtime *rt, const struct cache_settings *settings)
{
    const struct cache_redis_settings *s = settings->redis;
    if (is_as_before(rt, s))
        return;
    cache_redis_fleet_close(rt->redis);
    rt->redis =
        s ? cache_redis_fleet_create(&(struct cache_redis_options){.settings = s,
                                                                   .loop = &rt->control,
                                                                   .workers = rt->worker_count,
                                                                   .dns_servers = getenv("WEIR_DNS_SERVERS"),
                                                                   .on_purge = on_fleet_purge,
                                                                   .argument = rt})
          : NULL;
    if (s && !rt->redis)
        log_warn("redis is not used", LOG_TEXT("reason", "out of memory"));
    for (unsigned i = 0; i < rt->worker_count; i++) {
        struct worker *w = rt->workers[i];
        struct redis_letter *l = malloc(sizeof *l);
        if (!l)
            continue; /* it finds nothing in the one that was closed */
        *l = (struct redis_letter){.letter.deliver = change_tier, .worker = w};
        if (rt->redis)
            l->tier = cache_redis_create(rt->redis, &w->loop, i);
        loop_post(&w->loop, &l->letter);
    }
}

int runtime_purge(struct runtime *rt, enum cache_purge_kind kind, struct slice text, bool soft)
{
    /* The second tier first: what is found in it between the two is purged by the other. */
    int failed = rt->redis ? cache_redis_purge(rt->redis, kind, text, soft) : 0;
    failed |= cache_store_purge(rt->cache, kind, text, soft);
    loop_timer(&rt->control, &rt->cache_sweep, SWEEP_MORE_MS);
    return failed;
}
