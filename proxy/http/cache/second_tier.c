#include "proxy/http/cache/second_tier.h"

#include "proxy/http/cache/internal.h"

#define VALIDATED_SECONDS_MAX 3600

static void on_done(struct cache_redis_call *call, enum cache_redis_result result, struct slice content);

bool second_tier_ask(struct second_tier_ask *a, struct exchange *x, struct slice key,
                     const struct cache_request_directives *said, second_tier_done *done)
{
    struct cache_redis *tier = x->worker->redis;
    if (!tier || said->no_cache || said->max_age == 0)
        return false;
    *a = (struct second_tier_ask){.call.done = on_done, .x = x, .key = key, .said = said, .done = done};
    return cache_redis_get(tier, a->key, &a->call);
}

void second_tier_cancel(struct second_tier_ask *a)
{
    cache_redis_cancel(&a->call);
}

/* A signpost was found: now the variant that this request asks for. */
static bool ask_variant(struct second_tier_ask *a, struct slice names)
{
    struct exchange *x = a->x;
    struct cache_asked asked = {&x->request.fields, &x->arena, false};
    struct slice text;
    names = arena_copy(&x->arena, names);
    if (a->is_variant || !names.at ||
        cache_vary_text(names, cache_asked_lines, &asked, &x->arena, &text) != 0 || asked.failed)
        return false;
    a->is_variant = true;
    a->key = portable_variant_key(a->key, text, &x->arena);
    return a->key.at && x->worker->redis && cache_redis_get(x->worker->redis, a->key, &a->call);
}

/* A response: is it for this request, and as fresh as it wants? */
static void tell(struct second_tier_ask *a, struct portable *p, bool is_purged)
{
    const char *why;
    int64_t now = cache_now(a->x);
    if ((p->vary_names.len != 0) != a->is_variant) {
        a->done(a, NULL, false);
        return;
    }
    if (p->freshness.response_time > now) /* by the clock of another */
        p->freshness.response_time = now;
    a->done(a, p, cache_may_use(&p->freshness, a->said, is_purged, now, &why) == CACHE_USE_FRESH);
}

static void on_done(struct cache_redis_call *call, enum cache_redis_result result, struct slice content)
{
    struct second_tier_ask *a = CONTAINER_OF(call, struct second_tier_ask, call);
    struct portable p;
    if ((result != CACHE_REDIS_FOUND && result != CACHE_REDIS_STALE) ||
        portable_read(content, &a->x->arena, &p) != 0)
        a->done(a, NULL, false);
    else if (!p.is_signpost)
        tell(a, &p, result == CACHE_REDIS_STALE);
    else if (!ask_variant(a, p.vary_names))
        a->done(a, NULL, false);
}

/* Keeping. */

struct cache_redis_stamp second_tier_stamp(const struct exchange *x)
{
    struct cache_redis *tier = x->worker->redis;
    return tier ? cache_redis_now(cache_redis_fleet_of(tier)) : (struct cache_redis_stamp){0, 0};
}

static void put(struct exchange *x, struct cache_redis_value *v, struct slice head, const struct iovec *body,
                int count)
{
    struct iovec iov[CACHE_REDIS_IOV_MAX];
    if (count >= CACHE_REDIS_IOV_MAX)
        return;
    iov[0] = (struct iovec){(void *)(uintptr_t)head.at, head.len};
    if (count)
        memcpy(iov + 1, body, (size_t)count * sizeof *body);
    v->content = iov;
    v->count = count + 1;
    cache_redis_put(x->worker->redis, v);
}

/* Nobody waits: all of it is there. */
static void on_reader_woken(struct cache_reader *r)
{
    (void)r;
}

static void put_object(struct exchange *x, struct cache_redis_value *v, const struct cache_object *o)
{
    struct iovec iov[CACHE_REDIS_IOV_MAX - 1];
    struct cache_reader reader;
    struct slice head;
    uint64_t bytes = 0;
    if (portable_write(o, &x->arena, &head) != 0 ||
        cache_reader_open(&reader, o->body, &x->worker->loop, on_reader_woken) != 0)
        return;
    int count = cache_reader_peek(&reader, iov, CACHE_REDIS_IOV_MAX - 1, UINT64_MAX, &bytes);
    if (bytes == cache_body_bytes(o->body))
        put(x, v, head, iov, count);
    cache_reader_close(&reader);
}

/* Seconds: as long as it is fresh; then where the origin may fail, and where it may say that it is still
 * good. */
static uint64_t time_to_live(const struct cache_object *o, int64_t left)
{
    const struct cache_freshness *f = &o->freshness;
    int64_t stale =
        f->stale_if_error > f->stale_while_revalidate ? f->stale_if_error : f->stale_while_revalidate;
    int64_t validated = o->etag.len || o->modified.len ? f->lifetime : 0;
    if (validated > VALIDATED_SECONDS_MAX)
        validated = VALIDATED_SECONDS_MAX;
    return (uint64_t)(left + (stale > validated ? stale : validated));
}

void second_tier_keep(struct exchange *x, struct slice key, const struct cache_object *o,
                      const struct slice *tags, size_t tag_count, struct cache_redis_stamp stamp)
{
    int64_t left = o->freshness.lifetime - cache_age(&o->freshness, cache_now(x));
    struct slice signpost;
    if (!x->worker->redis || stamp.epoch == 0 || left <= 0 || o->freshness.no_cache ||
        cache_body_state(o->body) != CACHE_BODY_WHOLE || !cache_body_can_seek(o->body))
        return;
    struct cache_redis_value v = {.key = key,
                                  .stamp = stamp,
                                  .url = o->url,
                                  .tags = tags,
                                  .tag_count = tag_count,
                                  .ttl = time_to_live(o, left)};
    if (o->vary_names.len) {
        if (portable_write_signpost(o->vary_names, &x->arena, &signpost) != 0)
            return;
        put(x, &v, signpost, NULL, 0);
        v.key = portable_variant_key(key, o->vary_text, &x->arena);
        if (!v.key.at)
            return;
    }
    put_object(x, &v, o);
}

void second_tier_purge(const struct exchange *x, struct slice url)
{
    struct cache_redis *tier = x->worker->redis;
    if (tier)
        cache_redis_purge(cache_redis_fleet_of(tier), CACHE_PURGE_URL, url, false);
}
