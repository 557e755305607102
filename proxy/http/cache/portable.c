#include "proxy/http/cache/portable.h"

#include <endian.h>

#include "cache/vary.h"
#include "proxy/http/cache/stored_head.h"

#define FIXED_SIZE  52 /* before the texts of a response */
#define FIELDS_MAX  1024
#define IS_RESPONSE 'R'
#define IS_SIGNPOST 'S'

enum flag { IS_HEURISTIC = 1, MUST_REVALIDATE = 2, NO_CACHE = 4, IS_HTTP2 = 8 };

/* Writing: all numbers little-endian. */

static char *put_number(char *to, uint64_t n, size_t bytes)
{
    n = htole64(n);
    memcpy(to, &n, bytes);
    return to + bytes;
}

static char *put_text(char *to, struct slice s)
{
    if (s.len)
        memcpy(to, s.at, s.len);
    return to + s.len;
}

static size_t size_of_fields(const struct stored_head *h)
{
    size_t size = 0;
    for (uint32_t i = 0; i < h->count; i++) {
        if (h->fields[i].name.len > UINT16_MAX)
            return 0;
        size += 6 + h->fields[i].name.len + h->fields[i].value.len;
    }
    return size + 1;
}

int portable_write(const struct cache_object *o, struct arena *a, struct slice *out)
{
    const struct stored_head *h = o->head;
    const struct cache_freshness *f = &o->freshness;
    size_t fields = size_of_fields(h);
    if (!fields || h->count > FIELDS_MAX || o->vary_names.len > UINT16_MAX)
        return -1;
    char *bytes = arena_alloc(a, FIXED_SIZE + o->vary_names.len + fields), *to = bytes;
    if (!bytes)
        return -1;
    *to++ = IS_RESPONSE;
    to = put_number(to, (uint64_t)f->response_time, 8);
    to = put_number(to, (uint64_t)f->initial_age, 8);
    to = put_number(to, (uint64_t)f->lifetime, 8);
    to = put_number(to, (uint64_t)f->stale_while_revalidate, 8);
    to = put_number(to, (uint64_t)f->stale_if_error, 8);
    *to++ = (char)((f->is_heuristic ? IS_HEURISTIC : 0) | (f->must_revalidate ? MUST_REVALIDATE : 0) |
                   (f->no_cache ? NO_CACHE : 0) | (h->is_http2 ? IS_HTTP2 : 0));
    *to++ = (char)h->minor;
    to = put_number(to, o->status, 2);
    to = put_number(to, o->vary_names.len, 2);
    to = put_number(to, h->count, 4);
    to = put_text(to, o->vary_names);
    for (uint32_t i = 0; i < h->count; i++) {
        to = put_number(to, h->fields[i].name.len, 2);
        to = put_number(to, h->fields[i].value.len, 4);
        to = put_text(put_text(to, h->fields[i].name), h->fields[i].value);
    }
    *out = slice_of(bytes, (size_t)(to - bytes));
    return 0;
}

int portable_write_signpost(struct slice vary_names, struct arena *a, struct slice *out)
{
    char *bytes = arena_alloc(a, 1 + vary_names.len);
    if (!bytes)
        return -1;
    bytes[0] = IS_SIGNPOST;
    put_text(bytes + 1, vary_names);
    *out = slice_of(bytes, 1 + vary_names.len);
    return 0;
}

struct slice portable_variant_key(struct slice key, struct slice vary_text, struct arena *a)
{
    char *bytes = arena_alloc(a, key.len + 1 + vary_text.len);
    if (!bytes)
        return slice_of(NULL, 0);
    *put_text(bytes, key) = '\0'; /* which no key has */
    put_text(bytes + key.len + 1, vary_text);
    return slice_of(bytes, key.len + 1 + vary_text.len);
}

/* Reading. */

/* What is left, and whether it was enough so far. */
struct source {
    struct slice rest;
    bool failed;
};

static struct slice take(struct source *s, size_t len)
{
    struct slice taken = slice_of(s->rest.at, len);
    if (len > s->rest.len) {
        s->failed = true;
        return slice_of("", 0);
    }
    s->rest = slice_skip(s->rest, len);
    return taken;
}

static uint64_t take_number(struct source *s, size_t bytes)
{
    uint64_t n = 0;
    struct slice taken = take(s, bytes);
    if (taken.len)
        memcpy(&n, taken.at, taken.len);
    return le64toh(n);
}

/* RFC 9110 §5.5: neither what ends a line, nor white space around it (RFC 9113 §8.2.1). */
static bool is_value(struct slice s)
{
    return is_field_value(s) && slice_trim(s).len == s.len;
}

/* What can be stored, and sent from there as it is. */
static bool is_storable_status(unsigned status)
{
    return status >= 200 && status <= 599 && status != 206 && status != 304;
}

/* Seconds within reason: sums of them stay numbers. */
static int64_t take_seconds(struct source *s)
{
    uint64_t n = take_number(s, 8);
    if (n > CACHE_SECONDS_MAX)
        s->failed = true;
    return (int64_t)n;
}

static int read_fields(struct source *s, uint32_t count, struct arena *a, struct fields *out)
{
    if (count > FIELDS_MAX)
        return -1;
    struct fields all = {
        .at = arena_zalloc(a, (count + 1) * sizeof *all.at), .count = count, .capacity = count + 1};
    if (!all.at)
        return -1;
    for (uint32_t i = 0; i < count; i++) {
        struct field *f = &all.at[i];
        size_t name = (size_t)take_number(s, 2), value = (size_t)take_number(s, 4);
        f->name = take(s, name);
        f->value = take(s, value);
        f->id = (uint16_t)field_id(f->name);
        if (s->failed || !is_token(f->name) || !is_value(f->value))
            return -1;
    }
    static const struct cache_verdict nothing_omitted;
    return stored_fields_pick(&all, &nothing_omitted, false, a, out);
}

static int read_response(struct source *s, struct arena *a, struct portable *p)
{
    struct cache_freshness *f = &p->freshness;
    f->response_time = take_seconds(s);
    f->initial_age = take_seconds(s);
    f->lifetime = take_seconds(s);
    f->stale_while_revalidate = take_seconds(s);
    f->stale_if_error = take_seconds(s);
    unsigned flags = (unsigned)take_number(s, 1);
    f->is_heuristic = flags & IS_HEURISTIC;
    f->must_revalidate = flags & MUST_REVALIDATE;
    f->no_cache = flags & NO_CACHE;
    p->is_http2 = flags & IS_HTTP2;
    p->minor = (uint8_t)take_number(s, 1);
    p->status = (uint16_t)take_number(s, 2);
    size_t vary = (size_t)take_number(s, 2);
    uint32_t count = (uint32_t)take_number(s, 4);
    p->vary_names = take(s, vary);
    if (s->failed || p->minor > 1 || !is_storable_status(p->status) ||
        read_fields(s, count, a, &p->fields) != 0)
        return -1;
    p->body = s->rest;
    return 0;
}

int portable_read(struct slice bytes, struct arena *a, struct portable *out)
{
    struct source s = {bytes, false};
    struct portable p = {.is_signpost = false};
    switch (take_number(&s, 1)) {
    case IS_RESPONSE:
        if (read_response(&s, a, &p) != 0)
            return -1;
        break;
    case IS_SIGNPOST:
        p.is_signpost = true;
        p.vary_names = s.rest;
        if (!p.vary_names.len || p.vary_names.len > UINT16_MAX)
            return -1;
        break;
    default:
        return -1;
    }
    *out = p;
    return 0;
}
