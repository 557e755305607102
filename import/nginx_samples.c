/* Tests of the routes that were made: for each location a request that nginx would give it, by nginx's own
 * rules, and what must come of it in weir. So `weir check` proves that the routes take what the locations
 * took. */
#include "import/nginx.h"
#include "import/regex_sample.h"

static bool is_prefix(const struct ng_place *p)
{
    return p->match <= NG_PREFIX_NO_REGEX;
}

/* The location that nginx takes. */
static const struct ng_place *choose(const struct ng_place *places, const char *path)
{
    const struct ng_place *longest = NULL;
    for (const struct ng_place *p = places; p; p = p->next) {
        if (p->match == NG_EXACT && text_is(p->path, path))
            return p;
        if (is_prefix(p) && text_begins(path, p->path) &&
            (!longest || strlen(p->path) > strlen(longest->path)))
            longest = p;
    }
    if (longest && longest->match == NG_PREFIX_NO_REGEX)
        return longest;
    for (const struct ng_place *p = places; p; p = p->next)
        if (p->match >= NG_REGEX && (!p->under || text_begins(path, p->under)) &&
            regex_holds(p->path, p->match == NG_REGEX_NOCASE, path))
            return p;
    return longest;
}

static bool is_plain(const char *path)
{
    for (const char *p = path; *p; p++)
        if (!strchr("/._-~", *p) && !(*p >= '0' && *p <= '9') &&
            !(ascii_lower(*p) >= 'a' && ascii_lower(*p) <= 'z'))
            return false;
    return *path == '/' && !strstr(path, "//") && !strstr(path, "/.");
}

static void expect(struct nginx *n, const struct import_route *r, struct import_test *t)
{
    const struct yaml_node *redirect = yaml_get(r->body, "redirect"), *respond = yaml_get(r->body, "respond");
    const char *client = import_client(n->a, r->body), *to = yaml_scalar(yaml_get(redirect, "to"));
    t->route = r->name;
    t->client = client && *client ? client : NULL;
    if (client && !*client) {
        t->status = 403;
        return;
    }
    t->upstream = yaml_scalar(yaml_get(r->body, "upstream"));
    if (redirect || respond)
        t->status = (int)text_number(yaml_scalar(yaml_get(redirect ? redirect : respond, "status")));
    if (to && !strchr(to, '$'))
        t->location = to;
}

/* What is sent on, as nginx puts it together: the location's path is replaced by that of proxy_pass. */
static const char *sent_path(struct nginx *n, const struct ng_place *p, const char *path)
{
    const struct ng *pass =
        p->match == NG_PREFIX || p->match == NG_PREFIX_NO_REGEX ? ng_child(p->block, "proxy_pass") : NULL;
    const char *s = ng_arg(pass, 0), *host = strstr(s, "://"), *uri = host ? strchr(host + 3, '/') : NULL;
    if (!pass || !uri || strchr(s, '$') || strchr(s, '?') || text_begins(host, "://unix:") ||
        ng_child(p->block, "rewrite"))
        return NULL;
    if (text_ends(uri, "/") != text_ends(p->path, "/"))
        return NULL; /* told as a difference */
    return import_printf(n->a, "%s%s", uri, path + strlen(p->path));
}

static void sample(struct nginx *n, const struct ng_server *s, const struct ng_place *own, const char *path)
{
    const struct ng_place *p = path && is_plain(path) ? choose(s->places, path) : NULL;
    struct import_test t = {.target = path};
    if (!p || !p->route || p != own)
        return;
    for (size_t i = 0; i < s->listener_count && !t.listener; i++)
        if (yaml_has(p->route->listeners, s->listeners[i]->name))
            t.listener = s->listeners[i];
    if (!t.listener)
        return;
    const char *host = yaml_scalar(yaml_first(p->route->hosts));
    t.host = !host && s->first_name && s->first_name[0] != '*' ? s->first_name
             : !host                                           ? "any.invalid"
             : text_begins(host, "*.")                         ? import_printf(n->a, "sample%s", host + 1)
                                                               : host;
    t.method = yaml_scalar(yaml_first(yaml_get(p->route->conditions, "methods")));
    expect(n, p->route, &t);
    if (t.upstream)
        t.path = sent_path(n, p, path);
    import_test(n->in, &t);
}

void ng_samples(struct nginx *n)
{
    for (const struct ng_server *s = n->servers; s; s = s->next)
        for (const struct ng_place *p = s->places; p; p = p->next) {
            if (!p->route)
                continue;
            if (p->match >= NG_REGEX) {
                const char *under = p->under ? p->under : "";
                const char *path = regex_sample(n->a, p->path, p->match == NG_REGEX_NOCASE);
                if (path && *under && !text_begins(path, under))
                    path = import_printf(n->a, "%s%s", under, path + text_ends(under, "/"));
                sample(n, s, p, path);
                continue;
            }
            sample(n, s, p, p->path);
            if (p->match != NG_EXACT)
                sample(n, s, p,
                       import_printf(n->a, "%s%ssample", p->path, text_ends(p->path, "/") ? "" : "/"));
        }
}
