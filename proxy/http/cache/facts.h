/* A message's head as the rules of caching ask about it (cache/rules.h): the lines of the fields that they
 * read. */
#pragma once

#include "cache/rules.h"
#include "core/arena.h"
#include "proxy/http/message.h"

/* Which fields of those that have an id are there: bit 1 << id (FIELD_BIT). */
static inline uint64_t fields_seen(const struct fields *f)
{
    uint64_t seen = 0;
    for (uint32_t i = 0; i < f->count; i++)
        seen |= FIELD_BIT(f->at[i].id);
    return seen;
}

#define CACHE_REQUEST_LINES 16 /* of Cache-Control and of Pragma together */

/* `lines` is room for what *out points to. False when there are more than it holds. */
bool cache_request_facts(const struct http_request *r, struct slice lines[CACHE_REQUEST_LINES],
                         struct cache_request *out);

/* From the arena. 0, or -1 when out of memory. */
int cache_response_facts(const struct http_response *r, struct arena *a, struct cache_response *out);

/* ETag and Last-Modified, the first of each; empty = not there. */
void cache_validators_of(const struct fields *f, struct slice *etag, struct slice *modified);

/* cache_vary_lookup over a request; context is a struct cache_asked. */
struct cache_asked {
    const struct fields *fields;
    struct arena *arena;
    bool failed; /* out of memory: what was told is not all */
};
struct cache_lines cache_asked_lines(void *context, struct slice name);
