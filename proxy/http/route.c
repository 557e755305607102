/* What the file says of routes, compiled: names resolved, everything checked. */
#include "proxy/http/route.h"

#include "balancer/queue.h"
#include "proxy/http/cache/settings.h"
#include "proxy/http/route_internal.h"

static void compile_route(const struct route_compilation *k, const struct route_settings *s, size_t index,
                          struct route *r);
static void check_names(struct config *c, const struct route *routes, size_t count);

struct route *routes_compile(struct config *c, const struct route_settings *settings, size_t count,
                             const struct route_names *names)
{
    if (count == 0)
        return NULL;
    struct route_compilation k = {c, names, table_create()};
    struct route *routes = arena_zalloc(&c->arena, count * sizeof *routes);
    bool ok = routes && k.upstreams;
    for (size_t i = 0; ok && i < names->upstream_count; i++)
        ok = table_put(k.upstreams, slice_text(names->upstreams[i]), i) == 0;
    for (size_t i = 0; ok && i < count; i++)
        compile_route(&k, &settings[i], i, &routes[i]);
    if (ok)
        check_names(c, routes, count);
    else
        c->out_of_memory = true;
    table_free(k.upstreams);
    return ok ? routes : NULL;
}

void routes_free(struct route *routes, size_t count)
{
    for (size_t i = 0; routes && i < count; i++) {
        regex_free(routes[i].path.regex);
        routes[i].path.regex = NULL;
        conditions_free(&routes[i].conditions);
        if (routes[i].rewrite)
            rewrite_free(routes[i].rewrite);
    }
}

void *route_allocate(struct config *c, size_t size)
{
    void *at = arena_zalloc(&c->arena, size ? size : 1);
    if (!at)
        c->out_of_memory = true;
    return at;
}

const struct config_node *route_value(const struct route_settings *s, const char *key)
{
    const struct config_node *node = config_get(s->node, key);
    return node && node->kind != NODE_NULL ? node : NULL;
}

/* Names are labels in metrics and paths in the API: each stands for one route. */
static void check_names(struct config *c, const struct route *routes, size_t count)
{
    struct table *seen = table_create();
    for (size_t i = 0; seen && i < count; i++) {
        uint64_t first = 0;
        if (table_get(seen, routes[i].name, &first)) {
            const struct config_node *at = route_value(routes[i].settings, "name");
            config_fault(
                c, at ? at : routes[i].node, "%s is the name of another route too (routes[%llu], line %u)",
                config_quote(c, routes[i].name), (unsigned long long)first, routes[first].node->line);
        } else if (table_put(seen, routes[i].name, i)) {
            c->out_of_memory = true;
        }
    }
    c->out_of_memory |= !seen;
    table_free(seen);
}

/* A route. */

static void compile_rewrite(struct config *c, const struct route_settings *s, struct route *r)
{
    if (!s->rewrite)
        return;
    const struct config_node *prefix = config_get(s->rewrite->node, "prefix");
    if (prefix && prefix->kind != NODE_NULL && r->path.kind == ROUTE_PATH_REGEX)
        config_fault(c, prefix,
                     "replaces a path that is a prefix or exact; with a regex, rewrite {regex: …, to: …}");
    if (!s->normalize)
        config_fault(c, s->rewrite->node,
                     "changes the path, which \"normalize: false\" sends as it came; drop one of them");
    struct rewrite *rewrite = route_allocate(c, sizeof *rewrite);
    if (rewrite && rewrite_compile(c, s->rewrite, rewrite) == 0)
        r->rewrite = rewrite;
}

