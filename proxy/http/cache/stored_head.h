/* The head of a stored response: its fields as they came, one behind the other as lines of HTTP/1.1, and an
 * array that says where each is. Before them the status line stands, and behind them Via and Content-Length,
 * so that a plain hit over HTTP/1.1 has one piece to send; where fields are changed a hit copies the array.
 */
#pragma once

#include "cache/rules.h"
#include "core/arena.h"
#include "proxy/http/message.h"

struct stored_head {
    uint64_t length; /* of the body, as announced; UINT64_MAX = it was not */
    uint32_t count;
    uint8_t minor; /* of the protocol that it came by, for Via */
    bool is_http2;
    bool has_date;
    uint32_t lines_len;    /* of the text behind the fields: status line, fields, Via */
    uint32_t framed_len;   /* the same with Content-Length; where the length was not announced, without */
    struct field fields[]; /* point behind them */
};

/* The lines of a whole body's head, which may be sent as they are; *has_length: that of the body is among
 * them. Empty where some are made when it is sent. */
static inline struct slice stored_head_lines(const struct stored_head *h, uint64_t length, bool *has_length)
{
    *has_length = h->length == length;
    return slice_of((const char *)(h->fields + h->count), !h->has_date  ? 0
                                                          : *has_length ? h->framed_len
                                                                        : h->lines_len);
}

/* Which of a response's fields are stored (RFC 9111 §3.1): not those between two hops, Age, Content-Length
 * (known from the body), what authenticates to a proxy, what the verdict leaves out, and Set-Cookie if
 * `strip_cookies`. In the arena; 0, or -1 when out of memory.
 */
int stored_fields_pick(const struct fields *from, const struct cache_verdict *v, bool strip_cookies,
                       struct arena *a, struct fields *out);

/* Those of `stored` with what a 304 brings (§3.2): each of its fields takes the place of all of that name,
 * but for those that describe the body that is there. */
int stored_fields_merge(const struct stored_head *stored, const struct fields *update, struct arena *a,
                        struct fields *out);

size_t stored_head_size(const struct fields *f);
/* `length` as above. Writes it to `at`, of that size and aligned to 16; validators point into it. */
void stored_head_write(void *at, const struct fields *f, const struct http_response *r, uint64_t length,
                       struct slice *etag, struct slice *modified);

/* The fields, with room for some more, in the arena. 0, or -1 when out of memory. */
int stored_head_read(const struct stored_head *h, struct arena *a, struct fields *out);
