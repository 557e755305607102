#include "cache/store.h"

#include <stdlib.h>
#include <string.h>

#include "cache/pages.h"
#include "cache/piece.h"
#include "cache/shard.h"

enum { SHARD_BYTES = 8 << 20 };
enum { SHADOW_SHARE = 100, SHADOW_LEAST = 32 << 10, SHADOW_MOST = 5 << 20 }; /* cache_shadow_bytes() */

static uint64_t fixed_bytes(uint32_t shards, uint64_t memory)
{
    return sizeof(struct cache_store) + cache_purges_heap(memory) +
           shards * (sizeof(struct cache_shard) + CACHE_DOORKEEPER_BYTES);
}

static uint64_t shadow_bytes(uint64_t memory)
{
    uint64_t bytes = memory / SHADOW_SHARE;
    return bytes < SHADOW_LEAST ? SHADOW_LEAST : bytes > SHADOW_MOST ? SHADOW_MOST : bytes;
}

static int add_shadow(struct cache_store *s)
{
    if (!cache_budget_try(&s->budget, shadow_bytes(s->budget.limit)))
        return -1;
    s->shadow_bytes = shadow_bytes(s->budget.limit);
    s->shadow = cache_shadow_create(s->ops, s->budget.limit);
    return s->shadow ? 0 : -1;
}

/* One that there is no memory for stays as it was. */
static void configure_shadow(struct cache_store *s, const struct cache_settings *settings)
{
    uint64_t bytes = shadow_bytes(settings->memory);
    if (bytes > s->shadow_bytes && !cache_budget_take(&s->budget, bytes - s->shadow_bytes))
        return;
    cache_shadow_configure(s->shadow, cache_policies[settings->policy], settings->memory);
    if (bytes < s->shadow_bytes)
        cache_budget_give(&s->budget, s->shadow_bytes - bytes);
    s->shadow_bytes = bytes;
}

/* A larger memory gets more locks. They stay as many when the memory changes. */
static uint32_t shards_for(uint64_t memory)
{
    uint32_t count = 1;
    while (count < CACHE_SHARDS_MAX && count * (uint64_t)SHARD_BYTES < memory)
        count *= 2;
    return count;
}

static int add_shards(struct cache_store *s, uint32_t count)
{
    s->shards = aligned_alloc(_Alignof(struct cache_shard), count * sizeof *s->shards);
    if (!s->shards)
        return -1;
    memset(s->shards, 0, count * sizeof *s->shards);
    size_t table = CACHE_BUCKETS_LEAST * sizeof *s->shards->buckets;
    for (; s->shard_count < count; s->shard_count++) {
        struct cache_shard *shard = &s->shards[s->shard_count];
        shard->buckets = cache_piece_take(&s->budget, table);
        if (!shard->buckets)
            return -1;
        memset(shard->buckets, 0, table);
        shard->bucket_count = shard->bucket_room = CACHE_BUCKETS_LEAST;
        cache_shard_init(shard, s->ops);
    }
    return 0;
}

/* Without them all is on the heap. */
static void add_pages(struct cache_store *s)
{
    uint64_t bytes = cache_pages_overhead(s->budget.limit);
    if (!cache_budget_try(&s->budget, bytes))
        return;
    s->budget.pages = cache_pages_create(s->budget.limit);
    if (s->budget.pages)
        s->pages_bytes = bytes;
    else
        cache_budget_give(&s->budget, bytes);
}

/* For a larger memory; those that there are stay when it becomes smaller. */
static void configure_pages(struct cache_store *s, uint64_t memory)
{
    uint64_t bytes = cache_pages_overhead(memory);
    if (!s->budget.pages || bytes <= s->pages_bytes || !cache_budget_take(&s->budget, bytes - s->pages_bytes))
        return;
    if (cache_pages_grow(s->budget.pages, memory) == 0)
        s->pages_bytes = bytes;
    else
        cache_budget_give(&s->budget, bytes - s->pages_bytes);
}

struct cache_store *cache_store_create(const struct cache_settings *settings)
{
    struct cache_store *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    uint32_t count = shards_for(settings->memory);
    atomic_init(&s->budget.limit, settings->memory);
    atomic_init(&s->max_object, settings->max_object);
    atomic_init(&s->ops, cache_policies[settings->policy]);
    uint64_t fixed = fixed_bytes(count, settings->memory);
    if (cache_purges_init(&s->purges, settings->memory) != 0 || !cache_budget_try(&s->budget, fixed))
        goto fail;
    s->fixed = fixed;
    if (add_shadow(s) != 0 || add_shards(s, count) != 0)
        goto fail;
    add_pages(s);
    s->budget.argument = s;
    s->budget.reclaim = cache_evict;
    return s;

fail:
    cache_store_free(s);
    return NULL;
}

