/* What becomes of the origin's answer. */
#include "proxy/http/cache/fetch_internal.h"
#include "proxy/http/fields.h"

enum { TAGS_READ = CACHE_TAGS_MAX + 1 }; /* one more: so that it is seen that there are too many */

/* The origin has another answer now. What the second tier has is no better, where that would be used yet. */
static void drop_base(struct cache_fetch *f)
{
    struct cache_object *base = f->fill->base;
    if (cache_age(&base->freshness, cache_now(f->x)) < base->freshness.lifetime)
        second_tier_purge(f->x, base->url);
    cache_drop(f->x->worker->cache, base);
}

/* How long it is remembered that an answer was not storable. */
static uint32_t pass_seconds(const struct cache_verdict *v, unsigned status)
{
    return !v->is_explicit ? 0 : status < 400 ? CACHE_PASS_SECONDS : 1;
}

/* It may not be stored: the others ask for themselves, and the client that led gets it as it comes - or asks
 * anew, where it had asked for less than the whole. */
static void relay(struct cache_fetch *f, const struct cache_verdict *verdict, struct http_response *r,
                  const struct iovec *body, int count, bool end)
{
    struct exchange_cache *from = f->from;
    struct cache_object *base = f->fill->base;
    if (base && r->status < 500)
        drop_base(f);
    f->fill->status = r->status;
    cache_fill_release(f->fill, pass_seconds(verdict, r->status));
    fetch_end_fill(f);
    if (!from) {
        fetch_end_later(f);
        return;
    }
    from->detail = verdict->reason;
    from->forward_status = r->status;
    fetch_tell_client(f);
    if (r->status == 200 && from->asks_for_less) {
        f->from = NULL;
        from->fetch = NULL;
        fetch_end_later(f);
        cache_go_direct(from, verdict->reason);
        return;
    }
    f->relays = from->relays = true;
    cache_fill_let_go(from->fill);
    from->fill = NULL;
    exchange_respond(from->x, r, body, count, end);
}

/* A stored object, published; those who wait are woken. */
void fetch_publish(struct cache_fetch *f, struct cache_object *o)
{
    cache_fill_publish(f->fill, o);
    cache_object_release(o);
}

/* What the rules say of a head; lengths count too. */
static void judge(struct cache_fetch *f, const struct http_response *r, struct cache_verdict *out)
{
    struct exchange *x = f->x;
    struct cache_request request;
    struct cache_response response;
    struct slice lines[CACHE_REQUEST_LINES], etag, modified;
    *out = (struct cache_verdict){.reason = "no-memory"};
    if (cache_response_facts(r, &x->arena, &response) != 0)
        return;
    if (f->rules->set_cookie == ROUTE_CACHE_COOKIE_STRIP)
        response.has_set_cookie = false;
    cache_request_facts(&x->request, lines, &request);
    cache_validators_of(&r->fields, &etag, &modified);
    cache_may_store(&request, &response, etag.len || modified.len, &f->rules->rules, f->asked_at,
                    cache_now(x), out);
    if (out->store && r->has_content_length && r->content_length > cache_store_max_object(x->worker->cache))
        *out = (struct cache_verdict){.is_explicit = true, .reason = "too-large"};
}

/* The labels that a response carries (`surrogate-key`: parted by spaces; `cache-tag`: by commas). `out` has
 * TAGS_READ. */
static uint32_t tags_of(const struct cache_fetch *f, const struct fields *fields, struct slice *out)
{
    struct slice wanted = f->rules->tags_header, tag;
    uint32_t count = 0;
    for (uint32_t i = 0; i < fields->count; i++) {
        const struct field *at = &fields->at[i];
        bool is_it = wanted.len
                         ? slice_equal_nocase(at->name, wanted)
                         : at->id == FIELD_OTHER && (slice_equal_nocase(at->name, S("surrogate-key")) ||
                                                     slice_equal_nocase(at->name, S("cache-tag")));
        struct slice rest = at->value;
        while (is_it && count < TAGS_READ &&
               slice_next(&rest, slice_find(at->value, ',') < at->value.len ? ',' : ' ', &tag))
            if (tag.len)
                out[count++] = tag;
    }
    return count;
}

