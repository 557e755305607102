/* Lines of the log about servers that fail: in an outage there would be one for every request. Each worker
 * tells the first at once, then one a second at most of each event and server, with how many were left out
 * (core/log_limit.h). */
#pragma once

#include "balancer/server.h"
#include "core/slice.h"

struct worker;

/* `event` is static text; `reason` any. On the worker's thread. */
void failure_log(struct worker *w, const char *event, const struct server *s, const char *reason);
/* No server could be had of an upstream, for a connection to that listener. */
void failure_log_no_server(struct worker *w, const char *event, struct slice listener, struct slice upstream,
                           const char *reason);
