/* What a request is looked up by in the cache, and whether it is at all: pure rules, which live traffic and
 * `weir explain` share.
 *
 * The key holds everything of the request that reaches the origin by way of its target: where the route sends
 * it (its upstreams, and what it does to the request's fields), scheme, host with port, the path that is sent
 * and the query, without what `ignore_query` names. And what is not in the key does not reach the origin when
 * weir fetches for the cache: the query is sent as it stands in the key, the host as it is compared, and
 * fields that some servers take for another target (cache_is_unkeyed) not at all. So what one client sends
 * cannot change what others get, but by fields that the origin's Vary must name. */
#pragma once

#include "core/arena.h"
#include "proxy/http/cache/settings.h"
#include "proxy/http/route.h"

struct cache_subject {
    const struct http_request *request;
    struct slice scheme;  /* "http" or "https" */
    struct slice host;    /* normalised, no port */
    struct slice matched; /* the normalised path that the client asked for */
    struct slice path;    /* that is sent */
    bool peer_is_trusted; /* its X-Forwarded-Host and -Proto are passed on */
    template_lookup *lookup;
    void *context;
};

struct cache_names {
    struct slice key;
    struct slice url; /* as purges name it: host (with a port that is not the scheme's), path as the client
                       * sees it, query as in the key */
    struct slice authority; /* the host as it is fetched from */
    struct slice query;     /* as it is fetched */
    bool has_query;
};

/* NULL when the store is asked; else static text why not: "method", "upgrade", "body", "no-store", "cookie".
 * `seen` is fields_seen() of the request's fields. *said: what the request says of caching. */
const char *cache_refuses(const struct route_cache *cache, const struct http_request *r, uint64_t seen,
                          struct cache_request_directives *said);

/* From the arena. 0; -1 when out of memory, or when the key is longer than the store takes. */
int cache_names_build(const struct route *route, const struct cache_subject *s, struct arena *a,
                      struct cache_names *out);

/* The field is left out of what is fetched for the cache, unless the route has it in its key: some servers
 * take it for another host, path or method than the request's. */
bool cache_is_unkeyed(const struct route_cache *cache, const struct field *f);

/* The request's field goes to the origin when it is asked for the cache: it is not the client's alone, and
 * may be there without standing in the key. Host is made anew. */
bool cache_is_fetched(const struct route_cache *cache, const struct field *f, bool peer_is_trusted);
