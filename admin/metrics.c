/* GET /metrics: the Prometheus text format, version 0.0.4. Summed over workers when it is asked for. */
#include <dirent.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "admin/api_cache.h"
#include "admin/internal.h"
#include "balancer/outlier.h"
#include "cache/redis.h"
#include "cache/store.h"
#include "proxy/http/h2/abuse.h"

size_t metrics_tables(const struct runtime *rt, struct counters **tables)
{
    for (unsigned i = 0; i < rt->worker_count; i++)
        tables[i] = &rt->workers[i]->counters;
    return rt->worker_count;
}

/* The format. */

static void family(FILE *out, const char *name, const char *type, const char *help)
{
    fprintf(out, "# HELP weir_%s %s\n# TYPE weir_%s %s\n", name, help, name, type);
}

/* A label's value: backslash, quote and line feed escaped. */
static void label(FILE *out, const char *before, const char *name, struct slice value)
{
    fprintf(out, "%s%s=\"", before, name);
    for (size_t i = 0; i < value.len; i++) {
        char c = value.at[i];
        if (c == '\n')
            fputs("\\n", out);
        else if (c == '"' || c == '\\')
            fprintf(out, "\\%c", c);
        else
            fputc(c, out);
    }
    fputc('"', out);
}

static void single(FILE *out, const char *name, const char *type, const char *help, double value)
{
    family(out, name, type, help);
    fprintf(out, "weir_%s %.17g\n", name, value);
}

static void write_labels(FILE *out, const char *const names[2], const struct slice values[2])
{
    for (int i = 0; i < 2; i++)
        label(out, i ? "," : "", names[i], values[i]);
}

/* Cumulative buckets, sum and count of one series. */
static void histogram(FILE *out, const char *name, const char *const names[2], const struct slice values[2],
                      const uint64_t *durations, uint64_t sum_us)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < COUNTERS_DURATIONS; i++) {
        usec_t bound = counters_duration_bound(i);
        count += durations[i];
        fprintf(out, "weir_%s_bucket{", name);
        write_labels(out, names, values);
        if (bound)
            fprintf(out, ",le=\"%g\"} %llu\n", (double)bound / 1e6, (unsigned long long)count);
        else
            fprintf(out, ",le=\"+Inf\"} %llu\n", (unsigned long long)count);
    }
    fprintf(out, "weir_%s_sum{", name);
    write_labels(out, names, values);
    fprintf(out, "} %.6f\nweir_%s_count{", (double)sum_us / 1e6, name);
    write_labels(out, names, values);
    fprintf(out, "} %llu\n", (unsigned long long)count);
}

/* Requests. */

struct route_sum {
    uint64_t statuses[COUNTERS_STATUSES], durations[COUNTERS_DURATIONS], duration_us, count;
};

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
        for (unsigned i = 0; i < COUNTERS_DURATIONS; i++)
            out->durations[i] += counter_get(&row->durations[i]);
        out->duration_us += counter_get(&row->duration_us);
    }
    for (unsigned i = 0; i < COUNTERS_STATUSES; i++)
        out->count += out->statuses[i];
}

static void requests(FILE *out, const struct runtime *rt)
{
    struct route_sum sum;
    family(out, "requests_total", "counter", "Finished requests; the route - is none.");
    for (const struct listener_stats *l = rt->stats.listeners; l; l = l->next) {
        for (uint32_t id = 0; id < rt->stats.route_count; id++) {
            sum_route(rt, l, id, &sum);
            for (unsigned i = 0; sum.count && i < COUNTERS_STATUSES; i++) {
                if (!sum.statuses[i])
                    continue;
                label(out, "weir_requests_total{", "listener", slice_text(l->name));
                label(out, ",", "route", slice_text(rt->stats.routes[id]));
                fprintf(out, ",status=\"%s\"} %llu\n", counters_status_text(i),
                        (unsigned long long)sum.statuses[i]);
            }
        }
    }
    static const char *const names[2] = {"listener", "route"};
    family(out, "request_duration_seconds", "histogram", "From a request's first byte to its answer's last.");
    for (const struct listener_stats *l = rt->stats.listeners; l; l = l->next) {
        for (uint32_t id = 0; id < rt->stats.route_count; id++) {
            const struct slice values[2] = {slice_text(l->name), slice_text(rt->stats.routes[id])};
            sum_route(rt, l, id, &sum);
            if (sum.count)
                histogram(out, "request_duration_seconds", names, values, sum.durations, sum.duration_us);
        }
    }
}

