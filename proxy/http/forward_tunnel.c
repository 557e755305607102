/* After a 101 (RFC 9110 §15.2.2), or a yes to an extended CONNECT (RFC 8441), the connections of client and
 * server are streams of bytes: a WebSocket. Half-closes are passed on; it ends when both sides have ended,
 * after timeouts.idle without a byte, or when the server goes down and on_down says so.
 *
 * Of a WebSocket the frames are followed both ways, so that it need not be cut without a word when weir stops
 * or the server is down: at the end of a frame each side gets a Close that says "going away" (RFC 6455
 * §7.4.1) and nothing behind it; what still comes is read until the Close that answers, and dropped. Both
 * have answered: both are closed. */
#include "core/log.h"
#include "proxy/http/forward_internal.h"
#include "proxy/http/websocket.h"

#define TUNNEL_MAGIC 0x54554e4cu
#define DOWN_LOOK_MS 1000
#define LAST_MS      1000 /* between the latest Close of a drain and its cut, if there is time */
#define ANSWER_MS    1000 /* to answer a Close that no drain waits for */

/* Bytes on their way to one side. */
struct way {
    struct websocket_frames frames;
    bool told; /* a Close of weir's own went there: nothing follows */
};

/* In the exchange's arena, from the 101 to its end. */
struct tunnel {
    uint32_t magic;
    bool is_websocket;
    bool farewell; /* both sides are told to go, as soon as each has a frame's end */
    bool cut;      /* and that has its own limit in time */
    struct forward *f;
    struct way to_client, to_server;
    usec_t active_us;   /* the last byte, either way */
    struct timer clock; /* idleness, the server's health, or the time to answer */
    struct timer leave; /* a drain: when to say so */
};

static const struct conn_handler tunnel_handler;
static const struct responder tunnel_responder;

static void on_clock(struct timer *timer);
static void on_leave(struct timer *timer);
static void drain(struct exchange *x);

static struct tunnel *tunnel_of(struct exchange *x)
{
    struct forward *f = x->responder_state;
    ASSERT(f->magic == FORWARD_MAGIC && f->tunnel && f->tunnel->magic == TUNNEL_MAGIC);
    return f->tunnel;
}

static void watch(struct tunnel *t)
{
    const struct forward *f = t->f;
    msec_t delay = forward_timeouts(f->x)->idle;
    if (f->upstream->settings->on_down == ON_DOWN_CLOSE && delay > DOWN_LOOK_MS)
        delay = DOWN_LOOK_MS;
    loop_timer(&f->x->worker->loop, &t->clock, delay);
}

/* Beginning. */

static struct tunnel *create(struct forward *f, bool is_websocket)
{
    struct tunnel *t = arena_zalloc(&f->x->arena, sizeof *t);
    if (!t)
        return NULL;
    t->magic = TUNNEL_MAGIC;
    t->f = f;
    t->is_websocket = is_websocket;
    t->to_server.frames.masked = true;
    t->active_us = loop_now_us(&f->x->worker->loop);
    timer_init(&t->clock, on_clock);
    timer_init(&t->leave, on_leave);
    return t;
}

/* Bytes both ways. */

/* How many of the bytes go on, at a way that may get its last: those behind a Close of weir's own do not. */
static size_t follow(struct tunnel *t, struct way *w, struct slice in)
{
    size_t seen = 0, passed = w->told ? 0 : in.len;
    if (!t->is_websocket)
        return in.len;
    while (seen < in.len) {
        seen += websocket_next(&w->frames, slice_skip(in, seen));
        if (t->farewell && !w->told && !w->frames.closed && websocket_is_between(&w->frames)) {
            w->told = true;
            passed = seen;
        }
    }
    return passed;
}

static struct iovec close_frame(struct tunnel *t, struct way *w, char room[WEBSOCKET_CLOSE_MAX])
{
    bool masked = w->frames.masked;
    uint32_t mask = masked ? (uint32_t)worker_random(t->f->x->worker) : 0;
    w->told = true;
    return (struct iovec){room, websocket_close(WEBSOCKET_GOING_AWAY, masked, mask, room)};
}

/* Passes bytes on, and the Close that is due behind them. The number of vectors that `iov` has now. */
static int take(struct tunnel *t, struct way *w, struct slice in, struct iovec iov[2],
                char room[WEBSOCKET_CLOSE_MAX])
{
    bool told = w->told;
    int count = 0;
    in.len = follow(t, w, in);
    if (in.len)
        iov[count++] = (struct iovec){(void *)(uintptr_t)in.at, in.len};
    if (w->told && !told)
        iov[count++] = close_frame(t, w, room);
    return count;
}

/* Of the server; the exchange may have ended afterwards. */
static void to_client(struct tunnel *t, struct slice in, bool end)
{
    struct iovec iov[2];
    char room[WEBSOCKET_CLOSE_MAX];
    struct exchange *x = t->f->x;
    t->active_us = loop_now_us(&x->worker->loop);
    int count = take(t, &t->to_client, in, iov, room);
    if (count || end)
        exchange_respond_body(x, iov, count, end, NULL);
}

