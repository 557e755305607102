/* Bytes that could not be sent yet: a chain of blocks from the loop's pool. Empty, it owns nothing. */
#pragma once

#include <string.h>
#include <sys/uio.h>

#include "core/base.h"

#define BLOCK_SIZE (16u << 10)

struct block {
    struct block *next;
    uint32_t start, end; /* of what is in use of bytes[] */
    char bytes[BLOCK_SIZE - 16];
};

/* Free blocks of one loop, kept up to a bound. */
struct block_pool {
    struct block *free;
    unsigned count;
};

struct buffer {
    struct block *first, *last;
    size_t bytes;
};

void block_pool_init(struct block_pool *p);
void block_pool_free(struct block_pool *p);

/* Appends the bytes of `iov` behind the first `skip` of them. 0, or -1 when out of memory (then nothing was
 * appended). */
int buffer_append(struct buffer *b, struct block_pool *p, const struct iovec *iov, int count, size_t skip);

/* The same for one piece, which is short and mostly fits behind what is there. */
static inline int buffer_put(struct buffer *b, struct block_pool *p, const void *at, size_t len)
{
    struct block *k = b->last;
    if (UNLIKELY(!k || sizeof k->bytes - k->end < len)) {
        struct iovec iov = {(void *)(uintptr_t)at, len};
        return buffer_append(b, p, &iov, 1, 0);
    }
    if (len)
        memcpy(k->bytes + k->end, at, len);
    k->end += (uint32_t)len;
    b->bytes += len;
    return 0;
}

/* Fills at most `max` vectors with what is at the front; their number. */
int buffer_peek(const struct buffer *b, struct iovec *iov, int max);

/* Likewise behind the first `skip` bytes. */
int buffer_peek_from(const struct buffer *b, size_t skip, struct iovec *iov, int max);

/* Drops n bytes from the front. */
void buffer_consume(struct buffer *b, struct block_pool *p, size_t n);

void buffer_clear(struct buffer *b, struct block_pool *p);
