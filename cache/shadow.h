/* What another eviction policy, or more memory, would bring: three miniature caches without contents
 * (miniature.h) that see a sample of the keys, each with the same share of the memory as it has of the keys:
 *
 *   as it is      the policy in use at the memory in use: what the others are compared with, like for like
 *   other policy  at the memory in use
 *   double        the policy in use at twice the memory
 *
 * (Waldspurger et al., "Cache modeling and optimization using miniature simulations", USENIX ATC 2017.) They
 * know nothing of freshness and purges: the hit ratios are those of a cache whose objects never go stale, and
 * so above the true one; what counts is the differences.
 *
 * Which keys: 1 % of them, by bits of the hash that shards and index do not depend on; more of them (to one
 * eighth) where 1 % of a small cache would be less than CACHE_SHADOW_NODES objects, fewer where it would be
 * more than there are nodes. Which of the most popular keys are in the sample is chance; so that it moves the
 * result little, ratios are of all requests, which each worker counts: a popular key is a hit in all three.
 *
 * A request of a key that is not in the sample costs one addition to a number of the worker's own and one
 * comparison. For the others there is one lock; who does not get it at once goes on, and the sample is one
 * request smaller. */
#pragma once

#include <stdatomic.h>

#include "cache/policy.h"
#include "core/counter.h"

enum {
    CACHE_SHADOW_NODES = 2048,   /* so many objects are aimed at, in the first two */
    CACHE_SHADOW_WORKERS = 64,   /* with more of them some requests are not counted */
    CACHE_SHADOW_ADVICE_MAX = 96 /* bytes of the text, with its NUL */
};

struct cache_shadow_worker {
    _Alignas(64) counter requests;
};

struct cache_shadow_state;

struct cache_shadow {
    _Atomic uint32_t threshold; /* of 2^32: a key is in the sample when its bits are below */
    struct cache_shadow_state *state;
    struct cache_shadow_worker workers[CACHE_SHADOW_WORKERS];
};

/* For a cache of so many bytes. NULL when out of memory. */
struct cache_shadow *cache_shadow_create(const struct cache_policy_ops *policy, uint64_t memory);
/* When no thread uses it any more; NULL is allowed. */
void cache_shadow_free(struct cache_shadow *s);

/* After a reload: begins anew when one of them is another one than before. Without memory it is off until the
 * next call. Any thread. */
void cache_shadow_configure(struct cache_shadow *s, const struct cache_policy_ops *policy, uint64_t memory);

static inline uint32_t cache_shadow_bits(uint64_t hash)
{
    return (uint32_t)(hash * UINT64_C(0x9e3779b97f4a7c15) >> 32);
}

void cache_shadow_sample(struct cache_shadow *s, uint64_t hash, uint64_t bytes, msec_t now);

/* Once for each request that the cache may answer, hit or not, when the object's size is known: `bytes` as
 * the budget counts them. `worker` is the number of the calling thread, from 0. */
static inline void cache_shadow_access(struct cache_shadow *s, unsigned worker, uint64_t hash, uint64_t bytes,
                                       msec_t now)
{
    counter_add(&s->workers[worker % CACHE_SHADOW_WORKERS].requests, 1);
    if (UNLIKELY(cache_shadow_bits(hash) < atomic_load_explicit(&s->threshold, memory_order_relaxed)))
        cache_shadow_sample(s, hash, bytes, now);
}

enum cache_shadow_standing {
    CACHE_SHADOW_LEARNING, /* too few requests so far */
    CACHE_SHADOW_SMALL,    /* the cache has too few objects for a sample to say anything */
    CACHE_SHADOW_FITS,     /* nothing was ever evicted: neither policy nor memory matter */
    CACHE_SHADOW_READY,
};

/* Of a span of time. Ratios from 0 to 1, differences in points (hundredths of all requests). */
struct cache_shadow_figures {
    uint64_t sampled; /* requests of the sample; 0 = nothing else here counts */
    double requests;  /* all of them */
    double hit_ratio, other_hit_ratio, double_hit_ratio;
    double other_points, double_points; /* gained, or lost when below 0 */
};

struct cache_shadow_report {
    enum cache_shadow_standing standing; /* of the last hour */
    const char *policy, *other_policy;
    uint64_t memory;
    double sample;  /* the share of the keys that is in it */
    uint64_t nodes; /* in the first miniature */
    struct cache_shadow_figures hour,
        total; /* the last hour; since the start, or since policy or memory changed */
};

/* Any thread; waits for the lock. */
void cache_shadow_report(struct cache_shadow *s, msec_t now, struct cache_shadow_report *out);

/* As words, of the last hour: "with s3fifo: +4.1 points; with 512 MiB: +2.0 points". Nothing when it is not
 * READY. `text` has CACHE_SHADOW_ADVICE_MAX bytes; the length is returned. */
size_t cache_shadow_advice(const struct cache_shadow_report *r, char *text);

/* "learning", "small", "fits", "ready". */
const char *cache_shadow_standing_name(enum cache_shadow_standing standing);

/* Allocated, for the budget: at most 1 % of the memory and 5 MiB, but 32 KiB at least. */
size_t cache_shadow_bytes(struct cache_shadow *s);
