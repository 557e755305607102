/* Pieces of the heap that are in a budget, and know themselves how much they take. */
#pragma once

#include <stdlib.h>

#include "cache/budget.h"

/* Not cleared. Evicts if it must, so no lock of the store may be held. NULL when out of memory or budget. */
static inline void *cache_piece_take(struct cache_budget *b, size_t size)
{
    uint64_t taken;
    return cache_budget_alloc(b, size, &taken);
}

/* NULL is allowed. */
static inline void cache_piece_give(struct cache_budget *b, void *piece)
{
    if (!piece)
        return;
    uint64_t taken = cache_memory_size(piece);
    free(piece);
    cache_budget_give(b, taken);
}
