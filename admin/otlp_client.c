#include "admin/otlp_client.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "balancer/resolve.h"
#include "tls/client.h"
#include "tls/info.h"

#define READS_A_TURN    8
#define SOON_MS         1 /* a connection that was closed is not used again in the same pass */
#define RETRY_AFTER_MAX 300
#define HEAD_FIELDS     64

static void start(struct timer *t);
static void on_deadline(struct timer *t);
static void on_resolved(struct host *h);
static void on_connected(struct conn *conn);
static void on_readable(struct conn *conn);
static void on_failed(struct conn *conn, int error);
static void on_timeout(struct conn *conn);

static const struct conn_handler handler = {
    .connected = on_connected,
    .readable = on_readable,
    .timeout = on_timeout,
    .failed = on_failed,
};

static const struct h1_limits limits = {
    .request_line = 8192, .header_size = 16384, .header_count = HEAD_FIELDS};

/* The target. */

static char *make_head(const struct tracing_settings *s, const struct tracing_endpoint *e)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    if (!f)
        return NULL;
    fprintf(f,
            "POST %.*s HTTP/1.1\r\nHost: %.*s\r\nUser-Agent: weir/" WEIR_VERSION
            "\r\nAccept: application/json\r\nContent-Type: application/json\r\n",
            SLICE_FMT(e->path), SLICE_FMT(e->authority));
    for (size_t i = 0; i < s->headers.count; i++)
        fprintf(f, "%.*s: %.*s\r\n", SLICE_FMT(s->headers.at[i].name), SLICE_FMT(s->headers.at[i].value));
    bool failed = ferror(f) != 0;
    if (fclose(f) == 0 && !failed)
        return text;
    free(text);
    return NULL;
}

struct otlp_target *otlp_target_create(struct config *c, const struct tracing_settings *s)
{
    const struct tls_client_settings usual = {.node = s->node, .verify = true};
    struct otlp_target *t = calloc(1, sizeof *t);
    const char *why = "out of memory";
    if (!t || !(t->url = strndup(s->endpoint.at, s->endpoint.len)) ||
        tracing_endpoint_read(slice_text(t->url), &t->endpoint, &why) != 0 ||
        !(t->head = make_head(s, &t->endpoint))) {
        config_fault(c, s->node, "%s", why);
        otlp_target_free(t);
        return NULL;
    }
    t->timeout = s->timeout;
    if (t->endpoint.is_tls) {
        t->tls = tls_client_create(c, s->tls ? s->tls->node : s->node, s->tls ? s->tls : &usual, 1);
        if (!t->tls) {
            otlp_target_free(t);
            return NULL;
        }
    }
    return t;
}

void otlp_target_free(struct otlp_target *t)
{
    if (!t)
        return;
    tls_client_free(t->tls);
    free(t->head);
    free(t->url);
    free(t);
}

/* Life. */

void otlp_client_init(struct otlp_client *c, struct loop *l, otlp_done *done, void *argument)
{
    memset(c, 0, sizeof *c);
    c->loop = l;
    c->done = done;
    c->argument = argument;
    c->conn.closed = true;
    timer_init(&c->deadline, on_deadline);
    timer_init(&c->start, start);
}

static struct otlp_client *client_of(struct conn *conn)
{
    return CONTAINER_OF(conn, struct otlp_client, conn);
}

static void forget_host(struct otlp_client *c)
{
    if (c->host)
        host_free(c->host);
    c->host = NULL;
}

void otlp_client_close(struct otlp_client *c)
{
    conn_close(&c->conn);
    loop_timer_clear(c->loop, &c->deadline);
    loop_timer_clear(c->loop, &c->start);
    forget_host(c);
    c->state = OTLP_CLOSED;
    c->target = NULL;
}

void otlp_client_free(struct otlp_client *c)
{
    otlp_client_close(c);
    if (c->resolver)
        resolver_free(c->resolver);
    c->resolver = NULL;
}

