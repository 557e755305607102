/* A cache without contents: nodes of an eviction policy, found by their hashes, within a capacity. What the
 * shadow (shadow.h) and the simulator (bench/cache_simulate) learn hit ratios from.
 *
 * Not thread-safe. Its memory is fixed when it is made, but for what its policy remembers
 * (cache_policy_overhead). */
#pragma once

#include "cache/policy.h"

struct miniature_node;

struct miniature {
    struct cache_policy policy;
    uint64_t capacity; /* bytes, as in the nodes */
    struct miniature_node *nodes;
    uint32_t node_count; /* there is memory for so many */
    uint32_t free;       /* the first of the free ones */
    uint32_t *buckets;
    uint32_t bucket_mask;
    uint64_t evicted; /* nodes, for want of capacity */
    bool crowded;     /* a node had to go since there was none left, though there was capacity */
};

/* 1 to 2^30 nodes. 0, or -1 when out of memory. Must not move afterwards. */
int miniature_init(struct miniature *m, const struct cache_policy_ops *ops, uint64_t capacity,
                   uint32_t node_count);
void miniature_clear(struct miniature *m);

/* A request: true when it was in. If not it is afterwards, unless it is larger than the capacity. */
bool miniature_access(struct miniature *m, uint64_t hash, uint64_t bytes, msec_t now);

/* Allocated. */
size_t miniature_bytes(const struct miniature *m);
