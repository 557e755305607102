/* The second tier of the cache, shared by a fleet: Redis. It knows keys, labels and bytes alone; what the
 * bytes mean is its user's. Nothing here ever blocks, and a Redis that is dead, slow or talks nonsense costs
 * nothing but its hits.
 *
 *     struct cache_redis_fleet   one for a configuration: what all workers share, and the control thread's
 * side of it - it hears the purges of the fleet, and tells its own struct cache_redis         one for each
 * worker: look-ups and writes, on its own connections struct cache_redis_call    one look-up, embedded in
 * what waits for it
 *
 * What stands in Redis: a value is at `PREFIX` "1:" and 32 hexadecimal digits (half a SHA-256 of the key, so
 * that nobody can choose keys that meet), with a time to live. It is framed: a magic, a checksum, the stamp,
 * the whole key, the labels (URL, tags), the content (cache/redis/frame.h). A value that is cut short,
 * foreign or of another key is as one that is not there.
 *
 * Purges and time: there is no clock in this. The purges of a fleet are numbered by Redis: each takes the
 * next number of an epoch, is kept in a record of the last CACHE_REDIS_RECORDS (a sorted set at PREFIX
 * "1:purges"), and is published. A value carries the stamp (epoch, number) that its writer knew of when its
 * fetch began: every purge with a higher number concerns it, whatever any clock says, and a purge that its
 * writer had not heard of yet refuses too much, never too little. What is older than the oldest record, or of
 * another epoch, is refused. An epoch ends when the record is lost (Redis began empty, evicted it, or went
 * back to an older copy of its data).
 *
 * A node looks up only while it hears purges: it is subscribed, and has read the record since. When it comes
 * back it gets what it has missed, in order, through on_purge; or, when that is not to be had any more, that
 * everything may be old (CACHE_PURGE_ALL, soft). One that was cut off without a word notices within
 * CACHE_REDIS_SILENCE_MS.
 *
 * Who may write to this Redis can answer requests in the origin's name: it belongs to the same trust as weir.
 */
#pragma once

#include <sys/uio.h>

#include "cache/purge.h"
#include "config/option.h"
#include "core/address.h"
#include "core/loop.h"

#define CACHE_REDIS_RECORDS    4096u
#define CACHE_REDIS_TEXT_MAX   8192u /* bytes of what is purged; of a label */
#define CACHE_REDIS_TAGS_MAX   64u
#define CACHE_REDIS_IOV_MAX    512
#define CACHE_REDIS_SILENCE_MS 3000u
#define CACHE_REDIS_CALLS_MAX  1024u /* look-ups of a worker that Redis has not answered */

/* The block `cache.redis`. */
struct cache_redis_settings {
    const struct config_node *node;
    struct slice address; /* as written */
    struct slice username, password;
    uint64_t database;
    struct slice prefix;
    msec_t deadline;     /* of a look-up */
    msec_t connect;      /* of a connection, until it can be used */
    msec_t retry;        /* the first pause after a failure; doubles up to 30 times that */
    msec_t ttl;          /* the longest that a value stays */
    uint64_t max_object; /* bytes of a content */
    uint64_t queue;      /* bytes of a worker's writes that Redis has not taken yet */
};

extern const struct option_table cache_redis_table;

/* Whether both say the same: then a reload keeps the fleet. */
bool cache_redis_settings_equal(const struct cache_redis_settings *a, const struct cache_redis_settings *b);

/* The fleet. */

struct cache_redis_fleet;

/* What a writer knew of the purges; epoch 0 = nothing. */
struct cache_redis_stamp {
    uint64_t epoch, number;
};

struct cache_redis_options {
    const struct cache_redis_settings *settings; /* copied */
    struct loop *loop;                           /* the control thread's */
    unsigned workers;
    const char *dns_servers; /* as in registry_options; for an address with a name */
    /* Another node has purged this, or (ALL, soft, no text) purges were missed. On the control thread. Own
     * purges do not come back. */
    void (*on_purge)(void *argument, enum cache_purge_kind kind, struct slice text, bool soft);
    void *argument;
};

/* Control thread. Connects in its own time. NULL when out of memory. */
struct cache_redis_fleet *cache_redis_fleet_create(const struct cache_redis_options *o);
/* Whether it was made with what these say, so that a reload keeps it. */
bool cache_redis_fleet_is_of(const struct cache_redis_fleet *f, const struct cache_redis_settings *s);
/* Control thread; NULL is allowed. No callback comes after it; tiers that are still open find nothing any
 * more. The memory goes with the last of them. */
