/* A hedged request: two attempts at once, each a struct forward of its own; they are each other's twin. The
 * exchange knows one of them as its responder's state. The first final head wins and the other attempt is let
 * go of; one that fails leaves the request to the other. */
#include "proxy/http/forward_internal.h"

static void on_late(struct timer *t);

static struct hedge *hedge_of(const struct forward *f)
{
    return &f->upstream->locals[f->x->worker->index].hedge;
}

/* All of the request is there to be sent again, and doing so is safe. A session stays where it is. */
static bool may_hedge(const struct forward *f)
{
    const struct exchange *x = f->x;
    return f->replayable && f->sending_done && !f->hedged && !x->head_sent && !f->affinity.server &&
           method_is_idempotent(x->request.method_id) && !fields_find(&f->fields, FIELD_UPGRADE);
}

void forward_hedge_later(struct forward *f)
{
    const struct hedge_settings *s = f->upstream->settings->hedge;
    msec_t delay = s && may_hedge(f) ? hedge_delay(hedge_of(f), s) : 0;
    if (delay == 0 || f->hedge_waits)
        return;
    timer_init(&f->hedge_timer, on_late);
    f->hedge_waits = true;
    loop_timer(&f->x->worker->loop, &f->hedge_timer, delay);
}

void forward_hedge_stop(struct forward *f)
{
    if (LIKELY(!f->hedge_waits))
        return;
    f->hedge_waits = false;
    loop_timer_clear(&f->x->worker->loop, &f->hedge_timer);
}

static struct forward *make_twin(struct forward *f)
{
    struct forward *twin = arena_zalloc(&f->x->arena, sizeof *twin);
    if (!twin)
        return NULL;
    twin->magic = FORWARD_MAGIC;
    twin->x = f->x;
    twin->upstream = f->upstream;
    twin->fields = f->fields;
    twin->affinity.hash = f->affinity.hash;
    twin->replayable = twin->hedged = true;
    twin->resent = f->resent;
    twin->failure = f->failure;
    twin->tried_count = f->tried_count;
    memcpy(twin->tried, f->tried, f->tried_count * sizeof f->tried[0]);
    return twin;
}

/* The response is late. */
static void on_late(struct timer *t)
{
    struct forward *f = CONTAINER_OF(t, struct forward, hedge_timer);
    enum pick_failure why;
    ASSERT(f->magic == FORWARD_MAGIC);
    f->hedge_waits = false;
    if (!may_hedge(f) || f->head_begun || upstream_has_waiting(f->upstream))
        return;
    struct forward *twin = make_twin(f);
    struct server *s = twin ? forward_pick(twin, &why) : NULL;
    if (!s)
        return;
    if (!server_usable(s) || server_is_suspect(s, loop_now_us(&f->x->worker->loop)) ||
        !hedge_take(hedge_of(f))) {
        upstream_done(f->upstream, f->x->servers, f->x->worker->index, s, NULL);
        return;
    }
    counter_add(&counters_of(&f->x->worker->counters, s)->hedges, 1);
    f->hedged = true;
    f->twin = twin;
    twin->twin = f;
    twin->next = s;
    forward_attempt(twin);
}

bool forward_leaves_to_twin(struct forward *f)
{
    struct forward *twin = f->twin;
    if (LIKELY(!twin))
        return false;
    f->twin = twin->twin = NULL;
    f->x->responder_state = twin;
    f->x->server = twin->server;
    return true;
}

void forward_wins(struct forward *f)
{
    struct exchange *x = f->x;
    struct forward *twin = f->twin;
    forward_hedge_stop(f);
    if (LIKELY(!twin))
        return;
    f->twin = twin->twin = NULL;
    if (x->responder_state != f)
        counter_add(&counters_of(&x->worker->counters, f->server)->hedges_won, 1);
    twin->attempt->reason = "the other attempt answered first";
    hedge_overtaken(hedge_of(f), f->upstream->settings->hedge,
                    loop_now_us(&x->worker->loop) - twin->attempt_us);
    forward_let_go(twin, false);
    x->responder_state = f;
    x->server = f->server;
}
