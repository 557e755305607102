/* The bytes of a stored response: an append-only list of counted chunks. One thread appends; any number read,
 * each at its own pace on its own loop, while it grows. Chunks never move nor change, so readers take no lock
 * and copy nothing: what cache_reader_peek() gives goes straight into writev().
 *
 * Ownership: counted. Whoever holds a reader holds the body with it. A body that is evicted while it is being
 * sent stays whole until the last reader has let go; its bytes stay in the budget as long.
 *
 * When a body turns out not to be storable while some read it already (longer than an object may be, or no
 * memory), cache_body_stream() makes it a stream: each chunk is freed when the last reader has passed it, and
 * the appender is held back (cache_body_is_ahead) so that no more than CACHE_STREAM_WINDOW bytes are in
 * memory ahead of the slowest reader. Until the first reader comes the first CACHE_STREAM_WINDOW bytes are
 * kept for it; then, or when it has left, nothing is. The chunks of a stream are not in the budget: they are
 * bytes in transit, like those of any connection. */
#pragma once

#include <sys/uio.h>

#include "cache/budget.h"
#include "cache/signal.h"
#include "core/slice.h"

#define CACHE_CHUNK_MAX     (64u << 10) /* bytes of data in a chunk, at most */
#define CACHE_STREAM_WINDOW (512u << 10)
#define CACHE_BODY_UNKNOWN  UINT64_MAX

struct cache_body;

enum cache_body_state {
    CACHE_BODY_GROWING,
    CACHE_BODY_WHOLE,
    CACHE_BODY_CUT, /* it will never be whole */
};

/* `length` as announced, or CACHE_BODY_UNKNOWN: decides the sizes of chunks (an announced length wastes
 * nothing; chunks of an unknown one grow from 4 KiB). NULL when out of memory or budget. Its own struct is in
 * the budget. */
struct cache_body *cache_body_create(struct cache_budget *b, uint64_t length);
struct cache_body *cache_body_hold(struct cache_body *b);
void cache_body_release(struct cache_body *b); /* NULL is allowed; any thread */

/* Copies the bytes to the end and wakes the readers. 0, or -1 when there is no memory or no budget (nothing
 * was appended: call cache_body_stream() and append again, or give up). */
int cache_body_append(struct cache_body *b, const struct iovec *iov, int count);
/* The end; trims what the last chunk has too much: at once, or when the last of the readers leaves. */
void cache_body_finish(struct cache_body *b);
void cache_body_cut(struct cache_body *b);

void cache_body_stream(struct cache_body *b);
/* Of a stream: so much is in memory that the appender should wait; ahead->wake() comes once when readers have
 * taken some (or all have left), if `ahead` is not NULL (it begins cleared): ask again then. Always false
 * while nobody reads. The appender cancels it (cache_signal_cancel) before it lets go of the body. */
bool cache_body_is_ahead(struct cache_body *b, struct loop *loop, struct cache_waiter *ahead,
                         void (*wake)(struct cache_waiter *));

/* From any thread. */
uint64_t cache_body_bytes(const struct cache_body *b); /* so far */
enum cache_body_state cache_body_state(const struct cache_body *b);
bool cache_body_can_seek(const struct cache_body *b);   /* whole, and no stream */
uint64_t cache_body_memory(const struct cache_body *b); /* in the budget, all told; trimming lessens it */
uint32_t cache_body_readers(const struct cache_body *b);
/* Somebody else than the caller holds it: reads it, or will. */
bool cache_body_is_wanted(const struct cache_body *b);

/* The bytes of a whole body that stand in one piece, `most` of them at most, for who holds the body but does
 * not read it; they stay where they are. False where it needs a reader. */
bool cache_body_piece(const struct cache_body *b, uint64_t most, struct slice *out);

/* One who reads; on one loop. */
struct cache_reader {
    struct cache_body *body; /* held; NULL = closed */
    struct cache_chunk *chunk;
    uint64_t at;     /* of the body's bytes */
    uint32_t offset; /* of that within the chunk */
    struct loop *loop;
    struct cache_waiter waiter;
    struct task due; /* wake() is to come though nothing was raised */
    void (*wake)(struct cache_reader *);
};

/* `r` begins cleared. Begins at byte 0. `wake` as for cache_reader_wait. A stream that has let go of its
 * first bytes takes no more readers: -1. */
int cache_reader_open(struct cache_reader *r, struct cache_body *b, struct loop *loop,
                      void (*wake)(struct cache_reader *));
void cache_reader_close(struct cache_reader *r); /* idempotent */

/* The end is where the reader's place is cache_body_bytes() in a body that is whole: ask for the state first,
 * then peek (what is appended between the two would be taken for missing otherwise). */

/* Vectors over what is there from the reader's place on, at most `max` of them and `limit` bytes; their
 * number. *bytes is their sum. */
int cache_reader_peek(struct cache_reader *r, struct iovec *iov, int max, uint64_t limit, uint64_t *bytes);

/* Where bytes of a body stand in a file. */
struct cache_extent {
    int fd;
    uint64_t offset;
    uint64_t before; /* bytes from the reader's place on that are in none: those have to be peeked at first */
};

/* The bytes from the reader's place on that stand side by side in a file, for sendfile(), `limit` at most; 0
 * = those at its place are in none, or nothing is there. They stay as they are while the reader is not
 * closed, and what is in a socket by then stays so for ever. */
uint64_t cache_reader_file(struct cache_reader *r, uint64_t limit, struct cache_extent *out);
/* Goes on by that many bytes, which are there. */
void cache_reader_skip(struct cache_reader *r, uint64_t bytes);
/* Goes back or forth to byte `at`, of a body in which that can be done (for ranges). */
void cache_reader_seek(struct cache_reader *r, uint64_t at);
/* wake() once there is more than at the reader's place, or the body has ended; at once (but never from
 * inside) when that is so already. 0, or -1 when out of memory. */
int cache_reader_wait(struct cache_reader *r);
