/* What the router's files share: the compiled form that look-ups walk.
 *
 * With many routes, a look-up costs as many cache misses as it touches lines, so all stands in one block,
 * packed: records of any length, a multiple of 8 bytes, with their text inside, and told by their place in
 * the block. A host with one prefix and nothing special is one record of two lines. */
#pragma once

#include "proxy/http/router.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

/* A record's place: in units of 8 bytes from the block's begin; 0 = none. */
typedef uint32_t router_ref;

/* A route where it can be met, with what it asks for; several with the same host and path stand one behind
 * the other, those with more conditions first. */
struct candidate {
    const struct route *route;
    uint64_t methods;                    /* bits of router_method; all set = any */
    const uint64_t *listeners;           /* as in the route */
    const struct conditions *conditions; /* NULL = none */
};

#define CANDIDATES_ONE UINT32_MAX

struct candidates {
    union {
        const struct candidate *at;
        const struct route *only; /* with count CANDIDATES_ONE: a route that asks for nothing more */
    };
    uint32_t count;
} __attribute__((packed, aligned(4)));

/* Records by the hash of their text: open addressing; 32 bits of the hash, and the record. */
struct router_index {
    uint32_t mask, unused;
    uint64_t slots[];
};

#define INDEX_FROM 9 /* records; fewer are walked */

/* A prefix in the tree of prefixes: what `label` adds to its parent's, by whole segments, a "/" first. Nodes
 * without routes are there where prefixes part. The root's label is empty, or what all prefixes of the host
 * begin with. */
struct router_node {
    struct candidates candidates;
    router_ref children, index; /* of child_count nodes, one behind the other; by first segment */
    router_ref above;           /* the nearest shorter prefix with routes */
    uint32_t child_count;
    uint32_t prefix_len;
    uint16_t label_len;
    uint16_t first; /* bytes of the label's first segment, with its "/" */
    char label[];
};

struct router_exact {
    struct candidates candidates;
    uint32_t len;
    char path[];
};

/* One regex route. */
struct router_regex {
    const struct route_path *path;
    struct candidates candidates;
};

/* What few hosts have. */
struct router_special {
    router_ref exact, exact_index; /* of exact_count router_exact, one behind the other */
    uint32_t exact_count;
    uint32_t regex_count;
    router_ref regexes; /* an array */
};

/* Its root stands behind it: router_root(). */
struct router_host {
    router_ref special; /* 0 = prefixes alone */
    uint32_t name_len;
    char name[]; /* as route_host.name */
};

#define ROUTER_METHODS 64 /* bits; the first are enum http_method */

struct router {
    char *block;
    size_t used, size; /* bytes of the block */
    uint64_t seed;
    router_ref hosts;         /* index of exact names and wildcards (which begin with a dot); 0 = none */
    router_ref any;           /* a router_host; 0 = no such route */
    uint64_t wildcard_labels; /* bit n: there is a wildcard with n dots; 63 stands for all from 63 */
    struct slice methods[ROUTER_METHODS]; /* the files' own methods, from METHOD_PATCH + 1 */
    unsigned method_count;
};

/* Bytes of a record with `len` bytes of text behind `head` ones. */
static inline size_t router_record(size_t head, size_t len)
{
    return (head + len + 7) & ~(size_t)7;
}

static inline void *router_at(const struct router *r, router_ref ref)
{
    return r->block + (size_t)ref * 8;
}

static inline const struct router_node *router_root(const struct router_host *host)
{
    size_t offset = router_record(offsetof(struct router_host, name), host->name_len);
    return (const struct router_node *)(const void *)((const char *)host + offset);
}

static inline const struct router_node *router_next_node(const struct router_node *n)
{
    size_t size = router_record(offsetof(struct router_node, label), n->label_len);
    return (const struct router_node *)(const void *)((const char *)n + size);
}

static inline const struct router_exact *router_next_exact(const struct router_exact *e)
{
    return (const struct router_exact *)(const void *)((const char *)e +
                                                       router_record(offsetof(struct router_exact, path),
                                                                     e->len));
}

static inline uint64_t router_hash(const struct router *r, struct slice text)
{
    return XXH3_64bits_withSeed(text.at, text.len, r->seed);
}

/* The next record that may be the one; 0 at the end. *at starts as the hash's low half. */
static inline router_ref router_index_next(const struct router_index *index, uint64_t hash, uint32_t *at)
{
    for (;;) {
        uint64_t slot = index->slots[(*at)++ & index->mask];
        if (slot == 0 || slot >> 32 == hash >> 32)
            return (router_ref)slot;
    }
}

/* The bit of a request's method; 0 for one that no route names. */
uint64_t router_method(const struct router *r, const struct http_request *request);

/* router_conflict.c: records a fault at each of the routes - one host, one path - that is as specific as an
 * earlier one and can meet the same request. They are sorted by rank, the highest first, then by index. */
void router_find_conflicts(struct config *c, const struct route_host *host, const struct route *const *routes,
                           size_t count, struct regex_scratch *scratch);
