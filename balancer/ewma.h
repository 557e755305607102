/* What a server's answers take, as learned from them: a peak-sensitive moving average (the idea of Finagle's
 * PeakEwma balancer). A slower answer counts at once, faster ones pull it down with a half-life of seconds,
 * and what is old fades, so that a server that was slow once is tried again. One number in struct server,
 * shared by all workers: it survives reloads. */
#pragma once

#include "balancer/outcome.h"
#include "balancer/server.h"

#define EWMA_DECAY_US   UINT64_C(10000000) /* what is that old counts 1/e */
#define EWMA_FAILURE_US UINT64_C(1000000)  /* a failure counts as an answer that took so long, at least */

/* Microseconds, faded to `now_us` (0 = as it was learned). 0 = nothing is known. */
uint32_t ewma_value(const struct server *s, usec_t now_us);
/* Learns from an attempt. */
void ewma_learn(struct server *s, const struct outcome *o);
