#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/log.h"
#include "proxy/http/h2/upstream_internal.h"
#include "tls/info.h"

#define QUIET_MS     10000  /* with calls under way and nothing heard: a PING */
#define ANSWER_MS    5000   /* for its answer */
#define ALIVE_MS     300000 /* until the next one. Servers count PINGs in a silence as a nuisance */
#define OUTBOUND_MAX 1000   /* frames that wait: past it no more is read */
#define WHY_MAX      200

static const char BROKE[] = "the server broke HTTP/2";

static const struct conn_handler handler;

static void take_input(struct h2_server *c, struct slice in);
static void flush(struct task *t);
static void retire(struct upstream_conn *uc);
static void lose(struct h2_server *c, const char *reason);
static void settle(struct h2_server *c);

static struct h2_server *of_conn(struct conn *conn)
{
    struct h2_server *c = upstream_conn_of(conn)->user;
    ASSERT(c->magic == H2_SERVER_MAGIC);
    return c;
}

/* Finding and making. */

static bool has_room(const struct h2_server *c)
{
    return !c->draining && !c->over && !c->uc->on_trial && c->call_count < c->limit &&
           c->held < H2_CALLS_HELD_MAX / 2;
}

static struct slice alpn_of(bool may_be_http1)
{
    return may_be_http1 ? S("\x02h2\x08http/1.1") : S("\x02h2");
}

static struct h2_server *create(const struct h2_open *o, bool may_be_http1)
{
    struct h2_server *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->magic = H2_SERVER_MAGIC;
    c->pool = o->pool;
    c->loop = o->pool->loop;
    c->requests_max = o->upstream->settings->keepalive.requests;
    c->must_be_http2 = !may_be_http1;
    c->abuse.leaked_at = loop_now(c->loop);
    list_init(&c->waiting);
    list_init(&c->calls);
    list_init(&c->due);
    task_init(&c->flush);
    c->uc = pool_connect_alpn(o->pool, o->upstream, o->server, alpn_of(may_be_http1), &handler, c);
    if (c->uc)
        return c;
    free(c);
    return NULL;
}

static struct h2_server *make(const struct h2_open *o, bool may_be_http1)
{
    const struct pool_notes *notes = pool_notes(o->pool, o->server);
    /* What begins with a PROXY header is that client's alone; and servers that spoke HTTP/1.1 will do so
     * again, to each call on a connection of its own. */
    bool personal = o->upstream->settings->proxy_protocol != PROXY_NONE;
    bool alone = personal || (may_be_http1 && notes && notes->speaks == POOL_SPEAKS_HTTP1);
    struct h2_server *c = create(o, may_be_http1);
    if (!c)
        return NULL;
    c->personal = personal;
    c->allowed = notes ? notes->streams : 0;
    c->limit = alone ? 1 : notes && notes->streams ? notes->streams : H2_CALLS_UNKNOWN;
    introduce(&c->uc->conn, o->upstream, o->introduction);
    if (!alone && pool_list(c->uc, retire) == 0)
        c->shared = true;
    c->clock = H2_SERVER_CONNECTING;
    conn_timer_connect(&c->uc->conn, o->connect_ms, o->handshake_ms);
    return c;
}

struct h2_server *h2_server_find(const struct h2_open *o, bool may_be_http1)
{
    struct list *listed = pool_listed(o->pool, o->server);
    struct h2_server *found = NULL;
    if (listed && o->upstream->settings->proxy_protocol == PROXY_NONE) {
        LIST_EACH (node, listed) {
            struct upstream_conn *uc = CONTAINER_OF(node, struct upstream_conn, link);
            struct h2_server *c = uc->user;
            /* One that may turn out to be HTTP/1.1 is not for who cannot speak that. */
            bool speaks = c->session || c->must_be_http2 || may_be_http1;
            if (pool_has_future(uc, o->upstream) && has_room(c) && speaks) {
                found = c;
                break;
            }
        }
    }
    if (!found)
        found = make(o, may_be_http1);
    if (found)
        found->keepalive_ms = o->upstream->settings->keepalive.idle ? o->keepalive_ms : 0;
    return found;
}

