#include "cache/miniature.h"

#include <stdlib.h>

#define NO_NODE UINT32_MAX

struct miniature_node {
    struct cache_policy_node policy;
    uint32_t next; /* in its bucket, or free */
};

static uint32_t bucket_count_for(uint32_t node_count)
{
    uint32_t count = 16;
    while (count < node_count)
        count *= 2;
    return count;
}

int miniature_init(struct miniature *m, const struct cache_policy_ops *ops, uint64_t capacity,
                   uint32_t node_count)
{
    uint32_t bucket_count = bucket_count_for(node_count);
    *m = (struct miniature){.capacity = capacity, .node_count = node_count, .bucket_mask = bucket_count - 1};
    cache_policy_init(&m->policy, ops);
    m->nodes = malloc(sizeof *m->nodes * node_count);
    m->buckets = malloc(sizeof *m->buckets * bucket_count);
    if (!m->nodes || !m->buckets) {
        miniature_clear(m);
        return -1;
    }
    for (uint32_t i = 0; i < node_count; i++)
        m->nodes[i].next = i + 1 < node_count ? i + 1 : NO_NODE;
    for (uint32_t i = 0; i < bucket_count; i++)
        m->buckets[i] = NO_NODE;
    return 0;
}

void miniature_clear(struct miniature *m)
{
    cache_policy_clear(&m->policy);
    free(m->nodes);
    free(m->buckets);
    m->nodes = NULL;
    m->buckets = NULL;
    m->node_count = 0;
}

size_t miniature_bytes(const struct miniature *m)
{
    size_t buckets = m->buckets ? m->bucket_mask + 1 : 0;
    return m->node_count * sizeof *m->nodes + buckets * sizeof *m->buckets +
           cache_policy_overhead(&m->policy);
}

/* Where the number of the node stands, or would: in its bucket, or in the node before it. */
static uint32_t *place_of(const struct miniature *m, uint64_t hash)
{
    uint32_t *at = &m->buckets[(hash ^ hash >> 32) & m->bucket_mask];
    while (*at != NO_NODE && m->nodes[*at].policy.hash != hash)
        at = &m->nodes[*at].next;
    return at;
}

static void take_out(struct miniature *m, uint64_t hash)
{
    uint32_t *at = place_of(m, hash), index = *at;
    *at = m->nodes[index].next;
    m->nodes[index].next = m->free;
    m->free = index;
}

static void evict(struct miniature *m)
{
    take_out(m, cache_policy_victim(&m->policy)->hash);
}

/* Makes room for so many bytes more, of which the capacity has enough. */
static void make_room(struct miniature *m, uint64_t bytes)
{
    while (cache_policy_bytes(&m->policy) + bytes > m->capacity) {
        evict(m);
        m->evicted++;
    }
}

static void put_in(struct miniature *m, uint64_t hash, uint64_t bytes, msec_t now)
{
    make_room(m, bytes);
    if (m->free == NO_NODE) {
        evict(m);
        m->crowded = true;
    }
    uint32_t index = m->free, *at = place_of(m, hash);
    struct miniature_node *n = &m->nodes[index];
    m->free = n->next;
    n->next = NO_NODE;
    *at = index;
    cache_policy_node_init(&n->policy, hash, bytes);
    cache_policy_insert(&m->policy, &n->policy, now);
}

/* As the store does, an object that is replaced by one of another size keeps its place. */
static void hit(struct miniature *m, struct cache_policy_node *n, uint64_t bytes, msec_t now)
{
    if (cache_policy_touch(&m->policy, n, now))
        cache_policy_promote(&m->policy, n);
    if (n->bytes == bytes)
        return;
    if (bytes <= m->capacity) {
        cache_policy_resize(&m->policy, n, bytes);
        make_room(m, 0);
    } else {
        cache_policy_remove(&m->policy, n);
        take_out(m, n->hash);
    }
}

bool miniature_access(struct miniature *m, uint64_t hash, uint64_t bytes, msec_t now)
{
    uint32_t index = *place_of(m, hash);
    if (index != NO_NODE)
        hit(m, &m->nodes[index].policy, bytes, now);
    else if (bytes <= m->capacity)
        put_in(m, hash, bytes, now);
    return index != NO_NODE;
}
