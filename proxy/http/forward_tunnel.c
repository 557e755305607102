/* After a 101 (RFC 9110 §15.2.2) the connections of client and server are streams of bytes: a WebSocket.
 * Half-closes are passed on; it ends when both sides have ended, after timeouts.idle without a byte, or when
 * the server goes down and on_down says so. */
#include "core/log.h"
#include "proxy/http/fields.h"
#include "proxy/http/forward_internal.h"
#include "proxy/http/websocket.h"

#define DOWN_LOOK_MS 1000

static const struct conn_handler tunnel_handler;
static const struct responder tunnel_responder;

static void watch(struct forward *f)
{
    msec_t idle = forward_timeouts(f->x)->idle;
    if (f->upstream->settings->on_down == ON_DOWN_CLOSE && idle > DOWN_LOOK_MS)
        idle = DOWN_LOOK_MS;
    conn_timer(&f->uc->conn, idle);
}

/* Passes on bytes of the server; the exchange may have ended afterwards. */
static void to_client(struct forward *f, struct slice in, bool end)
{
    struct iovec iov = {(void *)(uintptr_t)in.at, in.len};
    f->active_us = loop_now_us(&f->x->worker->loop);
    if (in.len || end)
        exchange_respond_body(f->x, &iov, in.len ? 1 : 0, end, NULL);
}

static bool has_token(struct slice list, struct slice token)
{
    struct slice each;
    while (slice_next(&list, ',', &each))
        if (slice_equal_nocase(slice_trim(each), token))
            return true;
    return false;
}

/* RFC 6455 §4.1: the client of an extended CONNECT cannot look at it, as it knows no key. */
static bool agrees_to_websocket(struct forward *f, const struct http_response *r)
{
    const struct field *key = fields_find_name(&f->fields, S("sec-websocket-key"));
    const struct field *accept = fields_find_name(&r->fields, S("sec-websocket-accept"));
    const struct field *upgrade = fields_find(&r->fields, FIELD_UPGRADE);
    const struct field *connection = fields_find(&r->fields, FIELD_CONNECTION);
    return key && accept && upgrade && connection && slice_equal_nocase(upgrade->value, S("websocket")) &&
           has_token(connection->value, S("upgrade")) &&
           slice_equal(accept->value, websocket_accept(&f->x->arena, key->value));
}

/* RFC 8441 §5: a 200 without what belongs to the connection; the Upgrade goes with the other hop-by-hop
 * fields. */
static void answer_connect(struct http_response *r)
{
    fields_remove_name(&r->fields, S("sec-websocket-accept"));
    fields_remove(&r->fields, FIELD_CONTENT_LENGTH);
    r->status = 200;
    r->reason = S("");
}

void forward_tunnel(struct forward *f, struct http_response *r, struct slice rest)
{
    struct exchange *x = f->x;
    if (x->request.protocol.len && !agrees_to_websocket(f, r)) {
        forward_bad_response(f, "101 that does not agree to the WebSocket");
        return;
    }
    if (x->request.protocol.len)
        answer_connect(r);
    f->uc->conn.handler = &tunnel_handler;
    x->responder = &tunnel_responder;
    exchange_respond(x, r, NULL, 0, false);
    if (x->phase == EXCHANGE_ENDED)
        return;
    to_client(f, rest, false);
    if (x->phase == EXCHANGE_ENDED)
        return;
    conn_keep(&f->uc->conn, slice_of(NULL, 0));
    watch(f);
    conn_yield(&f->uc->conn);
}

static void readable(struct conn *c)
{
    struct forward *f = forward_of_conn(c);
    struct exchange *x = f->x;
    struct slice in;
    enum conn_status status = conn_read(c, &in);
    if (status == CONN_AGAIN)
        return;
    if (status == CONN_ERROR) {
        exchange_fail(x, 502, "the server reset an upgraded connection");
        return;
    }
    to_client(f, status == CONN_DATA ? in : slice_of(NULL, 0), status == CONN_EOF);
    if (x->phase == EXCHANGE_ENDED || status == CONN_EOF)
        return;
    if (exchange_blocked(x))
        conn_want_read(c, false);
    else
        conn_yield(c);
}

static void drained(struct conn *c)
{
    exchange_want_body(forward_of_conn(c)->x, true);
}

static void timeout(struct conn *c)
{
    struct forward *f = forward_of_conn(c);
    if (server_is_down(f->x->server) && f->upstream->settings->on_down == ON_DOWN_CLOSE) {
        exchange_fail(f->x, 502, "the server went down");
        return;
    }
    usec_t quiet = loop_now_us(&f->x->worker->loop) - f->active_us;
    if (quiet / 1000 >= forward_timeouts(f->x)->idle)
        exchange_fail(f->x, 504, "an upgraded connection was idle for too long");
    else
        watch(f);
}

static void failed(struct conn *c, int error)
{
    (void)error;
    exchange_fail(forward_of_conn(c)->x, 502, "the connection to the server broke");
}

static void body(struct exchange *x, const struct iovec *iov, int count)
{
    struct forward *f = x->responder_state;
    f->active_us = loop_now_us(&x->worker->loop);
    if (count)
        conn_write(&f->uc->conn, iov, count);
    if (x->request_done)
        conn_shutdown(&f->uc->conn);
    else if (conn_backlog(&f->uc->conn) >= CONN_HIGH_WATER)
        exchange_want_body(x, false);
}

static void resume(struct exchange *x)
{
    struct forward *f = x->responder_state;
    f->active_us = loop_now_us(&x->worker->loop);
    if (!f->uc->conn.eof)
        conn_want_read(&f->uc->conn, true);
}

static void cancel(struct exchange *x)
{
    forward_let_go(x->responder_state, false);
}

static const struct conn_handler tunnel_handler = {
    .connected = readable,
    .readable = readable,
    .drained = drained,
    .timeout = timeout,
    .failed = failed,
};

static const struct responder tunnel_responder = {
    .name = "tunnel",
    .body = body,
    .resume = resume,
    .cancel = cancel,
};
