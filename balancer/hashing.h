/* What the policies that hash have in common: a key names a sequence of servers, and the first of them that
 * may have the request gets it. The sequence comes from a table (ring_hash.c, maglev.c) that is made on the
 * control thread from names and weights alone, so that every worker, and every weir with the same list,
 * agrees on it, whatever the order of the list.
 *
 * Weights: less weight than the table was made with (slow start, by hand) counts at once: a server then takes
 * only that share of its keys, always the same ones. More weight counts when the set of servers is made anew.
 *
 * Bounded load (Mirrokni, Thorup, Zadimoghaddam: "Consistent Hashing with Bounded Loads", SODA 2018,
 * arXiv:1608.01350): a server that has more than `bound` percent of its fair share of what is in flight is
 * passed over. Of many servers, what is in flight at all of them is added up every 10 ms.
 *
 * A request without a key goes to a server drawn at random. */
#pragma once

#include "balancer/draw.h"

#define HASH_BOUND_DEFAULT 125u /* percent */

/* A server of the table, in the order of their hashes. */
struct hash_server {
    uint64_t hash;   /* of its name */
    uint32_t weight; /* server_full_weight when the table was made */
    uint32_t index;  /* in the tier */
};

/* `at` is where the sequence has come to: the hash at first, then whatever next() makes of it. Gives a
 * position in `servers`. */
typedef uint32_t hash_next(const void *table, uint64_t *at, unsigned step);

struct hash_shared {
    struct draw *draw;
    struct hash_server *servers; /* those with a weight */
    size_t count;
    uint64_t total; /* of the weights */
    uint32_t bound; /* percent; 0 = none */
    void *table;    /* freed with free() */
};

/* Without the table. `bounded`: as the tier's options say. NULL when out of memory. */
struct hash_shared *hash_share(const struct tier *t, bool bounded);
void hash_unshare(void *shared);

/* Of a request's key, never 0 but for an empty one: the same in every process. The client's port is no part
 * of its address; one that came over a unix socket has none, and no key. */
uint64_t hash_of_key(struct slice key);
uint64_t hash_of_ip(const struct ip *ip);

size_t hash_size(const struct tier *t);
void hash_init(void *state, const struct tier *t, unsigned start);
struct server *hash_pick(void *state, const struct tier *t, const struct pick *p, hash_next *next);
