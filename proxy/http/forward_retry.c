/* What becomes of an attempt that failed: another one, or an error for the client. */
#include <errno.h>
#include <string.h>

#include "proxy/failure_log.h"
#include "proxy/http/forward_internal.h"

#define REFUSED_MAX        4           /* times that a request is sent again because it was not processed */
#define RETRY_AFTER_MAX_US 60000000ull /* of a server's Retry-After, what is believed */

static void on_backoff(struct timer *t);

void forward_give_up(struct forward *f)
{
    if (forward_leaves_to_twin(f))
        return;
    f->x->termination = (uint8_t)f->failure.as;
    exchange_fail(f->x, f->failure.status, f->failure.reason);
}

/* `reason` is static text, or in the exchange's arena. */
static void note(struct forward *f, enum outcome_kind outcome, enum termination as, unsigned status,
                 const char *reason)
{
    f->outcome = outcome;
    f->failure = (struct forward_failure){as, (uint16_t)status, reason};
    f->attempt->reason = reason;
}

/* Whether the request, which the server may have seen, is sent once more; takes a token of the budget, unless
 * it is under way a second time already. */
static bool may_resend(struct forward *f, enum retry_cause cause, unsigned status)
{
    struct exchange *x = f->x;
    const struct retries_settings *s = &x->route->retries;
    if (f->twin)
        return true;
    return f->replayable && !x->head_sent && f->resent < s->attempts &&
           retries_want(s, cause, status, x->request.method_id, true) && forward_takes_token(f);
}

/* The next attempt, number `again` of those that come after one that was sent. */
static void attempt_later(struct forward *f, unsigned again)
{
    struct worker *w = f->x->worker;
    f->sent = false;
    msec_t wait = retries_wait(&f->x->route->retries, again, worker_random(w));
    if (wait == 0) {
        forward_attempt(f);
        return;
    }
    timer_init(&f->backoff, on_backoff);
    f->waits = true;
    loop_timer(&w->loop, &f->backoff, wait);
}

static void resend(struct forward *f)
{
    if (!forward_leaves_to_twin(f))
        attempt_later(f, ++f->resent);
}

static void on_backoff(struct timer *t)
{
    struct forward *f = CONTAINER_OF(t, struct forward, backoff);
    ASSERT(f->magic == FORWARD_MAGIC);
    f->waits = false;
    forward_attempt(f);
}

void forward_stop_waiting(struct forward *f)
{
    if (f->waits)
        loop_timer_clear(&f->x->worker->loop, &f->backoff);
    f->waits = false;
    if (f->next)
        upstream_done(f->upstream, f->x->servers, f->x->worker->index, f->next, NULL);
    f->next = NULL;
}

void forward_unreachable(struct forward *f, int error, const char *why)
{
    bool timed_out = error == ETIMEDOUT;
    struct exchange *x = f->x;
    failure_log(f->x->worker, "server cannot be reached", f->server, why ? why : strerror(error));
    note(f, timed_out ? OUTCOME_TIMEOUT : OUTCOME_UNREACHABLE,
         timed_out ? (why ? TERMINATION_TLS_TIMEOUT : TERMINATION_CONNECT_TIMEOUT)
         : why     ? TERMINATION_TLS_FAILED
                   : TERMINATION_CONNECT_FAILED,
         timed_out ? 504 : 502,
         timed_out ? "connecting to the server took too long" : "the server cannot be reached");
    forward_let_go(f, false);
    if (forward_leaves_to_twin(f))
        return;
    /* Nothing was sent, or nobody there understood it: the method does not matter, and who is asked next is
     * not asked a second time. */
    f->passes_over = true;
    bool is_whole = !f->sent || f->replayable;
    if (is_whole && retries_want(&x->route->retries, RETRY_CONNECT, 0, x->request.method_id, false))
        forward_attempt(f);
    else
        forward_give_up(f);
}

void forward_lost(struct forward *f, const char *reason)
{
    /* An idle connection that the server has closed says nothing of it. */
    f->says_nothing = f->last_reused && !f->head_begun;
    if (f->says_nothing && f->uc)
        pool_was_dead(f->uc);
    note(f, f->says_nothing ? OUTCOME_ABANDONED : OUTCOME_RESET,
         f->head_received ? TERMINATION_SERVER_CLOSED_RESPONDING : TERMINATION_SERVER_CLOSED_WAITING, 502,
         reason);
    f->wants_new = true;
    bool again = f->sent && may_resend(f, RETRY_RESET, 0);
    if (!again)
        failure_log(f->x->worker, "no answer", f->server, reason);
    forward_let_go(f, false);
    if (again)
        resend(f);
    else
        forward_give_up(f);
}

