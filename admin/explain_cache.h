/* What `weir explain` says of the cache: whether a request would be looked up, by what, and what is stored.
 */
#pragma once

#include "admin/explain_text.h"
#include "proxy/http/explain_lookup.h"

struct explained_cache {
    struct explained_lookup lookup;
    /* What the answer would be: "hit", "stale", "miss", "bypass"; "revalidated" when the origin has to say
     * that what is stored is still good. NULL of a file, where nothing is stored yet. */
    const char *result;
    const char *why;        /* in words; never NULL with a result */
    bool is_stored;         /* an answer for this request is: */
    unsigned status;        /* its status … */
    int64_t age, lifetime;  /* … seconds … */
    uint64_t bytes;         /* … and its body's length */
    const char *not_stored; /* why what comes will not be stored, as far as the request says it; NULL */
};

/* False when the request meets no route with a cache. */
bool explain_cache(const struct explained *e, struct arena *a, struct explained_cache *out);

/* What the route and the store say of how answers are kept. */
struct explained_settings;
void explain_cache_settings(const struct explained *e, struct arena *a, struct explained_settings *out);

/* Lines for people; nothing when there is no cache. */
void explain_cache_print(const struct explained *e, FILE *out);
