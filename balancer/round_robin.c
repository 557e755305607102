/* Smooth weighted round robin, as nginx has done it since 1.3.1: each server's current weight grows by its
 * weight; the largest is chosen and pays the sum. Weights 5, 1, 1 give a a b a c a a: no server gets its
 * share in a lump. */
#include "balancer/policy.h"

#define STARTS 16u /* each costs a walk over the servers when a set is made */

/* The state is a current weight for each server. */
static size_t size(const struct tier *t)
{
    return t->count * sizeof(int64_t);
}

/* Workers start at different places: as if that many picks had been made. */
static void init(void *state, const struct tier *t, unsigned start)
{
    int64_t *current = state;
    for (unsigned picks = 0; picks < start % STARTS && t->count; picks++) {
        size_t best = 0;
        int64_t total = 0;
        for (size_t i = 0; i < t->count; i++) {
            int64_t weight = (int64_t)t->servers[i]->file_weight * SERVER_WEIGHT_SCALE;
            current[i] += weight;
            total += weight;
            if (current[i] > current[best])
                best = i;
        }
        current[best] -= total;
    }
}

static struct server *pick(void *state, const struct tier *t, const struct pick *p)
{
    int64_t *current = state;
    size_t best = SIZE_MAX;
    int64_t total = 0;
    for (size_t i = 0; i < t->count; i++) {
        uint32_t weight = pick_weight(p, t->servers[i]);
        if (weight == 0)
            continue;
        current[i] += weight;
        total += weight;
        if (best == SIZE_MAX || current[i] > current[best])
            best = i;
    }
    if (best == SIZE_MAX)
        return NULL;
    current[best] -= total;
    return t->servers[best];
}

const struct policy policy_round_robin = {.name = "round_robin", .size = size, .init = init, .pick = pick};
