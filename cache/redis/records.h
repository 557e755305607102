/* What this node knows of the fleet's purges: numbers of an epoch, by hash. Two texts that share a slot are
 * purged together: that costs a fetch, never a wrong answer. Written by the control thread (own purges by
 * any), read by the workers, under one lock. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "cache/redis/frame.h"
#include "core/hash.h"
#include "core/list.h"

#define REDIS_RECORD_SLOTS    65536u /* a power of two */
#define REDIS_RECORD_PREFIXES 256u

/* A purge of this node's that Redis has not numbered yet. */
struct redis_own_purge {
    struct list link;
    enum cache_purge_kind kind;
    bool soft;
    struct slice text;
    char bytes[];
};

struct redis_prefix {
    uint64_t number;
    char *text;
    size_t len;
};

struct redis_records {
    pthread_rwlock_t lock;
    struct cache_redis_stamp now; /* all up to this one are known */
    uint64_t floor;               /* what is stamped below is refused */
    uint64_t all[2];              /* [0] hard, [1] soft; the number of the newest, 0 = none */
    uint64_t *slots[2];           /* REDIS_RECORD_SLOTS each */
    struct redis_prefix prefixes[2][REDIS_RECORD_PREFIXES];
    unsigned prefix_count[2];
    struct list unsent, sent; /* of struct redis_own_purge, oldest first */
    unsigned own_count;
};

/* 0, or -1 when out of memory; to be freed in both cases. */
int redis_records_init(struct redis_records *r);
void redis_records_free(struct redis_records *r);

struct cache_redis_stamp redis_records_now(struct redis_records *r);

/* Another epoch: nothing of the one before counts. */
void redis_records_begin(struct redis_records *r, struct cache_redis_stamp now, uint64_t floor);
/* All up to `number` of the present epoch are known. */
void redis_records_advance(struct redis_records *r, uint64_t number);
void redis_records_raise_floor(struct redis_records *r, uint64_t floor);
void redis_records_add(struct redis_records *r, enum cache_purge_kind kind, struct slice text, bool soft,
                       uint64_t number);

/* From now on it concerns everything. 0, or -1 when out of memory. When there are CACHE_REDIS_RECORDS
 * already, one of everything stands for all that were not sent. */
int redis_records_add_own(struct redis_records *r, enum cache_purge_kind kind, struct slice text, bool soft);
/* Control thread: the oldest that was not sent, which counts as sent from now on; NULL = none. */
struct redis_own_purge *redis_records_next_own(struct redis_records *r);
/* Control thread: Redis has numbered it; frees it. */
void redis_records_own_done(struct redis_records *r, struct redis_own_purge *p, struct cache_redis_stamp as);
/* Control thread: none was sent. */
void redis_records_own_again(struct redis_records *r);
unsigned redis_records_own_count(struct redis_records *r);

enum redis_verdict { REDIS_KEPT, REDIS_SOFTLY_PURGED, REDIS_PURGED };
enum redis_verdict redis_records_judge(struct redis_records *r, const struct redis_frame *frame);
