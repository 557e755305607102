#include "cache/doorkeeper.h"

void doorkeeper_init(struct doorkeeper *d, size_t keys)
{
    d->keys = keys;
    ghost_init(&d->ghost);
}

void doorkeeper_clear(struct doorkeeper *d)
{
    ghost_clear(&d->ghost);
}

bool doorkeeper_seen(struct doorkeeper *d, uint64_t hash)
{
    bool seen = ghost_take(&d->ghost, hash);
    ghost_insert(&d->ghost, hash, d->keys);
    return seen;
}

size_t doorkeeper_bytes(const struct doorkeeper *d)
{
    return ghost_bytes(&d->ghost);
}
