/* The rows of a reading (live.h): routes and servers. */
#pragma once

#include "admin/live.h"
#include "proxy/runtime.h"

/* Each {"total": …, "rows": […]}; servers also have "unusable", and sums over all of them. */
json_t *live_routes_json(const struct runtime *rt, struct live_rank *rank);
json_t *live_servers_json(const struct runtime *rt, struct live_rank *rank);

/* Bucket, count, … of those that are not 0. */
json_t *live_sparse_json(const uint64_t fine[COUNTERS_FINE]);
