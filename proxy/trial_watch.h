/* The trial of the newest generation (`weir reload --confirm`): what was before it, what is now, and the time
 * that is left. Between trials it remembers a minute of what was counted, so that there is something to
 * compare with; a trial that failed leaves no trace in that.
 *
 * Owned by the runtime; control thread. */
#pragma once

#include "core/task.h"
#include "core/wheel.h"
#include "proxy/trial.h"

struct runtime;
struct server;

#define TRIAL_HISTORY 13u /* looks between trials, 5 s apart */
#define TRIAL_RECENT  10u /* looks in a trial, 1 s apart */

enum trial_end {
    TRIAL_CONFIRMED,
    TRIAL_WORSE,       /* fell back by itself: a limit was passed */
    TRIAL_EXPIRED,     /* fell back by itself: nobody confirmed */
    TRIAL_ROLLED_BACK, /* by hand */
    TRIAL_ENDS,
};
const char *trial_end_text(enum trial_end e); /* for metrics */

struct trial_server {
    struct server *server; /* held */
    bool was_well;
};

struct trial_watch {
    struct timer timer;
    struct trial_period history[TRIAL_HISTORY]; /* counted since the start; .us is when; the oldest first */
    size_t history_count;
    /* A trial. */
    bool on;
    uint64_t generation, before; /* their numbers */
    struct trial_limits limits;
    usec_t began_us;
    struct trial_period was;   /* the time before */
    struct trial_period start; /* counted when it began */
    struct trial_period recent[TRIAL_RECENT];
    size_t recent_count;
    struct trial_server *servers; /* of the configuration before */
    size_t server_count;
    char **upstreams; /* names of those that had a server that was well */
    size_t upstream_count;
    unsigned ill_looks;        /* in a row at which servers were worse */
    char verdict[256];         /* "" = good so far; else why it falls back … */
    enum trial_end falls;      /* … and how, while it cannot yet */
    uint64_t ends[TRIAL_ENDS]; /* how trials ended */
};

/* From the runtime's start to its end. */
void trial_watch_start(struct runtime *rt);
void trial_watch_stop(struct runtime *rt);

/* Before a configuration is loaded that is to be on trial: what there is now. Then one of: the trial begins;
 * it was refused. 0, or -1 when out of memory. */
int trial_remember(struct runtime *rt);
void trial_begin(struct runtime *rt, uint64_t generation, uint64_t before, const struct trial_limits *l);
void trial_forget(struct runtime *rt);

/* It is over; the caller has said so or will. */
void trial_finish(struct runtime *rt, enum trial_end how);

/* For answers: milliseconds left, what was counted before and since. */
msec_t trial_left(struct runtime *rt);
void trial_compare(struct runtime *rt, struct trial_period *before, struct trial_period *now);
