#include "proxy/lint/lint.h"

#include <stdarg.h>
#include <stdio.h>

#include "proxy/lint/internal.h"

#define LOOKUPS_WITH_REGEXES 5000000u

const struct lint_rule lint_rules[] = {
    [LINT_UNREACHABLE_ROUTE] = {"unreachable-route", "no request can reach the route"},
    [LINT_SHADOWED_ROUTE] = {"shadowed-route",
                             "the requests that the route is for go to another, whose regex comes first"},
    [LINT_REDIRECT_LOOP] = {"redirect-loop", "a redirect leads back to itself"},
    [LINT_TIMEOUT_WITHOUT_EFFECT] = {"timeout-without-effect",
                                     "a limit in time that another one always comes ahead of"},
    [LINT_RETRIES_DO_NOT_FIT] = {"retries-do-not-fit", "the route's timeout ends before its retries can"},
    [LINT_DRAIN_TOO_SHORT] = {"drain-too-short", "a stop cuts requests that their route lets take longer"},
    [LINT_TLS_NOT_VERIFIED] = {"tls-not-verified", "TLS to servers whose certificates are not verified"},
    [LINT_TLS_CANNOT_BE_VERIFIED] = {"tls-cannot-be-verified",
                                     "TLS to servers whose certificates will hardly be accepted"},
    [LINT_PLAIN_TO_TLS_PORT] = {"plain-to-tls-port", "plain HTTP is sent to port 443"},
    [LINT_CLIENT_CERTIFICATE_UNUSED] = {"client-certificate-unused",
                                        "client certificates are asked for, and nothing looks at them"},
    [LINT_CERTIFICATE_NOT_FOR_HOST] = {"certificate-not-for-host",
                                       "no certificate of the listener covers a host of its routes"},
    [LINT_CERTIFICATE_UNUSED] = {"certificate-unused",
                                 "a certificate covers no host of its listener's routes"},
    [LINT_CERTIFICATE_ENDS] = {"certificate-ends",
                               "a certificate has expired, ends soon, or does not hold yet"},
    [LINT_CERTIFICATE_CHAIN] = {"certificate-chain", "a certificate's chain is incomplete or out of order"},
    [LINT_CERTIFICATE_WEAK] = {"certificate-weak",
                               "a certificate with a key or a signature that is too weak"},
    [LINT_KEY_READABLE] = {"key-readable", "everybody on the machine can read a private key"},
    [LINT_SELF_SIGNED] = {"self-signed", "a made-up certificate where others than this machine come in"},
    [LINT_OCSP_WITHOUT_EFFECT] = {"ocsp-without-effect", "OCSP stapling without a response to staple"},
    [LINT_CHECK_WITHOUT_EFFECT] = {"check-without-effect", "a health check that changes nothing"},
    [LINT_CHECK_INTERVAL] = {"check-interval", "a health check that may take longer than its interval"},
    [LINT_OUTLIER_WITHOUT_EFFECT] = {"outlier-without-effect",
                                     "passive health that never takes a server out"},
    [LINT_UPSTREAM_UNUSED] = {"upstream-unused", "nothing sends to the upstream"},
    [LINT_UPSTREAM_WITHOUT_SERVER] = {"upstream-without-server",
                                      "no server of the upstream may get requests"},
    [LINT_OPTION_WITHOUT_EFFECT] = {"option-without-effect", "a setting that has no effect where it stands"},
    [LINT_RETRIES_ALL_METHODS] = {"retries-all-methods", "requests that change something may be done twice"},
    [LINT_CACHE_WITHOUT_EFFECT] = {"cache-without-effect",
                                   "a cache on a route whose answers are never stored"},
    [LINT_LISTENER_WITHOUT_ROUTE] = {"listener-without-route", "every request to the listener is a 404"},
    [LINT_CLIENTS_BEHIND_PROXY] = {"clients-behind-proxy", "addresses are judged, but they are a proxy's"},
    [LINT_ADMIN_OPEN] = {"admin-open", "the admin interface is open to other machines, without a token"},
    [LINT_ADMIN_TOKEN_WEAK] = {"admin-token-weak", "the admin token can be guessed"},
};
const size_t lint_rule_count = LINT_RULE_COUNT;
_Static_assert(COUNT_OF(lint_rules) == LINT_RULE_COUNT, "a row for each");

