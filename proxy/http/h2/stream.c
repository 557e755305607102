#include <stdlib.h>

#include "proxy/http/h2/internal.h"

struct h2_stream *h2_stream_of(struct h2_connection *c, int32_t id)
{
    struct h2_stream *s = c->recent;
    if (!s || s->id != id)
        s = nghttp2_session_get_stream_user_data(c->session, id);
    ASSERT(!s || s->magic == H2_STREAM_MAGIC);
    return s;
}

static void forget(struct h2_stream *s)
{
    if (s->connection->recent == s)
        s->connection->recent = NULL;
}

void h2_stream_closed(struct h2_stream *s)
{
    struct h2_connection *c = s->connection;
    if (!c->now) {
        h2_stream_free(s, END_CLIENT_GONE);
        h2_set_clock(c);
        return;
    }
    forget(s);
    s->closed = true;
    list_remove(&s->link);
    list_append(&c->closed, &s->link);
}

/* Streams. */

static void on_timer(struct timer *t);
static void let_go(struct h2_stream *s);

struct h2_stream *h2_stream_create(struct h2_connection *c, int32_t id)
{
    struct h2_stream *s = recycler_zalloc(&c->worker->recycler, sizeof *s);
    if (!s)
        return NULL;
    s->magic = H2_STREAM_MAGIC;
    s->id = id;
    s->connection = c;
    list_init(&s->resume);
    list_append(&c->streams, &s->link);
    timer_init(&s->timer, on_timer);
    s->begun = loop_now(&c->worker->loop);
    c->stream_count++;
    nghttp2_session_set_stream_user_data(c->session, id, s);
    c->recent = s;
    return s;
}

void h2_stream_free(struct h2_stream *s, enum exchange_end why)
{
    struct h2_connection *c = s->connection;
    struct exchange *x = s->x;
    s->x = NULL;
    if (x && x->response_done)
        exchange_end(x); /* only the rest of the request was waited for */
    else if (x)
        exchange_abort(x, s->timed_out ? END_TIMEOUT : why);
    loop_timer_clear(&c->worker->loop, &s->timer);
    let_go(s);
    list_remove(&s->link);
    list_remove(&s->resume);
    if (s->pending.bytes || s->early.bytes) {
        buffer_clear(&s->pending, &c->worker->loop.blocks);
        buffer_clear(&s->early, &c->worker->loop.blocks);
    }
    free(s->trailers);
    forget(s);
    c->stream_count--;
    s->magic = 0;
    recycler_free(&c->worker->recycler, s);
}

void h2_reset(struct h2_stream *s, uint32_t error)
{
    if (s->closed)
        return;
    nghttp2_submit_rst_stream(s->connection->session, NGHTTP2_FLAG_NONE, s->id, error);
    h2_flush_later(s->connection);
}

static bool waits_for_body(const struct h2_stream *s)
{
    return s->x && !s->request_done && s->x->want_body && !s->connects;
}

void h2_stream_clock(struct h2_stream *s)
{
    if (s->drop_rest && s->end_sent) {
        loop_timer(&s->connection->worker->loop, &s->timer,
                   s->tunnel ? H2_TUNNEL_REST_WAIT_MS : H2_REST_WAIT_MS);
        return;
    }
    if (s->tunnel || (!waits_for_body(s) && !s->pending.bytes)) { /* of a tunnel, the responder has one */
        timer_pause(&s->timer);
        return;
    }
    s->progress = s->sent + s->received;
    loop_timer(&s->connection->worker->loop, &s->timer,
               s->x ? exchange_body_timeout(s->x) : h2_timeouts(s->connection)->body);
}

/* The client sends nothing, or takes nothing. */
static void on_timer(struct timer *t)
{
    struct h2_stream *s = CONTAINER_OF(t, struct h2_stream, timer);
    ASSERT(s->magic == H2_STREAM_MAGIC);
    if (s->drop_rest && s->end_sent) {
        h2_reset(s, NGHTTP2_NO_ERROR); /* RFC 9113 §8.1 */
        return;
    }
    if (s->progress != s->sent + s->received) {
        h2_stream_clock(s);
        return;
    }
    if (s->pending.bytes) {
        s->timed_out = true;
        h2_reset(s, NGHTTP2_CANCEL);
    } else if (waits_for_body(s)) {
        exchange_fail(s->x, 408, "the request's body took too long");
    }
}

