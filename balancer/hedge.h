/* Hedged requests (J. Dean and L. A. Barroso, The Tail at Scale, 2013): when a response takes longer than
 * most do, the same request is sent to another server as well, and the first answer wins. What the file says
 * of it (an upstream's `hedge`), and when it is time. The attempts are the forwarder's. */
#pragma once

#include "balancer/budget.h"
#include "balancer/outcome.h"
#include "balancer/quantile.h"
#include "config/option.h"

struct hedge_settings {
    struct hedge_after {
        msec_t time;  /* 0 = by the quantile */
        double share; /* 0.95 for p95; 0 where nothing was said, which is the same */
    } after;
    double max; /* share of the requests that may be hedged */
};

extern const struct option_table hedge_table;

/* What one worker knows. Zeroed at first. */
struct hedge {
    struct quantile latency;    /* of responses' heads */
    struct retry_budget budget; /* of second attempts */
};

static inline double hedge_share(const struct hedge_settings *s)
{
    return s->after.time ? 0 : s->after.share > 0 ? s->after.share : 0.95;
}

/* A request was sent for the first time. */
static inline void hedge_request(struct hedge *h, const struct hedge_settings *s)
{
    budget_request(&h->budget, s->max);
}

/* An attempt is over. */
static inline void hedge_learn(struct hedge *h, const struct hedge_settings *s, const struct outcome *o)
{
    if (o->kind == OUTCOME_ANSWERED && o->head_us && s->after.time == 0)
        quantile_add(&h->latency, hedge_share(s), o->head_us);
}

/* An attempt was let go of after that time, because another one had answered: the longest are never learnt
 * otherwise, and the times would look ever shorter. What is not yet late says nothing. */
static inline void hedge_overtaken(struct hedge *h, const struct hedge_settings *s, usec_t took_us)
{
    usec_t late_us = quantile_us(&h->latency);
    if (s->after.time == 0 && late_us && took_us > late_us)
        quantile_add(&h->latency, hedge_share(s), took_us);
}

/* How long to wait for a response before the second attempt; 0 = there is none, as too little is known yet.
 */
static inline msec_t hedge_delay(const struct hedge *h, const struct hedge_settings *s)
{
    if (s->after.time)
        return s->after.time;
    usec_t us = quantile_us(&h->latency);
    return us ? us / 1000 + 1 : 0;
}

/* Takes a second attempt out of the share; false when it is used up. */
static inline bool hedge_take(struct hedge *h)
{
    return budget_take(&h->budget);
}
