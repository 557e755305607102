/* What the files of lint/ share. */
#pragma once

#include "proxy/http/plain_request.h"
#include "proxy/lint/lint.h"

enum lint_rule_id {
    LINT_UNREACHABLE_ROUTE,
    LINT_SHADOWED_ROUTE,
    LINT_REDIRECT_LOOP,
    LINT_TIMEOUT_WITHOUT_EFFECT,
    LINT_RETRIES_DO_NOT_FIT,
    LINT_DRAIN_TOO_SHORT,
    LINT_TLS_NOT_VERIFIED,
    LINT_TLS_CANNOT_BE_VERIFIED,
    LINT_PLAIN_TO_TLS_PORT,
    LINT_CLIENT_CERTIFICATE_UNUSED,
    LINT_CERTIFICATE_NOT_FOR_HOST,
    LINT_CERTIFICATE_UNUSED,
    LINT_CERTIFICATE_ENDS,
    LINT_CERTIFICATE_CHAIN,
    LINT_CERTIFICATE_WEAK,
    LINT_KEY_READABLE,
    LINT_SELF_SIGNED,
    LINT_OCSP_WITHOUT_EFFECT,
    LINT_CHECK_WITHOUT_EFFECT,
    LINT_CHECK_INTERVAL,
    LINT_OUTLIER_WITHOUT_EFFECT,
    LINT_UPSTREAM_UNUSED,
    LINT_UPSTREAM_WITHOUT_SERVER,
    LINT_OPTION_WITHOUT_EFFECT,
    LINT_RETRIES_ALL_METHODS,
    LINT_CACHE_WITHOUT_EFFECT,
    LINT_LISTENER_WITHOUT_ROUTE,
    LINT_CLIENTS_BEHIND_PROXY,
    LINT_ADMIN_OPEN,
    LINT_ADMIN_TOKEN_WEAK,
    LINT_RULE_COUNT,
};

/* Who sends to an upstream. */
struct lint_use {
    const struct upstream_settings *settings;
    bool by_http, by_stream; /* routes; tcp and udp listeners, also by name */

    /* Over its routes: how long the longest may take as a whole, one attempt, until a response begins.
     * MSEC_MAX: without end. */
    msec_t longest, longest_attempt, longest_response;
};

struct lint {
    struct snapshot *s;
    struct config *c;
    int64_t now;
    struct arena scratch; /* reset after each route */
    struct router_scratch router;
    struct plain_listener *listeners; /* that serve HTTP */
    size_t listener_count;
    struct lint_use *uses; /* by upstream, in the order of the file */
    uint64_t lookups_left; /* a bound on work where many regexes stand */
};

/* A warning at a node. `mend` and `example` may be NULL; they are copied. The words are only made when they
 * will be shown. */
#define lint_warn(l, rule, at, mend, example, ...)                                                           \
    (config_wants_warnings((l)->c) ? lint_warn_now(l, rule, at, mend, example, __VA_ARGS__)                  \
                                   : (void)(l)->c->warnings_dropped++)
void lint_warn_now(struct lint *l, enum lint_rule_id rule, const struct config_node *at, const char *mend,
                   const char *example, const char *format, ...) __attribute__((format(printf, 6, 7)));

/* The value of a key that the file gives, not null; NULL otherwise. `map` may be NULL or no map. */
const struct config_node *lint_given(const struct config_node *map, const char *key);
/* The value, or else the map, or else `otherwise`. */
const struct config_node *lint_place(const struct config_node *map, const char *key);
/* It stands in `defaults`. */
bool lint_is_default(const struct config_node *node);
/* `500ms`, `30s`, `5m`; in the config's arena. */
const char *lint_duration(struct lint *l, msec_t ms);
/* `route "b" (weir.yaml:12:5)` without the word; in the config's arena. */
const char *lint_route(struct lint *l, const struct route *r);

#define MSEC_MAX UINT64_MAX

/* Whether an address is of this machine alone. */
bool lint_is_loopback(const struct address *a);

/* The same, told at the node's key. */
#define lint_warn_key(l, rule, at, mend, ...)                                                                \
    (config_wants_warnings((l)->c) ? lint_warn_key_now(l, rule, at, mend, __VA_ARGS__)                       \
                                   : (void)(l)->c->warnings_dropped++)
void lint_warn_key_now(struct lint *l, enum lint_rule_id rule, const struct config_node *at, const char *mend,
                       const char *format, ...) __attribute__((format(printf, 5, 6)));

/* Timeouts of a route on a listener, as they count. */
msec_t lint_response(const struct route *r, const struct listener_config *on);
/* The longest on any of the route's listeners. */
msec_t lint_longest_response(const struct lint *l, const struct route *r);

/* Fills l->uses. 0, or -1 when out of memory. */
int lint_gather_uses(struct lint *l);
/* That many servers, all known from the file: neither looked up as many, nor listed elsewhere. 0 when they
 * are not. */
size_t lint_fixed_servers(const struct upstream_settings *u);

/* Each over the whole snapshot. */
void lint_routes(struct lint *l);
void lint_timeouts(struct lint *l);
void lint_upstream_tls(struct lint *l);
void lint_certificates(struct lint *l);
void lint_hosts(struct lint *l);
void lint_upstreams(struct lint *l);
void lint_health(struct lint *l);
void lint_edges(struct lint *l);
