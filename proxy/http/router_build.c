/* Routes to the form that look-ups walk: each route is written down once for each of its hosts, that list is
 * sorted, and then what belongs together stands together. */
#include "proxy/http/router_internal.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "core/hash.h"

#define HUGE_PAGE ((size_t)2 << 20)
#define MANY      2000 /* entries, from which on the records do not stay in the cache */

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
static void build_methods(struct config *c, struct router *r, const struct route *routes, size_t count);
static void build_hosts(struct build *b, const struct entry *entries, size_t count);

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

/* More than the records of all entries can take; what stays untouched costs no memory. */
static size_t bound(const struct entry *entries, size_t count)
{
    size_t size = 4096;
    for (size_t i = 0; i < count; i++)
        size += 512 + 4 * entries[i].route->path.text.len + 2 * entries[i].host->name.len;
    return (size + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
}

static int make_block(struct router *r, const struct entry *entries, size_t count)
{
    r->size = bound(entries, count);
    r->block = r->size / 8 <= UINT32_MAX ? aligned_alloc(HUGE_PAGE, r->size) : NULL;
    if (!r->block)
        return -1;
    /* Look-ups jump about in it: with small pages, every one would miss the TLB. */
    if (count >= MANY)
        (void)madvise(r->block, r->size, MADV_HUGEPAGE);
    r->used = 8; /* place 0 is none's */
    return 0;
}

struct router *router_build(struct config *c, const struct route *routes, size_t count)
{
    size_t total = 0;
    struct entry *entries = list_entries(routes, count, &total);
    struct build b = {.c = c, .r = calloc(1, sizeof *b.r), .group = calloc(total + 1, sizeof *b.group)};
    int failed = -1;
    if (entries && b.r && b.group && make_block(b.r, entries, total) == 0) {
        b.r->seed = hash_keyed(S("router"));
        qsort(entries, total, sizeof *entries, compare_entries);
        build_methods(c, b.r, routes, count);
        build_hosts(&b, entries, total);
        failed = 0;
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
    free(r->block);
    free(r);
}

/* A new record, cleared. */
static void *allocate(struct build *b, size_t size, router_ref *ref)
{
    struct router *r = b->r;
    size = router_record(size, 0);
    ASSERT(size <= r->size - r->used);
    void *at = memset(r->block + r->used, 0, size);
    if (ref)
        *ref = (router_ref)(r->used / 8);
    r->used += size;
    return at;
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

static void build_methods(struct config *c, struct router *r, const struct route *routes, size_t count)
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
                return;
            }
}

/* --- pieces of a host
 * ------------------------------------------------------------------------------------------ */

static void build_candidates(struct build *b, const struct entry *entries, size_t count,
                             struct candidates *out)
{
    const struct route *first = entries[0].route;
    for (size_t i = 0; i < count; i++)
        b->group[i] = entries[i].route;
    router_find_conflicts(b->c, entries[0].host, b->group, count, &b->regex);
    if (count == 1 && first->rank == 0 && !first->listeners) {
        out->only = first;
        out->count = CANDIDATES_ONE;
        return;
    }

    struct candidate *at = allocate(b, count * sizeof *at, NULL);
    for (size_t i = 0; i < count; i++)
        at[i] = (struct candidate){
            .route = entries[i].route,
            .methods = methods_of(b->r, entries[i].route),
            .listeners = entries[i].route->listeners,
            .conditions = entries[i].route->conditions.count ? &entries[i].route->conditions : NULL,
        };
    out->at = at;
    out->count = (uint32_t)count;
}

static struct router_index *index_create(struct build *b, size_t count, router_ref *ref)
{
    size_t size = 16;
    while (size < count * 2)
        size *= 2;
    struct router_index *index = allocate(b, sizeof *index + size * sizeof index->slots[0], ref);
    index->mask = (uint32_t)(size - 1);
    return index;
}

static void index_add(struct router_index *index, uint64_t hash, router_ref ref)
{
    uint32_t at = (uint32_t)hash;
    while (index->slots[at & index->mask])
        at++;
    index->slots[at & index->mask] = (hash >> 32 << 32) | ref;
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

static void build_node(struct build *b, const struct entry *entries, size_t count, router_ref ref);

/* A node without routes or children yet, for entries that have `len` bytes in common. */
static router_ref new_node(struct build *b, struct slice path, size_t from, size_t len)
{
    router_ref ref;
    struct router_node *n = allocate(b, offsetof(struct router_node, label) + len - from, &ref);
    n->prefix_len = (uint32_t)len;
    n->label_len = (uint16_t)(len - from);
    n->first = (uint16_t)(len > from ? segment_end(path, from) - from : 0);
    memcpy(n->label, path.at + from, len - from);
    return ref;
}

/* The subtrees of a node, of which the entries are longer prefixes. Children stand side by side; what is
 * below them follows. */
static void build_children(struct build *b, const struct entry *entries, size_t count, router_ref ref)
{
    struct router_node *node = router_at(b->r, ref);
    const size_t from = node->prefix_len;
    const router_ref above = node->candidates.count ? ref : node->above;
    for (size_t i = 0, n; i < count; i += n) {
        n = same_segment(entries + i, count - i, from);
        struct slice first = path_of(&entries[i]);
        router_ref child = new_node(b, first, from, common_segments(first, path_of(&entries[i + n - 1])));
        ((struct router_node *)router_at(b->r, child))->above = above;
        node->children = node->child_count++ ? node->children : child;
    }
    struct router_index *index = NULL;
    if (node->child_count >= INDEX_FROM)
        index = index_create(b, node->child_count, &node->index);

    router_ref child = node->children;
    for (size_t i = 0, n; i < count; i += n) {
        const struct router_node *at = router_at(b->r, child);
        n = same_segment(entries + i, count - i, from);
        if (index)
            index_add(index, router_hash(b->r, slice_of(at->label, at->first)), child);
        build_node(b, entries + i, n, child);
        child += (router_ref)(router_record(offsetof(struct router_node, label), at->label_len) / 8);
    }
}

/* All entries begin with the node's text. */
static void build_node(struct build *b, const struct entry *entries, size_t count, router_ref ref)
{
    struct router_node *node = router_at(b->r, ref);
    size_t own = 0;
    while (own < count && path_of(&entries[own]).len == node->prefix_len)
        own++;
    if (own)
        build_candidates(b, entries, own, &node->candidates);
    if (own < count)
        build_children(b, entries + own, count - own, ref);
}

/* Routes with the same path as the first. */
static size_t same_paths(const struct entry *at, size_t count)
{
    size_t n = 1;
    while (n < count && same_path(at[0].route, at[n].route))
        n++;
    return n;
}

static void build_exact(struct build *b, const struct entry *entries, size_t count,
                        struct router_special *host)
{
    for (size_t i = 0; i < count; i += same_paths(entries + i, count - i)) {
        struct slice path = path_of(&entries[i]);
        router_ref ref;
        struct router_exact *e = allocate(b, offsetof(struct router_exact, path) + path.len, &ref);
        e->len = (uint32_t)path.len;
        memcpy(e->path, path.at, path.len);
        host->exact = host->exact_count++ ? host->exact : ref;
    }
    struct router_index *index = NULL;
    if (host->exact_count >= INDEX_FROM)
        index = index_create(b, host->exact_count, &host->exact_index);

    router_ref ref = host->exact;
    for (size_t i = 0, n; i < count; i += n) {
        struct router_exact *e = router_at(b->r, ref);
        n = same_paths(entries + i, count - i);
        build_candidates(b, entries + i, n, &e->candidates);
        if (index)
            index_add(index, router_hash(b->r, slice_of(e->path, e->len)), ref);
        ref += (router_ref)(router_record(offsetof(struct router_exact, path), e->len) / 8);
    }
}

static int compare_regexes(const void *a, const void *b)
{
    const struct router_regex *x = a, *y = b;
    const struct route *p = CONTAINER_OF(x->path, struct route, path),
                       *q = CONTAINER_OF(y->path, struct route, path);
    return (p->index > q->index) - (p->index < q->index);
}

/* The file's order decides among regexes; those with the same text stand together in `entries`, for
 * conflicts. */
static void build_regexes(struct build *b, const struct entry *entries, size_t count,
                          struct router_special *host)
{
    struct router_regex *at = allocate(b, count * sizeof *at, &host->regexes);
    for (size_t i = 0, n; i < count; i += n) {
        n = same_paths(entries + i, count - i);
        for (size_t k = 0; k < n; k++)
            b->group[k] = entries[i + k].route;
        router_find_conflicts(b->c, entries[i].host, b->group, n, &b->regex);
        for (size_t k = 0; k < n; k++) {
            at[host->regex_count].path = &entries[i + k].route->path;
            build_candidates(b, &entries[i + k], 1, &at[host->regex_count++].candidates);
        }
    }
    qsort(at, count, sizeof *at, compare_regexes);
}

static size_t count_kind(const struct entry *entries, size_t count, enum route_path_kind kind)
{
    size_t n = 0;
    while (n < count && entries[n].route->path.kind == kind)
        n++;
    return n;
}

/* The record of a host and its root: the text that all its prefixes begin with. */
static struct router_host *new_host(struct build *b, const struct entry *entries, size_t prefixes,
                                    router_ref *ref)
{
    struct slice name = entries[0].host->name, first = S("");
    size_t common = 0;
    struct router_host *host = allocate(b, offsetof(struct router_host, name) + name.len, ref);
    host->name_len = (uint32_t)name.len;
    if (name.len)
        memcpy(host->name, name.at, name.len);
    if (prefixes) {
        first = path_of(&entries[0]);
        common = common_segments(first, path_of(&entries[prefixes - 1]));
    }
    router_ref root = new_node(b, first, 0, common);
    if (prefixes)
        build_node(b, entries, prefixes, root);
    return host;
}

static router_ref build_host(struct build *b, const struct entry *entries, size_t count)
{
    router_ref ref;
    size_t prefixes = count_kind(entries, count, ROUTE_PATH_PREFIX);
    size_t exact = count_kind(entries + prefixes, count - prefixes, ROUTE_PATH_EXACT);
    struct router_host *host = new_host(b, entries, prefixes, &ref);
    if (prefixes == count)
        return ref;

    struct router_special *special = allocate(b, sizeof *special, &host->special);
    if (exact)
        build_exact(b, entries + prefixes, exact, special);
    if (prefixes + exact < count)
        build_regexes(b, entries + prefixes + exact, count - prefixes - exact, special);
    return ref;
}

/* --- hosts
 * -------------------------------------------------------------------------------------------------------- */

static void add_host(struct router *r, struct router_index *index, const struct route_host *key,
                     router_ref host)
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
    index_add(index, router_hash(r, key->name), host);
}

/* Entries with the same host as the first. */
static size_t same_hosts(const struct entry *at, size_t count)
{
    size_t n = 1;
    while (n < count && compare_hosts(at[0].host, at[n].host) == 0)
        n++;
    return n;
}

static void build_hosts(struct build *b, const struct entry *entries, size_t count)
{
    size_t hosts = 0;
    for (size_t i = 0; i < count; i += same_hosts(entries + i, count - i))
        hosts += entries[i].host->kind != ROUTE_HOST_ANY;
    struct router_index *index = hosts ? index_create(b, hosts, &b->r->hosts) : NULL;
    for (size_t i = 0, n; i < count; i += n) {
        n = same_hosts(entries + i, count - i);
        add_host(b->r, index, entries[i].host, build_host(b, entries + i, n));
    }
}
