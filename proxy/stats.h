/* Counters of the data path. Each worker has its own and only it writes them (relaxed stores); readers sum
 * over workers. A row is (listener, route): made by the worker on first use and published by an atomic
 * pointer. Rows live as long as the process, so that counters go on across reloads. */
#pragma once

#include <stdatomic.h>

#include "core/base.h"
#include "core/hash.h"
#include "core/slice.h"

#define WORKERS_MAX 256

/* Upper bounds of the histogram's buckets in microseconds; the last bucket is +Inf. */
#define DURATION_BUCKETS 16
extern const usec_t duration_bounds[DURATION_BUCKETS - 1];

typedef _Atomic uint64_t counter;

/* The owner's increment: no locked instruction, as nobody else writes. */
static inline void counter_add(counter *c, uint64_t n)
{
    atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n, memory_order_relaxed);
}
static inline uint64_t counter_read(const counter *c)
{
    return atomic_load_explicit(c, memory_order_relaxed);
}

#define STATUS_SLOTS 64
/* 100..599 to a slot: common statuses have their own, others share their class's. */
unsigned status_slot(unsigned status);
/* The status that a slot stands for; for a shared slot its class's first (400 for "4xx and other"). 0 =
 * unused slot. */
unsigned slot_status(unsigned slot);

struct route_stats {
    counter status[STATUS_SLOTS];
    counter duration[DURATION_BUCKETS];
    counter duration_sum_us;
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
    _Atomic(struct route_stats_chunk *) chunks[STATS_CHUNKS];
} __attribute__((aligned(64)));

struct listener_stats {
    struct listener_stats *next;
    char *name;
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
