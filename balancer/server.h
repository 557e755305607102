/* One server of one upstream: what is known of it and what is going on with it. It lives across reloads: the
 * same (upstream's name, address as in the file) in the next snapshot is the same struct server, with its
 * health, its weight set by hand and its requests in flight.
 *
 * Ownership: counted. Snapshots (through their upstreams), the registry and every connection to it hold it;
 * any thread may hold and release. Atomics may be read by anyone; what is under `lock` goes through
 * functions.
 *
 * Usable = may get new requests: it has an address, no check says that it is down, it is not ejected
 * (outlier.h), nobody drained it or took it down by hand, and its weight is not 0. While its group is in
 * panic (group.h) neither check nor ejection counts. A server without a check is up. A server with one starts
 * up as well (HEALTH_UNKNOWN counts as up, as in nginx and HAProxy) until `fall` checks in a row have failed;
 * a server whose name has not resolved yet is down with that reason. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "core/address.h"
#include "core/base.h"
#include "core/list.h"
#include "core/slice.h"

#define SERVER_MAGIC      0x53525652u
#define SERVER_ID_NONE    UINT32_MAX
#define SERVER_ID_MAX     65536u
#define SERVER_REASON_MAX 160
#define SERVER_WEIGHT_MAX 65535u
#define SERVER_ADDRESSES  8u /* of one name: more are not kept */
/* Weights that count are in this many parts of the file's, so that a server that starts slowly can have a
 * share of weight 1. */
#define SERVER_WEIGHT_SCALE 256u
#define SERVER_RAMP_LEAST   3u /* of SERVER_WEIGHT_SCALE: about 1 % */

enum server_health { HEALTH_UNKNOWN, HEALTH_UP, HEALTH_DOWN };

/* What a human (or the API) wants of it. DRAIN: what is open goes on, nothing new; DOWN: the same for the
 * balancer - streams are closed by whoever holds them, as on_down says. */
enum server_admin { ADMIN_UP, ADMIN_DRAIN, ADMIN_DOWN };

/* Why servers are ejected. */
enum ejection {
    EJECTED_STATUS,
    EJECTED_UNREACHABLE,
    EJECTED_RESET,
    EJECTED_PROTOCOL,
    EJECTED_TIMEOUT,
    EJECTED_LATENCY,
    EJECTIONS
};

struct server_group;

/* Dense numbers for per-worker arrays: the lowest free one is given. Counted; each server that has a number
 * holds them. */
struct server_ids;
struct server_ids *server_ids_create(void);
void server_ids_release(struct server_ids *ids);

struct server {
    uint32_t magic;
    uint32_t id;                 /* SERVER_ID_NONE when made without server_ids, or past SERVER_ID_MAX */
    uint64_t serial;             /* never used twice, where the id is */
    struct slice upstream, name; /* NUL-terminated */
    struct slice host; /* the name's host part without brackets; the path of a unix: address is "localhost" */
    struct server_ids *ids;
    _Atomic uint32_t references;

    /* Read by every pick; written rarely. */
    _Alignas(64) _Atomic uint32_t weight; /* what counts now; 0 = not usable. See server_weight */
    _Atomic uint32_t ramp;                /* of SERVER_WEIGHT_SCALE. See server_ramp */
    _Atomic uint32_t max_connections;     /* 0 = no limit */
    _Atomic uint32_t address_version;     /* 0 = no address yet; another number = another address */
    _Atomic uint8_t health;               /* enum server_health */
    _Atomic uint8_t admin;                /* enum server_admin */
    _Atomic bool ejected;
    _Atomic bool backup;
    _Atomic bool spare;                /* see server_is_spare */
    _Atomic uint64_t suspect_until_us; /* 0 = not suspect; suspicion.h */
    _Atomic bool retired;              /* in no active snapshot any more: keep no idle connections */
    _Atomic uint32_t idle_seen_ms; /* keepalive.h: after which it ends idle connections; 0 = not known … */
    _Atomic uint64_t idle_told;    /* … and what it says, with the time it did */

