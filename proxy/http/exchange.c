#include "proxy/http/exchange.h"

#include <stdlib.h>

#include "balancer/check_grpc.h"
#include "core/log.h"
#include "proxy/http/affinity.h"
#include "proxy/http/client_address.h"
#include "proxy/http/error_page.h"
#include "proxy/http/fields.h"
#include "proxy/http/files.h"
#include "proxy/http/forward.h"
#include "proxy/http/hops.h"
#include "proxy/http/respond.h"
#include "proxy/http/target.h"
#include "tls/info.h"
#include "tls/server.h"

#define FREE_EXCHANGES_MAX 1024

#define DROP_BYTES_MAX (256u << 10) /* of a request's body that nobody wants */

static void on_deadline(struct timer *t);
static void start_responder(struct exchange *x);
static void check_done(struct exchange *x);
static void bury(struct task *t);

/* Making and freeing. */

struct exchange *exchange_create(struct worker *w, struct listener *l, const struct downstream_ops *ops,
                                 void *down)
{
    struct exchange *x;
    if (!list_empty(&w->free_exchanges)) {
        x = CONTAINER_OF(w->free_exchanges.next, struct exchange, link);
        list_remove(&x->link);
        w->free_exchange_count--;
    } else if (!(x = malloc(sizeof *x))) {
        return NULL;
    }
    clear_bytes(x, offsetof(struct exchange, first));
    x->magic = EXCHANGE_MAGIC;
    x->worker = w;
    x->listener = l;
    x->snapshot = l->snapshot;
    snapshot_hold(x->snapshot, w->index);
    x->down_ops = ops;
    x->down = down;
    x->want_body = true;
    x->grpc_status = GRPC_STATUS_NONE;
    x->started_us = loop_now_us(&w->loop);
    arena_init(&x->arena, x->first, sizeof x->first);
    timer_init(&x->deadline, on_deadline);
    list_init(&x->link);
    task_init(&x->bury);
    w->exchange_count++;
    return x;
}

void exchange_free_spares(struct worker *w)
{
    LIST_EACH_SAFE (node, &w->free_exchanges) {
        free(CONTAINER_OF(node, struct exchange, link));
    }
    list_init(&w->free_exchanges);
}

static void bury(struct task *t)
{
    struct exchange *x = CONTAINER_OF(t, struct exchange, bury);
    struct worker *w = x->worker;
    arena_reset(&x->arena);
    x->magic = 0;
    if (w->free_exchange_count >= FREE_EXCHANGES_MAX) {
        free(x);
        return;
    }
    w->free_exchange_count++;
    list_prepend(&w->free_exchanges, &x->link);
}

static void count(struct exchange *x)
{
    struct worker *w = x->worker;
    const struct listener_config *config = x->listener->config;
    uint32_t id = x->route ? x->snapshot->route_stats_ids[x->route->index] : 0;
    struct route_stats *row = stats_route(config->stats, w->index, id);
    counter_add(&config->stats->worker[w->index]->terminations[x->termination], 1);
    if (row)
        route_stats_count(row, x->status ? exchange_meant_status(x) : 499,
                          loop_now_us(&w->loop) - x->started_us);
    if (UNLIKELY(x->cache != NULL))
        counter_add(&config->stats->worker[w->index]->cache[exchange_cache_result(x)], 1);
    if (x->is_grpc) {
        unsigned slot = x->grpc_status < GRPC_STATUSES ? x->grpc_status : GRPC_STATUSES;
        counter_add(&config->stats->worker[w->index]->grpc[slot], 1);
    }
}

void exchange_end(struct exchange *x)
{
    struct worker *w = x->worker;
    ASSERT(x->magic == EXCHANGE_MAGIC && x->phase != EXCHANGE_ENDED);
    x->phase = EXCHANGE_ENDED;
    if (x->responder && x->responder->cancel)
        x->responder->cancel(x);
    x->responder = NULL;
    loop_timer_clear(&w->loop, &x->deadline);
    if (UNLIKELY(x->is_counted))
        atomic_fetch_sub_explicit(x->route->in_flight, 1, memory_order_relaxed);
    x->termination = (uint8_t)termination_of(x);
    if (LIKELY(!x->is_fetch)) {
        count(x);
        if (w->observers && w->observers->exchange_ended)
            w->observers->exchange_ended(w->observers->argument, x);
    }
    if (UNLIKELY(x->cache != NULL))
        cache_end(x);
    buffer_clear(&x->body, &w->loop.blocks);
    if (x->servers)
        upstream_leave(x->upstream, x->servers, w->index);
    x->servers = NULL;
    snapshot_release(x->snapshot, w->index);
    w->exchange_count--;
    loop_bury(&w->loop, &x->bury, bury);
}

