/* What of a stored response is sent: all of it, or what the request's conditions and ranges leave. */
#include <inttypes.h>
#include <stdio.h>

#include "cache/date.h"
#include "proxy/http/cache/internal.h"
#include "proxy/http/fields.h"
#include "proxy/http/preconditions.h"
#include "proxy/http/ranges.h"

/* RFC 9110 §15.4.5: what describes the body goes, and the body with it. */
static int make_unmodified(struct exchange_cache *c, struct http_response *r)
{
    (void)c;
    r->status = 304;
    fields_remove(&r->fields, FIELD_CONTENT_TYPE);
    fields_remove(&r->fields, FIELD_CONTENT_ENCODING);
    fields_remove(&r->fields, FIELD_CONTENT_RANGE);
    r->body = BODY_NONE;
    r->has_content_length = false;
    c->plan.count = 0;
    return 0;
}

static int make_unsatisfiable(struct exchange_cache *c, struct http_response *r, uint64_t length)
{
    struct arena *a = &c->x->arena;
    struct slice range = slice_text(arena_printf(a, "bytes */%" PRIu64, length));
    r->status = 416;
    r->body = BODY_NONE;
    r->content_length = 0;
    fields_remove(&r->fields, FIELD_CONTENT_TYPE);
    fields_remove(&r->fields, FIELD_CONTENT_ENCODING);
    c->plan.count = 0;
    return range.at ? fields_add(a, &r->fields, FIELD_CONTENT_RANGE, S("Content-Range"), range) : -1;
}

/* Plans what of the body is sent; several ranges are parts of a multipart body (RFC 9110 §15.3.7). */
static int make_partial(struct exchange_cache *c, struct http_response *r, uint64_t length,
                        const struct byte_range *ranges, unsigned count)
{
    struct exchange *x = c->x;
    struct arena *a = &x->arena;
    struct field *type_field = fields_find(&r->fields, FIELD_CONTENT_TYPE);
    struct slice type = type_field ? type_field->value : S("application/octet-stream");
    char boundary[40];
    snprintf(boundary, sizeof boundary, "%016" PRIx64 "%016" PRIx64, worker_random(x->worker),
             worker_random(x->worker));
    if (file_body_plan(&c->plan, a, length, ranges, count, boundary, &type) != 0)
        return -1;
    r->status = 206;
    r->content_length = c->plan.length;
    if (count > 1) {
        fields_remove(&r->fields, FIELD_CONTENT_TYPE);
        return fields_add(a, &r->fields, FIELD_CONTENT_TYPE, S("Content-Type"), type);
    }
    struct slice range = file_body_range(a, &ranges[0], length);
    return range.at ? fields_add(a, &r->fields, FIELD_CONTENT_RANGE, S("Content-Range"), range) : -1;
}

/* The request's own conditions and ranges, answered from what is stored (RFC 9111 §4.3.2, RFC 9110 §13, §14).
 * 0; -1 when out of memory; 412 when a precondition does not hold. */
static int apply_conditions(struct exchange_cache *c, struct http_response *r, uint64_t length)
{
    struct exchange *x = c->x;
    const struct fields *request = &x->request.fields;
    struct validators v = {.etag = c->object->etag};
    struct byte_range ranges[RANGES_MAX];
    struct slice value;
    unsigned count = 0;
    int64_t now = cache_now(x);
    v.has_modified = c->object->modified.len && http_date_parse(c->object->modified, now, &v.modified) == 0;
    if (!c->object->modified.len && !fields_find(request, FIELD_IF_RANGE)) { /* RFC 9111 §4.3.2 */
        const struct field *date = fields_find(&r->fields, FIELD_DATE);
        v.has_modified = date && http_date_parse(date->value, now, &v.modified) == 0;
    }
    switch (preconditions_check(request, &v, now)) {
    case 304:
        return make_unmodified(c, r);
    case 412:
        return 412;
    default:
        break;
    }
    if (x->request.method_id != METHOD_GET || length == CACHE_BODY_UNKNOWN ||
        !ranges_asked(request, &value) || !preconditions_allow_range(request, &v, now))
        return 0;
    switch (ranges_parse(value, length, ranges, &count)) {
    case RANGES_UNSATISFIABLE:
        return make_unsatisfiable(c, r, length);
    case RANGES_SOME:
        /* Parts may go back: they need the whole. */
        if (count > 1 && !cache_body_can_seek(c->object->body))
            return 0;
        return make_partial(c, r, length, ranges, count);
    case RANGES_WHOLE:
        break;
    }
    return 0;
}

static int add_own(struct exchange_cache *c, struct fields *to)
{
    for (uint32_t i = 0; i < c->own.count; i++)
        if (fields_add(&c->x->arena, to, c->own.at[i].id, c->own.at[i].name, c->own.at[i].value) != 0)
            return -1;
    return 0;
}

int cache_plan(struct exchange_cache *c, struct http_response *r)
{
    struct exchange *x = c->x;
    const struct stored_head *h = c->object->head;
    uint64_t length =
        cache_body_state(c->object->body) == CACHE_BODY_WHOLE ? cache_body_bytes(c->object->body) : h->length;
    bool is_head = x->request.method_id == METHOD_HEAD;
    *r = (struct http_response){.status = c->object->status,
                                .minor = h->minor,
                                .is_http2 = h->is_http2,
                                .body = length == CACHE_BODY_UNKNOWN ? BODY_CHUNKED : BODY_LENGTH,
                                .content_length = length == CACHE_BODY_UNKNOWN ? 0 : length,
                                .has_content_length = length != CACHE_BODY_UNKNOWN};
    if (stored_head_read(h, &x->arena, &r->fields) != 0 || add_own(c, &r->fields) != 0 ||
        file_body_plan(&c->plan, &x->arena, length, NULL, 0, NULL, NULL) != 0)
        return -1;
    if (r->status == 200 && UNLIKELY(cache_has_conditions(c))) {
        int failed = apply_conditions(c, r, length);
        if (failed)
            return failed;
    }
    if (r->status == 204 || r->status == 304)
        r->has_content_length = false;
    if (is_head || r->status == 204 || r->status == 304 || (r->has_content_length && r->content_length == 0))
        r->body = BODY_NONE;
    return 0;
}
