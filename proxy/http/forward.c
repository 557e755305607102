#include "proxy/http/forward_internal.h"
#include "proxy/http/forward_request.h"

static struct retry_budget *budget_of(const struct forward *f)
{
    return &f->upstream->budgets[f->x->worker->index];
}

bool forward_takes_token(const struct forward *f)
{
    return budget_retry(budget_of(f), loop_now_us(&f->x->worker->loop));
}

/* Starting. */

static void start(struct exchange *x)
{
    struct forward *f = arena_alloc(&x->arena, sizeof *f);
    if (f)
        clear_bytes(f, FORWARD_CLEARED);
    if (!f || forward_fields(x, &f->fields) != 0) {
        exchange_fail(x, 503, "out of memory");
        return;
    }
    f->magic = FORWARD_MAGIC;
    f->x = x;
    f->upstream = x->upstream;
    if (!x->servers)
        x->servers = upstream_enter(x->upstream, x->worker->index);
    f->replayable = true;
    f->failure = (struct forward_failure){TERMINATION_WEIR_FAILED, 503, "out of memory"};
    x->responder_state = f;
    if (UNLIKELY(f->upstream->affinity != NULL))
        affinity_of(x, f->upstream, &f->affinity);
    budget_request(budget_of(f), x->route->retries.budget);
    if (UNLIKELY(f->upstream->settings->hedge != NULL))
        hedge_request(&f->upstream->locals[x->worker->index].hedge, f->upstream->settings->hedge);
    forward_attempt(f);
}

void forward_no_server(struct forward *f, enum pick_failure why)
{
    struct exchange *x = f->x;
    if (why == PICK_BREAKER_OPEN)
        x->termination = TERMINATION_BREAKER_OPEN;
    if (f->tried_count)
        forward_give_up(f);
    else
        exchange_fail(x, 503, pick_failure_text(why));
}

struct server *forward_pick(struct forward *f, enum pick_failure *why)
{
    unsigned worker = f->x->worker->index;
    struct pick p = {.tried = f->tried,
                     .tried_count = f->tried_count,
                     .hash = f->affinity.hash,
                     .spares = !f->says_nothing,
                     .now_us = loop_now_us(&f->x->worker->loop),
                     .prefer = f->affinity.server};
    *why = PICK_ALL_TRIED;
    if (f->tried_count >= FORWARD_ATTEMPTS_MAX)
        return NULL;
    struct server *s = upstream_pick(f->upstream, f->x->servers, worker, &p, why);
    if (s || *why == PICK_ALL_BUSY || *why == PICK_BREAKER_OPEN || !f->says_nothing)
        return s;
    p.tried_count = --f->tried_count;
    p.spares = true;
    return upstream_pick(f->upstream, f->x->servers, worker, &p, why);
}

static int open_connection(struct forward *f)
{
    return f->upstream->settings->protocol == UPSTREAM_HTTP1 ? forward_h1_open(f) : forward_h2_open(f);
}

/* Of this attempt, and what is told of it later. */
static int begin_record(struct forward *f, struct server *s)
{
    struct exchange *x = f->x;
    struct attempt *a = x->tries ? arena_zalloc(&x->arena, sizeof *a) : &f->first_attempt;
    if (!a)
        return -1;
    a->server = s;
    a->started_us = forward_stamp(f);
    if (x->tries)
        x->last_try->next = a;
    else
        x->tries = a;
    f->attempt = x->last_try = a;
    return 0;
}

/* Nobody but servers that could not be reached a moment ago is left: to ask them all for each request would
 * be the storm that the budget is there against. */
static bool is_hopeless(struct forward *f, const struct server *s)
{
    return f->passes_over && server_is_suspect(s, loop_now_us(&f->x->worker->loop)) &&
           !forward_takes_token(f);
}

/* Who comes while others wait for a place waits behind them. */
static struct server *next_server(struct forward *f)
{
    enum pick_failure why = PICK_ALL_BUSY;
    bool in_line = f->tried_count == 0 && upstream_has_waiting(f->upstream);
    struct server *s = f->next ? f->next : in_line ? NULL : forward_pick(f, &why);
    f->next = NULL;
    if (!s) {
        if (why != PICK_ALL_BUSY || !forward_wait(f))
            forward_no_server(f, why);
        return NULL;
    }
    if (UNLIKELY(is_hopeless(f, s)) || begin_record(f, s) != 0) {
        upstream_done(f->upstream, f->x->servers, f->x->worker->index, s, NULL);
        forward_give_up(f);
        return NULL;
    }
    return s;
}

void forward_attempt(struct forward *f)
{
    struct exchange *x = f->x;
    struct worker *w = x->worker;
    struct server *s = next_server(f);
    if (!s)
        return;
    f->server_counted = true;
    f->tried[f->tried_count++] = s;
    f->server = x->server = s;
    if (x->attempts++ && !f->twin)
        counter_add(&counters_of(&w->counters, s)->retries, 1);
    f->attempt_us = f->limit_us = loop_now_us(&w->loop);
    if (x->upstream_started_us == 0)
        x->upstream_started_us = f->attempt_us;
    f->outcome = OUTCOME_ABANDONED;
    f->sent = f->sending_done = f->head_begun = f->head_received = f->watches_sending = f->paused = false;
    f->last_reused = f->says_nothing = f->passes_over = false;
    f->scanned = 0;
    int error = open_connection(f);
    if (error)
        forward_unreachable(f, error, NULL);
}

