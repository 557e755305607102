/* What the dashboard is told every second: one reading of the whole process, with a bounded number of rows.
 * It is made once for all who listen.
 *
 * Rates and percentiles are the reader's differences of two readings: `now_us` is when it was made. Of routes
 * and servers the LIVE_ROWS most active ones are told, servers that get no requests first; `total` says how
 * many there are, and GET /api/v1/routes?match= and /api/v1/upstreams?match= find the others. Durations are
 * sparse: bucket, count, bucket, count, …, by the buckets of `bounds` (in ms, the last is 0: none). */
#pragma once

#include <jansson.h>

#include "core/base.h"
#include "proxy/stats.h"

#define LIVE_ROWS    50u
#define LIVE_TROUBLE 12u /* upstreams that are told because something is wrong with them */

struct admin;
struct runtime;

/* How active each of many counted things has been of late: by the difference to the reading before. */
struct live_rank {
    struct live_activity {
        uint64_t serial, count; /* another serial is another thing */
        double rate;            /* a reading, smoothed */
    } * at;
    size_t size;
};

struct live {
    struct live_rank routes, servers;
};

void live_free(struct live *l);

/* Notes the count of thing `index`; its activity. Out of memory: 0. */
double live_rank_note(struct live_rank *r, size_t index, uint64_t serial, uint64_t count);

/* NULL when out of memory. */
json_t *live_reading(struct admin *a, struct live *l);

/* What GET /api/v1/status says beside the process: sums of requests, durations, what is in flight and waits,
 * the share of connections that were used again, and handshakes. */
void live_add_status(struct admin *a, json_t *status);

/* What a route takes and does, without its figures (api_routes.c). */
struct route;
json_t *route_words_json(const struct runtime *rt, const struct route *r);
/* The clock that readings are told with, read anew. */
usec_t api_reading_time(struct admin *a);

/* Pieces that the API's answers share: statuses by class ({"2xx": 3, …}, "none" among them); … */
json_t *live_classes_json(const uint64_t statuses[COUNTERS_STATUSES]);
/* … reused / (opened + reused), null when there was neither; … */
json_t *live_reuse_json(uint64_t opened, uint64_t reused);
/* … {"1.3": {"full": 3, "resumed": 1}, …} of a listener, or of all when it is NULL. */
json_t *live_tls_json(const struct stats *s, const struct listener_stats *l);
