#include "admin/http_server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/log.h"
#include "proxy/worker.h"

#define HTTP_CONNECTION_MAGIC 0x41444d43u
#define HEAD_MS               10000
#define BODY_MS               30000
#define IDLE_MS               75000
#define WRITE_MS              30000
#define LINGER_MS             2000
#define ACCEPT_PAUSE_MS       1000
#define ACCEPTS_A_TURN        16

struct http_server {
    struct http_server_options options;
    int fd; /* -1 when closed */
    struct event event;
    struct timer pause;
    struct list link; /* in options.servers */
    struct list connections;
    unsigned connection_count;
    struct task bury;
};

enum http_state { HTTP_HEAD, HTTP_BODY, HTTP_CHUNKS, HTTP_TRAILERS, HTTP_STREAM, HTTP_ENDING };

struct http_connection {
    uint32_t magic;
    enum http_state state;
    bool keep_alive;
    bool replied;
    struct http_server *server;
    struct conn conn;
    struct http_stream stream;
    struct http_call *call; /* from a request's head to its answer */
    char *body;
    size_t body_len, body_size; /* bytes there; bytes allocated */
    size_t scanned;
    struct h1_chunked chunked;
    struct list link;
    struct task bury;
};

static const struct conn_handler handler;
static const struct h1_limits limits = {
    .request_line = 8u << 10, .header_size = 32u << 10, .header_count = HTTP_FIELDS_MAX};

static void on_acceptable(evutil_socket_t fd, short what, void *argument);
static void on_pause_over(struct timer *t);
static void take(struct http_connection *h, struct slice in, bool eof);
static void finish(struct http_connection *h);
static void dispatch(struct http_connection *h);

/* The server. */

struct http_server *http_server_create(const struct http_server_options *o, int fd)
{
    struct http_server *s = calloc(1, sizeof *s);
    if (!s) {
        close(fd);
        return NULL;
    }
    s->options = *o;
    s->fd = fd;
    list_init(&s->connections);
    list_append(o->servers, &s->link);
    task_init(&s->bury);
    timer_init(&s->pause, on_pause_over);
    event_assign(&s->event, o->loop->base, fd, EV_READ | EV_PERSIST, on_acceptable, s);
    event_add(&s->event, NULL);
    return s;
}

static void bury_server(struct task *t)
{
    free(CONTAINER_OF(t, struct http_server, bury));
}

static void free_when_unused(struct http_server *s)
{
    if (s->fd >= 0 || s->connection_count)
        return;
    list_remove(&s->link);
    loop_bury(s->options.loop, &s->bury, bury_server);
}

static void bury_connection(struct task *t)
{
    struct http_connection *h = CONTAINER_OF(t, struct http_connection, bury);
    h->magic = 0;
    free(h);
}

static void drop_call(struct http_connection *h)
{
    if (!h->call)
        return;
    arena_reset(&h->call->arena);
    free(h->call);
    h->call = NULL;
    free(h->body);
    h->body = NULL;
    h->body_len = h->body_size = 0;
}

static void close_connection(struct http_connection *h)
{
    struct http_server *s = h->server;
    if (!list_linked(&h->link))
        return;
    conn_close(&h->conn);
    drop_call(h);
    list_remove(&h->link);
    list_remove(&h->stream.link);
    loop_bury(s->options.loop, &h->bury, bury_connection);
    s->connection_count--;
    free_when_unused(s);
}

void http_server_close(struct http_server *s, bool now)
{
    if (s->fd >= 0) {
        event_del(&s->event);
        loop_timer_clear(s->options.loop, &s->pause);
        close(s->fd);
        s->fd = -1;
        free_when_unused(s);
    }
    LIST_EACH_SAFE (node, &s->connections) {
        struct http_connection *h = CONTAINER_OF(node, struct http_connection, link);
        if (now)
            close_connection(h);
        else if (h->state == HTTP_STREAM || (h->state == HTTP_HEAD && !h->call))
            finish(h);
        else
            h->keep_alive = false;
    }
}

void http_servers_close(struct list *servers)
{
    LIST_EACH_SAFE (node, servers) {
        http_server_close(CONTAINER_OF(node, struct http_server, link), true);
    }
}

int http_server_fd(const struct http_server *s)
{
    return s->fd;
}

