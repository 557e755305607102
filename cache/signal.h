/* Wakes those who wait for something that another thread does: each on its own loop, all of one loop by one
 * letter, however often it is raised meanwhile.
 *
 * A signal is embedded in a counted object; every waiter holds that object. Waiting and cancelling happen on
 * the waiter's loop, raising on any thread (that of the waiter's loop too: then no letter is sent, it is
 * deferred).
 *
 * No wake-up is lost when both sides keep an order:
 *
 *   who raises: changes the state (an atomic store with release order, or under a lock), then raises;
 *   who waits:  looks; cache_signal_wait(); looks again (acquire order, or under that lock), and cancels
 *               when what he waits for is there.
 *
 * Either the raise finds the waiter, or the second look sees the change. */
#pragma once

#include <pthread.h>

#include "core/list.h"
#include "core/loop.h"

struct cache_audience; /* the waiters of one loop; signal.c's */

struct cache_signal {
    /* Of the list of audiences. The object may use it for short sections of its own, in which it calls
     * nothing of this file. */
    pthread_mutex_t lock;
    struct cache_audience *audiences; /* each has somebody who waits */
    _Atomic uint32_t waiting;         /* audiences: raising costs one atomic operation when there are none */
};

/* Begins cleared. */
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
 * cancel). One that waits already goes on waiting. 0, or -1 when out of memory. */
int cache_signal_wait(struct cache_signal *s, struct loop *loop, struct cache_waiter *w,
                      void (*wake)(struct cache_waiter *));
/* No call after it. Idempotent. On the waiter's loop. */
void cache_signal_cancel(struct cache_waiter *w);
void cache_signal_raise(struct cache_signal *s);