/* Listeners. Offsets are of counters in listener_worker_stats. */

static uint64_t sum_listener(const struct runtime *rt, const struct listener_stats *l, size_t offset)
{
    uint64_t sum = 0;
    for (unsigned w = 0; w < rt->worker_count; w++)
        sum += counter_get((const counter *)(const void *)((const char *)l->worker[w] + offset));
    return sum;
}

static void by_listener(FILE *out, const struct runtime *rt, const char *name, const char *type,
                        const char *help, size_t offset)
{
    family(out, name, type, help);
    for (const struct listener_stats *l = rt->stats.listeners; l; l = l->next) {
        fprintf(out, "weir_%s{", name);
        label(out, "", "listener", slice_text(l->name));
        fprintf(out, "} %llu\n", (unsigned long long)sum_listener(rt, l, offset));
    }
}

/* Of listeners for datagrams alone; `offset` of `count` counters, each with a label's value of its own. */
static void by_udp_listener(FILE *out, const struct runtime *rt, const char *name, const char *help,
                            const char *label_name, const char *const *values, const size_t *offsets,
                            size_t count)
{
    family(out, name, "counter", help);
    for (const struct listener_stats *l = rt->stats.listeners; l; l = l->next) {
        const struct listener_config *config = snapshot_listener(rt->snapshot, slice_text(l->name));
        if (!config || config->protocol != LISTENER_UDP)
            continue;
        for (size_t i = 0; i < count; i++) {
            fprintf(out, "weir_%s{", name);
            label(out, "", "listener", slice_text(l->name));
            if (label_name)
                label(out, ",", label_name, slice_text(values[i]));
            fprintf(out, "} %llu\n", (unsigned long long)sum_listener(rt, l, offsets[i]));
        }
    }
}

static void udp_listeners(FILE *out, const struct runtime *rt)
{
    static const char *const ways[] = {"in", "out"};
    static const size_t datagrams[] = {offsetof(struct listener_worker_stats, udp_in),
                                       offsetof(struct listener_worker_stats, udp_out)};
    static const char *const reasons[] = {"limit", "no_server", "send"};
    static const size_t dropped[] = {offsetof(struct listener_worker_stats, udp_dropped[UDP_DROP_LIMIT]),
                                     offsetof(struct listener_worker_stats, udp_dropped[UDP_DROP_NO_SERVER]),
                                     offsetof(struct listener_worker_stats, udp_dropped[UDP_DROP_SEND])};
    static const size_t evicted[] = {offsetof(struct listener_worker_stats, udp_evicted)};
    by_udp_listener(out, rt, "udp_datagrams_total", "Datagrams from (in) and to (out) clients.", "direction",
                    ways, datagrams, COUNT_OF(ways));
    by_udp_listener(out, rt, "udp_datagrams_dropped_total", "Datagrams that were not passed on.", "reason",
                    reasons, dropped, COUNT_OF(reasons));
    by_udp_listener(out, rt, "udp_sessions_evicted_total",
                    "Sessions that ended to make room for others, the quietest first.", NULL, NULL, evicted,
                    1);
}

