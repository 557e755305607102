#include "cache/vary.h"

#include "cache/control.h"

/* The names as they come, each once; false when there is no room. */
struct names {
    struct slice at[CACHE_VARY_NAMES_MAX];
    size_t count, length; /* of all together */
};

/* In its place in the order. */
static bool insert(struct names *n, struct slice name)
{
    size_t i = 0;
    int order = 1;
    while (i < n->count && (order = cache_compare_nocase(name, n->at[i])) > 0)
        i++;
    if (i < n->count && order == 0)
        return true;
    if (n->count == CACHE_VARY_NAMES_MAX)
        return false;
    memmove(n->at + i + 1, n->at + i, (n->count - i) * sizeof *n->at);
    n->at[i] = name;
    n->count++;
    n->length += name.len;
    return true;
}

static enum cache_vary_verdict read_names(const struct cache_lines *vary, struct names *n)
{
    enum cache_vary_verdict verdict = CACHE_VARY_FINE;
    n->count = n->length = 0;
    for (uint32_t i = 0; i < vary->count; i++) {
        struct slice rest = vary->at[i], name;
        while (slice_next(&rest, ',', &name)) {
            if (slice_equal(name, S("*")))
                return CACHE_VARY_STAR;
            if (!cache_is_token(name) || !insert(n, name))
                verdict = CACHE_VARY_UNUSABLE;
        }
    }
    return verdict;
}

enum cache_vary_verdict cache_vary_check(const struct cache_lines *vary)
{
    struct names n;
    return read_names(vary, &n);
}

int cache_vary_names(const struct cache_lines *vary, struct arena *a, struct slice *names)
{
    struct names n;
    if (read_names(vary, &n) != CACHE_VARY_FINE)
        return -1;
    if (n.count == 0) {
        *names = S("");
        return 0;
    }
    char *at = arena_alloc(a, n.length + n.count - 1), *to = at;
    if (!at)
        return -2;
    for (size_t i = 0; i < n.count; i++) {
        if (i)
            *to++ = ',';
        for (size_t k = 0; k < n.at[i].len; k++)
            *to++ = ascii_lower(n.at[i].at[k]);
    }
    *names = slice_of(at, (size_t)(to - at));
    return 0;
}
