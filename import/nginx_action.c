/* What a location does: answers, redirects, sends on or serves files; and what is refused in it. A location
 * that cannot be converted answers 501, so that its requests do not fall to a route that was not meant for
 * them. */
#include "import/nginx.h"

#include <stdlib.h>

void ng_close(struct nginx *n, struct import_route *r, const char *why)
{
    struct yaml_node *respond = yaml_map(n->a);
    yaml_set_raw(n->a, respond, "status", "501");
    yaml_comment(n->a, respond, "%s: closed, so that no other route takes its requests", why);
    yaml_set(n->a, r->body, "respond", respond);
}

/* return, rewrite … permanent */

static bool redirect(struct nginx *n, struct ng *d, const char *to, long long status, struct import_route *r)
{
    const char *unknown = "", *target = ng_template(n, d->parent, to, false, &unknown);
    struct yaml_node *map = yaml_map(n->a);
    if (!target) {
        ng_left(n, d, "weir has no %s here; write the redirect as a route", unknown);
        return false;
    }
    yaml_set_text(n->a, map, "to", target);
    yaml_set_raw(n->a, map, "status", import_printf(n->a, "%lld", status));
    yaml_set(n->a, r->body, "redirect", map);
    return true;
}

static bool respond(struct nginx *n, struct ng *d, long long status, const char *body, struct import_route *r)
{
    const char *unknown = "", *text = ng_template(n, d->parent, body, false, &unknown);
    struct yaml_node *map = yaml_map(n->a);
    if (!text) {
        ng_left(n, d, "weir has no %s here; write the answer as a route with `respond`", unknown);
        return false;
    }
    yaml_set_raw(n->a, map, "status", import_printf(n->a, "%lld", status));
    if (*text) {
        const struct ng *type = ng_effective(d->parent, "default_type");
        struct yaml_node *headers = yaml_map(n->a);
        yaml_set_text(n->a, map, "body", text);
        yaml_set_text(n->a, headers, "content-type", type ? ng_arg(type, 0) : "text/plain");
        yaml_set(n->a, map, "headers", headers);
    }
    yaml_set(n->a, r->body, "respond", map);
    return true;
}

bool ng_return(struct nginx *n, struct ng *d, struct import_route *r)
{
    long long status = text_number(ng_arg(d, 0));
    const char *text = ng_arg(d, 1);
    d->done = true;
    if (status < 0)
        return redirect(n, d, ng_arg(d, 0), 302, r);
    bool redirects = status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
    if (redirects && *text)
        return redirect(n, d, text, status, r);
    if (status == 444) {
        ng_left(n, d, "weir always answers; this answers 403 now");
        return respond(n, d, 403, "", r);
    }
    if (status < 200 || status > 599) {
        ng_left(n, d, "weir answers with 200 to 599");
        return false;
    }
    return respond(n, d, status, text, r);
}

bool ng_matches_all(const char *pattern)
{
    static const char *const all[] = {"^",        "^/",       "^(.*)$", "^(.*)",     "(.*)",    "^/(.*)$",
                                      "^/(.*)",   "^/?(.*)$", ".*",     "^.*$",      "^/?(.*)", "^.*",
                                      "^/(.*?)$", "^(/.*)$",  "^(/.*)", "^/?(.*)?$", "/(.*)"};
    return text_in(pattern, all, COUNT_OF(all));
}

/* $1 of a pattern that takes the whole path, where the path and query follow by themselves. */
static const char *whole_target(struct nginx *n, const char *pattern, const char *to)
{
    size_t len = strlen(to);
    bool keeps_query = !text_ends(to, "?");
    const char *slash = strstr(pattern, "/(") || strstr(pattern, "/?(") ? "/" : "";
    if (!keeps_query && text_ends(to, "$request_uri?"))
        return import_copy(n->a, to, len - 1);
    if (text_ends(to, "$request_uri"))
        return to;
    if (keeps_query && (text_ends(to, "$uri") || text_ends(to, "$document_uri")))
        return import_printf(n->a, "%.*s$request_uri", (int)(strrchr(to, '$') - to), to);
    const char *tail = import_printf(n->a, "%s$1", slash);
    if (keeps_query && text_ends(to, tail))
        return import_printf(n->a, "%.*s$request_uri", (int)(len - strlen(tail)), to);
    return NULL;
}