static void listeners(FILE *out, const struct runtime *rt)
{
    by_listener(out, rt, "connections", "gauge", "Client connections open now.",
                offsetof(struct listener_worker_stats, connections_open));
    by_listener(out, rt, "connections_total", "counter", "Client connections accepted.",
                offsetof(struct listener_worker_stats, connections));
    by_listener(out, rt, "connections_refused_total", "counter",
                "Client connections closed at once, by a limit.",
                offsetof(struct listener_worker_stats, connections_refused));
    family(out, "bytes_total", "counter", "Bytes on the wire, from (in) and to (out) clients.");
    for (const struct listener_stats *l = rt->stats.listeners; l; l = l->next) {
        static const struct {
            const char *name;
            size_t offset;
        } ways[] = {{"in", offsetof(struct listener_worker_stats, bytes_in)},
                    {"out", offsetof(struct listener_worker_stats, bytes_out)}};
        for (size_t i = 0; i < COUNT_OF(ways); i++) {
            label(out, "weir_bytes_total{", "listener", slice_text(l->name));
            fprintf(out, ",direction=\"%s\"} %llu\n", ways[i].name,
                    (unsigned long long)sum_listener(rt, l, ways[i].offset));
        }
    }
}

/* Upstreams. */

struct server_row {
    const struct upstream *upstream;
    struct server_totals totals;
    struct server_report report;
    struct slice names[2];
};

static const char *const server_labels[2] = {"upstream", "server"};

static void server_series(FILE *out, const char *name, const struct server_row *row, const char *more,
                          double value)
{
    fprintf(out, "weir_%s{", name);
    write_labels(out, server_labels, row->names);
    fprintf(out, "%s} %.17g\n", more, value);
}

static struct server_row *collect_servers(const struct runtime *rt, size_t *count)
{
    struct counters *tables[WORKERS_MAX];
    const struct snapshot *s = rt->snapshot;
    size_t workers = metrics_tables(rt, tables), all = 0;
    for (size_t i = 0; i < s->upstream_count; i++)
        all += s->upstreams[i]->set->count;
    struct server_row *rows = calloc(all + 1, sizeof *rows);
    *count = 0;
    for (size_t i = 0; rows && i < s->upstream_count; i++) {
        struct upstream *u = s->upstreams[i];
        for (size_t k = 0; k < u->set->count; k++) {
            struct server_row *row = &rows[(*count)++];
            row->upstream = u;
            row->names[0] = u->name;
            row->names[1] = u->set->servers[k]->name;
            counters_sum(tables, workers, u->set->servers[k], &row->totals);
            server_report(u->set->servers[k], &row->report);
        }
    }
    return rows;
}

/* A number of each server. */
struct server_family {
    const char *name, *type, *help, *labels;
    double (*value)(const struct server_row *);
};

static double is_up(const struct server_row *r)
{
    return strcmp(r->report.state, "up") == 0;
}
static double weight(const struct server_row *r)
{
    return r->report.weight;
}
static double effective_weight(const struct server_row *r)
{
    return (double)r->report.weight * r->report.ramp / SERVER_WEIGHT_SCALE;
}
static double in_flight(const struct server_row *r)
{
    return r->report.in_flight;
}
static double idle(const struct server_row *r)
{
    return (double)r->totals.idle;
}
static double busy(const struct server_row *r)
{
    return (double)r->totals.busy;
}
static double opened(const struct server_row *r)
{
    return (double)r->totals.opened;
}
static double reused(const struct server_row *r)
{
    return (double)r->totals.reused;
}
static double connect_failures(const struct server_row *r)
{
    return (double)r->report.connect_failures;
}
static double bytes_in(const struct server_row *r)
{
    return (double)r->totals.bytes_in;
}
static double bytes_out(const struct server_row *r)
{
    return (double)r->totals.bytes_out;
}