void cache_store_free(struct cache_store *s)
{
    if (!s)
        return;
    for (uint32_t i = 0; i < s->shard_count; i++)
        cache_shard_free(s, &s->shards[i]);
    free(s->shards);
    cache_purges_free(&s->purges);
    cache_shadow_free(s->shadow);
    if (s->budget.pages)
        cache_budget_give(&s->budget, cache_pages_drain(s->budget.pages, UINT64_MAX));
    cache_pages_free(s->budget.pages);
    cache_budget_give(&s->budget, s->fixed + s->shadow_bytes + s->pages_bytes);
    ASSERT(atomic_load(&s->budget.used) == 0);
    free(s);
}

/* By and by, as less memory for objects takes less memory for the index as well. */
static void fit(struct cache_store *s)
{
    bool evicted;
    if (s->budget.pages)
        cache_budget_give(&s->budget, cache_pages_drain(s->budget.pages, UINT64_MAX));
    do {
        uint64_t used = atomic_load(&s->budget.used), limit = atomic_load(&s->budget.limit);
        uint64_t missing = used > limit ? used - limit : 0;
        evicted = missing && cache_evict(s, missing < used / 8 ? missing : used / 8);
        for (uint32_t i = 0; i < s->shard_count; i++)
            cache_shard_shrink(s, &s->shards[i]);
    } while (evicted);
}

void cache_store_configure(struct cache_store *s, const struct cache_settings *settings)
{
    const struct cache_policy_ops *ops = cache_policies[settings->policy];
    atomic_store(&s->max_object, settings->max_object);
    atomic_store(&s->budget.limit, settings->memory);
    if (ops != atomic_load(&s->ops)) {
        atomic_store(&s->ops, ops);
        for (uint32_t i = 0; i < s->shard_count; i++) {
            pthread_rwlock_wrlock(&s->shards[i].lock);
            cache_policy_change(&s->shards[i].policy, ops);
            pthread_rwlock_unlock(&s->shards[i].lock);
        }
    }
    configure_shadow(s, settings);
    configure_pages(s, settings->memory);
    fit(s);
}

struct cache_budget *cache_store_budget(struct cache_store *s)
{
    return &s->budget;
}

struct cache_purges *cache_store_purges(struct cache_store *s)
{
    return &s->purges;
}

struct cache_shadow *cache_store_shadow(struct cache_store *s)
{
    return s->shadow;
}

uint64_t cache_store_max_object(const struct cache_store *s)
{
    return atomic_load_explicit(&s->max_object, memory_order_relaxed);
}

/* A key that has an object already was asked for before, however long ago. */
static bool was_asked_for(struct cache_store *s, const struct cache_key *key)
{
    struct cache_shard *shard = cache_shard_of(s, key->hash);
    pthread_rwlock_wrlock(&shard->lock);
    struct cache_entry *e = cache_shard_find(shard, key);
    bool was = doorkeeper_seen(&shard->doorkeeper, key->hash) || (e && e->variants);
    pthread_rwlock_unlock(&shard->lock);
    return was;
}

bool cache_admits(struct cache_store *s, const struct cache_key *key, uint64_t bytes)
{
    uint64_t max = cache_store_max_object(s);
    if (bytes > max || bytes > atomic_load_explicit(&s->budget.limit, memory_order_relaxed)) {
        cache_count(&s->counts.rejected_size, 1);
        return false;
    }
    if (bytes > max / 8 && !was_asked_for(s, key)) {
        cache_count(&s->counts.rejected_first, 1);
        return false;
    }
    return true;
}

void cache_drop(struct cache_store *s, struct cache_object *o)
{
    struct cache_shard *shard = cache_shard_of(s, o->policy.hash);
    struct cache_garbage g = {0};
    pthread_rwlock_wrlock(&shard->lock);
    struct cache_entry *e = o->entry;
    if (e) {
        cache_shard_remove(shard, o, &g);
        cache_shard_tidy(shard, e, &g);
    }
    pthread_rwlock_unlock(&shard->lock);
    cache_garbage_free(s, &g);
}

void cache_store_stats(const struct cache_store *s, struct cache_stats *out)
{
    *out = (struct cache_stats){
        .memory = atomic_load(&s->budget.limit),
        .bytes = atomic_load(&s->budget.used),
        .evictions = atomic_load(&s->counts.evictions),
        .purges = atomic_load(&s->counts.purges),
        .purged = atomic_load(&s->counts.purged),
        .insertions = atomic_load(&s->counts.insertions),
        .rejected_size = atomic_load(&s->counts.rejected_size),
        .rejected_first = atomic_load(&s->counts.rejected_first),
        .rejected_memory = atomic_load(&s->counts.rejected_memory),
        .fills = atomic_load(&s->counts.fills),
        .policy = atomic_load(&s->ops)->name,
    };
    for (uint32_t i = 0; i < s->shard_count; i++) {
        struct cache_shard *shard = &s->shards[i];
        pthread_rwlock_rdlock(&shard->lock);
        out->objects += shard->object_count;
        out->entries += shard->entry_count;
        pthread_rwlock_unlock(&shard->lock);
    }
}
