#include "proxy/failure_log.h"
#include "proxy/http/fields.h"
#include "proxy/http/forward_internal.h"
#include "tls/info.h"

#define INTERIM_MAX 100 /* 1xx before one final response */

/* The first read of a response: what is behind it may be spliced. */
#define FIRST_READ (16u << 10)

struct pieces {
    struct iovec iov[FORWARD_VECTORS];
    int count;
    bool end;
    struct fields trailers;
};

static void take_response(struct forward *f, struct slice in, bool eof);
static bool splice_body(struct forward *f, struct conn *c);
static void finish(struct forward *f, struct slice rest);

static size_t first_read(const struct forward *f)
{
    bool is_plain = !f->uc->conn.transport && !f->x->is_tls;
    return is_plain && f->x->down_ops->respond_splice ? FIRST_READ : LOOP_READ_BUFFER;
}

/* What is still to come of the body is worth splicing, if it can be. */
static bool is_large(const struct forward *f)
{
    return f->body_left >= CONN_SPLICE_MIN && f->head_received;
}

void forward_readable(struct conn *c)
{
    struct forward *f = forward_of_conn(c);
    struct slice in;
    if (is_large(f) && splice_body(f, c))
        return;
    switch (conn_read_some(c, &in, f->head_received ? LOOP_READ_BUFFER : first_read(f))) {
    case CONN_DATA:
        take_response(f, in, false);
        break;
    case CONN_AGAIN:
        return;
    case CONN_EOF:
        take_response(f, in, true);
        return;
    case CONN_ERROR:
        forward_lost(f, "the server reset the connection");
        return;
    }
    /* The connection may be another's by now. */
    if (c->closed || !f->uc || &f->uc->conn != c || !c->want_read)
        return;
    if (!c->can_read || !is_large(f) || !splice_body(f, c))
        conn_yield(c);
}

/* Splicing. */

/* What the end of a spliced body leaves is looked at as if it had come with its last bytes. */
static void end_spliced(struct forward *f, struct conn *c)
{
    struct exchange *x = f->x;
    struct slice rest;
    if (conn_read(c, &rest) == CONN_ERROR)
        f->uc->requests = UINT32_MAX;
    finish(f, rest);
    exchange_respond_body(x, NULL, 0, true, NULL);
}

/* What there is of a large body goes to the client without being copied. False when it is to be read. */
static bool splice_body(struct forward *f, struct conn *c)
{
    struct exchange *x = f->x;
    size_t moved;
    enum conn_spliced result = exchange_respond_splice(x, c, f->body_left, &moved);
    if (f->body == BODY_LENGTH)
        f->body_left -= moved;
    if (result == SPLICE_NOT && moved == 0)
        return false;
    if (f->body_left == 0) {
        end_spliced(f, c);
        return true;
    }
    if (result == SPLICE_FULL) {
        f->paused = true;
        f->side->pause(f);
    } else {
        conn_yield(c);
    }
    forward_watch(f);
    return true;
}

/* Parsing. */

