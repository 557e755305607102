/* Which keys were asked for lately, so that a large object is stored on its second request only: a ghost
 * queue (ghost.h) of a fixed length. A key is forgotten when so many others came after it, now and then
 * earlier: a bucket of the queue's table may be full (one in fifteen at most). One that was never asked for
 * is taken for one that was, where the queue has n keys, in n / 2^32 of all cases: one in four million with
 * 1,024.
 *
 * Part of its owner, a shard of the store, and under the shard's write lock. */
#pragma once

#include "cache/ghost.h"

struct doorkeeper {
    struct ghost ghost;
    size_t keys;
};

/* Remembers the last `keys` keys. Allocates nothing yet; without memory it remembers nothing. */
void doorkeeper_init(struct doorkeeper *d, size_t keys);
void doorkeeper_clear(struct doorkeeper *d);

/* Whether the key of this hash (keyed, SipHash) was asked for lately. From now on it was. */
bool doorkeeper_seen(struct doorkeeper *d, uint64_t hash);

/* Allocated, for the budget: at the first call of doorkeeper_seen(), 10.7 to 21.4 for each key, and never
 * more afterwards. */
size_t doorkeeper_bytes(const struct doorkeeper *d);
