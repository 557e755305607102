/* Spans, where there is a collector. */
#include "admin/metrics.h"
#include "admin/otlp.h"

bool metrics_tracing(struct metrics_run *r)
{
    struct otlp_counts c;
    otlp_counts(r->admin->otlp, &c);
    if (!c.is_on)
        return false;
    const struct {
        const char *result;
        uint64_t count;
    } results[] = {{"exported", c.exported},
                   {"dropped_queue", c.dropped_queue},
                   {"dropped_collector", c.dropped_collector}};
    metrics_family(&r->w, METRICS_COUNTER, "trace_spans_total",
                   "Spans: that the collector took, that found no room in the queue, that it did not take.");
    for (size_t i = 0; i < COUNT_OF(results); i++) {
        size_t none = metrics_label(&r->w, "result", slice_text(results[i].result));
        metrics_count(&r->w, "trace_spans_total", results[i].count);
        metrics_cut(&r->w, none);
    }
    metrics_single(&r->w, METRICS_GAUGE, "trace_spans_waiting", "Spans that wait for the collector.",
                   (double)c.waiting);
    return false;
}
