/* Which server a request belongs to, as far as the request itself says so: the hash of its `hash_key`, and
 * the server that its sticky cookie names. */
#pragma once

#include "proxy/http/exchange.h"

struct affinity {
    uint64_t hash;         /* 0 = the upstream's policy asks for none */
    struct server *server; /* NULL = no cookie, or one that is not ours */
};

void affinity_of(struct exchange *x, struct upstream *u, struct affinity *out);
