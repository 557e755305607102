/* What an answer says of the cache: Cache-Status (RFC 9211) and Age (RFC 9111 §5.1). */
#include <inttypes.h>
#include <stdio.h>

#include "proxy/http/cache/internal.h"
#include "proxy/http/fields.h"

#define STATUS_ROOM 192

static int64_t time_left(const struct exchange_cache *c)
{
    const struct cache_freshness *f = &c->object->freshness;
    return f->lifetime - cache_age(f, cache_now(c->x));
}

int cache_status_add(struct exchange_cache *c, struct fields *f)
{
    struct exchange *x = c->x;
    bool is_stored = c->object && x->responder == &cache_responder && !c->relays;
    char *text = arena_alloc(&x->arena, STATUS_ROOM), *age = is_stored ? arena_alloc(&x->arena, 24) : NULL;
    if (!text || (is_stored && !age))
        return -1;
    size_t n = (size_t)snprintf(text, STATUS_ROOM, "weir; %s%s", c->forward ? "fwd=" : "hit",
                                c->forward ? c->forward : "");
    if (c->forward && c->forward_status)
        n += (size_t)snprintf(text + n, STATUS_ROOM - n, "; fwd-status=%u", c->forward_status);
    if (c->stored)
        n += (size_t)snprintf(text + n, STATUS_ROOM - n, "; stored");
    if (c->collapsed)
        n += (size_t)snprintf(text + n, STATUS_ROOM - n, "; collapsed");
    if (is_stored)
        n += (size_t)snprintf(text + n, STATUS_ROOM - n, "; ttl=%" PRId64, time_left(c));
    if (c->detail)
        n += (size_t)snprintf(text + n, STATUS_ROOM - n, "; detail=%s", c->detail);
    if (fields_add(&x->arena, f, FIELD_OTHER, S("Cache-Status"), slice_of(text, n)) != 0)
        return -1;
    int64_t seconds = is_stored ? cache_age(&c->object->freshness, cache_now(x)) : 0;
    bool is_first_hand = c->result == CACHE_RESULT_MISS || c->result == CACHE_RESULT_REVALIDATED;
    if (!is_stored || (seconds == 0 && is_first_hand))
        return 0;
    int digits = snprintf(age, 24, "%" PRId64, seconds);
    return fields_add(&x->arena, f, FIELD_AGE, S("Age"), slice_of(age, (size_t)digits));
}

enum cache_result exchange_cache_result(const struct exchange *x)
{
    return x->cache ? x->cache->result : CACHE_RESULT_NONE;
}
