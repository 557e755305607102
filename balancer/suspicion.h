/* Suspicion: a server that could not be reached, or did not answer in time, is passed over for a moment while
 * another one can be asked. So a dead server costs one request a try now and then, and not every second one,
 * long before any check has noticed. It is no state of health: where all servers are suspect they are asked
 * as if none was, and an answer ends it at once.
 *
 * The moment grows from a tenth of a second, twice as long with each failure, to five seconds. When it is
 * over, one request - of all workers' - is let through to try. */
#pragma once

#include "balancer/outcome.h"
#include "balancer/server.h"

#define SUSPICION_MIN_US UINT64_C(100000)
#define SUSPICION_MAX_US UINT64_C(5000000)

/* Passed over, at `now_us` of a worker's clock. */
static inline bool server_is_suspect(const struct server *s, usec_t now_us)
{
    uint64_t until = atomic_load_explicit(&s->suspect_until_us, memory_order_relaxed);
    return UNLIKELY(until != 0) && now_us < until;
}

/* An attempt is over that says something about the server. */
void suspicion_learn(struct server *s, const struct outcome *o);
/* There is nothing to learn: it was not suspect, and still is not. */
static inline bool suspicion_knows(const struct server *s, const struct outcome *o)
{
    return o->kind == OUTCOME_ANSWERED &&
           atomic_load_explicit(&s->suspect_until_us, memory_order_relaxed) == 0;
}

/* It is known to be well again: a check that had failed is good. */
void suspicion_end(struct server *s);

/* It wants no requests before then (Retry-After). */
void suspicion_hold(struct server *s, usec_t until_us);

/* A server was picked whose moment may be over: no other request tries it before this one has. */
void suspicion_tried(struct server *s, uint64_t until, usec_t now_us);
static inline void suspicion_try(struct server *s, usec_t now_us)
{
    uint64_t until = atomic_load_explicit(&s->suspect_until_us, memory_order_relaxed);
    if (UNLIKELY(until != 0))
        suspicion_tried(s, until, now_us);
}
