#include "proxy/http/h2/internal.h"

#define OUT_VECTORS 64 /* of one write: H2_GATHER_MAX and a frame in blocks, pieces lent, their heads */

bool h2_is_full(const struct h2_connection *c)
{
    const struct h2_stream *s = c->now ? c->now->stream : NULL;
    return conn_backlog(c->conn) > CONN_LOW_WATER && !(s && s->heads_wait && !s->closed);
}

/* What was gathered, from `from` to `to`. */
static int add_gathered(const struct h2_connection *c, struct iovec *iov, int max, size_t from, size_t to)
{
    int count = from < to ? buffer_peek_from(&c->out, from, iov, max) : 0, used = 0;
    for (size_t left = to - from; left && used < count; used++) {
        if (iov[used].iov_len > left)
            iov[used].iov_len = left;
        left -= iov[used].iov_len;
    }
    return used;
}

void h2_write_out(struct h2_connection *c)
{
    struct iovec iov[OUT_VECTORS];
    size_t done = 0;
    int count = 0;
    for (unsigned i = 0; c->now && i < c->now->lent_count; i++) {
        count += add_gathered(c, iov + count, OUT_VECTORS - count, done, c->now->lent[i].behind);
        iov[count++] = c->now->lent[i].bytes;
        done = c->now->lent[i].behind;
    }
    count += add_gathered(c, iov + count, OUT_VECTORS - count, done, c->out.bytes);
    ASSERT(count < OUT_VECTORS);
    if (count)
        conn_write(c->conn, iov, count);
    if (c->now)
        c->now->lent_count = 0;
    buffer_clear(&c->out, &c->worker->loop.blocks);
}

void h2_put(struct h2_connection *c, const void *at, size_t len)
{
    if (UNLIKELY(c->out.bytes >= H2_GATHER_MAX))
        h2_write_out(c);
    c->out_failed |= buffer_put(&c->out, &c->worker->loop.blocks, at, len) != 0;
}

int h2_send_all(struct h2_connection *c)
{
    const uint8_t *at;
    ssize_t n = 0;
    c->in_library = true;
    while (!h2_is_full(c) && !c->out_failed && (n = nghttp2_session_mem_send(c->session, &at)) > 0)
        h2_put(c, at, (size_t)n);
    c->in_library = false;
    return n < 0 || c->out_failed ? -1 : 0;
}

void h2_send_now(struct h2_connection *c, struct h2_now *now)
{
    ASSERT(!c->in_library && !c->now);
    c->now = now;
    c->recent = now->stream;
    c->out_failed |= h2_send_all(c) != 0;
    c->out_failed |= now->stream->heads_wait && !now->stream->closed;
    if (now->lent_count && !c->out_failed)
        h2_write_out(c);
    c->now = NULL;
}