bool ng_rewrite_redirect(struct nginx *n, struct ng *d, struct import_route *r)
{
    const char *pattern = ng_arg(d, 0), *to = ng_arg(d, 1), *flag = ng_arg(d, 2);
    long long status = text_is(flag, "permanent") ? 301 : 302;
    const char *target = ng_matches_all(pattern) ? whole_target(n, pattern, to) : NULL;
    d->done = true;
    if (target)
        return redirect(n, d, target, status, r);
    for (const char *p = to; *p; p++)
        if (*p == '$' && p[1] >= '0' && p[1] <= '9') {
            ng_left(
                n, d,
                "a redirect has no captures of a regex; write a route for each, or let the server redirect");
            return false;
        }
    size_t len = strlen(to);
    bool drops_query = text_ends(to, "?");
    if (!redirect(n, d, drops_query ? import_copy(n->a, to, len - 1) : to, status, r))
        return false;
    if (!drops_query)
        ng_note(n, d, "the query of the request is not passed on");
    return true;
}

static bool is_redirecting(const struct ng *d)
{
    const char *flag = ng_arg(d, 2), *to = ng_arg(d, 1);
    return text_is(flag, "permanent") || text_is(flag, "redirect") || text_begins(to, "http://") ||
           text_begins(to, "https://") || text_begins(to, "$scheme");
}

/* True when every path is redirected; others become routes by regex. */
bool ng_server_rewrite(struct nginx *n, struct ng *block)
{
    for (struct ng *d = ng_child(block, "rewrite"); d; d = ng_next(d)) {
        if (!is_redirecting(d)) {
            ng_left(n, d,
                    "weir does not look for a route again; write a route whose `rewrite: { regex, to }` "
                    "sends it on");
            continue;
        }
        bool all = ng_matches_all(ng_arg(d, 0));
        struct import_route *r =
            ng_route(n, d, all ? "" : import_printf(n->a, "%s-rewrite", ng_arg(d, 0)),
                     all ? IMPORT_PATH_ANY : IMPORT_PATH_REGEX, all ? "/" : ng_arg(d, 0));
        if (import_route_is_taken(n->in, r) || !ng_rewrite_redirect(n, d, r)) {
            import_route_drop(n->in, r);
            continue;
        }
        if (!all)
            continue;
        for (struct ng *l = ng_child(block, "location"); l; l = ng_next(l))
            ng_left(n, l, "never met: the server's `rewrite` comes before");
        return true;
    }
    return false;
}

/* if, limit_except */

/* `($name = value)`: its three words without the brackets; false when it is none of that kind. */
bool ng_if_words(struct nginx *n, const struct ng *d, const char *words[3])
{
    size_t count = 0;
    for (size_t i = 0; i < d->arg_count; i++) {
        const char *s = d->args[i];
        s += i == 0 && s[0] == '(';
        bool closes = i + 1 == d->arg_count && text_ends(s, ")");
        s = closes ? import_copy(n->a, s, strlen(s) - 1) : s;
        if ((*s == '\0' && (i == 0 || closes)))
            continue;
        if (count == 3)
            return false;
        words[count++] = s;
    }
    return count == 3;
}

