#include "proxy/stream/tcp.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "balancer/hashing.h"
#include "balancer/outlier.h"
#include "proxy/failure_log.h"
#include "proxy/introduce.h"
#include "proxy/worker.h"
#include "tls/info.h"
#include "tls/server.h"

#define TCP_MAGIC    0x54435053u
#define ATTEMPTS_MAX 8
#define DOWN_LOOK_MS 1000 /* on_down: close - how soon a server's fall is seen */
#define FLUSH_MS     30000
#define FIRST_READ   (16u << 10) /* when it is full, what is behind it is spliced */

/* Owned by itself, from tcp_accept until end(). */
struct tcp_stream {
    uint32_t magic;
    bool relaying; /* the server is there */
    bool relayed;  /* a byte has gone one way or the other */
    bool answered; /* the server has sent one */
    bool counted;  /* upstream_done is owed */
    bool client_eof, server_eof;
    bool up_is_bulk, down_is_bulk; /* more came than one read takes: it is spliced */
    bool broke;                    /* the server's connection did */
    bool client_gone;              /* both have ended; the server has not taken all yet */
    unsigned tried_count;
    struct worker *worker;
    struct snapshot *snapshot; /* held: the upstream is its */
    struct upstream *upstream;
    struct server_set *servers; /* held: `server` and those that were tried are its */
    char *server_name; /* that the client asked for, when TLS does not end here; NULL = nothing known */
    struct server *server;
    struct upstream_conn *uc;
    struct server *tried[ATTEMPTS_MAX];
    struct queue_waiter waiter;
    usec_t attempt_us;
    usec_t active_us; /* the last byte that came, either way */
    uint64_t
        moved; /* bytes on both connections when the clock was set: some may leave without any that come */
    struct client client;
    struct conn conn;
};

static const struct conn_handler client_handler, server_handler;

static void attempt(struct tcp_stream *s);
static void go_on(struct tcp_stream *s, struct server *server, enum pick_failure why);
static void end(struct tcp_stream *s, bool reset);
static void both_ended(struct tcp_stream *s);
static void drain_client(struct client *c, bool close_idle);
static void cut_client(struct client *c);

static struct tcp_stream *of_client(struct conn *c)
{
    struct tcp_stream *s = CONTAINER_OF(c, struct tcp_stream, conn);
    ASSERT(s->magic == TCP_MAGIC);
    return s;
}

static struct tcp_stream *of_server(struct conn *c)
{
    struct tcp_stream *s = upstream_conn_of(c)->user;
    ASSERT(s->magic == TCP_MAGIC);
    return s;
}

static const struct timeouts *timeouts_of(const struct tcp_stream *s)
{
    return &s->client.listener->config->settings->timeouts;
}

/* The beginning: the client, then a server. */

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
    conn_accept(&s->conn, &l->worker->loop, a->fd, &client_handler);
    s->conn.want_read = false; /* until there is a server to send to */
    s->snapshot = l->snapshot;
    s->upstream = a->upstream ? a->upstream : l->config->upstream;
    s->server_name = a->server_name.len ? strndup(a->server_name.at, a->server_name.len) : NULL;
    snapshot_hold(s->snapshot, s->worker->index);
    s->servers = upstream_enter(s->upstream, s->worker->index);
    if (!l->config->tls || a->upstream) {
        attempt(s);
        return 0;
    }
    if (tls_server_accept(l->config->tls, l->worker->index, &s->conn) == 0) {
        conn_timer(&s->conn, timeouts_of(s)->header);
        return 0;
    }
    end(s, true);
    return 0;
}

static void client_connected(struct conn *c)
{
    struct tcp_stream *s = of_client(c);
    const struct tls_info *info = tls_info(c);
    if (info)
        listener_count_handshake(s->client.listener, info);
    conn_timer_pause(c);
    attempt(s);
}

static void no_server(struct tcp_stream *s, enum pick_failure why)
{
    failure_log_no_server(s->worker, "no server for a stream", s->client.listener->name, s->upstream->name,
                          s->tried_count ? "the servers that were tried could not be reached"
                                         : pick_failure_text(why));
    end(s, false); /* nothing was relayed: a close says it all */
}

static void tell(struct tcp_stream *s, enum outcome_kind kind)
{
    usec_t now = loop_now_us(&s->worker->loop);
    struct outcome o = {.kind = kind, .took_us = now - s->attempt_us, .now_us = now};
    upstream_done(s->upstream, s->servers, s->worker->index, s->server, &o);
}

static void connect_failed(struct tcp_stream *s, int error)
{
    const char *why = s->uc ? tls_failure(&s->uc->conn) : NULL;
    failure_log(s->worker, "server cannot be reached", s->server, why ? why : strerror(error));
    if (s->uc)
        pool_fail(s->uc);
    s->uc = NULL;
    s->counted = false;
    tell(s, error == ETIMEDOUT ? OUTCOME_TIMEOUT : OUTCOME_UNREACHABLE);
    attempt(s);
}

