/* Maglev hashing (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016,
 * §3.4): servers take turns in filling a table, each in an order of its own, until it is full; a key's place
 * in the table is looked up in one step. More even than a ring, and nearly as steady: a few keys more than
 * those of a server that leaves move.
 *
 * The table has 5003, 65537 or 655373 places, the first that is 100 times the number of servers, or the
 * last. Turns are taken in proportion to the weights. A key whose server cannot have it goes on at other
 * places of the table, which its hash names.
 *
 * source_hash is the same without the bound, by the client's address whatever it asks for. */
#include "balancer/edf.h"
#include "balancer/hashing.h"

#define PLACES_EACH 100
#define EMPTY       UINT32_MAX

struct maglev {
    uint32_t size; /* a prime */
    uint32_t places[];
};

/* A server's order: offset, offset + skip, offset + 2 × skip, … */
struct order {
    uint32_t at, skip;
};

static uint32_t size_for(size_t servers)
{
    static const uint32_t primes[] = {5003, 65537, 655373};
    size_t i = 0;
    while (i + 1 < COUNT_OF(primes) && primes[i] < servers * PLACES_EACH)
        i++;
    return primes[i];
}

static void take_next(struct maglev *m, struct order *o, uint32_t server)
{
    while (m->places[o->at] != EMPTY) {
        o->at += o->skip;
        if (o->at >= m->size)
            o->at -= m->size;
    }
    m->places[o->at] = server;
}

static void fill(struct maglev *m, const struct hash_shared *h, struct order *orders, struct edf *turns)
{
    for (uint32_t i = 0; i < h->count; i++) {
        uint64_t hash = random_mix(h->servers[i].hash);
        orders[i].at = (uint32_t)((hash >> 32) % m->size);
        orders[i].skip = (uint32_t)((hash & UINT32_MAX) % (m->size - 1) + 1);
        edf_insert(turns, i, edf_step(h->servers[i].weight));
    }
    memset(m->places, 0xff, m->size * sizeof m->places[0]);
    for (uint32_t filled = 0; filled < m->size; filled++) {
        uint32_t i = turns->heap[0].index;
        take_next(m, &orders[i], i);
        edf_move(turns, i, turns->heap[0].due + edf_step(h->servers[i].weight));
    }
}

static struct maglev *make_table(const struct hash_shared *h)
{
    uint32_t size = size_for(h->count);
    struct maglev *m = malloc(sizeof *m + size * sizeof m->places[0]);
    struct order *orders = calloc(h->count, sizeof *orders);
    void *memory = malloc(edf_bytes(h->count));
    if (m && orders && memory) {
        struct edf turns;
        edf_init(&turns, memory, h->count);
        m->size = size;
        fill(m, h, orders, &turns);
    } else {
        free(m);
        m = NULL;
    }
    free(orders);
    free(memory);
    return m;
}

static void *share_any(const struct tier *t, bool bounded)
{
    struct hash_shared *h = hash_share(t, bounded);
    if (!h || h->count == 0)
        return h;
    h->table = make_table(h);
    if (!h->table) {
        hash_unshare(h);
        return NULL;
    }
    return h;
}

static void *share(const struct tier *t)
{
    return share_any(t, true);
}

static void *share_unbounded(const struct tier *t)
{
    return share_any(t, false);
}

static uint32_t next(const void *table, uint64_t *at, unsigned step)
{
    const struct maglev *m = table;
    if (step)
        *at = random_mix(*at + step);
    return m->places[*at % m->size];
}

static struct server *pick(void *state, const struct tier *t, const struct pick *p)
{
    return hash_pick(state, t, p, next);
}

const struct policy policy_maglev = {.name = "maglev",
                                     .hashes = true,
                                     .size = hash_size,
                                     .init = hash_init,
                                     .share = share,
                                     .unshare = hash_unshare,
                                     .pick = pick};

const struct policy policy_source_hash = {.name = "source_hash",
                                          .hashes = true,
                                          .size = hash_size,
                                          .init = hash_init,
                                          .share = share_unbounded,
                                          .unshare = hash_unshare,
                                          .pick = pick};