/* Neighbours of one name are one family. */
static const struct server_family server_families[] = {
    {"upstream_up", "gauge", "1 when the server gets requests, 0 when it is down or drained.", "", is_up},
    {"upstream_weight", "gauge", "The server's weight.", "", weight},
    {"upstream_weight_effective", "gauge", "The same while it starts slowly: less.", "", effective_weight},
    {"upstream_in_flight", "gauge", "Requests and streams that the server has now.", "", in_flight},
    {"upstream_connections", "gauge", "Connections to the server.", ",state=\"idle\"", idle},
    {"upstream_connections", "gauge", "", ",state=\"busy\"", busy},
    {"upstream_connections_opened_total", "counter", "Connections to the server that were begun.", "",
     opened},
    {"upstream_connections_reused_total", "counter", "Idle connections to the server that were used again.",
     "", reused},
    {"upstream_connect_failures_total", "counter", "Connects and handshakes with the server that failed.", "",
     connect_failures},
    {"upstream_bytes_total", "counter", "Bytes on the wire, from (in) and to (out) the server.",
     ",direction=\"in\"", bytes_in},
    {"upstream_bytes_total", "counter", "", ",direction=\"out\"", bytes_out},
};

/* Sums over an upstream's servers; `offset` in struct server_totals. */
static void by_upstream(FILE *out, const struct server_row *rows, size_t count, const char *name,
                        const char *help, size_t offset)
{
    family(out, name, "counter", help);
    for (size_t i = 0; i < count;) {
        const struct upstream *u = rows[i].upstream;
        uint64_t sum = 0;
        for (; i < count && rows[i].upstream == u; i++)
            sum += *(const uint64_t *)(const void *)((const char *)&rows[i].totals + offset);
        fprintf(out, "weir_%s{", name);
        label(out, "", "upstream", u->name);
        fprintf(out, "} %llu\n", (unsigned long long)sum);
    }
}

static void retries(FILE *out, const struct server_row *rows, size_t count)
{
    by_upstream(out, rows, count, "retries_total", "Attempts after a request's first.",
                offsetof(struct server_totals, retries));
    by_upstream(out, rows, count, "hedges_total", "Second attempts that were made beside a late one.",
                offsetof(struct server_totals, hedges));
    by_upstream(out, rows, count, "hedges_won_total", "Second attempts that answered first.",
                offsetof(struct server_totals, hedges_won));
}

static void breakers(FILE *out, const struct runtime *rt)
{
    static const struct {
        const char *name, *type, *help;
    } families[] = {
        {"upstream_breaker", "gauge", "The upstream's breaker: 0 closed, 1 open, 2 half open."},
        {"upstream_breaker_opened_total", "counter",
         "How often the upstream's breaker opened since the last reload."},
    };
    const struct snapshot *s = rt->snapshot;
    for (size_t f = 0; f < COUNT_OF(families); f++) {
        family(out, families[f].name, families[f].type, families[f].help);
        for (size_t i = 0; i < s->upstream_count; i++) {
            const struct breaker *b = s->upstreams[i]->breaker;
            if (!b)
                continue;
            fprintf(out, "weir_%s{", families[f].name);
            label(out, "", "upstream", s->upstreams[i]->name);
            fprintf(out, "} %llu\n",
                    f ? (unsigned long long)atomic_load(&b->opened) : (unsigned long long)breaker_state(b));
        }
    }
}

static void ejections(FILE *out, const struct server_row *rows, size_t count)
{
    family(out, "upstream_ejections_total", "counter", "Times that the server was ejected.");
    for (size_t i = 0; i < count; i++) {
        for (unsigned why = 0; why < EJECTIONS; why++) {
            char reason[32];
            snprintf(reason, sizeof reason, ",reason=\"%s\"", outlier_word((enum ejection)why));
            if (rows[i].report.ejections[why])
                server_series(out, "upstream_ejections_total", &rows[i], reason,
                              (double)rows[i].report.ejections[why]);
        }
    }
}

