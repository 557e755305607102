/* What a worker counts of every server. Written by that worker alone with plain relaxed stores; summed by
 * whoever reads. Tables grow by blocks that only their worker adds, published by one atomic store, and never
 * shrink. A server's numbers begin at 0 when the process begins to know it (its serial is new), even where
 * its id was used before. */
#pragma once

#include <stdatomic.h>

#include "balancer/server.h"
#include "core/counter.h"
#include "core/exemplars.h"

#define COUNTERS_BLOCK     64u
#define COUNTERS_BLOCKS    (SERVER_ID_MAX / COUNTERS_BLOCK)
#define COUNTERS_DURATIONS 16u /* buckets, the last without a bound */
#define COUNTERS_FINE      58u /* the same in smaller ones, ten a decade, for percentiles */
#define COUNTERS_STATUSES  32u

struct server_counters {
    _Atomic uint64_t serial;    /* of the server that they are about */
    counter opened;             /* connections begun */
    counter reused;             /* taken from the idle ones */
    counter failed;             /* connects (or handshakes) that came to nothing */
    counter retries;            /* attempts of a request that another attempt went before */
    counter hedges, hedges_won; /* second attempts beside another one, and those that answered first */
    counter idle, busy;         /* connections now; pool.h keeps them */
    counter bytes_in, bytes_out;
    counter duration_us;                 /* sum */
    counter fine[COUNTERS_FINE];         /* durations; those of the exported buckets are sums of them */
    counter statuses[COUNTERS_STATUSES]; /* by counters_status_slot */
    struct exemplars exemplars;          /* of the durations */
};

struct server_totals {
    uint64_t opened, reused, failed, retries, hedges, hedges_won, idle, busy, bytes_in, bytes_out,
        duration_us;
    uint64_t durations[COUNTERS_DURATIONS], fine[COUNTERS_FINE];
    uint64_t statuses[COUNTERS_STATUSES];
};

struct counters_block {
    struct server_counters at[COUNTERS_BLOCK];
};

/* One a worker. */
struct counters {
    _Atomic(struct counters_block *) blocks[COUNTERS_BLOCKS];
    struct server_counters spare; /* of servers that have no id, and when out of memory; never read */
};

void counters_init(struct counters *t);
/* When no one reads any more. */
void counters_free(struct counters *t);

/* Own worker. Never NULL. */
struct server_counters *counters_make(struct counters *t, const struct server *s);
static inline struct server_counters *counters_of(struct counters *t, const struct server *s)
{
    struct counters_block *b =
        LIKELY(s->id < SERVER_ID_MAX)
            ? atomic_load_explicit(&t->blocks[s->id / COUNTERS_BLOCK], memory_order_relaxed)
            : NULL;
    if (LIKELY(b != NULL)) {
        struct server_counters *c = &b->at[s->id % COUNTERS_BLOCK];
        if (LIKELY(atomic_load_explicit(&c->serial, memory_order_relaxed) == s->serial))
            return c;
    }
    return counters_make(t, s); /* its first */
}

/* One response: its status (0 = none came), the time from the request's start to the response's end. The
 * bucket that the time falls in. */
unsigned counters_response(struct server_counters *c, unsigned status, usec_t took_us);

/* Any thread: the sum over `count` workers' tables. */
void counters_sum(struct counters *const *tables, size_t count, const struct server *s,
                  struct server_totals *out);
/* Any thread: the newest exemplar of a bucket; false when there is none. */
bool counters_exemplar(struct counters *const *tables, size_t count, const struct server *s, unsigned bucket,
                       struct exemplar_text *out);

/* Known statuses have a slot each, others share one by class. The text of a slot is "200" or "4xx"; NULL past
 * the end. */
unsigned counters_status_slot(unsigned status);
/* The bucket that a duration falls in. */
unsigned counters_duration_slot(usec_t took_us);
const char *counters_status_text(unsigned slot);
/* Upper bound of a bucket in microseconds; 0 for the last (no bound). */
usec_t counters_duration_bound(unsigned bucket);
/* The same of the finer buckets; each lies within one of the others. */
unsigned counters_fine_slot(usec_t took_us);
usec_t counters_fine_bound(unsigned bucket);
unsigned counters_fine_duration(unsigned fine);
