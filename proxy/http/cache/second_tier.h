/* Between the fetches and the second tier (cache/redis.h): a fetch asks there before it asks the origin, and
 * what it brought is kept there too. */
#pragma once

#include "cache/redis.h"
#include "proxy/http/cache/key.h"
#include "proxy/http/cache/portable.h"

struct exchange;
struct second_tier_ask;

/* `p` is good during the call; NULL: ask the origin. `is_fresh`: it answers the request as it is; else it
 * does once the origin has said that it is still good. */
typedef void second_tier_done(struct second_tier_ask *a, const struct portable *p, bool is_fresh);

/* One question; embedded in the fetch, begins cleared. */
struct second_tier_ask {
    struct cache_redis_call call;
    struct exchange *x; /* the fetch's: for its request and its arena */
    struct slice key;
    const struct cache_request_directives *said; /* by the client that leads */
    bool is_variant;                             /* the second step */
    second_tier_done *done;
};

/* True: `done` comes, never from inside. False: there is nobody to ask, or no use in it. `key` and `said`
 * stay as long. */
bool second_tier_ask(struct second_tier_ask *a, struct exchange *x, struct slice key,
                     const struct cache_request_directives *said, second_tier_done *done);
void second_tier_cancel(struct second_tier_ask *a);

/* What the fleet's purges are now: taken before the origin is asked. */
struct cache_redis_stamp second_tier_stamp(const struct exchange *x);
/* Keeps a whole object that is fresh, in the background: while it is, and as long as it may be of use stale.
 */
void second_tier_keep(struct exchange *x, struct slice key, const struct cache_object *o,
                      const struct slice *tags, size_t tag_count, struct cache_redis_stamp stamp);
/* A URL's stored responses are invalid, for the fleet. */
void second_tier_purge(const struct exchange *x, struct slice url);
