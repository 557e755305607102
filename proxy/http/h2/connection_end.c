#include <stdlib.h>

#include "core/log.h"
#include "proxy/http/h2/head.h"

#define LINGER_MS      2000
#define LINGER_CALM_MS 200  /* a flood is not read to its end */
#define LAST_WORDS_MS  2000 /* for a client that does not take its GOAWAY */
#define GOAWAY_WAIT_MS 1000 /* for the client to see the notice, when it does not answer the ping */

/* Time. */

static enum h2_clock clock_due(const struct h2_connection *c)
{
    if (conn_backlog(c->conn))
        return H2_CLOCK_WRITE;
    if (c->head_open)
        return H2_CLOCK_HEAD;
    return c->stream_count ? H2_CLOCK_NONE : H2_CLOCK_IDLE;
}

void h2_set_clock(struct h2_connection *c)
{
    enum h2_clock due = clock_due(c);
    if (c->conn->closed || c->lingering || due == c->clock)
        return;
    c->clock = (uint8_t)due;
    const struct timeouts *t = h2_timeouts(c);
    c->progress_out = c->conn->bytes_out;
    if (due == H2_CLOCK_NONE)
        conn_timer_pause(c->conn);
    else
        conn_timer(c->conn, due == H2_CLOCK_WRITE  ? t->body
                            : due == H2_CLOCK_HEAD ? t->header
                                                   : t->keepalive);
}

void h2_on_timeout(struct conn *conn)
{
    struct h2_connection *c = h2_connection_of(conn);
    enum h2_clock ran_out = c->clock;
    c->clock = H2_CLOCK_NONE;
    if (ran_out != clock_due(c) || (ran_out == H2_CLOCK_WRITE && conn->bytes_out != c->progress_out)) {
        h2_set_clock(c);
        return;
    }
    if (ran_out == H2_CLOCK_WRITE) {
        h2_hang_up(c, END_TIMEOUT);
        return;
    }
    h2_end_session(c, NGHTTP2_NO_ERROR);
    h2_after_call(c);
}

void h2_on_failed(struct conn *conn, int error)
{
    (void)error;
    h2_hang_up(h2_connection_of(conn), END_CLIENT_GONE);
}

/* Abuse. */

void h2_calm(struct h2_connection *c, enum h2_abuse_kind kind)
{
    char peer[ADDRESS_TEXT_MAX];
    if (c->ending)
        return;
    c->calmed = true;
    counter_add(&c->client.listener->stats->h2_abuse[kind], 1);
    ip_print(&c->client.ip, peer, sizeof peer);
    log_info("a client is told to calm down", LOG_SLICE("listener", c->client.listener->name),
             LOG_TEXT("client", peer), LOG_TEXT("flood", h2_abuse_name(kind)));
    h2_end_session(c, NGHTTP2_ENHANCE_YOUR_CALM);
    h2_flush_later(c);
}

void h2_count_abuse(struct h2_connection *c, enum h2_abuse_kind kind)
{
    if (h2_abuse_count(&c->abuse, kind, loop_now(&c->worker->loop)))
        h2_calm(c, kind);
}

/* The end. */

void h2_end_session(struct h2_connection *c, uint32_t error)
{
    c->ending = true;
    nghttp2_session_terminate_session(c->session, error);
    loop_timer(&c->worker->loop, &c->goaway_timer, LAST_WORDS_MS);
}

void h2_count_bytes(struct h2_connection *c)
{
    struct listener_worker_stats *stats = c->client.listener->stats;
    counter_add(&stats->bytes_in, c->conn->bytes_in - c->counted_in);
    counter_add(&stats->bytes_out, c->conn->bytes_out - c->counted_out);
    c->counted_in = c->conn->bytes_in;
    c->counted_out = c->conn->bytes_out;
}

static void bury(struct task *t)
{
    struct h2_connection *c = CONTAINER_OF(t, struct h2_connection, flush);
    nghttp2_session_del(c->session);
    h2_head_free(&c->head);
    buffer_clear(&c->out, &c->worker->loop.blocks);
    c->gone(c->conn);
    free(c);
}

void h2_free_closed(struct h2_connection *c, enum exchange_end why)
{
    LIST_EACH_SAFE (node, &c->closed) {
        h2_stream_free(CONTAINER_OF(node, struct h2_stream, link), why);
    }
}

static void end_streams(struct h2_connection *c, enum exchange_end why)
{
    LIST_EACH_SAFE (node, &c->streams) {
        struct h2_stream *s = CONTAINER_OF(node, struct h2_stream, link);
        nghttp2_session_set_stream_user_data(c->session, s->id, NULL);
        h2_stream_free(s, why);
    }
    h2_free_closed(c, why);
}

static void leave(struct h2_connection *c)
{
    struct loop *loop = &c->worker->loop;
    h2_count_bytes(c);
    loop_timer_clear(loop, &c->goaway_timer);
    list_remove(&c->flush.link);
    client_leave(&c->client);
    c->magic = 0;
    loop_bury(loop, &c->flush, bury);
}

void h2_hang_up(struct h2_connection *c, enum exchange_end why)
{
    ASSERT(!c->in_library);
    if (c->magic != H2_CONNECTION_MAGIC)
        return;
    end_streams(c, why);
    conn_close(c->conn);
    leave(c);
}

static void lingered(struct conn *conn)
{
    leave(h2_connection_of(conn));
}

void h2_finish(struct h2_connection *c)
{
    struct conn *conn = c->conn;
    end_streams(c, END_CLIENT_GONE);
    if (conn->broken) {
        h2_hang_up(c, END_CLIENT_GONE);
        return;
    }
    c->lingering = true;
    list_remove(&c->flush.link);
    conn_linger(conn, c->calmed ? LINGER_CALM_MS : LINGER_MS, lingered);
}

/* RFC 9113 §6.8: a notice first, so that no request that is under way is lost; then the last word. */
void h2_drain_client(struct client *client, bool close_idle)
{
    struct h2_connection *c = CONTAINER_OF(client, struct h2_connection, client);
    (void)close_idle;
    LIST_EACH (node, &c->streams) {
        struct h2_stream *s = CONTAINER_OF(node, struct h2_stream, link);
        if (s->x)
            exchange_drain(s->x);
    }
    if (c->lingering || c->ending || c->goaway)
        return;
    c->goaway = 1;
    nghttp2_submit_shutdown_notice(c->session);
    nghttp2_submit_ping(c->session, NGHTTP2_FLAG_NONE, NULL);
    loop_timer(&c->worker->loop, &c->goaway_timer, GOAWAY_WAIT_MS);
    h2_flush_later(c);
}

void h2_on_goaway_timer(struct timer *t)
{
    struct h2_connection *c = CONTAINER_OF(t, struct h2_connection, goaway_timer);
    ASSERT(c->magic == H2_CONNECTION_MAGIC);
    if (c->lingering || c->conn->closed)
        return;
    if (c->ending) {
        h2_hang_up(c, END_CLIENT_GONE);
        return;
    }
    if (c->goaway != 1)
        return;
    c->goaway = 2;
    nghttp2_submit_goaway(c->session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(c->session),
                          NGHTTP2_NO_ERROR, NULL, 0);
    h2_flush_later(c);
}

void h2_cut_client(struct client *client)
{
    struct h2_connection *c = CONTAINER_OF(client, struct h2_connection, client);
    h2_hang_up(c, c->worker->stopping ? END_CUT : END_CLIENT_GONE);
}
