/* How many requests to an upstream may be sent a second time: a share of those that were sent a first time,
 * so that a fleet in trouble is not buried under retries (the idea of Finagle's RetryBudget and of Envoy's
 * retry_budget). A bucket of tokens for each worker: a request puts in its share, a retry takes one out. */
#pragma once

#include "core/base.h"

#define BUDGET_TOKENS_MAX                                                                                    \
    100u /* what a quiet time saves up: all connections of one dead server may be retried */

struct retry_budget {
    uint32_t milli; /* tokens, in thousandths */
} __attribute__((aligned(64)));

static inline void budget_init(struct retry_budget *b)
{
    b->milli = BUDGET_TOKENS_MAX * 1000;
}

/* A request was sent for the first time; `share` of it (0.2) goes into the bucket. */
static inline void budget_request(struct retry_budget *b, double share)
{
    uint32_t milli = b->milli + (uint32_t)(share * 1000);
    b->milli = milli > BUDGET_TOKENS_MAX * 1000 ? BUDGET_TOKENS_MAX * 1000 : milli;
}

/* Takes a token; false when there is none. */
static inline bool budget_retry(struct retry_budget *b)
{
    if (b->milli < 1000)
        return false;
    b->milli -= 1000;
    return true;
}
