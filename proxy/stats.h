/* Counters of the data path. Each worker has its own and only it writes them (relaxed stores); readers sum
 * over workers. A row is (listener, route): made by the worker on first use and published by an atomic
 * pointer. Rows live as long as the process, so that counters go on across reloads. */
#pragma once

#include <stdatomic.h>

#include "balancer/counters.h"
#include "core/counter.h"
#include "core/hash.h"
#include "core/slice.h"
#include "proxy/connection_limits.h"
#include "proxy/http/h2/abuse.h"
#include "proxy/http/termination.h"

#define WORKERS_MAX 256

struct route_stats {
    counter statuses[COUNTERS_STATUSES];   /* by counters_status_slot */
    counter durations[COUNTERS_DURATIONS]; /* by counters_duration_bound */
    counter duration_us;
};

struct route_stats_chunk {
    _Atomic(struct route_stats *) rows[256];
};

#define STATS_CHUNKS 1024

struct listener_worker_stats {
    counter connections;      /* accepted */
    counter connections_open; /* now (a gauge) */
    counter connections_refused;
    counter bytes_in, bytes_out;
    counter handshakes[4][2]; /* by TLS version (0 other, 2 = 1.2, 3 = 1.3) and resumed */
    counter handshake_failures;
    counter h2_abuse[H2_ABUSE_KINDS];   /* HTTP/2 connections ended for that, by enum h2_abuse_kind */
    counter terminations[TERMINATIONS]; /* of exchanges, by enum termination */
    _Atomic(struct route_stats_chunk *) chunks[STATS_CHUNKS];
} __attribute__((aligned(64)));

struct listener_stats {
    struct listener_stats *next;
    char *name;
    struct connection_limits limits;
    struct listener_worker_stats *worker[WORKERS_MAX]; /* made with the row */
};

/* Names of listeners and routes, given an identity for the life of the process. Control thread alone, apart
 * from stats_route(). */
struct stats {
    struct listener_stats *listeners;
    char **routes; /* by id; 0 is "-": no route */
    uint32_t route_count, route_capacity;
    unsigned workers;
    struct table *route_index;
    uint64_t reloads, reload_failures; /* of the configuration */
};

int stats_init(struct stats *s, unsigned workers);
void stats_free(struct stats *s);

/* The listener's row, made at first; NULL when out of memory. */
struct listener_stats *stats_listener(struct stats *s, struct slice name);
/* The route's id, made at first; 0 when there is none left. */
uint32_t stats_route_id(struct stats *s, struct slice name);

/* On the worker's thread: its row, made at first use; NULL when out of memory. */
struct route_stats *stats_route(struct listener_stats *l, unsigned worker, uint32_t route_id);
/* From any thread: the row if it exists. */
const struct route_stats *stats_peek(const struct listener_stats *l, unsigned worker, uint32_t route_id);

/* Counts one finished exchange. */
void route_stats_count(struct route_stats *r, unsigned status, usec_t duration);
