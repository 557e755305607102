#include "admin/live_rows.h"

#include "admin/api_upstreams.h"
#include "admin/totals.h"

json_t *live_sparse_json(const uint64_t fine[COUNTERS_FINE])
{
    json_t *all = json_array();
    for (unsigned i = 0; all && i < COUNTERS_FINE; i++) {
        if (!fine[i])
            continue;
        json_array_append_new(all, json_integer(i));
        json_array_append_new(all, json_integer((json_int_t)fine[i]));
    }
    return all;
}

/* The LIVE_ROWS with the highest scores, the highest first; of equal ones those that came first. */
struct picked {
    size_t count;
    struct {
        double score;
        size_t major, minor;
    } at[LIVE_ROWS];
};

static void pick(struct picked *p, double score, size_t major, size_t minor)
{
    if (p->count == LIVE_ROWS && score <= p->at[LIVE_ROWS - 1].score)
        return;
    size_t i = p->count < LIVE_ROWS ? p->count++ : LIVE_ROWS - 1;
    for (; i > 0 && p->at[i - 1].score < score; i--)
        p->at[i] = p->at[i - 1];
    p->at[i].score = score;
    p->at[i].major = major;
    p->at[i].minor = minor;
}

/* Routes. */

static json_t *route_row(const struct runtime *rt, const struct route *r, uint32_t id)
{
    struct totals t;
    totals_of_route(&t, &rt->stats, id);
    const _Atomic uint32_t *in_flight = rt->stats.in_flight[id];
    json_t *out = r ? route_words_json(rt, r) : json_pack("{s:s}", "name", "-");
    json_t *more =
        json_pack("{s:o, s:I, s:I, s:I, s:I, s:o, s:o}", "in_flight",
                  in_flight ? json_integer((json_int_t)atomic_load(in_flight)) : json_null(), "requests",
                  (json_int_t)t.requests, "client_errors", (json_int_t)t.client_errors, "errors",
                  (json_int_t)t.server_errors, "duration_us", (json_int_t)t.duration_us, "statuses",
                  live_classes_json(t.statuses), "durations", live_sparse_json(t.fine));
    if (out && more)
        json_object_update(out, more);
    json_decref(more);
    return out;
}

/* What met no route is shown as "-" once there was some. */
json_t *live_routes_json(const struct runtime *rt, struct live_rank *rank)
{
    const struct snapshot *s = rt->snapshot;
    struct picked best = {0};
    json_t *rows = json_array();
    for (size_t i = 0; i < s->route_count; i++) {
        uint32_t id = s->route_stats_ids[s->routes[i].index];
        pick(&best, live_rank_note(rank, id, 1, totals_route_requests(&rt->stats, id)), i, id);
    }
    uint64_t lost = totals_route_requests(&rt->stats, 0);
    double lost_rate = live_rank_note(rank, 0, 1, lost);
    if (lost)
        pick(&best, lost_rate, SIZE_MAX, 0);
    for (size_t i = 0; rows && i < best.count; i++) {
        const struct route *r = best.at[i].major == SIZE_MAX ? NULL : &s->routes[best.at[i].major];
        json_array_append_new(rows, route_row(rt, r, (uint32_t)best.at[i].minor));
    }
    return json_pack("{s:I, s:o}", "total", (json_int_t)(s->route_count + (lost != 0)), "rows", rows);
}

/* Servers. */

static uint64_t sum_of(const uint64_t *numbers, size_t count)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += numbers[i];
    return sum;
}

static json_t *server_row(const struct runtime *rt, const struct upstream *u, struct server *s)
{
    struct counters *tables[WORKERS_MAX];
    struct server_totals t;
    struct server_report r;
    counters_sum(tables, metrics_tables(rt, tables), s, &t);
    server_report(s, &r);
    json_t *out =
        json_pack("{s:o, s:o, s:s, s:s, s:b, s:s, s:I, s:I, s:b, s:I, s:I}", //
                  "upstream", json_slice(u->name), "address", json_slice(s->name), "state", r.state, "reason",
                  r.reason, "usable", r.usable, "admin", server_admin_word(r.admin), "weight",
                  (json_int_t)r.weight, "file_weight", (json_int_t)r.file_weight, "backup", r.backup,
                  "in_flight", (json_int_t)r.in_flight, "max_connections", (json_int_t)r.max_connections);
    json_t *more = json_pack("{s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o}", //
                             "changed", json_time(r.changed_us), "idle", (json_int_t)t.idle, "opened",
                             (json_int_t)t.opened, "reused", (json_int_t)t.reused, "failed",
                             (json_int_t)r.connect_failures, "requests",
                             (json_int_t)sum_of(t.statuses, COUNTERS_STATUSES), "errors",
                             (json_int_t)(totals_server_errors(t.statuses) + t.statuses[0]), "duration_us",
                             (json_int_t)t.duration_us, "statuses", live_classes_json(t.statuses),
                             "durations", live_sparse_json(t.fine));
    if (out && more)
        json_object_update(out, more);
    json_decref(more);
    return out;
}

struct server_sums {
    uint64_t total, unusable, opened, reused, failed, retries, hedges;
};

static void take_server(struct server_sums *sums, struct server *s, const struct server_totals *t)
{
    sums->total++;
    sums->unusable += !server_usable(s);
    sums->opened += t->opened;
    sums->reused += t->reused;
    sums->failed += atomic_load_explicit(&s->connect_failures, memory_order_relaxed);
    sums->retries += t->retries;
    sums->hedges += t->hedges;
}

json_t *live_servers_json(const struct runtime *rt, struct live_rank *rank)
{
    struct counters *tables[WORKERS_MAX];
    size_t workers = metrics_tables(rt, tables);
    const struct snapshot *snapshot = rt->snapshot;
    struct picked best = {0};
    struct server_sums sums = {0};
    json_t *rows = json_array();
    for (size_t i = 0; i < snapshot->upstream_count; i++) {
        const struct server_set *set = snapshot->upstreams[i]->set;
        for (size_t k = 0; k < set->count; k++) {
            struct server *s = set->servers[k];
            struct server_totals t;
            counters_sum(tables, workers, s, &t);
            take_server(&sums, s, &t);
            double score = s->id == SERVER_ID_NONE ? 0
                                                   : live_rank_note(rank, s->id, s->serial + 1,
                                                                    sum_of(t.statuses, COUNTERS_STATUSES));
            pick(&best, server_usable(s) ? score : score + 1e15, i, k);
        }
    }
    for (size_t i = 0; rows && i < best.count; i++) {
        const struct upstream *u = snapshot->upstreams[best.at[i].major];
        json_array_append_new(rows, server_row(rt, u, u->set->servers[best.at[i].minor]));
    }
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "total", (json_int_t)sums.total, "unusable",
                     (json_int_t)sums.unusable, "opened", (json_int_t)sums.opened, "reused",
                     (json_int_t)sums.reused, "failed", (json_int_t)sums.failed, "retries",
                     (json_int_t)sums.retries, "hedges", (json_int_t)sums.hedges, "rows", rows);
}
