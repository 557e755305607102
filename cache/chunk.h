/* The inside of a body, for body.c, chunk.c and reader.c alone.
 *
 * Who may look at what: `bytes` is stored with release order after the bytes themselves and after the `next`
 * that leads to them, so whoever has loaded it may read that far without a lock. The struct's other fields
 * belong to the appender, or to the lock (that of the signal, so that a body has only one).
 *
 * While a body grows, or is a stream, each chunk counts the readers that are on it: a reader takes the lock
 * when it goes from one to the next. A stream frees its first chunks while nobody is on them; what is behind
 * a reader's chunk stays. In a whole body nobody counts, and nobody locks. */
#pragma once

#include "cache/body.h"
#include "cache/pages.h"

#define CHUNK_PAGES_LEAST (16u << 10) /* bytes of data for which pages are used */

struct cache_chunk {
    struct cache_chunk *next; /* may be read when there are bytes behind this chunk */
    uint64_t start;           /* of the body's bytes */
    uint32_t size;            /* room for data */
    uint32_t on;              /* readers, while they are counted; lock */
    uint32_t slot;            /* of the cache's pages; CACHE_SLOT_NONE = on the heap */
    uint32_t paid;            /* bytes of the slot that have pages, in the budget; the appender's */
    const char *data;         /* in the slot, or `bytes` */
    char bytes[];
};

/* In `count`. */
#define BODY_HOLD     UINT64_C(1)
#define BODY_READER   (UINT64_C(1) << 32)
#define BODY_TRIMMING (UINT64_C(1) << 63) /* a new reader takes the lock once before it looks at a chunk */

struct cache_body {
    _Atomic uint64_t count; /* holds (a reader's too) and readers */
    _Atomic uint64_t bytes; /* published */
    _Atomic int state;      /* enum cache_body_state */
    _Atomic bool has_slack; /* of a whole body: its last chunk could be trimmed */
    bool is_stream;         /* lock; of a body that is whole it is constant */
    bool was_read;          /* lock: some reader was there */
    bool appender_waits;    /* lock */
    struct cache_budget *budget;
    _Atomic uint64_t memory;          /* in the budget */
    uint64_t own_memory;              /* of that, this struct's */
    uint64_t length;                  /* announced, or CACHE_BODY_UNKNOWN */
    struct cache_chunk *first, *last; /* lock, where readers may change them: in a stream */
    struct cache_run run;             /* slots for the next chunks; the appender's */
    _Atomic bool was_sent;            /* sockets may have bytes of the slots */
    struct cache_signal changed;
    struct cache_chunk
        head; /* in one piece with the struct; room for small announced bodies, or for nothing */
};

static inline bool body_is_settled(const struct cache_body *b)
{
    return atomic_load_explicit(&b->state, memory_order_acquire) == CACHE_BODY_WHOLE && !b->is_stream;
}

static inline uint64_t chunk_end(const struct cache_chunk *c)
{
    return c->start + c->size;
}

static inline void body_lock(struct cache_body *b)
{
    pthread_mutex_lock(&b->changed.lock);
}
static inline void body_unlock(struct cache_body *b)
{
    pthread_mutex_unlock(&b->changed.lock);
}

/* Takes BODY_HOLD, or that and BODY_READER, off the count; the body ends with the last. */
void body_drop(struct cache_body *b, uint64_t part);

/* A list of chunks with room for `bytes` at least, the first byte being number `start`; the last of them in
 * *last, what they take of the budget added to *memory. NULL when out of memory or budget. */
struct cache_chunk *chunks_create(struct cache_body *b, uint64_t start, uint64_t bytes,
                                  struct cache_chunk **last, uint64_t *memory);
/* They were shown to nobody: gives back what was taken for them, `memory` of it not yet the body's. */
void chunks_undo(struct cache_body *b, struct cache_chunk *list, uint64_t memory);
/* Not from the budget. */
void chunks_free(struct cache_budget *budget, struct cache_chunk *list);
/* The same when no socket has had anything of them; their pages are in the budget, and may stay there: what
 * of them, or of others, is to be given back. */
uint64_t chunks_keep(struct cache_budget *budget, struct cache_chunk *list);
/* What their pages take of the budget. */
uint64_t chunks_paid(const struct cache_chunk *list);
/* What writing the body's bytes up to `end` into the list will take of pages that are not there yet. */
uint64_t chunks_cost(const struct cache_budget *budget, const struct cache_chunk *list, uint64_t end);
/* It was taken. */
void chunks_pay(const struct cache_budget *budget, struct cache_chunk *list, uint64_t end);
/* Lets go of slots, and pages of the last chunk, that the body will not need. By the appender, or who is
 * alone with the body. */
void body_return_run(struct cache_body *b);
void body_return_pages(struct cache_body *b);

/* Takes what a stream need not keep out of the list, for chunks_free() without the lock. Under the lock. */
struct cache_chunk *body_let_go(struct cache_body *b);
/* So much that the appender should wait. Under the lock. */
bool body_is_full(const struct cache_body *b);
/* Whether the appender is to be woken after that; it is told once. Under the lock. */
bool body_wakes_appender(struct cache_body *b);
/* Whether that is worth while. */
bool body_is_roomy(const struct cache_body *b);
/* Gives back what the last chunk of a whole body has too much, if nobody reads it. */
void body_trim(struct cache_body *b);