void exchange_abort(struct exchange *x, enum exchange_end why)
{
    if (x->phase == EXCHANGE_ENDED)
        return;
    x->end = why;
    exchange_end(x);
}

/* The request's way in. */

/* What of the request is wrong before any route is asked; 0 when nothing is. */
static unsigned check_request(struct exchange *x, const char **reason)
{
    struct http_request *r = &x->request;
    if (r->method_id == METHOD_CONNECT) {
        *reason = "CONNECT is not for a reverse proxy";
        return 501;
    }
    if (r->expect_unknown) {
        *reason = "an expectation that is not 100-continue";
        return 417;
    }
    if (r->absolute_form && r->scheme.len &&
        !slice_equal_nocase(r->scheme, x->is_tls ? S("https") : S("http"))) {
        *reason = "the target's scheme is not the connection's";
        return 400;
    }
    r->scheme = x->is_tls ? (struct slice)SLICE("https") : (struct slice)SLICE("http");
    x->host = host_normalise(&x->arena, r->host);
    if (x->host.len && !x->host.at) {
        *reason = "out of memory";
        return 500;
    }
    int fault = target_normalise(&x->arena, r->path, &x->path);
    if (fault != 0) {
        *reason = target_fault_text(fault);
        return fault == TARGET_NO_MEMORY ? 500 : 400;
    }
    return 0;
}

/* RFC 9110 §15.5.20: what this connection had to show is not what that host asks for. */
static bool is_misdirected(const struct exchange *x)
{
    const struct tls_server *tls = x->listener->config->tls;
    if (!x->is_tls || !tls)
        return false;
    const struct tls_info *info = tls_info(x->down_ops->connection(x));
    return info && tls_server_policy(tls, x->host) != info->policy;
}

/* Eight numbers from 0 to 15, one a byte, as digits. */
static uint64_t hex_digits(uint64_t numbers)
{
    uint64_t letters = (numbers + 0x0606060606060606u) >> 4 & 0x0101010101010101u;
    return numbers + 0x3030303030303030u + letters * ('a' - '0' - 10);
}

static void set_request_id(struct exchange *x)
{
    const struct field *given = fields_find(&x->request.fields, FIELD_X_REQUEST_ID);
    if (given && given->value.len && given->value.len <= 128) {
        x->request_id = given->value;
        return;
    }
    char *id = arena_alloc(&x->arena, 32);
    if (!id)
        return;
    for (int half = 0; half < 2; half++) {
        uint64_t bits = worker_random(x->worker);
        uint64_t digits[2] = {hex_digits(bits & 0x0f0f0f0f0f0f0f0fu),
                              hex_digits(bits >> 4 & 0x0f0f0f0f0f0f0f0fu)};
        memcpy(id + half * 16, digits, 16);
    }
    x->request_id = slice_of(id, 32);
}

/* gRPC is spoken over HTTP/2 alone. */
static bool is_grpc(const struct exchange *x)
{
    const struct field *type = x->protocol == 20 ? fields_find(&x->request.fields, FIELD_CONTENT_TYPE) : NULL;
    return type && check_grpc_is_type(type->value);
}

#define DEADLINE_MAX_US (UINT64_C(365) * 86400 * 1000000)

/* The route's `timeout`, or the client's grpc-timeout where that is less. One that is malformed, or longer
 * than anyone waits, is no deadline. */
static void set_deadline(struct exchange *x)
{
    usec_t limit = x->route->timeout * 1000, given;
    const struct field *f = x->is_grpc ? fields_find_name(&x->request.fields, S("grpc-timeout")) : NULL;
    if (f && grpc_read_timeout(f->value, &given) && given <= DEADLINE_MAX_US) {
        limit = !limit || given < limit ? given : limit;
        x->expires_us = x->started_us + limit;
    } else if (!limit) {
        return;
    }
    loop_timer(&x->worker->loop, &x->deadline, (limit + 999) / 1000);
}