bool ng_if_condition(struct nginx *n, const struct ng *d, struct yaml_node *conditions)
{
    static const char *const groups[][2] = {
        {"$http_", "headers"}, {"$cookie_", "cookies"}, {"$arg_", "query"}};
    const char *words[3];
    if (!ng_if_words(n, d, words))
        return false;
    const char *name = words[0], *how = words[1], *value = words[2];
    bool equal = text_is(how, "="), regex = text_is(how, "~"), nocase = text_is(how, "~*");
    if (!(equal || regex || nocase))
        return false;
    if (text_is(name, "$request_method") && equal) {
        yaml_add_text(n->a, yaml_list_at(n->a, conditions, "methods"), value);
        return true;
    }
    for (size_t i = 0; i < COUNT_OF(groups); i++) {
        if (!text_begins(name, groups[i][0]))
            continue;
        const char *key = name + strlen(groups[i][0]);
        if (!*key)
            return false;
        char *dashed = import_alloc(n->a, strlen(key) + 1);
        for (size_t k = 0; key[k]; k++)
            dashed[k] = key[k] == '_' && i == 0 ? '-' : key[k];
        struct yaml_node *map = yaml_at(n->a, conditions, groups[i][1]);
        if (equal) {
            yaml_set_text(n->a, map, dashed, value);
        } else {
            struct yaml_node *match = yaml_map(n->a);
            yaml_set_text(n->a, match, "regex", nocase ? import_printf(n->a, "(?i)%s", value) : value);
            yaml_set(n->a, map, dashed, match);
        }
        return equal ? *value != '\0' : true;
    }
    return false;
}

/* A route beside the location's, for those that the condition holds for. */
static void conditions_of(struct nginx *n, struct ng_place *p)
{
    for (struct ng *d = ng_child(p->block, "if");
         d && p->block->parent && text_is(p->block->name, "location"); d = ng_next(d)) {
        struct ng *back = ng_child(d, "return");
        struct yaml_node *conditions = yaml_map(n->a);
        if (!back || !ng_if_condition(n, d, conditions))
            continue;
        struct import_route *r =
            ng_route(n, d, import_printf(n->a, "%s-if", p->path), p->route->kind, p->route->path);
        r->conditions = conditions;
        d->done = true;
        if (import_route_is_taken(n->in, r) || !ng_return(n, back, r))
            import_route_drop(n->in, r);
    }
}

static void methods_of(struct nginx *n, struct ng_place *p)
{
    struct ng *d = ng_child(p->block, "limit_except");
    if (!d)
        return;
    d->done = true;
    struct ng *deny = ng_child(d, "deny");
    if (!deny || deny->next || deny != d->children || !text_is(ng_arg(deny, 0), "all")) {
        ng_left(n, d, "methods are a route's `methods`; this one takes none but the named ones");
    } else {
        deny->done = true;
    }
    struct import_route *r =
        ng_route(n, d, import_printf(n->a, "%s-methods", p->path), p->route->kind, p->route->path);
    struct yaml_node *answer = yaml_map(n->a), *methods = yaml_list_at(n->a, p->route->conditions, "methods");
    yaml_set_raw(n->a, answer, "status", "403");
    yaml_set(n->a, r->body, "respond", answer);
    for (size_t i = 0; i < d->arg_count; i++)
        yaml_add_text(n->a, methods, d->args[i]);
}

/* Who may. */

static void guards(struct nginx *n, struct ng_place *p)
{
    static const char *const names[] = {"auth_basic", "auth_request", "auth_jwt"};
    struct ng *satisfy = ng_effective(p->block, "satisfy");
    bool address_is_enough = satisfy && text_is(ng_arg(satisfy, 0), "any") &&
                             yaml_get(p->route->body, "allow") && !yaml_get(p->route->body, "deny");
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        struct ng *d = ng_effective(p->block, names[i]);
        if (!d || text_is(ng_arg(d, 0), "off"))
            continue;
        ng_left(n, d,
                "weir asks for no credentials yet; what is behind it is closed by `deny` until you open it");
        if (address_is_enough)
            continue; /* `allow` lets in whom it let in without a password */
        struct yaml_node *all = yaml_list(n->a);
        yaml_comment(n->a, all, "was behind %s: closed", names[i]);
        yaml_add(n->a, all, yaml_text(n->a, "0.0.0.0/0"));
        yaml_add(n->a, all, yaml_text(n->a, "::/0"));
        yaml_drop(p->route->body, "allow"); /* an address alone was not enough */
        yaml_set(n->a, p->route->body, "deny", all);
    }
}

