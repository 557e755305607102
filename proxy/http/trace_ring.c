#include "proxy/http/trace_ring.h"

#include <stdlib.h>

struct span_ring *span_ring_create(uint32_t capacity)
{
    size_t size = sizeof(struct span_ring) + capacity * sizeof(struct span);
    struct span_ring *r = aligned_alloc(64, (size + 63) & ~(size_t)63);
    if (!r)
        return NULL;
    memset(r, 0, sizeof *r); /* the spans' pages come when they are used */
    r->capacity = capacity;
    return r;
}

void span_ring_free(struct span_ring *r)
{
    free(r);
}

bool span_ring_has_room(struct span_ring *r, uint32_t count)
{
    uint64_t written = atomic_load_explicit(&r->written, memory_order_relaxed);
    uint64_t taken = atomic_load_explicit(&r->taken, memory_order_acquire);
    if (written - taken + count <= r->capacity)
        return true;
    counter_add(&r->dropped, count);
    return false;
}

struct span *span_ring_next(struct span_ring *r, uint32_t i)
{
    uint64_t written = atomic_load_explicit(&r->written, memory_order_relaxed);
    return &r->at[(written + i) % r->capacity];
}

void span_ring_publish(struct span_ring *r, uint32_t count)
{
    uint64_t written = atomic_load_explicit(&r->written, memory_order_relaxed);
    atomic_store_explicit(&r->written, written + count, memory_order_release);
}

const struct span *span_ring_oldest(const struct span_ring *r)
{
    uint64_t taken = atomic_load_explicit(&r->taken, memory_order_relaxed);
    if (taken == atomic_load_explicit(&r->written, memory_order_acquire))
        return NULL;
    return &r->at[taken % r->capacity];
}

void span_ring_take(struct span_ring *r)
{
    uint64_t taken = atomic_load_explicit(&r->taken, memory_order_relaxed);
    atomic_store_explicit(&r->taken, taken + 1, memory_order_release);
}

uint64_t span_ring_waiting(const struct span_ring *r)
{
    return atomic_load_explicit(&r->written, memory_order_acquire) -
           atomic_load_explicit(&r->taken, memory_order_relaxed);
}
