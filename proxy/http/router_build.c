/* Routes to the form that look-ups walk: each route is written down once for each of its hosts, that list is
 * sorted, and then what belongs together stands together. */
#include "proxy/http/router_build_internal.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "core/hash.h"

#define HUGE_PAGE ((size_t)2 << 20)
#define MANY      2000 /* entries, from which on the records do not stay in the cache */

static int compare_entries(const void *a, const void *b);
static void build_methods(struct config *c, struct router *r, const struct route *routes, size_t count);
static void build_hosts(struct router_building *b, const struct router_entry *entries, size_t count);

static struct router_entry *list_entries(const struct route *routes, size_t count, size_t *total)
{
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        n += routes[i].host_count;
    struct router_entry *entries = calloc(n + 1, sizeof *entries);
    n = 0;
    for (size_t i = 0; entries && i < count; i++)
        for (size_t k = 0; k < routes[i].host_count; k++)
            entries[n++] = (struct router_entry){&routes[i], &routes[i].hosts[k]};
    *total = n;
    return entries;
}

/* More than the records of all entries can take; what stays untouched costs no memory. */
static size_t bound(const struct router_entry *entries, size_t count)
{
    size_t size = 4096;
    for (size_t i = 0; i < count; i++)
        size += 512 + 4 * entries[i].route->path.text.len + 2 * entries[i].host->name.len;
    return (size + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
}

static int make_block(struct router *r, const struct router_entry *entries, size_t count)
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
    struct router_entry *entries = list_entries(routes, count, &total);
    struct router_building b = {
        .c = c, .r = calloc(1, sizeof *b.r), .group = calloc(total + 1, sizeof *b.group)};
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

/* Their order. */

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

/* Host, then path, then rank (the highest first), then place in the file. */
static int compare_entries(const void *a, const void *b)
{
    const struct router_entry *x = a, *y = b;
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

static bool same_path(const struct route *a, const struct route *b)
{
    return a->path.kind == b->path.kind && slice_equal(a->path.text, b->path.text);
}

/* Routes with the same path as the first. */
size_t router_same_paths(const struct router_entry *at, size_t count)
{
    size_t n = 1;
    while (n < count && same_path(at[0].route, at[n].route))
        n++;
    return n;
}

/* Methods. */

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

uint64_t router_methods_of(struct router *r, const struct route *route)
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

/* Hosts. */

static size_t count_kind(const struct router_entry *entries, size_t count, enum route_path_kind kind)
{
    size_t n = 0;
    while (n < count && entries[n].route->path.kind == kind)
        n++;
    return n;
}

/* The record of a host and its root: the text that all its prefixes begin with. */
static struct router_host *new_host(struct router_building *b, const struct router_entry *entries,
                                    size_t prefixes, router_ref *ref)
{
    struct slice name = entries[0].host->name;
    struct router_host *host = router_allocate(b, offsetof(struct router_host, name) + name.len, ref);
    host->name_len = (uint32_t)name.len;
    if (name.len)
        memcpy(host->name, name.at, name.len);
    router_build_prefixes(b, entries, prefixes);
    return host;
}

static router_ref build_host(struct router_building *b, const struct router_entry *entries, size_t count)
{
    router_ref ref;
    size_t prefixes = count_kind(entries, count, ROUTE_PATH_PREFIX);
    size_t exact = count_kind(entries + prefixes, count - prefixes, ROUTE_PATH_EXACT);
    struct router_host *host = new_host(b, entries, prefixes, &ref);
    if (prefixes == count)
        return ref;

    struct router_special *special = router_allocate(b, sizeof *special, &host->special);
    if (exact)
        router_build_exact(b, entries + prefixes, exact, special);
    if (prefixes + exact < count)
        router_build_regexes(b, entries + prefixes + exact, count - prefixes - exact, special);
    return ref;
}

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
    router_index_add(index, router_hash(r, key->name), host);
}

/* Entries with the same host as the first. */
static size_t same_hosts(const struct router_entry *at, size_t count)
{
    size_t n = 1;
    while (n < count && compare_hosts(at[0].host, at[n].host) == 0)
        n++;
    return n;
}

static void build_hosts(struct router_building *b, const struct router_entry *entries, size_t count)
{
    size_t hosts = 0;
    for (size_t i = 0; i < count; i += same_hosts(entries + i, count - i))
        hosts += entries[i].host->kind != ROUTE_HOST_ANY;
    struct router_index *index = hosts ? router_index_create(b, hosts, &b->r->hosts) : NULL;
    for (size_t i = 0, n; i < count; i += n) {
        n = same_hosts(entries + i, count - i);
        add_host(b->r, index, entries[i].host, build_host(b, entries + i, n));
    }
}
