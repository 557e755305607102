/* GET /api/v1/events: server-sent events (WHATWG HTML §9.2). Every second an `event: status` with totals -
 * rates and percentiles are the reader's differences -, and an `event: notice` when something happens. The
 * timer runs while somebody listens. */
#include <stdlib.h>

#include "admin/internal.h"
#include "admin/totals.h"

#define TICK_MS       1000
#define SERVERS_SHOWN 256u /* of which those that are not up come first */

static json_t *server_json(struct counters *const *tables, size_t count, const struct upstream *u,
                           struct server *s)
{
    struct server_totals t;
    struct server_report r;
    uint64_t answered = 0, errors = 0;
    counters_sum(tables, count, s, &t);
    server_report(s, &r);
    for (unsigned i = 0; i < COUNTERS_STATUSES; i++) {
        answered += t.statuses[i];
        errors += counters_status_text(i)[0] == '5' || i == 0 ? t.statuses[i] : 0;
    }
    return json_pack("{s:o, s:o, s:s, s:s, s:I, s:b, s:I, s:I, s:I, s:I, s:I}", "upstream",
                     json_slice(u->name), "address", json_slice(s->name), "state", r.state, "reason",
                     r.reason, "weight", (json_int_t)r.weight, "backup", r.backup, "in_flight",
                     (json_int_t)r.in_flight, "idle", (json_int_t)t.idle, "requests", (json_int_t)answered,
                     "errors", (json_int_t)errors, "duration_us", (json_int_t)t.duration_us);
}

static json_t *servers_json(const struct runtime *rt)
{
    struct counters *tables[WORKERS_MAX];
    size_t workers = metrics_tables(rt, tables), shown = 0;
    const struct snapshot *s = rt->snapshot;
    json_t *all = json_array();
    for (int usable = 0; all && usable < 2; usable++) {
        for (size_t i = 0; i < s->upstream_count; i++) {
            const struct upstream *u = s->upstreams[i];
            for (size_t k = 0; k < u->set->count; k++)
                if (server_usable(u->set->servers[k]) == (usable != 0) && shown++ < SERVERS_SHOWN)
                    json_array_append_new(all, server_json(tables, workers, u, u->set->servers[k]));
        }
    }
    return all;
}

static json_t *summary_json(struct admin *a)
{
    struct runtime *rt = a->runtime;
    struct totals t = {0};
    uint64_t bytes_in = 0, bytes_out = 0;
    for (const struct listener_stats *l = rt->stats.listeners; l; l = l->next) {
        totals_add_listener(&t, &rt->stats, l);
        for (unsigned w = 0; w < rt->worker_count; w++) {
            bytes_in += counter_get(&l->worker[w]->bytes_in);
            bytes_out += counter_get(&l->worker[w]->bytes_out);
        }
    }
    json_t *out = status_json(a);
    json_t *more = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o}", "now_us",
                             (json_int_t)loop_now_us(&rt->control), "requests", (json_int_t)t.requests,
                             "client_errors", (json_int_t)t.client_errors, "server_errors",
                             (json_int_t)t.server_errors, "bytes_in", (json_int_t)bytes_in, "bytes_out",
                             (json_int_t)bytes_out, "duration_us", (json_int_t)t.duration_us, "durations",
                             totals_durations_json(&t), "servers", servers_json(rt));
    if (out && more)
        json_object_update_new(out, more);
    else
        json_decref(more);
    return out;
}

/* Sending. */

/* malloc'ed; takes the value over. */
static char *event_text(const char *name, json_t *value)
{
    char *json = value ? json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL, *text = NULL;
    if (json && asprintf(&text, "event: %s\ndata: %s\n\n", name, json) < 0)
        text = NULL;
    free(json);
    json_decref(value);
    return text;
}

static void send_all(struct admin *a, const char *name, json_t *value)
{
    char *text = event_text(name, value);
    LIST_EACH_SAFE (node, &a->streams) {
        if (text)
            http_stream_send(CONTAINER_OF(node, struct http_stream, link), slice_text(text));
    }
    free(text);
}

static void on_tick(struct timer *t)
{
    struct admin *a = CONTAINER_OF(t, struct admin, tick);
    if (list_empty(&a->streams))
        return;
    send_all(a, "status", summary_json(a));
    if (!list_empty(&a->streams))
        loop_timer(&a->runtime->control, &a->tick, TICK_MS);
}

static json_t *notice_json(const struct notice *n)
{
    return json_pack("{s:o, s:s, s:o}", "time", json_time(n->wall_us), "kind", n->kind, "text",
                     json_slice(slice_text(n->text)));
}

void events_notice(struct admin *a, const char *kind, const char *text)
{
    struct notice *n = &a->notices[a->notice_count++ % NOTICES_KEPT];
    n->wall_us = loop_wall_us(&a->runtime->control);
    snprintf(n->kind, sizeof n->kind, "%s", kind);
    snprintf(n->text, sizeof n->text, "%s", text ? text : "");
    if (!list_empty(&a->streams))
        send_all(a, "notice", notice_json(n));
}

/* Who comes late is told what happened before, then how things are. */
void api_events(struct http_call *c)
{
    struct admin *a = admin_of(c);
    struct list mine;
    list_init(&mine);
    http_call_stream(c, "text/event-stream", NULL, &mine);
    if (list_empty(&mine))
        return;
    struct http_stream *s = CONTAINER_OF(mine.next, struct http_stream, link);
    list_remove(&s->link);
    list_append(&a->streams, &s->link);
    uint64_t first = a->notice_count > NOTICES_KEPT ? a->notice_count - NOTICES_KEPT : 0;
    for (uint64_t i = first; i < a->notice_count; i++) {
        char *text = event_text("notice", notice_json(&a->notices[i % NOTICES_KEPT]));
        if (text && list_linked(&s->link))
            http_stream_send(s, slice_text(text));
        free(text);
    }
    char *text = event_text("status", summary_json(a));
    if (text && list_linked(&s->link))
        http_stream_send(s, slice_text(text));
    free(text);
    if (!a->tick.deadline)
        loop_timer(&a->runtime->control, &a->tick, TICK_MS);
}

void events_init(struct admin *a)
{
    list_init(&a->streams);
    timer_init(&a->tick, on_tick);
}

void events_close(struct admin *a)
{
    LIST_EACH_SAFE (node, &a->streams) {
        http_stream_close(CONTAINER_OF(node, struct http_stream, link));
    }
    if (a->runtime)
        loop_timer_clear(&a->runtime->control, &a->tick);
}
