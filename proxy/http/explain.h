/* Why a request meets the route that it meets: every route looked at, one by one, with the reason why it
 * lost. Gives the same route as router_find() (fuzzed), by a walk over all routes: for people, not for
 * traffic. */
#pragma once

#include "core/address.h"
#include "proxy/http/router.h"

/* A request that nobody sent. */
struct plain_request {
    struct http_request request;
    struct slice host, path; /* normalised */
    int path_fault;          /* of target_normalise; 0 = none. Then the answer is a 400 */
    struct ip client;
    struct slice client_text;
    struct slice listener; /* name; for ${listener} */
    unsigned listener_slot;
};

/* A listener to choose from; those that do not serve HTTP are not in it. */
struct plain_listener {
    struct slice name;
    unsigned slot;
    bool is_tls;
    const uint16_t *ports;
    size_t port_count;
};

/* Makes one of "https://host:port/path?query" (or "/path", with a Host among the headers) and header fields,
 * in the arena. `client` may be empty: 127.0.0.1. 0, or -1 with the reason in *why (static text). */
int plain_request_make(struct arena *arena, struct slice method, struct slice url,
                       const struct field *headers, size_t header_count, struct slice client,
                       struct plain_request *out, const char **why);

/* The listener that a URL leads to: TLS as its scheme says and its port (80 and 443 where the URL has none)
 * among those bound; else the first with TLS as the scheme says; else the first. Sets listener and
 * listener_slot. NULL when there are none. */
const struct plain_listener *plain_request_listener(struct plain_request *p,
                                                    const struct plain_listener *listeners, size_t count);

/* Values of `${…}` as far as they are known before anything is sent; context is a struct plain_context. */
struct plain_context {
    const struct plain_request *request;
    const struct route *route;
    struct arena *arena;
};
struct slice plain_variable(void *context, const struct template_variable *v);

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
    int rewrite_fault;     /* an enum target_fault: then status is 400 */
};

/* Everything goes to the arena. 0, or -1 when out of memory. */
int router_explain(const struct router *r, const struct route *routes, size_t count,
                   const struct plain_request *p, struct router_scratch *scratch, struct arena *arena,
                   struct explanation *out);

/* The same decision by router_find, without the steps: what `tests:` use. */
int router_decide(const struct router *r, const struct plain_request *p, struct router_scratch *scratch,
                  struct arena *arena, struct explanation *out);
