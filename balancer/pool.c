#include "balancer/pool.h"

#include <errno.h>
#include <stdlib.h>

#include "balancer/pool_internal.h"

#define SLOTS_AT_A_TIME 64u

void pool_init(struct pool *p, struct loop *l, unsigned worker, struct counters *counters)
{
    *p = (struct pool){.loop = l, .worker = worker, .counters = counters};
    list_init(&p->used);
    timer_init(&p->sweep, pool_on_sweep);
    timer_init(&p->spare, pool_on_spare);
}

void pool_close(struct pool *p)
{
    p->closed = true;
    pool_close_idle(p, NULL);
    pool_retire_listed(p, true);
    loop_timer_clear(p->loop, &p->sweep);
    loop_timer_clear(p->loop, &p->spare);
}

void pool_free(struct pool *p)
{
    for (uint32_t i = 0; i < p->slot_count; i++)
        free(p->slots[i]);
    free(p->slots);
    p->slots = NULL;
    p->slot_count = 0;
}

struct pool_slot *pool_make_slot(struct pool *p, const struct server *s)
{
    struct pool_slot *slot = pool_slot_of(p, s);
    if (slot || s->id >= SERVER_ID_MAX)
        return slot;
    if (s->id >= p->slot_count) {
        uint32_t count = (s->id / SLOTS_AT_A_TIME + 1) * SLOTS_AT_A_TIME;
        struct pool_slot **slots = realloc(p->slots, count * sizeof(struct pool_slot *));
        if (!slots)
            return NULL;
        for (uint32_t i = p->slot_count; i < count; i++)
            slots[i] = NULL;
        p->slots = slots;
        p->slot_count = count;
    }
    slot = malloc(sizeof *slot);
    if (!slot)
        return NULL;
    *slot = (struct pool_slot){0};
    list_init(&slot->link);
    list_init(&slot->idle);
    list_init(&slot->listed);
    p->slots[s->id] = slot;
    return slot;
}

/* Taking. */

/* The server may be closing it now: it was learnt meanwhile how long it keeps them, or the timer is late. */
static bool is_stale(const struct upstream_conn *uc)
{
    return pool_idled(uc) >= keepalive_time(uc->server, uc->keepalive_ms, loop_now_us(uc->pool->loop));
}

struct upstream_conn *pool_take(struct pool *p, struct upstream *u, struct server *s,
                                const struct conn_handler *h, void *user)
{
    struct pool_slot *slot = pool_slot_of(p, s);
    if (!slot || slot->count == 0 || u->settings->proxy_protocol != PROXY_NONE)
        return NULL;
    LIST_EACH_SAFE (node, &slot->idle) {
        struct upstream_conn *uc = CONTAINER_OF(node, struct upstream_conn, link);
        if (uc->on_trial)
            continue;
        if (!pool_leads_on(uc) || uc->transport != u->transport || is_stale(uc)) {
            pool_close_one(uc);
            continue;
        }
        /* Something came that was not looked at yet: it will be, after this pass. */
        if (uc->conn.can_read || uc->conn.transport_pending)
            continue;
        pool_take_out(slot, uc);
        conn_timer_pause(&uc->conn);
        uc->conn.handler = h;
        uc->user = user;
        uc->reused = true;
        uc->idled_ms = pool_idled(uc);
        uc->requests++;
        counter_add(&uc->counters->reused, 1);
        return uc;
    }
    return NULL;
}

/* Giving back. */

static void put_in(struct pool_slot *slot, struct upstream_conn *uc)
{
    list_prepend(&slot->idle, &uc->link);
    slot->count++;
    pool_slot_use(uc->pool, slot);
    pool_count_idle(uc, true);
}

/* Bytes that nobody asked for make the next response a lie. A plain socket is asked at once; what TLS has is
 * looked at after the pass, and the connection is not taken before. */
static bool is_clean(struct upstream_conn *uc)
{
    struct conn *c = &uc->conn;
    if (c->closed || c->connecting || c->handshaking || c->shutdown_wanted || conn_backlog(c) ||
        conn_kept(c).len)
        return false;
    if (!c->can_read || c->transport)
        return true;
    char byte;
    if (recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EAGAIN)
        return false;
    c->can_read = false;
    return true;
}

void pool_give(struct pool *p, struct upstream *u, struct upstream_conn *uc, msec_t keepalive_ms)
{
    ASSERT(uc->magic == UPSTREAM_CONN_MAGIC && uc->pool == p && !uc->idle);
    const struct keepalive_settings *k = &u->settings->keepalive;
    struct pool_slot *slot = NULL;
    /* What began with a PROXY header is that client's alone. */
    bool personal = u->settings->proxy_protocol != PROXY_NONE;
    if (!p->closed && !personal && keepalive_ms && k->idle && !(k->requests && uc->requests >= k->requests) &&
        uc->transport == u->transport && pool_leads_on(uc) && is_clean(uc))
        slot = pool_make_slot(p, uc->server);
    if (!slot) {
        pool_discard(uc);
        return;
    }
    pool_count_bytes(uc);
    uc->user = NULL;
    if (uc->told_ms)
        keepalive_told(uc->server, uc->told_ms, loop_now_us(p->loop));
    uc->conn.handler = &pool_idle_handler;
    uc->conn.want_read = true;
    conn_timer(&uc->conn, pool_idle_time(uc, keepalive_ms));
    put_in(slot, uc);
    slot->limit = (uint32_t)k->idle;
    if (slot->count > k->idle) {
        pool_close_spare(slot);
        loop_timer(p->loop, &p->spare, POOL_SPARE_MS);
    }
    conn_yield(&uc->conn);
}

msec_t pool_idle_time(struct upstream_conn *uc, msec_t keepalive_ms)
{
    uc->since_us = loop_now_us(uc->pool->loop);
    uc->keepalive_ms = keepalive_ms;
    uc->on_trial = false;
    return keepalive_time(uc->server, keepalive_ms, uc->since_us);
}

void pool_count_idle(struct upstream_conn *uc, bool idle)
{
    if (uc->idle == idle)
        return;
    uc->idle = idle;
    counter_add(&uc->counters->idle, idle ? 1 : UINT64_MAX);
    counter_add(&uc->counters->busy, idle ? UINT64_MAX : 1);
}

void pool_count_bytes(struct upstream_conn *uc)
{
    counter_add(&uc->counters->bytes_in, uc->conn.bytes_in - uc->bytes_in);
    counter_add(&uc->counters->bytes_out, uc->conn.bytes_out - uc->bytes_out);
    uc->bytes_in = uc->conn.bytes_in;
    uc->bytes_out = uc->conn.bytes_out;
}

struct pool_notes *pool_notes(struct pool *p, const struct server *s)
{
    struct pool_slot *slot = pool_make_slot(p, s);
    return slot ? &slot->notes : NULL;
}
