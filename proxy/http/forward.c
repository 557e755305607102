#include <errno.h>

#include "core/log.h"
#include "proxy/http/forward_internal.h"
#include "proxy/http/forward_request.h"

#define REFUSED_MAX 4 /* times that a request is sent again because it was not processed */

static void attempt(struct forward *f);

static struct retry_budget *budget_of(const struct forward *f)
{
    return &f->upstream->budgets[f->x->worker->index];
}

/* Starting. */

static void start(struct exchange *x)
{
    struct forward *f = arena_zalloc(&x->arena, sizeof *f);
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
    x->responder_state = f;
    affinity_of(x, f->upstream, &f->affinity);
    budget_request(budget_of(f), x->route->retries.budget);
    attempt(f);
}

static void no_server(struct forward *f, enum pick_failure why)
{
    struct exchange *x = f->x;
    if (why == PICK_BREAKER_OPEN)
        x->termination = TERMINATION_BREAKER_OPEN;
    if (f->tried_count)
        exchange_fail(x, 502, "the servers that were tried could not be reached");
    else
        exchange_fail(x, 503, pick_failure_text(why));
}

/* A server that has not been asked yet; or, when all have, the last one if its failure says nothing about
 * it. */
static struct server *pick(struct forward *f, enum pick_failure *why)
{
    unsigned worker = f->x->worker->index;
    struct pick p = {.tried = f->tried,
                     .tried_count = f->tried_count,
                     .hash = f->affinity.hash,
                     .now_us = loop_now_us(&f->x->worker->loop),
                     .prefer = f->affinity.server};
    if (f->tried_count >= FORWARD_ATTEMPTS_MAX)
        return NULL;
    struct server *s = upstream_pick(f->upstream, f->x->servers, worker, &p, why);
    if (s || *why != PICK_ALL_TRIED || !f->says_nothing)
        return s;
    p.tried_count = --f->tried_count;
    return upstream_pick(f->upstream, f->x->servers, worker, &p, why);
}

static int open_connection(struct forward *f)
{
    return f->upstream->settings->protocol == UPSTREAM_HTTP1 ? forward_h1_open(f) : forward_h2_open(f);
}

static void attempt(struct forward *f)
{
    struct exchange *x = f->x;
    struct worker *w = x->worker;
    enum pick_failure why = PICK_OK;
    struct server *s = pick(f, &why);
    if (!s) {
        no_server(f, why);
        return;
    }
    f->server_counted = true;
    f->tried[f->tried_count++] = s;
    x->server = s;
    if (x->attempts++)
        counter_add(&counters_of(&w->counters, s)->retries, 1);
    f->attempt_us = loop_now_us(&w->loop);
    if (x->upstream_started_us == 0)
        x->upstream_started_us = f->attempt_us;
    f->outcome = OUTCOME_ABANDONED;
    f->sent = f->sending_done = f->head_begun = f->watches_sending = f->paused = false;
    f->last_reused = f->says_nothing = false;
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
        f->side->timer(f, x->route->timeouts.has_response ? x->route->timeouts.response
                                                          : forward_timeouts(x)->response);
    else
        f->side->timer(f, 0); /* it is the client's turn */
}

void forward_timeout(struct forward *f)
{
    struct exchange *x = f->x;
    if (!f->sent) {
        forward_unreachable(f, ETIMEDOUT, NULL);
        return;
    }
    if (f->watches_sending && (f->side->backlog(f) == 0 || f->side->progress(f) != f->progress_out)) {
        forward_watch(f); /* slow, but it moves */
        return;
    }
    f->outcome = OUTCOME_TIMEOUT;
    forward_let_go(f, false);
    exchange_fail(x, 504,
                  f->watches_sending ? "the server did not take the request in time"
                  : f->head_received ? "the server's body took too long"
                                     : "the server's answer took too long");
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
    upstream_done(f->upstream, x->servers, x->worker->index, x->server, &o);
}

void forward_let_go(struct forward *f, bool reusable)
{
    struct exchange *x = f->x;
    const struct forward_side *side = f->side;
    if (side) {
        usec_t took = loop_now_us(&x->worker->loop) - f->attempt_us;
        counters_response(counters_of(&x->worker->counters, x->server), f->head_received ? f->status : 0,
                          took);
        f->side = NULL;
        side->let_go(f, reusable);
    }
    if (f->server_counted) {
        f->server_counted = false;
        tell(f);
    }
}

static bool may_resend(struct forward *f)
{
    struct exchange *x = f->x;
    return !f->head_begun && !x->head_sent && method_is_idempotent(x->request.method_id) && f->replayable &&
           f->resent < x->route->retries.attempts && budget_retry(budget_of(f));
}

void forward_unreachable(struct forward *f, int error, const char *why)
{
    struct exchange *x = f->x;
    log_warn("server cannot be reached", LOG_SLICE("upstream", f->upstream->name),
             LOG_SLICE("server", x->server->name), LOG_TEXT("reason", why ? why : strerror(error)));
    f->outcome = error == ETIMEDOUT ? OUTCOME_TIMEOUT : OUTCOME_UNREACHABLE;
    forward_let_go(f, false);
    if (x->route->retries.attempts == 0)
        exchange_fail(x, error == ETIMEDOUT ? 504 : 502, "the server cannot be reached");
    else
        attempt(f);
}

void forward_lost(struct forward *f, const char *reason)
{
    struct exchange *x = f->x;
    bool again = f->sent && may_resend(f);
    /* An idle connection that the server has closed says nothing of it. */
    f->says_nothing = f->last_reused && !f->head_begun;
    f->outcome = f->says_nothing ? OUTCOME_ABANDONED : OUTCOME_RESET;
    forward_let_go(f, false);
    if (!again) {
        log_warn("no answer", LOG_SLICE("upstream", f->upstream->name), LOG_SLICE("server", x->server->name),
                 LOG_TEXT("reason", reason));
        exchange_fail(x, 502, reason);
        return;
    }
    f->resent++;
    attempt(f);
}

void forward_refused(struct forward *f, const char *reason)
{
    struct exchange *x = f->x;
    bool again = !f->head_begun && !x->head_sent && f->replayable && f->refused < REFUSED_MAX;
    f->says_nothing = true;
    f->outcome = OUTCOME_ABANDONED;
    forward_let_go(f, false);
    if (!again) {
        log_warn("a request was refused", LOG_SLICE("upstream", f->upstream->name),
                 LOG_SLICE("server", x->server->name), LOG_TEXT("reason", reason));
        exchange_fail(x, 502, reason);
        return;
    }
    f->refused++;
    attempt(f);
}

void forward_bad_response(struct forward *f, const char *reason)
{
    struct exchange *x = f->x;
    log_warn("bad response", LOG_SLICE("upstream", f->upstream->name), LOG_SLICE("server", x->server->name),
             LOG_TEXT("reason", reason));
    f->outcome = OUTCOME_BAD;
    forward_let_go(f, false);
    exchange_fail(x, 502, reason);
}

static void cancel(struct exchange *x)
{
    struct forward *f = x->responder_state;
    if (f)
        forward_let_go(f, false);
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
    .resume = resume,
    .cancel = cancel,
};
