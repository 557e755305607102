/* Sticky sessions: a cookie whose value names the server that a client was given. The name is a token, an
 * HMAC over the upstream's name, the cookie's and the server's address, so it is the same after a restart, on
 * every weir with the same file, and for as long as the server is in the list, whatever its place there.
 * Without the option `secret` the key is known to whoever reads this: the token then hides addresses from a
 * glance, no more; with one, nobody else can make or guess a token. */
#pragma once

#include "balancer/server.h"
#include "config/option.h"

#define STICKY_TOKEN 22 /* 128 bits in base64url */

struct sticky_settings {
    const struct config_node *node;
    struct slice cookie; /* its name */
    msec_t ttl;          /* 0 = as long as the browser runs */
    struct slice secret; /* empty = none */
};

extern const struct option_table sticky_table;

/* The tokens of a set of servers; never changes. The servers must live as long. NULL when out of memory. */
struct sticky_tokens *sticky_make(const struct sticky_settings *settings, struct slice upstream,
                                  struct server *const *servers, size_t count);
/* NULL is allowed. */
void sticky_free(struct sticky_tokens *t);

/* The server, or NULL: no such token. */
struct server *sticky_find(const struct sticky_tokens *t, struct slice token);
/* A server's token; lives as long as the tokens. Empty when it is not among them. */
struct slice sticky_token(const struct sticky_tokens *t, const struct server *s);
