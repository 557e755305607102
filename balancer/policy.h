/* A balancing policy: which of a list of servers gets the next request. One file each. A policy sees one tier
 * (the primaries, or the backups) of one upstream, and has state of its own for every worker, so that it
 * needs no lock and shares no cache line. */
#pragma once

#include "balancer/outcome.h"
#include "balancer/server.h"

/* What is known of the request that wants a server. */
struct pick {
    struct server *const *tried; /* these had their chance: not again */
    size_t tried_count;
    uint64_t hash;         /* of the request's key, for policies that hash; else 0 */
    usec_t now_us;         /* the worker's clock */
    struct server *prefer; /* a sticky session's: taken while it can be; NULL = none */
};

struct tier {
    struct server *const *servers;
    size_t count;
    void *shared; /* what the policy's share() made of it; never changes */
};

struct policy {
    const char *name; /* as in the file */
    /* What all workers look at: tables that are made once for a set of servers, on the control thread. NULL
     * when out of memory. Both functions may be NULL. */
    void *(*share)(const struct tier *t);
    void (*unshare)(void *shared);
    /* Bytes of state for one worker. */
    size_t (*size)(const struct tier *t);
    /* The state comes cleared. Workers differ in where they start, and so do the sets that follow each other.
     */
    void (*init)(void *state, const struct tier *t, unsigned start);
    /* NULL when none can take it. Does not count it in. */
    struct server *(*pick)(void *state, const struct tier *t, const struct pick *p);
    /* An attempt on a server of the tier is over, never one that says nothing about it. May be NULL. */
    void (*done)(void *state, const struct tier *t, const struct server *s, const struct outcome *o);
};

extern const struct policy policy_round_robin;
extern const struct policy policy_least_connections;

static inline bool pick_tried(const struct pick *p, const struct server *s)
{
    for (size_t i = 0; i < p->tried_count; i++)
        if (p->tried[i] == s)
            return true;
    return false;
}

/* The weight with which a server takes part in this pick; 0 = it does not (down, drained, tried, full). */
static inline uint32_t pick_weight(const struct pick *p, const struct server *s)
{
    uint32_t weight = server_weight(s);
    if (weight == 0 || server_full(s) || (p->tried_count && pick_tried(p, s)))
        return 0;
    return weight;
}