uint64_t exchange_body_limit(const struct exchange *x)
{
    if (x->route && x->route->limits.has_body_size)
        return x->route->limits.body_size;
    return x->listener->config->settings->limits.body_size;
}

msec_t exchange_body_timeout(const struct exchange *x)
{
    if (x->is_two_way || x->is_grpc) /* messages come when there is something to say */
        return x->listener->config->settings->timeouts.idle;
    if (x->route && x->route->timeouts.has_body)
        return x->route->timeouts.body;
    return x->listener->config->settings->timeouts.body;
}

/* Counts the request in, never past the route's `concurrency`. */
static bool enter_route(struct exchange *x)
{
    _Atomic uint32_t *in_flight = x->route->in_flight;
    uint32_t now = atomic_load_explicit(in_flight, memory_order_relaxed);
    do {
        if (now >= x->route->concurrency)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(in_flight, &now, now + 1, memory_order_relaxed,
                                                    memory_order_relaxed));
    x->is_counted = true;
    return true;
}

void exchange_begin(struct exchange *x)
{
    struct worker *w = x->worker;
    struct http_request *r = &x->request;
    const char *reason = NULL;
    x->phase = EXCHANGE_WAITING;
    set_client_address(x);
    set_request_id(x);
    x->is_grpc = is_grpc(x);
    unsigned status = check_request(x, &reason);
    if (status) {
        x->keep_alive_ok = x->keep_alive_ok && status != 400 && status != 417;
        exchange_fail(x, status, reason);
        return;
    }
    if (is_misdirected(x)) {
        exchange_fail(x, 421, "this host has other demands on client certificates than the connection's");
        return;
    }
    x->route = router_find(x->snapshot->router, x->listener->config->slot, r, x->host, x->path,
                           &w->router_scratch, &x->match);
    if (!x->route) {
        exchange_fail(x, x->match.allow ? 405 : 404, "no route");
        return;
    }
    if (!access_is_open(&x->route->access) && !access_allows(&x->route->access, &x->client)) {
        x->termination = TERMINATION_DENIED;
        exchange_fail(x, 403, "the client's address is not allowed");
        return;
    }
    if (UNLIKELY(x->route->in_flight != NULL) && !enter_route(x)) {
        x->termination = TERMINATION_CONCURRENCY;
        exchange_fail(x, 503, "as many requests as `concurrency` allows are on this route");
        return;
    }
    uint64_t limit = exchange_body_limit(x);
    if (limit && r->body == BODY_LENGTH && r->content_length > limit) {
        exchange_fail(x, 413, "the body is larger than the limit");
        return;
    }
    set_deadline(x);
    start_responder(x);
}

static int rewrite_path(struct exchange *x)
{
    if (!x->route->normalize)
        x->path = x->request.path;
    if (!x->route->rewrite)
        return 0;
    return rewrite_apply(x->route->rewrite, &x->arena, &x->worker->router_scratch.regex, x->path,
                         x->match.prefix_len, &x->path);
}

static void start_responder(struct exchange *x)
{
    struct slice matched = x->path;
    int fault = rewrite_path(x);
    if (fault != 0) {
        exchange_fail(x, 400, target_fault_text(fault));
        return;
    }
    if (LIKELY(!x->route->cache) || !cache_step(x, matched))
        exchange_act(x);
}

void exchange_start(struct exchange *x)
{
    x->phase = EXCHANGE_WAITING;
    set_deadline(x);
    exchange_act(x);
}

