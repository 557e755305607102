#include "proxy/http/h1/downstream_internal.h"
#include "proxy/http/h2/connection.h"

#define BODY_VECTORS 48
#define SPLICE_REST  (4u << 10) /* of a body, that is read: its end, and what is behind it */

static void take_input(struct h1_downstream *d, struct slice in, bool eof);
static bool begin_request(struct h1_downstream *d, struct slice *in);
static bool feed_body(struct h1_downstream *d, struct slice *in);
static bool splice_body(struct h1_downstream *d);
static void after_eof(struct h1_downstream *d);

void downstream_readable(struct conn *c)
{
    struct h1_downstream *d = downstream_of_conn(c);
    struct slice in;
    if (d->body_left >= CONN_SPLICE_MIN && splice_body(d))
        return;
    switch (conn_read(c, &in)) {
    case CONN_DATA:
        take_input(d, in, false);
        break;
    case CONN_AGAIN:
        if (in.len && !d->head_begun)
            take_input(d, in, false);
        break;
    case CONN_EOF:
        take_input(d, in, true);
        break;
    case CONN_ERROR:
        downstream_lost(d);
        return;
    }
    if (!d->conn.closed && d->conn.want_read && (c->can_read || c->transport_pending))
        conn_yield(c);
}

static void take_input(struct h1_downstream *d, struct slice in, bool eof)
{
    d->taking = true;
    while (!d->conn.closed && !d->lingering) {
        if (!d->x) {
            if (d->close_after || in.len == 0 || downstream_is_full(d) || !begin_request(d, &in))
                break;
        } else if (!d->x->request_done) {
            if (in.len == 0 || !feed_body(d, &in))
                break;
        } else {
            break;
        }
    }
    d->taking = false;
    if (d->conn.closed || d->lingering)
        return;
    if (!d->x && d->close_after) {
        downstream_finish(d, LINGER_MS);
        return;
    }
    if (conn_keep(&d->conn, in) != 0) {
        downstream_lost(d);
        return;
    }
    if (eof) {
        after_eof(d);
        return;
    }
    /* While a request is being answered, what is pipelined behind it stays in the socket. */
    d->conn.want_read = d->x ? !d->x->request_done && d->x->want_body : !downstream_is_full(d);
}

/* Requests that were pipelined before the end still get their answers. */
static void after_eof(struct h1_downstream *d)
{
    struct exchange *x = d->x;
    d->conn.want_read = false;
    if (!x && d->conn.kept_len && downstream_is_full(d))
        return;
    if (!x || d->conn.kept_len == 0)
        d->close_after = true;
    if (!x) {
        downstream_finish(d, LINGER_MS);
        return;
    }
    if (x->request_done)
        return; /* half-closed: it still wants its answer */
    if (d->body_kind == REQUEST_BODY_TUNNEL) {
        exchange_body(x, NULL, 0, true);
    } else if (x->drop_body) {
        exchange_fail(x, 400, "the client ended in its body");
    } else {
        d->x = NULL;
        exchange_abort(x, END_CLIENT_GONE);
        downstream_hang_up(d);
    }
}

/* The request's slices point into the loop's read buffer: gives it a copy of its own in the exchange's arena.
 */
static int adopt_head(struct exchange *x, const struct http_request *r, const char *head, size_t len)
{
    char *copy = arena_alloc(&x->arena, len);
    uint32_t count = r->fields.count, capacity = count + 4;
    struct field *fields = arena_alloc(&x->arena, capacity * sizeof *fields);
    if (!copy || !fields)
        return -1;
    memcpy(copy, head, len);
    x->request = *r;
    memcpy(fields, r->fields.at, count * sizeof *fields);
    x->request.fields.at = fields;
    x->request.fields.capacity = capacity;
    http_request_move(&x->request, slice_of(head, len), copy);
    return 0;
}

static void set_up_body(struct h1_downstream *d, const struct http_request *r)
{
    d->chunked = (struct h1_chunked){0};
    d->scanned = 0;
    d->body_left = r->content_length;
    d->body_kind = r->body == BODY_CHUNKED                       ? REQUEST_BODY_CHUNKED
                   : r->body == BODY_LENGTH && r->content_length ? REQUEST_BODY_LENGTH
                                                                 : REQUEST_BODY_NONE;
}

/* What of `in` is the body's. */
static size_t length_at_hand(const struct h1_downstream *d, struct slice in)
{
    return d->body_left < in.len ? (size_t)d->body_left : in.len;
}

static struct exchange *create_exchange(struct h1_downstream *d)
{
    struct exchange *x = exchange_create(d->worker, d->client.listener, &h1_downstream_ops, d);
    if (!x)
        return NULL;
    x->is_tls = d->conn.transport != NULL;
    x->keep_alive_ok = true;
    x->peer = d->client.ip;
    x->destination = client_destination(&d->client);
    d->x = x;
    d->head_begun = false;
    d->used = true;
    d->chunked_out = d->until_close = false;
    return x;
}

void downstream_refuse(struct h1_downstream *d, unsigned status, const char *reason)
{
    struct exchange *x = create_exchange(d);
    d->close_after = true;
    d->scanned = 0;
    if (!x) {
        downstream_hang_up(d);
        return;
    }
    x->protocol = 11;
    x->request_done = true;
    x->keep_alive_ok = false;
    exchange_refuse(x, status, reason);
}

