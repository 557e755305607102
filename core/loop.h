/* One thread's event loop: a libevent base without locks, and what hangs on its passes - the clock (read once
 * a pass), coarse timers, the ready list, the graveyard, the mailbox, and the one large read buffer that
 * every connection of the thread shares.
 *
 * A pass: wait for events and run their callbacks; then the ready list, until it is empty or each of its
 * tasks of this pass has run once; then the graveyard is emptied. So a pointer on the stack stays readable
 * until control is back here, even when the object was closed meanwhile. */
#pragma once

#include <event2/event.h>
#include <event2/event_struct.h>
#include <sys/types.h>

#include "core/buffer.h"
#include "core/mailbox.h"
#include "core/pipe.h"
#include "core/task.h"
#include "core/wheel.h"

#define LOOP_READ_BUFFER (128u << 10)
#define LOOP_WIRE_BUFFER (160u << 10)

struct loop {
    struct event_base *base;
    usec_t now_us; /* CLOCK_MONOTONIC at the start of the pass; see loop_now_us */
    bool now_fresh;
    bool stopped;
    int64_t wall_offset_us; /* CLOCK_REALTIME - CLOCK_MONOTONIC, refreshed every second */
    usec_t wall_checked_us;
    struct wheel wheel;
    struct event wheel_event;
    msec_t wheel_armed; /* when wheel_event will fire; 0 = not armed */
    struct list ready;
    struct list graveyard;
    struct mailbox mailbox;
    struct event mailbox_event;
    char *read_buffer; /* LOOP_READ_BUFFER bytes, used by whoever reads, during one callback */
    char *scratch;     /* LOOP_READ_BUFFER bytes more: undeciphered TLS bytes, heads that are being written */
    char *wire; /* LOOP_WIRE_BUFFER bytes: TLS records that leave together; used by the transport alone */
    struct block_pool blocks;
    struct pipe_pool pipes;
    unsigned index; /* the worker's number; the control thread's is the count of workers */
    void *owner;
    /* Called once after each pass, before the graveyard is emptied; may be NULL. */
    void (*after_pass)(struct loop *);
};

/* 0, or -1 when out of memory or descriptors. */
int loop_init(struct loop *l, unsigned index);
/* After loop_run has returned, every connection is closed and no thread posts any more. Undelivered letters
 * are delivered, and what they defer is run once. */
void loop_free(struct loop *l);

/* Runs until loop_stop (own thread only). */
void loop_run(struct loop *l);
static inline void loop_stop(struct loop *l)
{
    l->stopped = true;
}

/* One pass; waits for an event at most when nothing is ready. For tests, and loop_run itself. */
void loop_pass(struct loop *l);

/* Delivers the letters that are there, outside of a pass. */
void loop_deliver(struct loop *l);

void loop_read_clock(struct loop *l);

/* Monotonic time of this pass. */
static inline usec_t loop_now_us(struct loop *l)
{
    if (!l->now_fresh)
        loop_read_clock(l);
    return l->now_us;
}
static inline msec_t loop_now(struct loop *l)
{
    return loop_now_us(l) / 1000;
}
/* Microseconds since the epoch, good to a second's drift of the wall clock. */
static inline int64_t loop_wall_us(struct loop *l)
{
    usec_t now = loop_now_us(l);
    return (int64_t)now + l->wall_offset_us;
}

/* Runs `t` after the events of this pass. A task that is waiting already stays where it is. */
void loop_defer(struct loop *l, struct task *t, void (*run)(struct task *));

/* Frees by `bury` after this pass. The task must not be in the ready list (it is taken out). */
void loop_bury(struct loop *l, struct task *t, void (*bury)(struct task *));

/* Arms the timer `delay` from now, or moves it. */
void loop_timer_set(struct loop *l, struct timer *t, msec_t deadline);
static inline void loop_timer(struct loop *l, struct timer *t, msec_t delay)
{
    msec_t deadline = loop_now(l) + delay;
    if (UNLIKELY(!timer_move(t, deadline)))
        loop_timer_set(l, t, deadline);
}
static inline void loop_timer_clear(struct loop *l, struct timer *t)
{
    wheel_clear(&l->wheel, t);
}

/* From any thread. */
static inline void loop_post(struct loop *l, struct letter *letter)
{
    mailbox_post(&l->mailbox, letter);
}
