/* The exporter: takes spans out of the workers' rings and tells them to a collector, on a thread of its own
 * with a loop of its own. It is made with the first configuration that has `tracing`, and ends with the
 * process.
 *
 * What is in memory is bounded: the rings (tracing.queue), and one message. A message that the collector does
 * not take is sent again, later each time, and given up in the end; meanwhile the rings fill, and workers
 * drop what finds no room. Nobody waits for a collector. */
#pragma once

#include "proxy/runtime.h"

struct otlp;

/* What became of spans, since the process began. */
struct otlp_counts {
    bool is_on; /* there is, or was, a collector */
    uint64_t exported;
    uint64_t dropped_queue;     /* there was no room */
    uint64_t dropped_collector; /* it did not take them */
    uint64_t waiting;           /* for the next message */
};

/* NULL when out of memory. */
struct otlp *otlp_create(void);

/* A configuration is about to be served: what it says of the collector counts from now on. Cannot be undone:
 * the last thing that can refuse it. 0, or -1 with *why (malloc'ed, or NULL). Control thread. */
int otlp_apply(struct otlp *o, struct runtime *rt, struct snapshot *s, bool first, char **why);

/* As observers.spans. */
struct span_ring *otlp_spans(struct otlp *o, unsigned worker);

void otlp_counts(struct otlp *o, struct otlp_counts *out);

/* No worker runs any more: tells what is left, within three seconds, and frees. NULL is allowed. */
void otlp_free(struct otlp *o);
