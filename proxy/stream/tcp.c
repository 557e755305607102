#include "proxy/stream/tcp.h"

#include <stdlib.h>
#include <unistd.h>

#include "proxy/stream/tcp_internal.h"
#include "tls/server.h"

#define FLUSH_MS 30000

static void drain_client(struct client *c, bool close_idle);
static void cut_client(struct client *c);

int tcp_accept(struct listener *l, const struct arrival *a)
{
    struct tcp_stream *s = calloc(1, sizeof *s);
    if (!s || !client_enter(&s->client, l, a)) {
        free(s);
        close(a->fd);
        return -1;
    }
    s->magic = TCP_MAGIC;
    s->worker = l->worker;
    s->client.drain = drain_client;
    s->client.cut = cut_client;
    s->active_us = loop_now_us(&l->worker->loop);
    conn_accept(&s->conn, &l->worker->loop, a->fd, &tcp_client_handler);
    s->conn.want_read = false; /* until there is a server to send to */
    s->snapshot = l->snapshot;
    s->upstream = a->upstream ? a->upstream : l->config->upstream;
    s->server_name = a->server_name.len ? strndup(a->server_name.at, a->server_name.len) : NULL;
    snapshot_hold(s->snapshot, s->worker->index);
    s->servers = upstream_enter(s->upstream, s->worker->index);
    if (!l->config->tls || a->upstream) {
        tcp_attempt(s);
        return 0;
    }
    if (tls_server_accept(l->config->tls, l->worker->index, &s->conn) == 0) {
        conn_timer(&s->conn, tcp_timeouts(s)->header);
        return 0;
    }
    tcp_end(s, true);
    return 0;
}

/* The end. */

static void bury(struct task *t)
{
    struct tcp_stream *s = CONTAINER_OF(t, struct tcp_stream, conn.task);
    free(s->server_name);
    free(s);
}

static void leave(struct tcp_stream *s)
{
    struct listener_worker_stats *stats = s->client.listener->stats;
    counter_add(&stats->bytes_in, s->conn.bytes_in);
    counter_add(&stats->bytes_out, s->conn.bytes_out);
    upstream_leave(s->upstream, s->servers, s->worker->index);
    snapshot_release(s->snapshot, s->worker->index);
    client_leave(&s->client);
    s->magic = 0;
    loop_bury(&s->worker->loop, &s->conn.task, bury);
}

static void leave_server(struct tcp_stream *s)
{
    if (s->uc)
        pool_discard(s->uc);
    s->uc = NULL;
    if (s->counted)
        tcp_tell(s, s->broke && !s->answered ? OUTCOME_RESET
                    : s->server_eof          ? OUTCOME_ANSWERED
                                             : OUTCOME_ABANDONED);
    s->counted = false;
}

void tcp_end(struct tcp_stream *s, bool reset)
{
    if (reset) {
        if (s->uc)
            conn_reset(&s->uc->conn);
        conn_reset(&s->conn);
    }
    queue_leave(&s->waiter);
    leave_server(s);
    conn_close(&s->conn);
    leave(s);
}

static void client_gone(struct conn *c)
{
    struct tcp_stream *s = tcp_of_client(c);
    s->client_gone = true;
    conn_close(c);
    if (!s->uc)
        leave(s);
}

static void server_gone(struct conn *c)
{
    struct tcp_stream *s = tcp_of_server(c);
    leave_server(s);
    if (s->client_gone)
        leave(s);
}

/* Each side has said its last word; what is not sent yet still goes out. Until then the stream is open: a
 * stop waits for it. */
void tcp_both_ended(struct tcp_stream *s)
{
    if (conn_backlog(&s->uc->conn))
        conn_linger(&s->uc->conn, FLUSH_MS, server_gone);
    else
        leave_server(s);
    if (conn_backlog(&s->conn))
        conn_linger(&s->conn, FLUSH_MS, client_gone);
    else
        client_gone(&s->conn);
}

static void drain_client(struct client *client, bool close_idle)
{
    (void)client,
        (void)close_idle; /* a stream has no end of its own to wait for: it may last as long as the drain */
}

static void cut_client(struct client *client)
{
    struct tcp_stream *s = CONTAINER_OF(client, struct tcp_stream, client);
    if (s->magic == TCP_MAGIC)
        tcp_end(s, true);
}
