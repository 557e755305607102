#include "admin/live.h"

#include <stdlib.h>

#include "admin/internal.h"
#include "admin/live_rows.h"
#include "admin/totals.h"
#include "balancer/breaker.h"

/* Pieces. */

json_t *live_classes_json(const uint64_t statuses[COUNTERS_STATUSES])
{
    static const char *const names[] = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};
    uint64_t sums[COUNT_OF(names)] = {0};
    json_t *out = json_object();
    for (unsigned i = 0; i < COUNTERS_STATUSES; i++) {
        unsigned class = (unsigned)(counters_status_text(i)[0] - '0');
        sums[class < COUNT_OF(names) ? class : 0] += statuses[i];
    }
    for (size_t i = 0; out && i < COUNT_OF(names); i++)
        if (sums[i] || i == 2)
            json_object_set_new(out, names[i], json_integer((json_int_t)sums[i]));
    return out;
}

json_t *live_reuse_json(uint64_t opened, uint64_t reused)
{
    return opened + reused ? json_real((double)reused / (double)(opened + reused)) : json_null();
}

static json_t *bounds_json(void)
{
    json_t *all = json_array();
    for (unsigned i = 0; all && i < COUNTERS_FINE; i++)
        json_array_append_new(all, json_real((double)counters_fine_bound(i) / 1000));
    return all;
}

static void add_handshakes(uint64_t sums[4][2], const struct stats *s, const struct listener_stats *l)
{
    for (unsigned w = 0; w < s->workers; w++)
        for (unsigned v = 0; v < 4; v++)
            for (unsigned resumed = 0; resumed < 2; resumed++)
                sums[v][resumed] += counter_get(&l->worker[w]->handshakes[v][resumed]);
}

json_t *live_tls_json(const struct stats *s, const struct listener_stats *l)
{
    static const char *const names[4] = {"other", NULL, "1.2", "1.3"};
    uint64_t sums[4][2] = {{0}};
    json_t *out = json_object();
    if (l)
        add_handshakes(sums, s, l);
    else
        for (const struct listener_stats *each = s->listeners; each; each = each->next)
            add_handshakes(sums, s, each);
    for (size_t v = COUNT_OF(names); out && v-- > 0;)
        if (names[v] && (sums[v][0] || sums[v][1]))
            json_object_set_new(
                out, names[v],
                json_pack("{s:I, s:I}", "full", (json_int_t)sums[v][0], "resumed", (json_int_t)sums[v][1]));
    return out;
}

/* Activity. */

double live_rank_note(struct live_rank *r, size_t index, uint64_t serial, uint64_t count)
{
    if (index >= r->size) {
        size_t size = (index + 64) * 2;
        struct live_activity *at = realloc(r->at, size * sizeof *at);
        if (!at)
            return 0;
        memset(at + r->size, 0, (size - r->size) * sizeof *at);
        r->at = at;
        r->size = size;
    }
    struct live_activity *a = &r->at[index];
    if (a->serial != serial || count < a->count)
        *a = (struct live_activity){serial, count, 0};
    a->rate += ((double)(count - a->count) - a->rate) / 4;
    a->count = count;
    return a->rate;
}

void live_free(struct live *l)
{
    free(l->routes.at);
    free(l->servers.at);
    *l = (struct live){0};
}

/* The whole. */

struct sums {
    struct totals totals;
    uint64_t bytes_in, bytes_out, refused, handshake_failures;
    uint64_t terminations[TERMINATIONS];
};

static void sum_listeners(const struct runtime *rt, struct sums *s)
{
    for (const struct listener_stats *l = rt->stats.listeners; l; l = l->next) {
        totals_add_listener(&s->totals, &rt->stats, l);
        for (unsigned w = 0; w < rt->worker_count; w++) {
            const struct listener_worker_stats *stats = l->worker[w];
            s->bytes_in += counter_get(&stats->bytes_in);
            s->bytes_out += counter_get(&stats->bytes_out);
            s->refused += counter_get(&stats->connections_refused);
            s->handshake_failures += counter_get(&stats->handshake_failures);
            for (unsigned t = 0; t < TERMINATIONS; t++)
                s->terminations[t] += counter_get(&stats->terminations[t]);
        }
    }
}

/* How exchanges failed, by the word that the logs say. */
static json_t *failures_json(const struct sums *s)
{
    json_t *out = json_object();
    for (unsigned t = 0; out && t < TERMINATIONS; t++)
        if (s->terminations[t] && termination_is_failure((enum termination)t))
            json_object_set_new(out, termination_word((enum termination)t),
                                json_integer((json_int_t)s->terminations[t]));
    return out;
}

static bool is_in_trouble(const struct runtime *rt, const struct upstream *u, size_t usable)
{
    const struct server_group *g = registry_group(rt->registry, u->name);
    return usable < u->set->count || u->set->count == 0 || (g && group_in_panic(g)) ||
           (u->breaker && breaker_state(u->breaker) != BREAKER_CLOSED) ||
           (u->queue && queue_waiting(u->queue));
}

