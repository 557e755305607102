/* What the servers of one upstream share, whatever snapshot they stand in: how many are ejected, whether they
 * are in panic, and what the settings in force say of slow starts. It lives as long as the registry, which
 * has one for each name that an upstream ever had, and as long as a server that was in it.
 *
 * Panic (settings.panic_threshold): when fewer than that share of the servers that somebody wants to have
 * requests is ready, check and ejection no longer count: bad answers from all are better than all requests on
 * the few. It is judged over the primaries; while none of them is ready and a backup is, the backups serve
 * and there is none.
 *
 * Threads: the control thread but for what says otherwise. group_tick runs several times a second while
 * group_watched. */
#pragma once

#include "balancer/server.h"
#include "balancer/settings.h"
#include "core/list.h"

struct queue;
struct server_totals;

#define GROUP_TICK_MS 100

/* Sums by upstream, which must not fall when a server leaves. */
struct attempt_counts {
    uint64_t retries, hedges, hedges_won;
};

struct server_group {
    _Atomic uint32_t references;
    _Atomic bool panic;
    _Atomic bool stirred;          /* a server's state changed since the last tick */
    _Atomic bool serving;          /* some server was ready at the last tick */
    _Atomic uint32_t count;        /* servers in it */
    _Atomic uint32_t ejected;      /* of them */
    _Atomic msec_t slow_start;     /* 0 = none */
    _Atomic(struct queue *) queue; /* NULL until an upstream wants one */
    struct list servers;           /* of struct server, by group_link */
    struct list uses;              /* of struct group_use; the last one counts */
    bool restless;                 /* some server is ejected or starting slowly */
    usec_t compared_us;            /* when latencies were */
    struct attempt_counts past;    /* of servers that have left, as they left */
    struct server_group *next;     /* the registry's */
    struct slice name;             /* NUL-terminated */
};

/* How one snapshot uses it; must stay until group_unuse. */
struct group_use {
    const struct upstream_settings *settings;
    struct list link;
};

/* Whom it tells and asks. */
struct group_watch {
    /* An ejection began or ended; may be NULL. */
    void (*changed)(struct server *s, void *argument);
    /* The server's numbers of all workers; may be NULL (latencies are not compared then). */
    void (*totals)(const struct server *s, struct server_totals *out, void *argument);
    void *argument;
};

/* A reference of the caller's, or NULL when out of memory. */
struct server_group *group_create(struct slice name);
/* Any thread. */
static inline struct server_group *group_hold(struct server_group *g)
{
    atomic_fetch_add_explicit(&g->references, 1, memory_order_relaxed);
    return g;
}
/* Any thread; NULL is allowed. */
void group_release(struct server_group *g);

void group_use(struct server_group *g, struct group_use *use);
void group_unuse(struct server_group *g, struct group_use *use);
/* The settings in force, or NULL. */
const struct upstream_settings *group_settings(const struct server_group *g);

void group_join(struct server_group *g, struct server *s);
/* The server is retired already. */
void group_leave(struct server_group *g, struct server *s, usec_t now_us);

/* Those who wait for a place. Made with the first settings that want one, for good. 0, or -1 when out of
 * memory.
 */
int group_make_queue(struct server_group *g, unsigned workers);

/* Whether group_tick must go on being called. */
bool group_watched(const struct server_group *g);
void group_tick(struct server_group *g, usec_t now_us, const struct group_watch *w);

/* All below from any thread. */

/* Makes the next tick look at every server. */
static inline void group_stir(struct server_group *g)
{
    if (!atomic_load_explicit(&g->stirred, memory_order_relaxed))
        atomic_store_explicit(&g->stirred, true, memory_order_relaxed);
}
static inline struct queue *group_queue(const struct server_group *g)
{
    return atomic_load_explicit(&g->queue, memory_order_acquire);
}
static inline bool group_in_panic(const struct server_group *g)
{
    return atomic_load_explicit(&g->panic, memory_order_relaxed);
}
static inline msec_t group_slow_start(const struct server_group *g)
{
    return atomic_load_explicit(&g->slow_start, memory_order_relaxed);
}
/* A server that becomes ready now starts slowly: others serve already. */
static inline bool group_starts_slowly(const struct server_group *g)
{
    return group_slow_start(g) && atomic_load_explicit(&g->serving, memory_order_relaxed);
}
/* How many of `count` servers may be ejected at once: the share, rounded down, but one of two or more. */
uint32_t group_may_eject(uint32_t count, double share);
/* Counts one more ejection, unless that is one too many. */
bool group_begin_ejection(struct server_group *g, double share);
static inline void group_ejection_over(struct server_group *g)
{
    atomic_fetch_sub_explicit(&g->ejected, 1, memory_order_relaxed);
}
