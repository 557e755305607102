/* Published hit ratios of traces that can be made again. */
#pragma once

#include "bench/cache_simulate/trace.h"

enum { PUBLISHED_POLICIES = 4 };

struct published {
    const char *name, *by;
    struct trace_spec trace;
    double share; /* of the footprint that the cache holds */
    struct {
        const char *policy;
        double percent;
    } hits[PUBLISHED_POLICIES];
};

extern const struct published published[];
extern const size_t published_count;

/* What the papers say of the mean reduction from FIFO; a paragraph. */
extern const char *const published_reductions;
