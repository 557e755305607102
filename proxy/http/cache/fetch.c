#include "proxy/http/cache/internal.h"
#include "proxy/http/cache/second_tier.h"
#include "proxy/http/client_address.h"
#include "proxy/http/fields.h"
#include "proxy/http/h1/parse.h"

/* One fetch; in the arena of its own exchange, which it is the downstream of. */
struct cache_fetch {
    uint32_t magic;
    struct list link;            /* the worker's fetches */
    struct exchange *x;          /* its own */
    struct exchange_cache *from; /* the client that leads; NULL = nobody waits, or it has left */
    struct cache_fill *fill;     /* led; NULL once it was ended */
    struct cache_body *body;     /* appended to; held; NULL = nothing is stored */
    const struct route_cache *rules;
    struct cache_names names; /* own copies */
    struct cache_key key;
    int64_t asked_at;
    bool relays;                   /* what comes goes to the client, and is not stored */
    bool streams;                  /* it goes to those who read it, and is not stored */
    bool is_announced, admitted;   /* the body's length; and it may stay, though nobody else asks for it */
    bool is_over;                  /* what still comes is for nobody: the task ends it */
    const struct conn *connection; /* the client's, while the request is made; else NULL */
    struct second_tier_ask ask;
    struct cache_request_directives said; /* by the client that leads */
    struct cache_redis_stamp stamp;       /* of before the origin was asked */
    struct cache_waiter ahead;
    struct task task;
};

enum { TAGS_READ = CACHE_TAGS_MAX + 1 }; /* one more: so that it is seen that there are too many */

static const struct downstream_ops fetch_ops;

/* Of a fetch that no client waits for. */
static const struct cache_request_directives says_nothing = {.max_age = CACHE_UNSET,
                                                             .min_fresh = CACHE_UNSET,
                                                             .max_stale = CACHE_UNSET,
                                                             .stale_if_error = CACHE_UNSET};

static bool asks_second_tier(struct cache_fetch *f);

static struct cache_fetch *of_exchange(const struct exchange *x)
{
    struct cache_fetch *f = x->down;
    ASSERT(f->magic == CACHE_FETCH_MAGIC);
    return f;
}

/* The request, as it is asked for the cache. */

/* What the client asked for itself alone. */
static bool is_of_the_client(const struct field *f)
{
    switch (f->id) {
    case FIELD_IF_MATCH:
    case FIELD_IF_MODIFIED_SINCE:
    case FIELD_IF_NONE_MATCH:
    case FIELD_IF_RANGE:
    case FIELD_IF_UNMODIFIED_SINCE:
    case FIELD_RANGE:
    case FIELD_EXPECT:
    case FIELD_HOST:
        return true;
    case FIELD_OTHER:
        return slice_equal_nocase(f->name, S("surrogate-capability"));
    default:
        return false;
    }
}

static int copy_fields(struct cache_fetch *f, const struct fields *from)
{
    struct exchange *x = f->x;
    bool is_trusted = client_peer_is_trusted(x);
    struct fields *to = &x->request.fields;
    for (uint32_t i = 0; i < from->count; i++) {
        if (is_of_the_client(&from->at[i]) || cache_is_unkeyed(f->rules, &from->at[i]) ||
            (!is_trusted && from->at[i].id == FIELD_FORWARDED))
            continue;
        struct slice name = arena_copy(&x->arena, from->at[i].name),
                     value = arena_copy(&x->arena, from->at[i].value);
        if (!name.at || !value.at || fields_add(&x->arena, to, from->at[i].id, name, value) != 0)
            return -1;
    }
    return 0;
}

/* RFC 9111 §4.3.1. */
static int add_validators(struct cache_fetch *f)
{
    struct exchange *x = f->x;
    const struct cache_object *base = f->fill->base;
    if (!base)
        return 0;
    if (base->etag.len &&
        fields_add(&x->arena, &x->request.fields, FIELD_IF_NONE_MATCH, S("If-None-Match"), base->etag) != 0)
        return -1;
    return base->modified.len ? fields_add(&x->arena, &x->request.fields, FIELD_IF_MODIFIED_SINCE,
                                           S("If-Modified-Since"), base->modified)
                              : 0;
}

