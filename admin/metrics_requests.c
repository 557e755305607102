/* Requests by listener and route. Those that nobody asked anything of have no series. */
#include "admin/metrics.h"

#define ROUTES_A_STEP 64u
#define CHUNK         256u /* routes of a struct route_stats_chunk */

struct route_sum {
    uint64_t statuses[COUNTERS_STATUSES], durations[COUNTERS_DURATIONS], duration_us, count;
};

static bool chunk_is_empty(const struct runtime *rt, const struct listener_stats *l, uint32_t id)
{
    for (unsigned w = 0; w < rt->worker_count; w++)
        if (atomic_load_explicit(&l->worker[w]->chunks[id / CHUNK], memory_order_relaxed))
            return false;
    return true;
}

static void sum_route(const struct runtime *rt, const struct listener_stats *l, uint32_t id,
                      struct route_sum *out)
{
    *out = (struct route_sum){0};
    for (unsigned w = 0; w < rt->worker_count; w++) {
        const struct route_stats *row = stats_peek(l, w, id);
        if (!row)
            continue;
        for (unsigned i = 0; i < COUNTERS_STATUSES; i++)
            out->statuses[i] += counter_get(&row->statuses[i]);
        for (unsigned i = 0; i < COUNTERS_FINE; i++)
            out->durations[counters_fine_duration(i)] += counter_get(&row->fine[i]);
        out->duration_us += counter_get(&row->duration_us);
    }
    for (unsigned i = 0; i < COUNTERS_STATUSES; i++)
        out->count += out->statuses[i];
}

/* The next routes of the next listeners: calls `write` for each with its labels set. */
static bool some_routes(struct metrics_run *r,
                        void (*write)(struct metrics_run *r, const struct route_sum *sum))
{
    const struct stats *stats = &r->runtime->stats;
    if (!r->begun) {
        r->begun = true;
        r->listener = stats->listeners;
        r->route = 0;
    }
    for (unsigned n = 0; r->listener && n < ROUTES_A_STEP;) {
        struct route_sum sum;
        const struct listener_stats *l = r->listener;
        uint32_t id = r->route;
        if (id >= stats->route_count) {
            r->listener = l->next;
            r->route = 0;
            continue;
        }
        n++;
        if (chunk_is_empty(r->runtime, l, id)) {
            r->route = (id / CHUNK + 1) * CHUNK;
            continue;
        }
        r->route++;
        if (!metrics_shows(r, stats->route_gone_us[id]) || !metrics_shows_listener(r, l))
            continue;
        sum_route(r->runtime, l, id, &sum);
        if (!sum.count)
            continue;
        size_t none = metrics_label(&r->w, "listener", slice_text(l->name));
        metrics_label(&r->w, "route", slice_text(stats->routes[id]));
        write(r, &sum);
        metrics_cut(&r->w, none);
    }
    return r->listener != NULL;
}

static void write_statuses(struct metrics_run *r, const struct route_sum *sum)
{
    for (unsigned i = 0; i < COUNTERS_STATUSES; i++) {
        if (!sum->statuses[i])
            continue;
        size_t before = metrics_label(&r->w, "status", slice_text(counters_status_text(i)));
        metrics_count(&r->w, "requests_total", sum->statuses[i]);
        metrics_cut(&r->w, before);
    }
}

bool metrics_requests(struct metrics_run *r)
{
    if (!r->begun)
        metrics_family(&r->w, METRICS_COUNTER, "requests_total", "Finished requests; the route - is none.");
    return some_routes(r, write_statuses);
}

/* The newest of each bucket over the workers. */
static void find_exemplars(const struct metrics_run *r, uint32_t id, struct exemplar_text out[EXEMPLARS])
{
    for (unsigned bucket = 0; bucket < EXEMPLARS; bucket++) {
        out[bucket].id_len = 0;
        for (unsigned w = 0; w < r->runtime->worker_count; w++) {
            struct exemplar_text text;
            const struct route_stats *row = stats_peek(r->listener, w, id);
            if (row && exemplars_get(&row->exemplars, bucket, &text) &&
                (!out[bucket].id_len || text.wall_us > out[bucket].wall_us))
                out[bucket] = text;
        }
    }
}

static void write_durations(struct metrics_run *r, const struct route_sum *sum)
{
    struct exemplar_text exemplars[EXEMPLARS];
    bool wanted = r->w.format == METRICS_OPENMETRICS;
    if (wanted)
        find_exemplars(r, r->route - 1, exemplars);
    metrics_histogram(&r->w, "request_duration_seconds", sum->durations, sum->duration_us,
                      wanted ? exemplars : NULL);
}

bool metrics_durations(struct metrics_run *r)
{
    if (!r->begun)
        metrics_family(&r->w, METRICS_HISTOGRAM, "request_duration_seconds",
                       "From a request's first byte to its answer's last.");
    return some_routes(r, write_durations);
}
