/* What of the cache's numbers the API, the events, the metrics and `weir status` show. */
#pragma once

#include <jansson.h>

#include "proxy/http/cache/cache.h"
#include "proxy/runtime.h"

struct admin;

/* By enum cache_result, summed over listeners and workers. */
void cache_count_results(const struct runtime *rt, uint64_t out[CACHE_RESULTS]);

/* As GET /api/v1/cache. */
json_t *cache_json(struct admin *a);