/* One that was gone before a byte went either way is as good as never reached. */
static void server_lost(struct tcp_stream *s, int error)
{
    if (s->relayed || s->client_eof || s->server_eof) {
        s->broke = true;
        end(s, true);
        return;
    }
    s->relaying = false;
    conn_want_read(&s->conn, false);
    conn_timer_pause(&s->conn);
    connect_failed(s, error);
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
    return s->tried_count < ATTEMPTS_MAX ? upstream_pick(s->upstream, s->servers, s->worker->index, &p, why)
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
    end(s, false);
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

static void attempt(struct tcp_stream *s)
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
    s->uc = pool_connect(&s->worker->pool, s->upstream, server, &server_handler, s);
    if (!s->uc) {
        connect_failed(s, errno);
        return;
    }
    introduce_client(s);
    conn_timer_connect(&s->uc->conn, timeouts_of(s)->connect, timeouts_tls(timeouts_of(s)));
}

static uint64_t bytes_moved(const struct tcp_stream *s)
{
    const struct conn *server = &s->uc->conn;
    return s->conn.bytes_in + s->conn.bytes_out + server->bytes_in + server->bytes_out;
}

/* Looks again when it may have been idle for long enough. */
static void watch(struct tcp_stream *s)
{
    msec_t idle = timeouts_of(s)->idle, quiet = loop_now(&s->worker->loop) - s->active_us / 1000;
    msec_t wait = quiet < idle ? idle - quiet : idle;
    if (s->upstream->settings->on_down == ON_DOWN_CLOSE && wait > DOWN_LOOK_MS)
        wait = DOWN_LOOK_MS;
    s->moved = bytes_moved(s);
    conn_timer(&s->conn, wait);
}

static void server_connected(struct conn *c)
{
    struct tcp_stream *s = of_server(c);
    s->relaying = true;
    s->active_us = loop_now_us(&s->worker->loop);
    conn_timer_pause(c);
    watch(s);
    conn_want_read(&s->conn, true);
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
            end(s, true);
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
            end(s, true);
            return;
        }
        bool both = s->client_eof && s->server_eof;
        if (!both || to->transport) /* a close is the end of a plain connection, too */
            conn_shutdown(to);
        if (both)
            both_ended(s);
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
    struct tcp_stream *s = of_client(c);
    if (s->relaying)
        relay(s, c, &s->uc->conn, &s->client_eof, &s->up_is_bulk);
}

static void server_readable(struct conn *c)
{
    struct tcp_stream *s = of_server(c);
    relay(s, c, &s->conn, &s->server_eof, &s->down_is_bulk);
}

static void client_drained(struct conn *c)
{
    struct tcp_stream *s = of_client(c);
    s->active_us = loop_now_us(&s->worker->loop);
    if (s->uc && !s->server_eof)
        conn_want_read(&s->uc->conn, true);
}

static void server_drained(struct conn *c)
{
    struct tcp_stream *s = of_server(c);
    s->active_us = loop_now_us(&s->worker->loop);
    if (!s->client_eof)
        conn_want_read(&s->conn, true);
}

static void client_timeout(struct conn *c)
{
    struct tcp_stream *s = of_client(c);
    if (!s->relaying) {
        end(s, true); /* the TLS handshake */
        return;
    }
    if (s->upstream->settings->on_down == ON_DOWN_CLOSE && server_is_down(s->server)) {
        end(s, true);
        return;
    }
    usec_t quiet = loop_now_us(&s->worker->loop) - s->active_us;
    if (quiet / 1000 >= timeouts_of(s)->idle && bytes_moved(s) == s->moved)
        end(s, false);
    else
        watch(s);
}

static void server_timeout(struct conn *c)
{
    struct tcp_stream *s = of_server(c);
    if (!s->relaying)
        connect_failed(s, ETIMEDOUT);
}

static void client_failed(struct conn *c, int error)
{
    struct tcp_stream *s = of_client(c);
    (void)error;
    if (c->handshaking)
        counter_add(&s->client.listener->stats->handshake_failures, 1);
    end(s, true);
}

static void server_failed(struct conn *c, int error)
{
    struct tcp_stream *s = of_server(c);
    server_lost(s, error);
}

static const struct conn_handler client_handler = {
    .connected = client_connected,
    .readable = client_readable,
    .drained = client_drained,
    .timeout = client_timeout,
    .failed = client_failed,
};

static const struct conn_handler server_handler = {
    .connected = server_connected,
    .readable = server_readable,
    .drained = server_drained,
    .timeout = server_timeout,
    .failed = server_failed,
};

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
        tell(s, s->broke && !s->answered ? OUTCOME_RESET
                : s->server_eof          ? OUTCOME_ANSWERED
                                         : OUTCOME_ABANDONED);
    s->counted = false;
}

static void end(struct tcp_stream *s, bool reset)
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
    struct tcp_stream *s = of_client(c);
    s->client_gone = true;
    conn_close(c);
    if (!s->uc)
        leave(s);
}

static void server_gone(struct conn *c)
{
    struct tcp_stream *s = of_server(c);
    leave_server(s);
    if (s->client_gone)
        leave(s);
}

/* Each side has said its last word; what is not sent yet still goes out. Until then the stream is open: a
 * stop waits for it. */
static void both_ended(struct tcp_stream *s)
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
        end(s, true);
}
