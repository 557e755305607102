#include <errno.h>

#include "proxy/http/fields.h"
#include "proxy/http/forward_internal.h"
#include "proxy/http/h2/upstream.h"

struct forward_h2 {
    struct h2_call call;
    struct forward *forward;
    struct timer timer;
};

static const struct h2_call_events events;
static const struct forward_side side;

static void set_timer(struct forward *f, msec_t delay);

static struct forward *of_call(struct h2_call *call)
{
    struct forward *f = CONTAINER_OF(call, struct forward_h2, call)->forward;
    ASSERT(f->magic == FORWARD_MAGIC);
    return f;
}

/* Connecting. */

static void on_timer(struct timer *t)
{
    forward_timeout(CONTAINER_OF(t, struct forward_h2, timer)->forward);
}

/* That goes as an extended CONNECT (RFC 8441 §4); other upgrades are HTTP/1.1's, and left out. */
static bool opens_websocket(const struct forward *f)
{
    const struct field *upgrade = fields_find(&f->fields, FIELD_UPGRADE);
    return upgrade && slice_equal_nocase(upgrade->value, S("websocket")) &&
           fields_find_name(&f->fields, S("sec-websocket-key"));
}

static void begin(struct forward *f)
{
    struct exchange *x = f->x;
    if (!f->h2->call.connects || h2_call_may_connect(&f->h2->call)) {
        forward_send_request(f);
        return;
    }
    f->attempt->reason = "the server takes no WebSockets over HTTP/2";
    x->termination = TERMINATION_BAD_RESPONSE;
    forward_let_go(f, true);
    exchange_fail(x, 502, f->attempt->reason);
}

static int prepare(struct forward *f, bool may_be_http1)
{
    struct exchange *x = f->x;
    if (!f->h2) {
        f->h2 = arena_alloc(&x->arena, sizeof *f->h2);
        if (!f->h2)
            return ENOMEM;
        f->h2->forward = f;
        timer_init(&f->h2->timer, on_timer);
    }
    f->h2->call = (struct h2_call){
        .events = &events,
        .arena = &x->arena,
        .limits = &x->listener->config->head_limits,
        .trailers = &x->trailers,
        .method = x->request.method_id,
        .may_be_http1 = may_be_http1,
        .connects = opens_websocket(f),
    };
    if (f->h2->call.connects)
        f->h2->call.trailers = NULL;
    return 0;
}

int forward_h2_open(struct forward *f)
{
    struct exchange *x = f->x;
    struct upstream *u = f->upstream;
    bool chooses = u->settings->protocol == UPSTREAM_AUTO;
    const struct pool_notes *notes = pool_notes(&x->worker->pool, f->server);
    /* An upgrade is HTTP/1.1's. */
    if (chooses && (!u->tls || fields_find(&f->fields, FIELD_UPGRADE)))
        return forward_h1_open(f);
    if (chooses && notes && notes->speaks == POOL_SPEAKS_HTTP1 && forward_h1_take(f))
        return 0;
    if (prepare(f, chooses) != 0)
        return ENOMEM;
    struct introduction i = {
        .client = &x->client, .destination = x->destination, .from = x->down_ops->connection(x)};
    struct h2_open o = {.pool = &x->worker->pool,
                        .upstream = u,
                        .server = f->server,
                        .introduction = &i,
                        .connect_ms = forward_connect_time(f),
                        .handshake_ms = forward_handshake_time(f),
                        .keepalive_ms = forward_timeouts(x)->upstream_keepalive};
    int opened = h2_call_open(&f->h2->call, &o);
    if (opened < 0)
        return -opened;
    f->side = &side;
    if (opened) {
        f->last_reused = h2_call_is_on_idle(&f->h2->call);
        begin(f);
    } else if (h2_call_joins(&f->h2->call)) {
        set_timer(f, forward_connect_time(f)); /* the connection's own is another request's */
    }
    return 0;
}

static void ready(struct h2_call *call)
{
    begin(of_call(call));
}

static void speaks_http1(struct h2_call *call, struct upstream_conn *uc)
{
    struct forward *f = of_call(call);
    loop_timer_clear(&f->x->worker->loop, &f->h2->timer);
    forward_h1_adopt(f, uc);
}

static void again(struct h2_call *call)
{
    struct forward *f = of_call(call);
    loop_timer_clear(&f->x->worker->loop, &f->h2->timer);
    f->side = NULL;
    int error = forward_h2_open(f);
    if (error)
        forward_unreachable(f, error, NULL);
}

