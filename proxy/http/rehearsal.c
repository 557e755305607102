#include "proxy/http/rehearsal.h"

#include <stdlib.h>
#include <time.h>

#include "proxy/http/client_address.h"

/* Where a value is only known when a request comes; no id that a client could send looks so. */
#define ID_MADE "(made for each request)"

struct rehearsal {
    struct worker worker;
    struct snapshot snapshot; /* nothing is traced in it */
    struct listener listener;
    struct exchange exchange;
};

static const struct conn *no_connection(const struct exchange *x)
{
    (void)x;
    return NULL;
}

static const struct downstream_ops no_ops = {.connection = no_connection};

static void set_clock(struct loop *l)
{
    struct timespec monotonic, wall;
    clock_gettime(CLOCK_MONOTONIC, &monotonic);
    clock_gettime(CLOCK_REALTIME, &wall);
    l->now_us = (usec_t)monotonic.tv_sec * 1000000 + (usec_t)monotonic.tv_nsec / 1000;
    l->now_fresh = true;
    l->wall_offset_us = (int64_t)wall.tv_sec * 1000000 + (int64_t)wall.tv_nsec / 1000 - (int64_t)l->now_us;
}

static struct slice id_of(const struct plain_request *p)
{
    const struct field *given = fields_find(&p->request.fields, FIELD_X_REQUEST_ID);
    return given && given->value.len && given->value.len <= 128 ? given->value : S(ID_MADE);
}

struct rehearsal *rehearsal_create(const struct plain_request *p)
{
    struct rehearsal *r = aligned_alloc(64, (sizeof *r + 63) / 64 * 64);
    if (!r)
        return NULL;
    memset(r, 0, sizeof *r);
    set_clock(&r->worker.loop);
    r->listener = (struct listener){.worker = &r->worker, .name = p->config->name, .config = p->config};
    struct exchange *x = &r->exchange;
    x->magic = EXCHANGE_MAGIC;
    x->phase = EXCHANGE_WAITING;
    x->worker = &r->worker;
    x->listener = &r->listener;
    x->snapshot = &r->snapshot;
    x->down_ops = &no_ops;
    x->protocol = p->request.minor ? 11 : 10;
    x->request_done = p->request.body == BODY_NONE;
    x->keep_alive_ok = true;
    x->grpc_status = GRPC_STATUS_NONE;
    x->started_us = r->worker.loop.now_us;
    arena_init(&x->arena, x->first, sizeof x->first);
    x->request = p->request;
    x->is_tls = p->config->tls != NULL;
    x->request.scheme = x->is_tls ? S("https") : S("http");
    x->host = p->host;
    x->path = p->path;
    x->peer = p->peer;
    x->request_id = id_of(p);
    set_client_address(x);
    return r;
}

void rehearsal_free(struct rehearsal *r)
{
    if (!r)
        return;
    arena_reset(&r->exchange.arena);
    free(r);
}

void rehearsal_route(struct rehearsal *r, const struct route *route, const struct route_match *match,
                     struct slice path)
{
    struct exchange *x = &r->exchange;
    x->route = route;
    x->match = *match;
    x->path = path;
    if (route->action == ROUTE_UPSTREAM)
        x->upstream = route->targets[0].upstream;
}

struct exchange *rehearsal_exchange(struct rehearsal *r)
{
    return &r->exchange;
}
