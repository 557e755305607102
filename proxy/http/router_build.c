/* Routes to the form that look-ups walk: each route is written down once for each of its hosts, that list is
 * sorted, and then what belongs together stands together. */
#include "proxy/http/router_internal.h"

#include <stdlib.h>

#include "core/hash.h"

/* A route under one of its hosts. */
struct entry {
    const struct route *route;
    const struct route_host *host;
};

struct build {
    struct config *c;
    struct router *r;
    struct regex_scratch regex;
    const struct route **group; /* room for all routes of one host and path */
};

static int compare_entries(const void *a, const void *b);
static int build_methods(struct config *c, struct router *r, const struct route *routes, size_t count);
static int build_hosts(struct build *b, const struct entry *entries, size_t count);

static struct entry *list_entries(const struct route *routes, size_t count, size_t *total)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        n += routes[i].host_count;
    struct entry *entries = calloc(n + 1, sizeof *entries);
    n = 0;
    for (size_t i = 0; entries && i < count; i++)
        for (size_t k = 0; k < routes[i].host_count; k++)
            entries[n++] = (struct entry){&routes[i], &routes[i].hosts[k]};
    *total = n;
    return entries;
}

struct router *router_build(struct config *c, const struct route *routes, size_t count)
{
    size_t total = 0;
    struct entry *entries = list_entries(routes, count, &total);
    struct build b = {.c = c, .r = calloc(1, sizeof *b.r), .group = calloc(total + 1, sizeof *b.group)};
    int failed = -1;
    if (entries && b.r && b.group) {
        arena_init(&b.r->arena, NULL, 0);
        b.r->seed = hash_keyed(S("router"));
        qsort(entries, total, sizeof *entries, compare_entries);
        failed = build_methods(c, b.r, routes, count);
        failed = failed ? failed : build_hosts(&b, entries, total);
    }
    if (failed) {
        router_free(b.r);
        b.r = NULL;
        c->out_of_memory = true;
    }
    free(b.group);
    free(entries);
    regex_scratch_free(&b.regex);
    return b.r;
}

void router_free(struct router *r)
{
    if (!r)
        return;
    free(r->hosts);
    arena_reset(&r->arena);
    free(r);
}

/* --- order
 * -------------------------------------------------------------------------------------------------- */