static json_t *upstream_json(const struct runtime *rt, const struct upstream *u, size_t usable)
{
    static const char *const words[] = {
        [BREAKER_CLOSED] = "closed", [BREAKER_OPEN] = "open", [BREAKER_HALF_OPEN] = "half_open"};
    const struct server_group *g = registry_group(rt->registry, u->name);
    return json_pack("{s:o, s:I, s:I, s:b, s:s?, s:I, s:I}", "name", json_slice(u->name), "usable",
                     (json_int_t)usable, "servers", (json_int_t)u->set->count, "panic",
                     g && group_in_panic(g), "breaker", u->breaker ? words[breaker_state(u->breaker)] : NULL,
                     "queue", (json_int_t)(u->queue ? queue_waiting(u->queue) : 0), "queue_size",
                     (json_int_t)(u->queue ? u->settings->queue->size : 0));
}

/* {"total", "in_flight", "queue", "trouble": […]} */
static json_t *upstreams_of(const struct runtime *rt)
{
    const struct snapshot *s = rt->snapshot;
    uint64_t in_flight = 0, waiting = 0;
    json_t *trouble = json_array();
    for (size_t i = 0; i < s->upstream_count; i++) {
        const struct upstream *u = s->upstreams[i];
        size_t usable = 0;
        for (size_t k = 0; k < u->set->count; k++) {
            usable += server_usable(u->set->servers[k]);
            in_flight += server_in_flight(u->set->servers[k]);
        }
        waiting += u->queue ? queue_waiting(u->queue) : 0;
        if (json_array_size(trouble) < LIVE_TROUBLE && is_in_trouble(rt, u, usable))
            json_array_append_new(trouble, upstream_json(rt, u, usable));
    }
    return json_pack("{s:I, s:I, s:I, s:o}", "total", (json_int_t)s->upstream_count, "in_flight",
                     (json_int_t)in_flight, "queue", (json_int_t)waiting, "trouble", trouble);
}

usec_t api_reading_time(struct admin *a)
{
    loop_read_clock(&a->runtime->control);
    return loop_now_us(&a->runtime->control);
}

json_t *live_reading(struct admin *a, struct live *l)
{
    struct runtime *rt = a->runtime;
    struct sums s = {0};
    usec_t now_us = api_reading_time(a);
    sum_listeners(rt, &s);
    json_t *out = status_json(a);
    json_t *more =
        json_pack("{s:I, s:I, s:I, s:I, s:o, s:I, s:I, s:I, s:o, s:o}", //
                  "now_us", (json_int_t)now_us, "requests", (json_int_t)s.totals.requests, "client_errors",
                  (json_int_t)s.totals.client_errors, "server_errors", (json_int_t)s.totals.server_errors,
                  "statuses", live_classes_json(s.totals.statuses), "bytes_in", (json_int_t)s.bytes_in,
                  "bytes_out", (json_int_t)s.bytes_out, "duration_us", (json_int_t)s.totals.duration_us,
                  "bounds", bounds_json(), "durations", live_sparse_json(s.totals.fine));
    json_t *rest =
        json_pack("{s:o, s:I, s:I, s:o, s:o, s:o, s:o}", "tls", live_tls_json(&rt->stats, NULL),
                  "handshake_failures", (json_int_t)s.handshake_failures, "connections_refused",
                  (json_int_t)s.refused, "failures", failures_json(&s), "upstreams", upstreams_of(rt),
                  "servers", live_servers_json(rt, &l->servers), "routes", live_routes_json(rt, &l->routes));
    if (out && more)
        json_object_update(out, more);
    if (out && rest)
        json_object_update(out, rest);
    json_decref(more);
    json_decref(rest);
    return out;
}

void live_add_status(struct admin *a, json_t *status)
{
    struct runtime *rt = a->runtime;
    struct counters *tables[WORKERS_MAX];
    size_t workers = metrics_tables(rt, tables);
    uint64_t opened = 0, reused = 0;
    struct sums s = {0};
    sum_listeners(rt, &s);
    for (size_t i = 0; i < rt->snapshot->upstream_count; i++) {
        const struct server_set *set = rt->snapshot->upstreams[i]->set;
        for (size_t k = 0; k < set->count; k++) {
            struct server_totals t;
            counters_sum(tables, workers, set->servers[k], &t);
            opened += t.opened;
            reused += t.reused;
        }
    }
    json_t *upstreams = upstreams_of(rt);
    json_t *more = json_pack(
        "{s:I, s:I, s:I, s:o, s:o, s:O*, s:O*, s:o, s:o, s:I}", "requests", (json_int_t)s.totals.requests,
        "client_errors", (json_int_t)s.totals.client_errors, "server_errors",
        (json_int_t)s.totals.server_errors, "statuses", live_classes_json(s.totals.statuses), "durations",
        totals_durations_json(s.totals.fine), "in_flight", json_object_get(upstreams, "in_flight"), "queue",
        json_object_get(upstreams, "queue"), "reuse_ratio", live_reuse_json(opened, reused), "handshakes",
        live_tls_json(&rt->stats, NULL), "handshake_failures", (json_int_t)s.handshake_failures);
    if (status && more)
        json_object_update(status, more);
    json_decref(more);
    json_decref(upstreams);
}