/* A stream that waits holds up no other, until many do. */
static void give_back(struct h2_connection *c)
{
    if (!c->owed || c->held > H2_HELD_MAX)
        return;
    nghttp2_session_consume_connection(c->session, c->owed);
    c->owed = 0;
    h2_flush_later(c);
}

/* Nothing of the stream is held any more. */
static void let_go(struct h2_stream *s)
{
    s->connection->held -= s->unconsumed;
    s->unconsumed = 0;
    give_back(s->connection);
}

void h2_consume(struct h2_stream *s)
{
    if (!s->unconsumed)
        return;
    nghttp2_session_consume_stream(s->connection->session, s->id, s->unconsumed);
    let_go(s);
    h2_flush_later(s->connection);
}
/* The request's body. */

/* Of a stream that is no tunnel yet: it waits for the server's answer, and no window is given for it. */
static void keep_early(struct h2_stream *s, const struct iovec *iov)
{
    struct h2_connection *c = s->connection;
    if (buffer_append(&s->early, &c->worker->loop.blocks, iov, 1, 0) != 0)
        h2_reset(s, NGHTTP2_INTERNAL_ERROR);
    give_back(c);
}

static void pass_early(struct h2_stream *s)
{
    struct block_pool *blocks = &s->connection->worker->loop.blocks;
    struct iovec iov;
    while (s->x && buffer_peek(&s->early, &iov, 1) == 1) {
        exchange_body(s->x, &iov, 1, false);
        buffer_consume(&s->early, blocks, iov.iov_len);
    }
    if (s->x && s->request_done && !s->x->request_done)
        exchange_body(s->x, NULL, 0, true);
    if (s->x && s->x->want_body)
        h2_consume(s);
}

void h2_resume(struct h2_stream *s)
{
    if (s->x && s->tunnel && !s->x->request_done)
        pass_early(s);
    if (s->x)
        exchange_resume(s->x);
}

/* The window closes on what nobody wants. A little of it is no reason for a reset, which some clients take
 * for a failure. */
static void drop(struct h2_stream *s, size_t len)
{
    give_back(s->connection);
    if (!s->drop_rest || !s->end_sent || s->dropped > H2_REST_MAX)
        return;
    s->dropped += (uint32_t)len;
    if (s->dropped > H2_REST_MAX)
        h2_reset(s, NGHTTP2_NO_ERROR); /* RFC 9113 §8.1 */
}

void h2_stream_data(struct h2_stream *s, const uint8_t *data, size_t len)
{
    struct h2_connection *c = s->connection;
    c->owed += len;
    s->received += len;
    if (!s->x) {
        drop(s, len);
        return;
    }
    if (s->has_length && s->received > s->length) {
        give_back(c);
        h2_reset(s, NGHTTP2_PROTOCOL_ERROR);
        return;
    }
    s->unconsumed += len;
    c->held += len;
    struct iovec iov = {(void *)(uintptr_t)data, len};
    if (s->connects && (!s->tunnel || s->early.bytes)) {
        keep_early(s, &iov);
        return;
    }
    exchange_body(s->x, &iov, 1, false);
    if (!s->x)
        let_go(s);
    if (!s->x || !s->x->want_body) {
        give_back(c);
        return;
    }
    h2_consume(s);
    if (!s->window_grown && s->received > H2_STREAM_WINDOW / 2) {
        /* Its body is taken as it comes: let more of it be on the way. */
        s->window_grown = true;
        nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, s->id, H2_GROWN_WINDOW);
    }
    h2_stream_clock(s);
}

void h2_stream_end(struct h2_stream *s)
{
    s->request_done = true;
    if (!s->x || (s->connects && (!s->tunnel || s->early.bytes)))
        return;
    if (s->has_length && s->received != s->length) {
        h2_reset(s, NGHTTP2_PROTOCOL_ERROR);
        return;
    }
    exchange_body(s->x, NULL, 0, true);
}