/* The response's head was parsed: how will its body end? */
static void set_up_body(struct forward *f, const struct http_response *r)
{
    f->head_received = true;
    f->status = r->status;
    f->body = r->body == BODY_LENGTH && r->content_length == 0 ? BODY_NONE : r->body;
    f->body_left = f->body == BODY_LENGTH ? r->content_length : f->body == BODY_UNTIL_CLOSE ? UINT64_MAX : 0;
    f->chunked = (struct h1_chunked){0};
    f->scanned = 0;
}

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
    while (!f->chunked.done && in->len && p->count < FORWARD_VECTORS) {
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
    p->trailers = (struct fields){w->trailer_fields, 0, TRAILER_FIELDS_MAX, 0};
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

/* Reads heads up to the final one. 1 = *r is there; 0 = more bytes are needed; -1 = it is over. */
static int take_head(struct forward *f, struct slice *in, struct http_response *r)
{
    struct exchange *x = f->x;
    struct worker *w = x->worker;
    const struct h1_limits *limits = &x->listener->config->head_limits;
    struct h1_fault fault;
    while (in->len) {
        r->fields.at = w->parse_fields;
        r->fields.capacity = limits->header_count;
        ssize_t n = h1_parse_response(*in, &f->scanned, limits, x->request.method_id, r, &fault);
        if (n == 0)
            return 0;
        if (n < 0) {
            forward_bad_response(f, fault.reason);
            return -1;
        }
        f->scanned = 0;
        r->fields.capacity = w->parse_capacity;
        *in = slice_skip(*in, (size_t)n);
        if (r->status >= 200 || r->status == 101)
            return 1;
        if (++f->interim > INTERIM_MAX) {
            forward_bad_response(f, "too many interim responses");
            return -1;
        }
        exchange_inform(x, r);
    }
    return 0;
}

static void upgrade(struct forward *f, struct http_response *r, struct slice rest)
{
    if (!fields_find(&f->fields, FIELD_UPGRADE) || !f->sending_done)
        forward_bad_response(f, "101 without a request for an upgrade");
    else
        forward_tunnel(f, r, rest);
}

/* The whole answer is in `in`, and the connection is as good as before. */
static bool is_whole(const struct forward *f, const struct http_response *r, struct slice in)
{
    bool has_length = r->body == BODY_NONE || r->body == BODY_LENGTH;
    bool whole = has_length && in.len == (r->body == BODY_LENGTH ? r->content_length : 0);
    return whole && r->keep_alive && f->sending_done && !f->uc->conn.eof;
}

/* How long the server keeps the connection while it is idle, if it says so. */
static void take_keep_alive(struct forward *f, struct http_response *r)
{
    const struct field *said = fields_find(&r->fields, FIELD_KEEP_ALIVE);
    uint32_t seconds;
    if (LIKELY(!said) || !keep_alive_timeout(said->value, &seconds))
        return;
    f->uc->told_ms = seconds * 1000;
    r->keep_alive = r->keep_alive && seconds != 0;
}

/* The final head, and what of the body came with it. True when the body goes on. */
static bool begin_response(struct forward *f, struct http_response *r, struct slice *in)
{
    struct exchange *x = f->x;
    struct h1_fault fault;
    struct pieces p;
    take_keep_alive(f, r);
    if (UNLIKELY(r->status >= RETRY_STATUS_MIN) && forward_answers_again(f, r, is_whole(f, r, *in)))
        return false;
    set_up_body(f, r);
    if (UNLIKELY(f->twin || f->hedge_waits))
        forward_wins(f);
    x->upstream_head_us = loop_now_us(&x->worker->loop);
    if (!r->keep_alive || r->body == BODY_UNTIL_CLOSE || r->status == 101)
        f->uc->requests = UINT32_MAX; /* not to be used again */
    f->replayable = false;
    buffer_clear(&x->body, &x->worker->loop.blocks);
    if (r->status == 101) {
        upgrade(f, r, *in);
        return false;
    }
    if (take_pieces(f, in, &p, &fault) != 0) {
        forward_bad_response(f, fault.reason);
        return false;
    }
    if (!p.end) {
        exchange_respond(x, r, p.iov, p.count, false);
        return x->phase != EXCHANGE_ENDED && f->uc;
    }
    /* The connection goes back before the client gets its answer: the next request may come at once. */
    finish(f, *in);
    exchange_respond(x, r, p.iov, p.count, p.trailers.count == 0);
    if (p.trailers.count && x->phase != EXCHANGE_ENDED)
        exchange_respond_body(x, NULL, 0, true, &p.trailers);
    return false;
}

/* Passes on the body in *in. True when it goes on and all is used up but the beginning of something. */
static bool pass_body(struct forward *f, struct slice *in, bool eof)
{
    struct exchange *x = f->x;
    struct upstream_conn *uc = f->uc;
    bool until_close = f->body == BODY_UNTIL_CLOSE;
    while (in->len || (until_close && eof)) {
        struct pieces p;
        struct h1_fault fault;
        size_t before = in->len;
        if (take_pieces(f, in, &p, &fault) != 0) {
            forward_bad_response(f, fault.reason);
            return false;
        }
        if (until_close && eof) {
            if (tls_truncated(&uc->conn)) {
                forward_lost(f, "the server closed without close_notify");
                return false;
            }
            p.end = true;
        }
        if (p.end) {
            finish(f, *in);
            exchange_respond_body(x, p.iov, p.count, true, p.trailers.count ? &p.trailers : NULL);
            return false;
        }
        if (p.count)
            exchange_respond_body(x, p.iov, p.count, false, NULL);
        if (x->phase == EXCHANGE_ENDED || f->uc != uc)
            return false;
        if (in->len == before)
            break; /* a trailer section that is not complete */
    }
    return true;
}

static void take_response(struct forward *f, struct slice in, bool eof)
{
    struct exchange *x = f->x;
    struct upstream_conn *uc = f->uc;
    if (in.len)
        f->head_begun = true;
    if (!f->head_received) {
        struct http_response r;
        int taken = take_head(f, &in, &r);
        if (taken < 0 || (taken > 0 && !begin_response(f, &r, &in)))
            return;
    }
    if (f->head_received && !pass_body(f, &in, eof))
        return;
    if (eof) {
        forward_lost(f, f->head_received ? "the server closed the connection in the middle of its answer"
                                         : "the server closed the connection before its answer");
        return;
    }
    if (conn_keep(&uc->conn, in) != 0) {
        forward_bad_response(f, "out of memory");
        return;
    }
    if (!f->head_received)
        return; /* the time for the head runs on */
    if (exchange_blocked(x)) {
        f->paused = true;
        f->side->pause(f);
    }
    forward_watch(f);
}

/* The whole response is here. */
static void finish(struct forward *f, struct slice rest)
{
    struct upstream_conn *uc = f->uc;
    bool reusable = f->sending_done && rest.len == 0 && uc->requests != UINT32_MAX && !uc->conn.eof;
    if (rest.len)
        failure_log(f->x->worker, "bytes behind a response", f->server, "the connection is closed");
    f->outcome = OUTCOME_ANSWERED;
    forward_let_go(f, reusable);
}
