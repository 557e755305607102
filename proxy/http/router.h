/* Which route a request meets: a pure function of the routes, the listener and the head.
 *
 * A route matches when its listener, host, path, methods and all its conditions do. Of those that match, the
 * most specific wins, whatever the order in the file; compared in this order:
 *
 *   1. host: exact, then the longer wildcard, then any. `*.example.com` holds names of any depth below, not
 *      example.com itself.
 *   2. path: exact, then regexes in the order of the file (whatever their conditions), then the longer
 *      prefix. A prefix holds by whole segments, and its trailing slash makes no difference: `/v1` and `/v1/`
 *      hold /v1, /v1/ and /v1/x, not /v1x. No path is the prefix `/`, which holds everything, `OPTIONS *`
 * too.
 *   3. the number of header, query and cookie conditions, `methods` counting as one more.
 *
 * So a route of a less specific host is met when none of the more specific host's routes matches: a request
 * is never lost to a route that does not want it.
 *
 * Two routes are equally specific when on one listener they have a host, the path (of a regex, its text) and
 * the number of conditions in common. That is an error at the later one unless no request can meet both:
 * their methods have none in common (GET stands for HEAD too), or their conditions exclude each other
 * (conditions_exclude).
 *
 * Cost: one probe of a hash table for the host (one more for each length in labels that wildcards have), then
 * within that host one for an exact path, one match per regex, and one step per segment of the longest
 * prefix. The number of routes does not matter but for those with the same host and the same path, and for
 * regexes of one host. */
#pragma once

#include "proxy/http/message.h"
#include "proxy/http/route.h"

struct router;

/* What a look-up needs; one per thread. Zeroed is ready; freed with router_scratch_free. */
struct router_scratch {
    struct regex_scratch regex;
};

void router_scratch_free(struct router_scratch *scratch);

struct route_match {
    size_t prefix_len; /* bytes of the path that the route's path took: for rewrite. 0 for a regex */
    uint64_t allow;    /* no route: methods of those that match but for the method; 0 = 404, else 405. See
                          router_allow */
};

/* Conflicts are recorded in c. NULL only when out of memory. The routes must live as long and not move. */
struct router *router_build(struct config *c, const struct route *routes, size_t count);
/* NULL is allowed. */
void router_free(struct router *r);

/* `host` and `path` as host_normalise and target_normalise give them. NULL when no route matches. `out` is
 * always filled. */
const struct route *router_find(const struct router *r, unsigned listener_slot,
                                const struct http_request *request, struct slice host, struct slice path,
                                struct router_scratch *scratch, struct route_match *out);

/* The value of Allow for out->allow: "GET, HEAD, POST"; in the arena. {NULL, 0} when out of memory. */
struct slice router_allow(const struct router *r, uint64_t allow, struct arena *arena);

/* What the matchers of explain share with the router. Bytes that the route's path takes of `path`; -1 when it
 * does not hold. */
ssize_t route_path_match(const struct route_path *p, struct slice path, struct regex_scratch *scratch);
/* The most specific of the route's hosts that holds; NULL when none. */
const struct route_host *route_host_match(const struct route *r, struct slice host);
bool route_method_match(const struct route *r, const struct http_request *request);
