#include "proxy/http/cache/fetch_internal.h"
#include "proxy/http/trace.h"

static const struct downstream_ops fetch_ops;

static struct cache_fetch *of_exchange(const struct exchange *x)
{
    struct cache_fetch *f = x->down;
    ASSERT(f->magic == CACHE_FETCH_MAGIC);
    return f;
}

/* Beginning and ending. */

void fetch_end_fill(struct cache_fetch *f)
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
    fetch_end_fill(f);
}

void fetch_end(struct cache_fetch *f)
{
    struct exchange *x = f->x;
    let_go(f);
    exchange_end(x);
    listener_let_go(x->listener); /* last: its settings are asked for until then */
}

static void on_over(struct task *t)
{
    fetch_end(CONTAINER_OF(t, struct cache_fetch, task));
}

/* From inside of a call that the exchange makes: it ends after it. */
void fetch_end_later(struct cache_fetch *f)
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
void fetch_ask_origin(struct cache_fetch *f, struct exchange_cache *from)
{
    f->stamp = second_tier_stamp(f->x);
    f->connection = from ? from->x->down_ops->connection(from->x) : NULL;
    exchange_start(f->x);
    f->connection = NULL;
}

void cache_fetch(struct exchange_cache *from, struct cache_fill *fill, bool has_client)
{
    struct cache_fetch *f = create(from, fill);
    bool failed = !f || fetch_copy_names(f, &from->names) != 0 || fetch_copy_request(f, from->x) != 0;
    if (failed) {
        cache_fill_fail(fill, 503, "out of memory");
        if (f)
            fetch_end(f);
        else
            cache_fill_end(fill);
        if (has_client)
            cache_look(from);
        return;
    }
    f->key.hash = from->key.hash;
    if (UNLIKELY(f->x->snapshot->tracing != NULL))
        trace_lead(f->x, from->x);
    if (has_client) {
        f->from = from;
        from->fetch = f;
    }
    f->said = has_client ? from->said : cache_says_nothing;
    if (!fetch_asks_second_tier(f))
        fetch_ask_origin(f, from);
}

void cache_fetch_leave(struct cache_fetch *f)
{
    f->from = NULL;
    if (f->relays)
        fetch_end_later(f);
}

void cache_fetch_resume(struct cache_fetch *f)
{
    if (f->x->phase != EXCHANGE_ENDED)
        exchange_resume(f->x);
}

void cache_abort_fetches(struct worker *w)
{
    while (!list_empty(&w->fetches))
        fetch_end(CONTAINER_OF(w->fetches.next, struct cache_fetch, link));
}

/* What the client's log tells of the origin. */
void fetch_tell_client(struct cache_fetch *f)
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
void fetch_wake_client(struct cache_fetch *f)
{
    struct exchange_cache *from = f->from;
    if (!from)
        return;
    fetch_tell_client(f);
    f->from = NULL;
    from->fetch = NULL;
    cache_look(from);
}

/* What `downstream_ops` ask for. */

static void inform(struct exchange *x, const struct http_response *r)
{
    struct cache_fetch *f = of_exchange(x);
    struct http_response copy = *r;
    if (f->from)
        exchange_inform(f->from->x, &copy);
}

static int respond(struct exchange *x, const struct http_response *head, const struct iovec *body, int count,
                   bool end)
{
    struct cache_fetch *f = of_exchange(x);
    struct http_response r = *head;
    if (!f->is_over)
        fetch_answered(f, &r, body, count, end);
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
    fetch_append(f, body, count);
    if (f->streams && f->fill) { /* nobody who comes now could read it from its beginning */
        f->fill->discard = true;
        fetch_end_fill(f);
    }
    if (end && !f->is_over) {
        cache_body_finish(f->body);
        fetch_conclude(f);
    } else if (f->streams && !cache_body_is_wanted(f->body)) {
        fetch_end_later(f);
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
        fetch_end_fill(f);
        fetch_wake_client(f);
    }
    fetch_end(f);
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
        fetch_end(f);
        return;
    }
    if (fetch_leaves_to_stale(f, false)) {
        fetch_end(f);
        return;
    }
    if (from) {
        from->x->termination = x->termination;
        from->failure = arena_printf(&from->x->arena, "%s", reason);
    }
    cache_fill_fail(f->fill, status, "the fetch for the cache failed");
    fetch_end_fill(f);
    fetch_wake_client(f);
    fetch_end(f);
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
    fetch_end(of_exchange(x));
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
