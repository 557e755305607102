/* The power of two choices: of two servers drawn at random, the one with fewer requests in flight for its
 * weight (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", IEEE TPDS 12(10), 2001).
 * Nearly as even as looking at all of them, in O(1), and no two workers run after the same least one. Servers
 * are drawn by weight, so idle ones get their shares too. */
#include "balancer/draw.h"

#define REDRAWS 3

static size_t size(const struct tier *t)
{
    (void)t;
    return sizeof(uint64_t);
}

static void init(void *state, const struct tier *t, unsigned start)
{
    *(uint64_t *)state = random_seed(t, start);
}

static void *share(const struct tier *t)
{
    return draw_make(t);
}

static struct server *pick(void *state, const struct tier *t, const struct pick *p)
{
    uint64_t *random = state;
    struct server *one = draw_one(t->shared, random, t, p), *two = one;
    if (!one)
        return NULL;
    for (int i = 0; two == one && i < REDRAWS; i++)
        two = draw_one(t->shared, random, t, p);
    if (!two || two == one)
        return one;
    uint64_t of_one = (uint64_t)server_in_flight(one) * server_weight(two);
    uint64_t of_two = (uint64_t)server_in_flight(two) * server_weight(one);
    return of_two < of_one ? two : one;
}

const struct policy policy_random_two = {
    .name = "random_two", .size = size, .init = init, .share = share, .unshare = free, .pick = pick};
