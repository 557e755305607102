#include "cache/policy.h"

const struct cache_policy_ops *const cache_policies[CACHE_POLICIES] = {&cache_policy_lru,
                                                                       &cache_policy_s3fifo};

void cache_policy_init(struct cache_policy *p, const struct cache_policy_ops *ops)
{
    *p = (struct cache_policy){.ops = ops};
    for (size_t i = 0; i < CACHE_POLICY_QUEUES; i++)
        list_init(&p->queues[i].nodes);
    ghost_init(&p->ghost);
}

void cache_policy_clear(struct cache_policy *p)
{
    for (size_t i = 0; i < CACHE_POLICY_QUEUES; i++)
        while (!list_empty(&p->queues[i].nodes))
            cache_policy_unlink(p, cache_policy_first(p, (enum cache_policy_queue)i));
    ghost_clear(&p->ghost);
}

void cache_policy_node_init(struct cache_policy_node *n, uint64_t hash, uint64_t bytes)
{
    *n = (struct cache_policy_node){.hash = hash, .bytes = bytes};
    list_init(&n->link);
}

void cache_policy_insert(struct cache_policy *p, struct cache_policy_node *n, msec_t now)
{
    ASSERT(n->queue == CACHE_POLICY_NONE);
    atomic_store_explicit(&n->promoted_ms, (uint32_t)now, memory_order_relaxed);
    atomic_store_explicit(&n->freq, 0, memory_order_relaxed);
    p->ops->insert(p, n);
}

void cache_policy_promote(struct cache_policy *p, struct cache_policy_node *n)
{
    if (p->ops->promote && n->queue != CACHE_POLICY_NONE)
        p->ops->promote(p, n);
}

struct cache_policy_node *cache_policy_victim(struct cache_policy *p)
{
    return cache_policy_count(p) ? p->ops->victim(p) : NULL;
}

void cache_policy_remove(struct cache_policy *p, struct cache_policy_node *n)
{
    if (n->queue != CACHE_POLICY_NONE)
        cache_policy_unlink(p, n);
}

void cache_policy_replace(struct cache_policy *p, struct cache_policy_node *old, struct cache_policy_node *n)
{
    ASSERT(n->queue == CACHE_POLICY_NONE && old->queue != CACHE_POLICY_NONE);
    atomic_store_explicit(&n->promoted_ms, atomic_load_explicit(&old->promoted_ms, memory_order_relaxed),
                          memory_order_relaxed);
    atomic_store_explicit(&n->freq, atomic_load_explicit(&old->freq, memory_order_relaxed),
                          memory_order_relaxed);
    cache_policy_link(p, n, (enum cache_policy_queue)old->queue);
    list_remove(&n->link);
    list_insert_before(&old->link, &n->link);
    cache_policy_unlink(p, old);
}

void cache_policy_resize(struct cache_policy *p, struct cache_policy_node *n, uint64_t bytes)
{
    if (n->queue != CACHE_POLICY_NONE)
        p->queues[n->queue].bytes += bytes - n->bytes;
    n->bytes = bytes;
}

/* All into the main queue: first who is on probation and has not been asked for again, then the main queue's,
 * last who would have been let into it. */
void cache_policy_change(struct cache_policy *p, const struct cache_policy_ops *ops)
{
    if (p->ops == ops)
        return;
    struct list *small = &p->queues[CACHE_POLICY_SMALL].nodes, *main = &p->queues[CACHE_POLICY_MAIN].nodes;
    struct list *first = main->next;
    LIST_EACH_SAFE (link, small) {
        struct cache_policy_node *n = CONTAINER_OF(link, struct cache_policy_node, link);
        cache_policy_unlink(p, n);
        cache_policy_link(p, n, CACHE_POLICY_MAIN);
        if (atomic_load_explicit(&n->freq, memory_order_relaxed) <= 1) {
            list_remove(&n->link);
            list_insert_before(first, &n->link);
        }
    }
    LIST_EACH (link, main)
        atomic_store_explicit(&CONTAINER_OF(link, struct cache_policy_node, link)->freq, 0,
                              memory_order_relaxed);
    ghost_clear(&p->ghost);
    p->ops = ops;
}

uint64_t cache_policy_bytes(const struct cache_policy *p)
{
    return p->queues[CACHE_POLICY_SMALL].bytes + p->queues[CACHE_POLICY_MAIN].bytes;
}

size_t cache_policy_count(const struct cache_policy *p)
{
    return p->queues[CACHE_POLICY_SMALL].count + p->queues[CACHE_POLICY_MAIN].count;
}

size_t cache_policy_overhead(const struct cache_policy *p)
{
    return ghost_bytes(&p->ghost);
}
