#include "cache/budget.h"

#include <malloc.h>
#include <stdlib.h>

#include "cache/pages.h"

/* Rounds of evicting for one reservation: what was freed may be taken by others each time. */
enum { ROUNDS = 8 };

/* glibc: a piece is preceded by its size, and is a multiple of 16. */
enum { HEAP_HEADER = sizeof(size_t), HEAP_STEP = 16, HEAP_LEAST = 32 };

static bool fits(uint64_t used, uint64_t limit, uint64_t bytes)
{
    return used <= limit && bytes <= limit - used;
}

bool cache_budget_try(struct cache_budget *b, uint64_t bytes)
{
    uint64_t limit = atomic_load_explicit(&b->limit, memory_order_relaxed);
    uint64_t used = atomic_load_explicit(&b->used, memory_order_relaxed);
    do {
        if (!fits(used, limit, bytes))
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&b->used, &used, used + bytes, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

static bool take_evicting(struct cache_budget *b, uint64_t bytes)
{
    for (int round = 0; round < ROUNDS; round++) {
        if (cache_budget_try(b, bytes))
            return true;
        uint64_t limit = atomic_load_explicit(&b->limit, memory_order_relaxed);
        uint64_t used = atomic_load_explicit(&b->used, memory_order_relaxed);
        if (bytes > limit || !b->reclaim)
            return false;
        if (!fits(used, limit, bytes) && !b->reclaim(b->argument, used - (limit - bytes)))
            break;
    }
    return cache_budget_try(b, bytes);
}

bool cache_budget_take(struct cache_budget *b, uint64_t bytes)
{
    if (take_evicting(b, bytes))
        return true;
    if (!b->pages)
        return false;
    cache_budget_give(b, cache_pages_drain(b->pages, bytes));
    return cache_budget_try(b, bytes);
}

void cache_budget_give(struct cache_budget *b, uint64_t bytes)
{
    uint64_t before = atomic_fetch_sub_explicit(&b->used, bytes, memory_order_relaxed);
    ASSERT(before >= bytes);
}

uint64_t cache_memory_size(void *piece)
{
    return malloc_usable_size(piece) + HEAP_HEADER;
}

void *cache_budget_alloc(struct cache_budget *b, size_t size, uint64_t *taken)
{
    uint64_t expected = (size + HEAP_HEADER + HEAP_STEP - 1) / HEAP_STEP * HEAP_STEP;
    if (expected < HEAP_LEAST)
        expected = HEAP_LEAST;
    if (!cache_budget_take(b, expected))
        return NULL;
    void *piece = malloc(size);
    uint64_t real = piece ? cache_memory_size(piece) : 0;
    if (real > expected && !cache_budget_take(b, real - expected)) {
        free(piece);
        piece = NULL;
        real = 0;
    }
    if (real < expected)
        cache_budget_give(b, expected - real);
    if (piece)
        *taken = real;
    return piece;
}
