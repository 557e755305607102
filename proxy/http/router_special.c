/* What few hosts have: exact paths and regexes. */
#include <stdlib.h>

#include "proxy/http/router_build_internal.h"

void router_build_exact(struct router_building *b, const struct router_entry *entries, size_t count,
                        struct router_special *host)
{
    for (size_t i = 0; i < count; i += router_same_paths(entries + i, count - i)) {
        struct slice path = router_path(&entries[i]);
        router_ref ref;
        struct router_exact *e = router_allocate(b, offsetof(struct router_exact, path) + path.len, &ref);
        e->len = (uint32_t)path.len;
        memcpy(e->path, path.at, path.len);
        host->exact = host->exact_count++ ? host->exact : ref;
    }
    struct router_index *index = NULL;
    if (host->exact_count >= INDEX_FROM)
        index = router_index_create(b, host->exact_count, &host->exact_index);

    router_ref ref = host->exact;
    for (size_t i = 0, n; i < count; i += n) {
        struct router_exact *e = router_at(b->r, ref);
        n = router_same_paths(entries + i, count - i);
        router_build_candidates(b, entries + i, n, &e->candidates);
        if (index)
            router_index_add(index, router_hash(b->r, slice_of(e->path, e->len)), ref);
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
void router_build_regexes(struct router_building *b, const struct router_entry *entries, size_t count,
                          struct router_special *host)
{
    struct router_regex *at = router_allocate(b, count * sizeof *at, &host->regexes);
    for (size_t i = 0, n; i < count; i += n) {
        n = router_same_paths(entries + i, count - i);
        for (size_t k = 0; k < n; k++)
            b->group[k] = entries[i + k].route;
        router_find_conflicts(b->c, entries[i].host, b->group, n, &b->regex);
        for (size_t k = 0; k < n; k++) {
            at[host->regex_count].path = &entries[i + k].route->path;
            router_build_candidates(b, &entries[i + k], 1, &at[host->regex_count++].candidates);
        }
    }
    qsort(at, count, sizeof *at, compare_regexes);
}