/* The beginning. */

void h2_server_open_calls(struct h2_server *c)
{
    LIST_EACH_SAFE (node, &c->waiting) {
        struct h2_call *call = CONTAINER_OF(node, struct h2_call, link);
        if (!h2_call_is_ready(call, c))
            continue;
        list_remove(&call->link);
        list_append(&c->calls, &call->link);
        call->ready_due = c->begun = true;
        h2_call_is_due(call);
    }
}

static void set_options(nghttp2_option *o)
{
    nghttp2_option_set_no_auto_window_update(o, 1);
    nghttp2_option_set_max_settings(o, 32);
    nghttp2_option_set_max_send_header_block_length(o, 1u << 20);
    nghttp2_option_set_peer_max_concurrent_streams(o, H2_CALLS_MAX);   /* the count is kept here */
    for (unsigned type = NGHTTP2_CONTINUATION + 1; type < 256; type++) /* told, to be counted */
        nghttp2_option_set_user_recv_extension_type(o, (uint8_t)type);
}

static int create_session(struct h2_server *c)
{
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_option *options = NULL;
    int failed = nghttp2_session_callbacks_new(&callbacks) || nghttp2_option_new(&options);
    if (!failed) {
        h2_server_callbacks(callbacks);
        h2_call_callbacks(callbacks);
        set_options(options);
        failed = nghttp2_session_client_new2(&c->session, callbacks, c, options);
    }
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_option_del(options);
    return failed ? -1 : 0;
}

static int greet(struct h2_server *c)
{
    static const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_CALL_WINDOW},
    };
    if (nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, settings, COUNT_OF(settings)) != 0)
        return -1;
    return nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0, H2_CALLS_WINDOW);
}

static void set_clock(struct h2_server *c, enum h2_server_clock clock)
{
    c->clock = (uint8_t)clock;
    c->heard_mark = c->heard;
    c->bytes_mark = c->uc->conn.bytes_in;
    conn_timer(&c->uc->conn, clock == H2_SERVER_IDLE     ? pool_idle_time(c->uc, c->keepalive_ms)
                             : clock == H2_SERVER_BUSY   ? QUIET_MS
                             : clock == H2_SERVER_PINGED ? ANSWER_MS
                                                         : ALIVE_MS);
}

static struct h2_call *first_of(struct list *l)
{
    return list_empty(l) ? NULL : CONTAINER_OF(l->next, struct h2_call, link);
}

/* The first call gets the connection, the others ask anew: now it is known what the server speaks. */
static void give_away(struct h2_server *c)
{
    struct upstream_conn *uc = c->uc;
    pool_unlist(uc);
    c->draining = true;
    struct h2_call *call = first_of(&c->waiting);
    if (!call) {
        lose(c, "nobody waits for it");
        return;
    }
    uc->requests = 1;
    uc->reused = false;
    c->uc = NULL;
    c->over = true;
    h2_call_detach(call);
    call->events->speaks_http1(call, uc);
    while ((call = first_of(&c->waiting))) {
        h2_call_detach(call);
        call->events->again(call);
    }
    lose(c, NULL);
}

static void fail_to_connect(struct h2_server *c, int error, const char *why)
{
    char text[WHY_MAX];
    struct upstream_conn *uc = c->uc;
    if (why)
        snprintf(text, sizeof text, "%s", why); /* it goes with the connection */
    c->uc = NULL;
    c->draining = c->over = true;
    pool_fail(uc);
    for (struct h2_call *call; (call = first_of(&c->waiting));) {
        h2_call_detach(call);
        call->events->unreachable(call, error, why ? text : NULL);
    }
    lose(c, NULL);
}