static void panics(FILE *out, const struct runtime *rt)
{
    family(out, "upstream_panic", "gauge", "1 while too few servers are healthy, and all are used.");
    for (size_t i = 0; i < rt->snapshot->upstream_count; i++) {
        struct slice name = rt->snapshot->upstreams[i]->name;
        const struct server_group *g = registry_group(rt->registry, name);
        label(out, "weir_upstream_panic{", "upstream", name);
        fprintf(out, "} %d\n", g && group_in_panic(g));
    }
}

static void queues(FILE *out, const struct runtime *rt)
{
    static const struct {
        const char *name, *type, *help;
        size_t offset; /* SIZE_MAX: those that wait */
    } families[] = {
        {"upstream_queue", "gauge", "Requests and streams that wait for a server.", SIZE_MAX},
        {"upstream_queue_timeouts_total", "counter", "Waited in vain.", offsetof(struct queue, timeouts)},
        {"upstream_queue_refused_total", "counter", "Found the queue full.", offsetof(struct queue, refused)},
        {"upstream_queued_total", "counter", "Have waited, or still do.", offsetof(struct queue, joined)},
    };
    for (size_t f = 0; f < COUNT_OF(families); f++) {
        family(out, families[f].name, families[f].type, families[f].help);
        for (size_t i = 0; i < rt->snapshot->upstream_count; i++) {
            const struct upstream *u = rt->snapshot->upstreams[i];
            if (!u->queue)
                continue;
            size_t at = families[f].offset;
            uint64_t value = at == SIZE_MAX
                                 ? queue_waiting(u->queue)
                                 : counter_get((const counter *)(const void *)((const char *)u->queue + at));
            fprintf(out, "weir_%s{", families[f].name);
            label(out, "", "upstream", u->name);
            fprintf(out, "} %llu\n", (unsigned long long)value);
        }
    }
}

static void upstreams(FILE *out, const struct runtime *rt)
{
    size_t count;
    struct server_row *rows = collect_servers(rt, &count);
    for (size_t f = 0; rows && f < COUNT_OF(server_families); f++) {
        const struct server_family *fam = &server_families[f];
        if (fam->help[0])
            family(out, fam->name, fam->type, fam->help);
        for (size_t i = 0; i < count; i++)
            server_series(out, fam->name, &rows[i], fam->labels, fam->value(&rows[i]));
    }
    breakers(out, rt);
    if (rows)
        ejections(out, rows, count);
    panics(out, rt);
    queues(out, rt);
    family(out, "upstream_requests_total", "counter",
           "Answers of the server by status; none where none came.");
    for (size_t i = 0; rows && i < count; i++) {
        for (unsigned k = 0; k < COUNTERS_STATUSES; k++) {
            char status[32];
            snprintf(status, sizeof status, ",status=\"%s\"", counters_status_text(k));
            if (rows[i].totals.statuses[k])
                server_series(out, "upstream_requests_total", &rows[i], status,
                              (double)rows[i].totals.statuses[k]);
        }
    }
    family(out, "upstream_duration_seconds", "histogram", "From the attempt's start to its end.");
    for (size_t i = 0; rows && i < count; i++)
        histogram(out, "upstream_duration_seconds", server_labels, rows[i].names, rows[i].totals.durations,
                  rows[i].totals.duration_us);
    if (rows)
        retries(out, rows, count);
    free(rows);
}

/* The cache. */

