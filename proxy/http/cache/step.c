#include "balancer/upstream.h"
#include "proxy/http/cache/internal.h"
#include "proxy/http/client_address.h"
#include "proxy/http/fields.h"
#include "proxy/http/forward.h"

#define PROBE_ONE_OF 8

static void ask(struct exchange_cache *c);
static void on_wake(struct cache_waiter *w);

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

static struct exchange_cache *open_cache(struct exchange *x)
{
    struct exchange_cache *c = arena_zalloc(&x->arena, sizeof *c);
    if (!c)
        return NULL;
    c->magic = EXCHANGE_CACHE_MAGIC;
    c->x = x;
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
    const char *refused = cache_refuses(c->rules, &x->request, &c->said);
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

/* A fetch to lead, or another's to follow. */
static enum cache_lead lead(struct exchange_cache *c, bool alone, struct cache_fill **fill)
{
    struct exchange *x = c->x;
    return cache_lead(x->worker->cache, &c->key, c->object, alone, c->generation, cache_asked_lines,
                      &c->asked, &x->arena, cache_now(x), fill);
}

/* One fetch in the background makes it fresh again, unless there is one already. */
static void update(struct exchange_cache *c)
{
    struct cache_fill *fill = NULL;
    switch (lead(c, false, &fill)) {
    case CACHE_LEAD:
        cache_fetch(c, fill, false);
        break;
    case CACHE_FOLLOW:
        cache_fill_let_go(fill);
        break;
    case CACHE_PASS:
    case CACHE_FULL:
        break;
    }
}

static bool asks_for_less(const struct exchange *x)
{
    const struct fields *f = &x->request.fields;
    return fields_find(f, FIELD_RANGE) || fields_find(f, FIELD_IF_NONE_MATCH) ||
           fields_find(f, FIELD_IF_MODIFIED_SINCE);
}

/* Some of those that pass the cache by ask for it all the same: the answer that was not storable may have
 * been so for one client alone, who must not keep the others' out by asking now and then. */
static bool is_probe(const struct exchange_cache *c)
{
    return worker_random(c->x->worker) % PROBE_ONE_OF == 0 && c->x->request.method_id == METHOD_GET &&
           !asks_for_less(c->x);
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
                update(c);
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
    ask(c);
}

bool cache_step(struct exchange *x, struct slice matched)
{
    if (x->route->action != ROUTE_UPSTREAM && x->route->action != ROUTE_SPLIT)
        return false;
    struct exchange_cache *c = x->worker->cache ? open_cache(x) : NULL;
    /* What Connection names is no part of what the origin sees; an upgrade is asked for by it. */
    if (fields_find(&x->request.fields, FIELD_CONNECTION) && !x->request.upgrade)
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

/* Asking the origin. */

/* The server that a fetch has asked is not the one that will answer: nor is its upstream, on a split. */
static void forget_fetch(struct exchange *x)
{
    if (x->servers)
        upstream_leave(x->upstream, x->servers, x->worker->index);
    x->servers = NULL;
    x->upstream = NULL;
    x->server = x->session = NULL;
    x->tries = x->last_try = NULL;
    x->attempts = 0;
    x->upstream_started_us = x->upstream_head_us = 0;
}

void cache_go_direct(struct exchange_cache *c, const char *detail)
{
    struct exchange *x = c->x;
    c->detail = detail;
    c->relays = c->stored = c->collapsed = false;
    forget_fetch(x);
    cache_signal_cancel(&c->waiter);
    cache_fill_let_go(c->fill);
    c->fill = NULL;
    x->responder = NULL;
    x->responder_state = NULL;
    exchange_act(x);
}

/* Conditions that only the origin can answer, where nothing is stored. */
static bool has_origin_condition(const struct exchange *x)
{
    return fields_find(&x->request.fields, FIELD_IF_MATCH) ||
           fields_find(&x->request.fields, FIELD_IF_UNMODIFIED_SINCE);
}

/* The whole would have to be fetched first, and the answer is hardly one to be stored (RFC 9111 §3.5): the
 * origin would be asked twice, each time. */
static bool is_better_asked_directly(const struct exchange_cache *c)
{
    const struct exchange *x = c->x;
    return x->request.method_id == METHOD_HEAD || has_origin_condition(x) ||
           (!c->object && asks_for_less(x) && fields_find(&x->request.fields, FIELD_AUTHORIZATION));
}

/* It was good for more than the request that brought it. What is to be validated for each (no-cache,
 * max-age=0) nobody may have because another has asked for it (RFC 9111 §4), nor wait for. */
static bool is_for_all(const struct cache_object *o)
{
    const char *why;
    return cache_may_use(&o->freshness, &cache_says_nothing, false, o->freshness.response_time, &why) !=
           CACHE_USE_VALIDATED;
}

/* Follows a fetch that is under way, or leads one. */
static void ask(struct exchange_cache *c)
{
    struct exchange *x = c->x;
    if (c->said.only_if_cached) { /* RFC 9111 §5.2.1.7 */
        x->termination = TERMINATION_REQUEST_REFUSED;
        exchange_fail(x, 504, "the client wants a stored response, and there is none that it may have");
        return;
    }
    bool alone = c->said.no_cache || !c->rules->collapse || c->alone || (c->object && !is_for_all(c->object));
    bool follows = c->fill && !alone;
    if (!follows && is_better_asked_directly(c)) {
        cache_go_direct(c, NULL);
        return;
    }
    if (!follows) {
        cache_fill_let_go(c->fill);
        c->fill = NULL;
        switch (lead(c, alone, &c->fill)) {
        case CACHE_LEAD:
            cache_fill_hold(c->fill);
            c->is_leader = true;
            c->asks_for_less = asks_for_less(x);
            cache_fetch(c, c->fill, true);
            return;
        case CACHE_FOLLOW:
            break;
        case CACHE_PASS:
            cache_go_direct(c, "uncacheable");
            return;
        case CACHE_FULL:
            cache_go_direct(c, "no-memory");
            return;
        }
    }
    c->is_leader = false;
    c->collapsed = true;
    cache_look(c);
}

static void wait(struct exchange_cache *c)
{
    struct exchange *x = c->x;
    if (cache_signal_wait(&c->fill->signal, &x->worker->loop, &c->waiter, on_wake) != 0) {
        cache_go_direct(c, "no-memory");
        return;
    }
    /* What was raised before the wait was not seen. */
    if (cache_fill_state(c->fill) != CACHE_FILL_ASKED) {
        cache_signal_cancel(&c->waiter);
        cache_look(c);
    }
}

static void on_wake(struct cache_waiter *w)
{
    cache_look(CONTAINER_OF(w, struct exchange_cache, waiter));
}

static void take_object(struct exchange_cache *c, struct cache_object *o)
{
    cache_object_hold(o);
    cache_object_release(c->object);
    c->object = o;
}

/* What is under way is for others, whatever its key says. */
static void ask_again(struct exchange_cache *c, bool alone, const char *why)
{
    c->collapsed = false;
    c->alone = alone;
    if (why)
        c->forward = why;
    cache_fill_let_go(c->fill);
    c->fill = NULL;
    ask(c);
}

/* The fetch has an object. Is it for this request too? */
static void look_at_object(struct exchange_cache *c)
{
    struct exchange *x = c->x;
    struct cache_fill *fill = c->fill;
    struct slice text;
    const char *why;
    bool is_base = fill->object == fill->base; /* the origin fails: the stale one is all there is */
    if (is_base &&
        !cache_may_use_on_error(&fill->object->freshness, &c->said, fill->answered, cache_now(x))) {
        cache_go_direct(c, NULL);
        return;
    }
    if (!c->is_leader &&
        (cache_vary_text(fill->object->vary_names, cache_asked_lines, &c->asked, &x->arena, &text) != 0 ||
         !slice_equal(text, fill->object->vary_text))) {
        /* Who asks alike now finds each other by what Vary has named; if it names other fields the next time,
         * each goes alone. */
        ask_again(c, c->was_for_others, "vary-miss");
        c->was_for_others = true;
        return;
    }
    if (!c->is_leader && !is_base && !is_for_all(fill->object)) {
        ask_again(c, true, NULL);
        return;
    }
    if (!c->is_leader && fill->was_found &&
        cache_may_use(&fill->object->freshness, &c->said, false, cache_now(x), &why) != CACHE_USE_FRESH) {
        ask_again(c, true, why);
        return;
    }
    bool is_refreshed = fill->base && fill->object->body == fill->base->body, was_found = fill->was_found;
    take_object(c, fill->object);
    c->forward_status = fill->status;
    c->stored = !is_base && !was_found && !(c->is_leader && c->detail);
    if (was_found) {
        c->forward = NULL;
        c->collapsed = false;
        c->detail = "second-tier";
    }
    cache_fill_let_go(fill);
    c->fill = NULL;
    cache_serve(c, was_found      ? CACHE_RESULT_HIT
                   : is_base      ? CACHE_RESULT_STALE
                   : is_refreshed ? CACHE_RESULT_REVALIDATED
                                  : CACHE_RESULT_MISS);
}

void cache_serve_alone(struct exchange_cache *c, struct cache_object *o)
{
    take_object(c, o);
    cache_fill_let_go(c->fill);
    c->fill = NULL;
    cache_serve(c, CACHE_RESULT_REVALIDATED);
}

/* No answer came. One of those who waited tries again, where that may help. */
static void look_at_failure(struct exchange_cache *c)
{
    struct cache_fill *fill = c->fill;
    unsigned status = fill->failed_status;
    const char *reason = c->failure ? c->failure : fill->failed_reason;
    /* Servers that are busy or late are so for each; other failures may be about the leader's own request. */
    bool may_help =
        status != 503 && status != 504 && !c->is_leader && fill->generation + 1 < CACHE_FILL_LEADERS_MAX;
    c->generation = fill->generation + 1;
    cache_fill_let_go(fill);
    c->fill = NULL;
    if (may_help)
        ask(c);
    else
        exchange_fail(c->x, status, reason);
}

void cache_look(struct exchange_cache *c)
{
    ASSERT(c->magic == EXCHANGE_CACHE_MAGIC && c->fill);
    switch (cache_fill_state(c->fill)) {
    case CACHE_FILL_ASKED:
        wait(c);
        break;
    case CACHE_FILL_OBJECT:
        look_at_object(c);
        break;
    case CACHE_FILL_RELEASED:
        c->collapsed = false;
        cache_go_direct(c, "uncacheable");
        break;
    case CACHE_FILL_FAILED:
        look_at_failure(c);
        break;
    }
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

static void cancel(struct exchange *x)
{
    if (x->cache)
        let_go(x->cache);
}

void cache_end(struct exchange *x)
{
    struct exchange_cache *c = x->cache;
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
