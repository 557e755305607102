/* Which server a request belongs to, as far as the request itself says so: the hash of its key (`hash_key`),
 * and the server that its cookie names (`sticky`, balancer/sticky.h).
 *
 * The rule of an upstream is compiled with the snapshot, into the config's arena, and hangs on the upstream
 * (upstream.affinity): the balancer knows no templates. */
#pragma once

#include "proxy/http/exchange.h"

struct affinity_rule {
    bool by_ip;                           /* the key is the client's address; else `key`, if has_key */
    bool has_key;                         /* the policy asks for one */
    struct template key;                  /* an empty text is no key */
    const struct sticky_settings *sticky; /* NULL = none */
    struct template_variable cookie;
};

struct affinity {
    uint64_t hash;         /* 0 = no key, or the upstream's policy asks for none */
    struct server *server; /* that the cookie names; NULL = no cookie, or one that is not ours */
};

/* *out is NULL when no request of such an upstream belongs anywhere. 0, or -1 with a fault. */
int affinity_compile(struct config *c, const struct upstream_settings *settings,
                     const struct affinity_rule **out);

/* x->servers has been entered. Notes the cookie's server in x->session. */
void affinity_of(struct exchange *x, struct upstream *u, struct affinity *out);

/* The cookie that goes with a response of x->server, when the client has none of that server. 0, or -1 when
 * out of memory. */
int affinity_set_cookie(struct exchange *x, struct fields *f);
