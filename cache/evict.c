/* Room for what is to come: whose object goes. */
#include "cache/shard.h"

enum {
    VICTIMS_MAX = 16,  /* under one lock */
    POLICY_STEP = 128, /* nodes */
    POLICY_SLACK = 64, /* threads that insert at the same moment, at most */
    POLICY_BYTES_LEAST = 512
};

static uint64_t evict_objects(struct cache_store *s, struct cache_shard *shard, uint64_t bytes)
{
    struct cache_garbage g = {0};
    uint64_t freed = 0;
    unsigned count = 0;
    pthread_rwlock_wrlock(&shard->lock);
    for (; freed < bytes && count < VICTIMS_MAX; count++) {
        struct cache_policy_node *n = cache_policy_victim(&shard->policy);
        if (!n)
            break;
        struct cache_object *o = CONTAINER_OF(n, struct cache_object, policy);
        struct cache_entry *e = o->entry;
        freed += n->bytes;
        cache_shard_remove(shard, o, &g);
        cache_shard_tidy(shard, e, &g);
    }
    pthread_rwlock_unlock(&shard->lock);
    cache_garbage_free(s, &g);
    cache_count(&s->counts.evictions, count);
    return freed;
}

/* What is left when all objects are gone. */
static bool evict_marks(struct cache_store *s)
{
    struct cache_garbage g = {0};
    struct cache_shard *shard = s->shards;
    ASSERT(shard);
    for (uint32_t i = 0; i < s->shard_count && !g.entries; i++, shard++) {
        pthread_rwlock_wrlock(&shard->lock);
        cache_shard_expire(shard, INT64_MAX, &g);
        pthread_rwlock_unlock(&shard->lock);
    }
    bool any = g.entries;
    cache_garbage_free(s, &g);
    return any;
}

static uint64_t bytes_in(struct cache_store *s, uint32_t shard)
{
    return atomic_load_explicit(&s->shards[shard & (s->shard_count - 1)].bytes, memory_order_relaxed);
}

/* Of two that take turns the fuller one: all stay about equally full, as one queue of everything would have
 * them. When both are empty the next one that is not; NULL = all are. */
static struct cache_shard *next_shard(struct cache_store *s)
{
    uint32_t turn = atomic_fetch_add_explicit(&s->eviction, 1, memory_order_relaxed);
    uint32_t other = turn * UINT32_C(0x9e3779b1) >> 16;
    if (bytes_in(s, other) > bytes_in(s, turn))
        turn = other;
    for (uint32_t i = 0; i < s->shard_count; i++)
        if (bytes_in(s, turn + i))
            return &s->shards[(turn + i) & (s->shard_count - 1)];
    return NULL;
}

/* An object that is being sent goes from the index, and its bytes come back when it was sent: so one call
 * evicts as many bytes as are wanted, and leaves it to the caller to look whether they came. */
bool cache_evict(void *store, uint64_t bytes)
{
    struct cache_store *s = store;
    uint64_t freed = 0;
    while (freed < bytes) {
        struct cache_shard *shard = next_shard(s);
        if (!shard)
            return evict_marks(s) || freed > 0;
        freed += evict_objects(s, shard, s->shard_count == 1 ? bytes - freed : 1);
    }
    return true;
}

bool cache_reserve_policy(struct cache_store *s, struct cache_shard *shard)
{
    pthread_rwlock_rdlock(&shard->lock);
    bool enough = cache_policy_count(&shard->policy) + POLICY_SLACK < shard->policy_nodes;
    pthread_rwlock_unlock(&shard->lock);
    if (enough)
        return true;
    if (!cache_budget_take(&s->budget, (uint64_t)POLICY_STEP * CACHE_POLICY_NODE_BYTES))
        return false;
    pthread_rwlock_wrlock(&shard->lock);
    shard->policy_nodes += POLICY_STEP;
    pthread_rwlock_unlock(&shard->lock);
    return true;
}
