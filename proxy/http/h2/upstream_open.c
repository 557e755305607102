#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "proxy/http/h2/upstream_internal.h"
#include "tls/info.h"

#define WHY_MAX 200

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
    c->uc = pool_connect_alpn(o->pool, o->upstream, o->server, alpn_of(may_be_http1), &h2_server_handler, c);
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
    if (!alone && pool_list(c->uc, h2_server_retire) == 0)
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

/* The first call gets the connection, the others ask anew: now it is known what the server speaks. */
static void give_away(struct h2_server *c)
{
    struct upstream_conn *uc = c->uc;
    pool_unlist(uc);
    c->draining = true;
    struct h2_call *call = h2_server_first(&c->waiting);
    if (!call) {
        h2_server_lose(c, "nobody waits for it");
        return;
    }
    uc->requests = 1;
    uc->reused = false;
    c->uc = NULL;
    c->over = true;
    h2_call_detach(call);
    call->events->speaks_http1(call, uc);
    while ((call = h2_server_first(&c->waiting))) {
        h2_call_detach(call);
        call->events->again(call);
    }
    h2_server_lose(c, NULL);
}

void h2_server_fail_to_connect(struct h2_server *c, int error, const char *why)
{
    char text[WHY_MAX];
    struct upstream_conn *uc = c->uc;
    if (why)
        snprintf(text, sizeof text, "%s", why); /* it goes with the connection */
    c->uc = NULL;
    c->draining = c->over = true;
    pool_fail(uc);
    for (struct h2_call *call; (call = h2_server_first(&c->waiting));) {
        h2_call_detach(call);
        call->events->unreachable(call, error, why ? text : NULL);
    }
    h2_server_lose(c, NULL);
}

void h2_server_connected(struct conn *conn)
{
    struct h2_server *c = h2_server_of(conn);
    const struct tls_info *info = tls_info(conn);
    struct pool_notes *notes = pool_notes(c->pool, c->uc->server);
    bool is_http2 = !info || slice_equal(info->alpn, S("h2"));
    if (notes)
        notes->speaks = is_http2 ? POOL_SPEAKS_HTTP2 : POOL_SPEAKS_HTTP1;
    if (!is_http2 && c->must_be_http2) {
        h2_server_fail_to_connect(c, EPROTO, "the server did not choose h2 by ALPN");
        return;
    }
    if (!is_http2) {
        give_away(c);
        return;
    }
    if (create_session(c) != 0 || greet(c) != 0) {
        h2_server_fail_to_connect(c, ENOMEM, NULL);
        return;
    }
    if (!c->shared && !c->personal && pool_list(c->uc, h2_server_retire) == 0)
        c->shared = true;
    conn_want_read(conn, true);
    h2_server_set_clock(c, H2_SERVER_BUSY);
    h2_server_flush_later(c);
    h2_server_open_calls(c);
    h2_calls_tell(c);
}
