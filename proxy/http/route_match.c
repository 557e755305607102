/* What a route matches: listeners, hosts, path and methods, compiled. */
#include "proxy/http/message.h"
#include "proxy/http/route_internal.h"

#define PATH_MAX_BYTES 8192

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
    r->hosts = route_allocate(c, (s->host.count + 1) * sizeof *r->hosts);
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
    return rc || (s->host.count == 0 && route_value(s, "host")) ? -1 : 0;
}

static int compile_path(struct config *c, const struct route_settings *s, struct route *r)
{
    const struct route_path_settings *from = &s->path;
    r->path = (struct route_path){.kind = from->kind, .text = S("")};
    if (!from->node)
        return route_value(s, "path") ? -1 : 0;
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
    r->methods = route_allocate(c, s->methods.count * sizeof *r->methods);
    if (!r->methods)
        return -1;
    for (size_t i = 0; i < s->methods.count; i++)
        if (compile_method(c, s->methods.nodes[i], s->methods.at[i]))
            rc = -1;
        else
            r->methods[r->method_count++] = s->methods.at[i];
    return rc || (s->methods.count == 0 && route_value(s, "methods")) ? -1 : 0;
}

static size_t find_name(const char *const *names, size_t count, struct slice name)
{
    for (size_t i = 0; i < count; i++)
        if (slice_equal(slice_text(names[i]), name))
            return i;
    return SIZE_MAX;
}

static int compile_listeners(const struct route_compilation *k, const struct route_settings *s,
                             struct route *r)
{
    const struct route_names *names = k->names;
    if (s->listener.count == 0)
        return route_value(s, "listener") ? -1 : 0;
    int rc = -1;
    r->listener_words = names->listener_count / 64 + 1;
    r->listeners = route_allocate(k->c, r->listener_words * sizeof *r->listeners);
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

int route_compile_match(const struct route_compilation *k, const struct route_settings *s, struct route *r)
{
    int failed = compile_listeners(k, s, r);
    failed |= compile_hosts(k->c, s, r);
    failed |= compile_path(k->c, s, r);
    failed |= compile_methods(k->c, s, r);
    return failed;
}