/* The clock. */

/* While the server takes nothing of what was written, the timer that runs already goes on. */
static void watch_sending(struct forward *f)
{
    uint64_t progress = f->side->progress(f);
    if (f->watches_sending && progress == f->progress_out)
        return;
    f->watches_sending = true;
    f->progress_out = progress;
    f->side->timer(f, exchange_body_timeout(f->x));
}

/* What is left of the attempt's own time, at least 1; 0 = it has none. */
static msec_t attempt_left(const struct forward *f)
{
    msec_t limit = f->x->route->retries.timeout;
    msec_t passed = (loop_now_us(&f->x->worker->loop) - f->limit_us) / 1000;
    return limit == 0 ? 0 : limit > passed ? limit - passed : 1;
}

bool forward_attempt_is_over(const struct forward *f)
{
    return attempt_left(f) == 1;
}

static msec_t sooner(msec_t a, msec_t left)
{
    return left && left < a ? left : a;
}

msec_t forward_connect_time(const struct forward *f)
{
    return sooner(forward_timeouts(f->x)->connect, attempt_left(f));
}

msec_t forward_handshake_time(const struct forward *f)
{
    return sooner(timeouts_tls(forward_timeouts(f->x)), attempt_left(f));
}

static msec_t response_time(const struct forward *f)
{
    const struct route_timeouts *t = &f->x->route->timeouts;
    return sooner(t->has_response ? t->response : forward_timeouts(f->x)->response, attempt_left(f));
}

void forward_watch(struct forward *f)
{
    const struct exchange *x = f->x;
    if (f->side->backlog(f)) {
        watch_sending(f);
        return;
    }
    f->watches_sending = false;
    if (f->head_received && !f->paused)
        f->side->timer(f, exchange_body_timeout(x));
    else if (!f->head_received && f->sending_done)
        f->side->timer(f, response_time(f));
    else
        f->side->timer(f, 0); /* it is the client's turn */
}

/* Ends. */

static void tell(struct forward *f)
{
    const struct exchange *x = f->x;
    usec_t now = loop_now_us(&x->worker->loop);
    struct outcome o = {.kind = f->outcome,
                        .status = f->head_received ? f->status : 0,
                        .head_us = f->head_received ? x->upstream_head_us - f->attempt_us : 0,
                        .took_us = now - f->attempt_us,
                        .now_us = now};
    upstream_done(f->upstream, x->servers, x->worker->index, f->server, &o);
}

void forward_let_go(struct forward *f, bool reusable)
{
    const struct forward_side *side = f->side;
    struct attempt *a = f->attempt;
    unsigned status = f->head_received ? f->status : 0;
    if (UNLIKELY(f->hedge_waits))
        forward_hedge_stop(f);
    if (!f->server_counted)
        return; /* no attempt goes on */
    if (a->ended_us == 0) {
        a->ended_us = forward_stamp(f);
        a->outcome = (uint8_t)f->outcome;
        a->reused = f->last_reused;
        a->status = (uint16_t)status;
        a->head_us = f->head_received ? forward_stamp_of(f, f->x->upstream_head_us) : 0;
    }
    if (side) {
        struct worker *w = f->x->worker;
        struct server_counters *c = counters_of(&w->counters, f->server);
        usec_t now = loop_now_us(&w->loop), took = now - f->attempt_us;
        unsigned bucket = counters_response(c, status, took);
        if (UNLIKELY(exemplars_due(&c->exemplars, bucket, now)))
            exchange_exemplar(f->x, &c->exemplars, bucket, took);
        f->side = NULL;
        side->let_go(f, reusable);
    }
    f->server_counted = false;
    tell(f);
}

static void cancel(struct exchange *x)
{
    struct forward *f = x->responder_state;
    if (!f)
        return;
    if (UNLIKELY(f->waiter.queue != NULL))
        queue_leave(&f->waiter);
    struct forward *twin = f->twin;
    f->twin = NULL;
    if (UNLIKELY(f->waits || f->next))
        forward_stop_waiting(f);
    if (UNLIKELY(f->server_counted || f->hedge_waits))
        forward_let_go(f, false);
    if (LIKELY(!twin))
        return;
    twin->twin = NULL;
    forward_stop_waiting(twin);
    forward_let_go(twin, false);
}

static void resume(struct exchange *x)
{
    struct forward *f = x->responder_state;
    if (!f->side || !f->paused)
        return;
    f->paused = false;
    f->side->read_on(f);
    forward_watch(f);
}

const struct responder forward_responder = {
    .name = "upstream",
    .start = start,
    .body = forward_body,
    .splice = forward_splice,
    .resume = resume,
    .cancel = cancel,
};
