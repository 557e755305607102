#include "proxy/http/cache/internal.h"
#include "proxy/http/client_address.h"
#include "proxy/http/fields.h"
#include "proxy/http/forward.h"

#define PROBE_ONE_OF 8

struct slice cache_result_name(enum cache_result r)
{
    static const struct slice names[CACHE_RESULTS] = {
        [CACHE_RESULT_HIT] = SLICE("hit"),
        [CACHE_RESULT_STALE] = SLICE("stale"),
        [CACHE_RESULT_REVALIDATED] = SLICE("revalidated"),
        [CACHE_RESULT_MISS] = SLICE("miss"),
        [CACHE_RESULT_BYPASS] = SLICE("bypass"),
    };
    return names[r];
}

/* Looking up. */

static struct exchange_cache *open_cache(struct exchange *x, uint64_t seen)
{
    struct exchange_cache *c = arena_alloc(&x->arena, sizeof *c);
    if (!c)
        return NULL;
    memset(c, 0, offsetof(struct exchange_cache, reader));
    c->reader.body = NULL;
    c->magic = EXCHANGE_CACHE_MAGIC;
    c->x = x;
    c->seen = seen;
    c->rules = x->route->cache;
    c->asked = (struct cache_asked){&x->request.fields, &x->arena, false};
    list_init(&c->waiter.link);
    task_init(&c->task);
    x->cache = c;
    return c;
}

static bool is_to_be_looked_up(struct exchange_cache *c, struct slice matched)
{
    struct exchange *x = c->x;
    const struct cache_subject subject = {.request = &x->request,
                                          .scheme = x->request.scheme,
                                          .host = x->host,
                                          .matched = matched,
                                          .path = x->path,
                                          .peer_is_trusted = client_peer_is_trusted(x),
                                          .lookup = exchange_variable,
                                          .context = x};
    const char *refused = cache_refuses(c->rules, &x->request, c->seen, &c->said);
    int failed = cache_names_build(x->route, &subject, &x->arena, &c->names);
    if (!refused && failed)
        refused = "key-too-long";
    if (!refused)
        return true;
    bool is_unsafe = !strcmp(refused, "method");
    c->result = CACHE_RESULT_BYPASS;
    c->forward = is_unsafe ? "method" : !strcmp(refused, "no-store") ? "request" : "bypass";
    c->detail = is_unsafe || !strcmp(refused, "no-store") ? NULL : refused;
    if (failed)
        c->names = (struct cache_names){0};
    return false;
}

static void find(struct exchange_cache *c, struct cache_found *found)
{
    struct exchange *x = c->x;
    cache_find(x->worker->cache, &c->key, cache_asked_lines, &c->asked, &x->arena, cache_now(x), found);
    if (UNLIKELY(c->asked.failed)) { /* out of memory: what was found may be for another request */
        cache_object_release(found->object);
        cache_fill_let_go(found->fill);
        *found = (struct cache_found){.pass = true};
    }
}

/* Some of those that pass the cache by ask for it all the same: the answer that was not storable may have
 * been so for one client alone, who must not keep the others' out by asking now and then. */
static bool is_probe(const struct exchange_cache *c)
{
    return worker_random(c->x->worker) % PROBE_ONE_OF == 0 && c->x->request.method_id == METHOD_GET &&
           !cache_asks_for_less(c->x);
}

static void decide(struct exchange_cache *c)
{
    struct exchange *x = c->x;
    struct cache_found found;
    const char *why = NULL;
    find(c, &found);
    c->object = found.object;
    c->fill = found.fill;
    c->forward = found.has_variants ? "vary-miss" : "uri-miss";
    if (c->object) {
        cache_touch(x->worker->cache, c->object, x->worker->index, loop_now(&x->worker->loop));
        switch (cache_may_use(&c->object->freshness, &c->said,
                              atomic_load_explicit(&c->object->soft_purged, memory_order_relaxed),
                              cache_now(x), &why)) {
        case CACHE_USE_FRESH:
            c->forward = NULL;
            cache_serve(c, CACHE_RESULT_HIT);
            return;
        case CACHE_USE_STALE:
            c->forward = NULL;
            cache_serve(c, CACHE_RESULT_STALE);
            return;
        case CACHE_USE_UPDATING:
            if (!c->fill)
                cache_update(c);
            c->forward = NULL;
            cache_serve(c, CACHE_RESULT_STALE);
            return;
        case CACHE_USE_VALIDATED:
            c->forward = why ? why : "stale";
            break;
        }
    } else if (found.pass && !c->said.only_if_cached) {
        c->alone = true;
        if (!is_probe(c)) {
            cache_go_direct(c, "uncacheable");
            return;
        }
    }
    cache_ask(c);
}

bool cache_step(struct exchange *x, struct slice matched)
{
    if (x->route->action != ROUTE_UPSTREAM && x->route->action != ROUTE_SPLIT)
        return false;
    uint64_t seen = fields_seen(&x->request.fields);
    struct exchange_cache *c = x->worker->cache ? open_cache(x, seen) : NULL;
    /* What Connection names is no part of what the origin sees; an upgrade is asked for by it. */
    if (seen & FIELD_BIT(FIELD_CONNECTION) && !x->request.upgrade)
        fields_strip_hop_by_hop(&x->request.fields);
    if (!c || !is_to_be_looked_up(c, matched))
        return false;
    c->result = CACHE_RESULT_MISS;
    c->key = cache_key_of(c->names.key);
    c->key.url = c->names.url;
    x->responder = &cache_responder;
    x->responder_state = c;
    x->responder->start(x);
    return true;
}

static void start(struct exchange *x)
{
    decide(x->cache);
}

/* What the exchange asks for. */

static void resume(struct exchange *x)
{
    struct exchange_cache *c = x->cache;
    if (!c->relays)
        cache_serve_more(c);
    else if (c->fetch)
        cache_fetch_resume(c->fetch);
}

/* The fetch is told first: it must not look at what is let go of here. */
static void let_go(struct exchange_cache *c)
{
    if (c->fetch)
        cache_fetch_leave(c->fetch);
    c->fetch = NULL;
    c->relays = false;
    cache_signal_cancel(&c->waiter);
    cache_fill_let_go(c->fill);
    c->fill = NULL;
    cache_serve_stop(c);
}

/* Than the object: what a plain hit has not. */
static bool holds_more(const struct exchange_cache *c)
{
    return c->fetch || c->fill || c->reader.body || c->waiter.audience || list_linked(&c->task.link);
}

static void cancel(struct exchange *x)
{
    if (x->cache && (holds_more(x->cache) || x->cache->relays))
        let_go(x->cache);
}

void cache_end(struct exchange *x)
{
    struct exchange_cache *c = x->cache;
    if (holds_more(c))
        let_go(c);
    cache_object_release(c->object);
    c->object = NULL;
}

const struct responder cache_responder = {
    .name = "cache", .start = start, .resume = resume, .cancel = cancel};

int cache_respond(struct exchange *x, struct http_response *r)
{
    struct exchange_cache *c = x->cache;
    if (x->responder == &forward_responder)
        cache_learn(c, r);
    return cache_status_add(c, &r->fields);
}

bool cache_relays(const struct exchange *x)
{
    return x->cache && x->cache->relays;
}
