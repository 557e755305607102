/* The cache as the exchange sees it.
 *
 *     key.c          what a request is looked up by (pure)
 *     facts.c        a head as the rules ask about it
 *     step.c         the request's step: look up, and decide
 *     ask.c          asking the origin for a client: leading a fetch, or following another's
 *     serve.c        answering from a stored response
 *     serve_plan.c   what of it: conditions and ranges
 *     fetch.c        asking the origin for the cache: an exchange of weir's own, without a client
 *                    (fetch_internal.h has the map)
 *     stored_head.c  heads as they are stored; what a 304 changes in them
 *     status.c       Cache-Status and Age
 *     second_tier.c  asking Redis before the origin, and keeping there what came
 *     portable.c     a stored response as bytes, for that
 *     invalidate.c   what unsafe methods and HEAD tell about what is stored
 *
 * The fetch is an exchange like every other one - routed, retried, timed out as any - whose downstream_ops
 * append to an object instead of writing to a client. So a client that leads a fetch reads it as those do
 * that follow, a client that leaves ends nobody's answer, and what nobody waits for (stale-while-revalidate)
 * needs no case of its own. An answer that may not be stored is relayed to the client that led. */
#pragma once

#include "core/slice.h"

struct exchange;
struct http_response;
struct worker;

/* How the cache took part in an answer; for logs and metrics. */
enum cache_result {
    CACHE_RESULT_NONE, /* the route has no cache */
    CACHE_RESULT_HIT,
    CACHE_RESULT_STALE, /* served stale: while it is fetched anew, or because the origin fails */
    CACHE_RESULT_REVALIDATED,
    CACHE_RESULT_MISS,
    CACHE_RESULT_BYPASS,
    CACHE_RESULTS,
};

/* "hit", …; empty for NONE. */
struct slice cache_result_name(enum cache_result r);

/* The request's step, of a route that has a cache: true when the cache answers, or will; false when the
 * route's action is to answer. `matched`: the path before it was rewritten. May end the exchange. */
bool cache_step(struct exchange *x, struct slice matched);

/* Something is about to be answered: what the answer says of the cache, and what it tells the cache. 0, or -1
 * when out of memory. */
int cache_respond(struct exchange *x, struct http_response *r);

/* The answer is a server's, as it comes: the fetch that this client led is not stored. */
bool cache_relays(const struct exchange *x);

/* The exchange ends: lets go of everything. */
void cache_end(struct exchange *x);

/* At the worker's end: no fetch outlives it. */
void cache_abort_fetches(struct worker *w);
