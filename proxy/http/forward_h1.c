#include <errno.h>

#include "proxy/http/forward_internal.h"
#include "proxy/http/forward_request.h"
#include "proxy/introduce.h"
#include "tls/info.h"

static const struct conn_handler handler;
static const struct forward_side side;

/* Connecting. */

bool forward_h1_take(struct forward *f)
{
    struct worker *w = f->x->worker;
    if (f->wants_new)
        return false;
    f->uc = pool_take(&w->pool, f->upstream, f->server, &handler, f);
    if (!f->uc)
        return false;
    f->last_reused = true;
    f->side = &side;
    forward_send_request(f);
    return true;
}

int forward_h1_open(struct forward *f)
{
    struct exchange *x = f->x;
    struct worker *w = x->worker;
    bool chooses = f->upstream->settings->protocol == UPSTREAM_AUTO;
    if (forward_h1_take(f))
        return 0;
    f->uc =
        pool_connect_alpn(&w->pool, f->upstream, f->server, chooses ? S("\x08http/1.1") : S(""), &handler, f);
    if (!f->uc)
        return errno;
    f->side = &side;
    struct introduction i = {
        .client = &x->client, .destination = x->destination, .from = x->down_ops->connection(x)};
    introduce(&f->uc->conn, f->upstream, &i);
    conn_timer_connect(&f->uc->conn, forward_connect_time(f), forward_handshake_time(f));
    return 0;
}

void forward_h1_adopt(struct forward *f, struct upstream_conn *uc)
{
    f->uc = uc;
    f->side = &side;
    uc->user = f;
    uc->conn.handler = &handler;
    forward_send_request(f);
}

static void connection_failed(struct forward *f, int error)
{
    struct upstream_conn *uc = f->uc;
    const char *why = tls_failure(&uc->conn);
    if (!why && error == ETIMEDOUT && uc->conn.handshaking)
        why = "the TLS handshake took too long";
    if (why)
        why = arena_printf(&f->x->arena, "%s", why); /* it goes with the connection */
    f->uc = NULL;
    f->side = NULL;
    pool_fail(uc);
    forward_unreachable(f, error, why);
}

static void connected(struct conn *c)
{
    forward_send_request(forward_of_conn(c));
}

static void drained(struct conn *c)
{
    exchange_want_body(forward_of_conn(c)->x, true);
}

static void timeout(struct conn *c)
{
    struct forward *f = forward_of_conn(c);
    if (f->sent)
        forward_timeout(f);
    else
        connection_failed(f, ETIMEDOUT);
}

static void failed(struct conn *c, int error)
{
    struct forward *f = forward_of_conn(c);
    if (f->sent)
        forward_lost(f, "the connection to the server broke");
    else
        connection_failed(f, error);
}

static const struct conn_handler handler = {
    .connected = connected,
    .readable = forward_readable,
    .drained = drained,
    .timeout = timeout,
    .failed = failed,
};

/* Writing. */

/* What there is of a body of known length, to go with the head. */
static int body_ahead(struct forward *f, struct iovec *iov)
{
    struct exchange *x = f->x;
    int count = 0;
    f->ahead = 0;
    if (x->request.body != BODY_LENGTH)
        return 0;
    if (x->body.bytes)
        count = buffer_peek(&x->body, iov, FORWARD_VECTORS);
    else if (x->at_hand.iov_len)
        iov[count++] = x->at_hand;
    for (int i = 0; i < count; i++)
        f->ahead += iov[i].iov_len;
    return count;
}

static int send_head(struct forward *f)
{
    struct exchange *x = f->x;
    struct iovec iov[1 + FORWARD_VECTORS];
    struct head_writer w;
    head_init(&w, x->worker->head_buffer, HEAD_BUFFER);
    forward_write_head(x, &f->fields, &w);
    if (w.overflow)
        return -1;
    iov[0] = head_iovec(&w);
    int count = head_join(&w, iov, 1 + body_ahead(f, iov + 1));
    conn_write(&f->uc->conn, iov, count);
    return 0;
}

/* Writes decoded bytes of the body in the request's framing, and what ends it if `last`. */
static void send_body(struct forward *f, const struct iovec *body, int count, bool last)
{
    struct exchange *x = f->x;
    bool chunked = x->request.body == BODY_CHUNKED;
    struct iovec iov[FORWARD_VECTORS + 4];
    char line[H1_CHUNK_LINE];
    uint64_t total = 0;
    int n = 0;
    ASSERT(count <= FORWARD_VECTORS);
    for (int i = 0; i < count; i++)
        total += body[i].iov_len;
    if (total && chunked)
        iov[n++] = (struct iovec){line, h1_chunk_line(total, line)};
    for (int i = 0; i < count; i++)
        if (body[i].iov_len)
            iov[n++] = body[i];
    if (total && chunked)
        iov[n++] = (struct iovec){(void *)(uintptr_t) "\r\n", 2};
    if (chunked && last) {
        struct head_writer w;
        head_init(&w, x->worker->head_buffer, HEAD_BUFFER);
        head_put(&w, S("0\r\n"));
        head_put_fields(&w, &x->trailers, 0);
        head_put(&w, S("\r\n"));
        iov[n++] = head_iovec(&w);
    }
    if (n)
        conn_write(&f->uc->conn, iov, n);
}

static size_t backlog(const struct forward *f)
{
    return conn_backlog(&f->uc->conn);
}

static uint64_t progress(const struct forward *f)
{
    return f->uc->conn.bytes_out;
}

static void stop_reading(struct forward *f)
{
    conn_want_read(&f->uc->conn, false);
}

static void read_on(struct forward *f)
{
    conn_want_read(&f->uc->conn, true);
}

static void timer(struct forward *f, msec_t delay)
{
    if (delay)
        conn_timer(&f->uc->conn, delay);
    else
        conn_timer_pause(&f->uc->conn);
}

static void let_go(struct forward *f, bool reusable)
{
    struct exchange *x = f->x;
    struct upstream_conn *uc = f->uc;
    f->uc = NULL;
    conn_keep(&uc->conn, slice_of(NULL, 0));
    if (reusable)
        pool_give(&x->worker->pool, f->upstream, uc, forward_timeouts(x)->upstream_keepalive);
    else
        pool_discard(uc);
}

static const struct forward_side side = {
    .send_head = send_head,
    .send_body = send_body,
    .backlog = backlog,
    .progress = progress,
    .pause = stop_reading,
    .read_on = read_on,
    .timer = timer,
    .let_go = let_go,
};