    /* Written by every request of every worker. */
    _Alignas(64) _Atomic uint32_t in_flight;
    _Atomic uint32_t errors_in_row; /* outlier.h; written only when it changes */
    _Atomic uint64_t ewma;          /* ewma.h: how long its answers take; 0 = nothing is known */

    _Alignas(64) _Atomic uint64_t connect_failures; /* since the process began to know it */

    _Atomic uint64_t ejections[EJECTIONS];

    struct server_group *group;     /* held, once it has been attached; else NULL */
    struct list group_link;         /* control thread */
    struct latency_sample *latency; /* control thread; NULL = none yet */
    bool ejection_told;             /* control thread: whoever shows it knows */

    _Atomic uint64_t suspect_since_us; /* suspicion.h */
    _Atomic uint32_t suspect_failures;

    _Atomic uint64_t idle_ended; /* keepalive.h: the last connection that it ended: its age, and when … */
    _Atomic uint64_t idle_tried_us; /* … and the last trial */

    pthread_mutex_t lock;                       /* of all below; short */
    struct address addresses[SERVER_ADDRESSES]; /* what the name resolves to … */
    unsigned address_count, address_at;         /* … and which of them is in use */
    uint32_t file_weight;
    int64_t hand_weight; /* -1 = none: set by server_set_weight */
    char health_reason[SERVER_REASON_MAX];
    char address_reason[SERVER_REASON_MAX]; /* why there is no (new) address; "" = there is */
    int64_t health_changed_us;              /* wall clock, 0 = never */
    bool check_ok;                          /* the last check's result … */
    int64_t check_us;                       /* … its end by the wall clock, 0 = none yet … */
    usec_t check_took_us;
    char check_text[SERVER_REASON_MAX]; /* … and what it said: "status 200", "connection refused" */
    bool ready;                         /* usable, were there no panic */
    usec_t ramp_began_us;               /* slow start: RAMP_NEXT_TICK, or when it began; 0 = none */
    usec_t ejected_until_us;            /* 0 = not ejected */
    usec_t ejection_over_us;            /* the last one's end, by itself or by hand */
    unsigned ejection_level;            /* how many times `eject` the last one lasted */
    char ejection_reason[SERVER_REASON_MAX];
};

/* A reference of the caller's. `ids` may be NULL (a dry run). NULL when out of memory, or when `name` is no
 * address. */
struct server *server_create(struct server_ids *ids, struct slice upstream, struct slice name);
/* The same; `host`, unless it is empty, is what it is called in place of its address: what TLS verifies. */
struct server *server_create_as(struct server_ids *ids, struct slice upstream, struct slice name,
                                struct slice host);

static inline struct server *server_hold(struct server *s)
{
    atomic_fetch_add_explicit(&s->references, 1, memory_order_relaxed);
    return s;
}
/* NULL is allowed. */
void server_release(struct server *s);

/* The weight with which it takes part now, in parts of SERVER_WEIGHT_SCALE: the file's or the hand's weight
 * times server_ramp. 0 when it is not usable. */
static inline uint32_t server_weight(const struct server *s)
{
    return atomic_load_explicit(&s->weight, memory_order_relaxed);
}
/* Which part of its full weight it gets, from SERVER_RAMP_LEAST to SERVER_WEIGHT_SCALE, which it is but for a
 * slow start. For policies that keep tables by full weight: they take the server with that probability. */
static inline uint32_t server_ramp(const struct server *s)
{
    return atomic_load_explicit(&s->ramp, memory_order_relaxed);
}
/* The same, were it usable and fully started: what tables are made with. Takes the lock. */
uint32_t server_full_weight(struct server *s);
static inline bool server_usable(const struct server *s)
{
    return server_weight(s) != 0;
}
/* Not usable, but better than no server at all: it is ejected, which is a guess, or its last check was good,
 * and only not yet `rise` of them. */
