/* Upstreams that nothing sends to, and settings of upstreams and routes that have no effect where they stand.
 */
#include "balancer/hedge.h"
#include "balancer/queue.h"
#include "proxy/lint/internal.h"

#define BACKOFF_DEFAULT 25 /* ms */

static void check_use(struct lint *l, const struct lint_use *use)
{
    const struct upstream_settings *u = use->settings;
    if (!use->by_http && !use->by_stream)
        lint_warn_key(l, LINT_UPSTREAM_UNUSED, u->node, "take it out, or name it in a route or a listener",
                      "no route and no listener sends to it%s",
                      u->health_check ? "; its servers are checked all the same" : "");
}

/* Servers. */

static void check_servers(struct lint *l, const struct upstream_settings *u)
{
    const struct server_settings *servers = u->servers.at;
    size_t count = u->servers.count, weightless = 0, backups = 0;
    const struct config_node *at = lint_place(u->node, "servers");
    for (size_t i = 0; i < count; i++) {
        weightless += servers[i].weight == 0 && !servers[i].file.len && !servers[i].srv.len;
        backups += servers[i].backup && !servers[i].srv.len;
    }
    if (weightless == count)
        lint_warn(l, LINT_UPSTREAM_WITHOUT_SERVER, at, "give one a weight above 0", NULL,
                  "every server has weight 0: each request is a 503");
    if (backups == count)
        lint_warn(l, LINT_OPTION_WITHOUT_EFFECT, at, "take \"backup\" from those that are to be used", NULL,
                  "every server is a backup: there is none to stand in for");
}

static bool has_zone(const struct upstream_settings *u, struct slice zone)
{
    const struct server_settings *servers = u->servers.at;
    for (size_t i = 0; i < u->servers.count; i++)
        if (servers[i].file.len || slice_equal(servers[i].zone, zone))
            return true;
    return false;
}

static bool has_limit(const struct upstream_settings *u)
{
    const struct server_settings *servers = u->servers.at;
    for (size_t i = 0; i < u->servers.count; i++)
        if (servers[i].file.len || servers[i].max_connections)
            return true;
    return false;
}

static void check_choice(struct lint *l, const struct upstream_settings *u)
{
    bool single = lint_fixed_servers(u) == 1;
    if (u->prefer_zone.len && !has_zone(u, u->prefer_zone))
        lint_warn(l, LINT_OPTION_WITHOUT_EFFECT, lint_given(u->node, "prefer_zone"),
                  "give its servers a \"zone\", or take it out", NULL, "no server has that zone");
    if (u->queue && !has_limit(u))
        lint_warn(l, LINT_OPTION_WITHOUT_EFFECT, lint_given(u->node, "queue"),
                  "give servers \"max_connections\", or take it out", NULL,
                  "nothing ever waits: no server has \"max_connections\"");
    if (single && u->sticky)
        lint_warn(l, LINT_OPTION_WITHOUT_EFFECT, lint_given(u->node, "sticky"),
                  "take it out, or add a server", NULL, "there is but one server to stay on");
    if (single && u->slow_start)
        lint_warn(l, LINT_OPTION_WITHOUT_EFFECT, lint_given(u->node, "slow_start"),
                  "take it out, or add a server", NULL,
                  "the only server gets every request at once: there is none to share with");
    if (single && u->hedge)
        lint_warn(l, LINT_OPTION_WITHOUT_EFFECT, lint_given(u->node, "hedge"), "take it out, or add a server",
                  NULL, "there is no second server to ask");
    else if (u->hedge && u->hedge->max <= 0)
        lint_warn(l, LINT_OPTION_WITHOUT_EFFECT, lint_place(lint_given(u->node, "hedge"), "max"),
                  "raise it: 5% is usual", NULL, "no request ever gets a second attempt");
    if (u->panic_threshold > 0 && !u->health_check && !u->outlier && lint_fixed_servers(u))
        lint_warn(l, LINT_OPTION_WITHOUT_EFFECT, lint_given(u->node, "panic_threshold"),
                  "add a \"health_check\" or \"outlier\"", NULL,
                  "no server ever counts as ill: there is neither \"health_check\" nor \"outlier\"");
}

static void check_connections(struct lint *l, const struct lint_use *use)
{
    const struct upstream_settings *u = use->settings;
    const struct config_node *map = lint_given(u->node, "keepalive"), *idle = lint_given(map, "idle"),
                             *requests = lint_given(map, "requests");
    if (!use->by_http)
        return;
    if (u->protocol == UPSTREAM_AUTO && !u->tls)
        lint_warn(l, LINT_OPTION_WITHOUT_EFFECT, lint_given(u->node, "protocol"),
                  "say \"http2\" if that is what the servers speak, or leave it out", NULL,
                  "without \"tls\" nothing is negotiated: it is http1");
    if (u->proxy_protocol != PROXY_NONE && idle && u->keepalive.idle)
        lint_warn(l, LINT_OPTION_WITHOUT_EFFECT, idle, "take it out", NULL,
                  "no connection is used again: with \"proxy_protocol\" each is one client's alone");
    else if (requests && u->keepalive.requests && idle && u->keepalive.idle == 0)
        lint_warn(l, LINT_OPTION_WITHOUT_EFFECT, requests, "take it out, or raise \"idle\"", NULL,
                  "no connection is used again: \"idle\" is 0");
}

