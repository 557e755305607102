/* The memory of large chunks: an anonymous file (memfd), sparse, whose pages can go into a socket without a
 * copy (sendfile), and which the heap cannot fragment. It is divided into slots of CACHE_SLOT bytes; address
 * space and file are several times as large as the cache's memory, so that what a slot costs is the pages of
 * it that are written.
 *
 * A slot that is given back is punched out of the file: its pages that are still in some socket's queue, or
 * on their way, belong to that alone and are never written again; the slot gets new ones. That makes sendfile
 * safe for objects that are evicted meanwhile, and is paid at eviction alone.
 *
 * The budget is the caller's: it takes cache_pages_cost() before it writes, and gives it back after
 * cache_pages_give(). Any thread; the lock is short, and not taken to read or to write. */
#pragma once

#include "core/base.h"

#define CACHE_SLOT      (64u << 10)
#define CACHE_SLOT_NONE UINT32_MAX
#define CACHE_RUN_MAX   16u /* slots in a row, at most */

struct cache_pages;

/* NULL when the system has no such files, or out of memory: then all is on the heap. */
struct cache_pages *cache_pages_create(uint64_t memory);
void cache_pages_free(struct cache_pages *p); /* NULL is allowed; no slot is used any more */
/* Slots for that much memory: never fewer than before. -1: as many as there were. Control thread. */
int cache_pages_grow(struct cache_pages *p, uint64_t memory);
/* What these calls take of the heap. */
uint64_t cache_pages_overhead(uint64_t memory);

/* At most `wanted` (and CACHE_RUN_MAX) slots side by side, the first of them in *first: how many; 0 = none is
 * left. */
uint32_t cache_pages_take(struct cache_pages *p, uint32_t wanted, uint32_t *first);
/* Of slots in which nothing was written. */
void cache_pages_return(struct cache_pages *p, uint32_t first, uint32_t count);
void cache_pages_give(struct cache_pages *p, uint32_t first, uint32_t count);

/* The slot's bytes, to read what was written. */
const char *cache_pages_at(const struct cache_pages *p, uint32_t slot);
int cache_pages_fd(const struct cache_pages *p);
static inline uint64_t cache_pages_offset(uint32_t slot)
{
    return (uint64_t)slot * CACHE_SLOT;
}

/* Memory of the pages that are written first when a slot's bytes grow from `before` to `after`. */
uint64_t cache_pages_cost(const struct cache_pages *p, uint64_t before, uint64_t after);
/* 0, or -1 when there is no memory: call cache_pages_shorten(). */
int cache_pages_write(struct cache_pages *p, uint32_t slot, uint32_t at, const char *data, size_t bytes);
/* Lets go of the pages behind the first `bytes`. */
void cache_pages_shorten(struct cache_pages *p, uint32_t slot, uint32_t bytes);