struct cache_object *fetch_object(struct cache_fetch *f, const struct http_response *r,
                                  struct cache_body *body, uint64_t length,
                                  const struct cache_freshness *freshness)
{
    struct exchange *x = f->x;
    struct cache_asked asked = {&x->request.fields, &x->arena, false};
    struct slice *tags = arena_alloc(&x->arena, TAGS_READ * sizeof *tags), names, text;
    struct cache_response facts;
    if (!tags || cache_response_facts(r, &x->arena, &facts) != 0 ||
        cache_vary_names(&facts.vary, &x->arena, &names) != 0 ||
        cache_vary_text(names, cache_asked_lines, &asked, &x->arena, &text) != 0 || asked.failed)
        return NULL;
    struct cache_object_spec spec = {.freshness = freshness,
                                     .status = r->status,
                                     .sequence = f->fill->sequence,
                                     .url = f->names.url,
                                     .vary_names = names,
                                     .vary_text = text,
                                     .tags = tags,
                                     .tag_count = tags_of(f, &r->fields, tags),
                                     .body = body,
                                     .head_size = (uint32_t)stored_head_size(&r->fields)};
    struct cache_object *o = cache_object_create(cache_store_budget(x->worker->cache), &spec);
    if (o)
        stored_head_write(o->head, &r->fields, r, length, &o->etag, &o->modified);
    return o;
}

/* What is stored: for the second tier too. */
static void keep(struct cache_fetch *f, const struct cache_object *o)
{
    const struct stored_head *h = o->head;
    struct fields fields = {(struct field *)(uintptr_t)h->fields, h->count, h->count, 0};
    struct slice *tags = arena_alloc(&f->x->arena, TAGS_READ * sizeof *tags);
    if (tags)
        second_tier_keep(f->x, f->names.key, o, tags, tags_of(f, &fields, tags), f->stamp);
}

/* What a 304 has made of the stored response may not be stored: it is for the client that led, if it is still
 * there, and the others ask for themselves. */
static void leave_to_client(struct cache_fetch *f, struct cache_object *o,
                            const struct cache_verdict *verdict)
{
    struct exchange_cache *from = f->from;
    drop_base(f);
    cache_fill_release(f->fill, pass_seconds(verdict, 304));
    fetch_end_fill(f);
    if (from) {
        fetch_tell_client(f);
        f->from = NULL;
        from->fetch = NULL;
        from->detail = verdict->reason;
        from->forward_status = 304;
        cache_serve_alone(from, o);
    }
    cache_object_release(o);
}

/* The stored response is still good (RFC 9111 §4.3.3, §4.3.4): a new head over the same body. */
static void refresh(struct cache_fetch *f, struct http_response *r)
{
    struct exchange *x = f->x;
    struct cache_fill *fill = f->fill;
    struct cache_object *base = fill->base, *o = NULL;
    const struct stored_head *stored = base->head;
    struct slice etag, modified;
    struct cache_verdict verdict;
    struct fields all;
    struct http_response merged = {
        .status = base->status, .minor = stored->minor, .is_http2 = stored->is_http2};
    cache_validators_of(&r->fields, &etag, &modified);
    fill->status = 304;
    if (!cache_validators_agree(base->etag, base->modified, etag, modified)) {
        struct exchange_cache *from = f->from;
        f->from = NULL;
        drop_base(f);
        cache_fill_release(fill, 0);
        fetch_end_fill(f);
        if (from) {
            from->fetch = NULL;
            cache_go_direct(from, "other-validator");
        }
        return;
    } else if (stored_fields_merge(stored, &r->fields, &x->arena, &merged.fields) != 0) {
        cache_fill_fail(fill, 503, "out of memory");
    } else {
        judge(f, &merged, &verdict);
        all = merged.fields;
        if (stored_fields_pick(&all, &verdict, f->rules->set_cookie == ROUTE_CACHE_COOKIE_STRIP, &x->arena,
                               &merged.fields) == 0)
            o = fetch_object(f, &merged, base->body, stored->length, &verdict.freshness);
        if (o && !verdict.store) {
            leave_to_client(f, o, &verdict);
            return;
        }
        if (o) {
            keep(f, o);
            fetch_publish(f, o);
        } else {
            cache_fill_fail(fill, 503, "out of memory");
        }
    }
    fetch_end_fill(f);
    fetch_wake_client(f);
}

/* The origin failed, and there is something stale that may be used (RFC 5861 §4). */
bool fetch_leaves_to_stale(struct cache_fetch *f, bool answered)
{
    struct cache_object *base = f->fill->base;
    int64_t now = cache_now(f->x);
    if (!base)
        return false;
    atomic_store_explicit(&base->failed_at, now, memory_order_relaxed);
    if (!cache_object_serves_on_error(base, f->from ? &f->from->said : &cache_says_nothing, answered, now))
        return false;
    f->fill->answered = answered;
    cache_fill_publish(f->fill, base);
    fetch_end_fill(f);
    fetch_wake_client(f);
    return true;
}