static int compare_text(struct slice a, struct slice b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int order = n ? memcmp(a.at, b.at, n) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

/* A "/" comes before every other byte, so that what is below a prefix follows it. */
static int compare_paths(struct slice a, struct slice b)
{
    size_t n = a.len < b.len ? a.len : b.len, i = 0;
    while (i < n && a.at[i] == b.at[i])
        i++;
    if (i == n)
        return (a.len > b.len) - (a.len < b.len);
    if (a.at[i] == '/' || b.at[i] == '/')
        return a.at[i] == '/' ? -1 : 1;
    return (unsigned char)a.at[i] < (unsigned char)b.at[i] ? -1 : 1;
}

static int compare_hosts(const struct route_host *a, const struct route_host *b)
{
    return a->kind != b->kind ? (a->kind > b->kind) - (a->kind < b->kind) : compare_text(a->name, b->name);
}

static bool same_path(const struct route *a, const struct route *b)
{
    return a->path.kind == b->path.kind && slice_equal(a->path.text, b->path.text);
}

/* Host, then path, then rank (the highest first), then place in the file. */
static int compare_entries(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    const struct route *p = x->route, *q = y->route;
    int order = compare_hosts(x->host, y->host);
    if (order == 0)
        order = (p->path.kind > q->path.kind) - (p->path.kind < q->path.kind);
    if (order == 0)
        order = compare_paths(p->path.text, q->path.text);
    if (order == 0)
        order = (p->rank < q->rank) - (p->rank > q->rank);
    return order ? order : (p->index > q->index) - (p->index < q->index);
}

/* --- methods
 * ------------------------------------------------------------------------------------------------ */

/* The method's bit; a new one for a name that is new. 0 when there are too many. */
static uint64_t method_bit(struct router *r, struct slice method)
{
    enum http_method id = method_id(method);
    if (id != METHOD_OTHER)
        return (uint64_t)1 << id;
    for (unsigned i = METHOD_PATCH + 1; i < r->method_count; i++)
        if (slice_equal(r->methods[i], method))
            return (uint64_t)1 << i;
    if (r->method_count == ROUTER_METHODS)
        return 0;
    r->methods[r->method_count] = method;
    return (uint64_t)1 << r->method_count++;
}

static uint64_t methods_of(struct router *r, const struct route *route)
{
    uint64_t bits = 0;
    for (size_t i = 0; i < route->method_count; i++)
        bits |= method_bit(r, route->methods[i]);
    if (bits >> METHOD_GET & 1)
        bits |= (uint64_t)1 << METHOD_HEAD;
    return route->method_count ? bits : UINT64_MAX;
}

static int build_methods(struct config *c, struct router *r, const struct route *routes, size_t count)
{
    static const struct slice known[] = {
        SLICE(""),       SLICE("GET"),     SLICE("HEAD"),    SLICE("POST"),  SLICE("PUT"),
        SLICE("DELETE"), SLICE("CONNECT"), SLICE("OPTIONS"), SLICE("TRACE"), SLICE("PATCH"),
    };
    _Static_assert(COUNT_OF(known) == METHOD_PATCH + 1, "as enum http_method");
    memcpy(r->methods, known, sizeof known);
    r->method_count = COUNT_OF(known);
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < routes[i].method_count; k++)
            if (!method_bit(r, routes[i].methods[k])) {
                config_fault(c, routes[i].settings->methods.nodes[k],
                             "the routes name more than %zu methods that are not HTTP's own",
                             ROUTER_METHODS - COUNT_OF(known));
                return 0;
            }
    return 0;
}

/* --- pieces of a host
 * ------------------------------------------------------------------------------------------ */

static int build_candidates(struct build *b, const struct entry *entries, size_t count,
                            struct candidates *out)
{
    struct candidate *at = arena_alloc(&b->r->arena, count * sizeof *at);
    if (!at)
        return -1;
    for (size_t i = 0; i < count; i++) {
        const struct route *route = entries[i].route;
        at[i] = (struct candidate){
            .route = route,
            .methods = methods_of(b->r, route),
            .listeners = route->listeners,
            .conditions = route->conditions.count ? &route->conditions : NULL,
        };
        b->group[i] = route;
    }
    *out = (struct candidates){at, (uint32_t)count};
    router_find_conflicts(b->c, entries[0].host, b->group, count, &b->regex);
    return 0;
}

static int index_create(struct build *b, struct router_index *index, size_t count)
{
    size_t size = 16;
    while (size < count * 2)
        size *= 2;
    index->slots = arena_zalloc(&b->r->arena, size * sizeof *index->slots);
    index->mask = (uint32_t)(size - 1);
    return index->slots ? 0 : -1;
}

static void index_add(struct router_index *index, uint64_t hash, size_t number)
{
    uint32_t at = (uint32_t)hash;
    while (index->slots[at & index->mask])
        at++;
    index->slots[at & index->mask] = (hash >> 32 << 32) | (uint32_t)(number + 1);
}

/* Up to the end of the segment that begins with the "/" at s[from]. */
static size_t segment_end(struct slice s, size_t from)
{
    size_t end = from + 1;
    while (end < s.len && s.at[end] != '/')
        end++;
    return end;
}

/* Bytes that both have in common from the start, up to the end of a segment of both. */
static size_t common_segments(struct slice a, struct slice b)
{
    size_t n = a.len < b.len ? a.len : b.len, i = 0, end = 0;
    for (; i <= n; i++) {
        bool a_ends = i == a.len || a.at[i] == '/', b_ends = i == b.len || b.at[i] == '/';
        if (a_ends && b_ends)
            end = i;
        if (i == n || a.at[i] != b.at[i])
            break;
    }
    return end;
}

