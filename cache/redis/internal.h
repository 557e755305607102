/* What the files of the Redis tier share; nobody else includes it.
 *
 *     settings.c  the block cache.redis
 *     tier.c      a worker's look-ups and writes
 *     fleet.c     what all share, and whether it is used
 *     purges.c    the fleet's purges, on the control thread
 *     script.h    what Redis runs for them
 *     message.c   how one is written
 *     records.c   what is known of them, for all threads
 *     link.c      one connection
 *     reader.c    what comes over it
 *     frame.c     values as bytes */
#pragma once

#include "cache/redis/link.h"
#include "cache/redis/records.h"
#include "core/counter.h"

#define REDIS_FORMAT "1:" /* behind the prefix: another layout of values or records gets another number */

#define REDIS_OWN_NUMBERS 1024u

/* Written by one worker. */
struct redis_counters {
    counter hits, misses, purged, unreadable, timeouts, errors, skipped;
    counter puts, put_bytes, dropped, put_errors, trips;
    _Atomic bool up;
} __attribute__((aligned(64)));

struct cache_redis_fleet {
    _Atomic unsigned refs; /* the owner's, one for each tier, one for a letter that is under way */
    _Atomic bool synced;   /* look-ups may be made */
    struct cache_redis_settings settings;
    char *texts; /* that settings point into */
    unsigned workers;
    struct redis_counters *counters; /* by worker */
    struct redis_records records;

    pthread_mutex_t lock;
    struct address address; /* len 0 = not resolved yet */

    /* The control thread's alone. */
    struct loop *loop;
    bool closed;
    bool subscribed;
    bool syncing, sync_again;
    bool troubled; /* and this was said */
    void (*on_purge)(void *argument, enum cache_purge_kind kind, struct slice text, bool soft);
    void *argument;
    uint64_t node; /* this one, by a random number */
    uint64_t drawn;
    struct slice channel, purges_key;                   /* in texts */
    struct redis_link ears, mouth;                      /* subscribed; commands */
    struct cache_redis_stamp before;                    /* what was known of the epoch before */
    uint64_t own_epoch, own_numbers[REDIS_OWN_NUMBERS]; /* of own purges, by number */
    usec_t created_us, heard_us;
    struct timer listen;       /* is anybody there? */
    struct resolver *resolver; /* NULL = the address is no name */
    struct resolve_query *query;
    struct slice host;
    uint16_t port;
    struct task bury;
    char reason[REDIS_LINK_REASON_MAX];

    struct letter letter; /* own purges are to be sent */
    _Atomic bool posted;
};

void redis_fleet_hold(struct cache_redis_fleet *f);
void redis_fleet_release(struct cache_redis_fleet *f);
static inline bool redis_fleet_synced(const struct cache_redis_fleet *f)
{
    return atomic_load_explicit(&f->synced, memory_order_acquire);
}
/* False: not resolved. Any thread. */
bool redis_fleet_address(struct cache_redis_fleet *f, struct address *out);

/* Control thread. */
void redis_fleet_set_synced(struct cache_redis_fleet *f, bool synced);
void redis_fleet_trouble(struct cache_redis_fleet *f, const char *reason);
uint64_t redis_fleet_draw(struct cache_redis_fleet *f, uint64_t limit); /* 1 to limit, at random */

extern const struct redis_link_handler redis_ears_handler, redis_mouth_handler;
void redis_purges_listen(struct timer *t);        /* fleet.listen: is anybody there? */
void redis_purges_deliver(struct letter *letter); /* fleet.letter: there are own purges */

/* A message that was published: "S", or "EPOCH NUMBER NODE RECORD". A record is two letters for kind and
 * softness, and the text. */
struct redis_message {
    struct cache_redis_stamp stamp;
    uint64_t node;
    struct slice record;
};
int redis_message_read(struct slice text, struct redis_message *out);
#define REDIS_RECORD_HEAD 2u
void redis_record_write(enum cache_purge_kind kind, bool soft, char out[REDIS_RECORD_HEAD]);
int redis_record_read(struct slice record, enum cache_purge_kind *kind, bool *soft, struct slice *text);

/* One worker's. */
struct cache_redis {
    struct cache_redis_fleet *fleet; /* held */
    struct redis_counters *counters;
    struct loop *loop;
    struct redis_link reads, writes; /* apart, so that no look-up waits behind a large value */
    struct list calls;               /* that wait, in the order of their deadlines */
    struct list ending;              /* of a tier that was closed */
    struct event deadline;
    bool armed, closed;
    unsigned bad_reads, bad_writes; /* in a row */
    struct task task, bury;
};
