/* What is counted by server, and the sums of it by upstream. The numbers are copied at the section's start:
 * servers may go while it is written. */
#include <stdlib.h>

#include "admin/metrics.h"
#include "balancer/outlier.h"

#define ROWS_A_STEP 128u

/* An exemplar of a bucket. */
struct bucket_exemplar {
    struct bucket_exemplar *next;
    unsigned bucket;
    struct exemplar_text text;
};

struct server_row {
    struct slice upstream_name, name;
    struct server_totals totals;
    bool up, checked, check_ok;
    uint32_t weight, ramp, in_flight, max_connections;
    usec_t check_took_us;
    uint64_t connect_failures, ejections[EJECTIONS];
    struct bucket_exemplar *exemplars;
};

struct upstream_sums {
    struct slice name;
    struct attempt_counts attempts;
};

struct metrics_servers {
    struct arena arena; /* names, exemplars, sums */
    struct upstream_sums *upstreams;
    size_t upstream_count;
    size_t count;
    struct server_row rows[];
};

void metrics_servers_free(struct metrics_servers *s)
{
    if (!s)
        return;
    arena_reset(&s->arena);
    free(s);
}

/* Copying. */

static void copy_exemplars(struct metrics_run *r, struct arena *a, struct server *s, struct server_row *row)
{
    struct counters *tables[WORKERS_MAX];
    struct exemplar_text text;
    size_t workers = metrics_tables(r->runtime, tables);
    for (unsigned i = 0; i < EXEMPLARS; i++) {
        struct bucket_exemplar *e;
        if (!row->totals.durations[i] || !counters_exemplar(tables, workers, s, i, &text) ||
            !(e = arena_alloc(a, sizeof *e)))
            continue;
        *e = (struct bucket_exemplar){row->exemplars, i, text};
        row->exemplars = e;
    }
}

static void copy_server(struct metrics_run *r, struct arena *a, struct server *s, struct server_row *row)
{
    struct counters *tables[WORKERS_MAX];
    struct server_report report;
    row->name = arena_copy(a, s->name);
    counters_sum(tables, metrics_tables(r->runtime, tables), s, &row->totals);
    server_report(s, &report);
    row->up = strcmp(report.state, "up") == 0;
    row->checked = report.checked;
    row->check_ok = report.check_ok;
    row->weight = report.weight;
    row->ramp = report.ramp;
    row->in_flight = report.in_flight;
    row->max_connections = report.max_connections;
    row->check_took_us = report.check_took_us;
    row->connect_failures = report.connect_failures;
    memcpy(row->ejections, report.ejections, sizeof row->ejections);
    if (r->w.format == METRICS_OPENMETRICS)
        copy_exemplars(r, a, s, row);
}

/* With what servers that have left did. */
static void begin_sums(struct metrics_run *r, struct upstream_sums *sums, struct slice name)
{
    const struct server_group *g = registry_group(r->runtime->registry, name);
    *sums = (struct upstream_sums){.name = name};
    if (g)
        sums->attempts = g->past;
}

static struct metrics_servers *copy_servers(struct metrics_run *r)
{
    const struct snapshot *s = r->runtime->snapshot;
    size_t all = 0;
    for (size_t i = 0; i < s->upstream_count; i++)
        all += s->upstreams[i]->set->count;
    struct metrics_servers *servers = calloc(1, sizeof *servers + all * sizeof servers->rows[0]);
    if (!servers)
        return NULL;
    arena_init(&servers->arena, NULL, 0);
    servers->upstreams = arena_alloc(&servers->arena, (s->upstream_count + 1) * sizeof *servers->upstreams);
    if (!servers->upstreams) {
        metrics_servers_free(servers);
        return NULL;
    }
    servers->upstream_count = s->upstream_count;
    for (size_t i = 0; i < s->upstream_count; i++) {
        const struct upstream *u = s->upstreams[i];
        struct upstream_sums *sums = &servers->upstreams[i];
        begin_sums(r, sums, arena_copy(&servers->arena, u->name));
        for (size_t k = 0; k < u->set->count; k++) {
            struct server_row *row = &servers->rows[servers->count++];
            row->upstream_name = sums->name;
            copy_server(r, &servers->arena, u->set->servers[k], row);
            sums->attempts.retries += row->totals.retries;
            sums->attempts.hedges += row->totals.hedges;
            sums->attempts.hedges_won += row->totals.hedges_won;
        }
    }
    return servers;
}

