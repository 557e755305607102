#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/log.h"
#include "proxy/http/h1/downstream_internal.h"
#include "proxy/http/h2/connection.h"
#include "tls/info.h"
#include "tls/server.h"

static const struct conn_handler handler;

static msec_t idle_time(const struct h1_downstream *d);
static void run_clock(struct h1_downstream *d, enum downstream_clock clock, msec_t delay);
static void drain_client(struct client *c, bool close_idle);
static void cut_client(struct client *c);

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
    conn_accept(&d->conn, &l->worker->loop, a->fd, &handler);
    if (l->config->tls && tls_server_accept(l->config->tls, l->worker->index, &d->conn) != 0) {
        conn_close(&d->conn);
        client_leave(&d->client);
        free(d);
        return -1;
    }
    run_clock(d, CLOCK_IDLE,
              l->config->tls ? downstream_timeouts(d)->header : downstream_timeouts(d)->keepalive);
    return 0;
}

static void connected(struct conn *c)
{
    struct h1_downstream *d = downstream_of_conn(c);
    const struct tls_info *info = tls_info(c);
    if (info)
        listener_count_handshake(d->client.listener, info);
    if (info && slice_equal(info->alpn, S("h2"))) {
        downstream_speaks_h2(d, slice_of(NULL, 0));
        return;
    }
    run_clock(d, CLOCK_IDLE, idle_time(d));
}

/* The clock. */

static msec_t idle_time(const struct h1_downstream *d)
{
    msec_t keepalive = downstream_timeouts(d)->keepalive;
    return d->stopping && keepalive > FIRST_REQUEST_MS ? FIRST_REQUEST_MS : keepalive;
}

static void run_clock(struct h1_downstream *d, enum downstream_clock clock, msec_t delay)
{
    d->clock = (uint8_t)clock;
    conn_timer(&d->conn, delay);
}

static void stop_clock(struct h1_downstream *d)
{
    d->clock = CLOCK_NONE;
    conn_timer_pause(&d->conn);
}

/* A clock that runs already goes on, unless something was taken since. */
static void watch_writing(struct h1_downstream *d)
{
    if (d->clock == CLOCK_WRITING && d->conn.bytes_out == d->progress_out)
        return;
    d->progress_out = d->conn.bytes_out;
    run_clock(d, CLOCK_WRITING, d->x ? exchange_body_timeout(d->x) : downstream_timeouts(d)->body);
}

void downstream_watch(struct h1_downstream *d)
{
    const struct exchange *x = d->x;
    if (d->conn.closed || d->lingering)
        return;
    if (d->body_kind == REQUEST_BODY_TUNNEL) {
        stop_clock(d); /* the responder has one */
    } else if (!x && d->head_begun) {
        if (d->clock != CLOCK_HEAD) /* from the head's first byte */
            run_clock(d, CLOCK_HEAD, downstream_timeouts(d)->header);
    } else if (conn_is_stuck(&d->conn)) {
        watch_writing(d);
    } else if (!x) {
        run_clock(d, CLOCK_IDLE, idle_time(d));
    } else if (!x->request_done && x->want_body) {
        run_clock(d, CLOCK_BODY, exchange_body_timeout(x));
    } else {
        stop_clock(d);
    }
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
    downstream_hang_up(d);
}

static void timeout(struct conn *c)
{
    struct h1_downstream *d = downstream_of_conn(c);
    switch ((enum downstream_clock)d->clock) {
    case CLOCK_NONE:
        break;
    case CLOCK_IDLE:
        give_up(d);
        break;
    case CLOCK_HEAD:
        downstream_refuse(d, 408, "the request's head took too long");
        break;
    case CLOCK_BODY:
        exchange_fail(d->x, 408, "the request's body took too long");
        break;
    case CLOCK_WRITING:
        if (conn_is_stuck(c) && c->bytes_out == d->progress_out)
            give_up(d);
        else
            downstream_watch(d); /* slow, but it moves */
        break;
    }
}

/* Other events. */

static void drained(struct conn *c)
{
    struct h1_downstream *d = downstream_of_conn(c);
    if (d->x)
        exchange_resume(d->x);
    else
        conn_want_read(c, true); /* a request may have waited for that */
}