/* Routes. */

/* The route's own value, not one that it inherits. */
static const struct config_node *own(const struct config_node *map, const char *key)
{
    const struct config_node *node = lint_given(map, key);
    return node && !lint_is_default(node) ? node : NULL;
}

/* Keys that are about a server, on a route that asks none. */
static void check_answered_here(struct lint *l, const struct route *r)
{
    static const char *const keys[] = {"retries", "priority", "request_headers"};
    static const char *const actions[] = {
        [ROUTE_REDIRECT] = "redirect", [ROUTE_RESPOND] = "respond", [ROUTE_FILES] = "files"};
    const struct config_node *map = r->settings->node,
                             *response = own(lint_given(map, "timeouts"), "response");
    for (size_t i = 0; i < COUNT_OF(keys); i++)
        if (own(map, keys[i]))
            lint_warn(l, LINT_OPTION_WITHOUT_EFFECT, own(map, keys[i]), "take it out", NULL,
                      "the route asks no server: it is answered by \"%s\"", actions[r->action]);
    if (response)
        lint_warn(l, LINT_OPTION_WITHOUT_EFFECT, response, "take it out", NULL,
                  "the route asks no server: it is answered by \"%s\"", actions[r->action]);
}

static bool takes(const struct route *r, const char *const *methods, size_t count)
{
    for (size_t i = 0; i < r->method_count; i++)
        for (size_t k = 0; k < count; k++)
            if (slice_equal(r->methods[i], slice_text(methods[k])))
                return true;
    return r->method_count == 0;
}

/* Something that a server may have done before it failed; so by default too. */
static bool goes_beyond_connecting(const struct retries_settings *k)
{
    return k->on.causes == 0 || k->on.causes & ~(1u << RETRY_CONNECT);
}

static void check_retries(struct lint *l, const struct route *r)
{
    static const char *const changing[] = {"POST", "PATCH", "CONNECT"};
    const struct retries_settings *k = &r->retries;
    const struct config_node *map = lint_given(r->settings->node, "retries"),
                             *backoff = lint_given(map, "backoff"), *budget = lint_given(map, "budget");
    if (!map)
        return;
    if (k->methods == RETRY_ALL && k->attempts && goes_beyond_connecting(k) &&
        takes(r, changing, COUNT_OF(changing)))
        lint_warn(l, LINT_RETRIES_ALL_METHODS, lint_place(map, "methods"),
                  "say \"idempotent\", or keep \"all\" to a route for what may be done twice", NULL,
                  "a POST that a server has done may be done again by another");
    if (k->attempts && k->budget <= 0 && budget)
        lint_warn(l, LINT_OPTION_WITHOUT_EFFECT, budget, "raise it: 20% is usual", NULL,
                  "nothing is ever sent again: the budget is nothing");
    if (k->attempts < 2 && backoff && k->backoff && !lint_is_default(backoff))
        lint_warn(l, LINT_OPTION_WITHOUT_EFFECT, backoff, "take it out, or raise \"attempts\"", NULL,
                  "only the second retry and later ones wait, and \"attempts\" is %llu",
                  (unsigned long long)k->attempts);
}

static void check_cache(struct lint *l, const struct route *r)
{
    static const char *const stored[] = {"GET", "HEAD"};
    const struct config_node *at =
        r->cache && !takes(r, stored, COUNT_OF(stored)) ? own(r->settings->node, "cache") : NULL;
    if (at)
        lint_warn(l, LINT_CACHE_WITHOUT_EFFECT, at, "take it out, or let the route have GET", NULL,
                  "nothing is stored: answers to GET alone are, and \"methods\" has none");
}

static void check_priority(struct lint *l, const struct route *r)
{
    const struct config_node *at = r->priority != QUEUE_NORMAL ? own(r->settings->node, "priority") : NULL;
    if (!at)
        return;
    for (size_t i = 0; i < r->target_count; i++)
        if (r->targets[i].upstream && r->targets[i].upstream->settings->queue)
            return;
    lint_warn(l, LINT_OPTION_WITHOUT_EFFECT, at, "give the upstream a \"queue\", or take it out", NULL,
              "nothing waits by it: the route's upstream has no \"queue\"");
}

void lint_upstreams(struct lint *l)
{
    for (size_t i = 0; i < l->s->settings.upstreams.count; i++) {
        const struct upstream_settings *u = l->uses[i].settings;
        check_use(l, &l->uses[i]);
        check_servers(l, u);
        check_choice(l, u);
        check_connections(l, &l->uses[i]);
    }
    for (size_t i = 0; i < l->s->route_count; i++) {
        const struct route *r = &l->s->routes[i];
        if (r->target_count == 0) {
            check_answered_here(l, r);
            continue;
        }
        check_retries(l, r);
        check_cache(l, r);
        check_priority(l, r);
    }
}
