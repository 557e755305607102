#include "proxy/http/cache/facts.h"

/* The values of one field, by id or by name, behind those that are in `to` already. */
static struct cache_lines gather(const struct fields *f, enum field_id id, struct slice name,
                                 struct slice *to, uint32_t room)
{
    struct cache_lines lines = {to, 0};
    for (uint32_t i = 0; i < f->count && lines.count < room; i++) {
        bool is_it =
            id ? f->at[i].id == id : f->at[i].id == FIELD_OTHER && slice_equal_nocase(f->at[i].name, name);
        if (is_it)
            to[lines.count++] = f->at[i].value;
    }
    return lines;
}

bool cache_request_facts(const struct http_request *r, struct slice lines[CACHE_REQUEST_LINES],
                         struct cache_request *out)
{
    bool has_authorization = false;
    uint32_t controls = 0, pragmas = 0;
    for (uint32_t i = 0; i < r->fields.count; i++) {
        controls += r->fields.at[i].id == FIELD_CACHE_CONTROL;
        pragmas += r->fields.at[i].id == FIELD_PRAGMA;
        has_authorization |= r->fields.at[i].id == FIELD_AUTHORIZATION;
    }
    *out = (struct cache_request){.has_authorization = has_authorization,
                                  .is_head = r->method_id == METHOD_HEAD};
    uint32_t half = CACHE_REQUEST_LINES / 2;
    if (controls)
        out->cache_control = gather(&r->fields, FIELD_CACHE_CONTROL, S(""), lines, half);
    if (pragmas)
        out->pragma = gather(&r->fields, FIELD_PRAGMA, S(""), lines + half, half);
    return controls <= half && pragmas <= half;
}

int cache_response_facts(const struct http_response *r, struct arena *a, struct cache_response *out)
{
    const struct fields *f = &r->fields;
    struct {
        enum field_id id;
        struct slice name;
        struct cache_lines *to;
    } wanted[] = {
        {FIELD_CACHE_CONTROL, S(""), &out->cache_control},
        {FIELD_OTHER, S("cdn-cache-control"), &out->cdn_cache_control},
        {FIELD_OTHER, S("surrogate-control"), &out->surrogate_control},
        {FIELD_EXPIRES, S(""), &out->expires},
        {FIELD_DATE, S(""), &out->date},
        {FIELD_AGE, S(""), &out->age},
        {FIELD_PRAGMA, S(""), &out->pragma},
        {FIELD_LAST_MODIFIED, S(""), &out->last_modified},
        {FIELD_VARY, S(""), &out->vary},
    };
    struct slice *lines = arena_alloc(a, (f->count + 1) * sizeof *lines);
    if (!lines)
        return -1;
    *out = (struct cache_response){.status = r->status,
                                   .has_set_cookie = fields_find(f, FIELD_SET_COOKIE) != NULL};
    for (size_t i = 0; i < COUNT_OF(wanted); i++) {
        *wanted[i].to = gather(f, wanted[i].id, wanted[i].name, lines, f->count);
        lines += wanted[i].to->count;
    }
    return 0;
}

void cache_validators_of(const struct fields *f, struct slice *etag, struct slice *modified)
{
    const struct field *e = fields_find(f, FIELD_ETAG), *m = fields_find(f, FIELD_LAST_MODIFIED);
    *etag = e ? e->value : S("");
    *modified = m ? m->value : S("");
}

struct cache_lines cache_asked_lines(void *context, struct slice name)
{
    struct cache_asked *q = context;
    const struct fields *f = q->fields;
    enum field_id id = field_id(name);
    uint32_t count = 0;
    for (uint32_t i = 0; i < f->count; i++)
        count += id ? f->at[i].id == id : slice_equal_nocase(f->at[i].name, name);
    struct slice *to = count ? arena_alloc(q->arena, count * sizeof *to) : NULL;
    q->failed |= count && !to;
    return to ? gather(f, id, name, to, count) : (struct cache_lines){0};
}