/* What is under way is over; the connection is kept, or not. */
static void tell(struct otlp_client *c, const struct otlp_answer *answer, bool keep)
{
    loop_timer_clear(c->loop, &c->deadline);
    loop_timer_clear(c->loop, &c->start);
    if (!keep)
        conn_close(&c->conn);
    c->state = keep ? OTLP_IDLE : OTLP_CLOSED;
    c->is_reused = keep;
    c->done(c->argument, answer);
}

static void fail(struct otlp_client *c, const char *reason)
{
    tell(c, &(struct otlp_answer){.verdict = OTLP_LATER, .reason = reason}, false);
}

/* Connecting. */

static void send_message(struct otlp_client *c)
{
    char length[64];
    int len = snprintf(length, sizeof length, "Content-Length: %zu\r\n\r\n", c->body.len);
    struct iovec iov[] = {{c->target->head, strlen(c->target->head)},
                          {length, (size_t)len},
                          {(void *)(uintptr_t)c->body.at, c->body.len}};
    c->state = OTLP_ASKED;
    c->has_begun = false;
    c->step = OTLP_HEAD;
    c->scanned = c->read = c->text_len = 0;
    c->status = 0;
    c->retry_after = 0;
    c->chunked = (struct h1_chunked){0};
    conn_write(&c->conn, iov, COUNT_OF(iov));
}

static void connect_to(struct otlp_client *c, struct address *to)
{
    const struct tracing_endpoint *e = &c->target->endpoint;
    address_set_port(to, e->port);
    c->state = OTLP_CONNECTING;
    if (conn_connect(&c->conn, c->loop, to, NULL, &handler) != 0) {
        fail(c, "no socket could be had");
        return;
    }
    if (c->target->tls && tls_client_connect(c->target->tls, 0, &c->conn, e->host, S("")) != 0)
        fail(c, "TLS could not be begun");
}

static void resolve(struct otlp_client *c)
{
    const struct tracing_endpoint *e = &c->target->endpoint;
    c->state = OTLP_RESOLVING;
    if (!c->resolver)
        c->resolver = resolver_create(c->loop, getenv("WEIR_DNS_SERVERS"), 60000);
    if (!c->host && c->resolver)
        c->host = host_create(c->resolver, e->host, on_resolved, c);
    if (!c->host || host_look_up(c->host) != 0)
        fail(c, "out of memory");
}

static void on_resolved(struct host *h)
{
    struct otlp_client *c = h->argument;
    size_t count = h->families[0].count + h->families[1].count, i = count ? c->turn % count : 0;
    if (c->state != OTLP_RESOLVING)
        return;
    if (count == 0) {
        snprintf(c->failure, sizeof c->failure, "its name does not resolve: %.60s", h->reason);
        fail(c, c->failure);
        return;
    }
    struct address to =
        i < h->families[0].count ? h->families[0].at[i] : h->families[1].at[i - h->families[0].count];
    connect_to(c, &to);
}

static void start(struct timer *t)
{
    struct otlp_client *c = CONTAINER_OF(t, struct otlp_client, start);
    struct slice host = c->target->endpoint.host;
    struct ip ip;
    struct address to = {0};
    /* RFC 6761 §6.3: nobody else is to be asked what that is. */
    if (slice_equal_nocase(host, S("localhost")))
        host = c->turn % 2 ? S("::1") : S("127.0.0.1");
    if (ip_parse(host, &ip) != 0) {
        resolve(c);
        return;
    }
    if (ip_is_v4(&ip)) {
        to.len = sizeof to.v4;
        to.v4.sin_family = AF_INET;
        memcpy(&to.v4.sin_addr, ip.bytes + 12, 4);
    } else {
        to.len = sizeof to.v6;
        to.v6.sin6_family = AF_INET6;
        memcpy(&to.v6.sin6_addr, ip.bytes, 16);
    }
    connect_to(c, &to);
}

static void start_soon(struct otlp_client *c)
{
    c->state = OTLP_RESOLVING;
    c->is_reused = false;
    loop_timer(c->loop, &c->start, SOON_MS);
}

