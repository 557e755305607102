/* What is counted by upstream: breakers, panics, queues. */
#include "admin/metrics.h"

/* Of the breaker or queue that the upstream has; `has` tells of both. */
struct upstream_family {
    enum metrics_type type;
    const char *name, *help;
    bool (*has)(const struct upstream *u);
    uint64_t (*value)(const struct upstream *u);
};

static bool has_breaker(const struct upstream *u)
{
    return u->breaker != NULL;
}
static uint64_t breaker_now(const struct upstream *u)
{
    return (uint64_t)breaker_state(u->breaker);
}
static uint64_t breaker_opened(const struct upstream *u)
{
    return atomic_load(&u->breaker->opened);
}
static bool has_queue(const struct upstream *u)
{
    return u->queue != NULL;
}
static uint64_t waiting(const struct upstream *u)
{
    return queue_waiting(u->queue);
}
static uint64_t queue_timeouts(const struct upstream *u)
{
    return counter_get(&u->queue->timeouts);
}
static uint64_t refused(const struct upstream *u)
{
    return counter_get(&u->queue->refused);
}
static uint64_t joined(const struct upstream *u)
{
    return counter_get(&u->queue->joined);
}

static const struct upstream_family families[] = {
    {METRICS_GAUGE, "upstream_breaker", "The upstream's breaker: 0 closed, 1 open, 2 half open.", has_breaker,
     breaker_now},
    {METRICS_COUNTER, "upstream_breaker_opened_total",
     "How often the upstream's breaker opened since the last reload.", has_breaker, breaker_opened},
    {METRICS_GAUGE, "upstream_queue", "Requests and streams that wait for a server.", has_queue, waiting},
    {METRICS_COUNTER, "upstream_queue_timeouts_total", "Waited in vain.", has_queue, queue_timeouts},
    {METRICS_COUNTER, "upstream_queue_refused_total", "Found the queue full.", has_queue, refused},
    {METRICS_COUNTER, "upstream_queued_total", "Have waited, or still do.", has_queue, joined},
};

static void panics(struct metrics_run *r)
{
    const struct runtime *rt = r->runtime;
    metrics_family(&r->w, METRICS_GAUGE, "upstream_panic",
                   "1 while too few servers are healthy, and all are used.");
    for (size_t i = 0; i < rt->snapshot->upstream_count; i++) {
        struct slice name = rt->snapshot->upstreams[i]->name;
        const struct server_group *g = registry_group(rt->registry, name);
        size_t none = metrics_label(&r->w, "upstream", name);
        metrics_count(&r->w, "upstream_panic", g && group_in_panic(g));
        metrics_cut(&r->w, none);
    }
}

bool metrics_upstreams(struct metrics_run *r)
{
    const struct snapshot *s = r->runtime->snapshot;
    panics(r);
    for (size_t f = 0; f < COUNT_OF(families); f++) {
        metrics_family(&r->w, families[f].type, families[f].name, families[f].help);
        for (size_t i = 0; i < s->upstream_count; i++) {
            const struct upstream *u = s->upstreams[i];
            if (!families[f].has(u))
                continue;
            size_t none = metrics_label(&r->w, "upstream", u->name);
            metrics_count(&r->w, families[f].name, families[f].value(u));
            metrics_cut(&r->w, none);
        }
    }
    return false;
}
