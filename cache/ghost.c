#include "cache/ghost.h"

#include <stdlib.h>
#include <string.h>

enum { ENTRIES = 8, BUCKETS_MIN = 8, LIMIT_MAX = 1 << 30 };

/* One cache line. An entry that was never used, or was taken out, has the age of one that fell out. */
struct ghost_bucket {
    uint32_t fingerprints[ENTRIES];
    uint32_t numbers[ENTRIES];
};

void ghost_init(struct ghost *g)
{
    *g = (struct ghost){0};
}

void ghost_clear(struct ghost *g)
{
    free(g->buckets);
    ghost_init(g);
}

size_t ghost_bytes(const struct ghost *g)
{
    return g->bucket_count * sizeof(struct ghost_bucket);
}

static uint32_t fingerprint_of(uint64_t hash)
{
    return (uint32_t)(hash >> 32) ^ (uint32_t)hash;
}

/* The number of insertions since: LIMIT_MAX and more are all out. */
static uint32_t age_of(const struct ghost *g, const struct ghost_bucket *b, size_t entry)
{
    return g->inserted - b->numbers[entry];
}

static struct ghost_bucket *bucket_of(const struct ghost *g, uint32_t fingerprint)
{
    return &g->buckets[fingerprint & (g->bucket_count - 1)];
}

static size_t wanted_buckets(size_t limit)
{
    size_t want = BUCKETS_MIN;
    while (want * ENTRIES * 3 / 4 < limit)
        want *= 2;
    return want;
}

/* The oldest of its bucket makes room, if there is none: of a table as full as can be, one in fifteen falls
 * out early. */
static void put(struct ghost *g, uint32_t fingerprint, uint32_t number)
{
    struct ghost_bucket *b = bucket_of(g, fingerprint);
    size_t place = 0;
    for (size_t i = 0; i < ENTRIES && b->fingerprints[place] != fingerprint; i++)
        if (b->fingerprints[i] == fingerprint || age_of(g, b, i) > age_of(g, b, place))
            place = i;
    b->fingerprints[place] = fingerprint;
    b->numbers[place] = number;
}

/* A table of so many buckets, with what is in the queue. Without memory the old one stays. */
static void rebuild(struct ghost *g, size_t bucket_count)
{
    struct ghost_bucket *buckets = aligned_alloc(sizeof *buckets, bucket_count * sizeof *buckets);
    if (!buckets)
        return;
    struct ghost old = *g;
    g->buckets = buckets;
    g->bucket_count = bucket_count;
    for (size_t at = 0; at < bucket_count; at++)
        for (size_t i = 0; i < ENTRIES; i++) {
            buckets[at].fingerprints[i] = 0;
            buckets[at].numbers[i] = g->inserted - LIMIT_MAX;
        }
    for (size_t at = 0; at < old.bucket_count; at++)
        for (size_t i = 0; i < ENTRIES; i++)
            if (age_of(&old, &old.buckets[at], i) < old.limit)
                put(g, old.buckets[at].fingerprints[i], old.buckets[at].numbers[i]);
    free(old.buckets);
}

void ghost_insert(struct ghost *g, uint64_t hash, size_t limit)
{
    g->limit = limit < LIMIT_MAX ? (uint32_t)limit : LIMIT_MAX;
    size_t want = wanted_buckets(g->limit);
    if (want > g->bucket_count || want * 4 <= g->bucket_count)
        rebuild(g, want);
    if (g->buckets)
        put(g, fingerprint_of(hash), ++g->inserted);
}

bool ghost_take(struct ghost *g, uint64_t hash)
{
    if (!g->buckets)
        return false;
    uint32_t fingerprint = fingerprint_of(hash);
    struct ghost_bucket *b = bucket_of(g, fingerprint);
    for (size_t i = 0; i < ENTRIES; i++)
        if (b->fingerprints[i] == fingerprint && age_of(g, b, i) < g->limit) {
            b->numbers[i] = g->inserted - LIMIT_MAX;
            return true;
        }
    return false;
}
