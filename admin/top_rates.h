/* What happened between two readings of the API: rates and percentiles, for `weir top`. */
#pragma once

#include <jansson.h>

/* The API's answers of one moment; owned, any may be NULL. */
struct top_reading {
    json_t *status, *listeners, *routes, *upstreams;
    double seconds; /* by the monotonic clock */
};

void top_reading_free(struct top_reading *r);

/* {"version", "state", "uptime_seconds", "workers", "connections", "seconds", "requests_per_second",
 * "errors_per_second", "p50_ms", "p95_ms", "listeners": […], "routes": […], "servers": […], "cache":
 * {"requests_per_second", "hit_ratio", "evictions_per_second", "bytes", "memory", "objects"}}; the last where
 * a route has one. Errors are statuses of 500 and above, of servers also connections that failed and attempts
 * that got no answer. A percentile is null where nothing ended. Where `before` knows nothing of what `now`
 * tells, or is of another process, rates are 0. The caller's; NULL when out of memory. */
json_t *top_rates(const struct top_reading *before, const struct top_reading *now);
