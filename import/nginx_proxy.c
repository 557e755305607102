/* proxy_pass and grpc_pass: the upstream, the path that it gets, times, and when another server is tried. */
#include "import/nginx.h"
#include "import/source.h"

struct target {
    const char *name;  /* a declared upstream, HOST[:PORT] or unix:PATH */
    const char *uri;   /* NULL: the request's own */
    const char *shown; /* $proxy_host */
    bool tls, grpc;
};

static bool read_target(struct nginx *n, struct ng *d, struct target *t)
{
    static const struct {
        const char *begin;
        bool tls, grpc;
    } schemes[] = {{"http://", false, false},
                   {"https://", true, false},
                   {"grpc://", false, true},
                   {"grpcs://", true, true}};
    const char *s = ng_arg(d, 0), *unknown = "";
    size_t len = strlen(s);
    if (text_ends(s, "$request_uri"))
        s = import_copy(n->a, s, len - 12);
    s = ng_template(n, d->parent, s, false, &unknown);
    *t = (struct target){.grpc = text_is(d->name, "grpc_pass")};
    if (!s || strstr(s, "${")) {
        ng_left(n, d,
                "where it goes is known only when a request is there; name the upstream, or write a route "
                "for each");
        return false;
    }
    for (size_t i = 0; i < COUNT_OF(schemes); i++)
        if (text_begins(s, schemes[i].begin)) {
            t->tls = schemes[i].tls;
            t->grpc = schemes[i].grpc;
            s += strlen(schemes[i].begin);
            break;
        }
    const char *uri = text_begins(s, "unix:") ? strchr(s + 5, ':') : strchr(s, '/');
    t->name = uri ? import_copy(n->a, s, (size_t)(uri - s)) : s;
    t->uri = uri ? uri + (*uri == ':') : NULL;
    t->shown = text_begins(t->name, "unix:") ? "localhost" : t->name;
    return *t->name != '\0';
}

/* TLS to the servers: nginx verifies nothing unless it is told to. */
static void upstream_tls(struct nginx *n, const struct ng *scope, const struct target *t, const char *prefix,
                         struct yaml_node *settings)
{
    struct yaml_node *tls = yaml_at(n->a, settings, "tls");
    struct ng *verify = ng_effective(scope, import_printf(n->a, "%s_ssl_verify", prefix));
    bool verified = verify && text_is(ng_arg(verify, 0), "on");
    static const char *const files[][2] = {
        {"trusted_certificate", "ca"}, {"certificate", "cert"}, {"certificate_key", "key"}};
    if (!verified)
        yaml_set_raw(n->a, tls, "verify", "false");
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        struct ng *d = ng_effective(scope, import_printf(n->a, "%s_ssl_%s", prefix, files[i][0]));
        if (d && (verified || i > 0))
            yaml_set_text(n->a, tls, files[i][1], source_path(n->a, n->in->file, ng_arg(d, 0)));
    }
    struct ng *name = ng_effective(scope, import_printf(n->a, "%s_ssl_name", prefix));
    const char *unknown, *text = name ? ng_template(n, scope, ng_arg(name, 0), false, &unknown) : t->shown;
    if (name && (!text || strstr(text, "${")))
        ng_left(n, name, "the name is one for the upstream: tls.server_name");
    else if (name)
        yaml_set_text(n->a, tls, "server_name", text);
    static const char *const ignored[] = {"protocols", "ciphers"};
    for (size_t i = 0; i < COUNT_OF(ignored); i++)
        ng_level(scope, import_printf(n->a, "%s_ssl_%s", prefix, ignored[i]));
}

/* The path. */

static bool has_break(const struct ng *block)
{
    struct ng *d = ng_child(block, "rewrite");
    return d && text_is(ng_arg(d, 2), "break");
}

static void rewrite_break(struct nginx *n, struct ng_place *p)
{
    struct ng *d = ng_child(p->block, "rewrite");
    const char *to = ng_arg(d, 1);
    d->done = true;
    bool plain = to[0] == '/' && !strchr(to, '?');
    for (const char *s = to; *s && plain; s++)
        if (*s == '$' && !(s[1] >= '0' && s[1] <= '9'))
            plain = false;
    if (!plain) {
        ng_left(n, d, "a rewrite takes a path with $1 to $9; the query stays as it is");
        return;
    }
    struct yaml_node *rewrite = yaml_map(n->a);
    yaml_set_text(n->a, rewrite, "regex", ng_arg(d, 0));
    yaml_set_text(n->a, rewrite, "to", to);
    yaml_set(n->a, p->route->body, "rewrite", rewrite);
}

