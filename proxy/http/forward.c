#include "proxy/http/forward.h"

#include <errno.h>

#include "core/log.h"
#include "proxy/http/fields.h"
#include "proxy/http/forward_request.h"
#include "proxy/http/h1/parse.h"
#include "proxy/http/h1/write.h"
#include "tls/info.h"

#define FORWARD_MAGIC 0x46575244u
#define ATTEMPTS_MAX  8
#define BODY_VECTORS  48
#define INTERIM_MAX   100 /* 1xx before one final response */

/* Lives in the exchange's arena. Ends with the exchange, or earlier when both messages are through. */
struct forward {
    uint32_t magic;
    bool sent;         /* the head is on its way on this connection */
    bool sending_done; /* and the body's end */
    bool head_received;
    bool tunnel;
    bool replayable;     /* x->body still holds the whole body from its start */
    bool server_counted; /* upstream_done is owed */
    bool head_begun;     /* some of a response has come */
    bool last_reused;    /* the attempt's connection had been idle before */
    struct exchange *x;
    struct upstream *upstream;
    struct upstream_conn *uc; /* NULL between attempts */
    struct server *tried[ATTEMPTS_MAX];
    unsigned tried_count;
    uint16_t status;
    unsigned interim; /* 1xx so far */
    unsigned resent;  /* attempts after one that had been sent */
    usec_t attempt_us;
    size_t replayed;      /* bytes of x->body that this connection has been given */
    struct fields fields; /* of the request, as upstreams see it */
    /* The response's body. */
    enum body_kind body;
    uint64_t body_left;
    struct h1_chunked chunked;
    size_t scanned;
};

static const struct conn_handler handler;

static void attempt(struct forward *f);
static void send_request(struct forward *f);
static void send_body(struct forward *f, const struct iovec *iov, int count);
static void connection_failed(struct forward *f, int error);
static void lost(struct forward *f, const char *reason);
static void take_response(struct forward *f, struct slice in, bool eof);
static void finish_response(struct forward *f, struct slice rest);
static void let_go(struct forward *f, bool reusable);

static struct forward *of_conn(struct conn *c)
{
    struct forward *f = upstream_conn_of(c)->user;
    ASSERT(f->magic == FORWARD_MAGIC);
    return f;
}

static const struct timeouts *timeouts_of(const struct exchange *x)
{
    return &x->listener->config->settings->timeouts;
}

static struct retry_budget *budget_of(const struct forward *f)
{
    return &f->upstream->budgets[f->x->worker->index];
}

/* Starting. */

static void start(struct exchange *x)
{
    struct forward *f = arena_zalloc(&x->arena, sizeof *f);
    if (!f || forward_fields(x, &f->fields) != 0) {
        exchange_fail(x, 503, "out of memory");
        return;
    }
    f->magic = FORWARD_MAGIC;
    f->x = x;
    f->upstream = x->upstream;
    f->replayable = true;
    x->responder_state = f;
    budget_request(budget_of(f), x->route->retries.budget);
    attempt(f);
}

static void no_server(struct forward *f, enum pick_failure why)
{
    struct exchange *x = f->x;
    if (f->tried_count)
        exchange_fail(x, 502, "the servers that were tried could not be reached");
    else
        exchange_fail(x, 503, pick_failure_text(why));
}

static void attempt(struct forward *f)
{
    struct exchange *x = f->x;
    struct worker *w = x->worker;
    enum pick_failure why = PICK_OK;
    struct pick p = {.tried = f->tried, .tried_count = f->tried_count};
    struct server *s = f->tried_count < ATTEMPTS_MAX ? upstream_pick(f->upstream, w->index, &p, &why) : NULL;
    if (!s) {
        no_server(f, why);
        return;
    }
    f->server_counted = true;
    f->tried[f->tried_count++] = s;
    x->server = s;
    x->attempts++;
    f->attempt_us = loop_now_us(&w->loop);
    if (x->upstream_started_us == 0)
        x->upstream_started_us = f->attempt_us;
    f->sent = f->sending_done = f->head_begun = false;
    f->replayed = 0;
    f->scanned = 0;
    f->uc = pool_take(&w->pool, f->upstream, s, &handler, f);
    f->last_reused = f->uc != NULL;
    if (f->uc) {
        send_request(f);
        return;
    }
    f->uc = pool_connect(&w->pool, f->upstream, s, &handler, f);
    if (!f->uc) {
        connection_failed(f, errno);
        return;
    }
    conn_timer(&f->uc->conn, timeouts_of(x)->connect);
}

