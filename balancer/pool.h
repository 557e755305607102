/* One worker's connections to servers: the idle ones, and the making of new ones. Belongs to the worker's
 * loop; no locks.
 *
 * A connection that was taken or made belongs to the user, who gets all of its events through the handler
 * given, and ends with exactly one of pool_give, pool_fail and pool_discard. While it is idle the pool's own
 * handler closes it on any byte, end or timeout, and a look every few seconds closes those of retired servers
 * and of addresses that are no longer the server's. What ends idle connections teaches how long the server
 * keeps them (keepalive.h).
 *
 * A connection that carries many requests at once (HTTP/2) belongs to an object of its own, which lists it
 * with the pool (pool_list) while it may take more of them; pool_listed() finds it again.
 *
 * An upstream_conn holds its server, not its upstream: it may outlive the snapshot. */
#pragma once

#include "balancer/counters.h"
#include "balancer/upstream.h"
#include "core/conn.h"

#define UPSTREAM_CONN_MAGIC 0x5550434eu

struct pool_slot;

/* What the worker has learnt of a server whose protocol ALPN chooses, or that speaks HTTP/2. */
enum pool_speaks { POOL_SPEAKS_UNKNOWN, POOL_SPEAKS_HTTP1, POOL_SPEAKS_HTTP2 };
struct pool_notes {
    uint8_t speaks;   /* the last connection: enum pool_speaks */
    uint32_t streams; /* that it allowed at once; 0 = not known */
};

struct pool {
    struct loop *loop;
    unsigned worker;
    struct counters *counters; /* not owned */
    struct pool_slot **slots;  /* by server id; NULL where the server never had one idle */
    uint32_t slot_count;
    uint32_t idle_count; /* with those that are listed */
    bool closed;
    struct list used; /* slots that have idle or listed connections */
    struct timer sweep;
    struct timer spare; /* runs while there are more than keepalive.idle */
};

struct upstream_conn {
    uint32_t magic;
    uint32_t requests; /* begun on it, the present one included */
    bool reused;       /* it carried a request before this one: the server may have closed it meanwhile */
    bool idle;
    bool on_trial; /* idle for longer than it may be: to see whether it lasts, and not to be used */
    uint32_t address_version;
    uint32_t told_ms;      /* how long the server says that it keeps it idle; 0 = it does not say */
    msec_t keepalive_ms;   /* idle: for how long it was given back … */
    msec_t idled_ms;       /* … and how long it was, when it was taken */
    uint64_t transport;    /* the upstream's, when it was made */
    struct server *server; /* held */
    struct pool *pool;
    struct list link;
    struct server_counters *counters; /* the server's on this worker */
    uint64_t bytes_in, bytes_out;     /* of conn's, counted already */
    usec_t since_us;                  /* connect begun; when idle: given back */
    void *user;
    struct conn conn;
    /* While it is listed: it has no future, or the worker ends. */
    void (*retire)(struct upstream_conn *);
    struct task bury;
};

static inline struct upstream_conn *upstream_conn_of(struct conn *c)
{
    struct upstream_conn *uc = CONTAINER_OF(c, struct upstream_conn, conn);
    ASSERT(uc->magic == UPSTREAM_CONN_MAGIC);
    return uc;
}

void pool_init(struct pool *p, struct loop *l, unsigned worker, struct counters *counters);
/* Closes what is idle. What is in use stays its users': they end it before the loop is freed, but may do so
 * after this (pool_give then closes). */
void pool_close(struct pool *p);
/* After the loop's last pass. */
void pool_free(struct pool *p);

/* The most recently used idle connection, ready to be written to, or NULL. */
struct upstream_conn *pool_take(struct pool *p, struct upstream *u, struct server *s,
                                const struct conn_handler *h, void *user);

/* A new one, connecting; with TLS when the upstream has it. connected() or failed() follows, never from
 * inside; the time limit is the user's (conn_timer). NULL with errno when there is not even a socket
 * (EADDRNOTAVAIL: the name has not resolved). */
struct upstream_conn *pool_connect(struct pool *p, struct upstream *u, struct server *s,
                                   const struct conn_handler *h, void *user);

/* Likewise; over TLS it offers `alpn` (as tls_client_connect has it). */
struct upstream_conn *pool_connect_alpn(struct pool *p, struct upstream *u, struct server *s,
                                        struct slice alpn, const struct conn_handler *h, void *user);

/* The exchange is over and the connection clean, as far as the user can tell: it is kept for at most
 * `keepalive_ms`, less if the server keeps it for less, or closed when bytes or an end are pending,
 * keepalive.requests is reached, the server is retired or has moved, or is not up, or the upstream sends
 * PROXY headers. Past keepalive.idle the oldest are closed once they were idle for 100 ms. */
void pool_give(struct pool *p, struct upstream *u, struct upstream_conn *uc, msec_t keepalive_ms);

/* A connection that was idle when it was taken ended before the server said anything: it was dead. */
void pool_was_dead(struct upstream_conn *uc);

/* Closes now; the memory goes after the pass. */
void pool_discard(struct upstream_conn *uc);
/* As pool_discard, for a connect or handshake that failed or took too long: counted as that. */
void pool_fail(struct upstream_conn *uc);

/* Closes the idle ones of a server, or all (NULL). */
void pool_close_idle(struct pool *p, struct server *s);
/* Closes the idle ones that have no future; runs by itself every few seconds. For a reload: at once. */
void pool_sweep(struct pool *p);

/* Connections that carry many requests. */

/* Lists it under its server, and takes it out again (idempotent; pool_discard and pool_fail do it too).
 * retire(uc) comes at most once, by pool_sweep or pool_close, after it was taken out. 0, or -1 when out of
 * memory. */
int pool_list(struct upstream_conn *uc, void (*retire)(struct upstream_conn *));
void pool_unlist(struct upstream_conn *uc);
/* The list of those of `s` (by their `link`), the newest first; NULL = there are none. */
struct list *pool_listed(struct pool *p, const struct server *s);
/* Whether it still leads where a new one would. */
bool pool_has_future(const struct upstream_conn *uc, const struct upstream *u);
/* Counts it as idle, or busy again. */
void pool_count_idle(struct upstream_conn *uc, bool idle);
/* It is idle from now on: for how long, at most `keepalive_ms`. */
msec_t pool_idle_time(struct upstream_conn *uc, msec_t keepalive_ms);
/* That time is over. 0 = close it; else it goes on trial (no requests) for so long, and then this is asked
 * again. */
msec_t pool_idle_over(struct upstream_conn *uc);
/* The server has ended it while it was idle. */
void pool_idle_ended(struct upstream_conn *uc);
/* Adds what went over it to its server's counters. */
void pool_count_bytes(struct upstream_conn *uc);
/* NULL when out of memory. */
struct pool_notes *pool_notes(struct pool *p, const struct server *s);
