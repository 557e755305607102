/* The servers of an upstream at one moment, in tiers, with what the policy knows of them. A set never
 * changes: when servers come or go the control thread builds the next one and hands it to the workers
 * (upstream_replace); its servers live as long as it does.
 *
 * Who holds a set: each worker for as long as it is that worker's current one, and every request, stream or
 * session from upstream_enter to upstream_leave. So a server that was picked stays readable until then,
 * wherever it has gone meanwhile. The counts are a worker's own, a cache line each, as a snapshot's are; when
 * the last worker has let go, the control thread frees the set.
 *
 * Tiers are asked in order. A later one is asked only when no server of those before it can be used: all are
 * down or drained, or this request has tried them. Servers that are merely full keep the request
 * (PICK_ALL_BUSY): it may wait for them; but for those of a tier that spills, which let it go to the next
 * tier (the next zone), and hold it only before the one after that.
 *
 * A sticky session's server comes before every tier, drained or not, as long as it is well. */
#pragma once

#include "balancer/policy.h"
#include "core/list.h"
#include "core/loop.h"

#define SERVER_SET_MAGIC 0x53534554u
#define SERVER_SET_TIERS 255u

enum pick_failure {
    PICK_OK,
    PICK_NONE_UP,      /* no server is usable */
    PICK_ALL_BUSY,     /* the usable ones are at max_connections */
    PICK_BREAKER_OPEN, /* the upstream's breaker lets nothing through */
    PICK_ALL_TRIED,    /* the usable ones have been tried */
};

struct sticky_tokens;

struct server_set_hold {
    uint64_t count;
    struct letter letter; /* to the control thread: this worker has let go */
    struct server_set *set;
} __attribute__((aligned(64)));

struct server_set {
    uint32_t magic;
    struct list link;        /* the upstream's; control thread */
    struct server **servers; /* held; tier by tier, within one in the file's order */
    size_t count;
    struct tier *tiers; /* at least one; any may be empty */
    size_t tier_count;
    const struct policy *policy;
    struct sticky_tokens *sticky; /* owned; NULL = no sticky sessions, which whoever made the set sets */
    unsigned workers;
    void **states;                 /* of worker w and tier t: [w * tier_count + t] */
    uint8_t *tier_of;              /* by server id */
    uint32_t ids;                  /* how many are in tier_of */
    struct server_set_hold *holds; /* by worker */
    unsigned holding;              /* workers that have not let go; control thread */
    struct loop *control;          /* NULL: workers are the control thread itself (tests, dry runs) */
};

/* `servers` tier by tier, sizes[i] of them in tier i; each is held once more. `turn` says where the policies
 * begin: another one for each set of an upstream, so that frequent changes do not favour the first servers.
 * `options` must live as long; NULL = the defaults.
 * Every worker holds it once. NULL when out of memory. */
struct server_set *server_set_create(const struct policy *policy, const struct policy_options *options,
                                     unsigned workers, unsigned turn, struct loop *control,
                                     struct server *const *servers, const size_t *sizes, size_t tier_count);
/* When no worker can use it any more. NULL is allowed. */
void server_set_free(struct server_set *set);

/* On the worker's thread. The last one posts to the control thread, which frees the set. */
static inline void server_set_hold(struct server_set *set, unsigned worker)
{
    set->holds[worker].count++;
}
void server_set_release(struct server_set *set, unsigned worker);
/* On the control thread, for a worker that has never seen the set: its hold is given back. */
void server_set_forgo(struct server_set *set, unsigned worker);

/* Chooses a server and counts the request in; NULL with the reason in *why. */
struct server *server_set_pick(struct server_set *set, unsigned worker, const struct pick *p,
                               enum pick_failure *why);
/* Tells the policy how an attempt ended that server_set_pick began. `o` may be NULL. */
void server_set_learn(struct server_set *set, unsigned worker, struct server *s, const struct outcome *o);

/* Which tier a server of the set is in. */
size_t server_set_tier(const struct server_set *set, const struct server *s);

/* What a pick would say now, without choosing: PICK_OK, PICK_NONE_UP or PICK_ALL_BUSY. */
enum pick_failure server_set_state(const struct server_set *set);
/* The server of that name, or NULL. */
struct server *server_set_find(const struct server_set *set, struct slice name);
