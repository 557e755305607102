#include <stdio.h>
#include <stdlib.h>

#include "core/log.h"
#include "proxy/http/h2/internal.h"

#define TINY_BYTES 32 /* of a DATA frame that could have held more */

/* Few streams get long stretches of their server's answer at once: reading and writing in turns costs. */
static size_t high_water(const struct h2_stream *s)
{
    return s->connection->stream_count <= H2_FEW_STREAMS ? CONN_HIGH_WATER : H2_STREAM_HIGH_WATER;
}

static struct h2_stream *of_exchange(const struct exchange *x)
{
    struct h2_stream *s = x->down;
    ASSERT(s->magic == H2_STREAM_MAGIC);
    return s;
}

/* Fields for nghttp2, which copies them and puts their names in lower case. */

static bool is_of_connection(const struct field *f)
{
    switch (f->id) {
    case FIELD_CONNECTION:
    case FIELD_KEEP_ALIVE:
    case FIELD_PROXY_CONNECTION:
    case FIELD_TE:
    case FIELD_TRANSFER_ENCODING:
    case FIELD_UPGRADE:
        return true;
    default:
        return f->name.len == 0 || f->name.at[0] == ':';
    }
}

static void put(nghttp2_nv *to, struct slice name, struct slice value)
{
    *to = (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name.at,
                       .namelen = name.len,
                       .value = (uint8_t *)(uintptr_t)value.at,
                       .valuelen = value.len};
}

static size_t put_fields(nghttp2_nv *to, const struct field *at, uint32_t count, uint64_t skip)
{
    size_t n = 0;
    for (uint32_t i = 0; i < count; i++)
        if (!is_of_connection(&at[i]) && !(at[i].id && skip >> at[i].id & 1))
            put(&to[n++], at[i].name, at[i].value);
    return n;
}

/* The head as nghttp2 takes it, from the exchange's arena; *count is 0 when out of memory. */
static nghttp2_nv *head_of(struct exchange *x, const struct http_response *r, uint64_t skip, size_t *count)
{
    nghttp2_nv *nv = arena_alloc(&x->arena, (r->fields.count + 2) * sizeof *nv);
    char *text = arena_alloc(&x->arena, 24);
    *count = 0;
    if (!nv || !text)
        return NULL;
    for (unsigned i = 3, rest = r->status; i-- > 0; rest /= 10)
        text[i] = (char)('0' + rest % 10);
    put(&nv[0], S(":status"), slice_of(text, 3));
    size_t n = 1 + put_fields(nv + 1, r->fields.at, r->fields.count, skip);
    bool has_length = r->has_content_length && r->body != BODY_CHUNKED && r->body != BODY_UNTIL_CLOSE;
    if (has_length && r->status >= 200 && !fields_find(&r->fields, FIELD_CONTENT_LENGTH)) {
        char *digits = arena_alloc(&x->arena, 24);
        if (!digits)
            return NULL;
        int len = snprintf(digits, 24, "%llu", (unsigned long long)r->content_length);
        put(&nv[n++], S("content-length"), slice_of(digits, (size_t)len));
    }
    *count = n;
    return nv;
}

static size_t head_size(const nghttp2_nv *nv, size_t count)
{
    size_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += nv[i].namelen + nv[i].valuelen + 4;
    return size;
}

/* The body, from the stream's buffer. */

static int submit_trailers(struct h2_stream *s)
{
    nghttp2_nv *nv = malloc((s->trailer_count + 1) * sizeof *nv);
    if (!nv)
        return -1;
    size_t n = put_fields(nv, s->trailers, s->trailer_count, 0);
    int failed = nghttp2_submit_trailer(s->connection->session, s->id, nv, n);
    free(nv);
    return failed;
}

/* The part of its body that is sent from where it is; NULL = from its buffer. */
static struct h2_now *now_of(const struct h2_stream *s)
{
    struct h2_now *now = s->connection->now;
    return now && now->stream == s ? now : NULL;
}

static ssize_t read_body(nghttp2_session *session, int32_t id, uint8_t *buf, size_t size, uint32_t *flags,
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
            if (submit_trailers(s) != 0)
                return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
        }
    }
    return (ssize_t)n;
}

