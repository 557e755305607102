/* Least recently used, within CACHE_POLICY_PROMOTE_MS: what was hit again in that time is as recent as it
 * was. */
#include "cache/policy.h"

static void lru_insert(struct cache_policy *p, struct cache_policy_node *n)
{
    cache_policy_link(p, n, CACHE_POLICY_MAIN);
}

/* Two threads may both be told to promote: the second promotion changes nothing that matters. */
static bool lru_touch(struct cache_policy_node *n, msec_t now)
{
    uint32_t at = atomic_load_explicit(&n->promoted_ms, memory_order_relaxed);
    if ((uint32_t)now - at < CACHE_POLICY_PROMOTE_MS)
        return false;
    atomic_store_explicit(&n->promoted_ms, (uint32_t)now, memory_order_relaxed);
    return true;
}

static void lru_promote(struct cache_policy *p, struct cache_policy_node *n)
{
    list_remove(&n->link);
    list_append(&p->queues[CACHE_POLICY_MAIN].nodes, &n->link);
}

static struct cache_policy_node *lru_victim(struct cache_policy *p)
{
    struct cache_policy_node *n = cache_policy_first(p, CACHE_POLICY_MAIN);
    cache_policy_unlink(p, n);
    return n;
}

const struct cache_policy_ops cache_policy_lru = {
    .name = "lru",
    .insert = lru_insert,
    .touch = lru_touch,
    .promote = lru_promote,
    .victim = lru_victim,
};
