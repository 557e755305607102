/* Locations to routes. nginx: an exact location wins; else the longest prefix is remembered, and unless it
 * says `^~` the regexes are asked in their order before it is taken. weir: exact, regexes in their order,
 * longest prefix. What differs is `^~` (kept out of the regexes by a look-ahead), nesting (flattened; nested
 * regexes first, with the prefix around them as a look-ahead), and that a server takes every path (so each
 * has a route for the rest). */
#include "import/nginx.h"

/* Flattening. */

static bool is_location(const struct ng *d)
{
    return text_is(d->name, "location") && d->is_block;
}

static struct ng_place *place_of(struct nginx *n, struct ng *d)
{
    struct ng_place *p = import_alloc(n->a, sizeof *p);
    const char *first = ng_arg(d, 0);
    static const char *const marks[] = {"=", "^~", "~*", "~"};
    static const enum ng_match matches[] = {NG_EXACT, NG_PREFIX_NO_REGEX, NG_REGEX_NOCASE, NG_REGEX};
    p->block = d;
    p->match = NG_PREFIX;
    p->path = first;
    for (size_t i = 0; i < COUNT_OF(marks); i++)
        if (text_begins(first, marks[i])) {
            p->match = matches[i];
            p->path = d->arg_count > 1 ? d->args[1] : first + strlen(marks[i]);
            break;
        }
    d->done = true;
    return p;
}

static void collect(struct nginx *n, struct ng *block, const char *under, struct ng_place ***last,
                    unsigned depth)
{
    for (struct ng *d = block->children; d && depth < NG_DEPTH_MAX; d = d->next) {
        if (!is_location(d))
            continue;
        struct ng_place *p = place_of(n, d);
        if (p->path[0] == '@')
            continue; /* converted where it is named */
        p->under = p->match >= NG_REGEX ? under : NULL;
        bool has_nested = ng_child(d, "location") != NULL;
        if (has_nested && p->match >= NG_REGEX) /* theirs come first, and hold there alone */
            for (struct ng *inner = ng_child(d, "location"); inner; inner = ng_next(inner))
                ng_left(n, inner, "a location inside a regex; write a route with one regex for both");
        else if (has_nested)
            collect(n, d, p->path, last, depth + 1);
        **last = p;
        *last = &p->next;
    }
}

/* Routes. */

struct import_route *ng_route(struct nginx *n, const struct ng *d, const char *label, enum import_path kind,
                              const char *path)
{
    const struct ng_server *s = n->server;
    const char *host = s->first_name ? s->first_name : s->is_default[0] ? "default" : "server";
    struct import_route *r =
        import_route(n->in, import_printf(n->a, "%s%s%s", host, *label ? "-" : "", label), ng_origin(n, d));
    r->kind = kind;
    r->path = path;
    for (size_t i = 0; i < s->listener_count; i++)
        if (s->is_default[i] == n->for_default)
            yaml_add_text(n->a, r->listeners, s->listeners[i]->name);
    if (!n->for_default)
        r->hosts = s->hosts;
    return r;
}

static const char *without_anchor(const char *regex)
{
    return regex[0] == '^' ? regex + 1 : regex;
}

static void add_quoted(struct text *out, const char *s)
{
    for (; *s; s++) {
        if (strchr("\\.^$|()[]{}*+?", *s))
            text_add(out, "\\");
        text_add_bytes(out, s, 1);
    }
}

/* The regex as weir must have it: `i`, without what `^~` prefixes hold, under the prefix that it is nested
 * in. */
static const char *regex_of(struct nginx *n, const struct ng_server *s, const struct ng_place *p)
{
    struct text ahead = {0}, out = {0};
    for (const struct ng_place *o = s->places; o; o = o->next)
        if (o->match == NG_PREFIX_NO_REGEX && !p->under) {
            text_add(&ahead, ahead.len ? "|" : "(?!");
            add_quoted(&ahead, o->path);
        }
    text_add(&ahead, ahead.len ? ")" : "");
    if (p->under && !text_is(p->under, "/")) {
        text_add(&ahead, "(?=");
        add_quoted(&ahead, p->under);
        text_add(&ahead, ")");
    }
    text_add(&out, p->match == NG_REGEX_NOCASE ? "(?i)" : "");
    if (!ahead.len)
        text_add(&out, p->path);
    else if (p->path[0] == '^')
        text_printf(&out, "^%s%s", ahead.at, strchr(p->path, '|') ? "(?:" : "");
    else
        text_printf(&out, "^%s.*?(?:%s)", ahead.at, p->path);
    if (ahead.len && p->path[0] == '^')
        text_printf(&out, "%s%s", without_anchor(p->path), strchr(p->path, '|') ? ")" : "");
    const char *regex = import_copy(n->a, out.at, out.len);
    text_free(&ahead);
    text_free(&out);
    return regex;
}

static struct import_route *route_of(struct nginx *n, struct ng_server *s, struct ng_place *p)
{
    bool whole = p->match <= NG_PREFIX_NO_REGEX && text_is(p->path, "/");
    switch (p->match) {
    case NG_PREFIX:
    case NG_PREFIX_NO_REGEX:
        return ng_route(n, p->block, whole ? "" : p->path, whole ? IMPORT_PATH_ANY : IMPORT_PATH_PREFIX,
                        p->path);
    case NG_EXACT:
        return ng_route(n, p->block, import_printf(n->a, "%s-exact", p->path), IMPORT_PATH_EXACT, p->path);
    case NG_REGEX:
    case NG_REGEX_NOCASE:
        return ng_route(n, p->block, import_printf(n->a, "%s-regex", p->path), IMPORT_PATH_REGEX,
                        regex_of(n, s, p));
    }
    return NULL;
}

