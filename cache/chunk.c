#include "cache/chunk.h"

#include <stdlib.h>

enum {
    CHUNK_FIRST = 4096, /* of an unknown length; the next ones are four times as large */
    SLACK_LEAST = 256   /* not worth trimming below */
};

static struct cache_chunk *create(struct cache_body *b, uint64_t start, uint64_t wanted, uint32_t before);
static bool claim(struct cache_body *b);
static uint64_t shorten_last(struct cache_body *b);

struct cache_chunk *chunks_create(struct cache_body *b, uint64_t start, uint64_t bytes,
                                  struct cache_chunk **last)
{
    struct cache_chunk *list = NULL, **end = &list;
    uint64_t memory = 0;
    uint32_t before = b->last->size;
    for (uint64_t at = start; at < start + bytes; at = chunk_end(*last)) {
        struct cache_chunk *c = create(b, at, start + bytes - at, before);
        if (!c)
            goto fail;
        if (!b->is_stream)
            memory += cache_memory_size(c);
        *end = *last = c;
        end = &c->next;
        before = c->size;
    }
    atomic_fetch_add_explicit(&b->memory, memory, memory_order_relaxed);
    return list;
fail:
    chunks_free(list);
    cache_budget_give(b->budget, memory);
    return NULL;
}

void chunks_free(struct cache_chunk *list)
{
    while (list) {
        struct cache_chunk *next = list->next;
        free(list);
        list = next;
    }
}

struct cache_chunk *body_let_go(struct cache_body *b)
{
    uint64_t bytes = atomic_load_explicit(&b->bytes, memory_order_relaxed);
    if (!b->is_stream || (!b->was_read && bytes <= CACHE_STREAM_WINDOW))
        return NULL;
    struct cache_chunk *gone = NULL, **end = &gone;
    while (b->first != b->last && b->first->on == 0) {
        struct cache_chunk *c = b->first;
        b->first = c->next;
        if (c == &b->head)
            continue;
        *end = c;
        end = &c->next;
    }
    *end = NULL;
    return gone;
}

bool body_is_full(const struct cache_body *b)
{
    uint64_t bytes = atomic_load_explicit(&b->bytes, memory_order_relaxed);
    return b->is_stream && cache_body_readers(b) > 0 && bytes - b->first->start >= CACHE_STREAM_WINDOW;
}

bool body_wakes_appender(struct cache_body *b)
{
    if (!b->appender_waits || body_is_full(b))
        return false;
    b->appender_waits = false;
    return true;
}

void body_trim(struct cache_body *b)
{
    uint64_t saved = 0;
    body_lock(b);
    if (atomic_load_explicit(&b->has_slack, memory_order_relaxed) && claim(b)) {
        saved = shorten_last(b);
        atomic_store_explicit(&b->has_slack, false, memory_order_relaxed);
        atomic_fetch_and_explicit(&b->count, ~BODY_TRIMMING, memory_order_release);
    }
    body_unlock(b);
    if (saved) {
        atomic_fetch_sub_explicit(&b->memory, saved, memory_order_relaxed);
        cache_budget_give(b->budget, saved);
    }
}

bool body_is_roomy(const struct cache_body *b)
{
    const struct cache_chunk *last = b->last;
    uint64_t bytes = atomic_load_explicit(&b->bytes, memory_order_relaxed);
    return last != &b->head && chunk_end(last) - bytes >= SLACK_LEAST;
}

/* Nobody reads, and who begins to waits for the lock. */
static bool claim(struct cache_body *b)
{
    uint64_t count = atomic_load_explicit(&b->count, memory_order_relaxed);
    do {
        if (count / BODY_READER != 0)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&b->count, &count, count | BODY_TRIMMING,
                                                    memory_order_acquire, memory_order_relaxed));
    return true;
}

static uint64_t shorten_last(struct cache_body *b)
{
    struct cache_chunk **at = &b->head.next;
    while (*at != b->last)
        at = &(*at)->next;
    uint32_t size = (uint32_t)(atomic_load_explicit(&b->bytes, memory_order_relaxed) - b->last->start);
    uint64_t before = cache_memory_size(b->last);
    struct cache_chunk *shorter = realloc(b->last, sizeof *shorter + size);
    if (!shorter)
        return 0;
    shorter->size = size;
    *at = b->last = shorter;
    uint64_t after = cache_memory_size(shorter);
    return before > after ? before - after : 0;
}

static struct cache_chunk *create(struct cache_body *b, uint64_t start, uint64_t wanted, uint32_t before)
{
    uint64_t size = before < CHUNK_FIRST / 4 ? CHUNK_FIRST : before * UINT64_C(4);
    if (b->length != CACHE_BODY_UNKNOWN && start < b->length)
        size = b->length - start;
    else if (size < wanted)
        size = wanted;
    if (size > CACHE_CHUNK_MAX)
        size = CACHE_CHUNK_MAX;
    uint64_t taken;
    size_t whole = sizeof(struct cache_chunk) + (size_t)size;
    struct cache_chunk *c = b->is_stream ? malloc(whole) : cache_budget_alloc(b->budget, whole, &taken);
    if (c)
        *c = (struct cache_chunk){.start = start, .size = (uint32_t)size};
    return c;
}
