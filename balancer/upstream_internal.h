/* What the files of an upstream share; nobody else includes it.
 *
 *     upstream.c          its life, its server sets, picking
 *     upstream_members.c  which servers it has: the file's, those that sources give, those added by hand */
#pragma once

#include "balancer/discovery.h"
#include "balancer/upstream.h"

/* A server as this upstream uses it. */
struct upstream_member {
    struct server *server; /* held */
    struct server_settings settings;
    struct server_use use;
    struct source *source; /* that gave it; NULL = the file itself */
    struct found *found;   /* held: settings point into it; NULL = into the configuration */
    unsigned seen;         /* the look at which it was wanted last */
};

/* Makes u->members what the file and the sources say; with an active upstream the registry is told. Whether
 * anything is different now, in *changed. 0, or -1 when out of memory: some servers are left out. */
int upstream_collect(struct upstream *u, bool *changed);
/* Lets go of all members; the upstream is not active. */
void upstream_drop_members(struct upstream *u);

/* Uses the sources of the file's entries, and what was done by hand. 0, or -1 when out of memory. */
int upstream_use_sources(struct upstream *u);
void upstream_leave_sources(struct upstream *u);

/* Of the members as they are. NULL when out of memory. */
struct server_set *upstream_make_set(struct upstream *u);