static int copy(struct arena *a, struct slice *s)
{
    if (s->len == 0)
        return 0;
    *s = arena_copy(a, *s);
    return s->at ? 0 : -1;
}

static int copy_names(struct cache_fetch *f, const struct cache_names *from)
{
    struct arena *a = &f->x->arena;
    f->names = *from;
    int failed = copy(a, &f->names.key) | copy(a, &f->names.url) | copy(a, &f->names.authority) |
                 copy(a, &f->names.query);
    f->key.text = f->names.key;
    return failed;
}

/* Edge Architecture Specification §2.2: what a Surrogate-Control for this cache is addressed to. */
static int announce(struct exchange *x)
{
    return fields_add(&x->arena, &x->request.fields, FIELD_OTHER, S("Surrogate-Capability"),
                      S("weir=\"Surrogate/1.0\""));
}

/* It is in the client's connection, which may end first. */
static int copy_destination(struct exchange *x, const struct ip *from)
{
    struct ip *to = from ? arena_alloc(&x->arena, sizeof *to) : NULL;
    x->destination = to;
    if (to)
        *to = *from;
    return to || !from ? 0 : -1;
}

static int copy_request(struct cache_fetch *f, const struct exchange *from)
{
    struct exchange *x = f->x;
    struct arena *a = &x->arena;
    x->route = from->route;
    x->match = from->match;
    x->host = from->host;
    x->path = from->path;
    x->peer = from->peer;
    x->client = from->client;
    x->client_text = from->client_text;
    x->request_id = from->request_id;
    x->started_us = from->started_us; /* what is told of attempts is told from there */
    x->is_tls = from->is_tls;
    x->protocol = from->protocol;
    x->request_done = true;
    x->keep_alive_ok = true;
    x->request = (struct http_request){.method_id = METHOD_GET,
                                       .method = SLICE("GET"),
                                       .target = from->request.target,
                                       .scheme = from->request.scheme, /* static text */
                                       .host = f->names.authority,
                                       .path = from->request.path,
                                       .query = f->names.query,
                                       .has_query = f->names.has_query,
                                       .minor = from->request.minor,
                                       .body = BODY_NONE,
                                       .keep_alive = true};
    return copy_destination(x, from->destination) | copy(a, &x->host) | copy(a, &x->path) |
           copy(a, &x->client_text) | copy(a, &x->request_id) | announce(x) | copy(a, &x->request.target) |
           copy(a, &x->request.path) | copy_fields(f, &from->request.fields) | add_validators(f);
}

/* Beginning and ending. */

static void end_fill(struct cache_fetch *f)
{
    if (f->fill)
        cache_fill_end(f->fill);
    f->fill = NULL;
}

/* The exchange has ended, or is about to: nothing more comes. */
static void let_go(struct cache_fetch *f)
{
    second_tier_cancel(&f->ask);
    cache_signal_cancel(&f->ahead);
    list_remove(&f->task.link);
    list_remove(&f->link);
    if (f->from)
        f->from->fetch = NULL;
    f->from = NULL;
    if (f->body && cache_body_state(f->body) == CACHE_BODY_GROWING)
        cache_body_cut(f->body);
    cache_body_release(f->body);
    f->body = NULL;
    end_fill(f);
}

static void end(struct cache_fetch *f)
{
    struct exchange *x = f->x;
    let_go(f);
    exchange_end(x);
    listener_let_go(x->listener); /* last: its settings are asked for until then */
}

static void on_over(struct task *t)
{
    end(CONTAINER_OF(t, struct cache_fetch, task));
}

/* From inside of a call that the exchange makes: it ends after it. */
static void end_later(struct cache_fetch *f)
{
    f->is_over = true;
    loop_defer(&f->x->worker->loop, &f->task, on_over);
}

