/* How many requests to an upstream may be sent a second time: a share of those that were sent a first time,
 * so that a fleet in trouble is not buried under retries (the idea of Finagle's RetryBudget and of Envoy's
 * retry_budget). A bucket of tokens for each worker: a request puts in its share, a retry takes one out.
 *
 * What a quiet time has saved up is for servers that fail while others answer. When nothing answers any more,
 * the saved tokens are an advance: no more retries than the share of the requests since the last good answer,
 * but for a few. */
#pragma once

#include <stdatomic.h>

#include "core/base.h"

#define BUDGET_TOKENS_MAX                                                                                    \
    100u /* what a quiet time saves up: all connections of one dead server may be retried */
#define BUDGET_FEW      10u              /* retries after a good answer that are always in the advance … */
#define BUDGET_FRESH_US UINT64_C(250000) /* … and how long after it all that is saved is */

struct retry_budget {
    _Atomic uint32_t milli; /* tokens, in thousandths; any thread may read it (budget_left) */
    uint32_t earned;        /* thousandths that came in since the last good answer … */
    uint32_t spent;         /* … and went out */
    usec_t answered_us;     /* when that was, by the worker's clock */
} __attribute__((aligned(64)));

static inline void budget_init(struct retry_budget *b)
{
    *b = (struct retry_budget){.milli = BUDGET_TOKENS_MAX * 1000};
}

/* Thousandths of tokens, for any thread. */
static inline uint32_t budget_left(const struct retry_budget *b)
{
    return atomic_load_explicit(&b->milli, memory_order_relaxed);
}

/* The worker's; nobody else writes. */
static inline void budget_set(struct retry_budget *b, uint32_t milli)
{
    atomic_store_explicit(&b->milli, milli, memory_order_relaxed);
}

/* A request was sent for the first time; `share` of it (0.2) goes into the bucket. */
static inline void budget_request(struct retry_budget *b, double share)
{
    uint32_t in = (uint32_t)(share * 1000), milli = budget_left(b) + in;
    budget_set(b, milli > BUDGET_TOKENS_MAX * 1000 ? BUDGET_TOKENS_MAX * 1000 : milli);
    b->earned += b->earned < UINT32_MAX / 2 ? in : 0;
}

/* A server has answered, and not with a failure. */
static inline void budget_answered(struct retry_budget *b, usec_t now_us)
{
    b->earned = b->spent = 0;
    b->answered_us = now_us;
}

/* Takes a token; false when there is none. */
static inline bool budget_take(struct retry_budget *b)
{
    uint32_t milli = budget_left(b);
    if (milli < 1000)
        return false;
    budget_set(b, milli - 1000);
    return true;
}

/* As budget_take, and not beyond the advance while nothing answers. */
static inline bool budget_retry(struct retry_budget *b, usec_t now_us)
{
    bool in_advance = b->spent < BUDGET_FEW * 1000 || now_us - b->answered_us < BUDGET_FRESH_US;
    if ((!in_advance && b->spent + 1000 > b->earned) || !budget_take(b))
        return false;
    b->spent += 1000;
    return true;
}
