/* Counters of the data path. Each worker has its own and only it writes them (relaxed stores); readers sum
 * over workers. A row is (listener, route): made by the worker on first use and published by an atomic
 * pointer. Rows live as long as the process, so that counters go on across reloads. */
#pragma once

#include <stdatomic.h>

#include "balancer/counters.h"
#include "core/counter.h"
#include "core/exemplars.h"
#include "core/hash.h"
#include "core/slice.h"
#include "proxy/connection_limits.h"
#include "proxy/http/cache/cache.h"
#include "proxy/http/grpc.h"
#include "proxy/http/h2/abuse.h"
#include "proxy/http/termination.h"

#define WORKERS_MAX 256

struct route_stats {
    counter statuses[COUNTERS_STATUSES]; /* by counters_status_slot */
    counter fine[COUNTERS_FINE];         /* durations; those of the exported buckets are sums of them */
    counter duration_us;
    struct exemplars exemplars; /* of the durations */
};

struct route_stats_chunk {
    _Atomic(struct route_stats *) rows[256];
};

#define STATS_CHUNKS 1024

/* Why a datagram was not passed on. */
enum udp_drop {
    UDP_DROP_LIMIT,     /* a limit on sessions */
    UDP_DROP_NO_SERVER, /* none is up, or none has room */
    UDP_DROP_SEND,      /* the kernel did not take it: a full buffer, or too long for the path */
    UDP_DROPS,
};

struct listener_worker_stats {
    counter connections;      /* accepted */
    counter connections_open; /* now (a gauge) */
    counter connections_refused;
    counter bytes_in, bytes_out;
    counter handshakes[4][2]; /* by TLS version (0 other, 2 = 1.2, 3 = 1.3) and resumed */
    counter handshake_failures;
    counter udp_in, udp_out; /* datagrams from and to clients */
    counter udp_evicted;     /* sessions that made room for others */
    counter udp_dropped[UDP_DROPS];
    counter grpc[GRPC_STATUSES + 1];    /* calls of gRPC by the status that was told; the last: none was */
    counter h2_malformed;               /* messages of HTTP/2 that were reset for what is in them */
    counter h2_abuse[H2_ABUSE_KINDS];   /* HTTP/2 connections ended for that, by enum h2_abuse_kind */
    counter terminations[TERMINATIONS]; /* of exchanges, by enum termination */
    counter cache[CACHE_RESULTS];       /* likewise of routes with a cache, by enum cache_result */
    _Atomic(struct route_stats_chunk *) chunks[STATS_CHUNKS];
} __attribute__((aligned(64)));

struct listener_stats {
    struct listener_stats *next;
    char *name;
    usec_t gone_us; /* as route_gone_us */
    struct connection_limits limits;
    struct listener_worker_stats *worker[WORKERS_MAX]; /* made with the row */
};

/* Names of listeners and routes, given an identity for the life of the process. Control thread alone, apart
 * from stats_route(). */
struct stats {
    struct listener_stats *listeners;
    char **routes;                /* by id; 0 is "-": no route */
    _Atomic uint32_t **in_flight; /* by route id; NULL where no route of that name limits its concurrency */
    usec_t *route_gone_us; /* by route id: since when the configuration has none of that name; 0 = it has */
    uint32_t route_count, route_capacity;
    unsigned workers;
    struct table *route_index;
    uint64_t reloads, reload_failures; /* of the configuration */
    bool reload_failed;                /* the last one */
};

int stats_init(struct stats *s, unsigned workers);
void stats_free(struct stats *s);

/* The listener's row, made at first; NULL when out of memory. */
struct listener_stats *stats_listener(struct stats *s, struct slice name);
/* The route's id, made at first; 0 when there is none left. */
uint32_t stats_route_id(struct stats *s, struct slice name);

/* The count of requests on the routes of that name, made at first; lives as long as the process. NULL when
 * out of memory, or for id 0. */
_Atomic uint32_t *stats_route_in_flight(struct stats *s, uint32_t route_id);

/* On the worker's thread: its row, made at first use; NULL when out of memory. */
struct route_stats *stats_route(struct listener_stats *l, unsigned worker, uint32_t route_id);
/* From any thread: the row if it exists. */
const struct route_stats *stats_peek(const struct listener_stats *l, unsigned worker, uint32_t route_id);

/* Which routes and listeners the configuration has now. */
void stats_mark_begin(struct stats *s, usec_t now);
void stats_mark_route(struct stats *s, uint32_t route_id);
void stats_mark_listener(struct listener_stats *l);

/* Counts one finished exchange; the bucket of its duration. */
unsigned route_stats_count(struct route_stats *r, unsigned status, usec_t duration);