static struct slice path_of(const struct entry *e)
{
    return e->route->path.text;
}

/* Entries of [at, at + count) whose path goes on after `len` bytes with the same segment as the first's. */
static size_t same_segment(const struct entry *at, size_t count, size_t len)
{
    struct slice first = path_of(at);
    size_t end = segment_end(first, len), n = 1;
    while (n < count) {
        struct slice other = path_of(&at[n]);
        if (segment_end(other, len) != end || memcmp(other.at + len, first.at + len, end - len) != 0)
            break;
        n++;
    }
    return n;
}

static int build_node(struct build *b, const struct entry *entries, size_t count, struct router_node *node);

/* The subtrees of `node`, of which the entries are longer prefixes. */
static int build_children(struct build *b, const struct entry *entries, size_t count,
                          struct router_node *node)
{
    const struct router_node *above = node->candidates.count ? node : node->above;
    uint32_t children = 0;
    for (size_t i = 0; i < count; i += same_segment(entries + i, count - i, node->prefix_len))
        children++;
    node->children = arena_zalloc(&b->r->arena, children * sizeof *node->children);
    node->child_count = children;
    if (!node->children || (children >= INDEX_FROM && index_create(b, &node->index, children)))
        return -1;

    struct router_node *child = node->children;
    for (size_t i = 0, n; i < count; i += n, child++) {
        n = same_segment(entries + i, count - i, node->prefix_len);
        struct slice first = path_of(&entries[i]), last = path_of(&entries[i + n - 1]);
        size_t len = common_segments(first, last);
        child->prefix_len = (uint32_t)len;
        child->first = (uint32_t)(segment_end(first, node->prefix_len) - node->prefix_len);
        child->label =
            arena_copy(&b->r->arena, slice_of(first.at + node->prefix_len, len - node->prefix_len));
        child->above = above;
        if (!child->label.at || build_node(b, entries + i, n, child))
            return -1;
        if (node->index.slots)
            index_add(&node->index, router_hash(b->r, slice_of(child->label.at, child->first)),
                      (size_t)(child - node->children));
    }
    return 0;
}

/* The node whose own text, prefix_len bytes, all entries begin with. */
static int build_node(struct build *b, const struct entry *entries, size_t count, struct router_node *node)
{
    size_t own = 0;
    while (own < count && path_of(&entries[own]).len == node->prefix_len)
        own++;
    if (own && build_candidates(b, entries, own, &node->candidates))
        return -1;
    return own < count ? build_children(b, entries + own, count - own, node) : 0;
}

static int build_exact(struct build *b, const struct entry *entries, size_t count, struct router_host *host)
{
    uint32_t paths = 0;
    for (size_t i = 0; i < count; i++)
        paths += i == 0 || !same_path(entries[i].route, entries[i - 1].route);
    host->exact = arena_zalloc(&b->r->arena, paths * sizeof *host->exact);
    if (!host->exact || (paths >= INDEX_FROM && index_create(b, &host->exact_index, paths)))
        return -1;
    for (size_t i = 0, n; i < count; i += n) {
        for (n = 1; i + n < count && same_path(entries[i].route, entries[i + n].route);)
            n++;
        struct router_exact *exact = &host->exact[host->exact_count];
        exact->path = arena_copy(&b->r->arena, path_of(&entries[i]));
        if (!exact->path.at || build_candidates(b, entries + i, n, &exact->candidates))
            return -1;
        if (host->exact_index.slots)
            index_add(&host->exact_index, router_hash(b->r, exact->path), host->exact_count);
        host->exact_count++;
    }
    return 0;
}