static void compile_errors(struct config *c, const struct route_settings *s, struct route *r)
{
    r->errors = route_allocate(c, s->errors.count * sizeof *r->errors);
    for (size_t i = 0; r->errors && i < s->errors.count; i++) {
        const struct option_pair *pair = &s->errors.at[i];
        uint64_t status = 0;
        if (slice_to_u64(pair->name, &status) || status < 400 || status > 599) {
            config_fault_key(c, pair->node, "is no status of an error; write 400 to 599");
            continue;
        }
        if (pair->value.len == 0) {
            config_fault(c, pair->node, "needs a file");
            continue;
        }
        r->errors[r->error_count++] =
            (struct error_page){.status = (uint16_t)status, .path = pair->value, .node = pair->node};
    }
}

/* Written in `defaults`, and not at the route. */
static bool is_inherited(const struct config_node *node)
{
    while (node && node->parent && node->parent->parent)
        node = node->parent;
    return node && slice_equal(node->key, S("defaults"));
}

static void compile_cache(struct config *c, const struct route_settings *s, struct route *r)
{
    const struct config_node *at = route_value(s, "cache");
    if (!s->cache)
        return;
    if (r->action == ROUTE_UPSTREAM || r->action == ROUTE_SPLIT) {
        bool has_one_host = r->host_count == 1 && r->hosts[0].kind == ROUTE_HOST_EXACT;
        route_cache_compile(c, s->cache, has_one_host, &r->cache);
    } else if (r->action != ROUTE_NONE && at && !is_inherited(at)) {
        config_fault_key(c, at, "only answers of an upstream are cached");
    }
}

static void name_route(struct config *c, const struct route_settings *s, struct route *r)
{
    r->name = s->name;
    if (s->name.len)
        return;
    const char *text = arena_printf(&c->arena, "routes[%zu]", r->index);
    if (!text)
        c->out_of_memory = true;
    r->name = slice_text(text ? text : "");
}

static void compile_route(const struct route_compilation *k, const struct route_settings *s, size_t index,
                          struct route *r)
{
    struct config *c = k->c;
    r->index = index;
    r->node = s->node;
    r->settings = s;
    name_route(c, s, r);

    int failed = route_compile_match(k, s, r);
    failed |= conditions_compile(c, s->headers, s->query, s->cookies, &r->conditions);
    r->rank = (unsigned)(r->conditions.count + (r->method_count > 0));
    /* What it would match is not known: it stands under no host, so that it is in nobody's way. */
    if (failed)
        r->host_count = 0;
    route_compile_action(k, s, r);

    access_compile(c, &s->allow, &s->deny, &r->access);
    compile_rewrite(c, s, r);
    edits_compile(c, &s->request_headers, EDITS_REQUEST, &r->request_headers);
    edits_compile(c, &s->response_headers, EDITS_RESPONSE, &r->response_headers);
    compile_errors(c, s, r);
    compile_cache(c, s, r);
    r->retries = s->retries;
    r->timeout = s->timeout;
    r->concurrency = (uint32_t)s->concurrency;
    r->priority = s->priority + QUEUE_HIGH;
    r->limits = s->limits;
    r->timeouts = s->timeouts;
    r->normalize = s->normalize;
}

/* While requests are served. */

struct route_target *split_pick(const struct route *r, uint32_t random)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < r->target_count; i++)
        sum += atomic_load_explicit(&r->targets[i].weight, memory_order_relaxed);
    uint64_t at = (uint64_t)(((unsigned __int128)random * sum) >> 32);
    for (size_t i = 0; i < r->target_count; i++) {
        uint32_t weight = atomic_load_explicit(&r->targets[i].weight, memory_order_relaxed);
        if (at < weight)
            return &r->targets[i];
        at -= weight;
    }
    /* A weight went down between the two walks, or all are 0. */
    for (size_t i = 0; i < r->target_count; i++)
        if (atomic_load_explicit(&r->targets[i].weight, memory_order_relaxed))
            return &r->targets[i];
    return NULL;
}

const struct error_page *route_error_page(const struct route *r, unsigned status)
{
    for (size_t i = 0; i < r->error_count; i++)
        if (r->errors[i].status == status)
            return &r->errors[i];
    return NULL;
}
