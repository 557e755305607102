#include "admin/otlp_client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "admin/otlp_client_internal.h"
#include "balancer/resolve.h"
#include "tls/client.h"
#include "tls/info.h"

#define READS_A_TURN 8
#define SOON_MS      1 /* a connection that was closed is not used again in the same pass */

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

void otlp_client_tell(struct otlp_client *c, const struct otlp_answer *answer, bool keep)
{
    loop_timer_clear(c->loop, &c->deadline);
    loop_timer_clear(c->loop, &c->start);
    if (!keep)
        conn_close(&c->conn);
    c->state = keep ? OTLP_IDLE : OTLP_CLOSED;
    c->is_reused = keep;
    c->done(c->argument, answer);
}

void otlp_client_fail(struct otlp_client *c, const char *reason)
{
    otlp_client_tell(c, &(struct otlp_answer){.verdict = OTLP_LATER, .reason = reason}, false);
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
        otlp_client_fail(c, "no socket could be had");
        return;
    }
    if (c->target->tls && tls_client_connect(c->target->tls, 0, &c->conn, e->host, S("")) != 0)
        otlp_client_fail(c, "TLS could not be begun");
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
        otlp_client_fail(c, "out of memory");
}

static void on_resolved(struct host *h)
{
    struct otlp_client *c = h->argument;
    size_t count = h->families[0].count + h->families[1].count, i = count ? c->turn % count : 0;
    if (c->state != OTLP_RESOLVING)
        return;
    if (count == 0) {
        snprintf(c->failure, sizeof c->failure, "its name does not resolve: %.60s", h->reason);
        otlp_client_fail(c, c->failure);
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

/* Its events. */

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
        otlp_answered(c, c->step == OTLP_TO_END);
    } else {
        c->turn++;
        otlp_client_fail(c, reason);
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
        bool goes_on = otlp_take(c, &in);
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
        otlp_answered(c, false);
        return;
    }
    c->turn++;
    forget_host(c);
    otlp_client_fail(c, "it took too long");
}
