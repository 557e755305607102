/* GET /api/v1/events: server-sent events (WHATWG HTML §9.2). Every second an `event: status` with a reading
 * (live.h), made once for all who listen, and an `event: notice` when something happens. The timer runs while
 * somebody listens. */
#include <stdlib.h>

#include "admin/internal.h"
#include "admin/live.h"

#define TICK_MS 1000
#define BACKLOG_MAX                                                                                          \
    (64u << 10) /* who is further behind is told the newest state later, not the old ones too */

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

/* `may_wait`: what is told a second later anew. */
static void send_all(struct admin *a, const char *name, json_t *value, bool may_wait)
{
    char *text = event_text(name, value);
    LIST_EACH_SAFE (node, &a->streams) {
        struct http_stream *s = CONTAINER_OF(node, struct http_stream, link);
        if (text && !(may_wait && http_stream_backlog(s) > BACKLOG_MAX))
            http_stream_send(s, slice_text(text));
    }
    free(text);
}

static void on_tick(struct timer *t)
{
    struct admin *a = CONTAINER_OF(t, struct admin, tick);
    if (list_empty(&a->streams))
        return;
    send_all(a, "status", live_reading(a, &a->live), true);
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
        send_all(a, "notice", notice_json(n), false);
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
    char *text = event_text("status", live_reading(a, &a->live));
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
    live_free(&a->live);
}
