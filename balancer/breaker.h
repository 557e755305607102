/* A circuit breaker for a whole upstream (M. Nygard, Release It!, 2007, "Circuit Breaker"): when too large a
 * share of the attempts of the last seconds has failed, requests are refused at once for a while, so that
 * neither clients wait for servers that are known to fail nor the servers get work that they cannot do. Then
 * single attempts are let through: the first that succeeds closes the breaker again, one that fails opens it
 * for the same time.
 *
 * The figures are each worker's own (slices of the window); only a failure sums them over the workers. All
 * functions may be called on any worker; `now_us` is the loops' clock. A reload makes a new breaker, which is
 * closed. */
#pragma once

#include <stdatomic.h>

#include "balancer/outcome.h"
#include "config/option.h"
#include "core/counter.h"

#define BREAKER_SLICES 10u

struct breaker_settings {
    double errors; /* the share at which it opens */
    msec_t window;
    uint64_t min_requests; /* in the window; fewer say nothing */
    msec_t open;
};

extern const struct option_table breaker_table;

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN };

struct breaker_slice {
    counter tick; /* which slice of time these are of */
    counter attempts, failures;
};

struct breaker_worker {
    struct breaker_slice slices[BREAKER_SLICES];
} __attribute__((aligned(64)));

struct breaker {
    const struct breaker_settings *settings;
    unsigned workers;
    struct breaker_worker *at;      /* by worker */
    _Alignas(64) _Atomic int state; /* enum breaker_state */
    _Atomic uint64_t until_us;      /* not closed: when the next attempt may be let through */
    _Atomic uint64_t since_us;      /* the last change: what began before says nothing about now */
    _Atomic uint64_t opened;        /* how often it has been */
};

/* NULL when out of memory. `settings` must live as long. */
struct breaker *breaker_create(const struct breaker_settings *settings, unsigned workers);
/* NULL is allowed. */
void breaker_free(struct breaker *b);

/* Whether an attempt may be made now. */
bool breaker_admits(struct breaker *b, usec_t now_us);

/* An attempt is over that said something about its server. True when this opened the breaker. */
bool breaker_learn(struct breaker *b, unsigned worker, const struct outcome *o);

static inline enum breaker_state breaker_state(const struct breaker *b)
{
    return (enum breaker_state)atomic_load_explicit(&b->state, memory_order_relaxed);
}
