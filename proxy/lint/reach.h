/* Whether any request reaches a route: requests that it matches are made up and asked of the router; where
 * another route takes one, it is changed so that this other route does not match any more, and asked again.
 */
#pragma once

#include "proxy/lint/probe.h"

enum reach {
    REACH_YES,
    REACH_BARE,    /* a prefix of which regexes take everything but the prefix itself */
    REACH_NO,      /* no request can */
    REACH_DOUBT,   /* none of those that were made up does */
    REACH_UNKNOWN, /* none could be made up */
};

struct reach_result {
    enum reach reach;
    struct probe probe;        /* reached it; or the first that did not (NO, DOUBT, BARE) */
    const struct route *taker; /* who got that one */
    bool query;                /* UNKNOWN: its pattern asks for a "?", or the like */
};

void reach_route(struct lint *l, const struct route *r, struct reach_result *out);

/* Whether a pattern matches every path. */
bool reach_is_universal(const struct route_path *p);

/* redirects.c: of a route with a redirect, and a request that reaches it. */
void lint_redirect(struct lint *l, const struct route *r, const struct probe *reached);
