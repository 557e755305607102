/* What the pool's files share: pool.c (taking and giving back), pool_connect.c (making and discarding),
 * pool_idle.c (what happens to idle ones), pool_listed.c (those that carry many requests). */
#pragma once

#include "balancer/keepalive.h"
#include "balancer/pool.h"

#define POOL_SWEEP_MS 5000
#define POOL_SPARE_MS 100 /* idle for less, it is kept though there are too many: the next burst takes it */

/* One server's idle connections. */
struct pool_slot {
    struct list link; /* in pool.used while there are any */
    struct list idle; /* the most recently used first */
    struct list listed;
    uint32_t count; /* of idle ones */
    uint32_t limit; /* of them, at rest */
    struct pool_notes notes;
};

/* pool.c */

/* NULL when out of memory, or its id is none. */
struct pool_slot *pool_make_slot(struct pool *p, const struct server *s);

/* pool_idle.c */

extern const struct conn_handler pool_idle_handler;
void pool_on_sweep(struct timer *t);
void pool_on_spare(struct timer *t);
/* One that is idle. */
void pool_close_one(struct upstream_conn *uc);
/* Closes the oldest of those that are too many. False when some were not idle for long enough. */
bool pool_close_spare(struct pool_slot *slot);

/* pool_listed.c */

/* Those that have no future, or all. */
void pool_retire_listed(struct pool *p, bool all);

static inline struct pool_slot *pool_slot_of(const struct pool *p, const struct server *s)
{
    return s->id < p->slot_count ? p->slots[s->id] : NULL;
}

/* Something is idle or listed there, or no more. */

static inline void pool_slot_use(struct pool *p, struct pool_slot *slot)
{
    if (!list_linked(&slot->link))
        list_append(&p->used, &slot->link);
    if (p->idle_count++ == 0)
        loop_timer(p->loop, &p->sweep, POOL_SWEEP_MS);
}

static inline void pool_slot_leave(struct pool *p, struct pool_slot *slot)
{
    if (slot->count == 0 && list_empty(&slot->listed))
        list_remove(&slot->link);
    p->idle_count--;
}

static inline void pool_take_out(struct pool_slot *slot, struct upstream_conn *uc)
{
    list_remove(&uc->link);
    slot->count--;
    pool_slot_leave(uc->pool, slot);
    pool_count_idle(uc, false);
}

/* Whether an idle connection still leads where a new one would. */
static inline bool pool_leads_on(const struct upstream_conn *uc)
{
    const struct server *s = uc->server;
    const struct conn *c = &uc->conn;
    return !c->broken && !c->hangup && !c->eof && server_usable(s) &&
           !atomic_load_explicit(&s->retired, memory_order_relaxed) &&
           atomic_load_explicit(&s->address_version, memory_order_relaxed) == uc->address_version;
}

static inline msec_t pool_idled(const struct upstream_conn *uc)
{
    return (loop_now_us(uc->pool->loop) - uc->since_us) / 1000;
}
