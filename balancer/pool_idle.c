/* Idle connections: what they say, how long they may last, and who goes when there are too many. */
#include "balancer/pool_internal.h"

msec_t pool_idle_over(struct upstream_conn *uc)
{
    usec_t now_us = loop_now_us(uc->pool->loop);
    if (uc->on_trial) {
        keepalive_lasted(uc->server, pool_idled(uc), uc->keepalive_ms);
        return 0;
    }
    msec_t more = pool_leads_on(uc) ? keepalive_try(uc->server, pool_idled(uc), uc->keepalive_ms, now_us) : 0;
    uc->on_trial = more != 0;
    return more;
}

void pool_idle_ended(struct upstream_conn *uc)
{
    keepalive_ended(uc->server, pool_idled(uc), loop_now_us(uc->pool->loop));
}

void pool_was_dead(struct upstream_conn *uc)
{
    keepalive_ended(uc->server, uc->idled_ms, loop_now_us(uc->pool->loop));
}

void pool_close_one(struct upstream_conn *uc)
{
    const struct conn *c = &uc->conn;
    if (c->eof || c->hangup || c->broken)
        pool_idle_ended(uc);
    pool_take_out(pool_slot_of(uc->pool, uc->server), uc);
    pool_discard(uc);
}

static void idle_readable(struct conn *c)
{
    struct upstream_conn *uc = upstream_conn_of(c);
    struct slice in;
    enum conn_status status = conn_read(c, &in);
    if (status == CONN_AGAIN && in.len == 0)
        return;
    if (status == CONN_ERROR)
        pool_idle_ended(uc);
    pool_close_one(uc);
}

static void idle_over(struct conn *c)
{
    struct upstream_conn *uc = upstream_conn_of(c);
    msec_t more = pool_idle_over(uc);
    if (more)
        conn_timer(c, more);
    else
        pool_close_one(uc);
}

static void idle_failed(struct conn *c, int error)
{
    (void)error;
    pool_close_one(upstream_conn_of(c));
}

const struct conn_handler pool_idle_handler = {
    .connected = idle_over,
    .readable = idle_readable,
    .timeout = idle_over,
    .failed = idle_failed,
};

/* Too many, or without a future. */

/* Too many: the oldest make room, as their servers close them first. Where requests come in bursts (the
 * streams of HTTP/2), all are idle for a moment and then in use again. */
bool pool_close_spare(struct pool_slot *slot)
{
    while (slot->count > slot->limit) {
        struct upstream_conn *oldest = CONTAINER_OF(slot->idle.prev, struct upstream_conn, link);
        if (pool_idled(oldest) < POOL_SPARE_MS)
            return false;
        pool_close_one(oldest);
    }
    return true;
}

void pool_on_spare(struct timer *t)
{
    struct pool *p = CONTAINER_OF(t, struct pool, spare);
    bool all = true;
    LIST_EACH_SAFE (node, &p->used) {
        all &= pool_close_spare(CONTAINER_OF(node, struct pool_slot, link));
    }
    if (!all)
        loop_timer(p->loop, &p->spare, POOL_SPARE_MS);
}

static void close_slot(struct pool_slot *slot, bool all)
{
    LIST_EACH_SAFE (node, &slot->idle) {
        struct upstream_conn *uc = CONTAINER_OF(node, struct upstream_conn, link);
        if (all || !pool_leads_on(uc))
            pool_close_one(uc);
    }
}

void pool_close_idle(struct pool *p, struct server *s)
{
    if (s) {
        struct pool_slot *slot = pool_slot_of(p, s);
        if (slot)
            close_slot(slot, true);
        return;
    }
    LIST_EACH_SAFE (node, &p->used) {
        close_slot(CONTAINER_OF(node, struct pool_slot, link), true);
    }
}

void pool_sweep(struct pool *p)
{
    pool_retire_listed(p, false);
    LIST_EACH_SAFE (node, &p->used) {
        close_slot(CONTAINER_OF(node, struct pool_slot, link), false);
    }
}

void pool_on_sweep(struct timer *t)
{
    struct pool *p = CONTAINER_OF(t, struct pool, sweep);
    pool_sweep(p);
    if (p->idle_count)
        loop_timer(p->loop, &p->sweep, POOL_SWEEP_MS);
}