static void tell_differences(struct nginx *n, const struct ng_server *s, const struct ng_place *p)
{
    if (p->match > NG_PREFIX_NO_REGEX || text_is(p->path, "/"))
        return;
    if (!text_ends(p->path, "/"))
        ng_note(n, p->block, "a prefix ends at a segment in weir: %s and %s/…, not %s…", p->path, p->path,
                p->path);
    if (p->match == NG_PREFIX_NO_REGEX)
        return;
    for (const struct ng_place *o = s->places; o; o = o->next)
        if (o->match == NG_PREFIX_NO_REGEX && o != p && text_begins(p->path, o->path))
            ng_note(n, p->block, "regexes are not asked below %s, also not here; nginx would ask them",
                    o->path);
}

static void convert_place(struct nginx *n, struct ng_server *s, struct ng_place *p)
{
    if (p->match <= NG_EXACT && p->path[0] != '/') {
        ng_left(n, p->block, "a path that does not begin with a slash is never met");
        return;
    }
    p->route = route_of(n, s, p);
    if (import_route_is_taken(n->in, p->route)) {
        import_route_drop(n->in, p->route);
        p->route = NULL;
        if (!n->for_default || !p->block->done)
            ng_left(n, p->block, "another route holds the same paths in weir (/x and /x/ are one); keep one");
        return;
    }
    tell_differences(n, s, p);
    ng_place_convert(n, s, p);
}

/* Servers. */

static bool has_root_location(const struct ng_server *s)
{
    for (const struct ng_place *p = s->places; p; p = p->next)
        if (p->match <= NG_PREFIX_NO_REGEX && text_is(p->path, "/"))
            return true;
    return false;
}

/* `if ($host = a.example) { return … }`: that host's requests, whatever the path. */
static void host_conditions(struct nginx *n, struct ng_server *s)
{
    for (struct ng *d = ng_child(s->block, "if"); d; d = ng_next(d)) {
        struct ng *back = ng_child(d, "return");
        const char *words[3];
        if (!back || !ng_if_words(n, d, words) || !text_is(words[0], "$host") || !text_is(words[1], "="))
            continue;
        const char *host = words[2];
        struct import_route *r = ng_route(n, d, import_printf(n->a, "%s-host", host), IMPORT_PATH_ANY, "/");
        r->listeners = yaml_list(n->a);
        for (size_t i = 0; i < s->listener_count; i++)
            yaml_add_text(n->a, r->listeners, s->listeners[i]->name);
        r->hosts = yaml_list(n->a);
        yaml_add_text(n->a, r->hosts, host);
        d->done = back->done = true;
        if (import_route_is_taken(n->in, r) || !ng_return(n, back, r)) {
            import_route_drop(n->in, r);
            continue;
        }
        struct yaml_node *others = yaml_list(n->a);
        yaml_add_others(n->a, others, s->hosts, host);
        s->hosts = others;
    }
}

/* `return` and a redirecting `rewrite` of a server come before every location. */
static bool server_answers(struct nginx *n, struct ng_server *s)
{
    struct ng *back = ng_child(s->block, "return");
    if (!back)
        return ng_server_rewrite(n, s->block);
    back->done = true;
    struct import_route *r = ng_route(n, back, "", IMPORT_PATH_ANY, "/");
    if (import_route_is_taken(n->in, r) || !ng_return(n, back, r))
        ng_close(n, r, "what `return` answers could not be converted");
    struct ng_place *p = import_alloc(n->a, sizeof *p);
    *p = (struct ng_place){.block = back, .match = NG_PREFIX, .path = "/", .route = r};
    s->places = p;
    for (struct ng *d = ng_child(s->block, "location"); d; d = ng_next(d))
        ng_left(n, d, "never met: the server's `return` comes before");
    return true;
}

/* What no location takes: the server's own files, or nothing. */
static void rest_of_server(struct nginx *n, struct ng_server *s, struct ng_place ***last)
{
    struct ng_place *p = import_alloc(n->a, sizeof *p);
    *p = (struct ng_place){.block = s->block, .match = NG_PREFIX, .path = "/"};
    **last = p;
    *last = &p->next;
}

static void routes_for(struct nginx *n, struct ng_server *s)
{
    if (server_answers(n, s))
        return;
    s->places = NULL;
    struct ng_place **last = &s->places;
    collect(n, s->block, NULL, &last, 0);
    if (!has_root_location(s))
        rest_of_server(n, s, &last);
    for (struct ng_place *p = s->places; p; p = p->next)
        convert_place(n, s, p);
}

void ng_server_routes(struct nginx *n, struct ng_server *s)
{
    bool any_default = false, any_named = false;
    for (size_t i = 0; i < s->listener_count; i++) {
        any_default |= s->is_default[i];
        any_named |= !s->is_default[i];
    }
    n->for_default = false;
    bool had_names = yaml_count(s->hosts) > 0;
    host_conditions(n, s);
    if (had_names && yaml_count(s->hosts) == 0 && !any_default) { /* each host has its condition */
        ng_level(s->block, "return");
        return;
    }
    if (any_named && yaml_count(s->hosts) == 0 && !any_default) {
        ng_left(n, s->block,
                "no request meets it: it has no name that weir can match, and is no default server");
        return;
    }
    if (any_named && yaml_count(s->hosts))
        routes_for(n, s);
    n->for_default = true;
    if (any_default)
        routes_for(n, s);
}
