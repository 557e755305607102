/* Writes HTTP/1.1 heads into a buffer. Fields that stand side by side in memory as they came are copied in
 * one piece. */
#pragma once

#include <sys/uio.h>

#include "proxy/http/message.h"

struct head_writer {
    char *start, *at, *end;
    bool overflow; /* it did not fit; what is there is of no use */
};

static inline void head_init(struct head_writer *w, char *buffer, size_t size)
{
    *w = (struct head_writer){.start = buffer, .at = buffer, .end = buffer + size};
}

static inline void head_put(struct head_writer *w, struct slice s)
{
    if (s.len > (size_t)(w->end - w->at)) {
        w->overflow = true;
        return;
    }
    if (s.len)
        memcpy(w->at, s.at, s.len);
    w->at += s.len;
}

void head_put_number(struct head_writer *w, uint64_t number);
void head_put_field(struct head_writer *w, struct slice name, struct slice value);

/* Every field but those whose id is in `skip` (bit 1 << id; not FIELD_OTHER). */
void head_put_fields(struct head_writer *w, const struct fields *f, uint64_t skip);

void head_put_request_line(struct head_writer *w, const struct http_request *r, struct slice path);
/* HTTP/1.1, the status, and its reason (the standard one where r has none). */
void head_put_status_line(struct head_writer *w, const struct http_response *r);

static inline struct iovec head_iovec(const struct head_writer *w)
{
    return (struct iovec){w->start, (size_t)(w->at - w->start)};
}

/* Makes one vector of the head, which iov[0] is, and what follows it, where that is short: to copy it costs
 * less than a second vector does in the kernel. How many vectors there are then. */
#define HEAD_JOINED_MAX 4096
int head_join(struct head_writer *w, struct iovec *iov, int count);

/* The line before a chunk's data, "1a2b" CRLF; its length. */
#define H1_CHUNK_LINE 20
size_t h1_chunk_line(uint64_t size, char out[H1_CHUNK_LINE]);
