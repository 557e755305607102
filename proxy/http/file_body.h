/* The body of an answer that comes out of a file: all of it, one range, or several as the parts of a
 * multipart body (RFC 9110 §14.6). It is planned once, so that its length is known, and taken in pieces. */
#pragma once

#include <sys/uio.h>

#include "core/arena.h"
#include "proxy/http/ranges.h"

#define FILE_BODY_PIECE   (128u << 10) /* bytes of the file at once */
#define FILE_BODY_VECTORS 40

/* Text of weir's own (what stands before a part), then bytes of the file. */
struct stretch {
    struct slice text;
    uint64_t at, left;
};

struct file_body {
    int fd; /* the caller's to close */
    uint64_t length;
    struct stretch *stretches; /* in the arena */
    unsigned count, next;      /* next: the first that is not taken in full */
};

/* `size` is the file's; no ranges = the whole. `boundary` (unguessable letters and digits) and *type, that of
 * the file, serve several ranges, and *type is changed to the multipart's then. 0, or -1 when out of memory.
 */
int file_body_plan(struct file_body *b, struct arena *arena, uint64_t size, const struct byte_range *ranges,
                   unsigned count, const char *boundary, struct slice *type);

/* "bytes 0-4/10", the value of Content-Range; {NULL, 0} when out of memory. */
struct slice file_body_range(struct arena *arena, const struct byte_range *r, uint64_t size);

/* Takes the next piece: texts as they stand, the file's bytes through `piece`. The number of vectors; -1
 * (errno; 0 = the file has become shorter than it was planned) when it cannot be had. Blocks as the disk does
 * for what is not in the page cache. */
int file_body_next(struct file_body *b, char piece[FILE_BODY_PIECE], struct iovec iov[FILE_BODY_VECTORS],
                   size_t *bytes);

static inline bool file_body_done(const struct file_body *b)
{
    return b->next == b->count;
}
