#include <stdlib.h>

#include "core/log.h"
#include "proxy/http/h2/upstream_internal.h"
#include "tls/info.h"

#define QUIET_MS     10000  /* with calls under way and nothing heard: a PING */
#define ANSWER_MS    5000   /* for its answer */
#define ALIVE_MS     300000 /* until the next one. Servers count PINGs in a silence as a nuisance */
#define OUTBOUND_MAX 1000   /* frames that wait: past it no more is read */

static const char BROKE[] = "the server broke HTTP/2";

static void take_input(struct h2_server *c, struct slice in);
static void flush(struct task *t);
static void settle(struct h2_server *c);

/* Reading. */

static void readable(struct conn *conn)
{
    struct h2_server *c = h2_server_of(conn);
    struct slice in;
    enum conn_status status = conn_read(conn, &in);
    if (status == CONN_AGAIN)
        return;
    if (status == CONN_DATA)
        take_input(c, in);
    if (c->over)
        return;
    if (status != CONN_DATA && c->clock == H2_SERVER_IDLE)
        pool_idle_ended(c->uc);
    if (status != CONN_DATA || conn_keep(conn, slice_of(NULL, 0)) != 0) {
        h2_server_lose(c, status == CONN_ERROR ? "the server reset the connection"
                                               : "the server closed the connection");
        return;
    }
    if (conn->want_read)
        conn_yield(conn);
}

static void take_input(struct h2_server *c, struct slice in)
{
    ssize_t n;
    do {
        c->input_paused = false;
        c->in_library = true;
        n = nghttp2_session_mem_recv(c->session, (const uint8_t *)in.at, in.len);
        c->in_library = false;
        if (n > 0)
            in = slice_skip(in, (size_t)n);
        h2_calls_give_back(c);
        h2_calls_tell(c);
    } while (!c->over && n >= 0 && (in.len || c->input_paused));
    if (c->over)
        return;
    if (n < 0 || c->doomed) {
        h2_server_lose(c, c->doomed ? c->doomed : n == NGHTTP2_ERR_NOMEM ? "out of memory" : BROKE);
        return;
    }
    h2_server_flush_later(c);
    if (c->out_full && nghttp2_session_get_outbound_queue_size(c->session) > OUTBOUND_MAX)
        c->uc->conn.want_read = false;
}

/* Writing. */

void h2_server_flush_later(struct h2_server *c)
{
    if (!c->over && !list_linked(&c->flush.link))
        loop_defer(c->loop, &c->flush, flush);
}

bool h2_server_is_full(const struct h2_server *c)
{
    return conn_backlog(&c->uc->conn) > CONN_LOW_WATER;
}

static void write_out(struct h2_server *c)
{
    struct iovec iov = {c->out, c->out_len};
    if (c->out_len)
        conn_write(&c->uc->conn, &iov, 1);
    c->out_len = 0;
}

void h2_server_put(struct h2_server *c, const char *at, size_t n)
{
    while (n) {
        size_t room = LOOP_READ_BUFFER - c->out_len;
        size_t piece = n < room ? n : room;
        memcpy(c->out + c->out_len, at, piece);
        c->out_len += piece;
        at += piece;
        n -= piece;
        if (c->out_len == LOOP_READ_BUFFER)
            write_out(c);
    }
}

/* The loop's read buffer is nobody's now: no connection is being read. */
static ssize_t gather(struct h2_server *c)
{
    const uint8_t *at;
    ssize_t n = 0;
    c->out = c->loop->read_buffer;
    c->in_library = true;
    while (!h2_server_is_full(c) && (n = nghttp2_session_mem_send(c->session, &at)) > 0)
        h2_server_put(c, (const char *)at, (size_t)n);
    c->in_library = false;
    write_out(c);
    c->out = NULL;
    return n;
}

static void flush(struct task *t)
{
    struct h2_server *c = CONTAINER_OF(t, struct h2_server, flush);
    ASSERT(c->magic == H2_SERVER_MAGIC);
    if (c->over)
        return;
    if (c->session) {
        if (gather(c) < 0) {
            h2_server_lose(c, c->doomed ? c->doomed : "out of memory");
            return;
        }
        c->out_full = h2_server_is_full(c);
        h2_calls_tell(c);
        if (c->over)
            return;
        if (!nghttp2_session_want_read(c->session) && !nghttp2_session_want_write(c->session)) {
            h2_server_lose(c, BROKE);
            return;
        }
    }
    settle(c);
}

static void drained(struct conn *conn)
{
    struct h2_server *c = h2_server_of(conn);
    h2_server_flush_later(c);
    if (!conn->want_read)
        conn_want_read(conn, true);
}

/* Calls come and go. */

void h2_server_drain(struct h2_server *c)
{
    c->draining = true;
    if (c->uc)
        pool_unlist(c->uc);
    h2_server_flush_later(c);
}

void h2_server_retire(struct upstream_conn *uc)
{
    struct h2_server *c = uc->user;
    ASSERT(c->magic == H2_SERVER_MAGIC);
    c->draining = true;
    if (c->call_count == 0)
        h2_server_lose(c, NULL);
}

