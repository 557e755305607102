/* Reading requests: one connection's way from bytes to calls. */
#include <stdlib.h>

#include "admin/http_internal.h"
#include "core/log.h"

static const struct h1_limits limits = {
    .request_line = 8u << 10, .header_size = 32u << 10, .header_count = HTTP_FIELDS_MAX};

static void take(struct http_connection *h, struct slice in, bool eof);
static void refuse(struct http_connection *h, unsigned status, const char *reason);

/* Events. */

static struct http_connection *of_conn(struct conn *c)
{
    struct http_connection *h = CONTAINER_OF(c, struct http_connection, conn);
    ASSERT(h->magic == HTTP_CONNECTION_MAGIC);
    return h;
}

static void readable(struct conn *c)
{
    struct http_connection *h = of_conn(c);
    struct slice in;
    enum conn_status status = conn_read(c, &in);
    if (status == CONN_ERROR) {
        http_connection_close(h);
        return;
    }
    take(h, in, status == CONN_EOF);
    if (!c->closed && h->state != HTTP_ENDING && c->want_read && (h->turn_over || c->can_read))
        conn_yield(c);
}

/* Somebody takes his answer again. */
static void drained(struct conn *c)
{
    struct http_connection *h = of_conn(c);
    if (h->state != HTTP_HEAD || c->want_read)
        return;
    if (c->eof && !c->kept_len) {
        http_connection_finish(h);
        return;
    }
    http_connection_waits(h);
    conn_want_read(c, true);
}

static void timeout(struct conn *c)
{
    struct http_connection *h = of_conn(c);
    if (h->state == HTTP_STREAM || h->state == HTTP_ENDING)
        return;
    if (h->call)
        refuse(h, 408, "the request took too long to come");
    else if (conn_backlog(c) && c->bytes_out != h->seen_out)
        http_connection_waits(h);
    else
        http_connection_close(h);
}

static void failed(struct conn *c, int error)
{
    (void)error;
    http_connection_close(of_conn(c));
}

const struct conn_handler http_connection_handler = {
    .readable = readable, .drained = drained, .timeout = timeout, .failed = failed};

/* The end of a call. */

/* The answer is given, and the next request is waited for, if there may be one. */
static void answered(struct http_connection *h)
{
    if (!h->replied && !h->conn.closed)
        h->server->options.problem(h->call, 500, "no answer was given", NULL);
    http_connection_drop_call(h);
    if (h->conn.closed) {
        http_connection_close(h);
    } else if (h->state != HTTP_STREAM && !h->keep_alive) {
        http_connection_finish(h);
    } else if (h->state != HTTP_STREAM) {
        h->turn_over = true;
        http_connection_waits(h);
    }
}

/* Where the next request would begin is not known. */
static void refuse(struct http_connection *h, unsigned status, const char *reason)
{
    h->keep_alive = false;
    h->state = HTTP_HEAD;
    if (!h->call->request.method.len)
        h->call->request.method_id = METHOD_OTHER;
    h->server->options.problem(h->call, status, reason, NULL);
    answered(h);
}

static void dispatch(struct http_connection *h)
{
    h->call->body = slice_of(h->body, h->body_len);
    h->state = HTTP_HEAD;
    h->scanned = 0;
    h->endpoint->answer(h->call);
    answered(h);
}

/* Heads. */

static struct http_call *make_call(struct http_connection *h)
{
    struct http_call *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->context = h->server->options.context;
    c->is_local = h->server->options.is_local;
    c->connection = h;
    h->replied = false;
    conn_timer(&h->conn, HTTP_HEAD_MS);
    c->request.fields = (struct fields){c->fields, 0, HTTP_FIELDS_MAX, 0};
    arena_init(&c->arena, NULL, 0);
    return c;
}

/* What is wrong with the head of a request that may be asked, or 0. */
static unsigned fault_of(const struct http_connection *h, const char **reason)
{
    const struct http_request *r = &h->call->request;
    if (r->expect_unknown) {
        *reason = "no such expectation can be met";
        return 417;
    }
    if (!http_call_has_body(h->call))
        return 0;
    if (r->method_id == METHOD_GET || r->method_id == METHOD_HEAD || r->method_id == METHOD_DELETE) {
        *reason = "a request of this method has no body here";
        return 400;
    }
    if (r->body == BODY_LENGTH && r->content_length > HTTP_BODY_MAX) {
        *reason = "a request's body may have 1 MiB here";
        return 413;
    }
    return 0;
}

static void await_body(struct http_connection *h)
{
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    const struct http_request *r = &h->call->request;
    if (r->expect_continue)
        conn_write(&h->conn, &(struct iovec){(void *)(uintptr_t)go_on, sizeof go_on - 1}, 1);
    h->state = r->body == BODY_LENGTH ? HTTP_BODY : HTTP_CHUNKS;
    h->chunked = (struct h1_chunked){0};
    conn_timer(&h->conn, HTTP_BODY_MS);
}

