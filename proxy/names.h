/* Upstreams by the name that a TLS client asks for, without decrypting: a listener's `sni` and `passthrough`.
 * Immutable; belongs to the snapshot. */
#pragma once

#include "config/option.h"

struct upstream;
struct server_names;

/* Of a map from names to upstreams: a.example, *.b.example (any labels ahead), and, where `with_default`,
 * `default`. find(argument, name, at) gives the upstream, or NULL: in `weir check`, and after the fault that
 * it has recorded. NULL when out of memory. Freed by server_names_free. */
struct server_names *
server_names_create(struct config *c, const struct option_pairs *pairs, bool with_default,
                    struct upstream *(*find)(void *argument, struct slice name, const struct config_node *at),
                    void *argument);
void server_names_free(struct server_names *n);

/* Whom that name (in lower case; empty = none was asked for) goes to: exact, then the longest wildcard, then
 * `default`. NULL = nobody. */
struct upstream *server_names_find(const struct server_names *n, struct slice name);
