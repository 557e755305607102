#include "core/log.h"
#include "proxy/http/h2/internal.h"

#define TINY_BYTES 32 /* of a DATA frame that could have held more */

/* The part of its body that is sent from where it is; NULL = from its buffer. */
static struct h2_now *now_of(const struct h2_stream *s)
{
    struct h2_now *now = s->connection->now;
    return now && now->stream == s ? now : NULL;
}

ssize_t h2_read_body(nghttp2_session *session, int32_t id, uint8_t *buf, size_t size, uint32_t *flags,
                     nghttp2_data_source *source, void *user_data)
{
    struct h2_stream *s = source->ptr;
    (void)session, (void)id, (void)buf, (void)user_data;
    ASSERT(s->magic == H2_STREAM_MAGIC);
    const struct h2_now *now = now_of(s);
    size_t there = now ? now->left : s->pending.bytes;
    if (there == 0 && !s->ended) {
        s->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    size_t n = there < size ? there : size;
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (n < TINY_BYTES && n < there)
        h2_count_abuse(s->connection, H2_ABUSE_TINY_WINDOW);
    if (n == there && s->ended) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (s->trailer_count) {
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
            if (h2_submit_trailers(s) != 0)
                return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
        }
    }
    return (ssize_t)n;
}

static void put_or_lend(struct h2_connection *c, struct iovec piece)
{
    struct h2_now *now = c->now;
    if (piece.iov_len < H2_LENT_MIN || now->lent_count == H2_LENT_MAX) {
        h2_put(c, piece.iov_base, piece.iov_len);
        return;
    }
    now->lent[now->lent_count].behind = c->out.bytes;
    now->lent[now->lent_count++].bytes = piece;
}

static void send_now(struct h2_connection *c, size_t length)
{
    struct h2_now *now = c->now;
    size_t skip = now->taken;
    now->taken += length;
    now->left -= length;
    for (int i = 0; i < now->count && length; i++) {
        struct iovec piece = now->body[i];
        size_t jump = skip < piece.iov_len ? skip : piece.iov_len;
        skip -= jump;
        piece.iov_base = (char *)piece.iov_base + jump;
        piece.iov_len -= jump;
        if (piece.iov_len > length)
            piece.iov_len = length;
        length -= piece.iov_len;
        if (piece.iov_len)
            put_or_lend(c, piece);
    }
}

static void send_pending(struct h2_stream *s, size_t length)
{
    struct h2_connection *c = s->connection;
    while (length) {
        struct iovec piece = {NULL, 0};
        buffer_peek(&s->pending, &piece, 1);
        size_t n = piece.iov_len < length ? piece.iov_len : length;
        ASSERT(n);
        h2_put(c, piece.iov_base, n);
        buffer_consume(&s->pending, &c->worker->loop.blocks, n);
        length -= n;
    }
}

static int send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t length,
                     nghttp2_data_source *source, void *user_data)
{
    struct h2_connection *c = user_data;
    struct h2_stream *s = source->ptr;
    (void)session, (void)frame;
    if (h2_is_full(c))
        return NGHTTP2_ERR_WOULDBLOCK;
    h2_abuse_sent(&c->abuse, length);
    h2_put(c, head, H2_FRAME_HEAD);
    if (now_of(s))
        send_now(c, length);
    else
        send_pending(s, length);
    s->sent += length;
    if (s->over && s->pending.bytes <= h2_high_water(s) / 4 && s->x && !list_linked(&s->resume)) {
        s->over = false;
        list_append(&c->resumable, &s->resume);
    }
    return 0;
}

static int on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    struct h2_connection *c = user_data;
    bool is_head = frame->hd.type == NGHTTP2_HEADERS;
    (void)session;
    if (frame->hd.type == NGHTTP2_RST_STREAM) {
        h2_strict_reset(&c->strict, frame->hd.stream_id, false);
        c->late_allowed += H2_GROWN_WINDOW;
    }
    bool is_end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    struct h2_stream *s = NULL;
    if (is_head || (frame->hd.type == NGHTTP2_DATA && is_end))
        s = h2_stream_of(c, frame->hd.stream_id);
    if (!s)
        return 0;
    s->heads_wait -= is_head;
    if (!is_end)
        return 0;
    s->end_sent = true;
    if (s->drop_rest)
        h2_stream_clock(s);
    return 0;
}

/* A head that nghttp2 finds too large, or the like: the client must not wait for it. */
static int on_not_sent(nghttp2_session *session, const nghttp2_frame *frame, int error, void *user_data)
{
    struct h2_connection *c = user_data;
    (void)session;
    if (frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    struct h2_stream *s = h2_stream_of(c, frame->hd.stream_id);
    if (!s)
        return 0;
    s->heads_wait--;
    log_warn("a response head could not be sent", LOG_TEXT("reason", nghttp2_strerror(error)));
    h2_reset(s, NGHTTP2_INTERNAL_ERROR);
    return 0;
}

void h2_response_callbacks(nghttp2_session_callbacks *to)
{
    nghttp2_session_callbacks_set_send_data_callback(to, send_data);
    nghttp2_session_callbacks_set_on_frame_send_callback(to, on_sent);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(to, on_not_sent);
}
