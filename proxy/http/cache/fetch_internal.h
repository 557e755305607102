/* What the files of the fetch share among themselves; nobody else includes it.
 *
 *     fetch.c          its life, and what its exchange asks of it
 *     fetch_request.c  the request as it is asked for the cache
 *     fetch_answer.c   what becomes of the answer: stored, relayed, the stored one made fresh
 *     fetch_tier.c     asking the second tier before the origin */
#pragma once

#include "proxy/http/cache/internal.h"
#include "proxy/http/cache/second_tier.h"

/* One fetch; in the arena of its own exchange, which it is the downstream of. */
struct cache_fetch {
    uint32_t magic;
    struct list link;            /* the worker's fetches */
    struct exchange *x;          /* its own */
    struct exchange_cache *from; /* the client that leads; NULL = nobody waits, or it has left */
    struct cache_fill *fill;     /* led; NULL once it was ended */
    struct cache_body *body;     /* appended to; held; NULL = nothing is stored */
    const struct route_cache *rules;
    struct cache_names names; /* own copies */
    struct cache_key key;
    int64_t asked_at;
    bool relays;                   /* what comes goes to the client, and is not stored */
    bool streams;                  /* it goes to those who read it, and is not stored */
    bool is_announced, admitted;   /* the body's length; and it may stay, though nobody else asks for it */
    bool is_over;                  /* what still comes is for nobody: the task ends it */
    const struct conn *connection; /* the client's, while the request is made; else NULL */
    struct second_tier_ask ask;
    struct cache_request_directives said; /* by the client that leads */
    struct cache_redis_stamp stamp;       /* of before the origin was asked */
    struct cache_waiter ahead;
    struct task task;
};

/* fetch.c */

void fetch_end_fill(struct cache_fetch *f);
void fetch_end(struct cache_fetch *f);
/* From inside of a call that the exchange makes: it ends after it. */
void fetch_end_later(struct cache_fetch *f);
/* `from`: whose connection the request's templates may tell of; NULL = it has left. May end the fetch. */
void fetch_ask_origin(struct cache_fetch *f, struct exchange_cache *from);
/* What the client's log tells of the origin. */
void fetch_tell_client(struct cache_fetch *f);
/* The leader looks at what was said, if it is still there. */
void fetch_wake_client(struct cache_fetch *f);

/* fetch_request.c. 0, or -1 when out of memory. */

int fetch_copy_names(struct cache_fetch *f, const struct cache_names *from);
int fetch_copy_request(struct cache_fetch *f, const struct exchange *from);
/* Of the fill's base (RFC 9111 §4.3.1). */
int fetch_add_validators(struct cache_fetch *f);

/* fetch_answer.c */

/* A head has come, and what of the body came with it; `end`: all of it. */
void fetch_answered(struct cache_fetch *f, struct http_response *r, const struct iovec *body, int count,
                    bool end);
/* More of a body that is stored. */
void fetch_append(struct cache_fetch *f, const struct iovec *body, int count);
/* That body is whole: is it kept? */
void fetch_conclude(struct cache_fetch *f);
/* The origin failed: true when the stored response is used instead (RFC 5861 §4). */
bool fetch_leaves_to_stale(struct cache_fetch *f, bool answered);
/* NULL when out of memory. */
struct cache_object *fetch_object(struct cache_fetch *f, const struct http_response *r,
                                  struct cache_body *body, uint64_t length,
                                  const struct cache_freshness *freshness);
/* Those who wait are woken; takes over the hold. */
void fetch_publish(struct cache_fetch *f, struct cache_object *o);

/* fetch_tier.c: whether it is asked. What comes of it may end the fetch. */
bool fetch_asks_second_tier(struct cache_fetch *f);
