/* Passive health: a server that fails requests is taken out for a while ("ejected"), without any check having
 * to ask.
 *
 * What counts as an error: a response of 500 to 599, no connection, a connection that broke before the
 * response was complete, an answer that breaks the protocol, and a timeout. `errors` of them in a row,
 * counted over all workers, eject the server at once, on the worker that saw the last one. Anything else ends
 * the row. Of a stream (tcp), no connection and an end before any byte came are errors; its first byte ends
 * the row.
 *
 * Or, if `latency` is set: its mean response time is more than that many times the median of its peers', and
 * OUTLIER_FLOOR_US more, over at least OUTLIER_SAMPLES responses each within OUTLIER_WINDOW_US.
 *
 * The n-th ejection lasts n times `eject`, ten times at most; each `eject` without one takes one from n.
 * Never more than `max_ejected` of the upstream's servers are out (group_may_eject). When its time is over -
 * not before, whatever a check says - the server comes back, by slow_start; a failing check still keeps it
 * down. */
#pragma once

#include "balancer/group.h"
#include "balancer/outcome.h"

#define OUTLIER_LEVEL_MAX 10u
#define OUTLIER_SAMPLES   20u
#define OUTLIER_WINDOW_US (10 * UINT64_C(1000000))
#define OUTLIER_FLOOR_US  5000u

struct outlier_settings {
    uint64_t errors; /* in a row; 0 = they do not matter */
    msec_t eject;
    double max_ejected; /* a share */
    double latency;     /* how many times its peers'; 0 = does not matter */
};

extern const struct option_table outlier_table;

/* An attempt on the server is over. Any worker; writes nothing while success follows success. */
void outlier_note(const struct outlier_settings *o, struct server *s, const struct outcome *outcome);

/* It has answered something, while the attempt goes on: the row is over. */
static inline void outlier_good(struct server *s)
{
    if (UNLIKELY(atomic_load_explicit(&s->errors_in_row, memory_order_relaxed) != 0))
        atomic_store_explicit(&s->errors_in_row, 0, memory_order_relaxed);
}

/* Control thread, at each tick: looks once a second. */
void outlier_compare(struct server_group *g, const struct outlier_settings *o, usec_t now_us,
                     const struct group_watch *w);

/* "5xx", "connect", …: how metrics call it. */
const char *outlier_word(enum ejection why);