void otlp_client_post(struct otlp_client *c, const struct otlp_target *t, struct slice body)
{
    ASSERT(c->state == OTLP_CLOSED || c->state == OTLP_IDLE);
    if (c->target != t)
        otlp_client_close(c);
    c->target = t;
    c->body = body;
    loop_timer(c->loop, &c->deadline, t->timeout);
    if (c->state == OTLP_IDLE)
        send_message(c);
    else
        start_soon(c);
}

static void on_connected(struct conn *conn)
{
    send_message(client_of(conn));
}

/* The answer. */

static enum otlp_verdict verdict_of(unsigned status)
{
    if (status / 100 == 2)
        return OTLP_TAKEN;
    return status == 429 || status == 502 || status == 503 || status == 504 ? OTLP_LATER : OTLP_REFUSED;
}

/* ExportTracePartialSuccess. */
static uint64_t rejected_of(const struct otlp_client *c)
{
    uint64_t number = 0;
    json_t *all = c->text_len ? json_loadb(c->text, c->text_len, 0, NULL) : NULL;
    const json_t *rejected = json_object_get(json_object_get(all, "partialSuccess"), "rejectedSpans");
    if (json_is_integer(rejected) && json_integer_value(rejected) > 0)
        number = (uint64_t)json_integer_value(rejected);
    else if (json_is_string(rejected) && slice_to_u64(slice_text(json_string_value(rejected)), &number) != 0)
        number = 0;
    json_decref(all);
    return number;
}

static void answered(struct otlp_client *c, bool whole)
{
    struct otlp_answer a = {
        .verdict = verdict_of(c->status), .status = c->status, .retry_after = c->retry_after};
    snprintf(c->failure, sizeof c->failure, "it answers %u", c->status);
    a.reason = c->failure;
    if (a.verdict == OTLP_TAKEN && whole)
        a.rejected = rejected_of(c);
    tell(c, &a, whole && c->keeps);
}

static void take_head(struct otlp_client *c, const struct http_response *r)
{
    const struct field *after = fields_find(&r->fields, FIELD_RETRY_AFTER);
    uint64_t seconds;
    c->status = r->status;
    c->keeps = r->keep_alive && !r->upgrade && r->body != BODY_UNTIL_CLOSE;
    if (after && slice_to_u64(after->value, &seconds) == 0)
        c->retry_after = (seconds < RETRY_AFTER_MAX ? seconds : RETRY_AFTER_MAX) * 1000;
    c->left = r->body == BODY_LENGTH ? r->content_length : 0;
    c->step = r->body == BODY_CHUNKED ? OTLP_CHUNKS : r->body == BODY_UNTIL_CLOSE ? OTLP_TO_END : OTLP_LENGTH;
}

static void take_text(struct otlp_client *c, struct slice s)
{
    size_t room = sizeof c->text - c->text_len, len = s.len < room ? s.len : room;
    if (len)
        memcpy(c->text + c->text_len, s.at, len);
    c->text_len += len;
    c->read += s.len;
}

/* A step of reading: 1 = there may be more in what is there, 0 = more has to come, -1 = it was told. */
static int read_head(struct otlp_client *c, struct slice *in)
{
    struct field room[HEAD_FIELDS];
    struct http_response r = {.fields = {.at = room, .capacity = HEAD_FIELDS}};
    struct h1_fault fault;
    ssize_t len = h1_parse_response(*in, &c->scanned, &limits, METHOD_POST, &r, &fault);
    if (len < 0) {
        fail(c, "what answers speaks no HTTP/1.1");
        return -1;
    }
    if (len == 0)
        return 0;
    if (r.status >= 200 || r.status == 101)
        take_head(c, &r);
    *in = slice_skip(*in, (size_t)len);
    return 1;
}

