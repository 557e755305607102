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
    chunks_undo(b, list, taken);
    return NULL;
}

/* Adds the chunk's slot to the run if it is the next one; else, or at the end (NULL), the run is through, and
 * begins anew with it. */
static bool ends_run(const struct cache_run *run, const struct cache_chunk *c)
{
    return run->count &&
           (!c || c->slot != run->first + run->count || run->paid != run->count * (uint64_t)CACHE_SLOT);
}

static uint64_t free_list(struct cache_budget *budget, struct cache_chunk *list, bool keep)
{
    struct cache_run run = {0};
    uint64_t gone = 0;
    for (struct cache_chunk *c = list, *next; c || run.count; c = next) {
        next = c ? c->next : NULL;
        if (ends_run(&run, c)) {
            if (keep)
                gone += cache_pages_keep(budget->pages, &run);
            else
                cache_pages_give(budget->pages, &run);
            run = (struct cache_run){0};
        }
        if (c && c->slot != CACHE_SLOT_NONE) {
            run.first = run.count++ ? run.first : c->slot;
            run.paid += c->paid;
        }
        free(c);
    }
    return gone;
}

void chunks_undo(struct cache_body *b, struct cache_chunk *list, uint64_t memory)
{
    uint64_t paid = chunks_paid(list);
    free_list(b->budget, list, false);
    atomic_fetch_sub_explicit(&b->memory, paid, memory_order_relaxed);
    cache_budget_give(b->budget, memory + paid);
}

void chunks_free(struct cache_budget *budget, struct cache_chunk *list)
{
    free_list(budget, list, false);
}

uint64_t chunks_keep(struct cache_budget *budget, struct cache_chunk *list)
{
    return free_list(budget, list, true);
}

uint64_t chunks_paid(const struct cache_chunk *list)
{
    uint64_t paid = 0;
    for (; list; list = list->next)
        paid += list->paid;
    return paid;
}

/* Of the chunk's slot, when the body's bytes end there. */
static uint64_t pages_of(const struct cache_budget *budget, const struct cache_chunk *c, uint64_t end)
{
    if (c->slot == CACHE_SLOT_NONE || end <= c->start)
        return 0;
    return cache_pages_for(budget->pages, end < chunk_end(c) ? end - c->start : c->size);
}

uint64_t chunks_cost(const struct cache_budget *budget, const struct cache_chunk *list, uint64_t end)
{
    uint64_t cost = 0;
    for (const struct cache_chunk *c = list; c; c = c->next) {
        uint64_t pages = pages_of(budget, c, end);
        cost += pages > c->paid ? pages - c->paid : 0;
    }
    return cost;
}

void chunks_pay(const struct cache_budget *budget, struct cache_chunk *list, uint64_t end)
{
    for (struct cache_chunk *c = list; c; c = c->next) {
        uint64_t pages = pages_of(budget, c, end);
        c->paid = pages > c->paid ? (uint32_t)pages : c->paid;
    }
}

/* Slots that were taken for the body and not used. */
static void free_slots(struct cache_body *b, const struct cache_run *run)
{
    if (run->count == 0)
        return;
    cache_pages_give(b->budget->pages, run);
    atomic_fetch_sub_explicit(&b->memory, run->paid, memory_order_relaxed);
    cache_budget_give(b->budget, run->paid);
}

void body_return_run(struct cache_body *b)
{
    free_slots(b, &b->run);
    b->run = (struct cache_run){0};
}

void body_return_pages(struct cache_body *b)
{
    struct cache_chunk *last = b->last;
    uint64_t bytes = atomic_load_explicit(&b->bytes, memory_order_relaxed);
    uint64_t needed = pages_of(b->budget, last, bytes);
    if (b->is_stream || last->paid <= needed)
        return;
    cache_pages_shorten(b->budget->pages, last->slot, (uint32_t)needed);
    atomic_fetch_sub_explicit(&b->memory, last->paid - needed, memory_order_relaxed);
    cache_budget_give(b->budget, last->paid - needed);
    last->paid = (uint32_t)needed;
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
        atomic_store_explicit(&b->has_slack, false, memory_order_release);
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
static uint32_t take_slot(struct cache_body *b, uint64_t start, uint32_t *paid)
{
    struct cache_run *run = &b->run;
    if (run->count == 0) {
        uint64_t wanted = RUN_UNKNOWN;
        if (b->length != CACHE_BODY_UNKNOWN && start < b->length)
            wanted = (b->length - start + CACHE_SLOT - 1) / CACHE_SLOT;
        *run = cache_pages_take(b->budget->pages, wanted < CACHE_RUN_MAX ? (uint32_t)wanted : CACHE_RUN_MAX);
        if (run->count == 0)
            return CACHE_SLOT_NONE;
        atomic_fetch_add_explicit(&b->memory, run->paid, memory_order_relaxed);
    }
    *paid = run->paid < CACHE_SLOT ? (uint32_t)run->paid : CACHE_SLOT;
    run->paid -= *paid;
    run->count--;
    return run->first++;
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
    uint32_t slot = CACHE_SLOT_NONE, paid = 0;
    if (b->budget->pages && !b->is_stream && (size >= CHUNK_PAGES_LEAST || before->slot != CACHE_SLOT_NONE))
        slot = take_slot(b, start, &paid);
    /* What is not written of a slot costs nothing. */
    if (size > CACHE_CHUNK_MAX || (slot != CACHE_SLOT_NONE && b->length == CACHE_BODY_UNKNOWN))
        size = CACHE_CHUNK_MAX;
    size_t whole = sizeof(struct cache_chunk) + (slot == CACHE_SLOT_NONE ? (size_t)size : 0);
    uint64_t taken = 0;
    struct cache_chunk *c = b->is_stream ? malloc(whole) : cache_budget_alloc(b->budget, whole, &taken);
    if (!c) {
        struct cache_run back = {slot, slot != CACHE_SLOT_NONE, paid};
        free_slots(b, &back);
        return NULL;
    }
    *memory += taken;
    *c = (struct cache_chunk){.start = start, .size = (uint32_t)size, .slot = slot, .paid = paid};
    c->data = slot == CACHE_SLOT_NONE ? c->bytes : cache_pages_at(b->budget->pages, slot);
    return c;
}