static void cache_of(FILE *out, const struct runtime *rt)
{
    struct cache_stats s;
    uint64_t results[CACHE_RESULTS];
    cache_store_stats(rt->cache, &s);
    cache_count_results(rt, results);
    family(out, "cache_requests_total", "counter",
           "Finished requests of routes with a cache, by what the cache did.");
    for (unsigned i = CACHE_RESULT_NONE + 1; i < CACHE_RESULTS; i++) {
        label(out, "weir_cache_requests_total{", "result", cache_result_name((enum cache_result)i));
        fprintf(out, "} %llu\n", (unsigned long long)results[i]);
    }
    single(out, "cache_bytes", "gauge", "Memory that the cache takes, everything counted.", (double)s.bytes);
    single(out, "cache_limit_bytes", "gauge", "Memory that it may take.", (double)s.memory);
    single(out, "cache_objects", "gauge", "Stored responses.", (double)s.objects);
    single(out, "cache_fills", "gauge", "Fetches for the cache that are under way.", (double)s.fills);
    single(out, "cache_insertions_total", "counter", "Responses that were stored.", (double)s.insertions);
    single(out, "cache_evictions_total", "counter", "Stored responses that went for want of memory.",
           (double)s.evictions);
    single(out, "cache_purges_total", "counter", "Purges that were asked for.", (double)s.purges);
    single(out, "cache_purged_total", "counter", "Stored responses that went by a purge.", (double)s.purged);
    family(out, "cache_rejected_total", "counter",
           "Responses that were not stored: too large (size), large and asked for once (first), no memory to "
           "be had (memory).");
    fprintf(out, "weir_cache_rejected_total{reason=\"size\"} %llu\n", (unsigned long long)s.rejected_size);
    fprintf(out, "weir_cache_rejected_total{reason=\"first\"} %llu\n", (unsigned long long)s.rejected_first);
    fprintf(out, "weir_cache_rejected_total{reason=\"memory\"} %llu\n",
            (unsigned long long)s.rejected_memory);
}

/* Its second tier, where there is one. */
static void redis_of(FILE *out, const struct runtime *rt)
{
    struct cache_redis_stats s;
    if (!rt->redis)
        return;
    cache_redis_stats(rt->redis, &s);
    uint64_t of_misses = s.purged + s.unreadable;
    const struct {
        const char *result;
        uint64_t count;
    } lookups[] = {{"hit", s.hits},         {"miss", s.misses > of_misses ? s.misses - of_misses : 0},
                   {"purged", s.purged},    {"unreadable", s.unreadable},
                   {"timeout", s.timeouts}, {"skipped", s.skipped}};
    family(out, "cache_redis_lookups_total", "counter",
           "Look-ups in Redis; skipped: not made, because Redis was away, slow or too busy.");
    for (size_t i = 0; i < COUNT_OF(lookups); i++)
        fprintf(out, "weir_cache_redis_lookups_total{result=\"%s\"} %llu\n", lookups[i].result,
                (unsigned long long)lookups[i].count);
    single(out, "cache_redis_workers_up", "gauge", "Workers that use Redis now.", s.workers_up);
    single(out, "cache_redis_synced", "gauge", "1 while the fleet's purges are heard.", s.synced);
    single(out, "cache_redis_errors_total", "counter",
           "Connections to Redis that broke, answers that were errors.", (double)s.errors);
    single(out, "cache_redis_trips_total", "counter", "Times that a worker stopped using Redis.",
           (double)s.trips);
    single(out, "cache_redis_writes_total", "counter", "Responses written to Redis.", (double)s.puts);
    single(out, "cache_redis_writes_dropped_total", "counter", "Responses that were not.", (double)s.dropped);
    single(out, "cache_redis_purges_waiting", "gauge", "Purges that Redis has not taken yet.",
           (double)s.purges_waiting);
}

/* gRPC. */

static void grpc_calls(FILE *out, const struct runtime *rt)
{
    family(out, "grpc_calls_total", "counter",
           "Finished requests of gRPC, by the status that the client was told (none: it was cut).");
    for (const struct listener_stats *l = rt->stats.listeners; l; l = l->next) {
        for (unsigned status = 0; status <= GRPC_STATUSES; status++) {
            size_t offset = offsetof(struct listener_worker_stats, grpc) + status * sizeof(counter);
            uint64_t n = sum_listener(rt, l, offset);
            if (!n)
                continue;
            label(out, "weir_grpc_calls_total{", "listener", slice_text(l->name));
            if (status < GRPC_STATUSES)
                fprintf(out, ",grpc_status=\"%u\"} %llu\n", status, (unsigned long long)n);
            else
                fprintf(out, ",grpc_status=\"none\"} %llu\n", (unsigned long long)n);
        }
    }
}