static void failed(struct conn *c, int error)
{
    struct h1_downstream *d = downstream_of_conn(c);
    if (c->handshaking) {
        const char *why = tls_failure(c);
        char peer[ADDRESS_TEXT_MAX];
        ip_print(&d->client.ip, peer, sizeof peer);
        counter_add(&d->client.listener->stats->handshake_failures, 1);
        log_debug("TLS handshake failed", LOG_SLICE("listener", d->client.listener->name),
                  LOG_TEXT("client", peer), LOG_TEXT("reason", why ? why : strerror(error)));
    }
    downstream_lost(d);
}

static const struct conn_handler handler = {
    .connected = connected,
    .readable = downstream_readable,
    .drained = drained,
    .timeout = timeout,
    .failed = failed,
};

/* The end. */

void downstream_count_bytes(struct h1_downstream *d)
{
    struct listener_worker_stats *stats = d->client.listener->stats;
    counter_add(&stats->bytes_in, d->conn.bytes_in - d->counted_in);
    counter_add(&stats->bytes_out, d->conn.bytes_out - d->counted_out);
    d->counted_in = d->conn.bytes_in;
    d->counted_out = d->conn.bytes_out;
}

static void bury(struct task *t)
{
    free(CONTAINER_OF(t, struct h1_downstream, conn.task));
}

static void leave(struct h1_downstream *d)
{
    downstream_count_bytes(d);
    client_leave(&d->client);
    loop_bury(&d->worker->loop, &d->conn.task, bury);
}

static void given_away(struct conn *c)
{
    free(CONTAINER_OF(c, struct h1_downstream, conn));
}

void downstream_speaks_h2(struct h1_downstream *d, struct slice in)
{
    if (h2_take_over(&d->conn, &d->client, in, given_away) != 0)
        downstream_lost(d);
    else
        d->lingering = true; /* nothing of it is this codec's any more */
}

void downstream_hang_up(struct h1_downstream *d)
{
    if (d->magic != H1_DOWNSTREAM_MAGIC)
        return;
    conn_close(&d->conn);
    leave(d);
    d->magic = 0;
}

static void lingered(struct conn *c)
{
    struct h1_downstream *d = downstream_of_conn(c);
    leave(d);
    d->magic = 0;
}

/* A request that has come, but whose edge has not been seen yet: a close would reset the connection into it.
 */
static bool has_input(const struct conn *c)
{
    char byte;
    return c->can_read || c->kept_len || recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

void downstream_finish(struct h1_downstream *d, msec_t linger_ms)
{
    struct conn *c = &d->conn;
    bool clean = !c->can_read && !c->kept_len && conn_backlog(c) == 0 && linger_ms == LINGER_MS;
    /* Behind a request that says that it is the last there is none (RFC 9112 §9.6). */
    if (c->broken || (clean && !c->transport_pending && (c->watched || d->last_said || !has_input(c)))) {
        /* What came meanwhile makes a reset of the close: behind an end, where the client has its answer. */
        if (!c->broken)
            conn_shutdown(c);
        if (c->broken || conn_backlog(c) == 0) {
            downstream_hang_up(d);
            return;
        } /* else the socket was too full for TLS's last words */
    }
    d->lingering = true;
    conn_linger(c, linger_ms, lingered);
}

static void drain_client(struct client *client, bool close_idle)
{
    struct h1_downstream *d = CONTAINER_OF(client, struct h1_downstream, client);
    d->drain = true;
    d->stopping = close_idle;
    if (d->x)
        exchange_drain(d->x);
    if (!close_idle || d->x || d->head_begun || d->lingering || d->conn.handshaking)
        return;
    /* One that waits after an answer knows that it may be closed; one that has just come does not. */
    if (!d->used)
        run_clock(d, CLOCK_IDLE, idle_time(d));
    else if (!has_input(&d->conn))
        downstream_finish(d, LINGER_MS);
}

void downstream_lost(struct h1_downstream *d)
{
    struct exchange *x = d->x;
    d->x = NULL;
    if (x)
        exchange_abort(x, d->worker->stopping ? END_CUT : END_CLIENT_GONE);
    downstream_hang_up(d);
}

static void cut_client(struct client *client)
{
    downstream_lost(CONTAINER_OF(client, struct h1_downstream, client));
}
