/* A stored response as bytes, as the second tier has it: written by one process, read by another, which
 * trusts it no more than an answer from the network. */
#pragma once

#include "cache/object.h"
#include "core/arena.h"
#include "proxy/http/message.h"

struct portable {
    bool is_signpost; /* there are variants: only `vary_names`, and they stand at portable_variant_key() */
    struct slice vary_names;
    struct cache_freshness freshness;
    uint16_t status;
    uint8_t minor;
    bool is_http2;
    struct fields fields;
    struct slice body; /* of the bytes that were read, as all text */
};

/* All that stands before the body. In the arena; 0, or -1 when out of memory, or a field is too long. */
int portable_write(const struct cache_object *o, struct arena *a, struct slice *out);
int portable_write_signpost(struct slice vary_names, struct arena *a, struct slice *out);
/* Where a variant stands: behind the key that the signpost stands at. Empty when out of memory. */
struct slice portable_variant_key(struct slice key, struct slice vary_text, struct arena *a);

/* 0, or -1: it is none, or out of memory. */
int portable_read(struct slice bytes, struct arena *a, struct portable *out);
