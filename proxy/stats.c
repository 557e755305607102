#include "proxy/stats.h"

#include <stdlib.h>

#include "core/hash.h"

int stats_init(struct stats *s, unsigned workers)
{
    *s = (struct stats){.workers = workers};
    s->route_index = table_create();
    return s->route_index && stats_route_id(s, S("-")) == 0 && s->route_count == 1 ? 0 : -1;
}

static void free_worker(struct listener_worker_stats *w)
{
    for (unsigned i = 0; w && i < STATS_CHUNKS; i++) {
        struct route_stats_chunk *chunk = atomic_load(&w->chunks[i]);
        for (unsigned k = 0; chunk && k < 256; k++) {
            struct route_stats *row = atomic_load(&chunk->rows[k]);
            if (row)
                exemplars_free(&row->exemplars);
            free(row);
        }
        free(chunk);
    }
    free(w);
}

void stats_free(struct stats *s)
{
    while (s->listeners) {
        struct listener_stats *l = s->listeners;
        s->listeners = l->next;
        for (unsigned i = 0; i < s->workers; i++)
            free_worker(l->worker[i]);
        connection_limits_free(&l->limits);
        free(l->name);
        free(l);
    }
    for (uint32_t i = 0; i < s->route_count; i++) {
        free(s->routes[i]);
        free(s->in_flight[i]);
    }
    free(s->routes);
    free(s->in_flight);
    free(s->route_gone_us);
    table_free(s->route_index);
}

struct listener_stats *stats_listener(struct stats *s, struct slice name)
{
    struct listener_stats **tail = &s->listeners;
    for (; *tail; tail = &(*tail)->next)
        if (slice_equal(slice_text((*tail)->name), name))
            return *tail;
    struct listener_stats *l = calloc(1, sizeof *l);
    if (!l)
        return NULL;
    l->name = strndup(name.at, name.len);
    bool complete = l->name != NULL;
    for (unsigned i = 0; i < s->workers; i++) {
        l->worker[i] = aligned_alloc(64, sizeof *l->worker[i]);
        if (l->worker[i])
            memset(l->worker[i], 0, sizeof *l->worker[i]);
        else
            complete = false;
    }
    if (!complete) {
        for (unsigned i = 0; i < s->workers; i++)
            free(l->worker[i]);
        free(l->name);
        free(l);
        return NULL;
    }
    connection_limits_init(&l->limits);
    *tail = l;
    return l;
}

uint32_t stats_route_id(struct stats *s, struct slice name)
{
    uint64_t found;
    if (table_get(s->route_index, name, &found))
        return (uint32_t)found;
    if (s->route_count >= STATS_CHUNKS * 256)
        return 0;
    if (s->route_count == s->route_capacity) {
        uint32_t capacity = s->route_capacity ? s->route_capacity * 2 : 64;
        char **routes = realloc(s->routes, capacity * sizeof *routes);
        if (!routes)
            return 0;
        s->routes = routes;
        _Atomic uint32_t **in_flight = realloc(s->in_flight, capacity * sizeof *in_flight);
        if (!in_flight)
            return 0;
        s->in_flight = in_flight;
        usec_t *gone_us = realloc(s->route_gone_us, capacity * sizeof *gone_us);
        if (!gone_us)
            return 0;
        s->route_gone_us = gone_us;
        s->route_capacity = capacity;
    }
    char *copy = strndup(name.at, name.len);
    if (!copy || table_put(s->route_index, slice_of(copy, name.len), s->route_count) != 0) {
        free(copy);
        return 0;
    }
    s->routes[s->route_count] = copy;
    s->in_flight[s->route_count] = NULL;
    s->route_gone_us[s->route_count] = 0;
    return s->route_count++;
}

_Atomic uint32_t *stats_route_in_flight(struct stats *s, uint32_t route_id)
{
    if (route_id == 0 || s->in_flight[route_id])
        return route_id ? s->in_flight[route_id] : NULL;
    _Atomic uint32_t *count = aligned_alloc(64, 64); /* a cache line of its own */
    if (count)
        atomic_init(count, 0);
    return s->in_flight[route_id] = count;
}

struct route_stats *stats_route(struct listener_stats *l, unsigned worker, uint32_t route_id)
{
    struct listener_worker_stats *w = l->worker[worker];
    struct route_stats_chunk *chunk = atomic_load_explicit(&w->chunks[route_id / 256], memory_order_relaxed);
    if (!chunk) {
        chunk = calloc(1, sizeof *chunk);
        if (!chunk)
            return NULL;
        atomic_store_explicit(&w->chunks[route_id / 256], chunk, memory_order_release);
    }
    struct route_stats *row = atomic_load_explicit(&chunk->rows[route_id % 256], memory_order_relaxed);
    if (!row) {
        row = calloc(1, sizeof *row);
        atomic_store_explicit(&chunk->rows[route_id % 256], row, memory_order_release);
    }
    return row;
}

const struct route_stats *stats_peek(const struct listener_stats *l, unsigned worker, uint32_t route_id)
{
    struct route_stats_chunk *chunk =
        atomic_load_explicit(&l->worker[worker]->chunks[route_id / 256], memory_order_acquire);
    return chunk ? atomic_load_explicit(&chunk->rows[route_id % 256], memory_order_acquire) : NULL;
}

void stats_mark_begin(struct stats *s, usec_t now)
{
    for (uint32_t i = 1; i < s->route_count; i++)
        if (!s->route_gone_us[i])
            s->route_gone_us[i] = now;
    for (struct listener_stats *l = s->listeners; l; l = l->next)
        if (!l->gone_us)
            l->gone_us = now;
}

void stats_mark_route(struct stats *s, uint32_t route_id)
{
    s->route_gone_us[route_id] = 0;
}

void stats_mark_listener(struct listener_stats *l)
{
    l->gone_us = 0;
}

unsigned route_stats_count(struct route_stats *r, unsigned status, usec_t duration)
{
    unsigned fine = counters_fine_slot(duration), bucket = counters_fine_duration(fine);
    counter_add(&r->statuses[counters_status_slot(status)], 1);
    counter_add(&r->fine[fine], 1);
    counter_add(&r->duration_us, duration);
    return bucket;
}
