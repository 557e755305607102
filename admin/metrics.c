#include "admin/metrics.h"

#include <stdlib.h>

static metrics_section *const sections[] = {
    metrics_requests,  metrics_durations,  metrics_listeners, metrics_endings, metrics_tls,
    metrics_upstreams, metrics_of_servers, metrics_cache,     metrics_tracing, metrics_process,
};

size_t metrics_tables(const struct runtime *rt, struct counters **tables)
{
    for (unsigned i = 0; i < rt->worker_count; i++)
        tables[i] = &rt->workers[i]->counters;
    return rt->worker_count;
}

uint64_t metrics_sum_listener(const struct runtime *rt, const struct listener_stats *l, size_t offset)
{
    uint64_t sum = 0;
    for (unsigned w = 0; w < rt->worker_count; w++)
        sum += counter_get((const counter *)(const void *)((const char *)l->worker[w] + offset));
    return sum;
}

bool metrics_shows(const struct metrics_run *r, usec_t gone_us)
{
    return gone_us == 0 || loop_now_us(&r->runtime->control) - gone_us < METRICS_GONE_US;
}

bool metrics_shows_listener(const struct metrics_run *r, const struct listener_stats *l)
{
    static const size_t open = offsetof(struct listener_worker_stats, connections_open);
    return metrics_shows(r, l->gone_us) || metrics_sum_listener(r->runtime, l, open) != 0;
}

void metrics_begin(struct metrics_run *r, struct admin *a, enum metrics_format format)
{
    struct runtime *rt = a->runtime;
    const struct snapshot *s = rt->snapshot;
    *r = (struct metrics_run){.admin = a, .runtime = rt, .w.format = format};
    stats_mark_begin(&rt->stats, loop_now_us(&rt->control));
    for (size_t i = 0; i < s->route_count; i++)
        stats_mark_route(&rt->stats, s->route_stats_ids[i]);
    for (size_t i = 0; i < s->listener_count; i++)
        if (s->listeners[i].stats)
            stats_mark_listener(s->listeners[i].stats);
}

bool metrics_step(struct metrics_run *r)
{
    if (r->section < COUNT_OF(sections) && !sections[r->section](r)) {
        r->section++;
        r->begun = false;
        r->family = r->row = 0;
        if (r->section == COUNT_OF(sections))
            metrics_end(&r->w);
    }
    return r->section < COUNT_OF(sections) && !r->w.failed;
}

void metrics_abandon(struct metrics_run *r)
{
    metrics_writer_free(&r->w);
    metrics_servers_free(r->servers);
    r->servers = NULL;
}

char *metrics_text(struct admin *a, enum metrics_format format, size_t *len)
{
    struct metrics_run r;
    char *text = NULL;
    metrics_begin(&r, a, format);
    while (metrics_step(&r))
        ;
    if (!r.w.failed && (text = malloc(r.w.out.len + 1)) != NULL) {
        memcpy(text, r.w.out.at, r.w.out.len);
        text[r.w.out.len] = 0;
        *len = r.w.out.len;
    }
    metrics_abandon(&r);
    return text;
}
