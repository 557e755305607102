/* Purges are numbers; this gives the memory back of what they concern, a little at a time. */
#include <time.h>

#include "cache/shard.h"

enum {
    BUCKETS_LOCKED = 128, /* under one lock */
    BUCKETS_SWEPT = 4096  /* by one call */
};

int cache_store_purge(struct cache_store *s, enum cache_purge_kind kind, struct slice text, bool soft)
{
    cache_count(&s->counts.purges, 1);
    return cache_purge(&s->purges, kind, text, soft);
}

/* An entry that goes may be freed by the caller alone, so the next one is known before. */
static uint64_t sweep_bucket(struct cache_store *s, struct cache_shard *shard, uint32_t bucket,
                             struct cache_garbage *g)
{
    uint64_t purged = 0;
    for (struct cache_entry *e = shard->buckets[bucket], *next; e; e = next) {
        next = e->next;
        for (struct cache_object *o = e->variants, *after; o; o = after) {
            after = o->next;
            if (cache_is_purged(&s->purges, o)) {
                cache_shard_remove(shard, o, g);
                purged++;
            }
        }
        cache_shard_tidy(shard, e, g);
    }
    return purged;
}

/* Under the read lock, which holds nobody up. */
static bool has_purged(struct cache_store *s, const struct cache_shard *shard, uint32_t bucket)
{
    for (struct cache_entry *e = shard->buckets[bucket]; e; e = e->next)
        for (struct cache_object *o = e->variants; o; o = o->next)
            if (cache_is_purged(&s->purges, o))
                return true;
    return false;
}

/* From sweep.bucket on, as far as the next bucket with something that goes, or *left buckets; whether the
 * shard is through. */
static bool look_on(struct cache_store *s, struct cache_shard *shard, unsigned *left)
{
    pthread_rwlock_rdlock(&shard->lock);
    for (; *left > 0 && s->sweep.bucket < shard->bucket_count; (*left)--, s->sweep.bucket++)
        if (has_purged(s, shard, s->sweep.bucket))
            break;
    bool is_through = s->sweep.bucket >= shard->bucket_count;
    pthread_rwlock_unlock(&shard->lock);
    return is_through;
}

static bool remove_on(struct cache_store *s, struct cache_shard *shard, unsigned left)
{
    struct cache_garbage g = {0};
    uint64_t purged = 0;
    pthread_rwlock_wrlock(&shard->lock);
    for (; left > 0 && s->sweep.bucket < shard->bucket_count; left--)
        purged += sweep_bucket(s, shard, s->sweep.bucket++, &g);
    bool is_through = s->sweep.bucket >= shard->bucket_count;
    pthread_rwlock_unlock(&shard->lock);
    cache_garbage_free(s, &g);
    cache_count(&s->counts.purged, purged);
    return is_through;
}

/* Whether the shard is through. A table that grows meanwhile spreads a bucket over itself and one at the end,
 * so nothing is missed. */
static bool sweep_part(struct cache_store *s, struct cache_shard *shard)
{
    unsigned left = BUCKETS_LOCKED;
    return look_on(s, shard, &left) || (left > 0 && remove_on(s, shard, left));
}

static void expire_marks(struct cache_store *s)
{
    int64_t now = (int64_t)time(NULL);
    for (uint32_t i = 0; i < s->shard_count; i++) {
        struct cache_garbage g = {0};
        pthread_rwlock_wrlock(&s->shards[i].lock);
        cache_shard_expire(&s->shards[i], now, &g);
        pthread_rwlock_unlock(&s->shards[i].lock);
        cache_garbage_free(s, &g);
    }
}

bool cache_sweep(struct cache_store *s)
{
    if (!s->sweep.target) {
        expire_marks(s);
        if (atomic_load_explicit(&s->purges.hard, memory_order_acquire) <= s->sweep.purges)
            return false;
        s->sweep.target = cache_purge_now(&s->purges);
    }
    for (unsigned parts = BUCKETS_SWEPT / BUCKETS_LOCKED; parts > 0; parts--) {
        if (!sweep_part(s, &s->shards[s->sweep.shard]))
            continue;
        s->sweep.bucket = 0;
        if (++s->sweep.shard < s->shard_count)
            continue;
        s->sweep.shard = 0;
        s->sweep.purges = s->sweep.target;
        s->sweep.target = 0;
        return atomic_load_explicit(&s->purges.hard, memory_order_acquire) > s->sweep.purges;
    }
    return true;
}
