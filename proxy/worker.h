/* A worker: one thread, one event loop, and all that lives on it - its listeners' sides, connections, pools
 * of upstream connections, free exchanges, and the snapshot that it currently serves. A connection lives and
 * dies on the worker that accepted it, and needs no lock.
 *
 * The control thread talks to a worker by letters alone (core/mailbox.h). */
#pragma once

#include <pthread.h>

#include "balancer/pool.h"
#include "core/log_limit.h"
#include "core/loop.h"
#include "core/recycler.h"
#include "proxy/snapshot.h"

struct cache_redis;
struct cache_store;
struct exchange;
struct listener;
struct listener_sockets;
struct span_ring;
struct udp_batches;

/* What hears of the data path's events; admin/ provides them. Called on the worker's thread; must not block.
 */
struct observers {
    void *argument;
    /* The final response's head is about to be sent: x->response is there for whoever wants something of it
     * later. */
    void (*response_begins)(void *argument, struct exchange *x);
    /* Whether there is anything of the response's fields that response_begins looks at; NULL = no. */
    bool (*wants_response)(void *argument, const struct exchange *x);
    void (*exchange_ended)(void *argument, struct exchange *x);
    /* Where this worker's spans go (http/trace_ring.h); NULL = nowhere. */
    struct span_ring *(*spans)(void *argument, unsigned worker);
    /* Access logs are flushed at most this long after a line was written. */
    void (*worker_tick)(void *argument, unsigned worker);
};

#define TRAILER_FIELDS_MAX 64

struct worker {
    struct loop loop;
    unsigned index;
    pthread_t thread;
    struct snapshot *snapshot; /* the current one */
    struct list listeners;     /* of struct listener, live and removed */
    struct counters counters;  /* of servers */
    struct pool pool;
    struct udp_batches *udp;  /* NULL until a udp listener is there */
    struct recycler recycler; /* of what HTTP/2 allocates */
    struct list free_exchanges;
    unsigned free_exchange_count;
    counter exchange_count;     /* in progress (a gauge) */
    unsigned exemplars_left;    /* that its histograms may still be given (core/exemplars.h) */
    struct list fetches;        /* that weir makes for the cache */
    struct field *parse_fields; /* room for a head's fields while it is parsed */
    uint32_t parse_capacity;
    struct field trailer_fields[TRAILER_FIELDS_MAX]; /* likewise of a response's trailers */
    char *head_buffer; /* where a head is written before it is sent; HEAD_BUFFER bytes */
    struct router_scratch router_scratch;
    uint64_t random[4]; /* state of random_next() */
    char date[32];      /* the Date field's value (RFC 9110 §5.6.7), for the second date_at */
    int64_t date_at;
    bool draining;      /* no new connections; keep-alive ends with the next answer */
    msec_t drain_until; /* when what is left will be cut */
    bool stopping;
    void (*drained)(struct worker *);
    struct task drained_task;
    struct timer tick;
    counter beats;      /* of the tick: the loop goes round */
    counter cpu_us;     /* that its thread has used, at the last tick */
    counter lag_us;     /* how late a tick was at most, of the last 15 to 30 seconds (a gauge) */
    usec_t lag_most[2]; /* of the 15 seconds before and of these */
    msec_t tick_at, lag_since;
    struct log_limit log_limit; /* see failure_log.h */
    const struct observers *observers;
    struct cache_store *cache; /* the process's; outlives the worker */
    struct cache_redis *redis; /* its second tier; NULL = none */
    bool ended;                /* its loop runs no more */
    struct loop *control;
};

#define HEAD_BUFFER        (96u << 10)
#define PARSE_FIELDS_SPARE 16 /* fields that are added to a parsed head without a copy */

/* Makes and starts worker `index`. 0, or -1 (errno); the process then ends. */
int worker_start(struct worker *w, unsigned index, const struct observers *o, struct cache_store *cache,
                 struct loop *control);

/* After worker_stop's letter was delivered: waits for the thread's end and frees. */
void worker_join(struct worker *w);

/* How many fields a head may have under `s`, with what is added to it. Any thread. */
uint32_t worker_fields(const struct snapshot *s);

/* The rest is for the worker's own thread. */

/* Serves `s` from now on, with the listening sockets given (see listener.h). `fields`: room for as many as
 * worker_fields(s) says; taken over, and NULL or smaller room that is no longer needed is left there. */
void worker_apply(struct worker *w, struct snapshot *s, const struct listener_sockets *sockets,
                  struct field **fields, uint32_t capacity);

/* Stops accepting and asks every connection to end. `handed_over`: another process goes on with the listening
 * sockets, so idle keep-alive connections may wait for their next request. drained(w) is called (on the
 * worker's thread) when the last client is gone, at once if there is none; worker_cut ends those that are
 * left. */
void worker_drain(struct worker *w, bool handed_over, void (*drained)(struct worker *));
void worker_cut(struct worker *w);

/* A client left: is that the last one of a drain? */
void worker_client_left(struct worker *w);

/* 64 bits of xoshiro256**, seeded from the kernel. Not for secrets. */
uint64_t worker_random(struct worker *w);

/* Seconds since the epoch as RFC 9110 §5.6.7 writes them; the length, 29. */
size_t http_date(int64_t seconds, char out[32]);

/* "Sun, 06 Nov 1994 08:49:37 GMT", of this pass. */
struct slice worker_date(struct worker *w);
