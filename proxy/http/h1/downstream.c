#include "proxy/http/h1/downstream.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/log.h"
#include "proxy/http/exchange.h"
#include "proxy/http/h1/parse.h"
#include "proxy/http/h1/write.h"
#include "tls/info.h"
#include "tls/server.h"

#define H1_DOWNSTREAM_MAGIC 0x48314453u
#define LINGER_MS           2000
#define LINGER_BODY_MS      10000 /* a client that still sends a body gets time to see the answer */
#define BODY_VECTORS        48

enum request_body { REQUEST_BODY_NONE, REQUEST_BODY_LENGTH, REQUEST_BODY_CHUNKED, REQUEST_BODY_TUNNEL };

/* Owned by itself: from h1_accept until hang_up(). */
struct h1_downstream {
    uint32_t magic;
    bool close_after; /* no request after this one */
    bool taking;      /* inside take_input(): a finished exchange does not start the next itself */
    bool head_begun;  /* some of a head has come: its clock runs */
    bool chunked_out; /* the response is sent in chunks */
    bool until_close; /* the response ends with the connection (HTTP/1.0 clients) */
    bool lingering;
    bool drain;
    uint8_t body_kind; /* enum request_body */
    struct worker *worker;
    struct exchange *x; /* NULL between requests */
    uint64_t body_left;
    struct h1_chunked chunked;
    size_t scanned;        /* of a head (or trailer section) that comes in pieces */
    uint64_t progress_out; /* conn.bytes_out when the clock for writing was set */
    uint64_t counted_in, counted_out;
    struct client client;
    struct conn conn;
};

static const struct conn_handler handler;
static const struct downstream_ops ops;

static void take_input(struct h1_downstream *d, struct slice in, bool eof);
static bool begin_request(struct h1_downstream *d, struct slice *in);
static bool feed_body(struct h1_downstream *d, struct slice *in);
static void after_eof(struct h1_downstream *d);
static void hang_up(struct h1_downstream *d);
static void finish(struct h1_downstream *d, msec_t linger_ms);
static void drain_client(struct client *c, bool close_idle);
static void cut_client(struct client *c);

static struct h1_downstream *of_conn(struct conn *c)
{
    struct h1_downstream *d = CONTAINER_OF(c, struct h1_downstream, conn);
    ASSERT(d->magic == H1_DOWNSTREAM_MAGIC);
    return d;
}

static struct h1_downstream *of_exchange(const struct exchange *x)
{
    struct h1_downstream *d = x->down;
    ASSERT(d->magic == H1_DOWNSTREAM_MAGIC);
    return d;
}

static const struct timeouts *timeouts_of(const struct h1_downstream *d)
{
    return &d->client.listener->config->settings->timeouts;
}

/* A connection's beginning. */

int h1_accept(struct listener *l, const struct arrival *a)
{
    struct h1_downstream *d = calloc(1, sizeof *d);
    if (!d || !client_enter(&d->client, l, a)) {
        free(d);
        close(a->fd);
        return -1;
    }
    d->magic = H1_DOWNSTREAM_MAGIC;
    d->worker = l->worker;
    d->client.drain = drain_client;
    d->client.cut = cut_client;
    if (conn_open(&d->conn, &l->worker->loop, a->fd, &handler) != 0)
        goto fail;
    if (l->config->tls && tls_server_accept(l->config->tls, l->worker->index, &d->conn) != 0)
        goto fail;
    conn_timer(&d->conn, l->config->tls ? timeouts_of(d)->header : timeouts_of(d)->keepalive);
    return 0;
fail:
    conn_close(&d->conn);
    client_leave(&d->client);
    free(d);
    return -1;
}

static void connected(struct conn *c)
{
    struct h1_downstream *d = of_conn(c);
    const struct tls_info *info = tls_info(c);
    if (info)
        listener_count_handshake(d->client.listener, info);
    conn_timer(c, timeouts_of(d)->keepalive);
}

/* Reading. */

