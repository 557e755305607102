/* A request that nobody sent: what `weir explain` and `tests:` ask the router about. */
#pragma once

#include "core/address.h"
#include "core/arena.h"
#include "proxy/http/message.h"
#include "proxy/http/route.h"

struct plain_request {
    struct http_request request;
    struct slice host, path; /* normalised */
    int path_fault;          /* of target_normalise; 0 = none. Then the answer is a 400 */
    struct ip peer;          /* who connects */
    struct ip client;        /* the true one: another only behind trusted proxies */
    struct slice client_text;
    struct slice listener; /* name; for ${listener} */
    unsigned listener_slot;
    const struct listener_config *config; /* of the listener; NULL = not known, and nothing below is set */
    bool is_trusted;                      /* the peer is one of trusted_proxies */
    unsigned refused;                     /* the status when no route is asked; 0 = one is */
    const char *refusal;                  /* why, static text */
};

/* A listener to choose from; those that do not serve HTTP are not in it. */
struct plain_listener {
    struct slice name;
    unsigned slot;
    bool is_tls;
    const uint16_t *ports;
    size_t port_count;
    const struct listener_config *config; /* NULL = not known */
};

/* Makes one of "https://host:port/path?query" (or "/path", with a Host among the headers) and header fields,
 * in the arena, which must outlive it; so must the texts. `client` may be empty: 127.0.0.1. 0, or -1 with the
 * reason in *why (static text). */
int plain_request_make(struct arena *arena, struct slice method, struct slice url,
                       const struct field *headers, size_t header_count, struct slice client,
                       struct plain_request *out, const char **why);

/* What p->config makes of the request ahead of any route: it is parsed, with the listener's limits, as if it
 * had come (p->request is the parser's from then on), and p->client is whom trusted proxies name. 0, or -1
 * when out of memory. Does nothing without p->config. */
int plain_request_receive(struct arena *arena, struct plain_request *p);

/* The listener that a URL leads to: TLS as its scheme says and its port (80 and 443 where the URL has none)
 * among those bound; else the first with TLS as the scheme says; else the first. Sets listener,
 * listener_slot and config. NULL when there are none. */
const struct plain_listener *plain_request_listener(struct plain_request *p,
                                                    const struct plain_listener *listeners, size_t count);

/* Values of `${…}` as far as they are known before anything is sent; context is a struct plain_context. */
struct plain_context {
    const struct plain_request *request;
    const struct route *route; /* may be NULL */
    struct arena *arena;
    struct slice path; /* that is sent; at is NULL: the one that was asked for */
};
struct slice plain_variable(void *context, const struct template_variable *v);