/* Writing: a family tells how a row of it is written; its labels are set. */

struct server_family {
    enum metrics_type type;
    const char *name, *help;
    void (*write)(struct metrics_run *r, const char *name, const struct server_row *row);
};

static void with(struct metrics_run *r, const char *name, const char *label, const char *word, uint64_t value)
{
    size_t before = metrics_label(&r->w, label, slice_text(word));
    metrics_count(&r->w, name, value);
    metrics_cut(&r->w, before);
}

static void up(struct metrics_run *r, const char *name, const struct server_row *row)
{
    metrics_count(&r->w, name, row->up);
}
static void check_up(struct metrics_run *r, const char *name, const struct server_row *row)
{
    if (row->checked)
        metrics_count(&r->w, name, row->check_ok);
}
static void check_duration(struct metrics_run *r, const char *name, const struct server_row *row)
{
    if (row->checked)
        metrics_number(&r->w, name, (double)row->check_took_us / 1e6);
}
static void weight(struct metrics_run *r, const char *name, const struct server_row *row)
{
    metrics_count(&r->w, name, row->weight);
}
static void effective_weight(struct metrics_run *r, const char *name, const struct server_row *row)
{
    metrics_number(&r->w, name, (double)row->weight * row->ramp / SERVER_WEIGHT_SCALE);
}
static void in_flight(struct metrics_run *r, const char *name, const struct server_row *row)
{
    metrics_count(&r->w, name, row->in_flight);
}
static void in_flight_limit(struct metrics_run *r, const char *name, const struct server_row *row)
{
    if (row->max_connections)
        metrics_count(&r->w, name, row->max_connections);
}
static void connections(struct metrics_run *r, const char *name, const struct server_row *row)
{
    with(r, name, "state", "idle", row->totals.idle);
    with(r, name, "state", "busy", row->totals.busy);
}
static void opened(struct metrics_run *r, const char *name, const struct server_row *row)
{
    metrics_count(&r->w, name, row->totals.opened);
}
static void reused(struct metrics_run *r, const char *name, const struct server_row *row)
{
    metrics_count(&r->w, name, row->totals.reused);
}
static void connect_failures(struct metrics_run *r, const char *name, const struct server_row *row)
{
    metrics_count(&r->w, name, row->connect_failures);
}
static void bytes(struct metrics_run *r, const char *name, const struct server_row *row)
{
    with(r, name, "direction", "in", row->totals.bytes_in);
    with(r, name, "direction", "out", row->totals.bytes_out);
}
static void ejections(struct metrics_run *r, const char *name, const struct server_row *row)
{
    for (unsigned why = 0; why < EJECTIONS; why++)
        if (row->ejections[why])
            with(r, name, "reason", outlier_word((enum ejection)why), row->ejections[why]);
}
static void statuses(struct metrics_run *r, const char *name, const struct server_row *row)
{
    for (unsigned i = 0; i < COUNTERS_STATUSES; i++)
        if (row->totals.statuses[i])
            with(r, name, "status", counters_status_text(i), row->totals.statuses[i]);
}
static void durations(struct metrics_run *r, const char *name, const struct server_row *row)
{
    struct exemplar_text exemplars[EXEMPLARS];
    for (unsigned i = 0; i < EXEMPLARS; i++)
        exemplars[i].id_len = 0;
    for (const struct bucket_exemplar *e = row->exemplars; e; e = e->next)
        exemplars[e->bucket] = e->text;
    metrics_histogram(&r->w, name, row->totals.durations, row->totals.duration_us, exemplars);
}