static int read_length(struct otlp_client *c, struct slice *in)
{
    size_t len = in->len < c->left ? in->len : (size_t)c->left;
    take_text(c, slice_of(in->at, len));
    *in = slice_skip(*in, len);
    c->left -= len;
    if (c->left)
        return 0;
    answered(c, true);
    return -1;
}

static int read_chunks(struct otlp_client *c, struct slice *in)
{
    struct slice data;
    struct h1_fault fault;
    if (h1_chunked_next(&c->chunked, in, &data, &fault) != 0) {
        answered(c, false);
        return -1;
    }
    take_text(c, data);
    if (c->chunked.done)
        c->step = OTLP_TRAILERS;
    return c->chunked.done || data.len;
}

static int read_trailers(struct otlp_client *c, struct slice *in)
{
    struct field room[HEAD_FIELDS];
    struct fields trailers = {.at = room, .capacity = HEAD_FIELDS};
    struct h1_fault fault;
    ssize_t len = h1_parse_trailers(*in, &c->scanned, &limits, &trailers, &fault);
    if (len == 0)
        return 0;
    *in = slice_skip(*in, len > 0 ? (size_t)len : in->len);
    answered(c, len > 0);
    return -1;
}

static int read_step(struct otlp_client *c, struct slice *in)
{
    switch (c->step) {
    case OTLP_HEAD:
        return read_head(c, in);
    case OTLP_LENGTH:
        return read_length(c, in);
    case OTLP_CHUNKS:
        return read_chunks(c, in);
    case OTLP_TRAILERS:
        return read_trailers(c, in);
    case OTLP_TO_END:
        take_text(c, *in);
        *in = slice_skip(*in, in->len);
        break;
    }
    return 0;
}

/* False when the answer was told. */
static bool take(struct otlp_client *c, struct slice *in)
{
    int more = 1;
    c->has_begun = true;
    while (more > 0) {
        more = read_step(c, in);
        if (more >= 0 && c->read > OTLP_ANSWER_MAX) {
            answered(c, false);
            return false;
        }
    }
    return more == 0;
}

static void ended(struct otlp_client *c, const char *reason)
{
    bool is_stale = c->is_reused && !c->has_begun;
    if (c->state == OTLP_IDLE) {
        conn_close(&c->conn);
        c->state = OTLP_CLOSED;
    } else if (c->state == OTLP_ASKED && is_stale) { /* it had ended while nobody used it */
        conn_close(&c->conn);
        start_soon(c);
    } else if (c->state == OTLP_ASKED && c->status) {
        answered(c, c->step == OTLP_TO_END);
    } else {
        c->turn++;
        fail(c, reason);
    }
}

static void on_readable(struct conn *conn)
{
    struct otlp_client *c = client_of(conn);
    for (int i = 0; i < READS_A_TURN; i++) {
        struct slice in;
        enum conn_status status = conn_read(conn, &in);
        if (status == CONN_AGAIN)
            return;
        if (status != CONN_DATA || c->state != OTLP_ASKED) {
            ended(c, "it closed the connection without an answer");
            return;
        }
        bool goes_on = take(c, &in);
        if (conn->closed)
            return;
        if (conn_keep(conn, goes_on ? in : slice_of(NULL, 0)) != 0) {
            ended(c, "out of memory");
            return;
        }
        if (!goes_on && c->state != OTLP_ASKED)
            return;
    }
    conn_yield(conn);
}

static void on_failed(struct conn *conn, int error)
{
    struct otlp_client *c = client_of(conn);
    const char *why = tls_failure(conn);
    snprintf(c->failure, sizeof c->failure, "%s", why ? why : strerrordesc_np(error));
    ended(c, c->failure);
}

static void on_timeout(struct conn *conn)
{
    ended(client_of(conn), "it took too long");
}

static void on_deadline(struct timer *t)
{
    struct otlp_client *c = CONTAINER_OF(t, struct otlp_client, deadline);
    if (c->state == OTLP_ASKED && c->status) {
        answered(c, false);
        return;
    }
    c->turn++;
    forget_host(c);
    fail(c, "it took too long");
}
