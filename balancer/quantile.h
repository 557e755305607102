/* A quantile of a stream of times in one number: each sample moves the estimate a little up or down, in the
 * proportion that leaves it where the wanted share of samples lies below ("frugal streaming", Ma,
 * Muthukrishnan and Sandler 2013; here with steps in proportion to the estimate, so that one step size does
 * for microseconds and minutes). */
#pragma once

#include "core/base.h"

#define QUANTILE_STEP    0.05 /* of the estimate, at most */
#define QUANTILE_WARM_UP 100u /* samples before it is worth anything; the first steps are larger */

struct quantile {
    double estimate_us;
    uint32_t samples; /* stops at QUANTILE_WARM_UP */
};

/* `share` of the samples shall lie below: 0.95. */
static inline void quantile_add(struct quantile *q, double share, usec_t sample_us)
{
    double sample = (double)(sample_us ? sample_us : 1);
    if (q->samples == 0)
        q->estimate_us = sample;
    double step = q->samples < QUANTILE_WARM_UP ? 4 * QUANTILE_STEP : QUANTILE_STEP;
    q->estimate_us *= sample > q->estimate_us ? 1 + step * share : 1 - step * (1 - share);
    q->samples += q->samples < QUANTILE_WARM_UP;
}

/* 0 while too little is known. */
static inline usec_t quantile_us(const struct quantile *q)
{
    return q->samples < QUANTILE_WARM_UP ? 0 : (usec_t)q->estimate_us;
}
