/* What was counted of requests, summed over workers, routes or listeners. */
#pragma once

#include <jansson.h>

#include "proxy/stats.h"

struct totals {
    uint64_t requests, client_errors, server_errors, duration_us;
    uint64_t statuses[COUNTERS_STATUSES];
    uint64_t fine[COUNTERS_FINE]; /* durations */
};

/* NULL is nothing. */
void totals_add(struct totals *t, const struct route_stats *row);
/* Of a listener, all routes and what met none. */
void totals_add_listener(struct totals *t, const struct stats *s, const struct listener_stats *l);
/* Of a route on all listeners, by its id. */
void totals_of_route(struct totals *t, const struct stats *s, uint32_t id);
/* The number of its requests alone. */
uint64_t totals_route_requests(const struct stats *s, uint32_t id);
/* Those of 500 and above. */
uint64_t totals_server_errors(const uint64_t statuses[COUNTERS_STATUSES]);

/* [[upper bound in ms, count], …]; the last bound is 0: none. */
json_t *totals_durations_json(const uint64_t fine[COUNTERS_FINE]);
