#include "cache/chunk.h"

#include <stdlib.h>

enum {
    CHUNK_FIRST = 4096, /* of an unknown length; the next ones are four times as large */
    SLACK_LEAST = 256,  /* not worth trimming below */
    RUN_UNKNOWN = 4     /* slots side by side, of an unknown length */
};

static struct cache_chunk *create(struct cache_body *b, uint64_t start, uint64_t wanted,
                                  const struct cache_chunk *before, uint64_t *memory);
static bool claim(struct cache_body *b);
static uint64_t shorten_last(struct cache_body *b);

struct cache_chunk *chunks_create(struct cache_body *b, uint64_t start, uint64_t bytes,
                                  struct cache_chunk **last, uint64_t *memory)
{
    struct cache_chunk *list = NULL, **end = &list;
    const struct cache_chunk *before = b->last;
    uint64_t taken = 0;
    for (uint64_t at = start; at < start + bytes; at = chunk_end(*last)) {
        struct cache_chunk *c = create(b, at, start + bytes - at, before, &taken);
        if (!c)
            goto fail;
        *end = *last = c;
        end = &c->next;
        before = c;
    }
    *memory += taken;
    return list;
fail:
    chunks_free(b->budget, list);
    cache_budget_give(b->budget, taken);
    return NULL;
}

/* Slots side by side are given back in one piece. */
void chunks_free(struct cache_budget *budget, struct cache_chunk *list)
{
    uint32_t first = 0, count = 0;
    while (list) {
        struct cache_chunk *next = list->next;
        uint32_t slot = list->slot;
        free(list);
        list = next;
        if (count && slot != first + count) {
            cache_pages_give(budget->pages, first, count);
            count = 0;
        }
        if (slot != CACHE_SLOT_NONE && count++ == 0)
            first = slot;
    }
    if (count)
        cache_pages_give(budget->pages, first, count);
}

uint64_t chunks_cost(const struct cache_budget *budget, const struct cache_chunk *c, uint64_t at,
                     uint64_t end)
{
    uint64_t cost = 0;
    for (; c && at < end; at = chunk_end(c), c = c->next)
        if (c->slot != CACHE_SLOT_NONE && at < chunk_end(c))
            cost += cache_pages_cost(budget->pages, at - c->start,
                                     (end < chunk_end(c) ? end : chunk_end(c)) - c->start);
    return cost;
}

void body_return_run(struct cache_body *b)
{
    if (b->run_left)
        cache_pages_return(b->budget->pages, b->run_next, b->run_left);
    b->run_left = 0;
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
    return last != &b->head && last->slot == CACHE_SLOT_NONE && chunk_end(last) - bytes >= SLACK_LEAST;
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
    shorter->data = shorter->bytes;
    *at = b->last = shorter;
    uint64_t after = cache_memory_size(shorter);
    return before > after ? before - after : 0;
}

/* The next of the run; a body of an announced length has its slots side by side, so that one call sends much
 * of it. CACHE_SLOT_NONE = none is left. */
static uint32_t take_slot(struct cache_body *b, uint64_t start)
{
    if (b->run_left == 0) {
        uint64_t wanted = RUN_UNKNOWN;
        if (b->length != CACHE_BODY_UNKNOWN && start < b->length)
            wanted = (b->length - start + CACHE_SLOT - 1) / CACHE_SLOT;
        b->run_left = cache_pages_take(
            b->budget->pages, wanted < CACHE_RUN_MAX ? (uint32_t)wanted : CACHE_RUN_MAX, &b->run_next);
        if (b->run_left == 0)
            return CACHE_SLOT_NONE;
    }
    b->run_left--;
    return b->run_next++;
}

static uint64_t size_of_next(const struct cache_body *b, uint64_t start, uint64_t wanted, uint32_t before)
{
    if (b->length != CACHE_BODY_UNKNOWN && start < b->length)
        return b->length - start;
    uint64_t size = before < CHUNK_FIRST / 4 ? CHUNK_FIRST : before * UINT64_C(4);
    return size < wanted ? wanted : size;
}

static struct cache_chunk *create(struct cache_body *b, uint64_t start, uint64_t wanted,
                                  const struct cache_chunk *before, uint64_t *memory)
{
    uint64_t size = size_of_next(b, start, wanted, before->size);
    uint32_t slot = CACHE_SLOT_NONE;
    if (b->budget->pages && !b->is_stream && (size >= CHUNK_PAGES_LEAST || before->slot != CACHE_SLOT_NONE))
        slot = take_slot(b, start);
    /* What is not written of a slot costs nothing. */
    if (size > CACHE_CHUNK_MAX || (slot != CACHE_SLOT_NONE && b->length == CACHE_BODY_UNKNOWN))
        size = CACHE_CHUNK_MAX;
    size_t whole = sizeof(struct cache_chunk) + (slot == CACHE_SLOT_NONE ? (size_t)size : 0);
    uint64_t taken = 0;
    struct cache_chunk *c = b->is_stream ? malloc(whole) : cache_budget_alloc(b->budget, whole, &taken);
    if (!c) {
        if (slot != CACHE_SLOT_NONE)
            cache_pages_return(b->budget->pages, slot, 1);
        return NULL;
    }
    *memory += taken;
    *c = (struct cache_chunk){.start = start, .size = (uint32_t)size, .slot = slot};
    c->data = slot == CACHE_SLOT_NONE ? c->bytes : cache_pages_at(b->budget->pages, slot);
    return c;
}