static inline bool server_is_spare(const struct server *s)
{
    return atomic_load_explicit(&s->spare, memory_order_relaxed);
}
/* Its check says so, or a human: what is open may be closed (on_down). */
static inline bool server_is_down(const struct server *s)
{
    return atomic_load_explicit(&s->health, memory_order_relaxed) == HEALTH_DOWN ||
           atomic_load_explicit(&s->admin, memory_order_relaxed) == ADMIN_DOWN;
}
static inline uint32_t server_in_flight(const struct server *s)
{
    return atomic_load_explicit(&s->in_flight, memory_order_relaxed);
}
static inline bool server_full(const struct server *s)
{
    uint32_t limit = atomic_load_explicit(&s->max_connections, memory_order_relaxed);
    return limit && server_in_flight(s) >= limit;
}

/* Counts one in, never above max_connections (false then); counts it out. */
bool server_begin(struct server *s);
void server_end(struct server *s);

/* The socket address of now. False when there is none yet. *version (may be NULL) is the number to compare
 * with address_version later. */
bool server_address(struct server *s, struct address *out, uint32_t *version);
/* What the name resolves to: the present one is kept while it is among them (the version changes only when it
 * is another one), else the first is taken. Or why there is none: the last answer stays. */
void server_set_addresses(struct server *s, const struct address *a, size_t count);
void server_set_address_failure(struct server *s, const char *reason);
/* A connection to the address of that version could not be made: the name's next one is used, if it has
 * several. */
void server_address_failed(struct server *s, uint32_t version);

/* What the file says. A weight set by hand lasts until the file's weight changes. */
void server_configure(struct server *s, uint32_t weight, uint32_t max_connections, bool backup);
/* By hand (API): weight, -1 = as in the file again; state. Lasts as long as the process knows the server. */
void server_set_weight(struct server *s, int64_t weight);
void server_set_admin(struct server *s, enum server_admin admin);
/* True when the health became another. */
bool server_set_health(struct server *s, enum server_health health, const char *reason, int64_t wall_us);
void server_set_check(struct server *s, bool ok, const char *text, usec_t took_us, int64_t wall_us);

/* Takes it out for `us` from now_us on, because of `why`, in words `reason`. The caller has made sure that it
 * may be (outlier.h). False when it is ejected already. Any thread. */
bool server_eject(struct server *s, usec_t now_us, usec_t us, enum ejection why, const char *reason);
/* Lets it back whatever is left of its time. True when it was ejected. */
bool server_readmit(struct server *s, usec_t now_us);
/* Ejections and slow starts go on by this; panic is looked at. True while there is something to wait for;
 * *readmitted (may be NULL) when an ejection is over. */
bool server_tick(struct server *s, usec_t now_us, bool *readmitted);
static inline bool server_ejected(const struct server *s)
{
    return atomic_load_explicit(&s->ejected, memory_order_relaxed);
}
/* Where it stands for its group: nobody wants it to have requests, it cannot take any, or it is ready. What
 * panic makes of it does not matter here. */
enum server_standing { STANDING_UNWANTED, STANDING_UNWELL, STANDING_READY };
enum server_standing server_standing(struct server *s);
/* It is one of the group from now on, for good: once, before any worker knows it. */
void server_join(struct server *s, struct server_group *g);

/* Everything for the API and the log, consistent. */
struct server_report {
    enum server_health health;
    enum server_admin admin;
    bool usable, backup, retired, ejected;
    bool checked; /* a check has run: check_* are set */
    bool check_ok;
    uint32_t weight;      /* that would count if it were usable, as in the file: not scaled */
    uint32_t ramp;        /* its share of it, of SERVER_WEIGHT_SCALE: less in a slow start */
    uint32_t file_weight; /* differs from weight when it was set by hand */
    uint32_t max_connections, in_flight;
    uint64_t connect_failures;
    uint64_t ejections[EJECTIONS];
    const char *state;              /* "up", "down", "drain", "ejected", as people say it */
    char reason[SERVER_REASON_MAX]; /* why it is down, draining or ejected; "" when up */
    int64_t changed_us, check_us;
    usec_t check_took_us;
    char check_text[SERVER_REASON_MAX];
    struct address address; /* len 0 = none */
};
void server_report(struct server *s, struct server_report *out);