static struct cache_fetch *create(struct exchange_cache *from, struct cache_fill *fill)
{
    struct exchange *client = from->x;
    struct worker *w = client->worker;
    struct exchange *x = exchange_create(w, client->listener, &fetch_ops, NULL);
    if (!x)
        return NULL;
    snapshot_hold(client->snapshot, w->index);
    snapshot_release(x->snapshot, w->index);
    x->snapshot = client->snapshot;
    x->is_fetch = true;
    struct cache_fetch *f = arena_zalloc(&x->arena, sizeof *f);
    if (!f) {
        exchange_end(x);
        return NULL;
    }
    f->magic = CACHE_FETCH_MAGIC;
    f->x = x;
    f->fill = fill;
    f->rules = from->rules;
    f->asked_at = cache_now(client);
    task_init(&f->task);
    list_init(&f->ahead.link);
    x->down = f;
    list_append(&w->fetches, &f->link);
    listener_hold(x->listener);
    return f;
}

/* `from`: whose connection the request's templates may tell of; NULL = it has left. */
static void ask_origin(struct cache_fetch *f, struct exchange_cache *from)
{
    f->stamp = second_tier_stamp(f->x);
    f->connection = from ? from->x->down_ops->connection(from->x) : NULL;
    exchange_start(f->x);
    f->connection = NULL;
}

void cache_fetch(struct exchange_cache *from, struct cache_fill *fill, bool has_client)
{
    struct cache_fetch *f = create(from, fill);
    bool failed = !f || copy_names(f, &from->names) != 0 || copy_request(f, from->x) != 0;
    if (failed) {
        cache_fill_fail(fill, 503, "out of memory");
        if (f)
            end(f);
        else
            cache_fill_end(fill);
        if (has_client)
            cache_look(from);
        return;
    }
    f->key.hash = from->key.hash;
    if (has_client) {
        f->from = from;
        from->fetch = f;
    }
    f->said = has_client ? from->said : says_nothing;
    if (!asks_second_tier(f))
        ask_origin(f, from);
}

void cache_fetch_leave(struct cache_fetch *f)
{
    f->from = NULL;
    if (f->relays)
        end_later(f);
}

void cache_fetch_resume(struct cache_fetch *f)
{
    if (f->x->phase != EXCHANGE_ENDED)
        exchange_resume(f->x);
}

void cache_abort_fetches(struct worker *w)
{
    while (!list_empty(&w->fetches))
        end(CONTAINER_OF(w->fetches.next, struct cache_fetch, link));
}

/* What the client's log tells of the origin. */
static void tell_client(struct cache_fetch *f)
{
    struct exchange *x = f->x, *client = f->from->x;
    client->upstream = x->upstream;
    client->server = x->server;
    client->session = x->session;
    client->attempts = x->attempts;
    client->upstream_started_us = x->upstream_started_us;
    client->upstream_head_us = x->upstream_head_us;
    if (!client->servers && x->servers) { /* it holds the server */
        client->servers = x->servers;
        server_set_hold(x->servers, x->worker->index);
    }
    client->tries = client->last_try = NULL;
    for (const struct attempt *a = x->tries; a; a = a->next) {
        struct attempt *told = arena_alloc(&client->arena, sizeof *told);
        if (!told)
            return;
        *told = *a;
        told->next = NULL;
        told->reason = a->reason ? arena_printf(&client->arena, "%s", a->reason) : NULL;
        if (client->last_try)
            client->last_try->next = told;
        else
            client->tries = told;
        client->last_try = told;
    }
}

/* The leader looks at what was said, if it is still there. */
static void wake_client(struct cache_fetch *f)
{
    struct exchange_cache *from = f->from;
    if (!from)
        return;
    tell_client(f);
    f->from = NULL;
    from->fetch = NULL;
    cache_look(from);
}

/* The answer. */

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
    end_fill(f);
    if (!from) {
        end_later(f);
        return;
    }
    from->detail = verdict->reason;
    from->forward_status = r->status;
    tell_client(f);
    if (r->status == 200 && from->asks_for_less) {
        f->from = NULL;
        from->fetch = NULL;
        end_later(f);
        cache_go_direct(from, verdict->reason);
        return;
    }
    f->relays = from->relays = true;
    cache_fill_let_go(from->fill);
    from->fill = NULL;
    exchange_respond(from->x, r, body, count, end);
}

