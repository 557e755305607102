/* A route: what the file says of it (route_settings, filled by an option table) and what that is compiled to
 * (struct route), which is what live traffic, `weir explain` and `weir check` look at. Immutable but for the
 * weights of a split. */
#pragma once

#include <stdatomic.h>

#include "config/option.h"
#include "proxy/http/access.h"
#include "proxy/http/conditions.h"
#include "proxy/http/edits.h"
#include "proxy/http/regex.h"
#include "proxy/http/retries.h"
#include "proxy/http/rewrite.h"
#include "proxy/http/template.h"
#include "proxy/http/trace_settings.h"

struct upstream;
struct route_cache;
struct route_cache_settings;

/* --- what the file says ------------------------------------------------------------------------------- */

enum route_path_kind { ROUTE_PATH_PREFIX, ROUTE_PATH_EXACT, ROUTE_PATH_REGEX };

struct route_path_settings {
    const struct config_node *node; /* NULL: absent, which is the prefix "/" */
    enum route_path_kind kind;
    struct slice text;
};

struct redirect_settings {
    const struct config_node *node;
    struct slice to;
    uint64_t status; /* 301, 302, 303, 307 or 308 */
};

struct respond_settings {
    const struct config_node *node;
    uint64_t status; /* 200 to 599 */
    struct slice body;
    struct option_pairs headers;
};

/* Served by the files responder. */
struct files_settings {
    const struct config_node *node;
    struct slice root; /* a directory; NUL-terminated */
    struct option_texts index;
    struct slice fallback; /* a path under root, with its "/"; empty = none */
    bool browse;
};

struct route_limits {
    uint64_t body_size; /* bytes; 0 = no limit */
    bool has_body_size; /* else the listener's counts */
};

struct route_timeouts {
    msec_t body, response;
    bool has_body, has_response; /* else the listener's count */
};

/* Lists of words carry their nodes; for scalars ask config_get(node, key). */
struct route_settings {
    const struct config_node *node;
    struct slice name; /* empty = none given */
    struct option_texts listener, host, methods;
    struct route_path_settings path;
    const struct config_node *headers, *query, *cookies;

    struct slice upstream;
    struct option_pairs split;
    struct redirect_settings *redirect;
    struct respond_settings *respond;
    struct files_settings *files;

    struct rewrite_settings *rewrite;
    struct edits_settings request_headers, response_headers;
    struct retries_settings retries;
    msec_t timeout;       /* of the whole exchange; 0 = none */
    uint64_t concurrency; /* 0 = no limit */
    int priority;         /* index of high, normal, low */
    struct route_limits limits;
    struct route_timeouts timeouts;
    struct option_texts allow, deny;
    struct option_pairs errors;
    struct route_cache_settings *cache;     /* NULL = off */
    struct route_tracing_settings *tracing; /* NULL = off where has_tracing, else as everywhere */
    bool has_tracing;
    bool normalize;
};

extern const struct option_table route_table;    /* of an entry of `routes:` */
extern const struct option_table defaults_table; /* of `defaults:`: the same without match and action */

/* A route with what it inherits; either node may be NULL. Whoever reads the file also applies defaults_table
 * to `defaults` once, for its own faults. 0, or -1 with faults. */
int route_settings_load(struct config *c, const struct config_node *defaults, const struct config_node *route,
                        struct route_settings *out);

/* --- compiled ------------------------------------------------------------------------------------------ */

enum route_action {
    ROUTE_NONE, /* only with faults */
    ROUTE_UPSTREAM,
    ROUTE_SPLIT,
    ROUTE_REDIRECT,
    ROUTE_RESPOND,
    ROUTE_FILES,
};

/* An upstream that a route sends to. */
struct route_target {
    struct slice name;
    const struct config_node *node;
    struct upstream *upstream; /* filled by the snapshot; NULL until then */
    _Atomic uint32_t weight;   /* of a split; changed at run time by the control thread */
};

struct route_redirect {
    struct template to;
    uint16_t status;
};

struct route_respond {
    uint16_t status;
    struct template body;
    struct edits headers; /* adds alone */
};

/* errors: a file's content instead of weir's own page. */
struct error_page {
    uint16_t status;
    struct slice path; /* as written */
    const struct config_node *node;
    struct slice body, type; /* filled by the snapshot */
};

enum route_host_kind { ROUTE_HOST_ANY, ROUTE_HOST_WILDCARD, ROUTE_HOST_EXACT };

struct route_host {
    enum route_host_kind kind;
    struct slice name; /* lower case; of a wildcard what follows the "*", with its dot: ".example.com" */
    const struct config_node *node;
};

struct route_path {
    enum route_path_kind kind;
    struct slice
        text; /* normalised; a prefix without its trailing slash ("" is every path); a pattern's text */
    struct regex *regex; /* owned */
};

struct route {
    struct slice name; /* as in the file, or `routes[3]` */
    size_t index;      /* in the file */
    const struct config_node *node;
    const struct route_settings *settings;

    /* What it matches. */
    struct route_host *hosts; /* at least one, but after faults */
    size_t host_count;
    struct route_path path;
    struct slice *methods; /* none = all; GET stands for HEAD too */
    size_t method_count;
    struct conditions conditions;
    uint64_t *listeners;   /* bits by slot; NULL = all */
    size_t listener_words; /* of 64 bits each */
    unsigned rank;         /* number of conditions, methods counting as one */

    enum route_action action;
    struct route_target *targets; /* of upstream (one) and split */
    size_t target_count;
    struct route_redirect redirect;
    struct route_respond respond;
    const struct files_settings *files;

    /* What happens on the way. */
    struct access_rules access;
    struct rewrite *rewrite; /* NULL = none */
    struct edits request_headers, response_headers;
    struct error_page *errors;
    size_t error_count;
    struct retries_settings retries;
    msec_t timeout;       /* 0 = none */
    uint32_t concurrency; /* 0 = no limit */
    int priority;         /* enum queue_level */
    /* Requests on it, when they are limited; whoever builds the snapshot sets it, and it outlives that: the
     * next snapshot's route of that name has the same. NULL = they are not counted. */
    _Atomic uint32_t *in_flight;
    struct route_limits limits;
    struct route_timeouts timeouts;
    const struct route_cache *cache; /* NULL = nothing of it is stored; upstream and split alone */
    bool normalize;                  /* false: the path is sent as it came */
};

/* The names that routes may use, in order of their slots. A listener that does not serve HTTP has its place,
 * with is_http false. */
struct route_names {
    const char *const *listeners;
    const bool *is_http;
    size_t listener_count;
    const char *const *upstreams;
    size_t upstream_count;
};

/* Compiles all routes into c's arena; `settings` must live as long. Every fault is recorded (names that are
 * not there, twice the same name, patterns, header names, actions); conflicts between routes are
 * router_build's. Gives the array, of which those with faults are only good to be freed; NULL when out of
 * memory or when count is 0. */
struct route *routes_compile(struct config *c, const struct route_settings *settings, size_t count,
                             const struct route_names *names);
/* Frees what is not the arena's: regexes. NULL is allowed. */
void routes_free(struct route *routes, size_t count);

/* The target for a random number: in proportion to the weights as they are now. NULL when all are 0. */
struct route_target *split_pick(const struct route *r, uint32_t random);

/* NULL = weir's own page. */
const struct error_page *route_error_page(const struct route *r, unsigned status);

/* Whether the route takes part on that listener. */
static inline bool route_on_listener(const struct route *r, unsigned slot)
{
    return !r->listeners || (r->listeners[slot / 64] >> slot % 64 & 1);
}