static void path_of(struct nginx *n, struct ng_place *p, struct ng *d, const struct target *t)
{
    struct yaml_node *rewrite = yaml_map(n->a);
    if (has_break(p->block)) {
        rewrite_break(n, p);
        return;
    }
    if (!t->uri)
        return;
    if (p->match >= NG_REGEX) {
        ng_left(n, d, "a path under a regex; write rewrite: { regex, to }");
        return;
    }
    if (strchr(t->uri, '?') || strchr(t->uri, '$')) {
        ng_left(n, d, "a path with a query; write rewrite: { prefix } and let the server know the rest");
        return;
    }
    if (p->match == NG_EXACT) {
        if (text_is(t->uri, p->path))
            return;
        yaml_set_text(n->a, rewrite, "prefix", t->uri);
        yaml_set(n->a, p->route->body, "rewrite", rewrite);
        return;
    }
    bool slash = text_ends(p->path, "/"), uri_slash = text_ends(t->uri, "/");
    if (text_is(p->path, t->uri))
        return;
    if (slash != uri_slash)
        ng_note(n, d, "weir puts whole segments together: %s%sx is sent as %s%sx", p->path, slash ? "" : "/",
                t->uri, uri_slash ? "" : "/");
    yaml_set_text(n->a, rewrite, "prefix", t->uri);
    yaml_set(n->a, p->route->body, "rewrite", rewrite);
}

/* Times and tries. */

static void times(struct nginx *n, const struct ng *scope, const char *prefix, struct import_route *r)
{
    struct ng *read = ng_effective(scope, import_printf(n->a, "%s_read_timeout", prefix)),
              *sent = ng_effective(scope, import_printf(n->a, "%s_send_timeout", prefix));
    const char *time = read ? ng_duration(n, ng_arg(read, 0)) : NULL;
    if (time && ng_duration_ms(ng_arg(read, 0)) > 0) {
        struct yaml_node *timeouts = yaml_at(n->a, r->body, "timeouts");
        yaml_set_raw(n->a, timeouts, "response", time);
        yaml_set_raw(n->a, timeouts, "body", time);
        if (ng_duration_ms(ng_arg(read, 0)) > 600000)
            import_once(n->in, "timeouts", "idle",
                        time); /* what waits that long is a WebSocket, or might be */
    } else if (read) {
        ng_left(n, read, "that is no time that weir takes");
    }
    if (sent && read && ng_duration_ms(ng_arg(sent, 0)) != ng_duration_ms(ng_arg(read, 0)))
        ng_note(n, sent, "one time, timeouts.body, holds for both ways: %s", time ? time : "30s");
}

static void tries(struct nginx *n, const struct ng *scope, const char *prefix, struct import_route *r)
{
    struct ng *d = ng_effective(scope, import_printf(n->a, "%s_next_upstream", prefix)),
              *count = ng_effective(scope, import_printf(n->a, "%s_next_upstream_tries", prefix)),
              *time = ng_effective(scope, import_printf(n->a, "%s_next_upstream_timeout", prefix));
    if (time && !text_is(ng_arg(time, 0), "0"))
        ng_left(n, time, "a route's `timeout` bounds the whole exchange, retries.timeout one attempt");
    if (!d && !count)
        return;
    struct yaml_node *retries = yaml_at(n->a, r->body, "retries"), *on = yaml_list(n->a);
    long long most = count ? text_number(ng_arg(count, 0)) : 0;
    if (d && text_is(ng_arg(d, 0), "off")) {
        yaml_set_raw(n->a, retries, "attempts", "0");
        return;
    }
    if (most > 0)
        yaml_set_raw(n->a, retries, "attempts", import_printf(n->a, "%lld", most > 11 ? 10 : most - 1));
    for (size_t i = 0; d && i < d->arg_count; i++) {
        const char *what = d->args[i];
        if (text_is(what, "error")) {
            yaml_add_text(n->a, on, "connect");
            yaml_add_text(n->a, on, "reset");
        } else if (text_is(what, "timeout")) {
            yaml_add_text(n->a, on, "timeout");
        } else if (text_is(what, "invalid_header")) {
            yaml_add_text(n->a, on, "reset");
        } else if (text_begins(what, "http_") && text_number(what + 5) >= 400) {
            yaml_add_text(n->a, on, what + 5);
        } else if (text_is(what, "non_idempotent")) {
            yaml_set_raw(n->a, retries, "methods", "all");
        } else {
            ng_left(n, d, "weir does not know when \"%s\" is", what);
        }
    }
    if (yaml_count(on))
        yaml_set(n->a, retries, "on", on);
}

