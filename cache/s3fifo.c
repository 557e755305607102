/* S3-FIFO: Yang, Zhang, Qiu, Yue, Vinayak, "FIFO queues are all you need for cache eviction", SOSP 2023, §4.
 *
 * What is new goes into a small queue that gets a tenth of the bytes; what was not asked for twice there
 * leaves the cache, and its fingerprint is kept in a ghost queue. What was goes into the main queue, and so
 * does what is inserted while the ghost queue has it. At the end of the main queue a node that was hit goes
 * round again, with one hit less. The tenth is of the bytes that the policy holds, which is the budget once
 * the cache is full; the ghost queue has as many entries as there would be nodes in the rest. */
#include "cache/policy.h"

enum {
    SMALL_SHARE = 10, /* one part in so many */
    /* Nodes that one search for a victim lets into the main queue, and sends round in it, at most: the
     * shard's lock is held meanwhile. */
    ROUNDS_MAX = 1000
};

static void s3fifo_insert(struct cache_policy *p, struct cache_policy_node *n)
{
    cache_policy_link(p, n, ghost_take(&p->ghost, n->hash) ? CACHE_POLICY_MAIN : CACHE_POLICY_SMALL);
}

/* Two hits at the same moment may count as one. */
static bool s3fifo_touch(struct cache_policy_node *n, msec_t now)
{
    (void)now;
    uint8_t freq = atomic_load_explicit(&n->freq, memory_order_relaxed);
    if (freq < CACHE_POLICY_FREQ_MAX)
        atomic_store_explicit(&n->freq, (uint8_t)(freq + 1), memory_order_relaxed);
    return false;
}

/* NULL when what was looked at is to stay. */
static struct cache_policy_node *victim_of_small(struct cache_policy *p)
{
    for (unsigned rounds = 0; rounds < ROUNDS_MAX && p->queues[CACHE_POLICY_SMALL].count &&
                              p->queues[CACHE_POLICY_SMALL].bytes * SMALL_SHARE >= cache_policy_bytes(p);
         rounds++) {
        struct cache_policy_node *n = cache_policy_first(p, CACHE_POLICY_SMALL);
        cache_policy_unlink(p, n);
        if (atomic_load_explicit(&n->freq, memory_order_relaxed) <= 1) {
            ghost_insert(&p->ghost, n->hash, cache_policy_count(p) / SMALL_SHARE * (SMALL_SHARE - 1) + 1);
            return n;
        }
        atomic_store_explicit(&n->freq, 0, memory_order_relaxed);
        cache_policy_link(p, n, CACHE_POLICY_MAIN);
    }
    return NULL;
}

static struct cache_policy_node *victim_of_main(struct cache_policy *p)
{
    for (unsigned rounds = 0;; rounds++) {
        struct cache_policy_node *n = cache_policy_first(p, CACHE_POLICY_MAIN);
        uint8_t freq = atomic_load_explicit(&n->freq, memory_order_relaxed);
        cache_policy_unlink(p, n);
        if (freq == 0 || rounds == ROUNDS_MAX)
            return n;
        atomic_store_explicit(&n->freq, (uint8_t)(freq - 1), memory_order_relaxed);
        cache_policy_link(p, n, CACHE_POLICY_MAIN);
    }
}

static struct cache_policy_node *s3fifo_victim(struct cache_policy *p)
{
    struct cache_policy_node *n = victim_of_small(p);
    return n ? n : victim_of_main(p);
}

const struct cache_policy_ops cache_policy_s3fifo = {
    .name = "s3fifo",
    .insert = s3fifo_insert,
    .touch = s3fifo_touch,
    .victim = s3fifo_victim,
};
