/* Both connections' events, and what goes from one to the other. */
#include "proxy/stream/tcp_internal.h"

#include <errno.h>

#include "balancer/outlier.h"
#include "tls/info.h"

#define DOWN_LOOK_MS 1000        /* on_down: close - how soon a server's fall is seen */
#define FIRST_READ   (16u << 10) /* when it is full, what is behind it is spliced */

static void client_connected(struct conn *c)
{
    struct tcp_stream *s = tcp_of_client(c);
    const struct tls_info *info = tls_info(c);
    if (info)
        listener_count_handshake(s->client.listener, info);
    conn_timer_pause(c);
    tcp_attempt(s);
}

static uint64_t bytes_moved(const struct tcp_stream *s)
{
    const struct conn *server = &s->uc->conn;
    return s->conn.bytes_in + s->conn.bytes_out + server->bytes_in + server->bytes_out;
}

/* Looks again when it may have been idle for long enough. */
static void watch(struct tcp_stream *s)
{
    msec_t idle = tcp_timeouts(s)->idle, quiet = loop_now(&s->worker->loop) - s->active_us / 1000;
    msec_t wait = quiet < idle ? idle - quiet : idle;
    if (s->upstream->settings->on_down == ON_DOWN_CLOSE && wait > DOWN_LOOK_MS)
        wait = DOWN_LOOK_MS;
    s->moved = bytes_moved(s);
    conn_timer(&s->conn, wait);
}

static void server_connected(struct conn *c)
{
    struct tcp_stream *s = tcp_of_server(c);
    s->relaying = true;
    s->active_us = loop_now_us(&s->worker->loop);
    conn_timer_pause(c);
    watch(s);
    conn_want_read(&s->conn, true);
}

/* One that was gone before a byte went either way is as good as never reached. */
static void server_lost(struct tcp_stream *s, int error)
{
    if (s->relayed || s->client_eof || s->server_eof) {
        s->broke = true;
        tcp_end(s, true);
        return;
    }
    s->relaying = false;
    conn_want_read(&s->conn, false);
    conn_timer_pause(&s->conn);
    tcp_connect_failed(s, error);
}

/* Relaying. */

static void note_bytes(struct tcp_stream *s, const struct conn *from)
{
    s->relayed = true;
    if (from != &s->conn && !s->answered) {
        s->answered = true;
        outlier_good(s->server);
    }
}

/* Passes on what is there without copying it. False when it is to be read. */
static bool relay_bulk(struct tcp_stream *s, struct conn *from, struct conn *to, bool *is_bulk)
{
    size_t moved;
    enum conn_spliced result = conn_splice(from, to, UINT64_MAX, &moved);
    if (result != SPLICE_NOT)
        *is_bulk = moved >= CONN_SPLICE_MIN || result == SPLICE_FULL;
    if (moved) {
        s->active_us = loop_now_us(&s->worker->loop);
        note_bytes(s, from);
    }
    if (result == SPLICE_NOT)
        return false;
    if (result == SPLICE_FULL)
        conn_want_read(from, false);
    else
        conn_yield(from);
    return true;
}

/* Passes on what `from` has. The stream may have ended afterwards. */
static void relay(struct tcp_stream *s, struct conn *from, struct conn *to, bool *eof, bool *is_bulk)
{
    struct slice in;
    bool copied = from->transport || to->transport || *is_bulk; /* what can be spliced does not come so far */
    if (*is_bulk && relay_bulk(s, from, to, is_bulk))
        return;
    enum conn_status status = conn_read_some(from, &in, copied ? LOOP_READ_BUFFER : FIRST_READ);
    s->active_us = loop_now_us(&s->worker->loop);
    if (status == CONN_ERROR) {
        if (from == &s->conn)
            tcp_end(s, true);
        else
            server_lost(s, errno);
        return;
    }
    if (status == CONN_AGAIN)
        return;
    if (in.len && status == CONN_DATA) {
        note_bytes(s, from);
        struct iovec iov = {(void *)(uintptr_t)in.at, in.len};
        if (from->hangup) /* all has come: its end follows in this pass, and leaves with the last bytes */
            conn_write_more(to, &iov, 1);
        else
            conn_write(to, &iov, 1);
    }
    if (status == CONN_EOF) {
        *eof = true;
        if (from->transport && tls_truncated(from)) {
            tcp_end(s, true);
            return;
        }
        bool both = s->client_eof && s->server_eof;
        if (!both || to->transport) /* a close is the end of a plain connection, too */
            conn_shutdown(to);
        if (both)
            tcp_both_ended(s);
        return;
    }
    *is_bulk = in.len >= FIRST_READ && from->can_read && !from->transport && !to->transport;
    if (*is_bulk && !copied && relay_bulk(s, from, to, is_bulk))
        return;
    if (conn_backlog(to) >= CONN_HIGH_WATER)
        conn_want_read(from, false);
    else
        conn_yield(from);
}

static void client_readable(struct conn *c)
{
    struct tcp_stream *s = tcp_of_client(c);
    if (s->relaying)
        relay(s, c, &s->uc->conn, &s->client_eof, &s->up_is_bulk);
}

static void server_readable(struct conn *c)
{
    struct tcp_stream *s = tcp_of_server(c);
    relay(s, c, &s->conn, &s->server_eof, &s->down_is_bulk);
}

static void client_drained(struct conn *c)
{
    struct tcp_stream *s = tcp_of_client(c);
    s->active_us = loop_now_us(&s->worker->loop);
    if (s->uc && !s->server_eof)
        conn_want_read(&s->uc->conn, true);
}

static void server_drained(struct conn *c)
{
    struct tcp_stream *s = tcp_of_server(c);
    s->active_us = loop_now_us(&s->worker->loop);
    if (!s->client_eof)
        conn_want_read(&s->conn, true);
}

/* Time and failure. */

static void client_timeout(struct conn *c)
{
    struct tcp_stream *s = tcp_of_client(c);
    if (!s->relaying) {
        tcp_end(s, true); /* the TLS handshake */
        return;
    }
    if (s->upstream->settings->on_down == ON_DOWN_CLOSE && server_is_down(s->server)) {
        tcp_end(s, true);
        return;
    }
    usec_t quiet = loop_now_us(&s->worker->loop) - s->active_us;
    if (quiet / 1000 >= tcp_timeouts(s)->idle && bytes_moved(s) == s->moved)
        tcp_end(s, false);
    else
        watch(s);
}

static void server_timeout(struct conn *c)
{
    struct tcp_stream *s = tcp_of_server(c);
    if (!s->relaying)
        tcp_connect_failed(s, ETIMEDOUT);
}

static void client_failed(struct conn *c, int error)
{
    struct tcp_stream *s = tcp_of_client(c);
    (void)error;
    if (c->handshaking)
        counter_add(&s->client.listener->stats->handshake_failures, 1);
    tcp_end(s, true);
}

static void server_failed(struct conn *c, int error)
{
    struct tcp_stream *s = tcp_of_server(c);
    server_lost(s, error);
}

const struct conn_handler tcp_client_handler = {
    .connected = client_connected,
    .readable = client_readable,
    .drained = client_drained,
    .timeout = client_timeout,
    .failed = client_failed,
};

const struct conn_handler tcp_server_handler = {
    .connected = server_connected,
    .readable = server_readable,
    .drained = server_drained,
    .timeout = server_timeout,
    .failed = server_failed,
};
