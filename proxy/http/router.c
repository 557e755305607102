#include "proxy/http/router_internal.h"

/* One look-up: what every candidate is held against. */
struct search {
    const struct router *router;
    const struct http_request *request;
    struct regex_scratch *regex;
    unsigned listener;
    uint64_t method;
    uint64_t allow; /* methods that other routes would take */
};

static const struct route *find_in_host(struct search *s, const struct router_host *host, struct slice path,
                                        struct route_match *out);

/* The first candidate that takes the request. */
static const struct route *choose_from(struct search *s, const struct candidate *at, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct candidate *k = &at[i];
        if (k->listeners && !(k->listeners[s->listener / 64] >> s->listener % 64 & 1))
            continue;
        if (k->conditions && conditions_fail(k->conditions, s->request, s->regex))
            continue;
        if (k->methods == UINT64_MAX || k->methods & s->method)
            return k->route;
        s->allow |= k->methods;
    }
    return NULL;
}

static inline const struct route *choose(struct search *s, const struct candidates *from)
{
    return LIKELY(from->count == CANDIDATES_ONE) ? from->only : choose_from(s, from->at, from->count);
}

static const struct router_host *find_host(const struct router *r, struct slice name)
{
    const struct router_index *index = router_at(r, r->hosts);
    uint64_t hash = router_hash(r, name);
    uint32_t at = (uint32_t)hash;
    for (router_ref ref; (ref = router_index_next(index, hash, &at));) {
        const struct router_host *host = router_at(r, ref);
        /* The rest of the record comes while its begin is looked at. */
        __builtin_prefetch((const char *)host + 64);
        if (host->name_len == name.len && memcmp(host->name, name.at, name.len) == 0)
            return host;
    }
    return NULL;
}

static unsigned count_dots(struct slice s)
{
    unsigned dots = 0;
    for (size_t i = 0; i < s.len; i++)
        dots += s.at[i] == '.';
    return dots;
}

/* The longest wildcard first: each suffix that begins with a dot, if there are wildcards of as many labels.
 */
static const struct route *find_in_wildcards(struct search *s, struct slice host, struct slice path,
                                             struct route_match *out)
{
    unsigned dots = count_dots(host);
    for (size_t i = 0; i < host.len; i++) {
        if (host.at[i] != '.')
            continue;
        unsigned labels = dots--;
        if (i == 0 || !(s->router->wildcard_labels >> (labels < 63 ? labels : 63) & 1))
            continue;
        const struct router_host *found = find_host(s->router, slice_skip(host, i));
        const struct route *route = found ? find_in_host(s, found, path, out) : NULL;
        if (route)
            return route;
    }
    return NULL;
}

const struct route *router_find(const struct router *r, unsigned listener_slot,
                                const struct http_request *request, struct slice host, struct slice path,
                                struct router_scratch *scratch, struct route_match *out)
{
    struct search s = {.router = r,
                       .request = request,
                       .regex = &scratch->regex,
                       .listener = listener_slot,
                       .method = router_method(r, request)};
    const struct route *route = NULL;
    *out = (struct route_match){0};

    /* A wildcard's key begins with a dot, and no request may name it so. */
    if (r->hosts && host.len && host.at[0] != '.') {
        const struct router_host *found = find_host(r, host);
        if (found)
            route = find_in_host(&s, found, path, out);
        if (!route && r->wildcard_labels)
            route = find_in_wildcards(&s, host, path, out);
    }
    if (!route && r->any)
        route = find_in_host(&s, router_at(r, r->any), path, out);
    if (!route)
        out->allow = s.allow;
    return route;
}

static bool is_path(const struct router_exact *e, struct slice path)
{
    return e->len == path.len && memcmp(e->path, path.at, path.len) == 0;
}

static const struct router_exact *find_exact(const struct router *r, const struct router_special *host,
                                             struct slice path)
{
    if (!host->exact_index) {
        const struct router_exact *e = router_at(r, host->exact);
        for (uint32_t i = 0; i < host->exact_count; i++, e = router_next_exact(e))
            if (is_path(e, path))
                return e;
        return NULL;
    }
    uint64_t hash = router_hash(r, path);
    uint32_t at = (uint32_t)hash;
    for (router_ref ref; (ref = router_index_next(router_at(r, host->exact_index), hash, &at));)
        if (is_path(router_at(r, ref), path))
            return router_at(r, ref);
    return NULL;
}

