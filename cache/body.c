#include "cache/body.h"

#include <stdlib.h>
#include <string.h>

#include "cache/chunk.h"

static void end(struct cache_body *b, enum cache_body_state state);

struct cache_body *cache_body_create(struct cache_budget *budget, uint64_t length)
{
    bool in_pages = budget->pages && length >= CHUNK_PAGES_LEAST;
    uint32_t room = length <= CACHE_CHUNK_MAX && !in_pages ? (uint32_t)length : 0;
    uint64_t memory;
    struct cache_body *b = cache_budget_alloc(budget, sizeof *b + room, &memory);
    if (!b)
        return NULL;
    *b = (struct cache_body){.budget = budget, .own_memory = memory, .length = length, .head.size = room};
    b->head.slot = CACHE_SLOT_NONE;
    b->head.data = b->head.bytes;
    atomic_init(&b->count, BODY_HOLD);
    atomic_init(&b->state, CACHE_BODY_GROWING);
    atomic_init(&b->memory, memory);
    b->first = b->last = &b->head;
    cache_signal_init(&b->changed);
    return b;
}

struct cache_body *cache_body_hold(struct cache_body *b)
{
    atomic_fetch_add_explicit(&b->count, BODY_HOLD, memory_order_relaxed);
    return b;
}

void cache_body_release(struct cache_body *b)
{
    if (b)
        body_drop(b, BODY_HOLD);
}

/* What is left of `memory` to be given back when the pages of the list are kept, or others are let go. */
static uint64_t keep_pages(struct cache_budget *budget, struct cache_chunk *list, uint64_t memory)
{
    uint64_t paid = chunks_paid(list);
    return memory - paid + chunks_keep(budget, list);
}

void body_drop(struct cache_body *b, uint64_t part)
{
    if (atomic_fetch_sub_explicit(&b->count, part, memory_order_acq_rel) != part)
        return;
    struct cache_budget *budget = b->budget;
    struct cache_chunk *list = b->first == &b->head ? b->head.next : b->first;
    body_return_run(b);
    uint64_t memory = atomic_load_explicit(&b->memory, memory_order_relaxed);
    if (b->is_stream || atomic_load_explicit(&b->was_sent, memory_order_relaxed))
        chunks_free(budget, list);
    else
        memory = keep_pages(budget, list, memory);
    cache_signal_free(&b->changed);
    free(b);
    cache_budget_give(budget, memory);
}

static int put(struct cache_body *b, struct cache_chunk *to, uint64_t at, const char *from, size_t bytes)
{
    if (to->slot != CACHE_SLOT_NONE)
        return cache_pages_write(b->budget->pages, to->slot, (uint32_t)at, from, bytes);
    memcpy(to->bytes + at, from, bytes);
    return 0;
}

/* Copies to where nobody reads yet: the room that the last chunk has, and the list of new ones. */
static int copy(struct cache_body *b, uint64_t at, const struct iovec *iov, int count)
{
    struct cache_chunk *to = b->last;
    for (int i = 0; i < count; i++) {
        const char *from = iov[i].iov_base;
        for (size_t left = iov[i].iov_len; left > 0;) {
            while (at == chunk_end(to))
                to = to->next;
            uint64_t room = chunk_end(to) - at;
            size_t piece = left < room ? left : (size_t)room;
            if (put(b, to, at - to->start, from, piece) != 0)
                return -1;
            at += piece, from += piece, left -= piece;
        }
    }
    return 0;
}

/* What append() took for nothing. The chunks behind the last one were not shown to anybody. */
static void undo(struct cache_body *b, uint64_t memory)
{
    struct cache_chunk *fresh = b->last->next;
    b->last->next = NULL;
    if (b->last->slot != CACHE_SLOT_NONE)
        cache_pages_shorten(b->budget->pages, b->last->slot, b->last->paid);
    chunks_undo(b, fresh, memory);
}

