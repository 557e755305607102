/* Answers to GET /metrics. What is small goes out whole, by its length. What is not is made and sent a piece
 * at a time, chunked, between the other things that the control thread does, and no faster than the client
 * takes it. */
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

#include "admin/metrics.h"
#include "admin/metrics_accept.h"

#define PIECE      (128u << 10) /* made at a time; also how much of it waits to be taken */
#define POLL_MS    10           /* while the client takes nothing */
#define SCRAPE_MS  60000
#define GZIP_LEVEL 1
#define GZIP_BITS  (15 + 16)

static void on_timer(struct timer *t);

/* One answer under way. */
struct scrape {
    struct metrics_run run;
    struct list link;   /* in the admin's scrapes, once it is sent in pieces */
    struct list stream; /* of its http_stream; empty once the client is gone */
    struct loop *loop;
    struct timer timer;
    struct task task; /* the next piece; in the end its grave */
    msec_t deadline;
    bool is_gzip, is_chunked;
    z_stream gzip;
    char *packed; /* PIECE bytes, for gzip */
};

static void bury(struct task *t)
{
    struct scrape *s = CONTAINER_OF(t, struct scrape, task);
    metrics_abandon(&s->run);
    if (s->is_gzip)
        deflateEnd(&s->gzip);
    free(s->packed);
    free(s);
}

static void scrape_free(struct scrape *s)
{
    loop_timer_clear(s->loop, &s->timer);
    list_remove(&s->link);
    loop_bury(s->loop, &s->task, bury);
}

static struct scrape *scrape_create(struct http_call *c)
{
    struct scrape *s = calloc(1, sizeof *s);
    struct admin *a = admin_of(c);
    enum metrics_format format = METRICS_TEXT;
    if (!s)
        return NULL;
    for (size_t i = 0; i < c->request.fields.count; i++) {
        const struct field *f = &c->request.fields.at[i];
        if (slice_equal_nocase(f->name, S("accept")) && metrics_accept(f->value) == METRICS_OPENMETRICS)
            format = METRICS_OPENMETRICS;
    }
    s->loop = &a->runtime->control;
    list_init(&s->link);
    list_init(&s->stream);
    timer_init(&s->timer, on_timer);
    task_init(&s->task);
    metrics_begin(&s->run, a, format);
    s->packed = metrics_accept_gzip(http_call_field(c, "accept-encoding")) ? malloc(PIECE) : NULL;
    s->is_gzip =
        s->packed && deflateInit2(&s->gzip, GZIP_LEVEL, Z_DEFLATED, GZIP_BITS, 9, Z_DEFAULT_STRATEGY) == Z_OK;
    return s;
}

/* Steps until there is a piece, or all; true while there is more. */
static bool make_piece(struct metrics_run *r)
{
    bool more = true;
    while (r->w.out.len < PIECE && (more = metrics_step(r)))
        ;
    return more;
}

/* Gives what gzip makes of the text that is there to `take`, a buffer at a time. */
static void pack(struct scrape *s, bool last,
                 void (*take)(struct scrape *s, struct slice piece, void *argument), void *argument)
{
    struct metrics_buffer *text = &s->run.w.out;
    s->gzip.next_in = (Bytef *)text->at;
    s->gzip.avail_in = (uInt)text->len;
    do {
        s->gzip.next_out = (Bytef *)s->packed;
        s->gzip.avail_out = PIECE;
        deflate(&s->gzip, last ? Z_FINISH : Z_NO_FLUSH);
        take(s, slice_of(s->packed, PIECE - s->gzip.avail_out), argument);
    } while (s->gzip.avail_out == 0);
}

/* In pieces. */

static void send_chunk(struct scrape *s, struct slice piece, void *argument)
{
    char head[16];
    (void)argument;
    if (!piece.len || list_empty(&s->stream))
        return;
    struct http_stream *stream = CONTAINER_OF(s->stream.next, struct http_stream, link);
    int n = snprintf(head, sizeof head, "%zx\r\n", piece.len);
    if (s->is_chunked)
        http_stream_send(stream, slice_of(head, (size_t)n));
    if (!list_empty(&s->stream))
        http_stream_send(stream, piece);
    if (s->is_chunked && !list_empty(&s->stream))
        http_stream_send(stream, S("\r\n"));
}

