#include "cache/fill.h"

#include <time.h>

#include "cache/chunk.h"
#include "cache/piece.h"
#include "cache/shard.h"

static void say(struct cache_fill *f, enum cache_fill_state state)
{
    atomic_store_explicit(&f->state, (int)state, memory_order_release);
    cache_signal_raise(&f->signal);
}

void cache_fill_publish(struct cache_fill *f, struct cache_object *o)
{
    ASSERT(cache_fill_state(f) == CACHE_FILL_ASKED);
    if (o != f->base) /* nobody else has seen it yet */
        cache_policy_node_init(&o->policy, cache_object_hash(o, f->entry->hash), 0);
    cache_object_hold(o);
    f->object = o;
    say(f, CACHE_FILL_OBJECT);
}

void cache_fill_release(struct cache_fill *f, uint32_t pass_seconds)
{
    ASSERT(cache_fill_state(f) == CACHE_FILL_ASKED);
    if (pass_seconds) {
        struct cache_store *s = f->store;
        struct cache_shard *shard = cache_shard_of(s, f->entry->hash);
        struct cache_garbage g = {0};
        pthread_rwlock_wrlock(&shard->lock);
        cache_shard_mark(s, shard, f->entry, (int64_t)time(NULL) + pass_seconds, &g);
        pthread_rwlock_unlock(&shard->lock);
        cache_garbage_free(s, &g);
    }
    say(f, CACHE_FILL_RELEASED);
}

void cache_fill_fail(struct cache_fill *f, unsigned status, const char *reason)
{
    ASSERT(cache_fill_state(f) == CACHE_FILL_ASKED);
    f->failed_status = (uint16_t)status;
    f->failed_reason = reason;
    say(f, CACHE_FILL_FAILED);
}

/* Whole, no longer than an object may be, and there is memory for its place. A fetch that failed may have
 * published its base, which is in the index, or was there. */
static bool is_storable(struct cache_fill *f)
{
    struct cache_store *s = f->store;
    struct cache_object *o = f->object;
    if (cache_fill_state(f) != CACHE_FILL_OBJECT || f->discard || o == f->base || !body_is_settled(o->body))
        return false;
    if (cache_body_bytes(o->body) > cache_store_max_object(s)) {
        cache_count(&s->counts.rejected_size, 1);
        return false;
    }
    if (!cache_reserve_policy(s, cache_shard_of(s, f->entry->hash))) {
        cache_count(&s->counts.rejected_memory, 1);
        return false;
    }
    return true;
}

/* A new head over a body that was purged is purged with it, whatever it is tagged with itself. */
static bool is_purged(struct cache_fill *f)
{
    struct cache_purges *p = &f->store->purges;
    return cache_is_purged(p, f->object) ||
           (f->base && f->base->body == f->object->body && cache_is_purged(p, f->base));
}

static void leave_entry(struct cache_fill *f)
{
    struct cache_fill **at = &f->entry->fills;
    while (*at != f)
        at = &(*at)->next;
    *at = f->next;
    f->next = NULL;
    f->entry = NULL;
}

void cache_fill_end(struct cache_fill *f)
{
    struct cache_store *s = f->store;
    struct cache_entry *e = f->entry;
    struct cache_shard *shard = cache_shard_of(s, e->hash);
    struct cache_object *o = f->object;
    struct cache_garbage g = {0};
    if (cache_fill_state(f) == CACHE_FILL_ASKED)
        cache_fill_fail(f, 502, "no answer");

    bool is_stored = is_storable(f);
    pthread_rwlock_wrlock(&shard->lock);
    leave_entry(f);
    is_stored = is_stored && !is_purged(f) && !cache_shard_has_newer(s, e, o, (int64_t)time(NULL));
    if (is_stored) {
        atomic_store_explicit(&o->length, cache_body_bytes(o->body), memory_order_relaxed);
        struct cache_object *base = f->base && f->base->entry == e ? f->base : NULL;
        cache_shard_insert(s, shard, e, o, base, &g);
    }
    cache_shard_tidy(shard, e, &g);
    pthread_rwlock_unlock(&shard->lock);

    cache_garbage_free(s, &g);
    if (is_stored && !f->base) /* who had a base was counted when it was found */
        cache_shadow_count(s, o, CACHE_SHADOW_WORKERS - 1, cache_clock());
    atomic_fetch_sub_explicit(&s->counts.fills, 1, memory_order_relaxed);
    cache_fill_let_go(f);
}

void cache_fill_let_go(struct cache_fill *f)
{
    if (!f || atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) != 1)
        return;
    cache_signal_free(&f->signal);
    cache_object_release(f->object);
    cache_object_release(f->base);
    cache_piece_give(&f->store->budget, f);
}
