/* Inside the store: a shard - a table of entries, the eviction policy of their objects - and the store's own
 * struct. For the store's files alone.
 *
 * Locks: no thread holds two shards' locks at once; the purges' lock may be taken inside one. Nothing is
 * evicted for or freed under a shard's lock: what goes is gathered as garbage and freed after; what is needed
 * is allocated before (but for what a policy and a doorkeeper remember, which is small and reserved before).
 */
#pragma once

#include <time.h>

#include "cache/doorkeeper.h"
#include "cache/shadow.h"
#include "cache/store.h"

struct cache_entry {
    struct list pass; /* in the shard's passes, while it is marked */
    uint32_t variant_count;
    uint32_t key_len;
    int64_t pass_until;            /* seconds since the epoch; 0 = not marked */
    struct cache_fill *fills;      /* newest first; not held */
    struct cache_object *variants; /* newest first; the index holds each */
    struct cache_entry *next;      /* in its bucket; among garbage */
    uint64_t hash;
    char key[];
};

struct cache_shard {
    pthread_rwlock_t lock;
    struct cache_entry **buckets; /* a piece (piece.h) */
    uint32_t bucket_count;        /* in use */
    uint32_t bucket_room;         /* in the piece */
    uint32_t entry_count, object_count, pass_count;
    uint64_t pass_bytes; /* of the entries that are marked */
    struct list passes;  /* the oldest first */
    struct cache_policy policy;
    struct doorkeeper doorkeeper;
    uint64_t policy_nodes;  /* what the policy remembers of so many is in the budget */
    _Atomic uint64_t bytes; /* of its objects: others compare without the lock */
} __attribute__((aligned(64)));

enum {
    CACHE_SHARDS_MAX = 64,
    CACHE_BUCKETS_LEAST = 64,
    CACHE_DOORKEEPER_KEYS = 128, /* of a shard */
    CACHE_DOORKEEPER_BYTES = CACHE_DOORKEEPER_KEYS * 22 + 512,
    CACHE_POLICY_NODE_BYTES =
        32,                /* of what the policy remembers, for a node, its table made anew meanwhile */
    CACHE_PASS_SHARE = 16, /* one part in so many of the memory: entries that are marked, at most */
};

struct cache_store {
    struct cache_budget budget;
    uint64_t fixed; /* reserved for what is there from the beginning on */
    _Atomic uint64_t max_object;
    _Atomic(const struct cache_policy_ops *) ops; /* of every shard's policy; changed under their locks */
    _Atomic uint32_t eviction;                    /* counts victims: whose turn it is */
    uint32_t shard_count;                         /* a power of two */
    struct {
        uint64_t purges; /* sequence up to which everything was swept, as far as hard purges go */
        uint64_t target; /* likewise, when this round is through; 0 = none is under way */
        uint32_t shard, bucket;
    } sweep; /* the control thread's */
    struct {
        _Atomic uint64_t evictions, purges, purged, insertions;
        _Atomic uint64_t rejected_size, rejected_first, rejected_memory;
        _Atomic uint64_t fills;
    } counts;
    struct cache_purges purges;
    struct cache_shadow *shadow;
    uint64_t shadow_bytes; /* reserved for it */
    uint64_t pages_bytes;  /* likewise for the budget's pages */
    struct cache_shard *shards;
};

static inline void cache_count(_Atomic uint64_t *number, uint64_t n)
{
    atomic_fetch_add_explicit(number, n, memory_order_relaxed);
}

/* CLOCK_MONOTONIC, as workers' loops have it. */
static inline msec_t cache_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (msec_t)t.tv_sec * 1000 + (msec_t)t.tv_nsec / 1000000;
}

/* A request for what is, or is now, in the index. No lock is needed. */
static inline void cache_shadow_count(struct cache_store *s, const struct cache_object *o, unsigned worker,
                                      msec_t now)
{
    uint64_t bytes = o->memory + atomic_load_explicit(&o->length, memory_order_relaxed);
    cache_shadow_access(s->shadow, worker, o->policy.hash, bytes, now);
}

/* What is to be freed once the lock is gone; {0} = nothing. */
struct cache_garbage {
    struct cache_object *objects; /* by next */
    struct cache_entry *entries;  /* by next */
    void *table;
};
void cache_garbage_free(struct cache_store *s, struct cache_garbage *g);

void cache_shard_init(struct cache_shard *shard, const struct cache_policy_ops *ops);
/* Everything in it goes. No fetch is under way. */
void cache_shard_free(struct cache_store *s, struct cache_shard *shard);

/* Gives back what an index of fewer entries does not need. Takes the write lock. */
void cache_shard_shrink(struct cache_store *s, struct cache_shard *shard);

/* The upper bits choose the shard, the lower ones the bucket. */
static inline struct cache_shard *cache_shard_of(const struct cache_store *s, uint64_t hash)
{
    return &s->shards[(hash >> 58) & (s->shard_count - 1)];
}

/* The rest is under the shard's write lock, but for the first, which wants the read lock. */

struct cache_entry *cache_shard_find(const struct cache_shard *shard, const struct cache_key *key);
void cache_shard_add(struct cache_shard *shard, struct cache_entry *e);
/* An entry that holds nothing any more goes. */
void cache_shard_tidy(struct cache_shard *shard, struct cache_entry *e, struct cache_garbage *g);

/* There should be room for so many buckets, for one entry more; 0 = for those that there is. */
uint32_t cache_shard_wants(const struct cache_shard *shard);
/* `buckets` is a piece with that room, more than before; its owner is the shard now. Entries move into it by
 * and by: a few with each that is added. */
void cache_shard_widen(struct cache_shard *shard, struct cache_entry **buckets, uint32_t room,
                       struct cache_garbage *g);

/* For policies each variant is one of its own; the bits that choose the shard are the key's. */
uint64_t cache_object_hash(const struct cache_object *o, uint64_t key_hash);

/* Whether the entry has the same variant already, and from the origin later: a slow fetch ends after one that
 * began after it. */
bool cache_shard_has_newer(struct cache_store *s, struct cache_entry *e, const struct cache_object *o,
                           int64_t now);

/* As the entry's newest variant, in the place of those that it replaces: the one with the same Vary, and
 * `base` (NULL = none). */
void cache_shard_insert(struct cache_store *s, struct cache_shard *shard, struct cache_entry *e,
                        struct cache_object *o, struct cache_object *base, struct cache_garbage *g);
/* Out of the index; the entry stays, until cache_shard_tidy(). */
void cache_shard_remove(struct cache_shard *shard, struct cache_object *o, struct cache_garbage *g);

/* Not worth waiting for until then; the oldest marks go when they are too many for the memory. */
void cache_shard_mark(struct cache_store *s, struct cache_shard *shard, struct cache_entry *e, int64_t until,
                      struct cache_garbage *g);
/* Whether it is so now: neither over, nor made before the clock was set back. */
static inline bool cache_shard_passes(const struct cache_entry *e, int64_t now)
{
    return e->pass_until > now && e->pass_until - now <= CACHE_PASS_SECONDS + CACHE_CLOCKS_DIFFER_SECONDS;
}
void cache_shard_unmark(struct cache_shard *shard, struct cache_entry *e);
/* The oldest marks that have expired by now; also their entries, if nothing else is in them. */
void cache_shard_expire(struct cache_shard *shard, int64_t now, struct cache_garbage *g);

/* evict.c, without any lock. */

/* For struct cache_budget. */
bool cache_evict(void *store, uint64_t bytes);
/* Memory for what the policy will remember of one object more; false when there is none. */
bool cache_reserve_policy(struct cache_store *s, struct cache_shard *shard);