static void connected(struct conn *conn)
{
    struct h2_server *c = of_conn(conn);
    const struct tls_info *info = tls_info(conn);
    struct pool_notes *notes = pool_notes(c->pool, c->uc->server);
    bool is_http2 = !info || slice_equal(info->alpn, S("h2"));
    if (notes)
        notes->speaks = is_http2 ? POOL_SPEAKS_HTTP2 : POOL_SPEAKS_HTTP1;
    if (!is_http2 && c->must_be_http2) {
        fail_to_connect(c, EPROTO, "the server did not choose h2 by ALPN");
        return;
    }
    if (!is_http2) {
        give_away(c);
        return;
    }
    if (create_session(c) != 0 || greet(c) != 0) {
        fail_to_connect(c, ENOMEM, NULL);
        return;
    }
    if (!c->shared && !c->personal && pool_list(c->uc, retire) == 0)
        c->shared = true;
    conn_want_read(conn, true);
    set_clock(c, H2_SERVER_BUSY);
    h2_server_flush_later(c);
    h2_server_open_calls(c);
    h2_calls_tell(c);
}

/* Reading. */

static void readable(struct conn *conn)
{
    struct h2_server *c = of_conn(conn);
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
        lose(c,
             status == CONN_ERROR ? "the server reset the connection" : "the server closed the connection");
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
        lose(c, c->doomed ? c->doomed : n == NGHTTP2_ERR_NOMEM ? "out of memory" : BROKE);
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
            lose(c, c->doomed ? c->doomed : "out of memory");
            return;
        }
        c->out_full = h2_server_is_full(c);
        h2_calls_tell(c);
        if (c->over)
            return;
        if (!nghttp2_session_want_read(c->session) && !nghttp2_session_want_write(c->session)) {
            lose(c, BROKE);
            return;
        }
    }
    settle(c);
}

static void drained(struct conn *conn)
{
    struct h2_server *c = of_conn(conn);
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

static void retire(struct upstream_conn *uc)
{
    struct h2_server *c = uc->user;
    ASSERT(c->magic == H2_SERVER_MAGIC);
    c->draining = true;
    if (c->call_count == 0)
        lose(c, NULL);
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
        set_clock(c, H2_SERVER_BUSY);
}

/* After whatever was said: is it idle, or over? */
static void settle(struct h2_server *c)
{
    if (c->call_count)
        return;
    bool of_use = c->shared && c->keepalive_ms && (!c->settings_seen || c->allowed);
    if (c->draining || (c->session && !of_use)) {
        lose(c, NULL);
        return;
    }
    if (c->session && c->clock != H2_SERVER_IDLE) {
        pool_count_idle(c->uc, true);
        set_clock(c, H2_SERVER_IDLE);
    }
}

/* Time. */

static void ping(struct h2_server *c)
{
    nghttp2_submit_ping(c->session, NGHTTP2_FLAG_NONE, NULL);
    set_clock(c, H2_SERVER_PINGED);
    h2_server_flush_later(c);
}

static void timeout(struct conn *conn)
{
    struct h2_server *c = of_conn(conn);
    bool heard = c->heard != c->heard_mark;
    msec_t more;
    switch ((enum h2_server_clock)c->clock) {
    case H2_SERVER_CONNECTING:
        fail_to_connect(c, ETIMEDOUT, NULL);
        break;
    case H2_SERVER_IDLE:
        more = pool_idle_over(c->uc);
        if (more)
            conn_timer(conn, more);
        else
            lose(c, NULL);
        break;
    case H2_SERVER_PINGED:
        if (conn->bytes_in == c->bytes_mark)
            lose(c, "the server does not answer a ping");
        else
            set_clock(c, heard ? H2_SERVER_BUSY : H2_SERVER_ALIVE);
        break;
    case H2_SERVER_ALIVE:
    case H2_SERVER_BUSY:
        if (heard)
            set_clock(c, H2_SERVER_BUSY);
        else
            ping(c);
        break;
    }
}

static void failed(struct conn *conn, int error)
{
    struct h2_server *c = of_conn(conn);
    if (c->session)
        lose(c, "the connection to the server broke");
    else
        fail_to_connect(c, error, tls_failure(conn));
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
static void lose(struct h2_server *c, const char *reason)
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
    for (struct h2_call *call; (call = first_of(&c->waiting));) {
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

static const struct conn_handler handler = {
    .connected = connected,
    .readable = readable,
    .drained = drained,
    .timeout = timeout,
    .failed = failed,
};
