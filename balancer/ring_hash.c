/* A hash ring: every server stands at many points of a circle, and a key belongs to the first point at or
 * behind its own (Karger et al., "Consistent Hashing and Random Trees", STOC 1997; libketama's many points).
 * When a server leaves, its keys alone move. With bounded load (hashing.h) a full server's keys go on to the
 * next points.
 *
 * A server has 160 points for each unit of weight; where that makes more than a million, half as many, and
 * so on, and at least one. */
#include "balancer/hashing.h"

#define POINTS     160u
#define POINTS_MAX (1u << 20)

struct point {
    uint32_t place;
    uint32_t server;
};

struct ring {
    uint32_t count;
    unsigned shift;  /* the places' upper bits, from here on, number the buckets */
    uint32_t *first; /* of each bucket: the first point at or behind its start */
    struct point points[];
};

/* For each unit of the file's weight. */
static double points_each(const struct hash_shared *h)
{
    double each = POINTS, total = (double)h->total / SERVER_WEIGHT_SCALE;
    while (each > 1 && each * total > POINTS_MAX)
        each /= 2;
    return each * total > POINTS_MAX ? POINTS_MAX / total : each;
}

static uint32_t points_of(const struct hash_server *hs, double each)
{
    uint32_t count = (uint32_t)(each * hs->weight / SERVER_WEIGHT_SCALE);
    return count ? count : 1;
}

/* By place, two bytes at a time. */
static int sort(struct point *points, uint32_t count)
{
    struct point *other = malloc((count + 1) * sizeof *other);
    uint32_t *starts = malloc(65536 * sizeof *starts);
    for (unsigned shift = 0; other && starts && shift < 32; shift += 16) {
        memset(starts, 0, 65536 * sizeof *starts);
        for (uint32_t i = 0; i < count; i++)
            starts[points[i].place >> shift & 0xffff]++;
        for (uint32_t b = 0, sum = 0; b < 65536; b++) {
            uint32_t here = starts[b];
            starts[b] = sum;
            sum += here;
        }
        for (uint32_t i = 0; i < count; i++)
            other[starts[points[i].place >> shift & 0xffff]++] = points[i];
        memcpy(points, other, count * sizeof *points);
    }
    int rc = other && starts ? 0 : -1;
    free(other);
    free(starts);
    return rc;
}

static void index_points(struct ring *r)
{
    uint32_t buckets = UINT32_C(1) << (32 - r->shift), at = 0;
    for (uint32_t b = 0; b < buckets; b++) {
        while (at < r->count && r->points[at].place < (uint64_t)b << r->shift)
            at++;
        r->first[b] = at;
    }
}

static struct ring *make_ring(const struct hash_shared *h)
{
    double each = points_each(h);
    size_t count = 0;
    for (size_t i = 0; i < h->count; i++)
        count += points_of(&h->servers[i], each);
    unsigned bits = 4;
    while (bits < 20 && (UINT64_C(1) << bits) < count)
        bits++;
    size_t size = sizeof(struct ring) + count * sizeof(struct point);
    struct ring *r = malloc(size + ((size_t)sizeof(uint32_t) << bits));
    if (!r)
        return NULL;
    r->count = (uint32_t)count;
    r->shift = 32 - bits;
    r->first = (uint32_t *)(void *)((char *)r + size);
    struct point *at = r->points;
    for (size_t i = 0; i < h->count; i++)
        for (uint32_t k = points_of(&h->servers[i], each); k > 0; k--)
            *at++ = (struct point){
                (uint32_t)(random_mix(h->servers[i].hash + k * UINT64_C(0x9e3779b97f4a7c15)) >> 32),
                (uint32_t)i};
    if (sort(r->points, r->count) != 0) {
        free(r);
        return NULL;
    }
    index_points(r);
    return r;
}

static void *share(const struct tier *t)
{
    struct hash_shared *h = hash_share(t, true);
    if (!h || h->count == 0)
        return h;
    h->table = make_ring(h);
    if (!h->table) {
        hash_unshare(h);
        return NULL;
    }
    return h;
}

/* The point after the last; *at is then its number. */
static uint32_t next(const void *table, uint64_t *at, unsigned step)
{
    const struct ring *r = table;
    if (step == 0) {
        uint32_t place = (uint32_t)(*at >> 32);
        *at = r->first[place >> r->shift];
        while (*at < r->count && r->points[*at].place < place)
            ++*at;
    } else {
        ++*at;
    }
    if (*at >= r->count)
        *at = 0;
    return r->points[*at].server;
}

static struct server *pick(void *state, const struct tier *t, const struct pick *p)
{
    return hash_pick(state, t, p, next);
}

const struct policy policy_ring_hash = {.name = "ring_hash",
                                        .hashes = true,
                                        .size = hash_size,
                                        .init = hash_init,
                                        .share = share,
                                        .unshare = hash_unshare,
                                        .pick = pick};
