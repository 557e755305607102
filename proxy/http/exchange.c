#include "proxy/http/exchange.h"

#include <stdlib.h>

#include "balancer/check_grpc.h"
#include "proxy/http/client_address.h"
#include "proxy/http/files.h"
#include "proxy/http/forward.h"
#include "proxy/http/hops.h"
#include "proxy/http/respond.h"
#include "proxy/http/target.h"
#include "proxy/http/trace.h"
#include "tls/info.h"
#include "tls/server.h"

#define FREE_EXCHANGES_MAX 1024

static void on_deadline(struct timer *t);
static void start_responder(struct exchange *x);
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
    counter_add(&w->exchange_count, 1);
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
    if (row) {
        usec_t now = loop_now_us(&w->loop), took = now - x->started_us;
        unsigned bucket = route_stats_count(row, x->status ? exchange_meant_status(x) : 499, took);
        if (UNLIKELY(exemplars_due(&row->exemplars, bucket, now)))
            exchange_exemplar(x, &row->exemplars, bucket, took);
    }
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
    if (UNLIKELY(x->snapshot->tracing != NULL))
        trace_end(x);
    if (UNLIKELY(x->cache != NULL))
        cache_end(x);
    buffer_clear(&x->body, &w->loop.blocks);
    if (x->servers)
        upstream_leave(x->upstream, x->servers, w->index);
    x->servers = NULL;
    snapshot_release(x->snapshot, w->index);
    counter_add(&w->exchange_count, UINT64_MAX);
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
