/* Where requests and streams wait while every usable server of their upstream is at max_connections. One for
 * all snapshots of an upstream (it hangs on the group), bounded over all workers.
 *
 * Each worker has a list of its own: the higher level first, within one first come, first served. When a
 * place at a server becomes free, the worker that sees it wakes the one whose first comes first by these
 * rules: itself after this pass, another by a letter. So workers take turns by age, approximately: one that
 * arrives amid that may be served before an older one of another worker, never before an older one of its
 * own.
 *
 * No wake-up is lost: when one joins, whoever comes first looks once more, unless one ahead of it is known to
 * have found the same servers full; who frees a place looks at the count after that. A worker that has no use
 * for a wake-up hands it on. What else may make a place (a server that comes back, a greater max_connections)
 * is noticed within QUEUE_LOOK_MS. */
#pragma once

#include <stdatomic.h>

#include "config/option.h"
#include "core/loop.h"

#define QUEUE_LOOK_MS 100

struct server_group;

struct queue_settings {
    uint64_t size;
    msec_t timeout;
};

extern const struct option_table queue_table;

/* Which wait before others. */
enum queue_level { QUEUE_HIGH = -1, QUEUE_NORMAL = 0, QUEUE_LOW = 1 };

/* What came of a turn. */
enum queue_turn {
    QUEUE_DONE,   /* it has left the queue, served or not */
    QUEUE_BUSY,   /* no server has a place */
    QUEUE_PASSED, /* none that it may have; another one may be luckier */
};

/* One that waits. Owned by who waits, who leaves before it dies; zeroes at first. */
struct queue_waiter {
    struct queue *queue; /* NULL = does not wait */
    struct list link;
    struct timer timer;
    usec_t since_us;
    unsigned worker;
    int8_t level; /* enum queue_level; set ahead of queue_join */
    /* What it chooses from, kept up by who waits: where one has found no place, nobody else who chooses from
     * the same looks. Not NULL. */
    const void *choice;
    /* A place may be free. When it takes one it calls queue_leave ahead of all that may run foreign code. */
    enum queue_turn (*turn)(struct queue_waiter *w);
    /* Whether nobody is there any more; asked ahead of each turn and every QUEUE_LOOK_MS. When so, it has
     * left the queue by the time that this returns, and others may have with it. May be NULL. */
    bool (*gone)(struct queue_waiter *w);
    /* It has waited for too long, and has left the queue. */
    void (*late)(struct queue_waiter *w);
};

/* On one worker. */
struct queue_local {
    struct queue *queue;
    unsigned index;
    struct loop *loop; /* set when the first joins */
    struct list waiters;
    struct list *next;     /* to be looked at, amid a walk over them */
    const void *full;      /* the choice that had no place when it was looked at last; NULL = not known */
    bool passed;           /* all had their turns then: a place may be free that none of them could have */
    _Atomic uint64_t rank; /* of the first: its level, then since when it waits; 0 = none waits */
    _Atomic bool posted;   /* the letter is on its way */
    struct letter letter;
    struct task task;
    struct timer look;
} __attribute__((aligned(64)));

struct queue {
    struct server_group *group; /* whose it is */
    unsigned workers;
    _Atomic uint32_t waiting;                   /* over all workers */
    _Atomic(const void *) newest;               /* the choice of who joined last */
    _Atomic uint64_t joined, timeouts, refused; /* since the process began */
    struct queue_local locals[];
};

/* NULL when out of memory. */
struct queue *queue_create(struct server_group *g, unsigned workers);
/* When nobody waits and no worker runs. NULL is allowed. */
void queue_free(struct queue *q);

static inline uint32_t queue_waiting(const struct queue *q)
{
    return atomic_load_explicit(&q->waiting, memory_order_relaxed);
}

/* On the worker's thread. False when it is full; else `turn` will be called, the first time after this pass.
 */
bool queue_join(struct queue *q, const struct queue_settings *s, unsigned worker, struct loop *l,
                struct queue_waiter *w);
/* At once. Harmless when it does not wait. */
void queue_leave(struct queue_waiter *w);

/* On the thread of `worker`: a place became free. Cheap while nobody waits. */
void queue_wake(struct queue *q, unsigned worker);
