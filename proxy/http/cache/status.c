/* What an answer says of the cache: Cache-Status (RFC 9211) and Age (RFC 9111 §5.1). */
#include <string.h>

#include "proxy/http/cache/internal.h"
#include "proxy/http/fields.h"

#define STATUS_ROOM 224

static int64_t time_left(const struct exchange_cache *c)
{
    const struct cache_freshness *f = &c->object->freshness;
    return f->lifetime - cache_age(f, cache_now(c->x));
}

/* Text that grows in a room of its own, and ends where that is full. No printf: a hit pays for it. */
struct text {
    char *at;
    size_t len;
};

static void put(struct text *t, struct slice s)
{
    size_t n = s.len < STATUS_ROOM - t->len ? s.len : STATUS_ROOM - t->len;
    memcpy(t->at + t->len, s.at, n);
    t->len += n;
}

/* Without a sign; the bytes that it took. */
static size_t write_number(uint64_t number, char to[20])
{
    size_t digits = 1, at;
    for (uint64_t limit = 10; digits < 20 && number >= limit; limit *= 10)
        digits++;
    for (at = digits; at >= 2; number /= 100) {
        unsigned pair = (unsigned)(number % 100);
        to[--at] = (char)('0' + pair % 10);
        to[--at] = (char)('0' + pair / 10);
    }
    if (at)
        to[0] = (char)('0' + number);
    return digits;
}

static void put_number(struct text *t, int64_t number)
{
    char digits[20];
    if (number < 0)
        put(t, S("-"));
    put(t, slice_of(digits, write_number(number < 0 ? 0 - (uint64_t)number : (uint64_t)number, digits)));
}

static void put_status(struct text *t, const struct exchange_cache *c, bool is_stored)
{
    put(t, c->forward ? S("weir; fwd=") : S("weir; hit"));
    if (c->forward)
        put(t, slice_text(c->forward));
    if (c->forward && c->forward_status) {
        put(t, S("; fwd-status="));
        put_number(t, c->forward_status);
    }
    if (c->stored)
        put(t, S("; stored"));
    if (c->collapsed)
        put(t, S("; collapsed"));
    if (is_stored) {
        put(t, S("; ttl="));
        put_number(t, time_left(c));
    }
    if (c->detail) {
        put(t, S("; detail="));
        put(t, slice_text(c->detail));
    }
}

int cache_status_add(struct exchange_cache *c, struct fields *f)
{
    struct exchange *x = c->x;
    bool is_stored = c->object && x->responder == &cache_responder && !c->relays;
    struct text t = {.at = arena_alloc(&x->arena, STATUS_ROOM)};
    if (!t.at)
        return -1;
    put_status(&t, c, is_stored);
    if (fields_add(&x->arena, f, FIELD_OTHER, S("Cache-Status"), slice_of(t.at, t.len)) != 0)
        return -1;
    int64_t seconds = is_stored ? cache_age(&c->object->freshness, cache_now(x)) : 0;
    bool is_first_hand = c->result == CACHE_RESULT_MISS || c->result == CACHE_RESULT_REVALIDATED;
    if (!is_stored || (seconds == 0 && is_first_hand))
        return 0;
    size_t age = t.len;
    put_number(&t, seconds);
    return fields_add(&x->arena, f, FIELD_AGE, S("Age"), slice_of(t.at + age, t.len - age));
}

static char *append(char *to, struct slice s)
{
    memcpy(to, s.at, s.len);
    return to + s.len;
}

struct slice cache_status_lines(const struct exchange_cache *c, uint64_t content_length,
                                char to[CACHE_STATUS_LINES])
{
    int64_t age = cache_age(&c->object->freshness, cache_now(c->x));
    bool is_first_hand = c->result == CACHE_RESULT_MISS || c->result == CACHE_RESULT_REVALIDATED;
    char *at = append(to, S("Cache-Status: "));
    if (LIKELY(!c->forward && !c->stored && !c->collapsed && !c->detail)) {
        int64_t left = c->object->freshness.lifetime - age;
        at = append(at, left < 0 ? S("weir; hit; ttl=-") : S("weir; hit; ttl="));
        at += write_number(left < 0 ? 0 - (uint64_t)left : (uint64_t)left, at);
    } else {
        struct text t = {.at = at};
        put_status(&t, c, true);
        at += t.len;
    }
    if (age || !is_first_hand) {
        at = append(at, S("\r\nAge: "));
        at += write_number((uint64_t)age, at);
    }
    if (content_length != CACHE_BODY_UNKNOWN) {
        at = append(at, S("\r\nContent-Length: "));
        at += write_number(content_length, at);
    }
    at = append(at, S("\r\n"));
    return slice_of(to, (size_t)(at - to));
}

enum cache_result exchange_cache_result(const struct exchange *x)
{
    return x->cache ? x->cache->result : CACHE_RESULT_NONE;
}