/* TLS. */

static void handshakes(FILE *out, const struct runtime *rt)
{
    static const char *const versions[4] = {"other", NULL, "1.2", "1.3"};
    family(out, "tls_handshakes_total", "counter", "Handshakes that were completed.");
    for (const struct listener_stats *l = rt->stats.listeners; l; l = l->next) {
        for (unsigned v = 0; v < COUNT_OF(versions); v++) {
            for (unsigned resumed = 0; resumed < 2; resumed++) {
                size_t offset =
                    offsetof(struct listener_worker_stats, handshakes) + (v * 2 + resumed) * sizeof(counter);
                uint64_t n = sum_listener(rt, l, offset);
                if (!n || !versions[v])
                    continue;
                label(out, "weir_tls_handshakes_total{", "listener", slice_text(l->name));
                fprintf(out, ",version=\"%s\",resumed=\"%s\"} %llu\n", versions[v],
                        resumed ? "true" : "false", (unsigned long long)n);
            }
        }
    }
    family(out, "http2_malformed_total", "counter",
           "HTTP/2 requests whose stream was reset for what is in them.");
    for (const struct listener_stats *l = rt->stats.listeners; l; l = l->next) {
        uint64_t n = sum_listener(rt, l, offsetof(struct listener_worker_stats, h2_malformed));
        if (!n)
            continue;
        label(out, "weir_http2_malformed_total{", "listener", slice_text(l->name));
        fprintf(out, "} %llu\n", (unsigned long long)n);
    }
    family(out, "http2_abuse_total", "counter", "HTTP/2 connections that were cut for a flood of some kind.");
    for (const struct listener_stats *l = rt->stats.listeners; l; l = l->next) {
        for (unsigned kind = 0; kind < H2_ABUSE_KINDS; kind++) {
            size_t offset = offsetof(struct listener_worker_stats, h2_abuse) + kind * sizeof(counter);
            uint64_t n = sum_listener(rt, l, offset);
            if (!n)
                continue;
            label(out, "weir_http2_abuse_total{", "listener", slice_text(l->name));
            fprintf(out, ",kind=\"%s\"} %llu\n", h2_abuse_name((enum h2_abuse_kind)kind),
                    (unsigned long long)n);
        }
    }
    family(out, "terminations_total", "counter", "Finished requests, by the word for how they ended.");
    for (const struct listener_stats *l = rt->stats.listeners; l; l = l->next) {
        for (unsigned t = 0; t < TERMINATIONS; t++) {
            size_t offset = offsetof(struct listener_worker_stats, terminations) + t * sizeof(counter);
            uint64_t n = sum_listener(rt, l, offset);
            if (!n)
                continue;
            label(out, "weir_terminations_total{", "listener", slice_text(l->name));
            fprintf(out, ",termination=\"%s\"} %llu\n", termination_word((enum termination)t),
                    (unsigned long long)n);
        }
    }
    by_listener(out, rt, "tls_handshake_failures_total", "counter", "Handshakes that failed.",
                offsetof(struct listener_worker_stats, handshake_failures));
}

/* The same certificate may stand twice in a file; a series may not. */
static bool stands_before(const struct tls_certificate *all, size_t index)
{
    for (size_t i = 0; i < index; i++)
        if (strcmp(all[i].fingerprint, all[index].fingerprint) == 0)
            return true;
    return false;
}

