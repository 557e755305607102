/* What was counted of requests, summed over workers, routes or listeners. */
#pragma once

#include <jansson.h>

#include "proxy/stats.h"

struct totals {
    uint64_t requests, client_errors, server_errors, duration_us;
    uint64_t durations[COUNTERS_DURATIONS];
};

/* NULL is nothing. */
void totals_add(struct totals *t, const struct route_stats *row);
/* Of a listener, all routes and what met none. */
void totals_add_listener(struct totals *t, const struct stats *s, const struct listener_stats *l);

/* [[upper bound in ms, count], …]; the last bound is 0: none. */
json_t *totals_durations_json(const struct totals *t);
