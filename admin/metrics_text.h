/* The writer of the exposition, in both of its formats:
 *
 *  - Prometheus text 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats/)
 *  - OpenMetrics text 1.0.0 (https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification): a
 * counter's family is named without `_total`, units are told, buckets may have exemplars, `# EOF` ends it
 * all.
 *
 * Names are given without the `weir_` that all have, and as their samples are called (`requests_total`). A
 * family is opened by metrics_family(), and its samples follow. The labels of a sample are those that were
 * set before: they stay until they are cut off again, so that what a series' samples have in common is
 * escaped once.
 *
 * Growing memory that fails is remembered, and what follows is dropped: look at `failed` in the end. */
#pragma once

#include "balancer/counters.h"
#include "core/slice.h"

enum metrics_format { METRICS_TEXT, METRICS_OPENMETRICS };

enum metrics_type {
    METRICS_GAUGE,
    METRICS_COUNTER,
    METRICS_HISTOGRAM,
    METRICS_LONE_COUNTER, /* whose name without `_total` is another family's: of unknown type to OpenMetrics
                           */
};

struct metrics_buffer {
    char *at; /* malloc'ed */
    size_t len, size;
};

struct metrics_writer {
    enum metrics_format format;
    bool failed;
    struct metrics_buffer out, labels;
};

void metrics_writer_free(struct metrics_writer *w);

/* `help` is a sentence without line feeds and backslashes. */
void metrics_family(struct metrics_writer *w, enum metrics_type type, const char *name, const char *help);
/* OpenMetrics' last line. */
void metrics_end(struct metrics_writer *w);

/* Adds a label; what metrics_cut() takes back to where it was before. Values are escaped, and bytes that are
 * no UTF-8 become U+FFFD: one such byte would cost the whole scrape. */
size_t metrics_label(struct metrics_writer *w, const char *name, struct slice value);
void metrics_cut(struct metrics_writer *w, size_t labels);

/* A sample with the labels that are set. */
void metrics_count(struct metrics_writer *w, const char *name, uint64_t value);
void metrics_number(struct metrics_writer *w, const char *name, double value);
/* A family of one sample. */
void metrics_single(struct metrics_writer *w, enum metrics_type type, const char *name, const char *help,
                    double value);

/* One series: cumulative buckets, sum and count. `exemplars`: by bucket, those
 * without an id are none; or NULL. */
void metrics_histogram(struct metrics_writer *w, const char *name,
                       const uint64_t durations[COUNTERS_DURATIONS], uint64_t sum_us,
                       const struct exemplar_text *exemplars);
