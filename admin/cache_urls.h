/* A URL as a person writes it, as the cache's objects have theirs (cache/purge.h). */
#pragma once

#include "proxy/snapshot.h"

struct cache_urls {
    struct slice *at; /* at least one; the first is what was asked for */
    size_t count;
};

/* "https://Example.com:443/a/../b?c" -> "example.com/b?c": host in lower case, the scheme's own port dropped,
 * the path normalised as those of requests are; the query as it is, and, where a route leaves out or sorts
 * parameters, also as that route's objects have it. Without a scheme the URL stands for http and https. Of a
 * prefix the end may be anywhere; one that is a host alone ends with it ("example.com" is "example.com/").
 * Everything goes to the arena. 0, or -1 with *why (static text). */
int cache_urls_read(const struct snapshot *s, struct slice url, bool is_prefix, struct arena *a,
                    struct cache_urls *out, const char **why);
