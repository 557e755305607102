/* `tests:` of the file: requests with what the file's author expects of them, run when the file is checked,
 * without sending anything.
 *
 *     - request: GET https://api.example.com/v1/users
 *       headers: { x-canary: "1" }
 *       client: 10.1.2.3                     # default 127.0.0.1
 *       listener: web-tls                    # default: by scheme and port
 *       expect: { route: api, upstream: api, status: 308, location: "https://…", path: /users,
 *                 request_headers: { x-user: null, host: api.internal }, response_headers: { x-a: b },
 *                 cache_key: "http://api.example.com/users" }
 *
 * `route: null` expects that no route is met. `upstream` is one that the route sends to (of a split, any
 * whose weight is not 0). `path` is the one that is sent on. `status` is compared where weir answers by
 * itself (redirect, respond, 400, 403, 404, 405); what a server or a file will answer is not known here, so
 * there 2xx passes, and another status, which weir was to give, is a fault. `request_headers` are those that
 * a server would get, `response_headers` those that weir puts into the answer; null = it must not be there.
 * `cache_key` is the key's last line, or all of it. */
#pragma once

#include "proxy/http/explain.h"

extern const struct option_table check_table; /* of an entry of `tests:`, for the schema and the reference */

struct checks {
    const struct router *router;
    const struct plain_listener *listeners;
    size_t listener_count;
    const struct route
        *routes; /* for saying why the one that was expected is not met; NULL = it is not said */
    size_t route_count;
};

/* Runs the list `tests` (may be NULL); what fails is a fault at the expectation's node, with what came
 * instead. Number of those that failed or were wrong. *passed counts the rest (may be NULL). */
size_t checks_run(struct config *c, const struct config_node *tests, const struct checks *with,
                  size_t *passed);