static void accept_one(struct http_server *s, int fd)
{
    struct http_connection *h = s->connection_count < HTTP_CONNECTIONS_MAX ? calloc(1, sizeof *h) : NULL;
    if (!h) {
        close(fd);
        return;
    }
    h->magic = HTTP_CONNECTION_MAGIC;
    h->server = s;
    h->keep_alive = true;
    list_init(&h->link);
    list_init(&h->stream.link);
    task_init(&h->bury);
    if (conn_open(&h->conn, s->options.loop, fd, &handler) != 0) {
        free(h);
        return;
    }
    list_append(&s->connections, &h->link);
    s->connection_count++;
    conn_timer(&h->conn, HEAD_MS);
}

static void on_acceptable(evutil_socket_t fd, short what, void *argument)
{
    struct http_server *s = argument;
    (void)what;
    for (int i = 0; i < ACCEPTS_A_TURN && s->fd >= 0; i++) {
        int client = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (client >= 0) {
            accept_one(s, client);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            event_del(&s->event);
            loop_timer(s->options.loop, &s->pause, ACCEPT_PAUSE_MS);
            return;
        } else if (errno != ECONNABORTED && errno != EINTR) {
            return;
        }
    }
}

static void on_pause_over(struct timer *t)
{
    struct http_server *s = CONTAINER_OF(t, struct http_server, pause);
    event_add(&s->event, NULL);
}

/* A connection. */

static struct http_connection *of_conn(struct conn *c)
{
    struct http_connection *h = CONTAINER_OF(c, struct http_connection, conn);
    ASSERT(h->magic == HTTP_CONNECTION_MAGIC);
    return h;
}

static void gone(struct conn *c)
{
    close_connection(of_conn(c));
}

/* What was written goes out, then the connection ends. */
static void finish(struct http_connection *h)
{
    if (h->state == HTTP_ENDING || h->conn.closed)
        return;
    h->state = HTTP_ENDING;
    list_remove(&h->stream.link);
    conn_linger(&h->conn, LINGER_MS, gone);
}

static void readable(struct conn *c)
{
    struct http_connection *h = of_conn(c);
    struct slice in;
    switch (conn_read(c, &in)) {
    case CONN_DATA:
    case CONN_AGAIN:
        take(h, in, false);
        break;
    case CONN_EOF:
        take(h, in, true);
        return;
    case CONN_ERROR:
        close_connection(h);
        return;
    }
    if (!c->closed && h->state != HTTP_ENDING && c->want_read && c->can_read)
        conn_yield(c);
}

static void drained(struct conn *c)
{
    struct http_connection *h = of_conn(c);
    if (h->state == HTTP_HEAD) {
        conn_timer(c, IDLE_MS);
        conn_want_read(c, true);
    }
}

static void timeout(struct conn *c)
{
    struct http_connection *h = of_conn(c);
    if (h->state != HTTP_STREAM)
        close_connection(h);
}

static void failed(struct conn *c, int error)
{
    (void)error;
    close_connection(of_conn(c));
}

static const struct conn_handler handler = {
    .readable = readable, .drained = drained, .timeout = timeout, .failed = failed};

/* Reading requests. */

/* The request is refused, and where the next one would begin is not known. */
static void refuse(struct http_connection *h, unsigned status, const char *reason)
{
    h->keep_alive = false;
    if (!h->call->request.method.len)
        h->call->request.method_id = METHOD_OTHER;
    h->server->options.problem(h->call, status, reason, NULL);
    drop_call(h);
    if (h->conn.closed)
        close_connection(h);
    else
        finish(h);
}

static struct http_call *make_call(struct http_connection *h)
{
    struct http_call *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->context = h->server->options.context;
    c->is_local = h->server->options.is_local;
    c->connection = h;
    h->replied = false;
    conn_timer(&h->conn, HEAD_MS);
    c->request.fields = (struct fields){c->fields, 0, HTTP_FIELDS_MAX, 0};
    arena_init(&c->arena, NULL, 0);
    return c;
}

static bool body_is_expected(struct http_connection *h)
{
    struct http_request *r = &h->call->request;
    h->keep_alive = h->keep_alive && r->keep_alive && h->server->fd >= 0;
    if (r->body == BODY_LENGTH && r->content_length > HTTP_BODY_MAX) {
        refuse(h, 413, "a request's body may have 1 MiB here");
        return false;
    }
    if (r->body == BODY_NONE || (r->body == BODY_LENGTH && r->content_length == 0))
        return false;
    if (r->expect_continue)
        conn_write(&h->conn, &(struct iovec){(void *)(uintptr_t) "HTTP/1.1 100 Continue\r\n\r\n", 25}, 1);
    h->state = r->body == BODY_LENGTH ? HTTP_BODY : HTTP_CHUNKS;
    h->chunked = (struct h1_chunked){0};
    conn_timer(&h->conn, BODY_MS);
    return true;
}