void exchange_act(struct exchange *x)
{
    const struct route *route = x->route;
    struct route_target *target = NULL;
    switch (route->action) {
    case ROUTE_UPSTREAM:
        target = &route->targets[0];
        break;
    case ROUTE_SPLIT:
        target = split_pick(route, (uint32_t)worker_random(x->worker));
        break;
    case ROUTE_REDIRECT:
        x->responder = &redirect_responder;
        break;
    case ROUTE_RESPOND:
        x->responder = &respond_responder;
        break;
    case ROUTE_FILES:
        x->responder = &files_responder;
        break;
    case ROUTE_NONE:
        ASSERT(route->action != ROUTE_NONE); /* such a snapshot is never published */
    }
    if (!x->responder) {
        if (!target) {
            exchange_fail(x, 503, "every weight of the split is 0");
            return;
        }
        if (!hops_may_forward(x))
            return;
        x->upstream = target->upstream;
        x->responder = &forward_responder;
    }
    x->responder->start(x);
}

void exchange_refuse(struct exchange *x, unsigned status, const char *reason)
{
    x->phase = EXCHANGE_WAITING;
    set_client_address(x);
    set_request_id(x);
    x->is_grpc = is_grpc(x);
    exchange_fail(x, status, reason);
}

void exchange_want_body(struct exchange *x, bool want)
{
    if (x->want_body == want)
        return;
    x->want_body = want;
    x->down_ops->want_body(x, want);
}

void exchange_keep_body(struct exchange *x, const struct iovec *iov, int count_)
{
    if (buffer_append(&x->body, &x->worker->loop.blocks, iov, count_, 0) != 0) {
        exchange_fail(x, 503, "out of memory");
        return;
    }
    if (x->body.bytes >= EXCHANGE_BODY_KEPT)
        exchange_want_body(x, false);
}

/* The answer is out, and the rest of the request's body is only read to find where the next request begins.
 */
static void drop_body(struct exchange *x, bool end)
{
    x->request_done = end;
    if (!end && x->request_bytes <= x->drop_until)
        return;
    x->keep_alive_ok = x->keep_alive_ok && end;
    x->down_ops->done(x);
}

void exchange_body(struct exchange *x, const struct iovec *iov, int count_, bool end)
{
    if (x->drop_body) {
        for (int i = 0; i < count_; i++)
            x->request_bytes += iov[i].iov_len;
        drop_body(x, end);
        return;
    }
    if (end)
        x->request_done = true;
    uint64_t limit = x->phase == EXCHANGE_TUNNEL ? 0 : exchange_body_limit(x);
    for (int i = 0; i < count_; i++)
        x->request_bytes += iov[i].iov_len;
    if (limit && x->request_bytes > limit) {
        x->termination = TERMINATION_REQUEST_REFUSED;
        exchange_fail(x, 413, "the body is larger than the limit");
        return;
    }
    if (x->responder && x->responder->body)
        x->responder->body(x, iov, count_);
    if (x->phase != EXCHANGE_ENDED)
        check_done(x);
}

enum conn_spliced exchange_splice_body(struct exchange *x, struct conn *from, uint64_t max, size_t *moved)
{
    *moved = 0;
    if (x->drop_body || !x->responder || !x->responder->splice)
        return SPLICE_NOT;
    enum conn_spliced result = x->responder->splice(x, from, max, moved);
    x->request_bytes += *moved;
    return result;
}

void exchange_resume(struct exchange *x)
{
    if (x->responder && x->responder->resume)
        x->responder->resume(x);
}

void exchange_drain(struct exchange *x)
{
    if (x->worker->draining && x->responder && x->responder->drain)
        x->responder->drain(x);
}

static void on_deadline(struct timer *t)
{
    struct exchange *x = CONTAINER_OF(t, struct exchange, deadline);
    if (x->phase == EXCHANGE_TUNNEL)
        return;
    msec_t limit = x->route->timeout;
    bool is_routes = limit && loop_now_us(&x->worker->loop) >= x->started_us + limit * 1000;
    x->termination = TERMINATION_EXCHANGE_TIMEOUT;
    exchange_fail(x, 504,
                  is_routes ? "the exchange took longer than the route's timeout"
                            : "the exchange took longer than the client's grpc-timeout");
}

/* The response's way out. */

void exchange_inform(struct exchange *x, struct http_response *r)
{
    if (x->head_sent)
        return;
    fields_strip_hop_by_hop(&r->fields);
    fields_remove(&r->fields, FIELD_CONTENT_LENGTH); /* RFC 9110 §8.6 */
    if (r->status == 100)
        x->request.expect_continue = false;
    x->down_ops->inform(x, r);
}

