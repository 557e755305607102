/* What `weir explain` says of the server that a request would get, in the running process. Nothing that
 * serves is touched: the policy is asked with a state of its own. */
#pragma once

#include "admin/explain_text.h"

/* "would pick 10.0.0.2:8000 (least_connections: 3 in flight of weight 2)"; no line's end. Nothing, and false,
 * when the upstream does not serve: of a file. *server is its name; at is NULL where there is none, or where
 * it is each worker's own to say. Control thread. */
bool explain_pick(const struct explained *e, const struct upstream *u, struct slice *server, FILE *out);
