/* A fetch asks the second tier before the origin: what is fresh there is as good, what is not may be
 * validated. */
#include "proxy/http/cache/fetch_internal.h"

/* What was found there, as an object; NULL: it is of no use here, or there is no memory. */
static struct cache_object *object_of(struct cache_fetch *f, const struct portable *p, bool is_fresh)
{
    struct cache_store *store = f->x->worker->cache;
    const struct cache_object *base = f->fill->base;
    struct iovec bytes = {(void *)(uintptr_t)p->body.at, p->body.len};
    const struct http_response r = {
        .status = p->status, .minor = p->minor, .is_http2 = p->is_http2, .fields = p->fields};
    if (p->body.len > cache_store_max_object(store) ||
        (base && (!is_fresh || base->freshness.response_time > p->freshness.response_time)))
        return NULL;
    struct cache_object *o = NULL;
    struct cache_body *body = cache_body_create(cache_store_budget(store), p->body.len);
    if (body && (p->body.len == 0 || cache_body_append(body, &bytes, 1) == 0)) {
        cache_body_finish(body);
        o = fetch_object(f, &r, body, p->body.len, &p->freshness);
    }
    cache_body_release(body);
    if (o && !is_fresh && !o->etag.len && !o->modified.len) {
        cache_object_release(o);
        o = NULL;
    }
    return o;
}

/* It is as good as an answer of the origin; who else would have the memory that it takes says the store. */
static void answer_with(struct cache_fetch *f, struct cache_object *o)
{
    struct cache_fill *fill = f->fill;
    bool is_admitted = fill->base || cache_admits(f->x->worker->cache, &f->key, cache_body_bytes(o->body));
    fill->was_found = true;
    fetch_publish(f, o);
    fill->discard = !is_admitted && atomic_load_explicit(&fill->followers, memory_order_relaxed) == 0;
    fetch_end_fill(f);
    fetch_wake_client(f);
    fetch_end(f);
}

/* The origin is asked whether it is still good. */
static void validate(struct cache_fetch *f, struct cache_object *o)
{
    f->fill->base = o;
    if (fetch_add_validators(f) == 0) {
        fetch_ask_origin(f, f->from);
        return;
    }
    cache_fill_fail(f->fill, 503, "out of memory");
    fetch_end_fill(f);
    fetch_wake_client(f);
    fetch_end(f);
}

static void on_second_tier(struct second_tier_ask *a, const struct portable *p, bool is_fresh)
{
    struct cache_fetch *f = CONTAINER_OF(a, struct cache_fetch, ask);
    struct cache_object *o = p ? object_of(f, p, is_fresh) : NULL;
    if (!o)
        fetch_ask_origin(f, f->from);
    else if (is_fresh)
        answer_with(f, o);
    else
        validate(f, o);
}

/* Where what is stored is never fresh, what stands there is not either. */
bool fetch_asks_second_tier(struct cache_fetch *f)
{
    const struct cache_object *base = f->fill->base;
    return (!base || base->freshness.lifetime > 0) &&
           second_tier_ask(&f->ask, f->x, f->names.key, &f->said, on_second_tier);
}
