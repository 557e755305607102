/* What `weir explain` says of the cache: whether a request would be looked up, and by what. */
#pragma once

#include "admin/explain_text.h"
#include "proxy/http/cache/key.h"

struct explained_cache {
    const char *refused; /* why it is not looked up (static text); NULL = it is */
    struct cache_names names;
};

/* False when the request meets no route with a cache. */
bool explain_cache(const struct explained *e, struct arena *a, struct explained_cache *out);

/* Lines for people; nothing when there is no cache. */
void explain_cache_print(const struct explained *e, FILE *out);
