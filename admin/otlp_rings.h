/* The rings that spans come through: one for each worker, and those that were theirs before a reload changed
 * `queue`, until they are empty. The control thread changes and counts them, the exporter's reads them, a
 * worker writes to its own. */
#pragma once

#include <pthread.h>

#include "proxy/http/trace_ring.h"
#include "proxy/runtime.h"

/* A ring that is read. */
struct otlp_source {
    struct list link;
    struct span_ring *ring; /* owned */
};

struct otlp_rings {
    uint64_t queue;                              /* capacity of each; 0 = there are none. Control thread */
    _Atomic(struct span_ring *) at[WORKERS_MAX]; /* that workers write to */
    pthread_mutex_t lock;                        /* of what follows, and short */
    struct list sources;
    uint64_t dropped_before; /* in rings that are gone */
};

/* Begins cleared. */
void otlp_rings_init(struct otlp_rings *o);
/* When no other thread uses them. */
void otlp_rings_free(struct otlp_rings *o);

/* Control thread: each worker gets one of that capacity, unless it has; what is in the one before stays to be
 * read. 0, or -1 when out of memory. */
int otlp_rings_resize(struct otlp_rings *o, struct runtime *rt, uint64_t queue);

/* The exporter's thread: the source behind `after` (NULL = the first), or NULL; those that are empty for good
 * are freed. */
struct otlp_source *otlp_rings_next(struct otlp_rings *o, struct otlp_source *after);
/* Whose turn was first is the last one the next time. */
void otlp_rings_turn(struct otlp_rings *o);

/* Any thread. */
void otlp_rings_count(struct otlp_rings *o, uint64_t *dropped, uint64_t *waiting);
