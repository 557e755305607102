/* An upstream as one snapshot has it: an immutable list of servers, the policy among them, and TLS. Belongs
 * to the snapshot; workers use it while they hold that. Servers outlive it (server.h).
 *
 * Life: upstream_create (no live state is touched: `weir check`, `diff` and a reload that fails build and
 * throw away), upstream_activate when the snapshot is swapped in, upstream_deactivate when another has taken
 * its place - after that one is activated -, upstream_free with the snapshot. The first three on the control
 * thread; the last on any thread once it is deactivated.
 *
 * Backup servers are asked only when no primary can be: all are down or drained, or this request has tried
 * them. Primaries that are merely full keep the request (PICK_ALL_BUSY): it may wait for them. */
#pragma once

#include "balancer/budget.h"
#include "balancer/outcome.h"
#include "balancer/policy.h"
#include "balancer/registry.h"
#include "balancer/settings.h"

#define UPSTREAM_MAGIC 0x55505354u

enum pick_failure {
    PICK_OK,
    PICK_NONE_UP,   /* no server is usable */
    PICK_ALL_BUSY,  /* the usable ones are at max_connections */
    PICK_ALL_TRIED, /* the usable ones have been tried */
};

struct upstream {
    uint32_t magic;
    struct slice name;
    const struct upstream_settings *settings;
    const struct policy *policy;
    struct tls_client *tls;       /* NULL = plain */
    struct tls_client *check_tls; /* for tls checks of a plain upstream */
    uint64_t transport; /* fingerprint of how connections are made: an idle one is used again only under the
                           same */
    struct server_registry *registry; /* NULL in a dry run */
    bool active;
    unsigned workers;
    struct server **servers; /* primaries in the file's order, then backups */
    size_t count, primary_count;
    struct server_use *uses; /* of servers[i] */
    struct tier primary, backup;
    struct retry_budget *budgets; /* by worker */
    void **states;                /* for worker w: [2 * w] the primaries', [2 * w + 1] the backups' */
};

/* Faults (TLS files and the like) are recorded in c; NULL then, or when out of memory. `settings` and `name`
 * must live as long. `registry` may be NULL: a dry run, which is never activated. */
struct upstream *upstream_create(struct config *c, const struct config_node *node, struct slice name,
                                 const struct upstream_settings *settings, struct server_registry *registry,
                                 unsigned workers);
/* From now on its servers are resolved and checked. 0, or -1 when out of memory (nothing is changed then). */
int upstream_activate(struct upstream *u);
void upstream_deactivate(struct upstream *u);
/* Deactivates if need be. NULL is allowed. */
void upstream_free(struct upstream *u);

/* Chooses a server and counts the request in; upstream_done counts it out. The server is not held: the
 * snapshot does. NULL with the reason in *why (may be NULL). */
struct server *upstream_pick(struct upstream *u, unsigned worker, const struct pick *p,
                             enum pick_failure *why);
/* Counts one in on a server that was chosen otherwise (a pinned session). False when it is full. */
static inline bool upstream_begin(struct upstream *u, struct server *s)
{
    (void)u;
    return server_begin(s);
}
/* `o` says how it went; NULL when there is nothing to learn from it. */
void upstream_done(struct upstream *u, unsigned worker, struct server *s, const struct outcome *o);

/* What a pick would say now, without choosing: PICK_OK, PICK_NONE_UP or PICK_ALL_BUSY. */
enum pick_failure upstream_state(const struct upstream *u);
/* "no server is up", … for error pages' logs. */
const char *pick_failure_text(enum pick_failure why);

/* The server as the file calls it, or NULL. */
struct server *upstream_server(const struct upstream *u, struct slice name);
