/* A route's `cache`: what the file says (true, false, or a map), and what that is compiled to, which is what
 * live traffic and `weir explain` look at. Immutable; in the configuration's arena. */
#pragma once

#include "cache/rules.h"
#include "config/option.h"
#include "proxy/http/template.h"

enum route_cache_cookies {
    ROUTE_CACHE_COOKIE_REFUSE, /* an answer with Set-Cookie is not stored */
    ROUTE_CACHE_COOKIE_STORE,  /* it is, with the field */
    ROUTE_CACHE_COOKIE_STRIP,  /* it is, without the field; the client that it came for gets none either */
};

struct route_cache_settings {
    const struct config_node *node;
    msec_t ttl, stale_while_revalidate, stale_if_error;
    bool has_ttl, has_stale_while_revalidate, has_stale_if_error;
    struct option_texts statuses;
    struct slice key; /* empty = weir's own */
    struct option_texts ignore_query, key_headers, key_cookies, bypass_cookie;
    bool sort_query, collapse;
    struct slice tags_header; /* empty = surrogate-key and cache-tag */
    int set_cookie;           /* enum route_cache_cookies */
};

extern const struct option_table route_cache_table;

/* --- compiled ------------------------------------------------------------------------------------------ */

/* A name, or the names that begin or end so. */
struct cache_name_pattern {
    struct slice text; /* without the "*" */
    enum { CACHE_NAME_IS, CACHE_NAME_BEGINS, CACHE_NAME_ENDS } kind;
};

struct cache_key_header {
    struct slice name; /* lower case */
    uint16_t field_id; /* enum field_id */
};

struct route_cache {
    struct cache_defaults rules;
    /* When has_key; else weir's own key. Its ${query} is the query without what is ignored, sorted if so
     * asked for; key_headers and key_cookies are added to it. */
    struct template key;
    bool has_key;
    bool sort_query;
    bool collapse;
    bool ignore_whole_query;
    enum route_cache_cookies set_cookie;
    const struct cache_name_pattern *ignore_query;
    size_t ignore_query_count;
    const struct cache_key_header *key_headers;
    size_t key_header_count;
    const struct slice *key_cookies, *bypass_cookies; /* case counts in their names */
    size_t key_cookie_count, bypass_cookie_count;
    struct slice tags_header; /* lower case; empty = surrogate-key and cache-tag */
};

/* 0 with *out in c's arena; -1 with faults. `has_one_host`: no two requests of the route differ in their
 * host. */
int route_cache_compile(struct config *c, const struct route_cache_settings *s, bool has_one_host,
                        const struct route_cache **out);

/* Whether the parameter of that name (as it came) is left out of the key. */
bool route_cache_ignores(const struct route_cache *r, struct slice parameter);
