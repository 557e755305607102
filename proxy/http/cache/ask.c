/* Asking the origin for a client: leading a fetch, or following another's. */
#include "balancer/upstream.h"
#include "proxy/http/cache/internal.h"

#define PAUSE_SECONDS 2 /* after an origin's failure, before the next fetch that nobody waits for */

static void on_wake(struct cache_waiter *w);

bool cache_asks_for_less(const struct exchange *x)
{
    const struct fields *f = &x->request.fields;
    return fields_find(f, FIELD_RANGE) || fields_find(f, FIELD_IF_NONE_MATCH) ||
           fields_find(f, FIELD_IF_MODIFIED_SINCE);
}

/* A fetch to lead, or another's to follow. */
static enum cache_lead lead(struct exchange_cache *c, bool alone, struct cache_fill **fill)
{
    struct exchange *x = c->x;
    return cache_lead(x->worker->cache, &c->key, c->object, alone, c->generation, cache_asked_lines,
                      &c->asked, &x->arena, cache_now(x), fill);
}

void cache_update(struct exchange_cache *c)
{
    struct cache_fill *fill = NULL;
    int64_t failed_at = atomic_load_explicit(&c->object->failed_at, memory_order_relaxed);
    if (failed_at && cache_now(c->x) - failed_at < PAUSE_SECONDS)
        return;
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
           (!c->object && cache_asks_for_less(x) && fields_find(&x->request.fields, FIELD_AUTHORIZATION));
}

/* It was good for more than the request that brought it. What is to be validated for each (no-cache,
 * max-age=0) nobody may have because another has asked for it (RFC 9111 §4), nor wait for. */
static bool is_for_all(const struct cache_object *o)
{
    const char *why;
    return cache_may_use(&o->freshness, &cache_says_nothing, false, o->freshness.response_time, &why) !=
           CACHE_USE_VALIDATED;
}

void cache_ask(struct exchange_cache *c)
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
            c->asks_for_less = cache_asks_for_less(x);
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
    cache_ask(c);
}

/* The fetch of another has an object: false when it is not for this request, which then asks again. */
static bool is_for_this(struct exchange_cache *c)
{
    struct exchange *x = c->x;
    const struct cache_fill *fill = c->fill;
    const struct cache_object *o = fill->object;
    struct slice text;
    const char *why;
    if (cache_vary_text(o->vary_names, cache_asked_lines, &c->asked, &x->arena, &text) != 0 ||
        !slice_equal(text, o->vary_text)) {
        /* Who asks alike now finds each other by what Vary has named; if it names other fields the next time,
         * each goes alone. */
        bool alone = c->was_for_others;
        c->was_for_others = true;
        ask_again(c, alone, "vary-miss");
        return false;
    }
    if (o != fill->base && !is_for_all(o)) {
        ask_again(c, true, NULL);
        return false;
    }
    if (fill->was_found &&
        cache_may_use(&o->freshness, &c->said, false, cache_now(x), &why) != CACHE_USE_FRESH) {
        ask_again(c, true, why);
        return false;
    }
    return true;
}

static void look_at_object(struct exchange_cache *c)
{
    struct cache_fill *fill = c->fill;
    struct cache_object *o = fill->object;
    bool is_base = o == fill->base; /* the origin fails: the stale one is all there is */
    if (is_base && !cache_object_serves_on_error(o, &c->said, fill->answered, cache_now(c->x))) {
        cache_go_direct(c, NULL);
        return;
    }
    if (!c->is_leader && !is_for_this(c))
        return;
    bool is_refreshed = fill->base && o->body == fill->base->body, was_found = fill->was_found;
    take_object(c, o);
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
        cache_ask(c);
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
