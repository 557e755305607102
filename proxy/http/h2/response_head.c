#include "proxy/http/h2/internal.h"

#include <stdlib.h>

/* Not of HTTP/2's messages: the connection's, and what has no name that could be sent. */
static bool is_of_connection(const struct field *f)
{
    switch (f->id) {
    case FIELD_CONNECTION:
    case FIELD_KEEP_ALIVE:
    case FIELD_PROXY_CONNECTION:
    case FIELD_TE:
    case FIELD_TRANSFER_ENCODING:
    case FIELD_UPGRADE:
        return true;
    default:
        return f->name.len == 0 || f->name.at[0] == ':';
    }
}

static void put(nghttp2_nv *to, struct slice name, struct slice value, uint8_t flags)
{
    *to = (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name.at,
                       .namelen = name.len,
                       .value = (uint8_t *)(uintptr_t)value.at,
                       .valuelen = value.len,
                       .flags = flags};
}

static size_t first_capital(struct slice name)
{
    size_t i = 0;
    while (i < name.len && (unsigned char)(name.at[i] - 'A') >= 26)
        i++;
    return i;
}

/* RFC 9113 §8.2. `at` is NULL when out of memory. */
static struct slice lower_name(struct arena *a, const struct field *f)
{
    if (f->id != FIELD_OTHER)
        return field_name(f->id);
    if (first_capital(f->name) == f->name.len)
        return f->name;
    struct slice copy = arena_copy(a, f->name);
    char *to = (char *)(uintptr_t)copy.at;
    for (size_t i = 0; i < copy.len; i++)
        to[i] = (char)((unsigned char)(to[i] - 'A') < 26 ? to[i] + 32 : to[i]);
    return copy;
}

/* 0, or -1 when out of memory. */
static int put_fields(struct h2_response_head *h, struct arena *a, const struct fields *f, uint64_t skip)
{
    for (uint32_t i = 0; i < f->count; i++) {
        const struct field *at = &f->at[i];
        if (is_of_connection(at) || (at->id && skip >> at->id & 1))
            continue;
        struct slice name = lower_name(a, at);
        if (!name.at)
            return -1;
        put(&h->at[h->count++], name, at->value, h->flags);
    }
    return 0;
}

static void put_status(struct h2_response_head *h, unsigned status)
{
    for (unsigned i = sizeof h->status; i-- > 0; status /= 10)
        h->status[i] = (char)('0' + status % 10);
    put(&h->at[h->count++], S(":status"), slice_of(h->status, sizeof h->status), h->flags);
}

static void put_length(struct h2_response_head *h, uint64_t length)
{
    char *end = h->length + sizeof h->length, *at = end;
    do
        *--at = (char)('0' + length % 10);
    while (length /= 10);
    put(&h->at[h->count++], S("content-length"), slice_of(at, (size_t)(end - at)), h->flags);
}

int h2_response_head(struct h2_response_head *h, struct exchange *x, const struct http_response *r,
                     uint64_t skip, bool at_once)
{
    h->count = 0;
    h->flags = at_once ? NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE : NGHTTP2_NV_FLAG_NONE;
    h->at = h->few;
    if (r->fields.count + 2 > COUNT_OF(h->few))
        h->at = arena_alloc(&x->arena, (r->fields.count + 2) * sizeof *h->at);
    if (!h->at)
        return -1;
    put_status(h, r->status);
    if (put_fields(h, &x->arena, &r->fields, skip) != 0)
        return -1;
    bool has_length = r->has_content_length && r->body != BODY_CHUNKED && r->body != BODY_UNTIL_CLOSE;
    if (has_length && r->status >= 200 && !fields_find(&r->fields, FIELD_CONTENT_LENGTH))
        put_length(h, r->content_length);
    return 0;
}

size_t h2_response_head_size(const struct h2_response_head *h)
{
    size_t size = 0;
    for (size_t i = 0; i < h->count; i++)
        size += h->at[i].namelen + h->at[i].valuelen + 4;
    return size;
}

/* Trailers. */

int h2_keep_trailers(struct h2_stream *s, const struct fields *f)
{
    size_t size = f->count * sizeof *f->at;
    for (uint32_t i = 0; i < f->count; i++)
        size += f->at[i].name.len + f->at[i].value.len;
    s->trailers = malloc(size + 1);
    if (!s->trailers)
        return -1;
    char *to = (char *)(s->trailers + f->count);
    for (uint32_t i = 0; i < f->count; i++) {
        struct field copy = f->at[i];
        memcpy(to, copy.name.at, copy.name.len);
        copy.name.at = to;
        to += copy.name.len;
        if (copy.value.len)
            memcpy(to, copy.value.at, copy.value.len);
        copy.value.at = to;
        to += copy.value.len;
        if (!is_of_connection(&copy))
            s->trailers[s->trailer_count++] = copy;
    }
    return 0;
}

int h2_submit_trailers(struct h2_stream *s)
{
    nghttp2_nv *nv = malloc((s->trailer_count + 1) * sizeof *nv);
    if (!nv)
        return -1;
    for (uint32_t i = 0; i < s->trailer_count; i++)
        put(&nv[i], s->trailers[i].name, s->trailers[i].value, NGHTTP2_NV_FLAG_NONE);
    int failed = nghttp2_submit_trailer(s->connection->session, s->id, nv, s->trailer_count);
    free(nv);
    s->heads_wait += failed == 0;
    return failed;
}
