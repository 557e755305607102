/* The memory of a cache: every byte that it holds is reserved here first, and the sum never passes the limit.
 * From any thread. */
#pragma once

#include <stdatomic.h>

#include "core/base.h"

struct cache_pages;

struct cache_budget {
    _Atomic uint64_t used, limit; /* bytes */
    /* Frees at least `bytes` (what is missing, not what is asked for) if it can, by evicting; false when
     * nothing is left to evict. Called without any lock of the budget's; may be called by several threads.
     * NULL = nothing can be evicted. */
    bool (*reclaim)(void *argument, uint64_t bytes);
    void *argument;
    struct cache_pages *pages; /* for large pieces of bodies; NULL = all is on the heap. The store's. */
};

/* False when they cannot be had, even after evicting: nothing was reserved. */
bool cache_budget_take(struct cache_budget *b, uint64_t bytes);
/* Without evicting. */
bool cache_budget_try(struct cache_budget *b, uint64_t bytes);
void cache_budget_give(struct cache_budget *b, uint64_t bytes);

/* What a piece of malloc'ed memory really takes, the heap's own bytes with it. */
uint64_t cache_memory_size(void *piece);

/* malloc() of what was reserved before; *taken is the piece's cache_memory_size(), to be given back when it
 * is freed. NULL when out of memory or budget. */
void *cache_budget_alloc(struct cache_budget *b, size_t size, uint64_t *taken);
