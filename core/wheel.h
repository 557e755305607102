/* Coarse timers for one loop: a wheel of slots, driven by a single libevent timer. Moving a deadline later -
 * what nearly every read and write does - is one store; the timer is looked at when its old slot comes up,
 * and put where it now belongs. Resolution WHEEL_TICK_MS; a timer never fires early. */
#pragma once

#include "core/list.h"

#define WHEEL_TICK_MS 8
#define WHEEL_SLOTS   1024u

struct timer {
    struct list link;
    msec_t deadline; /* 0 = disarmed */
    uint64_t tick;   /* the slot's tick, while linked */
    void (*fire)(struct timer *);
};

struct wheel {
    struct list slots[WHEEL_SLOTS];
    uint64_t used[WHEEL_SLOTS / 64]; /* a bit for each slot that may hold a timer */
    uint64_t tick;                   /* every tick before this one has been run */
};

void wheel_init(struct wheel *w, msec_t now);
void timer_init(struct timer *t, void (*fire)(struct timer *));

/* Arms or moves. True when the wheel has to wake earlier than before (the loop then rearms its libevent
 * timer). */
bool wheel_set(struct wheel *w, struct timer *t, msec_t deadline);

/* Moves it later without touching the list, if that is all there is to do. */
static inline bool timer_move(struct timer *t, msec_t deadline)
{
    if (!list_linked(&t->link) || t->tick * WHEEL_TICK_MS > deadline || deadline == 0)
        return false;
    t->deadline = deadline;
    return true;
}

/* Disarms at once; the timer may be freed afterwards. */
void wheel_clear(struct wheel *w, struct timer *t);

/* Stops the clock without touching the list: one store. The timer stays linked, so clear it before freeing
 * it. */
static inline void timer_pause(struct timer *t)
{
    t->deadline = 0;
}

/* Fires what is due. */
void wheel_run(struct wheel *w, msec_t now);

/* The time at which wheel_run should next be called; 0 when nothing is linked. */
msec_t wheel_next(const struct wheel *w);