/* Eats a head; false when more bytes are needed or it is over. */
static bool take_head(struct http_connection *h, struct slice *in)
{
    struct h1_fault fault = {0};
    if (!h->call && !(h->call = make_call(h))) {
        close_connection(h);
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
        close_connection(h);
        return false;
    }
    http_request_move(&c->request, head, copy.at);
    if (!body_is_expected(h) && h->call)
        dispatch(h);
    return h->state != HTTP_ENDING && !h->conn.closed;
}

static int keep_body(struct http_connection *h, struct slice data)
{
    if (h->body_len + data.len > HTTP_BODY_MAX)
        return -1;
    if (h->body_len + data.len > h->body_size) {
        size_t size = (h->body_len + data.len) * 2;
        char *body = realloc(h->body, size);
        if (!body)
            return -1;
        h->body = body;
        h->body_size = size;
    }
    if (data.len)
        memcpy(h->body + h->body_len, data.at, data.len);
    h->body_len += data.len;
    return 0;
}

static bool take_length(struct http_connection *h, struct slice *in)
{
    uint64_t missing = h->call->request.content_length - h->body_len;
    size_t n = in->len < missing ? in->len : (size_t)missing;
    if (keep_body(h, slice_of(in->at, n)) != 0) {
        refuse(h, 503, "out of memory");
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
        if (keep_body(h, data) != 0) {
            refuse(h, 413, "a request's body may have 1 MiB here");
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

static bool take_step(struct http_connection *h, struct slice *in)
{
    switch (h->state) {
    case HTTP_HEAD:
        if (conn_backlog(&h->conn) >= CONN_HIGH_WATER) {
            conn_want_read(&h->conn, false);
            return false;
        }
        return in->len && take_head(h, in);
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
    while (!h->conn.closed && take_step(h, &in))
        ;
    if (h->conn.closed || h->state == HTTP_ENDING)
        return;
    if (eof && h->conn.want_read) {
        finish(h);
        return;
    }
    if (conn_keep(&h->conn, in) != 0)
        close_connection(h);
}

/* Answering. */

static int hex_digit(char c)
{
    c = ascii_lower(c);
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* {NULL, 0} for a bad escape. */
static struct slice decode(struct arena *a, struct slice s)
{
    char *out = arena_alloc(a, s.len + 1);
    size_t n = 0;
    for (size_t i = 0; out && i < s.len; i++) {
        if (s.at[i] != '%') {
            out[n++] = s.at[i];
            continue;
        }
        int high = i + 2 < s.len ? hex_digit(s.at[i + 1]) : -1, low = high >= 0 ? hex_digit(s.at[i + 2]) : -1;
        if (low < 0 || (high == 0 && low == 0))
            return slice_of(NULL, 0);
        out[n++] = (char)(high * 16 + low);
        i += 2;
    }
    if (out)
        out[n] = 0;
    return slice_of(out, out ? n : 0);
}

static struct slice next_segment(struct slice *path)
{
    struct slice rest = slice_skip(*path, 1); /* its slash */
    struct slice segment = slice_of(rest.at, slice_find(rest, '/'));
    *path = slice_skip(rest, segment.len);
    return segment;
}

static bool matches(struct http_call *c, const char *pattern)
{
    struct slice path = c->request.path, wanted = slice_text(pattern);
    c->argument_count = 0;
    while (wanted.len && path.len) {
        struct slice whole = slice_skip(path, 1), piece = next_segment(&path), want = next_segment(&wanted);
        bool rest = slice_equal(want, S("{*}"));
        if (!rest && !slice_equal(want, S("{}"))) {
            if (!slice_equal(piece, want))
                return false;
            continue;
        }
        struct slice value = decode(&c->arena, rest ? whole : piece);
        if (!value.at || !value.len || c->argument_count == HTTP_ARGUMENTS_MAX)
            return false;
        c->arguments[c->argument_count++] = value;
        if (rest)
            return true;
    }
    return wanted.len == 0 && path.len == 0;
}

static bool method_fits(const struct http_call *c, const struct http_endpoint *e)
{
    struct slice method = c->request.method_id == METHOD_HEAD ? S("GET") : c->request.method;
    return slice_equal(method, slice_text(e->method));
}

static void answer_without_endpoint(struct http_connection *h)
{
    const struct http_server_options *o = &h->server->options;
    const char *allow = NULL;
    for (size_t i = 0; i < o->endpoint_count && !allow; i++)
        if (matches(h->call, o->endpoints[i].path))
            allow = o->endpoints[i].method;
    if (!allow) {
        o->problem(h->call, 404, "there is nothing at this path", NULL);
        return;
    }
    const char *line = arena_printf(&h->call->arena, "Allow: %s\r\n", allow);
    o->problem(h->call, 405, "this path is for another method; see the field Allow", line);
}

static void dispatch(struct http_connection *h)
{
    const struct http_server_options *o = &h->server->options;
    struct http_call *c = h->call;
    const struct http_endpoint *found = NULL;
    c->body = slice_of(h->body, h->body_len);
    for (size_t i = 0; i < o->endpoint_count && !found; i++)
        if (method_fits(c, &o->endpoints[i]) && matches(c, o->endpoints[i].path))
            found = &o->endpoints[i];
    h->state = HTTP_HEAD;
    h->scanned = 0;
    if (!o->guard || o->guard(c, found)) {
        if (found)
            found->answer(c);
        else
            answer_without_endpoint(h);
    }
    if (!h->replied && !h->conn.closed)
        o->problem(c, 500, "no answer was given", NULL);
    drop_call(h);
    if (h->conn.closed)
        close_connection(h);
    else if (h->state != HTTP_HEAD)
        return;
    else if (!h->keep_alive)
        finish(h);
    else
        conn_timer(&h->conn, conn_backlog(&h->conn) ? WRITE_MS : IDLE_MS);
}

static void write_head(struct http_connection *h, unsigned status, const char *type, const char *framing,
                       const char *extra, struct slice body)
{
    char date[32];
    http_date(loop_wall_us(h->conn.loop) / 1000000, date);
    struct slice reason = status_reason(status);
    char *head =
        arena_printf(&h->call->arena,
                     "HTTP/1.1 %u %.*s\r\nDate: %s\r\nServer: weir\r\n%s%s%s%s%sCache-Control: no-store\r\n"
                     "X-Content-Type-Options: nosniff\r\n%s\r\n",
                     status, SLICE_FMT(reason), date, type ? "Content-Type: " : "", type ? type : "",
                     type ? "\r\n" : "", framing, extra ? extra : "",
                     h->keep_alive ? h->call->request.minor == 0 ? "Connection: keep-alive\r\n" : ""
                                   : "Connection: close\r\n");
    if (!head) {
        conn_close(&h->conn);
        return;
    }
    struct iovec iov[] = {{head, strlen(head)}, {(void *)(uintptr_t)body.at, body.len}};
    conn_write(&h->conn, iov, body.len ? 2 : 1);
}

void http_call_reply(struct http_call *c, unsigned status, const char *type, struct slice body,
                     const char *extra)
{
    struct http_connection *h = c->connection;
    if (h->replied || h->conn.closed)
        return;
    h->replied = true;
    char framing[64];
    snprintf(framing, sizeof framing, "Content-Length: %zu\r\n", body.len);
    write_head(h, status, type, framing, extra, c->request.method_id == METHOD_HEAD ? S("") : body);
}

void http_call_stream(struct http_call *c, const char *type, const char *extra, struct list *streams)
{
    struct http_connection *h = c->connection;
    if (h->replied || h->conn.closed)
        return;
    h->replied = true;
    h->keep_alive = false;
    write_head(h, 200, type, "", extra, S(""));
    if (c->request.method_id == METHOD_HEAD || h->conn.closed)
        return;
    h->state = HTTP_STREAM;
    conn_timer_pause(&h->conn);
    list_append(streams, &h->stream.link);
}

void http_stream_send(struct http_stream *s, struct slice text)
{
    struct http_connection *h = CONTAINER_OF(s, struct http_connection, stream);
    if (conn_backlog(&h->conn) + text.len > HTTP_STREAM_MAX) {
        close_connection(h);
        return;
    }
    conn_write(&h->conn, &(struct iovec){(void *)(uintptr_t)text.at, text.len}, 1);
}

void http_stream_close(struct http_stream *s)
{
    finish(CONTAINER_OF(s, struct http_connection, stream));
}

struct slice http_call_field(const struct http_call *c, const char *name)
{
    const struct field *f = fields_find_name(&c->request.fields, slice_text(name));
    return f ? f->value : slice_of(NULL, 0);
}
