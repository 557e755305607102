/* What may stand in Redis for a stored response: whatever is read of it can be sent, and is read again as it
 * is when it is written anew. */
#include <stdlib.h>

#include "proxy/http/cache/portable.h"
#include "proxy/http/cache/stored_head.h"

static struct cache_budget budget = {.limit = 64 << 20};

static struct cache_object *store(const struct portable *p)
{
    struct cache_body *body = cache_body_create(&budget, 0);
    ASSERT(body);
    cache_body_finish(body);
    struct cache_object *o = cache_object_create(
        &budget, &(struct cache_object_spec){.freshness = &p->freshness,
                                             .status = p->status,
                                             .vary_names = p->vary_names,
                                             .body = body,
                                             .head_size = (uint32_t)stored_head_size(&p->fields)});
    struct http_response r = {.status = p->status, .minor = p->minor, .is_http2 = p->is_http2};
    if (o)
        stored_head_write(o->head, &p->fields, &r, 0, &o->etag, &o->modified);
    cache_body_release(body);
    return o;
}

static void check_fields(const struct fields *f)
{
    for (uint32_t i = 0; i < f->count; i++) {
        ASSERT(is_token(f->at[i].name) && is_field_value(f->at[i].value));
        ASSERT(f->at[i].id != FIELD_CONTENT_LENGTH && f->at[i].id != FIELD_TRANSFER_ENCODING &&
               f->at[i].id != FIELD_CONNECTION);
    }
}

static void write_and_read(const struct portable *p, struct arena *a)
{
    struct portable again;
    struct slice head;
    struct cache_object *o = store(p);
    if (!o)
        return;
    if (portable_write(o, a, &head) == 0) {
        ASSERT(portable_read(head, a, &again) == 0);
        ASSERT(again.status == p->status && again.fields.count == p->fields.count && again.body.len == 0);
        ASSERT(again.freshness.lifetime == p->freshness.lifetime && again.freshness.lifetime >= 0);
        ASSERT(slice_equal(again.vary_names, p->vary_names));
        for (uint32_t i = 0; i < p->fields.count; i++)
            ASSERT(slice_equal(again.fields.at[i].name, p->fields.at[i].name) &&
                   slice_equal(again.fields.at[i].value, p->fields.at[i].value));
    }
    cache_object_release(o);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct portable p;
    struct arena a;
    char *copy = malloc(len ? len : 1); /* of that size, so that reading past it is seen */
    ASSERT(copy);
    if (len)
        memcpy(copy, bytes, len);
    arena_init(&a, NULL, 0);
    if (portable_read(slice_of(copy, len), &a, &p) == 0 && !p.is_signpost) {
        ASSERT(p.body.at + p.body.len == copy + len);
        check_fields(&p.fields);
        write_and_read(&p, &a);
    }
    arena_reset(&a);
    free(copy);
    return 0;
}