static void connected(struct conn *c)
{
    send_request(of_conn(c));
}

/* Sending. */

static void request_sent(struct forward *f)
{
    struct exchange *x = f->x;
    f->sending_done = true;
    msec_t wait = x->route->timeouts.has_response ? x->route->timeouts.response : timeouts_of(x)->response;
    if (!f->tunnel && !f->head_received && f->uc)
        conn_timer(&f->uc->conn, wait);
}

static void send_request(struct forward *f)
{
    struct exchange *x = f->x;
    struct head_writer w;
    head_init(&w, x->worker->head_buffer, HEAD_BUFFER);
    forward_write_head(x, &f->fields, &w);
    if (w.overflow) {
        let_go(f, false);
        exchange_fail(x, 431, "the request's head is too large to be passed on");
        return;
    }
    f->sent = true;
    conn_timer_pause(&f->uc->conn);
    struct iovec iov[BODY_VECTORS + 4];
    iov[0] = head_iovec(&w);
    if (x->request.body == BODY_NONE && x->body.bytes == 0) {
        conn_write(&f->uc->conn, iov, 1);
        request_sent(f);
        return;
    }
    /* What has come of the body so far goes with the head, or behind it. */
    conn_write(&f->uc->conn, iov, 1);
    while (f->replayed < x->body.bytes || (x->request_done && !f->sending_done)) {
        int count = buffer_peek_from(&x->body, f->replayed, iov, BODY_VECTORS);
        size_t bytes = 0;
        for (int i = 0; i < count; i++)
            bytes += iov[i].iov_len;
        f->replayed += bytes;
        bool last = f->replayed == x->body.bytes;
        if (last && x->request_done)
            f->sending_done = true;
        send_body(f, iov, count);
        if (last)
            break;
    }
    if (f->sending_done)
        request_sent(f);
    if (!f->replayable)
        buffer_clear(&x->body, &x->worker->loop.blocks), f->replayed = 0;
    exchange_want_body(x, conn_backlog(&f->uc->conn) < CONN_HIGH_WATER);
}

/* Writes decoded bytes of the body in the request's framing; the end of a chunked one when f->sending_done.
 */
