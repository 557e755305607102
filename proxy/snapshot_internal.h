/* What the files of a snapshot share: snapshot.c (its building as a whole, upstreams, routes, its holds) and
 * snapshot_listeners.c. */
#pragma once

#include "proxy/snapshot.h"

/* After the upstreams. 0, or -1 when out of memory; faults are told. */
int snapshot_build_listeners(struct snapshot *s, const struct snapshot_context *context);
void snapshot_free_listener(struct listener_config *l);
