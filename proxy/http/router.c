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
static inline const struct route *choose(struct search *s, const struct candidates *from)
{
    for (uint32_t i = 0; i < from->count; i++) {
        const struct candidate *k = &from->at[i];
        if (k->listeners && !(k->listeners[s->listener / 64] >> s->listener % 64 & 1))
            continue;
        if (k->conditions && conditions_fail(k->conditions, s->request, s->regex))
            continue;
        if (LIKELY(k->methods & s->method) || k->methods == UINT64_MAX)
            return k->route;
        s->allow |= k->methods;
    }
    return NULL;
}

static const struct router_host *find_host(const struct router *r, struct slice name)
{
    uint64_t hash = router_hash(r, name);
    for (uint64_t i = hash;; i++) {
        const struct router_host_slot *slot = &r->hosts[i & r->host_mask];
        if (!slot->host)
            return NULL;
        if (slot->hash != hash)
            continue;
        /* What the look-up needs stands right behind the host; it comes while the name is compared. */
        __builtin_prefetch((const char *)slot->host + 64);
        __builtin_prefetch((const char *)slot->host + 128);
        __builtin_prefetch((const char *)slot->host + 192);
        __builtin_prefetch((const char *)slot->host + 256);
        __builtin_prefetch((const char *)slot->host + 320);
        if (slice_equal(slot->host->name, name))
            return slot->host;
    }
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
    if (r->host_count && host.len && host.at[0] != '.') {
        const struct router_host *found = find_host(r, host);
        if (found)
            route = find_in_host(&s, found, path, out);
        if (!route && r->wildcard_labels)
            route = find_in_wildcards(&s, host, path, out);
    }
    if (!route && r->any)
        route = find_in_host(&s, r->any, path, out);
    if (!route)
        out->allow = s.allow;
    return route;
}

static const struct router_exact *find_exact(const struct router *r, const struct router_host *host,
                                             struct slice path)
{
    if (!host->exact_index.slots) {
        for (uint32_t i = 0; i < host->exact_count; i++)
            if (slice_equal(host->exact[i].path, path))
                return &host->exact[i];
        return NULL;
    }
    uint64_t hash = router_hash(r, path);
    uint32_t at = (uint32_t)hash, number;
    while ((number = router_index_next(&host->exact_index, hash, &at)) != UINT32_MAX)
        if (slice_equal(host->exact[number].path, path))
            return &host->exact[number];
    return NULL;
}

/* The node's label stands at the beginning of rest, by whole segments. */
static inline bool label_holds(const struct router_node *n, struct slice rest)
{
    return slice_begins(rest, n->label) && (rest.len == n->label.len || rest.at[n->label.len] == '/');
}

static const struct router_node *find_child(const struct router *r, const struct router_node *n,
                                            struct slice rest)
{
    if (!n->index.slots) {
        for (uint32_t i = 0; i < n->child_count; i++)
            if (label_holds(&n->children[i], rest))
                return &n->children[i];
        return NULL;
    }
    const char *slash = memchr(rest.at + 1, '/', rest.len - 1);
    struct slice segment = slice_of(rest.at, slash ? (size_t)(slash - rest.at) : rest.len);
    uint64_t hash = router_hash(r, segment);
    uint32_t at = (uint32_t)hash, number;
    while ((number = router_index_next(&n->index, hash, &at)) != UINT32_MAX) {
        const struct router_node *child = &n->children[number];
        if (child->first == segment.len && memcmp(child->label.at, segment.at, segment.len) == 0)
            return label_holds(child, rest) ? child : NULL;
    }
    return NULL;
}

/* The node of the longest prefix that holds the path, with or without routes. */
static const struct router_node *find_prefix(const struct router *r, const struct router_node *root,
                                             struct slice path)
{
    const struct router_node *node = root, *child = root;
    if (path.len == 0 || path.at[0] != '/')
        return root;
    while (child && node->child_count && path.len) {
        child = find_child(r, node, path);
        if (child) {
            node = child;
            path = slice_skip(path, child->label.len);
        }
    }
    return node;
}

static const struct route *find_in_host(struct search *s, const struct router_host *host, struct slice path,
                                        struct route_match *out)
{
    const struct route *route = NULL;
    if (host->exact_count) {
        const struct router_exact *exact = find_exact(s->router, host, path);
        route = exact ? choose(s, &exact->candidates) : NULL;
        out->prefix_len = route ? path.len : 0;
    }
    for (uint32_t i = 0; !route && i < host->regex_count; i++)
        if (regex_match(host->regexes[i].path->regex, s->regex, path) == 1)
            route = choose(s, &host->regexes[i].candidates);

    for (const struct router_node *n = route ? NULL : find_prefix(s->router, &host->root, path); n && !route;
         n = n->above) {
        route = choose(s, &n->candidates);
        out->prefix_len = route ? n->prefix_len : 0;
    }
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
