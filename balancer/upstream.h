/* An upstream as one snapshot has it: its settings, TLS, and the servers of now - a server set
 * (server_set.h), replaced as a whole when servers come or go. Belongs to the snapshot; workers use it while
 * they hold that. Servers outlive it (server.h).
 *
 * Life: upstream_create (no live state is touched: `weir check`, `diff` and a reload that fails build and
 * throw away), upstream_activate when the snapshot is swapped in, upstream_deactivate when another has taken
 * its place - after that one is activated -, upstream_free with the snapshot. The first three on the control
 * thread; the last on any thread once it is deactivated.
 *
 * A worker enters before it picks and leaves when nothing of what it picked is looked at any more:
 *
 *     struct server_set *set = upstream_enter(u, worker);
 *     struct server *s = upstream_pick(u, set, worker, &pick, &why);
 *     upstream_done(u, set, worker, s, &outcome);     … and again, for each attempt
 *     upstream_leave(u, set, worker);                 before it lets go of the snapshot
 *
 * The control thread looks at u->set. */
#pragma once

#include "balancer/breaker.h"
#include "balancer/budget.h"
#include "balancer/hedge.h"
#include "balancer/outcome.h"
#include "balancer/policy.h"
#include "balancer/queue.h"
#include "balancer/registry.h"
#include "balancer/server_set.h"
#include "balancer/settings.h"
#include "core/hash.h"

#define UPSTREAM_MAGIC 0x55505354u

/* What one worker knows of the servers. */
struct upstream_worker {
    struct server_set *set;            /* held; the worker's own */
    _Atomic(struct server_set *) next; /* on its way, held for the worker; NULL = none */
    struct letter letter;              /* that brings it */
    unsigned index;
    struct hedge hedge;
} __attribute__((aligned(64)));

struct affinity_rule;

struct upstream {
    uint32_t magic;
    struct slice name;
    const struct upstream_settings *settings;
    const struct policy *policy;
    struct policy_options policy_options;
    const struct affinity_rule *affinity; /* the proxy's: what a request says of its server; NULL = nothing */
    struct tls_client *tls;               /* NULL = plain */
    struct tls_client *check_tls;         /* for tls checks of a plain upstream */
    uint64_t transport; /* fingerprint of how connections are made: an idle one is used again only under the
                           same */
    struct server_registry *registry; /* NULL in a dry run */
    bool active;
    struct group_use group; /* while it is active */
    struct queue *queue;    /* the group's, if the settings want one; NULL until it is active */
    unsigned workers;
    struct upstream_worker *locals; /* by worker */
    struct retry_budget *budgets;   /* by worker */
    struct breaker *breaker;        /* NULL = none */
    /* The control thread's. */
    struct server_set *set;           /* the newest */
    struct list sets;                 /* all that are not freed yet */
    unsigned turn;                    /* sets made so far */
    struct upstream_member **members; /* how this upstream uses each of its servers, in order */
    size_t member_count;
    struct table *by_name;   /* of members */
    struct source_use *uses; /* of the file's entries, and of what is done by hand; NULL = not active */
    unsigned looks;
    struct timer gather; /* a source has another answer */
};

/* Faults (TLS files and the like) are recorded in c; NULL then, or when out of memory. `settings` and `name`
 * must live as long. `registry` may be NULL: a dry run, which is never activated. */
struct upstream *upstream_create(struct config *c, const struct config_node *node, struct slice name,
                                 const struct upstream_settings *settings, struct server_registry *registry,
                                 unsigned workers);
/* From now on its servers are resolved and checked. 0, or -1 when out of memory (nothing is changed then). */
int upstream_activate(struct upstream *u);
/* Takes what the sources have said since, while no worker has seen the upstream yet. 0, or -1 as above. */
int upstream_settle(struct upstream *u);
void upstream_deactivate(struct upstream *u);
/* Deactivates if need be. NULL is allowed. */
void upstream_free(struct upstream *u);

/* The servers of now, for the worker; upstream_leave is owed. No other thread writes what these write. */
static inline struct server_set *upstream_enter(struct upstream *u, unsigned worker)
{
    struct server_set *set = u->locals[worker].set;
    server_set_hold(set, worker);
    return set;
}
static inline void upstream_leave(struct upstream *u, struct server_set *set, unsigned worker)
{
    (void)u;
    server_set_release(set, worker);
}

/* Chooses a server and counts the request in; upstream_done counts it out. The server is not held: the set
 * does. NULL with the reason in *why (may be NULL). */
struct server *upstream_pick(struct upstream *u, struct server_set *set, unsigned worker,
                             const struct pick *p, enum pick_failure *why);
/* Counts one in on a server that was chosen otherwise (a pinned session). False when it is full. */
static inline bool upstream_begin(struct upstream *u, struct server *s)
{
    (void)u;
    return server_begin(s);
}
/* `o` says how it went; NULL when there is nothing to learn from it. */
void upstream_done(struct upstream *u, struct server_set *set, unsigned worker, struct server *s,
                   const struct outcome *o);

/* Waits for a place, after PICK_ALL_BUSY (queue.h). False: there is no queue, or it is full. On the worker's
 * thread; `w` has turn and late set. */
bool upstream_wait(struct upstream *u, unsigned worker, struct loop *l, struct queue_waiter *w);
/* Whether upstream_wait would let one more in, as it seems now. */
static inline bool upstream_may_wait(const struct upstream *u)
{
    return u->queue && queue_waiting(u->queue) < u->settings->queue->size;
}
/* Others wait already: who comes now joins them, ahead of any pick. */
static inline bool upstream_has_waiting(const struct upstream *u)
{
    return u->queue && queue_waiting(u->queue);
}

/* Hands the set to every worker; it is theirs from their next upstream_enter after the letter. Takes the set
 * over. Control thread. */
void upstream_replace(struct upstream *u, struct server_set *set);

/* A weight was set by hand: what the policy has made of the weights is made anew, if it has made anything. 0,
 * or -1 when out of memory: then a greater weight does not count yet. Control thread. */
int upstream_reweigh(struct upstream *u);

/* What a pick would say now (server_set_state). Control thread, as upstream_server. */
enum pick_failure upstream_state(const struct upstream *u);
/* "no server is up", … for error pages' logs. */
const char *pick_failure_text(enum pick_failure why);

/* The server as the file calls it, or NULL. */
struct server *upstream_server(const struct upstream *u, struct slice name);

/* Where servers come from (discovery.h). Control thread. */

struct found;
struct source;

/* Looks at once at what the sources say now. Does nothing unless the upstream is active. */
void upstream_refresh(struct upstream *u);
/* By hand, until weir stops or the other is done, reloads or not. `added` is taken over. 0, or -1 when out of
 * memory, not active, or (remove) when there is no such server. */
int upstream_add_server(struct upstream *u, struct found *added);
int upstream_remove_server(struct upstream *u, struct slice server);

/* Where a server comes from: "file", "dns api.internal:8000", "hand". */
const char *upstream_source(const struct upstream *u, struct slice server);
/* The source of an entry of settings->servers; NULL when it has none, or is not active. And what was done by
 * hand; NULL = nothing. */
const struct source *upstream_entry_source(const struct upstream *u, size_t entry);
const struct source *upstream_hand(const struct upstream *u);