/* The body is whole: is it kept? What nobody else has asked for meanwhile, and is large, is not at first. */
void fetch_conclude(struct cache_fetch *f)
{
    struct cache_fill *fill = f->fill;
    if (!fill)
        return;
    bool was_shared = atomic_load_explicit(&fill->followers, memory_order_relaxed) != 0;
    if (!f->admitted && !f->is_announced)
        f->admitted = fill->base || cache_admits(f->x->worker->cache, &f->key, cache_body_bytes(f->body));
    fill->discard |= f->streams || (!was_shared && !f->admitted);
    if (!fill->discard && fill->object)
        keep(f, fill->object);
    fetch_end_fill(f);
}

static uint64_t sum(const struct iovec *iov, int count)
{
    uint64_t bytes = 0;
    for (int i = 0; i < count; i++)
        bytes += iov[i].iov_len;
    return bytes;
}

void fetch_append(struct cache_fetch *f, const struct iovec *body, int count)
{
    uint64_t bytes = sum(body, count);
    if (bytes == 0)
        return;
    bool is_too_long = cache_body_bytes(f->body) + bytes > cache_store_max_object(f->x->worker->cache);
    if (!f->streams && !is_too_long && cache_body_append(f->body, body, count) == 0)
        return;
    if (!f->streams) {
        f->streams = true;
        cache_body_stream(f->body);
    }
    if (cache_body_append(f->body, body, count) != 0)
        fetch_end_later(f); /* out of memory: those who read it see a cut */
}

/* Fields that are for the client that asked alone (RFC 9111 §5.2.2.7). Where there is no memory it does
 * without. */
static void keep_private(struct exchange_cache *to, const struct cache_verdict *verdict,
                         const struct fields *from)
{
    struct arena *a = &to->x->arena;
    for (uint32_t i = 0; i < from->count; i++) {
        const struct field *f = &from->at[i];
        if (!cache_is_omitted(verdict, f->name))
            continue;
        struct slice name = arena_copy(a, f->name), value = arena_copy(a, f->value);
        if (name.at && value.at)
            fields_add(a, &to->own, f->id, name, value);
    }
}

static void store(struct cache_fetch *f, const struct cache_verdict *verdict, struct http_response *r,
                  const struct iovec *body, int count, bool end)
{
    struct exchange *x = f->x;
    uint64_t length = end ? sum(body, count) : r->has_content_length ? r->content_length : CACHE_BODY_UNKNOWN;
    struct http_response kept = *r;
    struct cache_object *o = NULL;
    f->body = cache_body_create(cache_store_budget(x->worker->cache), length);
    if (f->body && stored_fields_pick(&r->fields, verdict, f->rules->set_cookie == ROUTE_CACHE_COOKIE_STRIP,
                                      &x->arena, &kept.fields) == 0)
        o = fetch_object(f, &kept, f->body, length, &verdict->freshness);
    if (!o) {
        static const struct cache_verdict full = {.reason = "no-memory"};
        cache_body_release(f->body);
        f->body = NULL;
        relay(f, &full, r, body, count, end);
        return;
    }
    f->fill->status = r->status;
    f->is_announced = length != CACHE_BODY_UNKNOWN;
    f->admitted = f->fill->base || (f->is_announced && cache_admits(x->worker->cache, &f->key, length));
    if (f->from && f->is_announced && !f->admitted)
        f->from->detail = "large-and-new";
    if (f->from && verdict->omitted_count)
        keep_private(f->from, verdict, &r->fields);
    fetch_append(f, body, count);
    bool is_whole = end && !f->is_over;
    if (is_whole)
        cache_body_finish(f->body);
    fetch_publish(f, o);
    if (is_whole)
        fetch_conclude(f);
    fetch_wake_client(f);
}

static bool is_server_error(unsigned status)
{
    return status == 500 || status == 502 || status == 503 || status == 504;
}

void fetch_answered(struct cache_fetch *f, struct http_response *r, const struct iovec *body, int count,
                    bool end)
{
    struct cache_verdict verdict;
    if (r->status == 304 && f->fill->base) {
        refresh(f, r);
        fetch_end_later(f);
        return;
    }
    if (is_server_error(r->status) && fetch_leaves_to_stale(f, true)) {
        fetch_end_later(f);
        return;
    }
    judge(f, r, &verdict);
    if (verdict.store)
        store(f, &verdict, r, body, count, end);
    else
        relay(f, &verdict, r, body, count, end);
}