/* Not by side->send_body(): that frames what it sends as the request's body. */
static void write_to_server(struct tunnel *t, const struct iovec *iov, int count, bool end)
{
    struct forward *f = t->f;
    if (f->uc) {
        if (count)
            conn_write(&f->uc->conn, iov, count);
        if (end)
            conn_shutdown(&f->uc->conn);
    } else if (f->side) {
        f->side->send_body(f, iov, count, end);
    }
}

static void read_on(struct tunnel *t)
{
    struct forward *f = t->f;
    if (!f->x->response_done && f->side)
        f->side->read_on(f);
}

static void to_server(struct tunnel *t, struct slice in)
{
    struct iovec iov[2];
    char room[WEBSOCKET_CLOSE_MAX];
    int count = take(t, &t->to_server, in, iov, room);
    if (count)
        write_to_server(t, iov, count, false);
}

/* At once: no frame is on its way there. */
static void tell(struct tunnel *t, struct way *w)
{
    struct exchange *x = t->f->x;
    char room[WEBSOCKET_CLOSE_MAX];
    struct iovec iov = close_frame(t, w, room);
    if (w == &t->to_server) {
        write_to_server(t, &iov, 1, false);
        exchange_want_body(x, true);
        return;
    }
    exchange_respond_body(x, &iov, 1, false, NULL);
    read_on(t);
}

/* A side is done with when it has answered the Close, or will say nothing more. Ends both when both are. */
static void settle(struct tunnel *t)
{
    struct exchange *x = t->f->x;
    bool client_done = x->request_done || (t->to_client.told && t->to_server.frames.closed);
    bool server_done = x->response_done || (t->to_server.told && t->to_client.frames.closed);
    if (!t->farewell || !client_done || !server_done)
        return;
    if (!x->response_done)
        exchange_respond_body(x, NULL, 0, true, NULL);
    if (x->phase != EXCHANGE_ENDED && !x->request_done)
        exchange_body(x, NULL, 0, true);
}

/* The client gets the answer; false when that was the end. */
static bool start(struct forward *f, struct http_response *r, bool is_websocket)
{
    struct exchange *x = f->x;
    f->tunnel = create(f, is_websocket);
    if (!f->tunnel) {
        forward_bad_response(f, "out of memory");
        return false;
    }
    f->side->timer(f, 0);
    x->responder = &tunnel_responder;
    watch(f->tunnel);
    exchange_respond(x, r, NULL, 0, false);
    if (x->phase == EXCHANGE_ENDED)
        return false;
    if (x->worker->draining)
        drain(x);
    return true;
}

void forward_tunnel(struct forward *f, struct http_response *r, struct slice rest)
{
    struct exchange *x = f->x;
    const struct field *upgrade = fields_find(&r->fields, FIELD_UPGRADE);
    bool is_websocket = upgrade && slice_equal_nocase(upgrade->value, S("websocket"));
    if (x->request.protocol.len && !websocket_agrees(&x->arena, &f->fields, &r->fields)) {
        forward_bad_response(f, "101 that does not agree to the WebSocket");
        return;
    }
    if (x->request.protocol.len)
        websocket_answer_connect(r);
    f->uc->conn.handler = &tunnel_handler;
    if (!start(f, r, is_websocket))
        return;
    to_client(f->tunnel, rest, false);
    if (x->phase == EXCHANGE_ENDED)
        return;
    conn_keep(&f->uc->conn, slice_of(NULL, 0));
    conn_yield(&f->uc->conn);
}

void forward_tunnel_connect(struct forward *f, struct http_response *r)
{
    struct exchange *x = f->x;
    websocket_answer_connect(r);
    r->upgrade = true;
    if (x->request.protocol.len == 0 && websocket_answer_upgrade(&x->arena, &f->fields, r) != 0)
        forward_bad_response(f, "out of memory");
    else
        start(f, r, true);
}

void forward_tunnel_take(struct forward *f, const struct iovec *iov, int count, bool end)
{
    struct tunnel *t = f->tunnel;
    struct exchange *x = f->x;
    for (int i = 0; i < count && x->phase != EXCHANGE_ENDED; i++)
        to_client(t, slice_of(iov[i].iov_base, iov[i].iov_len), false);
    if (x->phase == EXCHANGE_ENDED)
        return;
    if (end) {
        f->outcome = OUTCOME_ANSWERED;
        forward_let_go(f, true);
        to_client(t, slice_of(NULL, 0), true);
    }
    if (x->phase != EXCHANGE_ENDED)
        settle(t);
    if (x->phase != EXCHANGE_ENDED && !end && exchange_blocked(x) && !t->to_client.told)
        f->side->pause(f);
}

