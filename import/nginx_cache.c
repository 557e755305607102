/* proxy_cache…: the cache of a route. nginx's is on disk and bounded by `inactive`; weir's is in memory. */
#include "import/nginx.h"

static struct ng *zone_of(struct nginx *n, const char *zone)
{
    for (struct ng *d = ng_child(n->http, "proxy_cache_path"); d; d = ng_next(d))
        for (size_t i = 1; i < d->arg_count; i++)
            if (text_begins(d->args[i], import_printf(n->a, "keys_zone=%s:", zone)))
                return d;
    return NULL;
}

static const char *inactive_of(struct nginx *n, struct ng *path)
{
    for (size_t i = 1; path && i < path->arg_count; i++)
        if (text_begins(path->args[i], "inactive=") && ng_duration(n, path->args[i] + 9))
            return ng_duration(n, path->args[i] + 9);
    return "10m";
}

static void valid(struct nginx *n, const struct ng *scope, struct yaml_node *cache)
{
    struct ng *first = ng_level(scope, "proxy_cache_valid");
    const char *ttl = NULL;
    struct yaml_node *statuses = yaml_list(n->a);
    for (struct ng *d = first; d; d = ng_next(d)) {
        const char *time = ng_duration(n, d->arg_count ? d->args[d->arg_count - 1] : "");
        if (!time || text_is(ng_arg(d, 0), "any")) {
            ng_left(n, d,
                    time ? "weir stores the statuses that are named: cache.statuses" : "that is no time");
            continue;
        }
        if (ttl && !text_is(ttl, time)) {
            ng_left(n, d, "a route's cache has one ttl, %s; let the server say Cache-Control for these", ttl);
            continue;
        }
        ttl = time;
        if (d->arg_count == 1) {
            yaml_add(n->a, statuses, yaml_raw(n->a, "200"));
            yaml_add(n->a, statuses, yaml_raw(n->a, "301"));
            yaml_add(n->a, statuses, yaml_raw(n->a, "302"));
        }
        for (size_t i = 0; i + 1 < d->arg_count; i++)
            yaml_add(n->a, statuses, yaml_raw(n->a, d->args[i]));
    }
    if (ttl) {
        yaml_set_raw(n->a, cache, "ttl", ttl);
        yaml_set(n->a, cache, "statuses", statuses);
    }
}

/* proxy_cache_bypass and proxy_no_cache by a cookie. */
static void bypass(struct nginx *n, const struct ng *scope, const char *name, struct yaml_node *cache)
{
    for (struct ng *d = ng_level(scope, name); d; d = ng_next(d))
        for (size_t i = 0; i < d->arg_count; i++) {
            if (text_begins(d->args[i], "$cookie_"))
                yaml_add_text(n->a, yaml_list_at(n->a, cache, "bypass_cookie"), d->args[i] + 8);
            else if (text_is(d->args[i], "$http_authorization"))
                continue; /* RFC 9111 §3.5: not stored unless the answer says so */
            else
                ng_left(n, d,
                        "the cache is passed by for cookies alone (bypass_cookie), and where the client says "
                        "no-cache");
        }
}

static void stale(struct nginx *n, const struct ng *scope, struct ng *path, struct yaml_node *cache)
{
    struct ng *d = ng_effective(scope, "proxy_cache_use_stale");
    bool errors = false, updating = false;
    for (size_t i = 0; d && i < d->arg_count; i++) {
        if (text_is(d->args[i], "off"))
            return;
        updating |= text_is(d->args[i], "updating");
        errors |= !text_is(d->args[i], "updating");
    }
    if (updating)
        yaml_set_raw(n->a, cache, "stale_while_revalidate", inactive_of(n, path));
    if (errors)
        yaml_set_raw(n->a, cache, "stale_if_error", inactive_of(n, path));
}

static void ignored(struct nginx *n, const struct ng *scope, struct yaml_node *cache)
{
    struct ng *d = ng_effective(scope, "proxy_ignore_headers"), *hide = ng_level(scope, "proxy_hide_header");
    bool hidden = false;
    for (; hide; hide = ng_next(hide))
        hidden |= slice_equal_nocase(slice_text(ng_arg(hide, 0)), S("set-cookie"));
    for (size_t i = 0; d && i < d->arg_count; i++) {
        struct slice name = slice_text(d->args[i]);
        if (slice_equal_nocase(name, S("set-cookie")))
            yaml_set_raw(n->a, cache, "set_cookie", hidden ? "strip" : "store");
        else if (!slice_begins(name, slice_text("X-Accel-")))
            ng_left(n, d, "the cache obeys %s; let the server say what may be stored", d->args[i]);
    }
}

static void key(struct nginx *n, const struct ng *scope, struct yaml_node *cache)
{
    struct ng *d = ng_effective(scope, "proxy_cache_key");
    const char *unknown = "";
    if (!d || text_is(ng_arg(d, 0), "$scheme$proxy_host$request_uri") ||
        text_is(ng_arg(d, 0), "$scheme$host$request_uri") ||
        text_is(ng_arg(d, 0), "$scheme$request_method$host$request_uri"))
        return; /* weir's own is as good */
    const char *text = ng_template(n, d->parent, ng_arg(d, 0), false, &unknown);
    if (text)
        yaml_set_text(n->a, cache, "key", text);
    else
        ng_left(n, d, "weir has no %s; its own key knows scheme, host, port, path and query", unknown);
}

void ng_cache(struct nginx *n, const struct ng *scope, struct import_route *r)
{
    struct ng *d = ng_effective(scope, "proxy_cache");
    struct yaml_node *cache = yaml_map(n->a);
    static const char *const all[] = {"proxy_cache_valid",  "proxy_cache_use_stale", "proxy_cache_key",
                                      "proxy_cache_bypass", "proxy_no_cache",        "proxy_ignore_headers"};
    if (!d || text_is(ng_arg(d, 0), "off")) {
        for (size_t i = 0; i < COUNT_OF(all); i++)
            ng_level(scope, all[i]);
        return;
    }
    struct ng *path = zone_of(n, ng_arg(d, 0));
    if (!path) {
        ng_left(n, d, "no proxy_cache_path has that zone");
        return;
    }
    if (!path->done)
        ng_note(n, path,
                "weir's cache is in memory, 256MiB unless `cache: { memory: … }` says otherwise; nothing is "
                "taken over");
    path->done = true;
    valid(n, scope, cache);
    key(n, scope, cache);
    bypass(n, scope, "proxy_cache_bypass", cache);
    bypass(n, scope, "proxy_no_cache", cache);
    stale(n, scope, path, cache);
    ignored(n, scope, cache);
    yaml_set(n->a, r->body, "cache", yaml_count(cache) ? cache : yaml_raw(n->a, "true"));
}