/* What the route does to every response, whoever made it. */
static int edit_response(struct exchange *x, struct http_response *r)
{
    struct slice upgrade = {0};
    if (r->status == 101) {
        const struct field *f = fields_find(&r->fields, FIELD_UPGRADE);
        upgrade = f ? f->value : upgrade;
    }
    fields_strip_hop_by_hop(&r->fields);
    if (upgrade.len && fields_add(&x->arena, &r->fields, FIELD_UPGRADE, S("Upgrade"), upgrade) != 0)
        return -1;
    if (r->status == 204 || r->status == 101)
        fields_remove(&r->fields, FIELD_CONTENT_LENGTH);            /* RFC 9110 §8.6 */
    if (r->status >= 200 && !fields_find(&r->fields, FIELD_DATE) && /* RFC 9110 §6.6.1 */
        fields_add(&x->arena, &r->fields, FIELD_DATE, S("Date"), worker_date(x->worker)) != 0)
        return -1;
    if (UNLIKELY(x->is_fetch))
        return 0;
    if (UNLIKELY(x->cache != NULL) && cache_respond(x, r) != 0)
        return -1;
    if (fields_add(&x->arena, &r->fields, FIELD_VIA, S("Via"), exchange_via(r->minor, r->is_http2)) != 0)
        return -1;
    if (x->upstream && UNLIKELY(x->upstream->affinity != NULL) &&
        (x->responder == &forward_responder || cache_relays(x)) && affinity_set_cookie(x, &r->fields) != 0)
        return -1;
    if (x->route && x->route->response_headers.count &&
        edits_apply(&x->route->response_headers, &r->fields, &x->arena, exchange_variable, x) != 0)
        return -1;
    return 0;
}

/* Nothing whole can be said (any more). */
static void cut(struct exchange *x, enum exchange_end why)
{
    x->end = why;
    x->down_ops->cut(x);
}

static void note_grpc_status(struct exchange *x, const struct fields *f)
{
    const struct field *status = fields_find_name(f, S("grpc-status"));
    if (status)
        x->grpc_status = grpc_read_status(status->value);
}

static void add_up(struct exchange *x, const struct iovec *body, int count_)
{
    for (int i = 0; i < count_; i++)
        x->response_bytes += body[i].iov_len;
}

void exchange_respond(struct exchange *x, struct http_response *r, const struct iovec *body, int count_,
                      bool end)
{
    ASSERT(!x->head_sent && x->phase == EXCHANGE_WAITING);
    /* To an extended CONNECT every 2xx would be a yes (RFC 8441 §5). */
    if (x->request.protocol.len && r->status / 100 == 2 && !r->upgrade)
        r->status = 502;
    x->status = r->status;
    x->response = r;
    if (x->is_grpc)
        note_grpc_status(x, &r->fields);
    bool has_fields = r->lines[0].len == 0;
    if (has_fields && edit_response(x, r) != 0) {
        x->reason = "out of memory";
        cut(x, END_CUT);
        return;
    }
    if (has_fields && x->worker->observers && x->worker->observers->response_begins && !x->is_fetch)
        x->worker->observers->response_begins(x->worker->observers->argument, x);
    /* An answer before the request is read: its body will be read and dropped, unless it is long or may never
     * come. */
    if (!x->request_done &&
        (x->request.expect_continue || x->request.content_length > x->request_bytes + DROP_BYTES_MAX))
        x->keep_alive_ok = false;
    if (x->down_ops->respond(x, r, body, count_, end) != 0) {
        log_error("a response's head is too large", LOG_SLICE("route", x->route ? x->route->name : S("")));
        x->status = 500;
        x->reason = "the response's head is too large";
        cut(x, END_CUT);
        return;
    }
    x->head_sent = true;
    x->phase = EXCHANGE_ANSWERING;
    add_up(x, body, count_);
    if (r->upgrade) {
        x->phase = EXCHANGE_TUNNEL;
        x->was_tunnel = true;
        x->request_done = false;
        x->down_ops->upgrade(x);
    }
    x->response_done = end;
    check_done(x);
    x->response = NULL;
}

bool exchange_takes_lines(const struct exchange *x)
{
    const struct observers *o = x->worker->observers;
    return x->down_ops->takes_lines && x->route->response_headers.count == 0 &&
           !(o && o->wants_response && o->wants_response(o->argument, x));
}

