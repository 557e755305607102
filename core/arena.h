/* An arena gives out memory that is freed all at once: what lives as long as one request (or one
 * configuration) comes from its arena and is never freed singly. Not thread-safe: an arena belongs to one
 * thread.
 *
 * The first block may be embedded in the owner (arena_init with its memory), so that an ordinary request
 * allocates nothing from the shared heap. */
#pragma once

#include "core/base.h"
#include "core/slice.h"

struct arena_block;

struct arena {
    char *at;                   /* next free byte */
    char *end;                  /* end of the current block */
    struct arena_block *blocks; /* allocated ones, newest first */
    char *first;                /* the owner's own memory, or NULL */
    size_t first_size;
    size_t total; /* bytes allocated in blocks */
    size_t limit; /* 0 = none; past it arena_alloc gives NULL */
};

/* `first` may be NULL; otherwise it must outlive the arena. */
void arena_init(struct arena *a, void *first, size_t first_size);

/* Aligned to 8 bytes, not cleared. NULL when out of memory or past the limit (which is counted in blocks of
 * 4 KiB or more). */
void *arena_grow(struct arena *a, size_t size);
static inline void *arena_alloc(struct arena *a, size_t size)
{
    size_t rounded = (size + 7) & ~(size_t)7;
    if (UNLIKELY(rounded - 1 >= (size_t)(a->end - a->at))) /* 0 as well, and what wraps around to it */
        return arena_grow(a, size);
    void *piece = a->at;
    a->at += rounded;
    return piece;
}

/* Cleared. */
void *arena_zalloc(struct arena *a, size_t size);

/* A copy of the bytes with a NUL behind them (not counted in len). `at` is NULL when out of memory. */
struct slice arena_copy(struct arena *a, struct slice s);

/* printf into the arena; NUL-terminated. NULL when out of memory. */
char *arena_printf(struct arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Frees every block and starts anew with the first memory; also the destructor. */
void arena_reset(struct arena *a);
