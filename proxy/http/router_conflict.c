/* Routes that no rule tells apart. */
#include "proxy/http/router_internal.h"

static bool is_get(struct slice method)
{
    return method_id(method) == METHOD_GET;
}

static bool takes_method(const struct route *r, struct slice method)
{
    for (size_t i = 0; i < r->method_count; i++)
        if (slice_equal(r->methods[i], method) || (method_id(method) == METHOD_HEAD && is_get(r->methods[i])))
            return true;
    return r->method_count == 0;
}

static bool share_a_method(const struct route *a, const struct route *b)
{
    if (a->method_count == 0 || b->method_count == 0)
        return true;
    for (size_t i = 0; i < a->method_count; i++)
        if (takes_method(b, a->methods[i]))
            return true;
    for (size_t i = 0; i < b->method_count; i++)
        if (takes_method(a, b->methods[i]))
            return true;
    return false;
}

static bool share_a_listener(const struct route *a, const struct route *b)
{
    if (!a->listeners || !b->listeners)
        return true;
    for (size_t i = 0; i < a->listener_words; i++)
        if (a->listeners[i] & b->listeners[i])
            return true;
    return false;
}

static void report(struct config *c, const struct route_host *host, const struct route *later,
                   const struct route *earlier)
{
    const char *of = host->kind == ROUTE_HOST_ANY     ? "any host"
                     : host->kind == ROUTE_HOST_EXACT ? "host "
                                                      : "host *";
    bool is_any = later->path.text.len == 0;
    const char *path = is_any ? "/" : config_quote(c, later->path.text);
    config_fault(c, later->node,
                 "is as specific as route %s (line %u), and a request can meet both: %s%.*s, path %s; give "
                 "one of them "
                 "another path, one more condition or other methods",
                 config_quote(c, earlier->name), earlier->node->line, of, SLICE_FMT(host->name), path);
}

void router_find_conflicts(struct config *c, const struct route_host *host, const struct route *const *routes,
                           size_t count, struct regex_scratch *scratch)
{
    for (size_t i = 1; i < count; i++)
        for (size_t k = i; k-- > 0 && routes[k]->rank == routes[i]->rank;)
            if (routes[k] != routes[i] && share_a_listener(routes[k], routes[i]) &&
                share_a_method(routes[k], routes[i]) &&
                !conditions_exclude(&routes[k]->conditions, &routes[i]->conditions, scratch)) {
                report(c, host, routes[i], routes[k]);
                break;
            }
}
