/* Why a request meets the route that it meets: every route looked at, one by one, with the reason why it
 * lost. Gives the same route as router_find() (fuzzed), by a walk over all routes: for people, not for
 * traffic. */
#pragma once

#include "proxy/http/plain_request.h"
#include "proxy/http/router.h"

enum explain_reason {
    EXPLAIN_WON,
    EXPLAIN_LISTENER,
    EXPLAIN_HOST,
    EXPLAIN_PATH,
    EXPLAIN_METHOD,
    EXPLAIN_CONDITION,
    EXPLAIN_LESS_SPECIFIC, /* it matches, but another one wins */
};

struct explain_step {
    const struct route *route;
    enum explain_reason reason;
    struct slice text; /* one line: `path /v2/x is not below /v1`; of the winner, what made it match */
};

enum explain_action {
    EXPLAIN_ROUTED,    /* the route's action answers: see route */
    EXPLAIN_BAD_PATH,  /* 400 */
    EXPLAIN_NO_ROUTE,  /* 404 */
    EXPLAIN_NO_METHOD, /* 405 */
    EXPLAIN_DENIED,    /* 403 */
    EXPLAIN_REFUSED,   /* before any route is asked, or in spite of one: see status and reason */
    EXPLAIN_ANSWERED,  /* weir is the last recipient (Max-Forwards: 0): TRACE, OPTIONS */
};

struct explanation {
    struct explain_step *steps; /* in the order of the file */
    size_t step_count;
    const struct route *route; /* NULL = none */
    struct route_match match;
    enum explain_action action;
    unsigned status;    /* that weir answers by itself (also of redirect and respond); 0 where the server or a
                           file decides */
    struct slice allow; /* of a 405 */
    struct slice location; /* of a redirect */
    struct slice path;     /* that is sent on, after rewrite; as received where normalize is false */
    const char *reason;    /* of EXPLAIN_REFUSED, static text */
    int rewrite_fault;     /* an enum target_fault: then status is 400 */
};

/* Everything goes to the arena. 0, or -1 when out of memory. */
int router_explain(const struct router *r, const struct route *routes, size_t count,
                   const struct plain_request *p, struct router_scratch *scratch, struct arena *arena,
                   struct explanation *out);

/* The same decision by router_find, without the steps: what `tests:` use. */
int router_decide(const struct router *r, const struct plain_request *p, struct router_scratch *scratch,
                  struct arena *arena, struct explanation *out);
