/* Purging in O(1): what is purged is not looked for; each purge takes the next number of a sequence, and an
 * object that was asked for before it is checked against it when it is next looked up - once, however many
 * purges there were meanwhile (cache_object.checked).
 *
 * URLs and tags: a table of slots, two of them by the hash of each, with the number of the last purge that
 * fell into each. What shares both with purges is purged with them (after n purges since the object was last
 * checked some (2n / slots)^2 of all): that costs a fetch, never a wrong answer. Prefixes: a list of the last
 * CACHE_PREFIXES_MAX; what is older than one that had to be dropped counts as purged. All: one number. Each
 * exists twice, for hard purges (the object is gone) and soft ones (it is stale: it is validated before it is
 * used, and may serve where stale is allowed).
 *
 * From any thread; checking takes no lock but for prefixes that came since the object was last checked. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "core/slice.h"

#define CACHE_PREFIXES_MAX   256u
#define CACHE_PREFIX_MAX     1024u /* bytes; of a longer one these count: more is purged than was asked for */
#define CACHE_PREFIXES_BYTES (32u << 10) /* of all that are remembered */

enum cache_purge_kind { CACHE_PURGE_URL, CACHE_PURGE_PREFIX, CACHE_PURGE_TAG, CACHE_PURGE_ALL };

struct cache_prefix;

struct cache_purges {
    _Atomic uint64_t sequence; /* of the newest purge */
    _Atomic uint64_t hard;     /* of the newest hard one */
    _Atomic uint64_t not_url;  /* of the newest that was not of a URL */
    _Atomic uint64_t all[2];   /* [0] hard, [1] soft */
    _Atomic uint64_t tags[2];  /* of the newest of a tag */
    _Atomic uint64_t prefixes_sequence;
    _Atomic uint64_t *slots[2];
    uint64_t slot_mask;
    pthread_rwlock_t lock; /* of the prefixes */
    struct cache_prefix *prefixes;
    unsigned prefix_count;
    uint32_t prefix_bytes;
    uint64_t prefixes_floor[2];
};

struct cache_object;

/* For a cache of so many bytes: the table takes some 0.4 % of them (128 KiB at least, 16 MiB at most), of
 * which the kernel gives what purges write to. 0, or -1 when out of memory. */
int cache_purges_init(struct cache_purges *p, uint64_t memory);
void cache_purges_free(struct cache_purges *p);
/* What that takes at most beside its own struct, for the budget. */
uint64_t cache_purges_heap(uint64_t memory);

/* `text`: a URL as objects have it ("example.com/a?b", the scheme left out), the beginning of one, or a tag.
 * 0, or -1 when out of memory (then everything older counts as purged: nothing that should be gone is
 * served). */
int cache_purge(struct cache_purges *p, enum cache_purge_kind kind, struct slice text, bool soft);

uint64_t cache_url_hash(struct slice url);
uint64_t cache_tag_hash(struct slice tag);

/* True when it is gone. A soft purge sets its soft_purged. */
bool cache_is_purged(struct cache_purges *p, struct cache_object *o);
/* Whether a purge since then may concern what is being fetched for a URL of this hash (0 = of any): by what
 * it will be tagged is not known yet. */
bool cache_purge_parts(struct cache_purges *p, uint64_t url_hash, uint64_t since);
static inline uint64_t cache_purge_now(const struct cache_purges *p)
{
    return atomic_load_explicit(&p->sequence, memory_order_acquire);
}
