/* Readers of a body: see chunk.h for what needs the lock. */
#include "cache/chunk.h"

static void settle(struct cache_reader *r);
static void go_on(struct cache_reader *r, uint64_t bytes);
static bool has_news(const struct cache_reader *r);
static void on_changed(struct cache_waiter *w);
static void on_due(struct task *t);

int cache_reader_open(struct cache_reader *r, struct cache_body *b, struct loop *loop,
                      void (*wake)(struct cache_reader *))
{
    uint64_t before = atomic_fetch_add_explicit(&b->count, BODY_READER + BODY_HOLD, memory_order_acq_rel);
    if (UNLIKELY(before & BODY_TRIMMING) || !body_is_settled(b)) {
        body_lock(b);
        bool too_late = b->first != &b->head;
        if (!too_late) {
            b->head.on++;
            b->was_read = true;
        }
        body_unlock(b);
        if (too_late) {
            atomic_fetch_sub_explicit(&b->count, BODY_READER, memory_order_acq_rel);
            cache_body_release(b);
            return -1;
        }
    }
    *r = (struct cache_reader){.body = b, .chunk = &b->head, .loop = loop, .wake = wake};
    task_init(&r->due);
    return 0;
}

/* While it grows, or as a stream: whoever waits for this reader must not wait for ever. */
static void leave(struct cache_reader *r, struct cache_body *b)
{
    body_lock(b);
    r->chunk->on--;
    atomic_fetch_sub_explicit(&b->count, BODY_READER, memory_order_acq_rel);
    struct cache_chunk *gone = body_let_go(b);
    bool wakes = body_wakes_appender(b);
    body_unlock(b);
    chunks_free(b->budget, gone);
    if (wakes)
        cache_signal_raise(&b->changed);
}

void cache_reader_close(struct cache_reader *r)
{
    struct cache_body *b = r->body;
    if (!b)
        return;
    cache_signal_cancel(&r->waiter);
    list_remove(&r->due.link);
    r->body = NULL;
    if (LIKELY(body_is_settled(b) && !atomic_load_explicit(&b->has_slack, memory_order_relaxed))) {
        body_drop(b, BODY_READER + BODY_HOLD);
        return;
    }
    if (body_is_settled(b))
        atomic_fetch_sub_explicit(&b->count, BODY_READER, memory_order_acq_rel);
    else
        leave(r, b);
    /* It may have become whole just now. */
    if (body_is_settled(b) && atomic_load_explicit(&b->has_slack, memory_order_relaxed))
        body_trim(b);
    body_drop(b, BODY_HOLD);
}

int cache_reader_peek(struct cache_reader *r, struct iovec *iov, int max, uint64_t limit, uint64_t *bytes)
{
    settle(r);
    uint64_t at = r->at, end = cache_body_bytes(r->body);
    if (end - at > limit)
        end = at + limit;
    struct cache_chunk *c = r->chunk;
    int count = 0;
    while (at < end && count < max) {
        if (at == chunk_end(c))
            c = c->next;
        uint64_t stop = chunk_end(c) < end ? chunk_end(c) : end;
        iov[count++] = (struct iovec){(void *)(uintptr_t)(c->data + (at - c->start)), (size_t)(stop - at)};
        at = stop;
    }
    *bytes = at - r->at;
    return count;
}

uint64_t cache_reader_file(struct cache_reader *r, uint64_t limit, struct cache_extent *out)
{
    settle(r);
    uint64_t at = r->at, end = cache_body_bytes(r->body);
    if (end - at > limit)
        end = at + limit;
    *out = (struct cache_extent){0};
    const struct cache_chunk *c = r->chunk;
    if (at < end && at == chunk_end(c))
        c = c->next;
    for (uint64_t from = at; from < end && c->slot == CACHE_SLOT_NONE; from = chunk_end(c), c = c->next) {
        out->before = (chunk_end(c) < end ? chunk_end(c) : end) - at;
        if (chunk_end(c) >= end)
            return 0;
    }
    if (at == end || out->before)
        return 0;
    if (!atomic_load_explicit(&r->body->was_sent, memory_order_relaxed))
        atomic_store_explicit(&r->body->was_sent, true, memory_order_relaxed);
    out->fd = cache_pages_fd(r->body->budget->pages);
    out->offset = cache_pages_offset(c->slot) + (at - c->start);
    while (chunk_end(c) < end && c->size == CACHE_SLOT && c->next->slot == c->slot + 1)
        c = c->next;
    return (chunk_end(c) < end ? chunk_end(c) : end) - at;
}

void cache_reader_skip(struct cache_reader *r, uint64_t bytes)
{
    ASSERT(bytes <= cache_body_bytes(r->body) - r->at);
    r->at += bytes;
    settle(r);
}

void cache_reader_seek(struct cache_reader *r, uint64_t at)
{
    ASSERT(body_is_settled(r->body) && at <= cache_body_bytes(r->body));
    r->at = at;
    if (at < r->chunk->start)
        r->chunk = &r->body->head;
    settle(r);
}

int cache_reader_wait(struct cache_reader *r)
{
    if (r->waiter.audience || list_linked(&r->due.link))
        return 0;
    if (!has_news(r)) {
        if (cache_signal_wait(&r->body->changed, r->loop, &r->waiter, on_changed) != 0)
            return -1;
        if (!has_news(r))
            return 0;
        cache_signal_cancel(&r->waiter);
    }
    loop_defer(r->loop, &r->due, on_due);
    return 0;
}

static struct cache_chunk *chunk_of(struct cache_chunk *c, uint64_t at, uint64_t bytes)
{
    while (at >= chunk_end(c) && bytes > chunk_end(c))
        c = c->next;
    return c;
}

/* To the chunk of the reader's place, if that is there already; else to the last one before. */
static void settle(struct cache_reader *r)
{
    struct cache_body *b = r->body;
    uint64_t bytes;
    if (r->at >= chunk_end(r->chunk) && (bytes = cache_body_bytes(b)) > chunk_end(r->chunk)) {
        if (LIKELY(body_is_settled(b)))
            r->chunk = chunk_of(r->chunk, r->at, bytes);
        else
            go_on(r, bytes);
    }
    r->offset = (uint32_t)(r->at - r->chunk->start);
}

/* The same while readers are counted. */
static void go_on(struct cache_reader *r, uint64_t bytes)
{
    struct cache_body *b = r->body;
    body_lock(b);
    r->chunk->on--;
    r->chunk = chunk_of(r->chunk, r->at, bytes);
    r->chunk->on++;
    struct cache_chunk *gone = body_let_go(b);
    bool wakes = body_wakes_appender(b);
    body_unlock(b);
    chunks_free(b->budget, gone);
    if (wakes)
        cache_signal_raise(&b->changed);
}

static bool has_news(const struct cache_reader *r)
{
    return cache_body_state(r->body) != CACHE_BODY_GROWING || cache_body_bytes(r->body) > r->at;
}

/* The signal is raised for the appender of a stream too. */
static void on_changed(struct cache_waiter *w)
{
    struct cache_reader *r = CONTAINER_OF(w, struct cache_reader, waiter);
    if (!has_news(r) && cache_reader_wait(r) == 0)
        return;
    r->wake(r);
}

static void on_due(struct task *t)
{
    struct cache_reader *r = CONTAINER_OF(t, struct cache_reader, due);
    r->wake(r);
}
