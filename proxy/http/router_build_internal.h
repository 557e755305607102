/* What the files that build a router share: router_build.c (the entries in order, methods, hosts),
 * router_records.c (records, indexes and candidates), router_prefixes.c (the tree of prefixes of a host),
 * router_special.c (its exact paths and regexes). Entries come to all of them sorted: what belongs together
 * stands together. */
#pragma once

#include "proxy/http/router_internal.h"

/* A route under one of its hosts. */
struct router_entry {
    const struct route *route;
    const struct route_host *host;
};

struct router_building {
    struct config *c;
    struct router *r;
    struct regex_scratch regex;
    const struct route **group; /* room for all routes of one host and path */
};

static inline struct slice router_path(const struct router_entry *e)
{
    return e->route->path.text;
}

/* Routes with the same path as the first. */
size_t router_same_paths(const struct router_entry *at, size_t count);
/* The methods of a route as bits. */
uint64_t router_methods_of(struct router *r, const struct route *route);

/* router_records.c */

/* A new record, cleared. */
void *router_allocate(struct router_building *b, size_t size, router_ref *ref);
/* Entries with one host and path, as look-ups walk them; looks for conflicts among them. */
void router_build_candidates(struct router_building *b, const struct router_entry *entries, size_t count,
                             struct candidates *out);
/* Room for `count` records. */
struct router_index *router_index_create(struct router_building *b, size_t count, router_ref *ref);
void router_index_add(struct router_index *index, uint64_t hash, router_ref ref);

/* router_prefixes.c */

/* The root of a host's tree, and all below it: `count` entries that are prefixes, perhaps none. */
void router_build_prefixes(struct router_building *b, const struct router_entry *entries, size_t count);

/* router_special.c */

void router_build_exact(struct router_building *b, const struct router_entry *entries, size_t count,
                        struct router_special *host);
void router_build_regexes(struct router_building *b, const struct router_entry *entries, size_t count,
                          struct router_special *host);
