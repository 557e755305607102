/* The rules of matching for one route, as explain applies them one by one. */
#include "proxy/http/router.h"

ssize_t route_path_match(const struct route_path *p, struct slice path, struct regex_scratch *scratch)
{
    switch (p->kind) {
    case ROUTE_PATH_EXACT:
        return slice_equal(p->text, path) ? (ssize_t)path.len : -1;
    case ROUTE_PATH_REGEX:
        return p->regex && regex_match(p->regex, scratch, path) == 1 ? 0 : -1;
    case ROUTE_PATH_PREFIX:
        if (p->text.len == 0)
            return 0;
        if (!slice_begins(path, p->text) || (path.len > p->text.len && path.at[p->text.len] != '/'))
            return -1;
        return (ssize_t)p->text.len;
    }
    return -1;
}

static bool host_holds(const struct route_host *h, struct slice host)
{
    switch (h->kind) {
    case ROUTE_HOST_ANY:
        return true;
    case ROUTE_HOST_WILDCARD:
        return host.len > h->name.len && host.at[0] != '.' && slice_ends(host, h->name);
    case ROUTE_HOST_EXACT:
        return slice_equal(h->name, host);
    }
    return false;
}

const struct route_host *route_host_match(const struct route *r, struct slice host)
{
    const struct route_host *best = NULL;
    for (size_t i = 0; i < r->host_count; i++) {
        const struct route_host *h = &r->hosts[i];
        if (host_holds(h, host) &&
            (!best || h->kind > best->kind || (h->kind == best->kind && h->name.len > best->name.len)))
            best = h;
    }
    return best;
}

bool route_method_match(const struct route *r, const struct http_request *request)
{
    for (size_t i = 0; i < r->method_count; i++)
        if (slice_equal(r->methods[i], request->method) ||
            (request->method_id == METHOD_HEAD && method_id(r->methods[i]) == METHOD_GET))
            return true;
    return r->method_count == 0;
}
