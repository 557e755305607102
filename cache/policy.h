/* Eviction: which cached object goes when room is needed. A policy knows nodes, which are embedded in the
 * cached objects, and nothing of what they stand for: the same code runs in the store, in the shadow
 * (shadow.h) and in the simulator (bench/cache_simulate).
 *
 * One struct cache_policy a shard, its memory a part of the shard's; nodes belong to the store and are in at
 * most one policy's queues. Locks are the shard's:
 *
 *   cache_policy_touch()    without a lock, by many threads at once, of a node that is held;
 *   everything else         under the WRITE lock.
 *
 * What a hit costs: s3fifo adds one to a counter that ends at 3, lru looks at a time; neither writes when
 * nothing would change, so that the line of a hot object stays shared. When touch says true the node wants a
 * cache_policy_promote(), which is done at once where nobody has the lock, and else left to the next hit. A
 * node that was evicted or removed meanwhile may still be promoted: nothing happens.
 *
 * Sizes count: every queue is measured in bytes. A policy has no budget of its own: the store asks for
 * victims until it has room. */
#pragma once

#include <stdatomic.h>

#include "cache/ghost.h"
#include "core/list.h"

enum cache_policy_queue {
    CACHE_POLICY_NONE,  /* in no queue */
    CACHE_POLICY_SMALL, /* s3fifo: on probation */
    CACHE_POLICY_MAIN,
    CACHE_POLICY_QUEUES
};

enum {
    CACHE_POLICY_FREQ_MAX = 3,
    /* lru: the time in which a node is promoted once at most. */
    CACHE_POLICY_PROMOTE_MS = 1000
};

/* 40 bytes. cache_policy_node_init() before the first insert. */
struct cache_policy_node {
    struct list link;
    uint64_t hash;                /* of the object's key, keyed (SipHash) */
    uint64_t bytes;               /* that go when it goes; changed by cache_policy_resize() */
    _Atomic uint32_t promoted_ms; /* lru: when it last was, or is to be */
    _Atomic uint8_t freq;         /* s3fifo: hits, ending at CACHE_POLICY_FREQ_MAX */
    uint8_t queue;                /* enum cache_policy_queue */
};

struct cache_policy;

struct cache_policy_ops {
    const char *name; /* as in the file: cache.policy */
    void (*insert)(struct cache_policy *p, struct cache_policy_node *n);
    bool (*touch)(struct cache_policy_node *n, msec_t now);
    void (*promote)(struct cache_policy *p, struct cache_policy_node *n); /* NULL: touch never asks for it */
    struct cache_policy_node *(*victim)(struct cache_policy *p);
};

extern const struct cache_policy_ops cache_policy_lru;
extern const struct cache_policy_ops cache_policy_s3fifo;

struct cache_policy {
    const struct cache_policy_ops *ops;
    struct {
        struct list nodes; /* the next to go first */
        uint64_t bytes;
        size_t count;
    } queues[CACHE_POLICY_QUEUES]; /* by enum cache_policy_queue; the first is not used */
    struct ghost ghost;            /* s3fifo: what went from the small queue lately */
};

/* By enum cache_policy_kind (settings.h). */
enum { CACHE_POLICIES = 2 };
extern const struct cache_policy_ops *const cache_policies[CACHE_POLICIES];

/* Allocates nothing. The struct must not move afterwards. */
void cache_policy_init(struct cache_policy *p, const struct cache_policy_ops *ops);
/* Frees what it remembered. Nodes that are still in it are out of it afterwards. */
void cache_policy_clear(struct cache_policy *p);

void cache_policy_node_init(struct cache_policy_node *n, uint64_t hash, uint64_t bytes);

/* Puts in a node that is in no queue. `now` is the clock's, as everywhere here. */
void cache_policy_insert(struct cache_policy *p, struct cache_policy_node *n, msec_t now);

/* A hit. True: it wants a promotion. */
static inline bool cache_policy_touch(const struct cache_policy *p, struct cache_policy_node *n, msec_t now)
{
    return p->ops->touch(n, now);
}

void cache_policy_promote(struct cache_policy *p, struct cache_policy_node *n);

/* The node that is to go, already out of its queue (so that asking again gives another one); NULL when there
 * is none. Room is only there once the store has dropped the object. One that cannot go now may be inserted
 * again. s3fifo may allocate here, for what it remembers: see cache_policy_overhead(). */
struct cache_policy_node *cache_policy_victim(struct cache_policy *p);

/* The object went for another reason (purged, replaced). Harmless for a node that is in no queue. */
void cache_policy_remove(struct cache_policy *p, struct cache_policy_node *n);
/* `n`, which is in no queue, takes the place of `old`, which is in one, and is as popular. */
void cache_policy_replace(struct cache_policy *p, struct cache_policy_node *old, struct cache_policy_node *n);
/* The object grew or shrank. */
void cache_policy_resize(struct cache_policy *p, struct cache_policy_node *n, uint64_t bytes);

/* Another policy from now on: the nodes stay, in the order in which they would have gone. */
void cache_policy_change(struct cache_policy *p, const struct cache_policy_ops *ops);

/* Of the nodes that are in it. */
uint64_t cache_policy_bytes(const struct cache_policy *p);
size_t cache_policy_count(const struct cache_policy *p);
/* Bytes that the policy itself has allocated, for the budget: 0 with lru; with s3fifo at most 20 for each of
 * the most nodes that it ever had at once, 512 at least. Changes in cache_policy_victim() and
 * cache_policy_change() alone. */
size_t cache_policy_overhead(const struct cache_policy *p);

/* For policies. */

static inline void cache_policy_link(struct cache_policy *p, struct cache_policy_node *n,
                                     enum cache_policy_queue q)
{
    n->queue = (uint8_t)q;
    list_append(&p->queues[q].nodes, &n->link);
    p->queues[q].bytes += n->bytes;
    p->queues[q].count++;
}

static inline void cache_policy_unlink(struct cache_policy *p, struct cache_policy_node *n)
{
    list_remove(&n->link);
    p->queues[n->queue].bytes -= n->bytes;
    p->queues[n->queue].count--;
    n->queue = CACHE_POLICY_NONE;
}

/* The first to go of a queue that is not empty. */
static inline struct cache_policy_node *cache_policy_first(struct cache_policy *p, enum cache_policy_queue q)
{
    return CONTAINER_OF(p->queues[q].nodes.next, struct cache_policy_node, link);
}
