/* What the router's files share: the compiled form that look-ups walk. Everything is in the router's arena, a
 * host's pieces side by side, in the order in which a look-up meets them. */
#pragma once

#include "proxy/http/router.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

/* A route where it can be met; several with the same host and path stand one behind the other, those with
 * more conditions first. */
struct candidate {
    const struct route *route;
    uint64_t methods;                    /* bits of router_method; all set = any */
    const uint64_t *listeners;           /* as in the route */
    const struct conditions *conditions; /* NULL = none */
};

struct candidates {
    const struct candidate *at;
    uint32_t count;
};

/* Entries of an array by the hash of their text: open addressing, 32 bits of hash and the entry's number + 1.
 */
struct router_index {
    uint64_t *slots; /* NULL: the array is short, it is walked */
    uint32_t mask;
};

#define INDEX_FROM 9 /* entries; fewer are walked */

/* A prefix in the tree of prefixes: what `label` adds to its parent's, by whole segments, a "/" first. Nodes
 * without routes are there where prefixes part. */
struct router_node {
    struct slice label;
    uint32_t first; /* bytes of the label's first segment, with its "/" */
    uint32_t prefix_len;
    struct candidates candidates;
    const struct router_node *above; /* the nearest shorter prefix with routes */
    struct router_node *children;
    uint32_t child_count;
    struct router_index index; /* children by first segment */
};

struct router_exact {
    struct slice path;
    struct candidates candidates;
};

/* One regex route. */
struct router_regex {
    const struct route_path *path;
    struct candidates candidates;
};

struct router_host {
    struct slice name; /* as route_host.name */
    struct router_node root;
    struct router_exact *exact;
    struct router_regex *regexes;
    uint32_t exact_count, regex_count;
    struct router_index exact_index;
};

struct router_host_slot {
    uint64_t hash;
    const struct router_host *host; /* NULL = free */
};

#define ROUTER_METHODS 64 /* bits; the first are enum http_method */

struct router {
    uint64_t seed;
    struct router_host_slot *hosts; /* exact names and wildcards (which begin with a dot) */
    uint64_t host_mask;
    size_t host_count;
    const struct router_host *any; /* NULL = no such route */
    uint64_t wildcard_labels;      /* bit n: there is a wildcard with n dots; 63 stands for all from 63 */
    struct slice methods[ROUTER_METHODS]; /* the files' own methods, from METHOD_PATCH + 1 */
    unsigned method_count;
    struct arena arena;
};

static inline uint64_t router_hash(const struct router *r, struct slice text)
{
    return XXH3_64bits_withSeed(text.at, text.len, r->seed);
}

/* The next entry that may be the one: its number, or UINT32_MAX. *at starts as the hash's low half. */
static inline uint32_t router_index_next(const struct router_index *index, uint64_t hash, uint32_t *at)
{
    for (;; (*at)++) {
        uint64_t slot = index->slots[*at & index->mask];
        if (slot == 0)
            return UINT32_MAX;
        if (slot >> 32 == hash >> 32) {
            (*at)++;
            return (uint32_t)slot - 1;
        }
    }
}

/* The bit of a request's method; 0 for one that no route names. */
uint64_t router_method(const struct router *r, const struct http_request *request);

/* router_conflict.c: records a fault at each route of [first, last) - one host, one path - that is as
 * specific as an earlier one and can meet the same request. The range is sorted by rank, the highest first,
 * then by index. */
void router_find_conflicts(struct config *c, const struct route_host *host, const struct route *const *routes,
                           size_t count, struct regex_scratch *scratch);