void cache_redis_fleet_close(struct cache_redis_fleet *f);

/* To be taken before the origin is asked, and given to cache_redis_put(). Any thread. */
struct cache_redis_stamp cache_redis_now(struct cache_redis_fleet *f);

/* Tells the fleet. From any thread, at once for this node's look-ups; the others hear of it when Redis does:
 * while it is away the purge waits (the last CACHE_REDIS_RECORDS; beyond that, one of everything takes their
 * place). Purging the own memory is the caller's. `text`: as objects have it (cache/purge.h). 0, or -1 when
 * it is too long or there is no memory. */
int cache_redis_purge(struct cache_redis_fleet *f, enum cache_purge_kind kind, struct slice text, bool soft);

/* A worker's tier. */

struct cache_redis;

/* Any thread, `l` is the worker's loop, which need not run yet. Connects at the first use. NULL when out of
 * memory. */
struct cache_redis *cache_redis_create(struct cache_redis_fleet *f, struct loop *l, unsigned worker);
/* On its worker, also from a callback; NULL is allowed. Calls that wait end as UNAVAILABLE, after this pass.
 */
void cache_redis_close(struct cache_redis *r);
struct cache_redis_fleet *cache_redis_fleet_of(const struct cache_redis *r);

enum cache_redis_result {
    CACHE_REDIS_FOUND,
    CACHE_REDIS_STALE, /* found, but purged softly since: to be validated before it is used */
    CACHE_REDIS_ABSENT,
    CACHE_REDIS_UNAVAILABLE, /* no answer in time, or none that could be used */
};

struct cache_redis_call;
/* `content` (empty unless FOUND or STALE) is good during the callback. The call may be used again, or be
 * freed. */
typedef void cache_redis_done(struct cache_redis_call *c, enum cache_redis_result result,
                              struct slice content);

/* Begins cleared. */
struct cache_redis_call {
    cache_redis_done *done;   /* set by the caller */
    struct cache_redis *tier; /* the rest is the tier's; NULL = not under way */
    struct slice key;         /* the caller's memory until done */
    usec_t deadline_us;
    uint64_t ticket; /* of its command */
    struct list link;
};

/* True: c->done comes exactly once, never from inside, within the deadline (and what a pass takes). False: it
 * is not to be had - Redis is away, slow, or has too much to do - and no callback comes; this costs a few
 * instructions. Whoever puts what was found in a store of his own does so as of the purges that he knew
 * before this call. */
bool cache_redis_get(struct cache_redis *r, struct slice key, struct cache_redis_call *c);
/* No callback comes any more; idempotent. */
void cache_redis_cancel(struct cache_redis_call *c);

struct cache_redis_value {
    struct slice key;
    struct cache_redis_stamp stamp; /* of before the origin was asked */
    struct slice url;               /* for purges by URL and prefix */
    const struct slice *tags;
    size_t tag_count;
    const struct iovec *content;
    int count;
    uint64_t ttl; /* seconds */
};

/* Writes in the background; everything is copied, or sent, when it returns. False when it was dropped: too
 * large, too much under way, Redis away. */
bool cache_redis_put(struct cache_redis *r, const struct cache_redis_value *v);

/* For the API and metrics; from any thread. Sums over the workers. */
struct cache_redis_stats {
    uint64_t hits, misses;
    uint64_t purged;     /* misses, of what a purge concerns */
    uint64_t unreadable; /* misses, of values that are cut short, foreign, or of another key */
    uint64_t timeouts;
    uint64_t errors;  /* connections that broke, answers that were errors */
    uint64_t skipped; /* look-ups that were not made */
    uint64_t puts, put_bytes, dropped, put_errors;
    uint64_t trips;          /* how often a worker stopped using it */
    unsigned workers_up;     /* how many use it now */
    bool synced;             /* purges are heard */
    uint64_t epoch, purges;  /* of the fleet, as far as known */
    uint64_t purges_waiting; /* own ones that Redis has not taken yet */
};
void cache_redis_stats(struct cache_redis_fleet *f, struct cache_redis_stats *out);
/* Why it is not used, for people; "" = it is. Control thread. */
const char *cache_redis_reason(const struct cache_redis_fleet *f);