/* The request. */

static void put(nghttp2_nv *to, struct slice name, struct slice value)
{
    *to = (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name.at,
                       .namelen = name.len,
                       .value = (uint8_t *)(uintptr_t)value.at,
                       .valuelen = value.len};
}

/* RFC 9113 §8.2.2; Host goes as :authority. */
static bool is_left_out(const struct field *f)
{
    static const uint64_t out = FIELD_BIT(FIELD_HOST) | FIELD_BIT(FIELD_CONNECTION) |
                                FIELD_BIT(FIELD_KEEP_ALIVE) | FIELD_BIT(FIELD_PROXY_CONNECTION) |
                                FIELD_BIT(FIELD_TE) | FIELD_BIT(FIELD_TRANSFER_ENCODING) |
                                FIELD_BIT(FIELD_UPGRADE);
    return (f->id && out >> f->id & 1) || f->name.len == 0 || f->name.at[0] == ':';
}

static struct slice target_of(struct exchange *x)
{
    const struct http_request *r = &x->request;
    if (!r->has_query)
        return x->path;
    return slice_text(arena_printf(&x->arena, "%.*s?%.*s", SLICE_FMT(x->path), SLICE_FMT(r->query)));
}

/* What gRPC, for one, asks for (RFC 9110 §10.1.4). */
static bool wants_trailers(const struct exchange *x)
{
    for (uint32_t i = 0; i < x->request.fields.count; i++) {
        const struct field *f = &x->request.fields.at[i];
        struct slice rest = f->value, token;
        while (f->id == FIELD_TE && slice_next(&rest, ',', &token))
            if (slice_equal_nocase(slice_trim(token), S("trailers")))
                return true;
    }
    return false;
}

/* The head as nghttp2 takes it, which copies it and puts names in lower case. 0 when out of memory. */
static size_t make_head(struct forward *f, nghttp2_nv *nv)
{
    struct exchange *x = f->x;
    const struct http_request *r = &x->request;
    const struct field *host = fields_find(&f->fields, FIELD_HOST);
    struct slice target = target_of(x);
    size_t n = 0;
    if (!target.at)
        return 0;
    bool connects = f->h2->call.connects;
    put(&nv[n++], S(":method"), connects ? S("CONNECT") : r->method);
    if (connects)
        put(&nv[n++], S(":protocol"), S("websocket"));
    put(&nv[n++], S(":scheme"), f->upstream->tls ? S("https") : S("http"));
    if (host && host->value.len)
        put(&nv[n++], S(":authority"), host->value);
    put(&nv[n++], S(":path"), target);
    for (uint32_t i = 0; i < f->fields.count; i++)
        if (!is_left_out(&f->fields.at[i]) &&
            !(connects && slice_equal_nocase(f->fields.at[i].name, S("sec-websocket-key"))))
            put(&nv[n++], f->fields.at[i].name, f->fields.at[i].value);
    if (wants_trailers(x))
        put(&nv[n++], S("te"), S("trailers"));
    if (r->body == BODY_LENGTH && !fields_find(&f->fields, FIELD_CONTENT_LENGTH)) {
        const char *digits = arena_printf(&x->arena, "%llu", (unsigned long long)r->content_length);
        if (!digits)
            return 0;
        put(&nv[n++], S("content-length"), slice_text(digits));
    }
    return n;
}

static int send_head(struct forward *f)
{
    struct exchange *x = f->x;
    nghttp2_nv *nv = arena_alloc(&x->arena, (f->fields.count + 7) * sizeof *nv);
    size_t count = nv ? make_head(f, nv) : 0, size = 0;
    for (size_t i = 0; i < count; i++)
        size += nv[i].namelen + nv[i].valuelen + 4;
    if (!count || size > HEAD_BUFFER)
        return -1;
    bool end = x->request_done && x->body.bytes == 0 && x->trailers.count == 0;
    end = end || x->request.body == BODY_NONE;
    h2_call_send(&f->h2->call, nv, count, end && !f->h2->call.connects);
    return 0;
}

static void send_body(struct forward *f, const struct iovec *body, int count, bool last)
{
    h2_call_write(&f->h2->call, body, count, last);
}

static void drained(struct h2_call *call)
{
    exchange_want_body(of_call(call)->x, true);
}

/* The response. */

