/* The store: an index from keys to stored responses and to fetches that are under way, in shards with a lock
 * each, within one budget of bytes that counts everything (bodies, heads, keys, index, and what the heap
 * adds).
 *
 * Shared by all workers and the control thread; each call says which lock it takes. No call keeps a lock
 * while foreign code runs. Keys are text, compared in full; where they go is a keyed hash of it
 * (core/hash.h), so that nobody can choose keys that collide.
 *
 * An entry is one key: its variants (RFC 9111 §4.1; at most CACHE_VARIANTS_MAX, the oldest goes), fetches
 * that are under way, and whether it is known not to be cacheable. It lives as long as one of these. */
#pragma once

#include "cache/fill.h"
#include "cache/purge.h"
#include "cache/settings.h"
#include "cache/vary.h"
#include "core/hash.h"

#define CACHE_VARIANTS_MAX 64
#define CACHE_KEY_MAX      8192 /* bytes; a longer key is not looked up */
#define CACHE_PASS_SECONDS 30   /* how long an answer that was not storable is remembered */

struct cache_store;

/* Begins empty and small: memory is taken as objects come. NULL when out of memory, or when the memory is too
 * small for an empty store (1 MiB is not). */
struct cache_store *cache_store_create(const struct cache_settings *s);
/* When no thread uses it any more; NULL is allowed. Objects that are still held outlive it not: there are
 * none, and no fetch is under way. */
void cache_store_free(struct cache_store *s);
/* Another limit, policy or size of objects; keeps what is there, and evicts what is too much. Control thread.
 */
void cache_store_configure(struct cache_store *s, const struct cache_settings *settings);

struct cache_budget *cache_store_budget(struct cache_store *s);
struct cache_purges *cache_store_purges(struct cache_store *s);
/* Of one object's body, in bytes. */
uint64_t cache_store_max_object(const struct cache_store *s);

struct cache_key {
    struct slice text;
    uint64_t hash;
    struct slice url; /* as purges name it; empty = not known: a fetch may be of any */
};
static inline struct cache_key cache_key_of(struct slice text)
{
    return (struct cache_key){.text = text, .hash = hash_keyed(text)};
}

/* What the store knows of a key for one request. */
struct cache_found {
    struct cache_object *object; /* the variant that the request asks for, held; NULL = there is none */
    struct cache_fill *fill;     /* a fetch of it that is under way, held; NULL = none */
    bool pass;                   /* not cacheable, as was seen lately */
    bool has_variants;           /* there are stored responses, but none for this request (fwd=vary-miss) */
};

/* Takes the shard's read lock. `lookup` gives the request's fields, as for cache_vary_text; `a` is for texts.
 * What is purged is not found. Counts no hit. */
void cache_find(struct cache_store *s, const struct cache_key *key, cache_vary_lookup *lookup, void *context,
                struct arena *a, int64_t now, struct cache_found *out);

/* The object was used: for the policy. Never waits: a promotion that finds the shard busy is left to the next
 * use. `worker`: the number of the calling thread. */
void cache_touch(struct cache_store *s, struct cache_object *o, unsigned worker, msec_t now);

enum cache_lead {
    CACHE_LEAD,   /* *fill is new, and the caller's to lead */
    CACHE_FOLLOW, /* *fill is another's, held */
    CACHE_PASS,   /* not cacheable, as was seen since */
    CACHE_FULL,   /* no memory, or no budget for an entry: ask the origin, and store nothing */
};

/* Takes the write lock. Who missed what another's fetch has stored since then follows that one, which is
 * through. `base`: the stored response to be validated; NULL = none (one that was purged since it was found
 * is none either: see fill->base). `alone`: do not follow another's (a request that wants an answer of its
 * own): always leads or is CACHE_FULL. `generation`: as in struct cache_fill, 0 at first. */
enum cache_lead cache_lead(struct cache_store *s, const struct cache_key *key, struct cache_object *base,
                           bool alone, uint32_t generation, cache_vary_lookup *lookup, void *context,
                           struct arena *a, int64_t now, struct cache_fill **fill);

/* Admission: an object of this size (known or so far) may be stored now. Large ones (more than an eighth of
 * max_object) only when their key was asked for before: when it is stored, or a call before this one was
 * about it too. So once "no" is said of a fetch, do not ask again for that one. */
bool cache_admits(struct cache_store *s, const struct cache_key *key, uint64_t bytes);

/* A stored response was found not to be good any more (another body than the stored one, say): out of the
 * index. */
void cache_drop(struct cache_store *s, struct cache_object *o);

/* As cache_purge(), and what is gone gives its memory back in time: a few shards at each call of
 * cache_sweep(), which says whether there is more to do. Control thread. */
int cache_store_purge(struct cache_store *s, enum cache_purge_kind kind, struct slice text, bool soft);
bool cache_sweep(struct cache_store *s);

/* For the API and metrics; from any thread. */
struct cache_stats {
    uint64_t memory; /* the limit */
    uint64_t bytes;  /* in use, everything */
    uint64_t objects, entries;
    uint64_t evictions; /* objects, for want of memory */
    uint64_t purges, purged;
    uint64_t insertions;
    uint64_t rejected_size, rejected_first, rejected_memory; /* not admitted */
    uint64_t fills;                                          /* under way */
    const char *policy;
};
void cache_store_stats(const struct cache_store *s, struct cache_stats *out);
/* What another policy, or more memory, would bring. */
struct cache_shadow *cache_store_shadow(struct cache_store *s);
