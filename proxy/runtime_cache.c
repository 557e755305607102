/* The process's cache: made at the start, told of new settings by a reload, swept now and then. */
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
    cache_store_free(rt->cache);
    rt->cache = NULL;
}

int runtime_purge(struct runtime *rt, enum cache_purge_kind kind, struct slice text, bool soft)
{
    int rc = cache_store_purge(rt->cache, kind, text, soft);
    loop_timer(&rt->control, &rt->cache_sweep, SWEEP_MORE_MS);
    return rc;
}