static void interim(struct h2_call *call, struct http_response *r)
{
    struct forward *f = of_call(call);
    f->head_begun = true;
    exchange_inform(f->x, r);
}

static void take_head(struct forward *f, const struct http_response *r, bool end)
{
    struct exchange *x = f->x;
    f->head_begun = f->head_received = true;
    forward_wins(f);
    f->status = r->status;
    x->upstream_head_us = loop_now_us(&x->worker->loop);
    f->replayable = false;
    buffer_clear(&x->body, &x->worker->loop.blocks);
    /* A conversation, as far as anybody can tell (gRPC's streams): either may think for a while. */
    if (!end && !x->request_done)
        x->is_two_way = true;
}

static void take_tunnel(struct forward *f, struct http_response *head, const struct iovec *body, int count,
                        bool end)
{
    struct exchange *x = f->x;
    if (head)
        forward_tunnel_connect(f, head);
    if (x->phase != EXCHANGE_ENDED)
        forward_tunnel_take(f, body, count, end);
}

static void response(struct h2_call *call, struct http_response *head, const struct iovec *body, int count,
                     bool end, const struct fields *trailers)
{
    struct forward *f = of_call(call);
    struct exchange *x = f->x;
    if (head && UNLIKELY(head->status >= RETRY_STATUS_MIN) && forward_answers_again(f, head, end))
        return;
    if (head)
        take_head(f, head, end);
    if (f->tunnel || (head && call->connects && head->status / 100 == 2 && !end)) {
        take_tunnel(f, head, body, count, end);
        return;
    }
    if (end) {
        f->outcome = OUTCOME_ANSWERED;
        forward_let_go(f, true);
    }
    if (head) {
        exchange_respond(x, head, body, count, end && !trailers);
        if (trailers && x->phase != EXCHANGE_ENDED)
            exchange_respond_body(x, NULL, 0, true, trailers);
    } else {
        exchange_respond_body(x, body, count, end, trailers);
    }
    if (end || x->phase == EXCHANGE_ENDED || f->side != &side)
        return;
    if (exchange_blocked(x)) {
        f->paused = true;
        h2_call_pause(call, true);
    }
    forward_watch(f);
}

static void stop_reading(struct forward *f)
{
    h2_call_pause(&f->h2->call, true);
}

static void read_on(struct forward *f)
{
    h2_call_pause(&f->h2->call, false);
}

/* The clock, and the end. */

/* As conn_backlog: its mark is that of a connection, and a stream is to wait sooner. */
static size_t backlog(const struct forward *f)
{
    size_t bytes = f->h2->call.pending.bytes;
    return bytes >= H2_CALL_HIGH_WATER ? bytes + CONN_HIGH_WATER - H2_CALL_HIGH_WATER : bytes;
}

static uint64_t progress(const struct forward *f)
{
    return f->h2->call.sent;
}

static void set_timer(struct forward *f, msec_t delay)
{
    if (delay)
        loop_timer(&f->x->worker->loop, &f->h2->timer, delay);
    else
        timer_pause(&f->h2->timer);
}

static void let_go(struct forward *f, bool reusable)
{
    (void)reusable;
    loop_timer_clear(&f->x->worker->loop, &f->h2->timer);
    h2_call_leave(&f->h2->call);
}

static void unreachable(struct h2_call *call, int error, const char *why)
{
    struct forward *f = of_call(call);
    loop_timer_clear(&f->x->worker->loop, &f->h2->timer);
    f->side = NULL;
    forward_unreachable(f, error, why);
}

static void refused(struct h2_call *call, const char *reason)
{
    forward_refused(of_call(call), reason);
}

static void lost(struct h2_call *call, const char *reason)
{
    forward_lost(of_call(call), reason);
}

static void bad(struct h2_call *call, const char *reason)
{
    forward_bad_response(of_call(call), reason);
}

static const struct h2_call_events events = {
    .ready = ready,
    .speaks_http1 = speaks_http1,
    .again = again,
    .unreachable = unreachable,
    .refused = refused,
    .lost = lost,
    .bad = bad,
    .interim = interim,
    .response = response,
    .drained = drained,
};

static const struct forward_side side = {
    .send_head = send_head,
    .send_body = send_body,
    .backlog = backlog,
    .progress = progress,
    .pause = stop_reading,
    .read_on = read_on,
    .timer = set_timer,
    .let_go = let_go,
    .may_refuse = true,
};