/* The first time it goes at once and costs nothing, as servers that end a connection in order refuse what
 * came too late; then as other retries do. */
static bool may_go_on(struct forward *f)
{
    if (f->head_begun || f->x->head_sent || !f->replayable || f->refused >= REFUSED_MAX)
        return false;
    return f->twin || f->refused == 0 || forward_takes_token(f);
}

void forward_refused(struct forward *f, const char *reason)
{
    bool again = may_go_on(f);
    note(f, OUTCOME_ABANDONED, TERMINATION_SERVER_CLOSED_WAITING, 502, reason);
    f->says_nothing = f->wants_new = true;
    if (!again)
        failure_log(f->x->worker, "a request was refused", f->server, reason);
    forward_let_go(f, false);
    if (!again) {
        forward_give_up(f);
        return;
    }
    if (forward_leaves_to_twin(f))
        return;
    attempt_later(f, ++f->refused);
}

void forward_timeout(struct forward *f)
{
    if (!f->sent) {
        forward_unreachable(f, ETIMEDOUT, NULL);
        return;
    }
    if (f->watches_sending && (f->side->backlog(f) == 0 || f->side->progress(f) != f->progress_out)) {
        forward_watch(f); /* slow, but it moves */
        return;
    }
    if (f->watches_sending)
        note(f, OUTCOME_TIMEOUT, TERMINATION_SEND_TIMEOUT, 504,
             "the server did not take the request in time");
    else if (f->head_received)
        note(f, OUTCOME_TIMEOUT, TERMINATION_BODY_TIMEOUT, 504, "the server's body took too long");
    else if (forward_attempt_is_over(f))
        note(f, OUTCOME_TIMEOUT, TERMINATION_ATTEMPT_TIMEOUT, 504,
             "the attempt took longer than retries.timeout");
    else
        note(f, OUTCOME_TIMEOUT, TERMINATION_RESPONSE_TIMEOUT, 504, "the server's answer took too long");
    bool again = may_resend(f, RETRY_TIMEOUT, 0);
    forward_let_go(f, false);
    if (again)
        resend(f);
    else
        forward_give_up(f);
}

void forward_bad_response(struct forward *f, const char *reason)
{
    failure_log(f->x->worker, "bad response", f->server, reason);
    note(f, OUTCOME_BAD, TERMINATION_BAD_RESPONSE, 502, reason);
    forward_let_go(f, false);
    forward_give_up(f);
}

/* A server that asks to be left alone for a while is: others are asked first (RFC 9110 §10.2.3). With another
 * status, a 429, it is that client who is asked. */
static void respect_retry_after(const struct forward *f, const struct http_response *r)
{
    const struct field *after = fields_find(&r->fields, FIELD_RETRY_AFTER);
    uint64_t seconds;
    if (!after || r->status != 503 || slice_to_u64(after->value, &seconds) != 0)
        return;
    usec_t us = seconds < RETRY_AFTER_MAX_US / 1000000 ? seconds * 1000000 : RETRY_AFTER_MAX_US;
    suspicion_hold(f->server, loop_now_us(&f->x->worker->loop) + us);
}

bool forward_answers_again(struct forward *f, const struct http_response *r, bool reusable)
{
    struct exchange *x = f->x;
    const struct retries_settings *s = &x->route->retries;
    if (!f->replayable || f->resent >= s->attempts || x->head_sent ||
        !retries_want(s, RETRY_STATUS, r->status, x->request.method_id, true))
        return false;
    /* The answer goes to the client when nobody else can be asked, now or when there is a place. */
    enum pick_failure why = PICK_OK;
    f->next = f->twin ? NULL : forward_pick(f, &why);
    if (!f->twin && !f->next && (why != PICK_ALL_BUSY || !upstream_may_wait(f->upstream)))
        return false;
    if (!f->twin && !forward_takes_token(f)) {
        forward_stop_waiting(f);
        return false;
    }
    note(f, OUTCOME_ANSWERED, TERMINATION_COMPLETE, r->status, "the status is one of retries.on");
    f->status = r->status;
    f->head_received = true;
    x->upstream_head_us = loop_now_us(&x->worker->loop);
    forward_let_go(f, reusable);
    respect_retry_after(f, r);
    resend(f);
    return true;
}