/* A stored object, published; those who wait are woken. */
static void publish(struct cache_fetch *f, struct cache_object *o)
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

static struct cache_object *make_object(struct cache_fetch *f, const struct http_response *r,
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
    struct fields fields = {(struct field *)(uintptr_t)h->fields, h->count, h->count};
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
    end_fill(f);
    if (from) {
        tell_client(f);
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
        end_fill(f);
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
            o = make_object(f, &merged, base->body, stored->length, &verdict.freshness);
        if (o && !verdict.store) {
            leave_to_client(f, o, &verdict);
            return;
        }
        if (o) {
            keep(f, o);
            publish(f, o);
        } else {
            cache_fill_fail(fill, 503, "out of memory");
        }
    }
    end_fill(f);
    wake_client(f);
}

/* The origin failed, and there is something stale that may be used (RFC 5861 §4). */
static bool leaves_to_stale(struct cache_fetch *f, bool answered)
{
    struct cache_object *base = f->fill->base;
    if (!base || !cache_may_use_on_error(&base->freshness, f->from ? &f->from->said : &says_nothing, answered,
                                         cache_now(f->x)))
        return false;
    f->fill->answered = answered;
    cache_fill_publish(f->fill, base);
    end_fill(f);
    wake_client(f);
    return true;
}

/* The body is whole: is it kept? What nobody else has asked for meanwhile, and is large, is not at first. */
static void conclude(struct cache_fetch *f)
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
    end_fill(f);
}

static uint64_t sum(const struct iovec *iov, int count)
{
    uint64_t bytes = 0;
    for (int i = 0; i < count; i++)
        bytes += iov[i].iov_len;
    return bytes;
}

static void append(struct cache_fetch *f, const struct iovec *body, int count)
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
        end_later(f); /* out of memory: those who read it see a cut */
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
        o = make_object(f, &kept, f->body, length, &verdict->freshness);
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
    append(f, body, count);
    bool is_whole = end && !f->is_over;
    if (is_whole)
        cache_body_finish(f->body);
    publish(f, o);
    if (is_whole)
        conclude(f);
    wake_client(f);
}

/* The second tier. */

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
        o = make_object(f, &r, body, p->body.len, &p->freshness);
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
    publish(f, o);
    fill->discard = !is_admitted && atomic_load_explicit(&fill->followers, memory_order_relaxed) == 0;
    end_fill(f);
    wake_client(f);
    end(f);
}

/* The origin is asked whether it is still good. */
static void validate(struct cache_fetch *f, struct cache_object *o)
{
    f->fill->base = o;
    if (add_validators(f) == 0) {
        ask_origin(f, f->from);
        return;
    }
    cache_fill_fail(f->fill, 503, "out of memory");
    end_fill(f);
    wake_client(f);
    end(f);
}

static void on_second_tier(struct second_tier_ask *a, const struct portable *p, bool is_fresh)
{
    struct cache_fetch *f = CONTAINER_OF(a, struct cache_fetch, ask);
    struct cache_object *o = p ? object_of(f, p, is_fresh) : NULL;
    if (!o)
        ask_origin(f, f->from);
    else if (is_fresh)
        answer_with(f, o);
    else
        validate(f, o);
}

/* Where what is stored is never fresh, what stands there is not either. */
static bool asks_second_tier(struct cache_fetch *f)
{
    const struct cache_object *base = f->fill->base;
    return (!base || base->freshness.lifetime > 0) &&
           second_tier_ask(&f->ask, f->x, f->names.key, &f->said, on_second_tier);
}

/* What `downstream_ops` ask for. */

static void inform(struct exchange *x, const struct http_response *r)
{
    struct cache_fetch *f = of_exchange(x);
    struct http_response copy = *r;
    if (f->from)
        exchange_inform(f->from->x, &copy);
}

static bool is_server_error(unsigned status)
{
    return status == 500 || status == 502 || status == 503 || status == 504;
}