/* The node's label stands at the beginning of rest, by whole segments. */
static inline bool label_holds(const struct router_node *n, struct slice rest)
{
    size_t len = n->label_len;
    return rest.len >= len && memcmp(n->label, rest.at, len) == 0 && (rest.len == len || rest.at[len] == '/');
}

/* Its first segment is this one. Told by the first segment alone, since no two children share it. */
static const struct router_node *find_child(const struct router *r, const struct router_node *n,
                                            struct slice rest)
{
    if (!n->index) {
        const struct router_node *child = router_at(r, n->children);
        for (uint32_t i = 0; i < n->child_count; i++, child = router_next_node(child))
            if (label_holds(child, rest))
                return child;
        return NULL;
    }
    const char *slash = memchr(rest.at + 1, '/', rest.len - 1);
    struct slice segment = slice_of(rest.at, slash ? (size_t)(slash - rest.at) : rest.len);
    uint64_t hash = router_hash(r, segment);
    uint32_t at = (uint32_t)hash;
    for (router_ref ref; (ref = router_index_next(router_at(r, n->index), hash, &at));) {
        const struct router_node *child = router_at(r, ref);
        __builtin_prefetch((const char *)child + 56);
        if (child->first == segment.len && memcmp(child->label, segment.at, segment.len) == 0)
            return label_holds(child, rest) ? child : NULL;
    }
    return NULL;
}

/* The node of the longest prefix that holds the path, with or without routes; NULL when not even the root
 * does. */
static const struct router_node *find_prefix(const struct router *r, const struct router_node *root,
                                             struct slice path)
{
    if (path.len == 0 || path.at[0] != '/')
        return root->label_len ? NULL : root;
    if (root->label_len && !label_holds(root, path))
        return NULL;
    const struct router_node *node = root, *child = root;
    path = slice_skip(path, root->label_len);
    while (child && node->child_count && path.len) {
        child = find_child(r, node, path);
        if (child) {
            node = child;
            path = slice_skip(path, child->label_len);
        }
    }
    return node;
}

/* Exact paths, then regexes. */
static const struct route *find_special(struct search *s, const struct router_special *host,
                                        struct slice path, struct route_match *out)
{
    const struct router_exact *exact = host->exact_count ? find_exact(s->router, host, path) : NULL;
    const struct route *route = exact ? choose(s, &exact->candidates) : NULL;
    if (route) {
        out->prefix_len = path.len;
        return route;
    }
    const struct router_regex *regexes = router_at(s->router, host->regexes);
    for (uint32_t i = 0; !route && i < host->regex_count; i++)
        if (regex_match(regexes[i].path->regex, s->regex, path) == 1)
            route = choose(s, &regexes[i].candidates);
    return route;
}

static const struct route *find_in_host(struct search *s, const struct router_host *host, struct slice path,
                                        struct route_match *out)
{
    const struct router *r = s->router;
    const struct route *route =
        host->special ? find_special(s, router_at(r, host->special), path, out) : NULL;
    if (route)
        return route;
    const struct router_node *n = find_prefix(r, router_root(host), path);
    while (n && !(route = choose(s, &n->candidates)))
        n = n->above ? router_at(r, n->above) : NULL;
    out->prefix_len = route ? n->prefix_len : 0;
    return route;
}

uint64_t router_method(const struct router *r, const struct http_request *request)
{
    if (LIKELY(request->method_id != METHOD_OTHER))
        return (uint64_t)1 << request->method_id;
    for (unsigned i = METHOD_PATCH + 1; i < r->method_count; i++)
        if (slice_equal(r->methods[i], request->method))
            return (uint64_t)1 << i;
    return 0;
}

struct slice router_allow(const struct router *r, uint64_t allow, struct arena *arena)
{
    char *text = arena_alloc(arena, 1);
    size_t len = 0;
    for (int pass = 0; text && pass < 2; pass++) {
        len = 0;
        for (unsigned i = METHOD_GET; i < r->method_count; i++) {
            if (!(allow >> i & 1))
                continue;
            if (pass && len)
                memcpy(text + len, ", ", 2);
            len += len ? 2 : 0;
            if (pass)
                memcpy(text + len, r->methods[i].at, r->methods[i].len);
            len += r->methods[i].len;
        }
        if (pass == 0)
            text = arena_alloc(arena, len + 1);
    }
    return text ? slice_of(text, len) : (struct slice){0};
}

void router_scratch_free(struct router_scratch *scratch)
{
    regex_scratch_free(&scratch->regex);
}
