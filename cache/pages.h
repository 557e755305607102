/* The memory of large chunks: an anonymous file (memfd), sparse, whose pages can go into a socket without a
 * copy (sendfile), and which the heap cannot fragment. It is divided into slots of CACHE_SLOT bytes; address
 * space and file are several times as large as the cache's memory, so that what a slot costs is the pages of
 * it that are written.
 *
 * A slot that is given back is punched out of the file: its pages that are still in some socket's queue, or
 * on their way, belong to that alone and are never written again; the slot gets new ones. That makes sendfile
 * safe for objects that are evicted meanwhile, and is paid at eviction alone. Slots of which no socket had
 * anything need no punching: some are kept with their pages for who comes next, so that what is fetched and
 * never asked for again costs no pages anew.
 *
 * The budget is the caller's: it takes what pages it adds before it writes them, and gives back what these
 * calls tell it to. What is kept stays in the budget. Any thread; the lock is short, and not taken to read or
 * to write. */
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

/* Slots side by side. */
struct cache_run {
    uint32_t first, count;
    uint64_t paid; /* bytes from its beginning on that have pages, which are in the budget */
};

/* At most `wanted` (and CACHE_RUN_MAX) slots; a count of 0 = none is left. Pages that they have were kept,
 * and are the caller's now. */
struct cache_run cache_pages_take(struct cache_pages *p, uint32_t wanted);
/* Slots that a socket may have been given. Their pages are no longer in memory. */
void cache_pages_give(struct cache_pages *p, const struct cache_run *run);
/* Slots that no socket was given anything of: perhaps with their pages. The bytes that are to be given back
 * to the budget: these, or others that make room for them. */
uint64_t cache_pages_keep(struct cache_pages *p, const struct cache_run *run);
/* Lets go of that much, at least, of what is kept: the bytes that are to be given back to the budget. */
uint64_t cache_pages_drain(struct cache_pages *p, uint64_t bytes);

/* The slot's bytes, to read what was written. */
const char *cache_pages_at(const struct cache_pages *p, uint32_t slot);
int cache_pages_fd(const struct cache_pages *p);
static inline uint64_t cache_pages_offset(uint32_t slot)
{
    return (uint64_t)slot * CACHE_SLOT;
}

/* Memory of the pages for that many bytes. */
uint64_t cache_pages_for(const struct cache_pages *p, uint64_t bytes);
/* 0, or -1 when there is no memory: call cache_pages_shorten(). */
int cache_pages_write(struct cache_pages *p, uint32_t slot, uint32_t at, const char *data, size_t bytes);
/* Lets go of the pages behind the first `bytes`. */
void cache_pages_shorten(struct cache_pages *p, uint32_t slot, uint32_t bytes);
