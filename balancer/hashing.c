#include "balancer/hashing.h"

#include <xxhash.h>

#define STEPS       64u   /* of the sequence, and two for every server, … */
#define STEPS_MAX   1024u /* … but no more: then chance decides */
#define DRAWS       32
#define EACH_PICK   64     /* servers of which all are added up in each pick; of more … */
#define ADD_UP_US   10000u /* … so often … */
#define ADD_UP_PICK 256u   /* … or after so many picks, or one for every four servers */

struct hash_state {
    uint64_t random;
    uint64_t in_flight, weight; /* of all servers that are usable, when they were added up */
    uint64_t picked;            /* since then, the one at hand included */
    usec_t added_us;
};

/* Sharing. */

static int by_hash(const void *a, const void *b)
{
    const struct hash_server *x = a, *y = b;
    return x->hash < y->hash ? -1 : x->hash > y->hash ? 1 : x->index < y->index ? -1 : 1;
}

struct hash_shared *hash_share(const struct tier *t, bool bounded)
{
    struct hash_shared *h = calloc(1, sizeof *h);
    if (!h)
        return NULL;
    h->draw = draw_make(t);
    h->servers = calloc(t->count + 1, sizeof *h->servers);
    if (!h->draw || !h->servers) {
        hash_unshare(h);
        return NULL;
    }
    h->bound = !bounded ? 0 : t->options ? t->options->bound : HASH_BOUND_DEFAULT;
    h->total = h->draw->total;
    for (size_t i = 0; i < t->count; i++) {
        const struct slice name = t->servers[i]->name;
        if (h->draw->slots[i].weight)
            h->servers[h->count++] =
                (struct hash_server){XXH3_64bits(name.at, name.len), h->draw->slots[i].weight, (uint32_t)i};
    }
    qsort(h->servers, h->count, sizeof *h->servers, by_hash);
    return h;
}

void hash_unshare(void *shared)
{
    struct hash_shared *h = shared;
    if (!h)
        return;
    free(h->draw);
    free(h->servers);
    free(h->table);
    free(h);
}

/* Keys. */

uint64_t hash_of_key(struct slice key)
{
    uint64_t hash = key.len ? XXH3_64bits(key.at, key.len) : 0;
    return key.len && hash == 0 ? 1 : hash;
}

uint64_t hash_of_ip(const struct ip *ip)
{
    return ip->is_unix ? 0 : hash_of_key(slice_of((const char *)ip->bytes, sizeof ip->bytes));
}

size_t hash_size(const struct tier *t)
{
    (void)t;
    return sizeof(struct hash_state);
}

void hash_init(void *state, const struct tier *t, unsigned start)
{
    struct hash_state *s = state;
    s->random = random_seed(t, start);
}

/* Picking. */

static void add_up(struct hash_state *s, const struct tier *t, const struct pick *p)
{
    bool fresh = s->weight && s->picked < ADD_UP_PICK + t->count / 4 && p->now_us - s->added_us < ADD_UP_US;
    s->picked++;
    if (t->count > EACH_PICK && fresh)
        return;
    s->in_flight = s->weight = 0;
    s->picked = 1;
    s->added_us = p->now_us;
    for (size_t i = 0; i < t->count; i++) {
        uint32_t weight = server_weight(t->servers[i]);
        s->weight += weight;
        s->in_flight += weight ? server_in_flight(t->servers[i]) : 0;
    }
}

/* One more may go there: with it, no more than ceil(bound × all in flight × its share). */
static bool is_within(const struct hash_shared *h, const struct hash_state *s, const struct server *server,
                      uint32_t weight)
{
    uint64_t all = s->in_flight + s->picked, whole = s->weight * 100;
    if (whole == 0)
        return true; /* all were down a moment ago */
    return server_in_flight(server) < (all * h->bound * weight + whole - 1) / whole;
}

static bool accepts(const struct hash_server *hs, uint32_t weight, uint64_t hash)
{
    return weight >= hs->weight ||
           draw_accepts(weight, hs->weight, (uint32_t)(random_mix(hash ^ hs->hash) >> 32));
}

/* So few are left that the sequence did not come to one: the highest hash of key and server wins (rendezvous
 * hashing, Thaler, Ravishankar 1996), without a bound. */
static struct server *pick_any(const struct hash_shared *h, const struct tier *t, const struct pick *p)
{
    struct server *chosen = NULL;
    uint64_t highest = 0;
    for (size_t i = 0; i < h->count; i++) {
        struct server *server = t->servers[h->servers[i].index];
        uint64_t hash = random_mix(p->hash ^ h->servers[i].hash) | 1;
        if (hash > highest && pick_weight(p, server)) {
            highest = hash;
            chosen = server;
        }
    }
    return chosen;
}

/* A hot key has filled all of its sequence; every fifth server is within the bound all the same, or nearly.
 */
static struct server *pick_within(const struct hash_shared *h, struct hash_state *s, const struct tier *t,
                                  const struct pick *p)
{
    struct server *server = NULL;
    for (int i = 0; i < DRAWS; i++) {
        server = draw_one(h->draw, &s->random, t, p);
        if (!server || is_within(h, s, server, server_weight(server)))
            break;
    }
    return server;
}

struct server *hash_pick(void *state, const struct tier *t, const struct pick *p, hash_next *next)
{
    struct hash_state *s = state;
    const struct hash_shared *h = t->shared;
    if (p->hash == 0 || h->count == 0)
        return draw_one(h->draw, &s->random, t, p);
    if (h->bound)
        add_up(s, t, p);
    bool busy = false;
    uint64_t at = p->hash;
    size_t steps = h->count > (STEPS_MAX - STEPS) / 2 ? STEPS_MAX : STEPS + 2 * h->count;
    for (unsigned step = 0; step < steps; step++) {
        const struct hash_server *hs = &h->servers[next(h->table, &at, step)];
        struct server *server = t->servers[hs->index];
        uint32_t weight = pick_weight(p, server);
        if (weight == 0 || !accepts(hs, weight, p->hash))
            continue;
        if (h->bound == 0 || is_within(h, s, server, weight))
            return server;
        busy = true;
    }
    struct server *any = busy ? pick_within(h, s, t, p) : pick_any(h, t, p);
    return any ? any : draw_one(h->draw, &s->random, t, p);
}
