/* GET /metrics: every family that is exported stands in one of the metrics_*.c, and docs/metrics.md has the
 * list.
 *
 * What is counted is summed over workers when it is asked for. An exposition is made in steps of bounded
 * work, so that a hundred thousand routes do not keep the control thread from what else it does:
 * metrics_step() until it says that there is no more. Between two steps the configuration may change; what
 * was said stays said.
 *
 * The labels are names of the configuration, of the machine's addresses, or words out of a fixed list:
 * nothing that a client sends becomes one. Its request id may become an exemplar's, which makes no series. */
#pragma once

#include "admin/internal.h"
#include "admin/metrics_text.h"

/* How long what the configuration no longer has is shown, so that the last of it is seen by every scraper. */
#define METRICS_GONE_US 600000000u

struct metrics_servers;

struct metrics_run {
    struct admin *admin;
    struct runtime *runtime;
    struct metrics_writer w;
    size_t section; /* and where in it: */
    bool begun;
    const struct listener_stats *listener;
    uint32_t route;
    struct metrics_servers *servers; /* copied: they may be gone by the next step */
    size_t family, row;
};

/* Some of a section; true while there is more of it. */
typedef bool metrics_section(struct metrics_run *r);

void metrics_begin(struct metrics_run *r, struct admin *a, enum metrics_format format);
/* Appends to r->w.out; true while there is more. */
bool metrics_step(struct metrics_run *r);
void metrics_abandon(struct metrics_run *r);

/* metrics_requests.c, metrics_listeners.c, metrics_upstreams.c, metrics_servers.c, metrics_cache.c,
 * metrics_tracing.c, metrics_process.c */
metrics_section metrics_requests, metrics_durations, metrics_listeners, metrics_endings, metrics_tls,
    metrics_upstreams, metrics_of_servers, metrics_cache, metrics_tracing, metrics_process;
void metrics_servers_free(struct metrics_servers *s);

/* Whether the configuration has it, or had it not long ago. */
bool metrics_shows(const struct metrics_run *r, usec_t gone_us);
bool metrics_shows_listener(const struct metrics_run *r, const struct listener_stats *l);
/* The sum over workers; `offset` of a counter in listener_worker_stats. */
uint64_t metrics_sum_listener(const struct runtime *rt, const struct listener_stats *l, size_t offset);
