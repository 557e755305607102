/* Least connections: the server whose requests in flight, this one included, are fewest for its weight. The
 * counts are those of all workers. Equal ones take turns. */
#include "balancer/policy.h"

struct least_connections {
    size_t next; /* where to look first */
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
}

static struct server *pick(void *state, const struct tier *t, const struct pick *p)
{
    struct least_connections *l = state;
    size_t best = SIZE_MAX;
    uint64_t best_load = 0, best_weight = 1;
    size_t i = l->next;
    for (size_t seen = 0; seen < t->count; seen++, i++) {
        if (i >= t->count)
            i = 0;
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

const struct policy policy_least_connections = {
    .name = "least_connections", .size = size, .init = init, .pick = pick};
