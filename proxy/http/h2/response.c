#include "proxy/http/h2/internal.h"

size_t h2_high_water(const struct h2_stream *s)
{
    return s->connection->stream_count <= H2_FEW_STREAMS ? CONN_HIGH_WATER : H2_STREAM_HIGH_WATER;
}

static struct h2_stream *of_exchange(const struct exchange *x)
{
    struct h2_stream *s = x->down;
    ASSERT(s->magic == H2_STREAM_MAGIC);
    return s;
}

/* Keeps the bytes behind the first `skip` until the client's windows take them. */
static void keep(struct h2_stream *s, const struct iovec *body, int count, size_t skip)
{
    struct h2_connection *c = s->connection;
    if (s->closed)
        return;
    if (buffer_append(&s->pending, &c->worker->loop.blocks, body, count, skip) != 0) {
        h2_reset(s, NGHTTP2_INTERNAL_ERROR);
        return;
    }
    if (s->pending.bytes >= h2_high_water(s))
        s->over = true;
}

/* Whether more of its body can leave at once, and need not be copied. */
static bool is_free(const struct h2_stream *s)
{
    const struct h2_connection *c = s->connection;
    return !c->in_library && !s->closed && s->pending.bytes == 0 && !h2_is_full(c);
}

/* More of the body, or its end, after what was kept; its head too, where that is `lent`. */
static void go_on(struct h2_stream *s, const struct iovec *body, int count, bool lent)
{
    struct h2_connection *c = s->connection;
    struct h2_now now;
    now.stream = s;
    now.body = body;
    now.count = count;
    now.taken = now.left = 0;
    now.lent_count = 0;
    for (int i = 0; i < count; i++)
        now.left += body[i].iov_len;
    if (s->deferred) {
        s->deferred = false;
        nghttp2_session_resume_data(c->session, s->id);
    }
    if (now.left || lent) {
        h2_send_now(c, &now);
        keep(s, body, count, now.taken);
    }
    h2_flush_later(c);
    h2_stream_clock(s);
}

static void inform(struct exchange *x, const struct http_response *r)
{
    struct h2_stream *s = of_exchange(x);
    struct h2_response_head h;
    if (r->status == 101)
        return; /* RFC 9113 §8.6 */
    if (h2_response_head(&h, x, r, FIELD_BIT(FIELD_CONTENT_LENGTH), false) == 0)
        s->heads_wait += nghttp2_submit_headers(s->connection->session, NGHTTP2_FLAG_NONE, s->id, NULL, h.at,
                                                h.count, NULL) == 0;
    h2_flush_later(s->connection);
}

static bool has_bytes(const struct iovec *iov, int count)
{
    for (int i = 0; i < count; i++)
        if (iov[i].iov_len)
            return true;
    return false;
}

static int respond(struct exchange *x, const struct http_response *r, const struct iovec *body, int count,
                   bool end)
{
    struct h2_stream *s = of_exchange(x);
    struct h2_response_head h;
    bool unknown = r->body == BODY_CHUNKED || r->body == BODY_UNTIL_CLOSE;
    bool at_once = is_free(s);
    if (h2_response_head(&h, x, r, unknown ? FIELD_BIT(FIELD_CONTENT_LENGTH) : 0, at_once) != 0 ||
        h2_response_head_size(&h) > HEAD_BUFFER)
        return -1;
    bool is_all = end && !has_bytes(body, count);
    if (!at_once) {
        keep(s, body, count, 0);
        count = 0;
    }
    s->ended = end;
    nghttp2_data_provider provider = {.source.ptr = s, .read_callback = h2_read_body};
    if (s->closed ||
        nghttp2_submit_response(s->connection->session, s->id, h.at, h.count, is_all ? NULL : &provider) != 0)
        h2_reset(s, NGHTTP2_INTERNAL_ERROR);
    else
        s->heads_wait++;
    go_on(s, body, count, at_once);
    return 0;
}

static void respond_body(struct exchange *x, const struct iovec *body, int count, bool end,
                         const struct fields *trailers)
{
    struct h2_stream *s = of_exchange(x);
    if (!is_free(s)) {
        keep(s, body, count, 0);
        count = 0;
    }
    if (end && trailers && trailers->count && h2_keep_trailers(s, trailers) != 0)
        h2_reset(s, NGHTTP2_INTERNAL_ERROR);
    s->ended = end;
    go_on(s, body, count, false);
}

static void cut(struct exchange *x)
{
    struct h2_stream *s = of_exchange(x);
    s->x = NULL;
    list_remove(&s->resume);
    exchange_end(x);
    h2_reset(s, s->tunnel ? NGHTTP2_CANCEL : NGHTTP2_INTERNAL_ERROR); /* RFC 8441 §5 */
    h2_stream_clock(s);
}

static void want_body(struct exchange *x, bool want)
{
    struct h2_stream *s = of_exchange(x);
    if (want)
        h2_consume(s);
    h2_stream_clock(s);
}

/* Of the stream alone. The exchange's mark is that of a connection, and a stream is to wait sooner. */
static size_t backlog(const struct exchange *x)
{
    struct h2_stream *s = of_exchange(x);
    size_t high = h2_high_water(s);
    if (s->pending.bytes < high)
        return s->pending.bytes;
    s->over = true; /* who is told to wait must be told to go on */
    return s->pending.bytes + CONN_HIGH_WATER - high;
}

/* What has come before waits for the flush. */
static void upgrade(struct exchange *x)
{
    struct h2_stream *s = of_exchange(x);
    ASSERT(s->connects);
    s->tunnel = true;
    if (!list_linked(&s->resume))
        list_append(&s->connection->resumable, &s->resume);
    h2_stream_clock(s);
    h2_flush_later(s->connection);
}

static const struct conn *connection(const struct exchange *x)
{
    return of_exchange(x)->connection->conn;
}

static void done(struct exchange *x)
{
    struct h2_stream *s = of_exchange(x);
    s->x = NULL;
    list_remove(&s->resume);
    exchange_end(x);
    h2_count_bytes(s->connection);
    s->drop_rest = !s->request_done;
    if (s->closed && !s->tunnel) /* with what is still in the processor's caches of it */
        h2_stream_free(s, END_COMPLETE);
    else
        h2_stream_clock(s);
}

const struct downstream_ops h2_ops = {
    .inform = inform,
    .respond = respond,
    .respond_body = respond_body,
    .cut = cut,
    .want_body = want_body,
    .backlog = backlog,
    .upgrade = upgrade,
    .done = done,
    .connection = connection,
};