/* The head is there. What may not be asked is answered now, and its body is never read. */
static void begin(struct http_connection *h)
{
    const struct http_server_options *o = &h->server->options;
    struct http_call *c = h->call;
    bool has_body = http_call_has_body(c);
    const char *reason = NULL;
    unsigned fault;
    h->scanned = 0;
    bool keeps = h->keep_alive && c->request.keep_alive && h->server->fd >= 0;
    h->keep_alive = keeps && !has_body;
    http_route(h);
    if (o->guard && !o->guard(c, h->endpoint)) {
        answered(h);
    } else if (!h->endpoint) {
        http_answer_without_endpoint(h);
        answered(h);
    } else if ((fault = fault_of(h, &reason)) != 0) {
        o->problem(c, fault, reason, NULL);
        answered(h);
    } else {
        h->keep_alive = keeps;
        if (has_body)
            await_body(h);
        else
            dispatch(h);
    }
}

/* Each of these eats a part; false when more bytes are needed or it is over. */

static bool take_head(struct http_connection *h, struct slice *in)
{
    struct h1_fault fault = {0};
    if (!h->call && !(h->call = make_call(h))) {
        http_connection_close(h);
        return false;
    }
    struct http_call *c = h->call;
    ssize_t n = h1_parse_request(*in, &h->scanned, &limits, &c->request, &fault);
    if (n < 0)
        refuse(h, fault.status, fault.reason);
    if (n <= 0)
        return false;
    struct slice head = slice_of(in->at, (size_t)n), copy = arena_copy(&c->arena, head);
    *in = slice_skip(*in, (size_t)n);
    if (!copy.at) {
        http_connection_close(h);
        return false;
    }
    http_request_move(&c->request, head, copy.at);
    begin(h);
    return true;
}

/* Bodies. */

/* 0, or the status that refuses it. */
static unsigned keep_body(struct http_connection *h, struct slice data)
{
    size_t wanted = h->body_len + data.len;
    if (wanted > HTTP_BODY_MAX)
        return 413;
    if (wanted > h->body_size) {
        size_t size = wanted * 2 < HTTP_BODY_MAX ? wanted * 2 : HTTP_BODY_MAX;
        bool fits = http_server_load(h->server).bodies + size - h->body_size <= HTTP_BODIES_MAX;
        char *body = fits ? realloc(h->body, size) : NULL;
        if (!body)
            return 503;
        h->body = body;
        h->body_size = size;
    }
    if (data.len)
        memcpy(h->body + h->body_len, data.at, data.len);
    h->body_len = wanted;
    return 0;
}

static void refuse_body(struct http_connection *h, unsigned status)
{
    refuse(h, status,
           status == 413 ? "a request's body may have 1 MiB here"
                         : "too many bodies are being read; ask again later");
}

static bool take_length(struct http_connection *h, struct slice *in)
{
    uint64_t missing = h->call->request.content_length - h->body_len;
    size_t n = in->len < missing ? in->len : (size_t)missing;
    unsigned status = keep_body(h, slice_of(in->at, n));
    if (status) {
        refuse_body(h, status);
        return false;
    }
    *in = slice_skip(*in, n);
    if (n < missing)
        return false;
    dispatch(h);
    return true;
}

static bool take_chunks(struct http_connection *h, struct slice *in)
{
    struct h1_fault fault;
    while (!h->chunked.done && in->len) {
        struct slice data;
        if (h1_chunked_next(&h->chunked, in, &data, &fault) != 0) {
            refuse(h, fault.status, fault.reason);
            return false;
        }
        unsigned status = keep_body(h, data);
        if (status) {
            refuse_body(h, status);
            return false;
        }
    }
    if (h->chunked.done) {
        h->state = HTTP_TRAILERS;
        h->scanned = 0;
    }
    return h->chunked.done;
}

static bool take_trailers(struct http_connection *h, struct slice *in)
{
    struct field room[HTTP_FIELDS_MAX];
    struct fields trailers = {room, 0, HTTP_FIELDS_MAX, 0};
    struct h1_fault fault;
    ssize_t n = h1_parse_trailers(*in, &h->scanned, &limits, &trailers, &fault);
    if (n < 0)
        refuse(h, fault.status, fault.reason);
    if (n <= 0)
        return false;
    *in = slice_skip(*in, (size_t)n);
    dispatch(h);
    return true;
}

/* Steps. */

static bool take_step(struct http_connection *h, struct slice *in)
{
    switch (h->state) {
    case HTTP_HEAD:
        if (conn_backlog(&h->conn) >= CONN_HIGH_WATER) {
            conn_want_read(&h->conn, false);
            return false;
        }
        return in->len && !h->turn_over && take_head(h, in);
    case HTTP_BODY:
        return in->len && take_length(h, in);
    case HTTP_CHUNKS:
        return in->len && take_chunks(h, in);
    case HTTP_TRAILERS:
        return in->len && take_trailers(h, in);
    case HTTP_STREAM: /* whoever listens has nothing more to say */
        *in = slice_skip(*in, in->len);
        return false;
    case HTTP_ENDING:
        return false;
    }
    return false;
}

static void take(struct http_connection *h, struct slice in, bool eof)
{
    h->turn_over = false;
    while (!h->conn.closed && take_step(h, &in))
        ;
    if (h->conn.closed || h->state == HTTP_ENDING)
        return;
    h->turn_over = h->turn_over && in.len;
    if (eof && h->conn.want_read && !h->turn_over) {
        http_connection_finish(h);
        return;
    }
    if (conn_keep(&h->conn, in) != 0)
        http_connection_close(h);
}