int cache_body_append(struct cache_body *b, const struct iovec *iov, int count)
{
    uint64_t bytes = atomic_load_explicit(&b->bytes, memory_order_relaxed);
    uint64_t more = 0;
    for (int i = 0; i < count; i++)
        more += iov[i].iov_len;
    if (more == 0)
        return 0;

    uint64_t room = chunk_end(b->last) - bytes, memory = 0;
    struct cache_chunk *last = b->last;
    if (more > room) {
        b->last->next = chunks_create(b, bytes + room, more - room, &last, &memory);
        if (!b->last->next)
            return -1;
    }
    uint64_t cost = b->is_stream ? 0 : chunks_cost(b->budget, b->last, bytes + more);
    if (cost && !cache_budget_take(b->budget, cost)) {
        undo(b, memory);
        return -1;
    }
    memory += cost;
    if (copy(b, bytes, iov, count) != 0) {
        undo(b, memory);
        return -1;
    }
    atomic_fetch_add_explicit(&b->memory, memory, memory_order_relaxed);
    if (cost)
        chunks_pay(b->budget, b->last, bytes + more);
    if (last == b->last) {
        atomic_store_explicit(&b->bytes, bytes + more, memory_order_release);
    } else {
        body_lock(b);
        b->last = last;
        atomic_store_explicit(&b->bytes, bytes + more, memory_order_release);
        struct cache_chunk *gone = body_let_go(b);
        body_unlock(b);
        chunks_free(b->budget, gone);
    }
    cache_signal_raise(&b->changed);
    return 0;
}

void cache_body_finish(struct cache_body *b)
{
    body_return_run(b);
    body_return_pages(b);
    atomic_store_explicit(&b->has_slack, !b->is_stream && body_is_roomy(b), memory_order_relaxed);
    end(b, CACHE_BODY_WHOLE);
    body_trim(b);
}

void cache_body_cut(struct cache_body *b)
{
    body_return_run(b);
    end(b, CACHE_BODY_CUT);
}

/* Under the lock: a reader that leaves knows then whether it or the appender is the last who can trim. */
static void end(struct cache_body *b, enum cache_body_state state)
{
    body_lock(b);
    atomic_store_explicit(&b->state, (int)state, memory_order_release);
    body_unlock(b);
    cache_signal_raise(&b->changed);
}

void cache_body_stream(struct cache_body *b)
{
    body_return_run(b);
    body_lock(b);
    b->is_stream = true;
    struct cache_chunk *gone = body_let_go(b);
    body_unlock(b);
    chunks_free(b->budget, gone);
    uint64_t memory = atomic_exchange_explicit(&b->memory, b->own_memory, memory_order_relaxed);
    cache_budget_give(b->budget, memory - b->own_memory);
}

bool cache_body_is_ahead(struct cache_body *b, struct loop *loop, struct cache_waiter *ahead,
                         void (*wake)(struct cache_waiter *))
{
    body_lock(b);
    bool full = body_is_full(b);
    body_unlock(b);
    /* Without memory to wait: rather too much in the stream than a stream that stands still. */
    if (full && ahead && (full = cache_signal_wait(&b->changed, loop, ahead, wake) == 0)) {
        body_lock(b);
        full = b->appender_waits = body_is_full(b);
        body_unlock(b);
    }
    if (!full && ahead)
        cache_signal_cancel(ahead);
    return full;
}

uint64_t cache_body_bytes(const struct cache_body *b)
{
    return atomic_load_explicit(&b->bytes, memory_order_acquire);
}

enum cache_body_state cache_body_state(const struct cache_body *b)
{
    return (enum cache_body_state)atomic_load_explicit(&b->state, memory_order_acquire);
}

bool cache_body_can_seek(const struct cache_body *b)
{
    return body_is_settled(b);
}

/* Trimming moves a chunk, of a body that has slack alone. */
bool cache_body_piece(const struct cache_body *b, uint64_t most, struct slice *out)
{
    uint64_t bytes = cache_body_bytes(b);
    if (bytes > most || !body_is_settled(b) || atomic_load_explicit(&b->has_slack, memory_order_acquire))
        return false;
    const struct cache_chunk *c = b->head.size ? &b->head : b->head.next;
    if (!c || c->size < bytes)
        return false;
    *out = slice_of(c->data, bytes);
    return true;
}

uint64_t cache_body_memory(const struct cache_body *b)
{
    return atomic_load_explicit(&b->memory, memory_order_relaxed);
}

uint32_t cache_body_readers(const struct cache_body *b)
{
    uint64_t count = atomic_load_explicit(&b->count, memory_order_acquire) & ~BODY_TRIMMING;
    return (uint32_t)(count / BODY_READER);
}

bool cache_body_is_wanted(const struct cache_body *b)
{
    return (uint32_t)atomic_load_explicit(&b->count, memory_order_acquire) > BODY_HOLD;
}
