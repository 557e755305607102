/* A stream's server: chosen, waited for when all are at max_connections, connected to; the next one when that
 * fails. */
#include "proxy/stream/tcp_internal.h"

#include <errno.h>

#include "balancer/hashing.h"
#include "proxy/failure_log.h"
#include "proxy/introduce.h"
#include "tls/info.h"

static void go_on(struct tcp_stream *s, struct server *server, enum pick_failure why);

static void no_server(struct tcp_stream *s, enum pick_failure why)
{
    failure_log_no_server(s->worker, "no server for a stream", s->client.listener->name, s->upstream->name,
                          s->tried_count ? "the servers that were tried could not be reached"
                                         : pick_failure_text(why));
    tcp_end(s, false); /* nothing was relayed: a close says it all */
}

void tcp_tell(struct tcp_stream *s, enum outcome_kind kind)
{
    usec_t now = loop_now_us(&s->worker->loop);
    struct outcome o = {.kind = kind, .took_us = now - s->attempt_us, .now_us = now};
    upstream_done(s->upstream, s->servers, s->worker->index, s->server, &o);
}

void tcp_connect_failed(struct tcp_stream *s, int error)
{
    const char *why = s->uc ? tls_failure(&s->uc->conn) : NULL;
    failure_log(s->worker, "server cannot be reached", s->server, why ? why : strerror(error));
    if (s->uc)
        pool_fail(s->uc);
    s->uc = NULL;
    s->counted = false;
    tcp_tell(s, error == ETIMEDOUT ? OUTCOME_TIMEOUT : OUTCOME_UNREACHABLE);
    tcp_attempt(s);
}

static void introduce_client(struct tcp_stream *s)
{
    const struct client *c = &s->client;
    struct introduction i = {.client = &c->ip,
                             .destination = client_destination(c),
                             .from = &s->conn,
                             .server_name = slice_text(s->server_name)};
    introduce(&s->uc->conn, s->upstream, &i);
}

static struct server *pick(struct tcp_stream *s, enum pick_failure *why)
{
    struct pick p = {.tried = s->tried,
                     .tried_count = s->tried_count,
                     .hash = s->upstream->policy->hashes ? hash_of_ip(&s->client.ip) : 0,
                     .spares = true,
                     .now_us = loop_now_us(&s->worker->loop)};
    *why = PICK_ALL_TRIED;
    return s->tried_count < TCP_ATTEMPTS_MAX
               ? upstream_pick(s->upstream, s->servers, s->worker->index, &p, why)
               : NULL;
}

/* It ended before it said anything: nobody is there to be served. */
static bool gone(struct queue_waiter *w)
{
    struct tcp_stream *s = CONTAINER_OF(w, struct tcp_stream, waiter);
    ASSERT(s->magic == TCP_MAGIC);
    char byte;
    if (!s->conn.hangup || recv(s->conn.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) != 0)
        return false;
    tcp_end(s, false);
    return true;
}

/* Servers may have come or gone while it waited. */
static void look_anew(struct tcp_stream *s)
{
    struct server_set *before = s->servers;
    if (s->tried_count)
        return;
    s->servers = upstream_enter(s->upstream, s->worker->index);
    upstream_leave(s->upstream, before, s->worker->index);
    s->waiter.choice = s->servers;
}

/* Every server that it may have is at max_connections; now there may be a place. */
static enum queue_turn turn(struct queue_waiter *w)
{
    struct tcp_stream *s = CONTAINER_OF(w, struct tcp_stream, waiter);
    ASSERT(s->magic == TCP_MAGIC);
    enum pick_failure why = PICK_OK;
    look_anew(s);
    struct server *server = pick(s, &why);
    if (!server && why == PICK_ALL_BUSY)
        return s->tried_count ? QUEUE_PASSED : QUEUE_BUSY;
    queue_leave(w);
    go_on(s, server, why);
    return QUEUE_DONE;
}

static void late(struct queue_waiter *w)
{
    struct tcp_stream *s = CONTAINER_OF(w, struct tcp_stream, waiter);
    ASSERT(s->magic == TCP_MAGIC);
    no_server(s, PICK_ALL_BUSY);
}

void tcp_attempt(struct tcp_stream *s)
{
    enum pick_failure why = PICK_ALL_BUSY;
    bool in_line = s->tried_count == 0 && upstream_has_waiting(s->upstream);
    struct server *server = in_line ? NULL : pick(s, &why);
    s->waiter.choice = s->servers;
    s->waiter.turn = turn;
    s->waiter.gone = gone;
    s->waiter.late = late;
    if (server || why != PICK_ALL_BUSY ||
        !upstream_wait(s->upstream, s->worker->index, &s->worker->loop, &s->waiter))
        go_on(s, server, why);
}

static void go_on(struct tcp_stream *s, struct server *server, enum pick_failure why)
{
    if (!server) {
        no_server(s, why);
        return;
    }
    s->server = server;
    s->attempt_us = loop_now_us(&s->worker->loop);
    s->counted = true;
    s->tried[s->tried_count++] = server;
    s->uc = pool_connect(&s->worker->pool, s->upstream, server, &tcp_server_handler, s);
    if (!s->uc) {
        tcp_connect_failed(s, errno);
        return;
    }
    introduce_client(s);
    conn_timer_connect(&s->uc->conn, tcp_timeouts(s)->connect, timeouts_tls(tcp_timeouts(s)));
}
