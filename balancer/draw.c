#include "balancer/draw.h"

#include <stdlib.h>

#define TRIES 32

/* Vose's algorithm in whole numbers: every slot holds `total` parts, and a server has weight × count of them.
 */
static void fill(struct draw *d, uint64_t *parts, uint32_t *small, uint32_t *large)
{
    size_t smalls = 0, larges = 0;
    for (uint32_t i = 0; i < d->count; i++) {
        parts[i] = (uint64_t)d->slots[i].weight * d->count;
        d->slots[i].keep = UINT32_MAX;
        d->slots[i].other = i;
        if (parts[i] < d->total)
            small[smalls++] = i;
        else
            large[larges++] = i;
    }
    while (smalls && larges) {
        uint32_t s = small[--smalls], l = large[larges - 1];
        d->slots[s].keep = (uint32_t)((__extension__(unsigned __int128) parts[s] << 32) / d->total);
        d->slots[s].other = l;
        parts[l] -= d->total - parts[s];
        if (parts[l] < d->total) {
            larges--;
            small[smalls++] = l;
        }
    }
}

struct draw *draw_make(const struct tier *t)
{
    size_t n = t->count ? t->count : 1;
    struct draw *d = calloc(1, sizeof *d + n * sizeof d->slots[0]);
    uint64_t *parts = malloc(n * sizeof *parts);
    uint32_t *lists = malloc(2 * n * sizeof *lists);
    if (!d || !parts || !lists) {
        free(d);
        d = NULL;
        goto out;
    }
    d->count = t->count;
    for (size_t i = 0; i < t->count; i++) {
        d->slots[i].weight = server_full_weight(t->servers[i]);
        d->total += d->slots[i].weight;
    }
    fill(d, parts, lists, lists + n);
out:
    free(parts);
    free(lists);
    return d;
}

/* When so many are out that luck finds none: one pass over all, each in proportion to its weight. */
static struct server *draw_any(uint64_t *random, const struct tier *t, const struct pick *p)
{
    struct server *chosen = NULL;
    uint64_t total = 0;
    for (size_t i = 0; i < t->count; i++) {
        uint32_t weight = pick_weight(p, t->servers[i]);
        total += weight;
        if (weight && random_next(random) % total < weight)
            chosen = t->servers[i];
    }
    return chosen;
}

struct server *draw_one(const struct draw *d, uint64_t *random, const struct tier *t, const struct pick *p)
{
    for (int tries = 0; tries < TRIES && d->total; tries++) {
        uint64_t bits = random_next(random);
        size_t i = (size_t)(((bits >> 32) * (uint64_t)d->count) >> 32);
        if ((uint32_t)bits > d->slots[i].keep)
            i = d->slots[i].other;
        struct server *s = t->servers[i];
        uint32_t weight = pick_weight(p, s);
        if (LIKELY(weight && weight >= d->slots[i].weight))
            return s;
        if (weight && draw_accepts(weight, d->slots[i].weight, (uint32_t)(random_next(random) >> 32)))
            return s;
    }
    return draw_any(random, t, p);
}
