#include "cache/shard.h"

#include <stdlib.h>
#include <string.h>

#include "cache/piece.h"

void cache_garbage_free(struct cache_store *s, struct cache_garbage *g)
{
    while (g->objects) {
        struct cache_object *o = g->objects;
        g->objects = o->next;
        cache_object_release(o);
    }
    while (g->entries) {
        struct cache_entry *e = g->entries;
        g->entries = e->next;
        cache_piece_give(&s->budget, e);
    }
    cache_piece_give(&s->budget, g->table);
    g->table = NULL;
}

/* Writers go first: readers come all the time, and each is done at once. */
void cache_shard_init(struct cache_shard *shard, const struct cache_policy_ops *ops)
{
    pthread_rwlockattr_t kind;
    pthread_rwlockattr_init(&kind);
    pthread_rwlockattr_setkind_np(&kind, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&shard->lock, &kind);
    pthread_rwlockattr_destroy(&kind);
    list_init(&shard->passes);
    cache_policy_init(&shard->policy, ops);
    doorkeeper_init(&shard->doorkeeper, CACHE_DOORKEEPER_KEYS);
}

void cache_shard_free(struct cache_store *s, struct cache_shard *shard)
{
    struct cache_garbage g = {0};
    for (uint32_t i = 0; i < shard->bucket_count; i++)
        while (shard->buckets[i]) {
            struct cache_entry *e = shard->buckets[i];
            ASSERT(!e->fills);
            while (e->variants)
                cache_shard_remove(shard, e->variants, &g);
            cache_shard_unmark(shard, e);
            cache_shard_tidy(shard, e, &g);
        }
    g.table = shard->buckets;
    shard->buckets = NULL;
    shard->bucket_count = 0;
    cache_garbage_free(s, &g);
    cache_policy_clear(&shard->policy);
    cache_budget_give(&s->budget, shard->policy_nodes * CACHE_POLICY_NODE_BYTES);
    shard->policy_nodes = 0;
    doorkeeper_clear(&shard->doorkeeper);
    pthread_rwlock_destroy(&shard->lock);
}

/* The table is a linear hash (Litwin, 1980): it grows by one bucket at a time, which the one that is as far
 * from the beginning as it is from a power of two gives half of its entries. So no thread holds the lock
 * while a whole table is gone through. */

/* Of the buckets before `bucket` so many are the whole table that it adds to. */
static uint32_t level_of(uint32_t bucket)
{
    return UINT32_C(1) << (31 - __builtin_clz(bucket));
}

static struct cache_entry **bucket_of(const struct cache_shard *shard, uint64_t hash)
{
    uint32_t level = level_of(shard->bucket_count);
    uint32_t bucket = (uint32_t)hash & (level * 2 - 1);
    return &shard->buckets[bucket < shard->bucket_count ? bucket : bucket - level];
}

static void split_bucket(struct cache_shard *shard)
{
    uint32_t added = shard->bucket_count++;
    struct cache_entry **from = &shard->buckets[added - level_of(added)], **to = &shard->buckets[added];
    *to = NULL;
    while (*from) {
        struct cache_entry *e = *from;
        if (bucket_of(shard, e->hash) != &shard->buckets[added]) {
            from = &e->next;
            continue;
        }
        *from = e->next;
        e->next = NULL;
        *to = e;
        to = &e->next;
    }
}

static void join_bucket(struct cache_shard *shard)
{
    uint32_t last = --shard->bucket_count;
    struct cache_entry **end = &shard->buckets[last - level_of(last)];
    while (*end)
        end = &(*end)->next;
    *end = shard->buckets[last];
}

/* In place: there may be no memory for another one. */
static uint64_t shrink_table(struct cache_shard *shard)
{
    while (shard->bucket_count > CACHE_BUCKETS_LEAST && shard->bucket_count / 4 >= shard->entry_count)
        join_bucket(shard);
    if (shard->bucket_count == shard->bucket_room)
        return 0;
    uint64_t bytes = cache_memory_size(shard->buckets);
    void *smaller = realloc(shard->buckets, shard->bucket_count * sizeof *shard->buckets);
    if (!smaller)
        return 0;
    shard->buckets = smaller;
    shard->bucket_room = shard->bucket_count;
    return bytes - cache_memory_size(smaller);
}

void cache_shard_shrink(struct cache_store *s, struct cache_shard *shard)
{
    s->sweep.bucket = 0; /* what was swept may be joined to what was not, and the other way round */
    pthread_rwlock_wrlock(&shard->lock);
    uint64_t bytes = shrink_table(shard);
    uint64_t nodes = cache_policy_count(&shard->policy) * 2;
    uint64_t remembers = cache_policy_overhead(&shard->policy) / CACHE_POLICY_NODE_BYTES + 1;
    if (nodes < remembers)
        nodes = remembers;
    if (shard->policy_nodes > nodes) {
        bytes += (shard->policy_nodes - nodes) * CACHE_POLICY_NODE_BYTES;
        shard->policy_nodes = nodes;
    }
    pthread_rwlock_unlock(&shard->lock);
    cache_budget_give(&s->budget, bytes);
}

struct cache_entry *cache_shard_find(const struct cache_shard *shard, const struct cache_key *key)
{
    struct cache_entry *e = *bucket_of(shard, key->hash);
    while (e && (e->hash != key->hash || !slice_equal(slice_of(e->key, e->key_len), key->text)))
        e = e->next;
    return e;
}