/* True when a head was taken from *in (and perhaps already answered). */
static bool begin_request(struct h1_downstream *d, struct slice *in)
{
    struct worker *w = d->worker;
    const struct h1_limits *limits = &d->client.listener->config->head_limits;
    struct http_request r; /* the parser fills in the rest */
    struct h1_fault fault;
    r.fields.at = w->parse_fields;
    r.fields.capacity = limits->header_count;
    if (!d->conn.transport && !d->counted_in && slice_begins(*in, S(H2_PREFACE)) &&
        d->client.listener->config->settings->http2) {
        downstream_speaks_h2(d, *in);
        return false;
    }
    ssize_t n = h1_parse_request(*in, &d->scanned, limits, &r, &fault);
    if (n == 0) {
        d->head_begun = true;
        downstream_watch(d);
        return false;
    }
    if (n < 0) {
        in->len = 0;
        downstream_refuse(d, fault.status, fault.reason);
        return false;
    }
    struct exchange *x = create_exchange(d);
    if (!x || adopt_head(x, &r, in->at, (size_t)n) != 0) {
        downstream_lost(d);
        return false;
    }
    *in = slice_skip(*in, (size_t)n);
    x->protocol = r.minor ? 11 : 10;
    x->request_done = r.body == BODY_NONE || (r.body == BODY_LENGTH && r.content_length == 0);
    if (!r.keep_alive) {
        d->close_after = true;
        d->last_said = x->request_done;
    }
    set_up_body(d, &r);
    if (d->body_kind == REQUEST_BODY_LENGTH)
        x->at_hand = (struct iovec){(void *)(uintptr_t)in->at, length_at_hand(d, *in)};
    exchange_begin(x);
    x->at_hand.iov_len = 0;
    if (d->x == x)
        downstream_watch(d);
    return true;
}

static int adopt_trailers(struct exchange *x, const struct fields *f)
{
    struct field *copy = arena_alloc(&x->arena, (f->count + 1) * sizeof *copy);
    if (!copy)
        return -1;
    for (uint32_t i = 0; i < f->count; i++) {
        copy[i] = f->at[i];
        copy[i].line_len = 0;
        copy[i].name = arena_copy(&x->arena, f->at[i].name);
        copy[i].value = arena_copy(&x->arena, f->at[i].value);
        if (!copy[i].name.at || !copy[i].value.at)
            return -1;
    }
    x->trailers = (struct fields){copy, f->count, f->count, 0};
    return 0;
}

static bool bad_body(struct h1_downstream *d, struct slice *in, const struct h1_fault *fault)
{
    in->len = 0;
    d->close_after = true;
    d->x->keep_alive_ok = false;
    exchange_fail(d->x, fault->status, fault->reason);
    return false;
}

static bool feed_chunked(struct h1_downstream *d, struct slice *in)
{
    struct iovec iov[BODY_VECTORS];
    int count = 0;
    struct h1_fault fault;
    while (!d->chunked.done && in->len && count < BODY_VECTORS) {
        struct slice data;
        if (h1_chunked_next(&d->chunked, in, &data, &fault) != 0)
            return bad_body(d, in, &fault);
        if (data.len)
            iov[count++] = (struct iovec){(void *)(uintptr_t)data.at, data.len};
    }
    if (!d->chunked.done) {
        exchange_body(d->x, iov, count, false);
        return d->x != NULL;
    }
    const struct h1_limits *limits = &d->client.listener->config->head_limits;
    struct fields trailers = {d->worker->parse_fields, 0, limits->header_count, 0};
    ssize_t n = h1_parse_trailers(*in, &d->scanned, limits, &trailers, &fault);
    if (n < 0)
        return bad_body(d, in, &fault);
    if (n > 0 && trailers.count && adopt_trailers(d->x, &trailers) != 0) {
        fault = (struct h1_fault){500, "out of memory"};
        return bad_body(d, in, &fault);
    }
    *in = slice_skip(*in, (size_t)n);
    if (count || n > 0)
        exchange_body(d->x, iov, count, n > 0);
    return n > 0;
}

/* True when the loop may go on: something was taken. */
static bool feed_body(struct h1_downstream *d, struct slice *in)
{
    bool going_on = true;
    if (d->body_kind == REQUEST_BODY_CHUNKED) {
        going_on = feed_chunked(d, in);
    } else {
        bool tunnel = d->body_kind == REQUEST_BODY_TUNNEL;
        size_t n = tunnel ? in->len : length_at_hand(d, *in);
        struct iovec iov = {(void *)(uintptr_t)in->at, n};
        if (!tunnel)
            d->body_left -= n;
        *in = slice_skip(*in, n);
        exchange_body(d->x, &iov, 1, !tunnel && d->body_left == 0);
    }
    if (d->x)
        downstream_watch(d);
    return going_on;
}

/* What there is of a large body goes on without being copied. False when it is to be read. */
static bool splice_body(struct h1_downstream *d)
{
    size_t moved;
    if (!d->x || d->x->request_done || d->body_kind != REQUEST_BODY_LENGTH)
        return false;
    enum conn_spliced result = exchange_splice_body(d->x, &d->conn, d->body_left - SPLICE_REST, &moved);
    d->body_left -= moved;
    if (result == SPLICE_NOT && moved == 0)
        return false;
    downstream_watch(d);
    if (d->conn.want_read)
        conn_yield(&d->conn);
    return true;
}
