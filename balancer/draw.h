/* Drawing servers at random in proportion to their weights, in O(1): Walker's alias method (1977) as Vose
 * (1991) builds it. The table is made on the control thread from the weights that are wanted, is shared by
 * the workers, and never changes. What a weight has become since counts at once: a server that is drawn is
 * taken with probability (weight now / weight in the table), so one that is down, drained or starting slowly
 * gets less or nothing. A weight above the table's counts when the next table is made. */
#pragma once

#include "balancer/policy.h"

struct draw_slot {
    uint32_t keep;   /* of 2^32: how often the slot's own server is drawn, … */
    uint32_t other;  /* … and which one else */
    uint32_t weight; /* in this table, of the slot's own server (server_full_weight) */
};

struct draw {
    size_t count;
    uint64_t total;           /* of the weights */
    struct draw_slot slots[]; /* of the tier's servers */
};

/* To be freed with free(). NULL when out of memory. */
struct draw *draw_make(const struct tier *t);

/* A server that may be picked, or NULL when none may. */
struct server *draw_one(const struct draw *d, uint64_t *random, const struct tier *t, const struct pick *p);

/* Whether a server whose table weight is `made` takes its turn, given what its weight is now; `coin` decides
 * in between. */
static inline bool draw_accepts(uint32_t now, uint32_t made, uint32_t coin)
{
    return now >= made ? now != 0 : (uint32_t)(((uint64_t)coin * made) >> 32) < now;
}

/* xorshift64* (Marsaglia 2003, Vigna 2016); the seed must not be 0. */
static inline uint64_t random_next(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * UINT64_C(0x2545f4914f6cdd1d);
}
/* Scrambles (the finaliser of splitmix64, Steele, Lea, Flood 2014). */
static inline uint64_t random_mix(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}
/* Where a worker's random numbers begin. */
static inline uint64_t random_seed(const struct tier *t, unsigned start)
{
    return random_mix((t->options ? t->options->seed : 0) + (start + 1) * UINT64_C(0x9e3779b97f4a7c15)) | 1;
}
/* From 0 to count - 1. */
static inline size_t random_below(uint64_t *state, size_t count)
{
    return (size_t)(((random_next(state) >> 32) * (uint64_t)count) >> 32);
}