void h2_server_called(struct h2_server *c)
{
    if (c->over)
        return;
    if (c->call_count == 0 || !c->session) {
        h2_server_flush_later(c); /* which settles it */
        return;
    }
    pool_count_idle(c->uc, false);
    if (c->clock == H2_SERVER_IDLE || c->clock == H2_SERVER_ALIVE)
        h2_server_set_clock(c, H2_SERVER_BUSY);
}

/* After whatever was said: is it idle, or over? */
static void settle(struct h2_server *c)
{
    if (c->call_count)
        return;
    bool of_use = c->shared && c->keepalive_ms && (!c->settings_seen || c->allowed);
    if (c->draining || (c->session && !of_use)) {
        h2_server_lose(c, NULL);
        return;
    }
    if (c->session && c->clock != H2_SERVER_IDLE) {
        pool_count_idle(c->uc, true);
        h2_server_set_clock(c, H2_SERVER_IDLE);
    }
}

/* Time. */

void h2_server_set_clock(struct h2_server *c, enum h2_server_clock clock)
{
    c->clock = (uint8_t)clock;
    c->heard_mark = c->heard;
    c->bytes_mark = c->uc->conn.bytes_in;
    conn_timer(&c->uc->conn, clock == H2_SERVER_IDLE     ? pool_idle_time(c->uc, c->keepalive_ms)
                             : clock == H2_SERVER_BUSY   ? QUIET_MS
                             : clock == H2_SERVER_PINGED ? ANSWER_MS
                                                         : ALIVE_MS);
}

static void ping(struct h2_server *c)
{
    nghttp2_submit_ping(c->session, NGHTTP2_FLAG_NONE, NULL);
    h2_server_set_clock(c, H2_SERVER_PINGED);
    h2_server_flush_later(c);
}

static void timeout(struct conn *conn)
{
    struct h2_server *c = h2_server_of(conn);
    bool heard = c->heard != c->heard_mark;
    msec_t more;
    switch ((enum h2_server_clock)c->clock) {
    case H2_SERVER_CONNECTING:
        h2_server_fail_to_connect(c, ETIMEDOUT, NULL);
        break;
    case H2_SERVER_IDLE:
        more = pool_idle_over(c->uc);
        if (more)
            conn_timer(conn, more);
        else
            h2_server_lose(c, NULL);
        break;
    case H2_SERVER_PINGED:
        if (conn->bytes_in == c->bytes_mark)
            h2_server_lose(c, "the server does not answer a ping");
        else
            h2_server_set_clock(c, heard ? H2_SERVER_BUSY : H2_SERVER_ALIVE);
        break;
    case H2_SERVER_ALIVE:
    case H2_SERVER_BUSY:
        if (heard)
            h2_server_set_clock(c, H2_SERVER_BUSY);
        else
            ping(c);
        break;
    }
}

static void failed(struct conn *conn, int error)
{
    struct h2_server *c = h2_server_of(conn);
    if (c->session)
        h2_server_lose(c, "the connection to the server broke");
    else
        h2_server_fail_to_connect(c, error, tls_failure(conn));
}

/* The end. */

static void bury(struct task *t)
{
    struct h2_server *c = CONTAINER_OF(t, struct h2_server, flush);
    ASSERT(c->magic == H2_SERVER_MAGIC && c->call_count == 0);
    c->magic = 0;
    nghttp2_session_del(c->session);
    h2_head_free(&c->head);
    free(c);
}

static void say_goodbye(struct h2_server *c)
{
    if (!c->session || c->uc->conn.broken || c->uc->conn.eof)
        return;
    nghttp2_session_terminate_session(c->session, c->doomed ? NGHTTP2_ENHANCE_YOUR_CALM : NGHTTP2_NO_ERROR);
    gather(c);
}

/* Closes, and tells the calls that are left; `reason` is for them. May be called when the connection was
 * given away or closed before. */
void h2_server_lose(struct h2_server *c, const char *reason)
{
    ASSERT(!c->in_library && c->magic == H2_SERVER_MAGIC);
    if (c->uc) {
        if (reason && c->call_count)
            log_warn("a connection is lost", LOG_SLICE("upstream", c->uc->server->upstream),
                     LOG_SLICE("server", c->uc->server->name), LOG_U64("requests", c->call_count),
                     LOG_TEXT("reason", reason));
        say_goodbye(c);
        pool_discard(c->uc);
        c->uc = NULL;
    }
    bool never_spoke = reason == BROKE && !c->settings_seen;
    c->over = c->draining = true;
    list_splice(&c->waiting, &c->calls);
    for (struct h2_call *call; (call = h2_server_first(&c->waiting));) {
        h2_call_detach(call);
        if (call->fate == H2_CALL_BAD)
            call->events->bad(call, call->reason);
        else if (never_spoke)
            call->events->unreachable(call, EPROTO, "the server does not speak HTTP/2");
        else if (call->on_wire)
            call->events->lost(call, reason);
        else
            call->events->refused(call, reason);
    }
    loop_bury(c->loop, &c->flush, bury);
}

const struct conn_handler h2_server_handler = {
    .connected = h2_server_connected,
    .readable = readable,
    .drained = drained,
    .timeout = timeout,
    .failed = failed,
};
