/* By what a request that nobody sent would be looked up in the cache; the rules are key.h's. */
#pragma once

#include "proxy/http/cache/key.h"
#include "proxy/http/explain.h"

struct explained_lookup {
    const char *refused; /* why it is not looked up (static text); NULL = it is */
    struct cache_names names;
    struct cache_request_directives said;
};

/* False when the request meets no route with a cache. */
bool explain_lookup(const struct plain_request *p, const struct explanation *e, struct arena *a,
                    struct explained_lookup *out);
