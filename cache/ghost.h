/* A ghost queue: fingerprints of what was evicted lately, without the objects (S3-FIFO, SOSP 2023, §4.2).
 * First in, first out, over as many entries as its owner says at each insertion; looked up in one cache line.
 *
 * A table of buckets, each with eight entries of (fingerprint, number of the insertion): an entry is in the
 * queue while fewer than `limit` came after it, so that leaving it costs nothing. A fingerprint is 32 bits of
 * the hash: with n entries in the queue another key is taken for one of them in n / 2^32 of all cases.
 *
 * Not thread-safe. Without memory it remembers less, and nobody need care. */
#pragma once

#include "core/base.h"

struct ghost_bucket;

struct ghost {
    struct ghost_bucket *buckets; /* NULL = none yet */
    size_t bucket_count;          /* a power of two */
    uint32_t limit;               /* entries that count */
    uint32_t inserted;            /* so many, modulo 2^32 */
};

/* Remembers nothing, allocates nothing. */
void ghost_init(struct ghost *g);
/* Forgets all and frees. */
void ghost_clear(struct ghost *g);

/* At the queue's end; what is older than the last `limit` (to 2^30) falls out. The table follows the limit:
 * it is made anew when that has doubled, or fallen to a quarter. */
void ghost_insert(struct ghost *g, uint64_t hash, size_t limit);

/* Whether it is in the queue; if so it is taken out. */
bool ghost_take(struct ghost *g, uint64_t hash);

/* Allocated: 10.7 to 21.4 for each of the most that `limit` was since the table was made, 512 at least. */
size_t ghost_bytes(const struct ghost *g);
