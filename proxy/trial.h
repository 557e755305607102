/* A configuration on trial: whether it does worse than the one before, judged by what was counted of requests
 * and by the servers that are well. Pure functions; trial_watch.c asks them every second.
 *
 * Judged are: the share of 5xx answers, weir's own too; p95 of the time from a request's head to its answer's
 * end; the servers that both configurations have and that no check, ejection or missing address keeps back;
 * the upstreams of both that had a server. What a human drained counts nowhere. Streams of TCP and UDP have
 * no answers: for them the servers alone are looked at. */
#pragma once

#include <stdio.h>

#include "proxy/stats.h"

struct trial_limits {
    msec_t confirm;            /* within which somebody must confirm */
    double errors;             /* how much greater the share of errors may be: 0.05 is five points */
    double unhealthy;          /* the share of servers that may fall ill: 0.2 */
    double latency;            /* p95 may be that many times as long … */
    msec_t latency_least;      /* … and this much longer: only both together are too slow */
    uint64_t requests;         /* errors are not judged by fewer */
    uint64_t latency_requests; /* nor is p95 by fewer, before and now */
};

#define TRIAL_CONFIRM_LEAST 1000u
#define TRIAL_CONFIRM_MOST  86400000u

/* 60 s; 5 points, 20 %, 2 times and 50 ms; 50 and 200 requests. */
struct trial_limits trial_limits_default(void);

/* What was counted in a time. */
struct trial_period {
    usec_t us; /* how long it was */
    uint64_t requests, errors;
    uint64_t durations[COUNTERS_FINE];
};

/* Servers at one look. */
struct trial_servers {
    uint64_t before, now; /* of those that both configurations have and that were well before: now well */
    char ill[192];        /* one that is not, and why */
    char bare[128];       /* an upstream that had a server that was well and now has none; "" = none */
};

/* All that was counted since the process began; later minus earlier. */
void trial_count(const struct stats *s, struct trial_period *out);
struct trial_period trial_between(const struct trial_period *earlier, const struct trial_period *later);

double trial_error_ratio(const struct trial_period *p);
/* Of the buckets, by a straight line within one; microseconds, 0 = nothing was counted. */
double trial_p95(const struct trial_period *p);

/* True when `now` is worse than `before` past the limits; then `words` says which and by how much. */
bool trial_requests_worse(const struct trial_limits *l, const struct trial_period *before,
                          const struct trial_period *now, char *words, size_t size);
bool trial_servers_worse(const struct trial_limits *l, const struct trial_servers *s, char *words,
                         size_t size);