static void readable(struct conn *c)
{
    struct tunnel *t = forward_of_conn(c)->tunnel;
    struct exchange *x = t->f->x;
    struct slice in;
    enum conn_status status = conn_read(c, &in);
    if (status == CONN_AGAIN)
        return;
    if (status == CONN_ERROR && !t->to_server.told) {
        exchange_fail(x, 502, "the server reset an upgraded connection");
        return;
    }
    bool end = status != CONN_DATA;
    to_client(t, end ? slice_of(NULL, 0) : in, end);
    if (x->phase != EXCHANGE_ENDED)
        settle(t);
    if (x->phase == EXCHANGE_ENDED || end)
        return;
    if (exchange_blocked(x) && !t->to_client.told)
        t->f->side->pause(t->f);
    else
        conn_yield(c);
}

static void drained(struct conn *c)
{
    exchange_want_body(forward_of_conn(c)->x, true);
}

static void failed(struct conn *c, int error)
{
    (void)error;
    exchange_fail(forward_of_conn(c)->x, 502, "the connection to the server broke");
}

static void body(struct exchange *x, const struct iovec *iov, int count)
{
    struct tunnel *t = tunnel_of(x);
    struct forward *f = t->f;
    t->active_us = loop_now_us(&x->worker->loop);
    for (int i = 0; i < count; i++)
        to_server(t, slice_of(iov[i].iov_base, iov[i].iov_len));
    if (x->request_done)
        write_to_server(t, NULL, 0, true);
    else if (f->side && f->side->backlog(f) >= CONN_HIGH_WATER && !t->to_server.told)
        exchange_want_body(x, false);
    settle(t);
}

static void resume(struct exchange *x)
{
    struct tunnel *t = tunnel_of(x);
    t->active_us = loop_now_us(&x->worker->loop);
    read_on(t);
}

/* The end. */

/* Tells both sides that it is over, unless they know. False when they cannot be told. */
static bool say_goodbye(struct tunnel *t, enum termination why, const char *reason)
{
    struct exchange *x = t->f->x;
    struct way *client = &t->to_client, *server = &t->to_server;
    bool can_tell = !client->frames.lost || !server->frames.lost;
    if (!t->is_websocket || !can_tell || client->frames.closed || server->frames.closed)
        return false;
    if (t->farewell)
        return true;
    t->farewell = true;
    x->termination = (uint8_t)why;
    x->reason = reason;
    if (!x->request_done && websocket_is_between(&server->frames))
        tell(t, server);
    if (!x->response_done && websocket_is_between(&client->frames))
        tell(t, client);
    return true;
}

/* Over the whole second half of the time that is left, but its very end: clients that all come back at the
 * same moment would be one more trouble. */
static void drain(struct exchange *x)
{
    struct tunnel *t = tunnel_of(x);
    msec_t now = loop_now(&x->worker->loop);
    msec_t left = x->worker->drain_until > now ? x->worker->drain_until - now : 0;
    msec_t last = left / 4 < LAST_MS ? left / 4 : LAST_MS;
    msec_t first = left / 2;
    if (t->is_websocket && !t->leave.deadline && !t->farewell)
        loop_timer(&x->worker->loop, &t->leave, first + worker_random(x->worker) % (left - last - first + 1));
}

static void on_leave(struct timer *timer)
{
    struct tunnel *t = CONTAINER_OF(timer, struct tunnel, leave);
    ASSERT(t->magic == TUNNEL_MAGIC);
    say_goodbye(t, TERMINATION_STOPPED, "the WebSocket was told that weir stops");
}

static void on_clock(struct timer *timer)
{
    struct tunnel *t = CONTAINER_OF(timer, struct tunnel, clock);
    ASSERT(t->magic == TUNNEL_MAGIC);
    struct forward *f = t->f;
    struct loop *loop = &f->x->worker->loop;
    usec_t quiet = loop_now_us(loop) - t->active_us;
    bool down = server_is_down(f->server) && f->upstream->settings->on_down == ON_DOWN_CLOSE;
    if (down || t->cut) {
        if (t->cut || !say_goodbye(t, TERMINATION_SERVER_DOWN, "the server went down")) {
            f->x->termination = TERMINATION_SERVER_DOWN;
            exchange_fail(f->x, 502, "the server went down");
            return;
        }
        t->cut = true;
        loop_timer(loop, &t->clock, ANSWER_MS);
    } else if (quiet / 1000 >= forward_timeouts(f->x)->idle) {
        f->x->termination = TERMINATION_IDLE_TIMEOUT;
        exchange_fail(f->x, 504, "an upgraded connection was idle for too long");
    } else {
        watch(t);
    }
}

static void cancel(struct exchange *x)
{
    struct tunnel *t = tunnel_of(x);
    loop_timer_clear(&x->worker->loop, &t->clock);
    loop_timer_clear(&x->worker->loop, &t->leave);
    forward_let_go(t->f, false);
}

static const struct conn_handler tunnel_handler = {
    .connected = readable,
    .readable = readable,
    .drained = drained,
    .failed = failed,
};

static const struct responder tunnel_responder = {
    .name = "tunnel",
    .body = body,
    .resume = resume,
    .drain = drain,
    .cancel = cancel,
};