static void send_piece(struct scrape *s, bool last)
{
    struct metrics_buffer *text = &s->run.w.out;
    for (size_t at = 0; !s->is_gzip && at < text->len; at += PIECE) {
        size_t n = text->len - at < PIECE ? text->len - at : PIECE;
        send_chunk(s, slice_of(text->at + at, n), NULL);
    }
    if (s->is_gzip)
        pack(s, last, send_chunk, NULL);
    text->len = 0;
}

/* An answer that broke off must be seen to: no last chunk. */
static void end(struct scrape *s)
{
    if (!list_empty(&s->stream)) {
        struct http_stream *stream = CONTAINER_OF(s->stream.next, struct http_stream, link);
        if (s->is_chunked && !s->run.w.failed)
            http_stream_send(stream, S("0\r\n\r\n"));
        if (!list_empty(&s->stream))
            http_stream_close(stream);
    }
    scrape_free(s);
}

/* As long as the client keeps up, a piece goes out with every pass of the loop. */
static void go_on(struct task *t)
{
    struct scrape *s = CONTAINER_OF(t, struct scrape, task);
    if (loop_now(s->loop) > s->deadline)
        s->run.w.failed = true;
    if (list_empty(&s->stream) || s->run.w.failed) {
        end(s);
        return;
    }
    if (http_stream_backlog(CONTAINER_OF(s->stream.next, struct http_stream, link)) >= PIECE / 2) {
        loop_timer(s->loop, &s->timer, POLL_MS);
        return;
    }
    bool more = make_piece(&s->run);
    if (!s->run.w.failed)
        send_piece(s, !more);
    if (more)
        loop_defer(s->loop, t, go_on);
    else
        end(s);
}

static void on_timer(struct timer *t)
{
    go_on(&CONTAINER_OF(t, struct scrape, timer)->task);
}

static void begin_pieces(struct scrape *s, struct http_call *c, const char *type, const char *extra)
{
    s->is_chunked = c->request.minor > 0;
    const char *head =
        arena_printf(&c->arena, "%s%s", extra, s->is_chunked ? "Transfer-Encoding: chunked\r\n" : "");
    if (head)
        http_call_stream(c, type, head, &s->stream);
    if (list_empty(&s->stream)) {
        scrape_free(s);
        return;
    }
    list_append(&admin_of(c)->scrapes, &s->link);
    s->deadline = loop_now(s->loop) + SCRAPE_MS;
    send_piece(s, false);
    loop_defer(s->loop, &s->task, go_on);
}

void metrics_close(struct admin *a)
{
    LIST_EACH_SAFE (node, &a->scrapes) {
        struct scrape *s = CONTAINER_OF(node, struct scrape, link);
        s->run.w.failed = true;
        end(s);
    }
}

/* Whole. */

static void keep(struct scrape *s, struct slice piece, void *argument)
{
    struct metrics_buffer *whole = argument;
    char *grown = s->run.w.failed ? NULL : realloc(whole->at, whole->len + piece.len + 1);
    if (!grown) {
        s->run.w.failed = true;
        return;
    }
    memcpy(grown + whole->len, piece.at, piece.len);
    whole->at = grown;
    whole->len += piece.len;
}

static void reply(struct scrape *s, struct http_call *c, const char *type, const char *extra)
{
    struct metrics_buffer packed = {0};
    if (s->is_gzip)
        pack(s, true, keep, &packed);
    const struct metrics_buffer *body = s->is_gzip ? &packed : &s->run.w.out;
    if (s->run.w.failed)
        api_problem(c, 503, "out of memory", NULL);
    else
        http_call_reply(c, 200, type, slice_of(body->at, body->len), extra);
    free(packed.at);
    scrape_free(s);
}

void metrics_answer(struct http_call *c)
{
    struct scrape *s = scrape_create(c);
    if (!s) {
        api_problem(c, 503, "out of memory", NULL);
        return;
    }
    const char *type = s->run.w.format == METRICS_OPENMETRICS
                           ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                           : "text/plain; version=0.0.4; charset=utf-8";
    const char *extra = s->is_gzip ? "Vary: Accept, Accept-Encoding\r\nContent-Encoding: gzip\r\n"
                                   : "Vary: Accept, Accept-Encoding\r\n";
    if (make_piece(&s->run))
        begin_pieces(s, c, type, extra);
    else
        reply(s, c, type, extra);
}
