/* What the file says of routes, compiled: names resolved, everything checked. */
#include "proxy/http/route.h"

#include "balancer/queue.h"
#include "core/hash.h"
#include "proxy/http/cache/settings.h"
#include "proxy/http/message.h"

#define PATH_MAX_BYTES 8192

struct compilation {
    struct config *c;
    const struct route_names *names;
    struct table *upstreams; /* by name */
};

static void compile_route(const struct compilation *k, const struct route_settings *s, size_t index,
                          struct route *r);
static void check_names(struct config *c, const struct route *routes, size_t count);

struct route *routes_compile(struct config *c, const struct route_settings *settings, size_t count,
                             const struct route_names *names)
{
    if (count == 0)
        return NULL;
    struct compilation k = {c, names, table_create()};
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

static void *allocate(struct config *c, size_t size)
{
    void *at = arena_zalloc(&c->arena, size ? size : 1);
    if (!at)
        c->out_of_memory = true;
    return at;
}

/* The key's value when the file gave one. */
static const struct config_node *value_of(const struct route_settings *s, const char *key)
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
            const struct config_node *at = value_of(routes[i].settings, "name");
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

/* --- what it matches --------------------------------------------------------------------------------------
 */

static bool is_host(struct slice name)
{
    bool is_v6 = name.len > 2 && name.at[0] == '[' && name.at[name.len - 1] == ']';
    for (size_t i = is_v6; i < name.len - is_v6; i++)
        if (!byte_is(name.at[i], BYTE_HOST) && !(is_v6 && name.at[i] == ':'))
            return false;
    return name.len > 0 && name.at[0] != '.' && memmem(name.at, name.len, "..", 2) == NULL;
}

static int compile_host(struct config *c, const struct config_node *at, struct slice text,
                        struct route_host *out)
{
    *out = (struct route_host){.kind = ROUTE_HOST_EXACT, .node = at};
    if (slice_equal(text, S("*"))) {
        out->kind = ROUTE_HOST_ANY;
        out->name = S("");
        return 0;
    }
    if (memmem(text.at, text.len, "://", 3)) {
        config_fault(c, at, "%s is no host: leave the scheme away, and a path goes under \"path\"",
                     config_quote(c, text));
        return -1;
    }
    if (host_port(text).len) {
        config_fault(c, at, "hosts are compared without their port; leave \":%.*s\" away",
                     SLICE_FMT(host_port(text)));
        return -1;
    }
    struct slice name = host_normalise(&c->arena, text);
    if (slice_begins(name, S("*."))) {
        out->kind = ROUTE_HOST_WILDCARD;
        name = slice_skip(name, 1);
    }
    struct slice bare = slice_skip(name, out->kind == ROUTE_HOST_WILDCARD);
    if (!is_host(bare) || memchr(bare.at, '*', bare.len)) {
        config_fault(c, at,
                     "%s is no host: write a name like example.com, or *.example.com for all names below it",
                     config_quote(c, text));
        return -1;
    }
    out->name = name;
    return 0;
}

static bool has_host(const struct route *r, const struct route_host *host)
{
    for (size_t i = 0; i < r->host_count; i++)
        if (r->hosts[i].kind == host->kind && slice_equal(r->hosts[i].name, host->name))
            return true;
    return false;
}

static int compile_hosts(struct config *c, const struct route_settings *s, struct route *r)
{
    int rc = 0;
    r->hosts = allocate(c, (s->host.count + 1) * sizeof *r->hosts);
    if (!r->hosts)
        return -1;
    for (size_t i = 0; i < s->host.count; i++) {
        struct route_host host;
        if (compile_host(c, s->host.nodes[i], s->host.at[i], &host))
            rc = -1;
        else if (!has_host(r, &host))
            r->hosts[r->host_count++] = host;
    }
    if (s->host.count == 0)
        r->hosts[r->host_count++] =
            (struct route_host){.kind = ROUTE_HOST_ANY, .name = S(""), .node = s->node};
    return rc || (s->host.count == 0 && value_of(s, "host")) ? -1 : 0;
}

static int compile_path(struct config *c, const struct route_settings *s, struct route *r)
{
    const struct route_path_settings *from = &s->path;
    r->path = (struct route_path){.kind = from->kind, .text = S("")};
    if (!from->node)
        return value_of(s, "path") ? -1 : 0;
    if (from->kind == ROUTE_PATH_REGEX) {
        r->path.text = from->text;
        r->path.regex = regex_compile(c, from->node, from->text);
        return r->path.regex ? 0 : -1;
    }
    if (!slice_begins(from->text, S("/"))) {
        config_fault(c, from->node, "a path begins with \"/\"%s",
                     slice_begins(from->text, S("^")) ? "; a regex is written {regex: \"…\"}" : "");
        return -1;
    }
    if (memchr(from->text.at, '?', from->text.len) || memchr(from->text.at, '#', from->text.len)) {
        config_fault(c, from->node,
                     "a path has no \"?\" and no \"#\"; conditions on the query go under \"query\"");
        return -1;
    }
    if (from->text.at[from->text.len - 1] == '*')
        config_warn(c, from->node,
                    "\"*\" is a character like others here; a prefix needs none, a pattern is written "
                    "{regex: \"…\"}");
    struct slice path;
    int fault = target_from_text(&c->arena, from->text, &path);
    if (fault) {
        config_fault(c, from->node, "%s is no path: %s", config_quote(c, from->text),
                     target_fault_text(fault));
        return -1;
    }
    if (path.len > PATH_MAX_BYTES) {
        config_fault(c, from->node, "is longer than %d bytes", PATH_MAX_BYTES);
        return -1;
    }
    if (from->kind == ROUTE_PATH_PREFIX && slice_ends(path, S("/")))
        path.len--;
    r->path.text = path;
    return 0;
}

static int compile_method(struct config *c, const struct config_node *at, struct slice method)
{
    char upper[16] = "";
    struct slice capitals = slice_of(upper, method.len < sizeof upper ? method.len : sizeof upper);
    for (size_t i = 0; i < capitals.len; i++)
        upper[i] = (char)(method.at[i] >= 'a' && method.at[i] <= 'z' ? method.at[i] - 32 : method.at[i]);

    if (!is_token(method))
        config_fault(c, at, "%s is no method", config_quote(c, method));
    else if (method_id(method) == METHOD_OTHER && method_id(capitals) != METHOD_OTHER)
        config_fault(c, at, "methods are told apart by case; did you mean \"%.*s\"?", SLICE_FMT(capitals));
    else
        return 0;
    return -1;
}

static int compile_methods(struct config *c, const struct route_settings *s, struct route *r)
{
    int rc = 0;
    r->methods = allocate(c, s->methods.count * sizeof *r->methods);
    if (!r->methods)
        return -1;
    for (size_t i = 0; i < s->methods.count; i++)
        if (compile_method(c, s->methods.nodes[i], s->methods.at[i]))
            rc = -1;
        else
            r->methods[r->method_count++] = s->methods.at[i];
    return rc || (s->methods.count == 0 && value_of(s, "methods")) ? -1 : 0;
}

static size_t find_name(const char *const *names, size_t count, struct slice name)
{
    for (size_t i = 0; i < count; i++)
        if (slice_equal(slice_text(names[i]), name))
            return i;
    return SIZE_MAX;
}

static int compile_listeners(const struct compilation *k, const struct route_settings *s, struct route *r)
{
    const struct route_names *names = k->names;
    if (s->listener.count == 0)
        return value_of(s, "listener") ? -1 : 0;
    int rc = -1;
    r->listener_words = names->listener_count / 64 + 1;
    r->listeners = allocate(k->c, r->listener_words * sizeof *r->listeners);
    for (size_t i = 0; r->listeners && i < s->listener.count; i++) {
        const struct config_node *at = s->listener.nodes[i];
        size_t slot = find_name(names->listeners, names->listener_count, s->listener.at[i]);
        if (slot == SIZE_MAX)
            config_fault(
                k->c, at, "no listener is called %s%s", config_quote(k->c, s->listener.at[i]),
                config_mend(k->c, s->listener.at[i], names->listeners, names->listener_count, false));
        else if (names->is_http && !names->is_http[slot])
            config_fault(k->c, at, "listener %s does not serve http; routes are for those that do",
                         config_quote(k->c, s->listener.at[i]));
        else {
            r->listeners[slot / 64] |= (uint64_t)1 << slot % 64;
            rc = 0;
        }
    }
    return rc;
}

/* --- actions
 * ------------------------------------------------------------------------------------------------ */

static void check_upstream(const struct compilation *k, const struct config_node *at, bool at_key,
                           struct slice name)
{
    const struct route_names *names = k->names;
    uint64_t slot;
    if (table_get(k->upstreams, name, &slot))
        return;
    bool is_near = config_suggest(name, names->upstreams, names->upstream_count) != NULL;
    const char *mend = config_mend(k->c, name, names->upstreams, names->upstream_count, !is_near);
    if (memchr(name.at, ':', name.len))
        mend = "; an action names one of the `upstreams`, where addresses stand";
    if (at_key)
        config_fault_key(k->c, at, "no upstream is called %s%s", config_quote(k->c, name), mend);
    else
        config_fault(k->c, at, "no upstream is called %s%s", config_quote(k->c, name), mend);
}

static void compile_upstream(const struct compilation *k, const struct route_settings *s, struct route *r)
{
    r->targets = allocate(k->c, sizeof *r->targets);
    if (!r->targets || s->upstream.len == 0)
        return;
    r->targets[0].name = s->upstream;
    r->targets[0].node = value_of(s, "upstream");
    atomic_init(&r->targets[0].weight, 1);
    r->target_count = 1;
    check_upstream(k, r->targets[0].node, false, s->upstream);
}

static void compile_split(const struct compilation *k, const struct route_settings *s, struct route *r)
{
    r->targets = allocate(k->c, s->split.count * sizeof *r->targets);
    uint64_t sum = 0;
    for (size_t i = 0; r->targets && i < s->split.count; i++) {
        const struct option_pair *pair = &s->split.at[i];
        uint64_t weight = 0;
        check_upstream(k, pair->node, true, pair->name);
        if (option_count(k->c, pair->node, 0, 1000000, &weight))
            return;
        struct route_target *target = &r->targets[r->target_count++];
        target->name = pair->name;
        target->node = pair->node;
        atomic_init(&target->weight, (uint32_t)weight);
        sum += weight;
    }
    const struct config_node *at = value_of(s, "split");
    if (sum == 0 && (r->target_count || at->count == 0))
        config_fault(k->c, at, "needs an upstream with a weight above 0");
}

static void compile_redirect(struct config *c, const struct route_settings *s, struct route *r)
{
    const struct redirect_settings *from = s->redirect;
    if (!from)
        return;
    const struct config_node *to = config_get(from->node, "to"), *status = config_get(from->node, "status");
    if (from->status != 301 && from->status != 302 && from->status != 303 && from->status != 307 &&
        from->status != 308)
        config_fault(c, status, "a redirect is 301, 302, 303, 307 or 308");
    to = to ? to : from->node;
    r->redirect.status = (uint16_t)from->status;
    if (!is_field_value(from->to))
        config_fault(c, to, "holds a control character, which no Location may");
    template_compile(c, to, from->to, TEMPLATE_AT_REQUEST, &r->redirect.to);
}

static void compile_respond(struct config *c, const struct route_settings *s, struct route *r)
{
    const struct respond_settings *from = s->respond;
    if (!from)
        return;
    r->respond.status = (uint16_t)from->status;
    template_compile(c, config_get(from->node, "body"), from->body, TEMPLATE_AT_REQUEST, &r->respond.body);
    edits_compile_fields(c, &from->headers, &r->respond.headers);
    if ((from->status == 204 || from->status == 205 || from->status == 304) && from->body.len)
        config_fault(c, config_get(from->node, "body"), "an answer with status %u has no body",
                     r->respond.status);
}

static void compile_files(struct config *c, const struct route_settings *s, struct route *r)
{
    r->files = s->files;
    if (!s->files)
        return;
    const struct slice fallback = s->files->fallback;
    if (fallback.len && fallback.at[0] != '/')
        config_fault(c, config_get(s->files->node, "fallback"),
                     "begins with \"/\": it is a path under the root");
    for (size_t i = 0; i < s->files->index.count; i++)
        if (memchr(s->files->index.at[i].at, '/', s->files->index.at[i].len))
            config_fault(c, s->files->index.nodes[i], "is a file's name, without \"/\"");
}

static void compile_action(const struct compilation *k, const struct route_settings *s, struct route *r)
{
    static const struct {
        const char *key;
        enum route_action action;
    } actions[] = {{"upstream", ROUTE_UPSTREAM},
                   {"split", ROUTE_SPLIT},
                   {"redirect", ROUTE_REDIRECT},
                   {"respond", ROUTE_RESPOND},
                   {"files", ROUTE_FILES}};
    const char *first = NULL;
    for (size_t i = 0; i < COUNT_OF(actions); i++) {
        const struct config_node *node = value_of(s, actions[i].key);
        if (!node)
            continue;
        if (first) {
            config_fault_key(k->c, node, "the route has an action already, \"%s\"; it takes one", first);
            continue;
        }
        first = actions[i].key;
        r->action = actions[i].action;
    }

    switch (r->action) {
    case ROUTE_NONE:
        if (s->node && s->node->kind == NODE_MAP)
            config_fault(k->c, s->node, "needs an action: upstream, split, redirect, respond or files");
        break;
    case ROUTE_UPSTREAM:
        compile_upstream(k, s, r);
        break;
    case ROUTE_SPLIT:
        compile_split(k, s, r);
        break;
    case ROUTE_REDIRECT:
        compile_redirect(k->c, s, r);
        break;
    case ROUTE_RESPOND:
        compile_respond(k->c, s, r);
        break;
    case ROUTE_FILES:
        compile_files(k->c, s, r);
        break;
    }
}

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

/* --- on the way -------------------------------------------------------------------------------------------
 */

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
    struct rewrite *rewrite = allocate(c, sizeof *rewrite);
    if (rewrite && rewrite_compile(c, s->rewrite, rewrite) == 0)
        r->rewrite = rewrite;
}

static void compile_errors(struct config *c, const struct route_settings *s, struct route *r)
{
    r->errors = allocate(c, s->errors.count * sizeof *r->errors);
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

const struct error_page *route_error_page(const struct route *r, unsigned status)
{
    for (size_t i = 0; i < r->error_count; i++)
        if (r->errors[i].status == status)
            return &r->errors[i];
    return NULL;
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
    const struct config_node *at = value_of(s, "cache");
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

static void compile_route(const struct compilation *k, const struct route_settings *s, size_t index,
                          struct route *r)
{
    struct config *c = k->c;
    r->index = index;
    r->node = s->node;
    r->settings = s;
    name_route(c, s, r);

    int failed = compile_listeners(k, s, r);
    failed |= compile_hosts(c, s, r);
    failed |= compile_path(c, s, r);
    failed |= compile_methods(c, s, r);
    failed |= conditions_compile(c, s->headers, s->query, s->cookies, &r->conditions);
    r->rank = (unsigned)(r->conditions.count + (r->method_count > 0));
    /* What it would match is not known: it stands under no host, so that it is in nobody's way. */
    if (failed)
        r->host_count = 0;
    compile_action(k, s, r);

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
