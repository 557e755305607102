/* A balancing policy: which of a list of servers gets the next request. One file each. A policy sees one tier
 * of one upstream (the primaries of its own zone, the other primaries, the backups). What takes long to make
 * and never changes is built once for a tier, on the control thread, and shared (`share`); what changes with
 * each pick is a state of every worker's own (`init`), so that it needs no lock and shares no cache line.
 *
 * Weights change while a tier lives: by hand, by slow start, by health. What a policy reads in a pick is
 * pick_weight(), so less weight counts at once; how more weight than a shared table was built with comes to
 * count, see draw.h and hashing.h: the owner of the tier builds it anew. */
#pragma once

#include <stdlib.h>

#include "balancer/outcome.h"
#include "balancer/server.h"
#include "balancer/suspicion.h"

/* What is known of the request that wants a server. */
struct pick {
    struct server *const *tried; /* these had their chance: not again */
    size_t tried_count;
    uint64_t hash;     /* of the request's key, for policies that hash; 0 = it has none */
    bool suspects_too; /* those are not passed over (suspicion.h) */
    bool spares;       /* when no server is usable, one that is only ejected or not yet up again will do */
    struct server *prefer; /* a sticky session's: taken while it can be; NULL = none */
    usec_t now_us;         /* the worker's clock; 0 = what was learned does not fade */
};

/* What the file says of the policy. */
struct policy_options {
    uint32_t bound; /* hash_balance: the most a server may have, in percent of its fair share; 0 = no bound */
    uint64_t seed;  /* of what is random; any */
};

struct tier {
    struct server *const *servers;
    size_t count;
    const struct policy_options *options; /* NULL = the defaults */
    bool spills;                          /* when its servers are full, a request goes on to the next tier */
    void *shared;                         /* what share() made; NULL for a policy without it */
};

struct policy {
    const char *name; /* as in the file */
    bool hashes;      /* looks at pick.hash */
    /* Made on the control thread, before init. NULL when out of memory. May be NULL, then unshare is too. */
    void *(*share)(const struct tier *t);
    void (*unshare)(void *shared);
    /* Bytes of state for one worker. */
    size_t (*size)(const struct tier *t);
    /* The state comes cleared. `start` says where to begin: workers differ in it. */
    void (*init)(void *state, const struct tier *t, unsigned start);
    /* NULL when none can take it. Does not count it in. */
    struct server *(*pick)(void *state, const struct tier *t, const struct pick *p);
    /* An attempt on a server of the tier is over, never one that says nothing about it. May be NULL. */
    void (*done)(void *state, const struct tier *t, struct server *s, const struct outcome *o);
};

extern const struct policy policy_round_robin;
extern const struct policy policy_least_connections;
extern const struct policy policy_random_two;
extern const struct policy policy_ewma;
extern const struct policy policy_ring_hash;
extern const struct policy policy_maglev;
extern const struct policy policy_source_hash;

static inline bool pick_tried(const struct pick *p, const struct server *s)
{
    for (size_t i = 0; i < p->tried_count; i++)
        if (p->tried[i] == s)
            return true;
    return false;
}

/* The weight with which a server takes part in this pick; 0 = it does not (down, drained, tried, full,
 * suspect). */
static inline uint32_t pick_weight(const struct pick *p, const struct server *s)
{
    uint32_t weight = server_weight(s);
    if (weight == 0 || server_full(s) || (p->tried_count && pick_tried(p, s)) ||
        (server_is_suspect(s, p->now_us) && !p->suspects_too))
        return 0;
    return weight;
}
