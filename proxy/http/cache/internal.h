/* What the files of the cache's responder share among themselves; nobody else includes it. cache.h has the
 * map. */
#pragma once

#include "cache/store.h"
#include "proxy/http/cache/cache.h"
#include "proxy/http/cache/facts.h"
#include "proxy/http/cache/key.h"
#include "proxy/http/cache/stored_head.h"
#include "proxy/http/exchange.h"
#include "proxy/http/file_body.h"

#define EXCHANGE_CACHE_MAGIC 0x45434348u
#define CACHE_FETCH_MAGIC    0x46544348u

/* A client's exchange on a route with a cache; in its arena. */
struct exchange_cache {
    uint32_t magic;
    struct exchange *x;
    const struct route_cache *rules;
    struct cache_names names;
    struct cache_key key;
    struct cache_request_directives said;
    uint64_t seen; /* fields_seen() of the request as it came */
    struct cache_asked asked;
    struct cache_object *object; /* that is sent, or would have to be validated; held; NULL = none */
    struct cache_fill *fill;     /* that is waited for; held; NULL = none */
    struct cache_fetch *fetch;   /* that this client leads, as long as it goes on */
    struct cache_waiter waiter;
    uint32_t generation; /* of fills that were followed */
    bool relays;         /* the fetch's answer comes straight through: it may not be stored */
    bool is_leader;      /* of the newest fill */
    bool alone;          /* it follows nobody any more */
    bool was_for_others; /* what a fetch brought that was followed: by Vary */
    bool asks_for_less;  /* than a whole 200: a range, or nothing if it has not changed */
    struct fields own;   /* of the fetch that it led: for this client alone */
    const char *failure; /* of the fetch that it led, in the arena; NULL = see the fill's */

    /* What Cache-Status says (RFC 9211 §2). */
    enum cache_result result;
    const char *forward; /* fwd; NULL = it was a hit */
    const char *detail;  /* NULL = nothing more to say */
    unsigned forward_status;
    bool stored, collapsed;

    struct task task;

    /* What is sent (serve.c); not cleared. */
    struct cache_reader reader; /* its body is NULL until it is open */
    struct file_body plan;      /* stretches of the body, and texts between them */
};

static inline int64_t cache_now(const struct exchange *x)
{
    return loop_wall_us(&x->worker->loop) / 1000000;
}

/* Whether the request has conditions of its own, or asks for a range. */
static inline bool cache_has_conditions(const struct exchange_cache *c)
{
    return c->seen &
           (FIELD_BIT(FIELD_IF_MATCH) | FIELD_BIT(FIELD_IF_MODIFIED_SINCE) | FIELD_BIT(FIELD_IF_NONE_MATCH) |
            FIELD_BIT(FIELD_IF_RANGE) | FIELD_BIT(FIELD_IF_UNMODIFIED_SINCE) | FIELD_BIT(FIELD_RANGE));
}

/* step.c */

extern const struct responder cache_responder;

/* ask.c. Each may end the exchange but those that give something. */

/* The request wants a part, or nothing if it has not changed. */
bool cache_asks_for_less(const struct exchange *x);
/* Follows a fetch that is under way, or leads one. */
void cache_ask(struct exchange_cache *c);
/* One fetch in the background makes the object fresh again, unless there is one already. */
void cache_update(struct exchange_cache *c);
/* The fill that the client waits for has something to say. */
void cache_look(struct exchange_cache *c);
/* The route's action answers after all: `detail` for Cache-Status. */
void cache_go_direct(struct exchange_cache *c, const char *detail);
/* What the fetch has brought is for this client alone. */
void cache_serve_alone(struct exchange_cache *c, struct cache_object *o);

/* serve.c. Each may end the exchange. */

/* Answers from c->object, whose body may still be growing. */
void cache_serve(struct exchange_cache *c, enum cache_result result);
/* The client takes more. */
void cache_serve_more(struct exchange_cache *c);
void cache_serve_stop(struct exchange_cache *c);

/* serve_plan.c: says in *r what the head is to say, and in the plan what follows. 0; -1 when out of memory;
 * 412 when a precondition does not hold. */
int cache_plan(struct exchange_cache *c, struct http_response *r);

/* fetch.c */

/* Asks the origin for what `from` asks for, and leads `fill` (its hold is taken over). `client`: `from` when
 * it waits for it, NULL when nobody does. What comes of it is told by cache_look(), perhaps from inside. */
void cache_fetch(struct exchange_cache *from, struct cache_fill *fill, bool has_client);
/* The client that led leaves: what is fetched for the store alone goes on; what was relayed ends. */
void cache_fetch_leave(struct cache_fetch *f);
/* The client takes more of what is relayed. */
void cache_fetch_resume(struct cache_fetch *f);

/* status.c */

/* Adds Cache-Status, and Age to what comes from the store. 0, or -1 when out of memory. */
int cache_status_add(struct exchange_cache *c, struct fields *f);
/* The same as lines of HTTP/1.1, of what comes from the store; and Content-Length, unless that is
 * CACHE_BODY_UNKNOWN. */
#define CACHE_STATUS_LINES 320
struct slice cache_status_lines(const struct exchange_cache *c, uint64_t content_length,
                                char to[CACHE_STATUS_LINES]);

/* invalidate.c */

/* What a response to a request that was not looked up says about what is stored (RFC 9111 §4.3.5, §4.4). */
void cache_learn(struct exchange_cache *c, const struct http_response *r);