static void certificates(FILE *out, struct runtime *rt)
{
    int64_t now = loop_wall_us(&rt->control) / 1000000;
    family(out, "tls_certificate_expiry_seconds", "gauge",
           "Seconds until the certificate expires; negative once it has.");
    for (size_t i = 0; i < rt->snapshot->listener_count; i++) {
        const struct listener_config *l = &rt->snapshot->listeners[i];
        const struct tls_certificate *all = NULL;
        size_t count = l->tls ? tls_server_certificates(l->tls, &all) : 0;
        for (size_t k = 0; k < count; k++) {
            if (stands_before(all, k))
                continue;
            label(out, "weir_tls_certificate_expiry_seconds{", "listener", l->name);
            label(out, ",", "name", all[k].name_count ? all[k].names[0] : S(""));
            label(out, ",", "fingerprint", slice_of(all[k].fingerprint, 16));
            fprintf(out, "} %lld\n", (long long)(all[k].not_after - now));
        }
    }
}

/* The process. */

static double count_descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    double count = 0;
    for (struct dirent *e; folder && (e = readdir(folder));)
        count += e->d_name[0] != '.';
    if (folder)
        closedir(folder);
    return count > 0 ? count - 1 : 0; /* its own */
}

static double resident_bytes(void)
{
    unsigned long size = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f && fscanf(f, "%lu %lu", &size, &resident) != 2)
        resident = 0;
    if (f)
        fclose(f);
    return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static void process(FILE *out, struct admin *a)
{
    struct runtime *rt = a->runtime;
    struct rusage usage = {0};
    struct rlimit most = {0};
    getrusage(RUSAGE_SELF, &usage);
    getrlimit(RLIMIT_NOFILE, &most);
    family(out, "build_info", "gauge", "1; what runs.");
    fprintf(out, "weir_build_info{version=\"%s\"} 1\n", WEIR_VERSION);
    single(out, "uptime_seconds", "gauge", "Since the process began to serve.",
           (double)(loop_now_us(&rt->control) - rt->started_us) / 1e6);
    single(out, "workers", "gauge", "Event-loop threads.", rt->worker_count);
    single(out, "draining", "gauge", "1 while the process is about to stop.", rt->state != RUNTIME_SERVING);
    single(out, "config_reloads_total", "counter", "Configurations that were taken up after the first.",
           (double)rt->stats.reloads);
    single(out, "config_reload_failures_total", "counter", "Reloads that were refused.",
           (double)rt->stats.reload_failures);
    single(out, "config_generation", "gauge", "The configuration's number, from 1.", (double)rt->generation);
    single(out, "config_loaded_timestamp_seconds", "gauge", "When the configuration was read.",
           (double)rt->snapshot->loaded_at_us / 1e6);
    single(out, "log_lines_lost_total", "counter", "Log lines that an output did not take.",
           (double)(access_logs_lost(a->logs) + (rt->log_sink ? sink_lost(rt->log_sink) : 0)));
    single(out, "process_cpu_seconds_total", "counter", "User and system time.",
           seconds(usage.ru_utime) + seconds(usage.ru_stime));
    single(out, "process_resident_memory_bytes", "gauge", "Resident memory.", resident_bytes());
    single(out, "process_open_fds", "gauge", "Open descriptors.", count_descriptors());
    single(out, "process_max_fds", "gauge", "The most descriptors that may be open.", (double)most.rlim_cur);
}

char *metrics_text(struct admin *a, size_t *len)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, len);
    if (!out)
        return NULL;
    requests(out, a->runtime);
    listeners(out, a->runtime);
    udp_listeners(out, a->runtime);
    upstreams(out, a->runtime);
    cache_of(out, a->runtime);
    redis_of(out, a->runtime);
    grpc_calls(out, a->runtime);
    handshakes(out, a->runtime);
    certificates(out, a->runtime);
    process(out, a);
    bool failed = ferror(out);
    if (fclose(out) == 0 && !failed)
        return text;
    free(text);
    return NULL;
}

void metrics_answer(struct http_call *c)
{
    size_t len = 0;
    char *text = metrics_text(admin_of(c), &len);
    if (text)
        http_call_reply(c, 200, "text/plain; version=0.0.4; charset=utf-8", slice_of(text, len), NULL);
    else
        api_problem(c, 503, "out of memory", NULL);
    free(text);
}