void exchange_respond_body(struct exchange *x, const struct iovec *body, int count_, bool end,
                           const struct fields *trailers)
{
    ASSERT(x->head_sent && !x->response_done);
    add_up(x, body, count_);
    if (x->is_grpc && trailers)
        note_grpc_status(x, trailers);
    x->response_done = end;
    x->down_ops->respond_body(x, body, count_, end, trailers);
    check_done(x);
}

ssize_t exchange_respond_some(struct exchange *x, const struct iovec *body, int count_)
{
    ASSERT(x->head_sent && !x->response_done);
    ssize_t taken = x->down_ops->respond_some ? x->down_ops->respond_some(x, body, count_) : -1;
    if (taken > 0)
        add_up(x, &(struct iovec){NULL, (size_t)taken}, 1);
    return taken;
}

bool exchange_takes_files(const struct exchange *x)
{
    return x->down_ops->takes_files && x->down_ops->takes_files(x);
}

size_t exchange_respond_file(struct exchange *x, int fd, uint64_t offset, size_t bytes)
{
    ASSERT(x->head_sent && !x->response_done);
    size_t taken = x->down_ops->respond_file(x, fd, offset, bytes);
    x->response_bytes += taken;
    return taken;
}

enum conn_spliced exchange_respond_splice(struct exchange *x, struct conn *from, uint64_t max, size_t *moved)
{
    ASSERT(x->head_sent && !x->response_done);
    *moved = 0;
    if (!x->down_ops->respond_splice)
        return SPLICE_NOT;
    enum conn_spliced result = x->down_ops->respond_splice(x, from, max, moved);
    x->response_bytes += *moved;
    return result;
}

static void check_done(struct exchange *x)
{
    if (!x->response_done || (x->phase == EXCHANGE_TUNNEL && !x->request_done))
        return;
    if (x->request_done || !x->keep_alive_ok) {
        x->down_ops->done(x);
        return;
    }
    x->drop_body = true;
    x->drop_until = x->request_bytes + DROP_BYTES_MAX;
    exchange_want_body(x, true);
}

void exchange_fail(struct exchange *x, unsigned status, const char *reason)
{
    if (x->phase == EXCHANGE_ENDED)
        return;
    if (x->drop_body) { /* answered already: what failed is the reading of the rest */
        x->keep_alive_ok = false;
        x->down_ops->done(x);
        return;
    }
    x->reason = reason;
    if (x->responder && x->responder->cancel)
        x->responder->cancel(x);
    x->responder = NULL;
    if (x->head_sent) {
        cut(x, status == 504 || status == 408 ? END_TIMEOUT : status == 502 ? END_SERVER_FAILED : END_CUT);
        return;
    }
    if (UNLIKELY(x->is_fetch)) {
        x->down_ops->failed(x, status, reason);
        return;
    }
    if (status == 400 || status == 408)
        x->keep_alive_ok = false;
    answer_error(x, status);
}

void exchange_answer(struct exchange *x, unsigned status, struct slice type, struct slice body,
                     const struct fields *extra)
{
    struct fields f = {0};
    bool no_body = status == 204 || status == 304 || status < 200;
    if ((type.len && !no_body && fields_add(&x->arena, &f, FIELD_CONTENT_TYPE, S("Content-Type"), type) != 0))
        goto fail;
    for (uint32_t i = 0; extra && i < extra->count; i++)
        if (fields_add(&x->arena, &f, extra->at[i].id, extra->at[i].name, extra->at[i].value) != 0)
            goto fail;
    struct http_response r = {
        .status = (uint16_t)status,
        .minor = 1,
        .fields = f,
        .body = no_body || x->request.method_id == METHOD_HEAD || body.len == 0 ? BODY_NONE : BODY_LENGTH,
        .content_length = body.len,
        .has_content_length = !no_body,
    };
    struct iovec iov = {(void *)(uintptr_t)body.at, body.len};
    exchange_respond(x, &r, &iov, r.body == BODY_NONE ? 0 : 1, true);
    return;
fail:
    x->reason = "out of memory";
    cut(x, END_CUT);
}