static void send_body(struct forward *f, const struct iovec *body, int count)
{
    struct exchange *x = f->x;
    bool chunked = x->request.body == BODY_CHUNKED && !f->tunnel;
    struct iovec iov[BODY_VECTORS + 4];
    char line[H1_CHUNK_LINE];
    uint64_t total = 0;
    int n = 0;
    for (int i = 0; i < count; i++)
        total += body[i].iov_len;
    if (total && chunked)
        iov[n++] = (struct iovec){line, h1_chunk_line(total, line)};
    for (int i = 0; i < count; i++)
        if (body[i].iov_len)
            iov[n++] = body[i];
    if (total && chunked)
        iov[n++] = (struct iovec){(void *)(uintptr_t) "\r\n", 2};
    if (chunked && f->sending_done) {
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

static void body(struct exchange *x, const struct iovec *iov, int count)
{
    struct forward *f = x->responder_state;
    size_t bytes = 0;
    for (int i = 0; i < count; i++)
        bytes += iov[i].iov_len;
    /* Kept as long as it may have to be sent again: until a response comes, and while it is small. */
    bool keep = f->replayable && !f->head_received && x->body.bytes + bytes <= EXCHANGE_BODY_KEPT;
    if (!f->sent) {
        exchange_keep_body(x, iov, count);
        return;
    }
    if (keep && method_is_idempotent(x->request.method_id)) {
        buffer_append(&x->body, &x->worker->loop.blocks, iov, count, 0);
        f->replayed += bytes;
    } else if (f->replayable) {
        f->replayable = false;
        buffer_clear(&x->body, &x->worker->loop.blocks);
    }
    if (x->request_done)
        f->sending_done = true;
    while (count > BODY_VECTORS) {
        bool done = f->sending_done;
        f->sending_done = false;
        send_body(f, iov, BODY_VECTORS);
        f->sending_done = done;
        iov += BODY_VECTORS;
        count -= BODY_VECTORS;
    }
    send_body(f, iov, count);
    if (f->tunnel) {
        conn_timer(&f->uc->conn, timeouts_of(x)->idle);
        if (x->request_done)
            conn_shutdown(&f->uc->conn);
    } else if (f->sending_done) {
        request_sent(f);
    }
    if (f->uc && conn_backlog(&f->uc->conn) >= CONN_HIGH_WATER)
        exchange_want_body(x, false);
}

static void drained(struct conn *c)
{
    struct forward *f = of_conn(c);
    exchange_want_body(f->x, true);
}

/* Receiving. */

static void readable(struct conn *c)
{
    struct forward *f = of_conn(c);
    struct slice in;
    switch (conn_read(c, &in)) {
    case CONN_DATA:
        take_response(f, in, false);
        break;
    case CONN_AGAIN:
        return;
    case CONN_EOF:
        take_response(f, in, true);
        return;
    case CONN_ERROR:
        lost(f, "the server reset the connection");
        return;
    }
    if (!c->closed && f->uc && &f->uc->conn == c && c->want_read && (c->can_read || c->transport_pending))
        conn_yield(c);
}

static void bad_response(struct forward *f, const char *reason)
{
    struct exchange *x = f->x;
    log_warn("bad response", LOG_SLICE("upstream", f->upstream->name), LOG_SLICE("server", x->server->name),
             LOG_TEXT("reason", reason));
    let_go(f, false);
    exchange_fail(x, 502, reason);
}

/* The response's head was parsed: how will its body end? */
static void set_up_body(struct forward *f, const struct http_response *r)
{
    f->head_received = true;
    f->status = r->status;
    f->body = r->body == BODY_LENGTH && r->content_length == 0 ? BODY_NONE : r->body;
    f->body_left = r->content_length;
    f->chunked = (struct h1_chunked){0};
    f->scanned = 0;
}

struct pieces {
    struct iovec iov[BODY_VECTORS];
    int count;
    bool end;
    struct fields trailers;
};

/* Takes what can be had of the body out of *in. 0, or -1 when it is no good. */
static int take_pieces(struct forward *f, struct slice *in, struct pieces *p, struct h1_fault *fault)
{
    p->count = 0;
    p->end = false;
    p->trailers = (struct fields){0};
    if (f->body == BODY_NONE) {
        p->end = true;
        return 0;
    }
    if (f->body != BODY_CHUNKED) {
        size_t n = f->body == BODY_LENGTH && f->body_left < in->len ? (size_t)f->body_left : in->len;
        if (n)
            p->iov[p->count++] = (struct iovec){(void *)(uintptr_t)in->at, n};
        *in = slice_skip(*in, n);
        f->body_left -= f->body == BODY_LENGTH ? n : 0;
        p->end = f->body == BODY_LENGTH && f->body_left == 0;
        return 0;
    }
    while (!f->chunked.done && in->len && p->count < BODY_VECTORS) {
        struct slice data;
        if (h1_chunked_next(&f->chunked, in, &data, fault) != 0)
            return -1;
        if (data.len)
            p->iov[p->count++] = (struct iovec){(void *)(uintptr_t)data.at, data.len};
    }
    if (!f->chunked.done)
        return 0;
    struct worker *w = f->x->worker;
    const struct h1_limits *limits = &f->x->listener->config->head_limits;
    /* Behind the head's own fields, which exchange_respond() may still need. */
    p->trailers = (struct fields){w->trailer_fields, 0, TRAILER_FIELDS_MAX};
    struct h1_limits trailer_limits = *limits;
    if (trailer_limits.header_count > TRAILER_FIELDS_MAX)
        trailer_limits.header_count = TRAILER_FIELDS_MAX;
    ssize_t n = h1_parse_trailers(*in, &f->scanned, &trailer_limits, &p->trailers, fault);
    if (n < 0)
        return -1;
    *in = slice_skip(*in, (size_t)n);
    p->end = n > 0;
    return 0;
}

/* A head: 1 = passed on, body begins; 0 = more bytes are needed; -1 = it is over (failed, or upgraded). */
static int take_head(struct forward *f, struct slice *in)
{
    struct exchange *x = f->x;
    struct worker *w = x->worker;
    for (;;) {
        const struct h1_limits *limits = &x->listener->config->head_limits;
        struct http_response r = {.fields = {w->parse_fields, 0, limits->header_count}};
        struct h1_fault fault;
        ssize_t n = h1_parse_response(*in, &f->scanned, limits, x->request.method_id, &r, &fault);
        if (n == 0)
            return 0;
        if (n < 0) {
            bad_response(f, fault.reason);
            return -1;
        }
        f->scanned = 0;
        r.fields.capacity = w->parse_capacity;
        *in = slice_skip(*in, (size_t)n);
        if (r.status < 200 && r.status != 101) {
            if (++f->interim > INTERIM_MAX) {
                bad_response(f, "too many interim responses");
                return -1;
            }
            exchange_inform(x, &r);
            if (in->len == 0)
                return 0;
            continue;
        }
        if (r.status == 101 && (!x->request.upgrade || !x->request_done)) {
            bad_response(f, "101 without a request for an upgrade");
            return -1;
        }
        set_up_body(f, &r);
        x->upstream_head_us = loop_now_us(&w->loop);
        f->tunnel = r.status == 101;
        if (!r.keep_alive || r.body == BODY_UNTIL_CLOSE || f->tunnel)
            f->uc->requests = UINT32_MAX; /* not to be used again */
        f->replayable = false;
        buffer_clear(&x->body, &w->loop.blocks);
        struct pieces p;
        if (f->tunnel) {
            f->body = BODY_UNTIL_CLOSE;
            conn_timer(&f->uc->conn, timeouts_of(x)->idle);
            exchange_respond(x, &r, NULL, 0, false);
            return x->phase == EXCHANGE_ENDED ? -1 : 1;
        }
        if (take_pieces(f, in, &p, &fault) != 0) {
            bad_response(f, fault.reason);
            return -1;
        }
        msec_t body_wait = x->route->timeouts.has_body ? x->route->timeouts.body : timeouts_of(x)->body;
        if (p.end) {
            /* The connection goes back before the client gets its answer: its next request may come at once.
             */
            struct slice rest = *in;
            finish_response(f, rest);
            exchange_respond(x, &r, p.iov, p.count, p.trailers.count == 0);
            if (p.trailers.count && x->phase != EXCHANGE_ENDED)
                exchange_respond_body(x, NULL, 0, true, &p.trailers);
            return -1;
        }
        conn_timer(&f->uc->conn, body_wait);
        exchange_respond(x, &r, p.iov, p.count, false);
        return x->phase == EXCHANGE_ENDED || !f->uc ? -1 : 1;
    }
}

static void take_response(struct forward *f, struct slice in, bool eof)
{
    struct exchange *x = f->x;
    struct upstream_conn *uc = f->uc;
    if (in.len)
        f->head_begun = true;
    if (!f->head_received) {
        int taken = in.len ? take_head(f, &in) : 0;
        if (taken < 0)
            return;
        if (taken == 0) {
            if (eof)
                lost(f, "the server closed the connection before its answer");
            else if (conn_keep(&uc->conn, in) != 0)
                bad_response(f, "out of memory");
            return;
        }
    }
    msec_t wait = x->route->timeouts.has_body ? x->route->timeouts.body : timeouts_of(x)->body;
    while (in.len || (f->body == BODY_UNTIL_CLOSE && eof)) {
        struct pieces p;
        struct h1_fault fault;
        size_t before = in.len;
        if (take_pieces(f, &in, &p, &fault) != 0) {
            bad_response(f, fault.reason);
            return;
        }
        if (f->body == BODY_UNTIL_CLOSE && eof && in.len == 0)
            p.end = true;
        if (p.end && eof && f->body == BODY_UNTIL_CLOSE && !f->tunnel && tls_truncated(&uc->conn)) {
            lost(f, "the server closed without close_notify");
            return;
        }
        if (p.end) {
            finish_response(f, in);
            exchange_respond_body(x, p.iov, p.count, true, p.trailers.count ? &p.trailers : NULL);
            return;
        }
        if (p.count)
            exchange_respond_body(x, p.iov, p.count, false, NULL);
        if (x->phase == EXCHANGE_ENDED || f->uc != uc)
            return;
        if (in.len == before)
            break; /* a trailer section that is not complete */
    }
    if (eof) {
        lost(f, "the server closed the connection in the middle of its answer");
        return;
    }
    if (conn_keep(&uc->conn, in) != 0) {
        bad_response(f, "out of memory");
        return;
    }
    conn_timer(&uc->conn, f->tunnel ? timeouts_of(x)->idle : wait);
    if (exchange_blocked(x)) {
        conn_timer_pause(&uc->conn);
        conn_want_read(&uc->conn, false);
    }
}

static void resume(struct exchange *x)
{
    struct forward *f = x->responder_state;
    if (!f->uc || f->uc->conn.want_read)
        return;
    conn_timer(&f->uc->conn, f->tunnel ? timeouts_of(x)->idle : timeouts_of(x)->body);
    conn_want_read(&f->uc->conn, true);
}

/* Ends. */

static void let_go(struct forward *f, bool reusable)
{
    struct exchange *x = f->x;
    if (f->uc) {
        struct upstream_conn *uc = f->uc;
        usec_t took = loop_now_us(&x->worker->loop) - f->attempt_us;
        counters_response(uc->counters, f->head_received ? f->status : 0, took);
        f->uc = NULL;
        if (reusable)
            pool_give(&x->worker->pool, f->upstream, uc, timeouts_of(x)->upstream_keepalive);
        else
            pool_discard(uc);
    }
    if (f->server_counted) {
        f->server_counted = false;
        upstream_done(f->upstream, x->server);
    }
}

/* The whole response is here. */
static void finish_response(struct forward *f, struct slice rest)
{
    struct exchange *x = f->x;
    struct upstream_conn *uc = f->uc;
    bool reusable = f->sending_done && rest.len == 0 && uc->requests != UINT32_MAX && !uc->conn.eof;
    if (rest.len)
        log_warn("bytes behind a response; the connection is closed",
                 LOG_SLICE("upstream", f->upstream->name), LOG_SLICE("server", x->server->name));
    if (reusable)
        conn_keep(&uc->conn, slice_of(NULL, 0));
    if (f->tunnel) {
        /* The other direction may go on: the connection ends with the exchange. */
        return;
    }
    let_go(f, reusable);
}

static bool may_resend(struct forward *f)
{
    struct exchange *x = f->x;
    return !f->head_begun && !x->head_sent && method_is_idempotent(x->request.method_id) && f->replayable &&
           f->resent < x->route->retries.attempts && budget_retry(budget_of(f));
}

/* The connection could not be made: nothing was sent, so another server may be asked whatever the method. */
static void connection_failed(struct forward *f, int error)
{
    struct exchange *x = f->x;
    const char *why = f->uc ? tls_failure(&f->uc->conn) : NULL;
    log_warn("server cannot be reached", LOG_SLICE("upstream", f->upstream->name),
             LOG_SLICE("server", x->server->name), LOG_TEXT("reason", why ? why : strerror(error)));
    if (f->uc)
        pool_fail(f->uc);
    f->uc = NULL;
    let_go(f, false);
    attempt(f);
}

/* The connection ended, or broke, before the response was complete. */
static void lost(struct forward *f, const char *reason)
{
    struct exchange *x = f->x;
    bool again = f->sent && may_resend(f);
    let_go(f, false);
    if (f->tunnel) {
        exchange_respond_body(x, NULL, 0, true, NULL);
        if (x->phase != EXCHANGE_ENDED)
            exchange_fail(x, 502, reason);
        return;
    }
    if (!again) {
        exchange_fail(x, 502, reason);
        return;
    }
    f->resent++;
    /* A connection that the server had closed while it was idle says nothing about the server: it may be
     * asked again. */
    if (f->tried_count && x->server)
        f->tried_count -= f->last_reused ? 1 : 0;
    attempt(f);
}

static void timeout(struct conn *c)
{
    struct forward *f = of_conn(c);
    struct exchange *x = f->x;
    if (!f->sent) {
        connection_failed(f, ETIMEDOUT);
        return;
    }
    if (f->tunnel) {
        let_go(f, false);
        exchange_fail(x, 504, "idle for too long");
        return;
    }
    let_go(f, false);
    exchange_fail(x, 504,
                  f->head_received ? "the server's body took too long" : "the server's answer took too long");
}

static void failed(struct conn *c, int error)
{
    struct forward *f = of_conn(c);
    if (!f->sent) {
        connection_failed(f, error);
        return;
    }
    lost(f, "the connection to the server broke");
}

static void cancel(struct exchange *x)
{
    struct forward *f = x->responder_state;
    if (f)
        let_go(f, false);
}

static const struct conn_handler handler = {
    .connected = connected,
    .readable = readable,
    .drained = drained,
    .timeout = timeout,
    .failed = failed,
};

const struct responder forward_responder = {
    .name = "upstream",
    .start = start,
    .body = body,
    .resume = resume,
    .cancel = cancel,
};
