#include "core/buffer.h"

#include <stdlib.h>
#include <string.h>

#define POOL_BLOCKS_MAX 64

void block_pool_init(struct block_pool *p)
{
    *p = (struct block_pool){0};
}

void block_pool_free(struct block_pool *p)
{
    while (p->free) {
        struct block *next = p->free->next;
        free(p->free);
        p->free = next;
    }
    p->count = 0;
}

static struct block *block_take(struct block_pool *p)
{
    struct block *b = p->free;
    if (b) {
        p->free = b->next;
        p->count--;
    } else {
        b = malloc(sizeof *b);
    }
    if (b) {
        b->next = NULL;
        b->start = b->end = 0;
    }
    return b;
}

static void block_give(struct block_pool *p, struct block *b)
{
    if (p->count >= POOL_BLOCKS_MAX) {
        free(b);
        return;
    }
    b->next = p->free;
    p->free = b;
    p->count++;
}

/* Makes sure that `need` bytes fit behind what is there. */
static int reserve(struct buffer *b, struct block_pool *p, size_t need, struct block **added)
{
    size_t room = b->last ? sizeof b->last->bytes - b->last->end : 0;
    struct block **tail = added;
    while (room < need) {
        struct block *fresh = block_take(p);
        if (!fresh) {
            while (*added) {
                struct block *next = (*added)->next;
                block_give(p, *added);
                *added = next;
            }
            return -1;
        }
        *tail = fresh;
        tail = &fresh->next;
        room += sizeof fresh->bytes;
    }
    return 0;
}

int buffer_append(struct buffer *b, struct block_pool *p, const struct iovec *iov, int count, size_t skip)
{
    size_t total = 0;
    for (int i = 0; i < count; i++)
        total += iov[i].iov_len;
    if (total <= skip)
        return 0;
    struct block *added = NULL;
    if (reserve(b, p, total - skip, &added) != 0)
        return -1;
    for (int i = 0; i < count; i++) {
        const char *at = iov[i].iov_base;
        size_t len = iov[i].iov_len;
        size_t jump = skip < len ? skip : len;
        if (!len)
            continue; /* `at` may be NULL */
        skip -= jump;
        at += jump;
        len -= jump;
        while (len) {
            if (!b->last || b->last->end == sizeof b->last->bytes) {
                struct block *fresh = added;
                added = fresh->next;
                fresh->next = NULL;
                if (b->last)
                    b->last->next = fresh;
                else
                    b->first = fresh;
                b->last = fresh;
            }
            size_t room = sizeof b->last->bytes - b->last->end;
            size_t n = len < room ? len : room;
            memcpy(b->last->bytes + b->last->end, at, n);
            b->last->end += (uint32_t)n;
            b->bytes += n;
            at += n;
            len -= n;
        }
    }
    return 0;
}

int buffer_peek(const struct buffer *b, struct iovec *iov, int max)
{
    return buffer_peek_from(b, 0, iov, max);
}

int buffer_peek_from(const struct buffer *b, size_t skip, struct iovec *iov, int max)
{
    int count = 0;
    for (struct block *k = b->first; k && count < max; k = k->next) {
        size_t have = k->end - k->start;
        size_t jump = skip < have ? skip : have;
        skip -= jump;
        if (have > jump)
            iov[count++] = (struct iovec){k->bytes + k->start + jump, have - jump};
    }
    return count;
}

void buffer_consume(struct buffer *b, struct block_pool *p, size_t n)
{
    ASSERT(n <= b->bytes);
    b->bytes -= n;
    while (b->first) {
        struct block *k = b->first;
        size_t have = k->end - k->start;
        if (n < have) {
            k->start += (uint32_t)n;
            return;
        }
        n -= have;
        b->first = k->next;
        if (!b->first)
            b->last = NULL;
        block_give(p, k);
        if (n == 0 && b->bytes)
            return;
    }
}

void buffer_clear(struct buffer *b, struct block_pool *p)
{
    buffer_consume(b, p, b->bytes);
}
