/* A fetch for the cache that others may wait for: one request to the origin for many clients (collapsing).
 *
 * One thread leads (the fetcher); followers wait on theirs. The leader says once what it is - publish(), or
 * release(), or fail() - and then end(). A follower looks at the state, and waits while it is
 * CACHE_FILL_ASKED.
 *
 * Who asks after a purge follows no fetch that began before it and that it may concern: one of a URL concerns
 * that URL alone, any other one each fetch that has no object yet.
 *
 * Ownership: counted; the entry holds none. The leader's hold is given back by cache_fill_end(), which takes
 * the fill out of its entry; a leader that ends without a word has failed. */
#pragma once

#include "cache/object.h"

struct cache_store;

enum cache_fill_state {
    CACHE_FILL_ASKED,    /* no head yet */
    CACHE_FILL_OBJECT,   /* `object` is there: it may be read while it grows */
    CACHE_FILL_RELEASED, /* the answer is for the leader alone: everybody asks for himself */
    CACHE_FILL_FAILED,   /* no answer: one of the followers is to lead anew (cache_fill_promote), or all have
                            the failure */
};

struct cache_fill {
    _Atomic uint32_t refs;
    _Atomic int state; /* enum cache_fill_state; a store with release order */
    struct cache_store *store;
    struct cache_entry
        *entry; /* shard's lock; NULL after the end, and when it was through from the beginning */
    struct cache_fill *next; /* in the entry */
    struct slice vary_text; /* of the leader's request under the entry's vary names when it began; own copy */
    struct cache_object *object; /* held; set before the state */
    struct cache_object *base;   /* what is validated: held; NULL = none */
    uint16_t status;             /* of the origin's answer; set before the state */
    bool answered;               /* where `object` is `base`: the origin's failure was an answer */
    bool was_found;              /* `object` is from the second tier: it may be old. Set before the state */
    bool discard;                /* the leader's word before the end: the object is not to be stored */
    _Atomic uint32_t followers;  /* that have ever been given it by cache_lead() or cache_find() */
    uint16_t failed_status;      /* weir's own answer for the failure */
    const char *failed_reason;   /* static text */
    uint32_t generation;         /* how many leaders failed before this one */
    uint64_t sequence;           /* the store's purge sequence when it began */
    uint64_t url_hash;           /* for purges; 0 = of a URL that is not known */
    struct cache_signal signal;  /* of the state */
};

#define CACHE_FILL_LEADERS_MAX 3 /* failures in a row that promote a follower; then all have the failure */

/* The leader's. */

/* The object is what is fetched (its body may be growing); it goes into the index when cache_fill_end() finds
 * its body whole. A refreshed object (304) is whole at once. */
void cache_fill_publish(struct cache_fill *f, struct cache_object *o);
/* Nobody else may have the answer. `pass_seconds` != 0, at most CACHE_PASS_SECONDS: the entry remembers for
 * that long that requests for it are not worth waiting (cache_found.pass). */
void cache_fill_release(struct cache_fill *f, uint32_t pass_seconds);
void cache_fill_fail(struct cache_fill *f, unsigned status, const char *reason);
void cache_fill_end(struct cache_fill *f);

/* A follower's. */

static inline struct cache_fill *cache_fill_hold(struct cache_fill *f)
{
    atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
    return f;
}
static inline enum cache_fill_state cache_fill_state(const struct cache_fill *f)
{
    return (enum cache_fill_state)atomic_load_explicit(&f->state, memory_order_acquire);
}

void cache_fill_let_go(struct cache_fill *f); /* NULL is allowed */
