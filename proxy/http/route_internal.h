/* What the files that compile routes share: route.c (a route as a whole), route_match.c (what it matches),
 * route_action.c (what it does then). */
#pragma once

#include "core/hash.h"
#include "proxy/http/route.h"

struct route_compilation {
    struct config *c;
    const struct route_names *names;
    struct table *upstreams; /* by name */
};

/* Cleared, in the configuration's arena; NULL, which is noted, when out of memory. */
void *route_allocate(struct config *c, size_t size);

/* The key's value when the file gave one. */
const struct config_node *route_value(const struct route_settings *s, const char *key);

/* route_match.c: fills listeners, hosts, path and methods. 0, or -1 when one of them is faulty: then it is
 * not known what the route would match. */
int route_compile_match(const struct route_compilation *k, const struct route_settings *s, struct route *r);

/* route_action.c: fills the action, and what that one takes. */
void route_compile_action(const struct route_compilation *k, const struct route_settings *s, struct route *r);
