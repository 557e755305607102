/* Least connections: the server whose requests in flight, this one included, are fewest for its weight. The
 * counts are those of all workers. Equal ones take turns.
 *
 * Of many servers not all are looked at but some, drawn at random by weight: the best of d choices is within
 * log log n / log d of the best of all (Azar, Broder, Karlin, Upfal, "Balanced Allocations", STOC 1994), and
 * needs neither a tree nor a lock over it. */
#include "balancer/draw.h"

#define ALL_MAX 64 /* servers of which each is looked at */
#define DRAWN   8

struct least_connections {
    size_t next; /* where to look first */
    uint64_t random;
};

static size_t size(const struct tier *t)
{
    (void)t;
    return sizeof(struct least_connections);
}

static void init(void *state, const struct tier *t, unsigned start)
{
    struct least_connections *l = state;
    l->next = t->count ? start % t->count : 0;
    l->random = random_seed(t, start);
}

static void *share(const struct tier *t)
{
    return draw_make(t);
}

static struct server *pick_of_all(struct least_connections *l, const struct tier *t, const struct pick *p)
{
    size_t best = SIZE_MAX;
    uint64_t best_load = 0, best_weight = 1;
    size_t i = l->next < t->count ? l->next : 0;
    for (size_t seen = 0; seen < t->count; seen++, i = i + 1 < t->count ? i + 1 : 0) {
        uint64_t weight = pick_weight(p, t->servers[i]);
        if (weight == 0)
            continue;
        uint64_t load = (uint64_t)server_in_flight(t->servers[i]) + 1;
        if (best == SIZE_MAX || load * best_weight < best_load * weight) {
            best = i;
            best_load = load;
            best_weight = weight;
        }
    }
    if (best == SIZE_MAX)
        return NULL;
    l->next = best + 1;
    return t->servers[best];
}

static struct server *pick_of_drawn(struct least_connections *l, const struct tier *t, const struct pick *p)
{
    struct server *best = draw_one(t->shared, &l->random, t, p);
    for (int i = 1; best && i < DRAWN; i++) {
        struct server *s = draw_one(t->shared, &l->random, t, p);
        if (s && (uint64_t)server_in_flight(s) * server_weight(best) <
                     (uint64_t)server_in_flight(best) * server_weight(s))
            best = s;
    }
    return best;
}

static struct server *pick(void *state, const struct tier *t, const struct pick *p)
{
    return t->count <= ALL_MAX ? pick_of_all(state, t, p) : pick_of_drawn(state, t, p);
}

const struct policy policy_least_connections = {
    .name = "least_connections", .size = size, .init = init, .share = share, .unshare = free, .pick = pick};