void cache_shard_add(struct cache_shard *shard, struct cache_entry *e)
{
    struct cache_entry **bucket = bucket_of(shard, e->hash);
    e->next = *bucket;
    *bucket = e;
    shard->entry_count++;
    for (int i = 0; i < 2 && shard->bucket_count < shard->bucket_room; i++)
        split_bucket(shard);
}

void cache_shard_tidy(struct cache_shard *shard, struct cache_entry *e, struct cache_garbage *g)
{
    if (e->variants || e->fills || e->pass_until)
        return;
    struct cache_entry **at = bucket_of(shard, e->hash);
    while (*at != e)
        at = &(*at)->next;
    *at = e->next;
    shard->entry_count--;
    e->next = g->entries;
    g->entries = e;
}

uint32_t cache_shard_wants(const struct cache_shard *shard)
{
    return shard->entry_count >= shard->bucket_room && shard->bucket_room < UINT32_C(1) << 30
               ? shard->bucket_room * 2
               : 0;
}

void cache_shard_widen(struct cache_shard *shard, struct cache_entry **buckets, uint32_t room,
                       struct cache_garbage *g)
{
    memcpy(buckets, shard->buckets, shard->bucket_count * sizeof *buckets);
    g->table = shard->buckets;
    shard->buckets = buckets;
    shard->bucket_room = room;
}

/* Variants. */

static void show_bytes(struct cache_shard *shard)
{
    atomic_store_explicit(&shard->bytes, cache_policy_bytes(&shard->policy), memory_order_relaxed);
}

uint64_t cache_object_hash(const struct cache_object *o, uint64_t key_hash)
{
    return o->vary_text.len ? key_hash ^ hash_keyed(o->vary_text) >> 6 : key_hash;
}

static bool is_same_variant(const struct cache_object *a, const struct cache_object *b)
{
    return slice_equal(a->vary_names, b->vary_names) && slice_equal(a->vary_text, b->vary_text);
}

bool cache_shard_has_newer(struct cache_store *s, struct cache_entry *e, const struct cache_object *o,
                           int64_t now)
{
    for (struct cache_object *other = e->variants; other; other = other->next)
        if (other->freshness.response_time > o->freshness.response_time &&
            other->freshness.response_time <= now + CACHE_CLOCKS_DIFFER_SECONDS &&
            is_same_variant(other, o) && !cache_is_purged(&s->purges, other))
            return true;
    return false;
}

void cache_shard_insert(struct cache_store *s, struct cache_shard *shard, struct cache_entry *e,
                        struct cache_object *o, struct cache_object *base, struct cache_garbage *g)
{
    o->policy.bytes = o->memory + cache_body_memory(o->body);
    struct cache_object *oldest = NULL;
    for (struct cache_object *old = e->variants, *next; old; old = next) {
        next = old->next;
        if (old != base && !is_same_variant(old, o)) {
            oldest = old;
            continue;
        }
        if (o->policy.queue == CACHE_POLICY_NONE && old->policy.queue != CACHE_POLICY_NONE)
            cache_policy_replace(&shard->policy, &old->policy, &o->policy);
        cache_shard_remove(shard, old, g);
    }
    if (oldest && e->variant_count == CACHE_VARIANTS_MAX)
        cache_shard_remove(shard, oldest, g);
    if (o->policy.queue == CACHE_POLICY_NONE)
        cache_policy_insert(&shard->policy, &o->policy, cache_clock());

    cache_object_hold(o);
    o->entry = e;
    o->next = e->variants;
    e->variants = o;
    e->variant_count++;
    shard->object_count++;
    cache_shard_unmark(shard, e);
    show_bytes(shard);
    cache_count(&s->counts.insertions, 1);
}

void cache_shard_remove(struct cache_shard *shard, struct cache_object *o, struct cache_garbage *g)
{
    struct cache_entry *e = o->entry;
    struct cache_object **at = &e->variants;
    while (*at != o)
        at = &(*at)->next;
    *at = o->next;
    e->variant_count--;
    o->entry = NULL;
    shard->object_count--;
    cache_policy_remove(&shard->policy, &o->policy);
    show_bytes(shard);
    o->next = g->objects;
    g->objects = o;
}

/* Marks. */

static uint64_t bytes_of(struct cache_entry *e)
{
    return cache_memory_size(e);
}

void cache_shard_mark(struct cache_store *s, struct cache_shard *shard, struct cache_entry *e, int64_t until,
                      struct cache_garbage *g)
{
    cache_shard_unmark(shard, e);
    e->pass_until = until;
    list_append(&shard->passes, &e->pass);
    shard->pass_count++;
    shard->pass_bytes += bytes_of(e);

    uint64_t most =
        atomic_load_explicit(&s->budget.limit, memory_order_relaxed) / CACHE_PASS_SHARE / s->shard_count;
    while (shard->pass_bytes > most) {
        struct cache_entry *oldest = CONTAINER_OF(shard->passes.next, struct cache_entry, pass);
        cache_shard_unmark(shard, oldest);
        cache_shard_tidy(shard, oldest, g);
    }
}

void cache_shard_unmark(struct cache_shard *shard, struct cache_entry *e)
{
    if (!e->pass_until)
        return;
    e->pass_until = 0;
    list_remove(&e->pass);
    shard->pass_count--;
    shard->pass_bytes -= bytes_of(e);
}

void cache_shard_expire(struct cache_shard *shard, int64_t now, struct cache_garbage *g)
{
    while (!list_empty(&shard->passes)) {
        struct cache_entry *e = CONTAINER_OF(shard->passes.next, struct cache_entry, pass);
        if (cache_shard_passes(e, now))
            return;
        cache_shard_unmark(shard, e);
        cache_shard_tidy(shard, e, g);
    }
}
