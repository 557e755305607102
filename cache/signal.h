/* Wakes those who wait for something that another thread does: each on its own loop, all of one loop by one
 * letter, however often it is raised meanwhile.
 *
 * A signal is embedded in a counted object; every waiter holds that object. Waiting and cancelling happen on
 * the waiter's loop, raising on any thread. */
#pragma once

#include <pthread.h>

#include "core/list.h"
#include "core/loop.h"

struct cache_audience; /* the waiters of one loop; signal.c's */

struct cache_signal {
    pthread_mutex_t lock; /* of the list of audiences */
    struct cache_audience *audiences;
    _Atomic uint32_t waiting; /* in all of them: raising costs one load when nobody does */
};

struct cache_waiter {
    struct list link;
    struct cache_audience *audience; /* NULL = it does not wait */
    void (*wake)(struct cache_waiter *);
};

void cache_signal_init(struct cache_signal *s);
/* Nobody waits. A letter that is still on its way does no harm. */
void cache_signal_free(struct cache_signal *s);

/* wake() comes once, from `loop`, never from inside, after the next raise; by then it waits no more. A raise
 * that came between the caller's look at the state and this call is not seen: so look again after it (and
 * cancel). 0, or -1 when out of memory. */
int cache_signal_wait(struct cache_signal *s, struct loop *loop, struct cache_waiter *w,
                      void (*wake)(struct cache_waiter *));
/* No call after it. Idempotent. On the waiter's loop. */
void cache_signal_cancel(struct cache_waiter *w);
void cache_signal_raise(struct cache_signal *s);