static void readable(struct conn *c)
{
    struct h1_downstream *d = of_conn(c);
    struct slice in;
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
        cut_client(&d->client);
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
            if (d->close_after || in.len == 0 || !begin_request(d, &in))
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
        finish(d, LINGER_MS);
        return;
    }
    if (conn_keep(&d->conn, in) != 0) {
        cut_client(&d->client);
        return;
    }
    if (eof) {
        after_eof(d);
        return;
    }
    /* While a request is being answered, what is pipelined behind it stays in the socket. */
    bool reading = !d->x || (!d->x->request_done && d->x->want_body);
    d->conn.want_read = reading;
}

static void after_eof(struct h1_downstream *d)
{
    d->conn.want_read = false;
    /* Requests that were pipelined before the end still get their answers. */
    if (d->conn.kept_len == 0)
        d->close_after = true;
    if (!d->x) {
        hang_up(d);
        return;
    }
    if (d->x->request_done)
        return; /* half-closed: it still wants its answer */
    if (d->body_kind == REQUEST_BODY_TUNNEL) {
        exchange_body(d->x, NULL, 0, true);
        return;
    }
    struct exchange *x = d->x;
    d->x = NULL;
    exchange_abort(x, END_CLIENT_GONE);
    hang_up(d);
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
    x->request.fields = (struct fields){fields, count, capacity};
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

static struct exchange *create_exchange(struct h1_downstream *d)
{
    struct exchange *x = exchange_create(d->worker, d->client.listener, &ops, d);
    if (!x)
        return NULL;
    x->is_tls = d->conn.transport != NULL;
    x->keep_alive_ok = true;
    x->peer = d->client.ip;
    d->x = x;
    d->head_begun = false;
    d->chunked_out = d->until_close = false;
    return x;
}

static void refuse(struct h1_downstream *d, unsigned status, const char *reason)
{
    struct exchange *x = create_exchange(d);
    d->close_after = true;
    d->scanned = 0;
    if (!x) {
        hang_up(d);
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
    struct http_request r = {.fields = {w->parse_fields, 0, limits->header_count}};
    struct h1_fault fault;
    ssize_t n = h1_parse_request(*in, &d->scanned, limits, &r, &fault);
    if (n == 0) {
        if (!d->head_begun)
            conn_timer(&d->conn, timeouts_of(d)->header);
        d->head_begun = true;
        return false;
    }
    if (n < 0) {
        in->len = 0;
        refuse(d, fault.status, fault.reason);
        return false;
    }
    struct exchange *x = create_exchange(d);
    if (!x || adopt_head(x, &r, in->at, (size_t)n) != 0) {
        cut_client(&d->client);
        return false;
    }
    *in = slice_skip(*in, (size_t)n);
    x->protocol = r.minor ? 11 : 10;
    x->request_done = r.body == BODY_NONE || (r.body == BODY_LENGTH && r.content_length == 0);
    if (!r.keep_alive)
        d->close_after = true;
    set_up_body(d, &r);
    if (x->request_done)
        conn_timer_pause(&d->conn);
    else
        conn_timer(&d->conn, timeouts_of(d)->body);
    exchange_begin(x);
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
    x->trailers = (struct fields){copy, f->count, f->count};
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
    struct fields trailers = {d->worker->parse_fields, 0, limits->header_count};
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
    const struct timeouts *t = timeouts_of(d);
    bool going_on = true;
    if (d->body_kind == REQUEST_BODY_CHUNKED) {
        going_on = feed_chunked(d, in);
    } else {
        bool tunnel = d->body_kind == REQUEST_BODY_TUNNEL;
        size_t n = tunnel || d->body_left > in->len ? in->len : (size_t)d->body_left;
        struct iovec iov = {(void *)(uintptr_t)in->at, n};
        if (!tunnel)
            d->body_left -= n;
        *in = slice_skip(*in, n);
        exchange_body(d->x, &iov, 1, !tunnel && d->body_left == 0);
    }
    if (d->body_kind == REQUEST_BODY_TUNNEL)
        return going_on; /* its clock is the responder's */
    if (d->x && !d->x->request_done && d->x->want_body)
        conn_timer(&d->conn, t->body);
    else if (d->x && conn_backlog(&d->conn) == 0)
        conn_timer_pause(&d->conn);
    return going_on;
}

/* Writing: what the exchange asks for. */

static void watch_writing(struct h1_downstream *d)
{
    if (d->conn.closed || d->body_kind == REQUEST_BODY_TUNNEL || conn_backlog(&d->conn) == 0)
        return;
    d->progress_out = d->conn.bytes_out;
    conn_timer(&d->conn, timeouts_of(d)->body);
}

static void inform(struct exchange *x, const struct http_response *r)
{
    struct h1_downstream *d = of_exchange(x);
    struct head_writer w;
    if (x->protocol < 11)
        return; /* RFC 9110 §15.2 */
    head_init(&w, d->worker->head_buffer, HEAD_BUFFER);
    head_put_status_line(&w, r);
    head_put_fields(&w, &r->fields, 0);
    head_put(&w, S("\r\n"));
    struct iovec iov = head_iovec(&w);
    if (!w.overflow)
        conn_write(&d->conn, &iov, 1);
}

static bool keeps_alive(const struct h1_downstream *d, const struct exchange *x)
{
    return !d->close_after && x->keep_alive_ok && !d->drain && !d->worker->draining &&
           !d->client.listener->removed;
}

/* The fields that frame the body on this connection (RFC 9112 §6). */
static void put_framing(struct h1_downstream *d, struct head_writer *w, const struct exchange *x,
                        const struct http_response *r)
{
    bool unknown = r->body == BODY_CHUNKED || r->body == BODY_UNTIL_CLOSE;
    if (unknown && x->protocol < 11) {
        d->until_close = true;
        d->close_after = true;
    } else if (unknown) {
        d->chunked_out = true;
        head_put(w, S("Transfer-Encoding: chunked\r\n"));
    } else if (r->has_content_length && !fields_find(&r->fields, FIELD_CONTENT_LENGTH)) {
        head_put(w, S("Content-Length: "));
        head_put_number(w, r->content_length);
        head_put(w, S("\r\n"));
    }
    if (r->status == 101)
        head_put(w, S("Connection: upgrade\r\n"));
    else if (!keeps_alive(d, x)) {
        d->close_after = true;
        head_put(w, S("Connection: close\r\n"));
    } else if (x->protocol < 11) {
        head_put(w, S("Connection: keep-alive\r\n"));
    }
}

/* Puts a body's vectors behind `count` others, framed as chunks where that is due. */
static int add_body(const struct h1_downstream *d, struct iovec *iov, int count, const struct iovec *body,
                    int body_count, char line[H1_CHUNK_LINE])
{
    uint64_t total = 0;
    for (int i = 0; i < body_count; i++)
        total += body[i].iov_len;
    if (total == 0)
        return count;
    if (d->chunked_out)
        iov[count++] = (struct iovec){line, h1_chunk_line(total, line)};
    for (int i = 0; i < body_count; i++)
        if (body[i].iov_len)
            iov[count++] = body[i];
    if (d->chunked_out)
        iov[count++] = (struct iovec){(void *)(uintptr_t) "\r\n", 2};
    return count;
}

static void respond(struct exchange *x, const struct http_response *r, const struct iovec *body, int count,
                    bool end)
{
    struct h1_downstream *d = of_exchange(x);
    struct iovec iov[RESPOND_VECTORS_MAX + 4];
    char line[H1_CHUNK_LINE];
    struct head_writer w;
    ASSERT(count <= RESPOND_VECTORS_MAX);
    head_init(&w, d->worker->head_buffer, HEAD_BUFFER);
    head_put_status_line(&w, r);
    bool unknown = r->body == BODY_CHUNKED || r->body == BODY_UNTIL_CLOSE;
    head_put_fields(&w, &r->fields, unknown ? 1ull << FIELD_CONTENT_LENGTH : 0);
    put_framing(d, &w, x, r);
    head_put(&w, S("\r\n"));
    if (w.overflow) {
        log_error("a response head does not fit; the connection is closed");
        d->close_after = true;
        conn_reset(&d->conn);
        d->conn.broken = true;
        return;
    }
    iov[0] = head_iovec(&w);
    int n = add_body(d, iov, 1, body, count, line);
    if (end && d->chunked_out)
        iov[n++] = (struct iovec){(void *)(uintptr_t) "0\r\n\r\n", 5};
    conn_write(&d->conn, iov, n);
    watch_writing(d);
}

static void respond_body(struct exchange *x, const struct iovec *body, int count, bool end,
                         const struct fields *trailers)
{
    struct h1_downstream *d = of_exchange(x);
    struct iovec iov[RESPOND_VECTORS_MAX + 4];
    char line[H1_CHUNK_LINE];
    ASSERT(count <= RESPOND_VECTORS_MAX);
    int n = add_body(d, iov, 0, body, count, line);
    if (end && d->chunked_out) {
        struct head_writer w;
        head_init(&w, d->worker->head_buffer, HEAD_BUFFER);
        head_put(&w, S("0\r\n"));
        if (trailers)
            head_put_fields(&w, trailers, 0);
        head_put(&w, S("\r\n"));
        iov[n++] = head_iovec(&w);
    }
    if (n)
        conn_write(&d->conn, iov, n);
    if (d->body_kind == REQUEST_BODY_TUNNEL && end)
        conn_shutdown(&d->conn);
    watch_writing(d);
}

static void cut(struct exchange *x)
{
    struct h1_downstream *d = of_exchange(x);
    d->x = NULL;
    d->close_after = true;
    /* A close tells of the cut where the body is framed; where the close is the frame, only a reset does. */
    if (d->until_close && !d->conn.transport)
        conn_reset(&d->conn);
    hang_up(d);
}

static void want_body(struct exchange *x, bool want)
{
    struct h1_downstream *d = of_exchange(x);
    if (d->conn.closed || d->taking)
        return; /* take_input() looks at x->want_body itself */
    if (x->request_done)
        return;
    if (d->body_kind != REQUEST_BODY_TUNNEL && want)
        conn_timer(&d->conn, timeouts_of(d)->body);
    else
        conn_timer_pause(&d->conn);
    conn_want_read(&d->conn, want);
}

static size_t backlog(const struct exchange *x)
{
    return conn_backlog(&of_exchange(x)->conn);
}

static void upgrade(struct exchange *x)
{
    struct h1_downstream *d = of_exchange(x);
    d->body_kind = REQUEST_BODY_TUNNEL;
    d->close_after = true;
    conn_timer_pause(&d->conn);
    if (!d->taking)
        conn_want_read(&d->conn, true);
}

static const struct conn *connection(const struct exchange *x)
{
    return &of_exchange(x)->conn;
}

static void count_bytes(struct h1_downstream *d)
{
    struct listener_worker_stats *stats = d->client.listener->stats;
    counter_add(&stats->bytes_in, d->conn.bytes_in - d->counted_in);
    counter_add(&stats->bytes_out, d->conn.bytes_out - d->counted_out);
    d->counted_in = d->conn.bytes_in;
    d->counted_out = d->conn.bytes_out;
}

static void done(struct exchange *x)
{
    struct h1_downstream *d = of_exchange(x);
    bool request_read = x->request_done;
    if (!keeps_alive(d, x))
        d->close_after = true;
    d->x = NULL;
    exchange_end(x);
    if (d->conn.closed) {
        hang_up(d);
        return;
    }
    count_bytes(d);
    d->body_kind = REQUEST_BODY_NONE;
    if (d->close_after) {
        if (!d->taking || !request_read)
            finish(d, request_read ? LINGER_MS : LINGER_BODY_MS);
        return;
    }
    conn_timer(&d->conn, timeouts_of(d)->keepalive);
    if (!d->taking)
        conn_want_read(&d->conn, true);
}

static const struct downstream_ops ops = {
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

/* Events that are no input. */

static void drained(struct conn *c)
{
    struct h1_downstream *d = of_conn(c);
    if (!d->x)
        return;
    if (d->x->request_done && d->body_kind != REQUEST_BODY_TUNNEL)
        conn_timer_pause(c);
    exchange_resume(d->x);
}

/* The client neither sends nor takes anything. */
static void give_up(struct h1_downstream *d)
{
    struct exchange *x = d->x;
    d->x = NULL;
    if (x)
        exchange_abort(x, END_TIMEOUT);
    else if (!d->conn.handshaking)
        conn_shutdown(&d->conn);
    hang_up(d);
}

static void timeout(struct conn *c)
{
    struct h1_downstream *d = of_conn(c);
    if (conn_backlog(c)) {
        if (c->bytes_out != d->progress_out)
            watch_writing(d); /* slow, but it moves */
        else
            give_up(d);
    } else if (!d->x) {
        if (d->head_begun)
            refuse(d, 408, "the request's head took too long");
        else
            give_up(d); /* idle, or no handshake */
    } else if (!d->x->request_done && d->x->want_body) {
        d->close_after = true;
        d->x->keep_alive_ok = false;
        exchange_fail(d->x, 408, "the request's body took too long");
    }
}

static void failed(struct conn *c, int error)
{
    struct h1_downstream *d = of_conn(c);
    if (c->handshaking) {
        const char *why = tls_failure(c);
        char peer[ADDRESS_TEXT_MAX];
        ip_print(&d->client.ip, peer, sizeof peer);
        counter_add(&d->client.listener->stats->handshake_failures, 1);
        log_debug("TLS handshake failed", LOG_SLICE("listener", d->client.listener->name),
                  LOG_TEXT("client", peer), LOG_TEXT("reason", why ? why : strerror(error)));
    }
    cut_client(&d->client);
}

static const struct conn_handler handler = {
    .connected = connected,
    .readable = readable,
    .drained = drained,
    .timeout = timeout,
    .failed = failed,
};

/* The end. */

static void bury(struct task *t)
{
    free(CONTAINER_OF(t, struct h1_downstream, conn.task));
}

static void leave(struct h1_downstream *d)
{
    count_bytes(d);
    client_leave(&d->client);
    loop_bury(&d->worker->loop, &d->conn.task, bury);
}

/* Closes at once. Nothing may be in progress. */
static void hang_up(struct h1_downstream *d)
{
    if (d->magic != H1_DOWNSTREAM_MAGIC)
        return;
    conn_close(&d->conn);
    leave(d);
    d->magic = 0;
}

static void lingered(struct conn *c)
{
    struct h1_downstream *d = of_conn(c);
    leave(d);
    d->magic = 0;
}

/* Closes when what was written is out. The client may still be sending: closing on unread bytes would reset
 * the connection, and with it the answer (RFC 9112 §9.6). */
static void finish(struct h1_downstream *d, msec_t linger_ms)
{
    struct conn *c = &d->conn;
    bool clean = !c->can_read && !c->kept_len && conn_backlog(c) == 0 && linger_ms == LINGER_MS;
    if (c->broken || (clean && !c->transport_pending)) {
        if (!c->broken)
            conn_shutdown(c);
        hang_up(d);
        return;
    }
    d->lingering = true;
    conn_linger(c, linger_ms, lingered);
}

static void drain_client(struct client *client, bool close_idle)
{
    struct h1_downstream *d = CONTAINER_OF(client, struct h1_downstream, client);
    d->drain = true;
    if (close_idle && !d->x && !d->head_begun && !d->lingering && !d->conn.can_read && !d->conn.kept_len &&
        !d->conn.handshaking)
        finish(d, LINGER_MS);
}

static void cut_client(struct client *client)
{
    struct h1_downstream *d = CONTAINER_OF(client, struct h1_downstream, client);
    struct exchange *x = d->x;
    d->x = NULL;
    if (x)
        exchange_abort(x, d->worker->stopping ? END_CUT : END_CLIENT_GONE);
    hang_up(d);
}