static int respond(struct exchange *x, const struct http_response *head, const struct iovec *body, int count,
                   bool end)
{
    struct cache_fetch *f = of_exchange(x);
    struct http_response r = *head;
    struct cache_verdict verdict;
    if (f->is_over)
        return 0;
    if (r.status == 304 && f->fill->base) {
        refresh(f, &r);
        end_later(f);
        return 0;
    }
    if (is_server_error(r.status) && leaves_to_stale(f, true)) {
        end_later(f);
        return 0;
    }
    judge(f, &r, &verdict);
    if (verdict.store)
        store(f, &verdict, &r, body, count, end);
    else
        relay(f, &verdict, &r, body, count, end);
    return 0;
}

static void respond_body(struct exchange *x, const struct iovec *body, int count, bool end,
                         const struct fields *trailers)
{
    struct cache_fetch *f = of_exchange(x);
    if (f->is_over)
        return;
    if (f->relays) {
        exchange_respond_body(f->from->x, body, count, end, trailers);
        return;
    }
    append(f, body, count);
    if (f->streams && f->fill) { /* nobody who comes now could read it from its beginning */
        f->fill->discard = true;
        end_fill(f);
    }
    if (end && !f->is_over) {
        cache_body_finish(f->body);
        conclude(f);
    } else if (f->streams && !cache_body_is_wanted(f->body)) {
        end_later(f);
    }
}

static void on_behind(struct cache_waiter *w)
{
    cache_fetch_resume(CONTAINER_OF(w, struct cache_fetch, ahead));
}

static size_t backlog(const struct exchange *x)
{
    struct cache_fetch *f = of_exchange(x);
    if (f->is_over)
        return CONN_HIGH_WATER;
    if (f->relays)
        return f->from->x->down_ops->backlog(f->from->x);
    if (f->streams && cache_body_is_ahead(f->body, &x->worker->loop, &f->ahead, on_behind))
        return CONN_HIGH_WATER;
    return 0;
}

/* The answer had begun, and will not be whole. */
static void cut(struct exchange *x)
{
    struct cache_fetch *f = of_exchange(x);
    struct exchange_cache *from = f->from;
    unsigned status = x->end == END_TIMEOUT ? 504 : 502;
    bool relayed = f->relays && from;
    const char *reason = relayed && x->reason ? arena_printf(&from->x->arena, "%s", x->reason) : NULL;
    if (f->fill && cache_fill_state(f->fill) == CACHE_FILL_ASKED) { /* there was no memory for the head */
        cache_fill_fail(f->fill, status, "the fetch for the cache was cut");
        end_fill(f);
        wake_client(f);
    }
    end(f);
    if (relayed) {
        from->relays = false;
        exchange_fail(from->x, status, reason ? reason : "the answer was cut");
    }
}

static void failed(struct exchange *x, unsigned status, const char *reason)
{
    struct cache_fetch *f = of_exchange(x);
    struct exchange_cache *from = f->from;
    if (f->is_over) {
        end(f);
        return;
    }
    if (leaves_to_stale(f, false)) {
        end(f);
        return;
    }
    if (from) {
        from->x->termination = x->termination;
        from->failure = arena_printf(&from->x->arena, "%s", reason);
    }
    cache_fill_fail(f->fill, status, "the fetch for the cache failed");
    end_fill(f);
    wake_client(f);
    end(f);
}

static void want_body(struct exchange *x, bool want)
{
    (void)x, (void)want;
}

static void upgrade(struct exchange *x)
{
    (void)x; /* none is asked for */
}

static void done(struct exchange *x)
{
    end(of_exchange(x));
}

/* While the request is made, its templates may ask for what the client's connection says. */
static const struct conn *connection(const struct exchange *x)
{
    return of_exchange(x)->connection;
}

static const struct downstream_ops fetch_ops = {
    .inform = inform,
    .respond = respond,
    .respond_body = respond_body,
    .cut = cut,
    .failed = failed,
    .want_body = want_body,
    .backlog = backlog,
    .upgrade = upgrade,
    .done = done,
    .connection = connection,
};
