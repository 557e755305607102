#include "proxy/http/cache/stored_head.h"

#include "proxy/http/cache/facts.h"
#include "proxy/http/exchange.h"
#include "proxy/http/fields.h"
#include "proxy/http/h1/write.h"

#define FIELDS_ADDED 8   /* when it is sent */
#define LINES_ADDED  192 /* bytes of the lines around the fields, at most */

static bool is_never_stored(const struct field *f)
{
    switch (f->id) {
    case FIELD_AGE:
    case FIELD_CONTENT_LENGTH:
    case FIELD_CONNECTION:
    case FIELD_KEEP_ALIVE:
    case FIELD_PROXY_AUTHENTICATE:
    case FIELD_PROXY_AUTHORIZATION:
    case FIELD_PROXY_CONNECTION:
    case FIELD_TE:
    case FIELD_TRAILER:
    case FIELD_TRANSFER_ENCODING:
    case FIELD_UPGRADE:
        return true;
    case FIELD_OTHER:
        return slice_equal_nocase(f->name, S("proxy-authentication-info"));
    default:
        return false;
    }
}

int stored_fields_pick(const struct fields *from, const struct cache_verdict *v, bool strip_cookies,
                       struct arena *a, struct fields *out)
{
    *out = (struct fields){.at = arena_alloc(a, (from->count + 1) * sizeof *out->at),
                           .capacity = from->count + 1};
    if (!out->at)
        return -1;
    for (uint32_t i = 0; i < from->count; i++) {
        const struct field *f = &from->at[i];
        if (is_never_stored(f) || (strip_cookies && f->id == FIELD_SET_COOKIE) ||
            (v->omitted_count && cache_is_omitted(v, f->name)))
            continue;
        out->at[out->count++] = *f;
    }
    return 0;
}

/* RFC 9111 §3.2: what says how the stored body is encoded or which part it is stays as it is. */
static bool is_of_the_body(const struct field *f)
{
    return f->id == FIELD_CONTENT_ENCODING || f->id == FIELD_CONTENT_RANGE || f->id == FIELD_ETAG ||
           (f->id == FIELD_OTHER && slice_equal_nocase(f->name, S("content-md5")));
}

static bool is_updated(const struct fields *update, const struct field *f)
{
    if (is_of_the_body(f))
        return false;
    for (uint32_t i = 0; i < update->count; i++)
        if (f->id ? update->at[i].id == f->id
                  : update->at[i].id == FIELD_OTHER && slice_equal_nocase(update->at[i].name, f->name))
            return true;
    return false;
}

int stored_fields_merge(const struct stored_head *stored, const struct fields *update, struct arena *a,
                        struct fields *out)
{
    uint32_t room = stored->count + update->count + 1;
    *out = (struct fields){.at = arena_alloc(a, room * sizeof *out->at), .capacity = room};
    if (!out->at)
        return -1;
    for (uint32_t i = 0; i < stored->count; i++)
        if (!is_updated(update, &stored->fields[i]))
            out->at[out->count++] = stored->fields[i];
    for (uint32_t i = 0; i < update->count; i++)
        if (!is_of_the_body(&update->at[i]))
            out->at[out->count++] = update->at[i];
    return 0;
}

size_t stored_head_size(const struct fields *f)
{
    size_t size = sizeof(struct stored_head) + f->count * sizeof(struct field) + LINES_ADDED;
    for (uint32_t i = 0; i < f->count; i++)
        size += f->at[i].name.len + f->at[i].value.len + 4;
    return size;
}

static char *append(char *to, struct slice s)
{
    if (s.len)
        memcpy(to, s.at, s.len);
    return to + s.len;
}

/* What HTTP/1.1 puts before the fields. */
static char *append_status_line(char *to, unsigned status)
{
    struct head_writer w;
    head_init(&w, to, LINES_ADDED / 2);
    head_put_status_line(&w, &(struct http_response){.status = (uint16_t)status});
    ASSERT(!w.overflow);
    return w.at;
}

/* And behind them. */
static void append_rest(char *to, struct stored_head *h)
{
    struct head_writer w;
    head_init(&w, to, LINES_ADDED / 2);
    head_put_field(&w, S("Via"), exchange_via(h->minor, h->is_http2));
    h->lines_len = (uint32_t)(w.at - (char *)(h->fields + h->count));
    if (h->length != UINT64_MAX) {
        head_put(&w, S("Content-Length: "));
        head_put_number(&w, h->length);
        head_put(&w, S("\r\n"));
    }
    ASSERT(!w.overflow);
    h->framed_len = (uint32_t)(w.at - (char *)(h->fields + h->count));
}

void stored_head_write(void *at, const struct fields *f, const struct http_response *r, uint64_t length,
                       struct slice *etag, struct slice *modified)
{
    struct stored_head *h = at;
    *h =
        (struct stored_head){.length = length, .count = f->count, .minor = r->minor, .is_http2 = r->is_http2};
    char *to = append_status_line((char *)(h->fields + f->count), r->status);
    for (uint32_t i = 0; i < f->count; i++) {
        struct field *copy = &h->fields[i];
        *copy = f->at[i];
        copy->name.at = to;
        to = append(append(to, f->at[i].name), S(": "));
        copy->value.at = to;
        to = append(append(to, f->at[i].value), S("\r\n"));
        copy->line_len = (uint32_t)(copy->name.len + copy->value.len + 4);
    }
    append_rest(to, h);
    struct fields written = {h->fields, h->count, h->count, 0};
    h->has_date = fields_find(&written, FIELD_DATE) != NULL;
    cache_validators_of(&written, etag, modified);
}

int stored_head_read(const struct stored_head *h, struct arena *a, struct fields *out)
{
    uint32_t room = h->count + FIELDS_ADDED;
    *out = (struct fields){.at = arena_alloc(a, room * sizeof *out->at), .count = h->count, .capacity = room};
    if (!out->at)
        return -1;
    if (h->count)
        memcpy(out->at, h->fields, h->count * sizeof *out->at);
    return 0;
}
