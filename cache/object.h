/* A stored response: its head as the proxy made it, what the rules need of it, and its body. Immutable but
 * for the atomics; a 304 makes a new object that shares the body. Counted: the index holds one, each exchange
 * that sends it one. */
#pragma once

#include "cache/body.h"
#include "cache/policy.h"
#include "cache/rules.h"

struct cache_entry;

#define CACHE_TAGS_MAX 256

struct cache_object {
    /* What a look-up reads comes first, then what a use of it does. */
    _Atomic uint32_t refs;
    uint16_t status;
    _Atomic bool soft_purged;
    _Atomic uint64_t checked;  /* purges up to this one do not concern it */
    struct cache_object *next; /* in the entry's variants */
    struct slice vary_names, vary_text;
    struct cache_policy_node policy; /* in its shard's lists while it is in the index */
    struct cache_freshness freshness;
    struct cache_body *body; /* held */
    void *head;              /* the proxy's: `head_size` bytes behind this struct, aligned to 16 */
    uint32_t head_size;
    uint32_t memory;             /* of this piece, in the budget */
    _Atomic int64_t failed_at;   /* when the origin last failed to make it fresh again; 0 = it did not */
    _Atomic uint64_t length;     /* of the body, when it is in the index; before that ask the body */
    struct slice etag, modified; /* validators as they came; empty = none. Into the head. */
    struct slice url;            /* host and path and query, as purges name it: "example.com/a/b?c" */
    struct cache_budget *budget;
    struct cache_entry
        *entry;           /* in whose variants it is; NULL = not in the index (any more). Shard's lock. */
    uint64_t sequence;    /* the store's purge sequence when its fetch began */
    const uint64_t *tags; /* hashes */
    uint32_t tag_count;
    bool has_more_tags; /* than are known here: each purge of a tag concerns it */
};

struct cache_object_spec {
    const struct cache_freshness *freshness;
    uint16_t status;
    uint64_t sequence;
    struct slice url, vary_names, vary_text; /* copied */
    const struct slice *tags;
    uint32_t tag_count;      /* more than CACHE_TAGS_MAX: the first of them are kept */
    struct cache_body *body; /* a hold is taken */
    uint32_t head_size;
};

/* NULL when out of memory or budget. The caller fills `head`, and sets etag and modified to point into it,
 * before it shows the object to anybody. */
struct cache_object *cache_object_create(struct cache_budget *b, const struct cache_object_spec *spec);
static inline void cache_object_hold(struct cache_object *o)
{
    atomic_fetch_add_explicit(&o->refs, 1, memory_order_relaxed);
}
void cache_object_release(struct cache_object *o); /* any thread; NULL is allowed */

/* cache_may_use_on_error() of this object: what was purged softly is stale by that, however long it says that
 * it is fresh, and needs leave to be used all the same. */
bool cache_object_serves_on_error(const struct cache_object *o, const struct cache_request_directives *d,
                                  bool answered, int64_t now);