void lint_snapshot(struct snapshot *s, int64_t now)
{
    struct lint l = {.s = s, .c = &s->config, .now = now, .lookups_left = UINT64_MAX};
    ASSERT(s->config.error_count == 0);
    arena_init(&l.scratch, NULL, 0);
    l.listener_count = snapshot_plain_listeners(s, &s->config.arena, &l.listeners);
    size_t regexes = 0;
    for (size_t i = 0; i < s->route_count; i++)
        regexes += s->routes[i].path.kind == ROUTE_PATH_REGEX;
    if (regexes)
        l.lookups_left = LOOKUPS_WITH_REGEXES / regexes;

    if (l.listeners && lint_gather_uses(&l) == 0) {
        lint_routes(&l);
        lint_timeouts(&l);
        lint_upstream_tls(&l);
        lint_certificates(&l);
        lint_hosts(&l);
        lint_upstreams(&l);
        lint_health(&l);
        lint_edges(&l);
    }
    router_scratch_free(&l.router);
    arena_reset(&l.scratch);
}

static void warn(struct lint *l, enum lint_rule_id rule, const struct config_node *at, const char *mend,
                 const char *example, bool at_key, const char *format, va_list args)
{
    struct arena *a = &l->c->arena;
    struct config_advice advice = {.rule = lint_rules[rule].name,
                                   .mend = mend ? arena_copy(a, slice_text(mend)).at : NULL,
                                   .example = example ? arena_copy(a, slice_text(example)).at : NULL,
                                   .at_key = at_key};
    char words[1024];
    if (vsnprintf(words, sizeof words, format, args) > 0)
        config_advise(l->c, at, &advice, "%s", words);
}

void lint_warn_now(struct lint *l, enum lint_rule_id rule, const struct config_node *at, const char *mend,
                   const char *example, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    warn(l, rule, at, mend, example, false, format, args);
    va_end(args);
}

void lint_warn_key_now(struct lint *l, enum lint_rule_id rule, const struct config_node *at, const char *mend,
                       const char *format, ...)
{
    va_list args;
    va_start(args, format);
    warn(l, rule, at, mend, NULL, true, format, args);
    va_end(args);
}

const struct config_node *lint_given(const struct config_node *map, const char *key)
{
    const struct config_node *node = map && map->kind == NODE_MAP ? config_get(map, key) : NULL;
    return node && node->kind != NODE_NULL ? node : NULL;
}

const struct config_node *lint_place(const struct config_node *map, const char *key)
{
    const struct config_node *node = lint_given(map, key);
    return node ? node : map;
}

bool lint_is_default(const struct config_node *node)
{
    while (node && node->parent && node->parent->parent)
        node = node->parent;
    return node && node->parent && slice_equal(node->key, S("defaults"));
}

const char *lint_duration(struct lint *l, msec_t ms)
{
    static const struct {
        msec_t ms;
        const char *unit;
    } units[] = {{86400000, "d"}, {3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"}};
    size_t i = 0;
    while (ms && i + 1 < COUNT_OF(units) && ms % units[i].ms)
        i++;
    const char *text =
        arena_printf(&l->c->arena, "%llu%s", (unsigned long long)(ms / units[i].ms), ms ? units[i].unit : "");
    return text ? text : "?";
}

const char *lint_route(struct lint *l, const struct route *r)
{
    const char *text = arena_printf(&l->c->arena, "%s (%s:%u:%u)", config_quote(l->c, r->name), r->node->file,
                                    r->node->line, r->node->column);
    return text ? text : "?";
}

bool lint_is_loopback(const struct address *a)
{
    if (a->any.sa_family == AF_UNIX)
        return true;
    if (a->any.sa_family == AF_INET)
        return ntohl(a->v4.sin_addr.s_addr) >> 24 == 127;
    if (IN6_IS_ADDR_V4MAPPED(&a->v6.sin6_addr))
        return a->v6.sin6_addr.s6_addr[12] == 127;
    return IN6_IS_ADDR_LOOPBACK(&a->v6.sin6_addr);
}