static void put_or_lend(struct h2_connection *c, struct iovec piece)
{
    struct h2_now *now = c->now;
    if (piece.iov_len < H2_LENT_MIN || now->lent_count == H2_LENT_MAX) {
        h2_put(c, &piece, 1);
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
    struct iovec iov[4];
    while (length) {
        int count = buffer_peek(&s->pending, iov, COUNT_OF(iov)), used = 0;
        size_t taken = 0;
        for (; used < count && taken < length; used++) {
            if (iov[used].iov_len > length - taken)
                iov[used].iov_len = length - taken;
            taken += iov[used].iov_len;
        }
        ASSERT(taken);
        h2_put(c, iov, used);
        buffer_consume(&s->pending, &c->worker->loop.blocks, taken);
        length -= taken;
    }
}

static int send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t length,
                     nghttp2_data_source *source, void *user_data)
{
    struct h2_connection *c = user_data;
    struct h2_stream *s = source->ptr;
    struct iovec iov = {(void *)(uintptr_t)head, H2_FRAME_HEAD};
    (void)session, (void)frame;
    if (h2_is_full(c))
        return NGHTTP2_ERR_WOULDBLOCK;
    h2_abuse_sent(&c->abuse, length);
    h2_put(c, &iov, 1);
    if (now_of(s))
        send_now(c, length);
    else
        send_pending(s, length);
    s->sent += length;
    if (s->over && s->pending.bytes <= high_water(s) / 4 && s->x && !list_linked(&s->resume)) {
        s->over = false;
        list_append(&c->resumable, &s->resume);
    }
    return 0;
}

static int on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    struct h2_connection *c = user_data;
    bool can_end = frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS;
    if (frame->hd.type == NGHTTP2_RST_STREAM) {
        h2_strict_reset(&c->strict, frame->hd.stream_id, false);
        c->late_allowed += H2_GROWN_WINDOW;
    }
    if (frame->hd.type == NGHTTP2_GOAWAY || !can_end || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        return 0;
    struct h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (!s)
        return 0;
    s->end_sent = true;
    if (s->drop_rest)
        h2_stream_clock(s);
    return 0;
}

/* A head that nghttp2 finds too large, or the like: the client must not wait for it. */
static int on_not_sent(nghttp2_session *session, const nghttp2_frame *frame, int error, void *user_data)
{
    struct h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    (void)user_data;
    if (frame->hd.type != NGHTTP2_HEADERS || !s)
        return 0;
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

/* What the exchange asks for. */

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
    if (s->pending.bytes >= high_water(s))
        s->over = true;
}

/* Whether more of its body can leave at once, and need not be copied. */
static bool is_free(const struct h2_stream *s)
{
    const struct h2_connection *c = s->connection;
    return !c->in_library && !s->closed && s->pending.bytes == 0 && !h2_is_full(c);
}

/* More of the body, or its end, after what was kept. */
static void go_on(struct h2_stream *s, const struct iovec *body, int count)
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
    if (now.left) {
        h2_send_now(c, &now);
        keep(s, body, count, now.taken);
    }
    h2_flush_later(c);
    h2_stream_clock(s);
}

static void inform(struct exchange *x, const struct http_response *r)
{
    struct h2_stream *s = of_exchange(x);
    size_t count;
    if (r->status == 101)
        return; /* RFC 9113 §8.6 */
    nghttp2_nv *nv = head_of(x, r, FIELD_BIT(FIELD_CONTENT_LENGTH), &count);
    if (count)
        nghttp2_submit_headers(s->connection->session, NGHTTP2_FLAG_NONE, s->id, NULL, nv, count, NULL);
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
    bool unknown = r->body == BODY_CHUNKED || r->body == BODY_UNTIL_CLOSE;
    size_t n;
    nghttp2_nv *nv = head_of(x, r, unknown ? FIELD_BIT(FIELD_CONTENT_LENGTH) : 0, &n);
    if (!n || head_size(nv, n) > HEAD_BUFFER)
        return -1;
    bool is_all = end && !has_bytes(body, count);
    if (!is_free(s)) {
        keep(s, body, count, 0);
        count = 0;
    }
    s->ended = end;
    nghttp2_data_provider provider = {.source.ptr = s, .read_callback = read_body};
    if (s->closed ||
        nghttp2_submit_response(s->connection->session, s->id, nv, n, is_all ? NULL : &provider) != 0)
        h2_reset(s, NGHTTP2_INTERNAL_ERROR);
    go_on(s, body, count);
    return 0;
}

/* In one block of memory, as the responder's are gone after the call. */
static int keep_trailers(struct h2_stream *s, const struct fields *f)
{
    size_t size = f->count * sizeof *f->at;
    for (uint32_t i = 0; i < f->count; i++)
        size += f->at[i].name.len + f->at[i].value.len;
    s->trailers = malloc(size + 1);
    if (!s->trailers)
        return -1;
    char *to = (char *)(s->trailers + f->count);
    for (uint32_t i = 0; i < f->count; i++) {
        struct field copy = f->at[i];
        memcpy(to, copy.name.at, copy.name.len);
        copy.name.at = to;
        to += copy.name.len;
        if (copy.value.len)
            memcpy(to, copy.value.at, copy.value.len);
        copy.value.at = to;
        to += copy.value.len;
        if (!is_of_connection(&copy))
            s->trailers[s->trailer_count++] = copy;
    }
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
    if (end && trailers && trailers->count && keep_trailers(s, trailers) != 0)
        h2_reset(s, NGHTTP2_INTERNAL_ERROR);
    s->ended = end;
    go_on(s, body, count);
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
    size_t high = high_water(s);
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