static int compare_regexes(const void *a, const void *b)
{
    const struct router_regex *x = a, *y = b;
    size_t p = x->candidates.at->route->index, q = y->candidates.at->route->index;
    return (p > q) - (p < q);
}

/* The file's order decides among regexes; those with the same text stand together in `entries`, for
 * conflicts. */
static int build_regexes(struct build *b, const struct entry *entries, size_t count, struct router_host *host)
{
    host->regexes = arena_zalloc(&b->r->arena, count * sizeof *host->regexes);
    if (!host->regexes)
        return -1;
    for (size_t i = 0, n; i < count; i += n) {
        for (n = 1; i + n < count && same_path(entries[i].route, entries[i + n].route);)
            n++;
        struct candidates all;
        if (build_candidates(b, entries + i, n, &all))
            return -1;
        for (size_t k = 0; k < n; k++)
            if (entries[i + k].route->path.regex)
                host->regexes[host->regex_count++] =
                    (struct router_regex){&entries[i + k].route->path, {all.at + k, 1}};
    }
    qsort(host->regexes, host->regex_count, sizeof *host->regexes, compare_regexes);
    return 0;
}

static size_t count_kind(const struct entry *entries, size_t count, enum route_path_kind kind)
{
    size_t n = 0;
    while (n < count && entries[n].route->path.kind == kind)
        n++;
    return n;
}

/* At the beginning of a cache line, its name and pieces behind it. */
static struct router_host *build_host(struct build *b, const struct entry *entries, size_t count)
{
    char *at = arena_zalloc(&b->r->arena, sizeof(struct router_host) + 63);
    if (!at)
        return NULL;
    struct router_host *host = (struct router_host *)(void *)(at + (-(uintptr_t)at & 63));
    host->name = arena_copy(&b->r->arena, entries[0].host->name);
    if (!host->name.at)
        return NULL;

    size_t prefixes = count_kind(entries, count, ROUTE_PATH_PREFIX);
    if (prefixes && build_node(b, entries, prefixes, &host->root))
        return NULL;
    entries += prefixes;
    count -= prefixes;
    size_t exact = count_kind(entries, count, ROUTE_PATH_EXACT);
    if (exact && build_exact(b, entries, exact, host))
        return NULL;
    entries += exact;
    count -= exact;
    if (count && build_regexes(b, entries, count, host))
        return NULL;
    return host;
}

/* --- hosts
 * -------------------------------------------------------------------------------------------------------- */

static void add_host(struct router *r, const struct route_host *key, const struct router_host *host)
{
    if (key->kind == ROUTE_HOST_ANY) {
        r->any = host;
        return;
    }
    if (key->kind == ROUTE_HOST_WILDCARD) {
        unsigned dots = 0;
        for (size_t i = 0; i < key->name.len; i++)
            dots += key->name.at[i] == '.';
        r->wildcard_labels |= (uint64_t)1 << (dots < 63 ? dots : 63);
    }
    uint64_t hash = router_hash(r, host->name), i = hash;
    while (r->hosts[i & r->host_mask].host)
        i++;
    r->hosts[i & r->host_mask] = (struct router_host_slot){hash, host};
    r->host_count++;
}

static int build_hosts(struct build *b, const struct entry *entries, size_t count)
{
    size_t hosts = 0, size = 16;
    for (size_t i = 0; i < count; i++)
        hosts += i == 0 || compare_hosts(entries[i].host, entries[i - 1].host) != 0;
    while (size < hosts * 2)
        size *= 2;
    b->r->hosts = calloc(size, sizeof *b->r->hosts);
    b->r->host_mask = size - 1;
    if (!b->r->hosts)
        return -1;

    for (size_t i = 0, n; i < count; i += n) {
        for (n = 1; i + n < count && compare_hosts(entries[i].host, entries[i + n].host) == 0;)
            n++;
        const struct router_host *host = build_host(b, entries + i, n);
        if (!host)
            return -1;
        add_host(b->r, entries[i].host, host);
    }
    return 0;
}