static void body_size(struct nginx *n, const struct ng *scope, struct import_route *r)
{
    struct ng *d = ng_effective(scope, "client_max_body_size");
    const struct yaml_node *top = yaml_get(yaml_get(n->in->top, "limits"), "body_size");
    const char *size = d ? ng_size(n, ng_arg(d, 0)) : NULL;
    if (d && !size)
        ng_left(n, d, "that is no size");
    else if (d && ng_size_bytes(size) != ng_size_bytes(yaml_scalar(top)))
        yaml_set_raw(n->a, yaml_at(n->a, r->body, "limits"), "body_size", size);
}

static void redirects(struct nginx *n, const struct ng *scope)
{
    for (struct ng *d = ng_level(scope, "proxy_redirect"); d; d = ng_next(d))
        if (!text_is(ng_arg(d, 0), "off") && !text_is(ng_arg(d, 0), "default"))
            ng_left(
                n, d,
                "weir passes Location as it is; the server knows its place by X-Forwarded-Host and -Proto");
}

/* `try_files … @app`: the application alone, where files come first in nginx. */
static struct ng *named_location(struct nginx *n, struct ng_place *p)
{
    struct ng *tries_it = ng_child(p->block, "try_files");
    const char *last = tries_it && tries_it->arg_count ? tries_it->args[tries_it->arg_count - 1] : "";
    const struct ng *server = p->block;
    if (last[0] != '@')
        return NULL;
    while (server && !text_is(server->name, "server"))
        server = server->parent;
    for (struct ng *l = ng_child(server, "location"); l; l = ng_next(l))
        if (text_is(ng_arg(l, 0), last) && (ng_child(l, "proxy_pass") || ng_child(l, "grpc_pass"))) {
            l->done = true;
            ng_left(n, tries_it,
                    "files are not looked for first: everything goes to the application; give the files a "
                    "route of their "
                    "own, { path: /assets/, files: … }");
            return l;
        }
    return NULL;
}

bool ng_proxy(struct nginx *n, struct ng_place *p)
{
    struct ng *scope = p->block;
    struct ng *d = ng_child(scope, "proxy_pass");
    d = d ? d : ng_child(scope, "grpc_pass");
    if (!d && (scope = named_location(n, p))) {
        d = ng_child(scope, "proxy_pass");
        d = d ? d : ng_child(scope, "grpc_pass");
    }
    struct target t;
    if (!d)
        return false;
    d->done = true;
    if (!read_target(n, d, &t)) {
        ng_close(n, p->route, "where it goes could not be converted");
        return true;
    }
    const char *prefix = t.grpc ? "grpc" : "proxy";
    struct yaml_node *settings = yaml_map(n->a);
    if (t.grpc)
        yaml_set_raw(n->a, settings, "protocol", "http2");
    if (t.tls)
        upstream_tls(n, scope, &t, prefix, settings);
    struct import_upstream *u = ng_upstream(n, d, d->parent, t.name, settings, t.tls ? "443" : "80");
    yaml_set_text(n->a, p->route->body, "upstream", u->name);
    path_of(n, p, d, &t);
    redirects(n, scope);
    ng_request_headers(n, scope, prefix, t.shown, p->route);
    times(n, scope, prefix, p->route);
    tries(n, scope, prefix, p->route);
    body_size(n, scope, p->route);
    ng_cache(n, scope, p->route);
    return true;
}
