/* The records that a router is made of. */
#include "proxy/http/router_build_internal.h"

/* A new record, cleared. */
void *router_allocate(struct router_building *b, size_t size, router_ref *ref)
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

void router_build_candidates(struct router_building *b, const struct router_entry *entries, size_t count,
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

    struct candidate *at = router_allocate(b, count * sizeof *at, NULL);
    for (size_t i = 0; i < count; i++)
        at[i] = (struct candidate){
            .route = entries[i].route,
            .methods = router_methods_of(b->r, entries[i].route),
            .listeners = entries[i].route->listeners,
            .conditions = entries[i].route->conditions.count ? &entries[i].route->conditions : NULL,
        };
    out->at = at;
    out->count = (uint32_t)count;
}

struct router_index *router_index_create(struct router_building *b, size_t count, router_ref *ref)
{
    size_t size = 16;
    while (size < count * 2)
        size *= 2;
    struct router_index *index = router_allocate(b, sizeof *index + size * sizeof index->slots[0], ref);
    index->mask = (uint32_t)(size - 1);
    return index;
}

void router_index_add(struct router_index *index, uint64_t hash, router_ref ref)
{
    uint32_t at = (uint32_t)hash;
    while (index->slots[at & index->mask])
        at++;
    index->slots[at & index->mask] = (hash >> 32 << 32) | ref;
}