static bool is_closed_to_all(const struct ng *block)
{
    struct ng *deny = ng_child(block, "deny");
    return deny && text_is(ng_arg(deny, 0), "all") && !ng_child(block, "allow");
}

/* The action. */

static bool foreign(struct nginx *n, struct ng_place *p)
{
    static const char *const names[] = {
        "fastcgi_pass", "uwsgi_pass",           "scgi_pass", "memcached_pass", "stub_status",
        "js_content",   "content_by_lua_block", "perl",      "echo",           "content_by_lua_file"};
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (ng_child(p->block, names[i])) {
            ng_close(n, p->route, import_printf(n->a, "%s could not be converted", names[i]));
            return true;
        }
    return false;
}

static struct ng *first_redirecting(const struct ng *block)
{
    for (struct ng *d = ng_child(block, "rewrite"); d; d = ng_next(d))
        if (is_redirecting(d) && ng_matches_all(ng_arg(d, 0)))
            return d;
    return NULL;
}

/* Redirects of some paths in a location, as routes by regex before it. */
static void partial_redirects(struct nginx *n, struct ng_place *p)
{
    for (struct ng *d = ng_child(p->block, "rewrite"); d; d = ng_next(d)) {
        if (!is_redirecting(d) || ng_matches_all(ng_arg(d, 0)))
            continue;
        struct import_route *r =
            ng_route(n, d, import_printf(n->a, "%s-rewrite", ng_arg(d, 0)), IMPORT_PATH_REGEX, ng_arg(d, 0));
        if (import_route_is_taken(n->in, r) || !ng_rewrite_redirect(n, d, r))
            import_route_drop(n->in, r);
    }
}

static bool act(struct nginx *n, struct ng_server *s, struct ng_place *p)
{
    struct ng *own = text_is(p->block->name, "location") ? p->block : NULL;
    struct ng *back = own ? ng_child(own, "return") : NULL, *rewrite = own ? first_redirecting(own) : NULL;
    if (own && ng_child(own, "internal")) {
        ng_child(own, "internal")->done = true;
        ng_note(n, own, "it answers 404; X-Accel-Redirect is not followed");
        return respond(n, ng_child(own, "internal"), 404, "", p->route);
    }
    if (back)
        return ng_return(n, back, p->route);
    if (rewrite)
        return ng_rewrite_redirect(n, rewrite, p->route);
    if (foreign(n, p))
        return true;
    if (ng_proxy(n, p))
        return true;
    if (own && is_closed_to_all(own)) {
        ng_child(own, "deny")->done = true;
        return respond(n, own, 403, "", p->route);
    }
    ng_files(n, s, p);
    return true;
}

void ng_place_convert(struct nginx *n, struct ng_server *s, struct ng_place *p)
{
    if (!act(n, s, p))
        ng_close(n, p->route, "what it does could not be converted");
    if (text_is(p->block->name, "location")) {
        partial_redirects(n, p);
        conditions_of(n, p);
        methods_of(n, p);
    }
    if (yaml_get(p->route->body, "respond") || yaml_get(p->route->body, "redirect")) {
        static const char *const unasked[] = {"allow",      "deny",         "satisfy",
                                              "auth_basic", "auth_request", "auth_jwt"};
        for (size_t i = 0; i < COUNT_OF(unasked); i++)
            ng_level(p->block, unasked[i]); /* `return` comes before access in nginx too */
    } else {
        ng_access(n, p->block, p->route);
        guards(n, p);
    }
    ng_response_headers(n, p->block, p->route);
    ng_errors(n, s, p);
}