static const struct server_family families[] = {
    {METRICS_GAUGE, "upstream_up", "1 when the server gets requests, 0 when it is down or drained.", up},
    {METRICS_GAUGE, "upstream_check_up", "1 when the server's last health check was passed.", check_up},
    {METRICS_GAUGE, "upstream_check_duration_seconds", "How long the server's last health check took.",
     check_duration},
    {METRICS_GAUGE, "upstream_weight", "The server's weight.", weight},
    {METRICS_GAUGE, "upstream_weight_effective", "The same while it starts slowly: less.", effective_weight},
    {METRICS_GAUGE, "upstream_in_flight", "Requests and streams that the server has now.", in_flight},
    {METRICS_GAUGE, "upstream_in_flight_limit", "How many it may have (max_connections).", in_flight_limit},
    {METRICS_GAUGE, "upstream_connections", "Connections to the server.", connections},
    {METRICS_COUNTER, "upstream_connections_opened_total", "Connections to the server that were begun.",
     opened},
    {METRICS_COUNTER, "upstream_connections_reused_total",
     "Idle connections to the server that were used again.", reused},
    {METRICS_COUNTER, "upstream_connect_failures_total",
     "Connects and handshakes with the server that failed.", connect_failures},
    {METRICS_COUNTER, "upstream_bytes_total", "Bytes on the wire, from (in) and to (out) the server.", bytes},
    {METRICS_COUNTER, "upstream_ejections_total", "Times that the server was ejected.", ejections},
    {METRICS_COUNTER, "upstream_requests_total", "Answers of the server by status; none where none came.",
     statuses},
    {METRICS_HISTOGRAM, "upstream_duration_seconds", "From the attempt's start to its end.", durations},
};

/* `offset` in struct attempt_counts. */
static void by_upstream(struct metrics_run *r, const char *name, const char *help, size_t offset)
{
    const struct metrics_servers *s = r->servers;
    metrics_family(&r->w, METRICS_COUNTER, name, help);
    for (size_t i = 0; i < s->upstream_count; i++) {
        const struct upstream_sums *u = &s->upstreams[i];
        size_t none = metrics_label(&r->w, "upstream", u->name);
        metrics_count(&r->w, name, *(const uint64_t *)(const void *)((const char *)&u->attempts + offset));
        metrics_cut(&r->w, none);
    }
}

static void sums(struct metrics_run *r)
{
    by_upstream(r, "retries_total", "Attempts after a request's first.",
                offsetof(struct attempt_counts, retries));
    by_upstream(r, "hedges_total", "Second attempts that were made beside a late one.",
                offsetof(struct attempt_counts, hedges));
    by_upstream(r, "hedges_won_total", "Second attempts that answered first.",
                offsetof(struct attempt_counts, hedges_won));
}

bool metrics_of_servers(struct metrics_run *r)
{
    if (!r->begun) {
        r->begun = true;
        r->servers = copy_servers(r);
        r->w.failed = r->w.failed || !r->servers;
    }
    if (r->w.failed)
        return false;
    if (r->family == COUNT_OF(families)) {
        sums(r);
        metrics_servers_free(r->servers);
        r->servers = NULL;
        return false;
    }
    const struct server_family *f = &families[r->family];
    if (r->row == 0)
        metrics_family(&r->w, f->type, f->name, f->help);
    for (unsigned n = 0; n < ROWS_A_STEP && r->row < r->servers->count; n++, r->row++) {
        const struct server_row *row = &r->servers->rows[r->row];
        size_t none = metrics_label(&r->w, "upstream", row->upstream_name);
        metrics_label(&r->w, "server", row->name);
        f->write(r, f->name, row);
        metrics_cut(&r->w, none);
    }
    if (r->row >= r->servers->count) {
        r->family++;
        r->row = 0;
    }
    return true;
}
