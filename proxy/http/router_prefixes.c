/* The tree of a host's prefixes: by whole segments, a node where prefixes part. */
#include "proxy/http/router_build_internal.h"

static void build_node(struct router_building *b, const struct router_entry *entries, size_t count,
                       router_ref ref);

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

/* Entries of [at, at + count) whose path goes on after `len` bytes with the same segment as the first's. */
static size_t same_segment(const struct router_entry *at, size_t count, size_t len)
{
    struct slice first = router_path(at);
    size_t end = segment_end(first, len), n = 1;
    while (n < count) {
        struct slice other = router_path(&at[n]);
        if (segment_end(other, len) != end || memcmp(other.at + len, first.at + len, end - len) != 0)
            break;
        n++;
    }
    return n;
}

/* A node without routes or children yet, for entries that have `len` bytes in common. */
static router_ref new_node(struct router_building *b, struct slice path, size_t from, size_t len)
{
    router_ref ref;
    struct router_node *n = router_allocate(b, offsetof(struct router_node, label) + len - from, &ref);
    n->prefix_len = (uint32_t)len;
    n->label_len = (uint16_t)(len - from);
    n->first = (uint16_t)(len > from ? segment_end(path, from) - from : 0);
    memcpy(n->label, path.at + from, len - from);
    return ref;
}

/* The subtrees of a node, of which the entries are longer prefixes. Children stand side by side; what is
 * below them follows. */
static void build_children(struct router_building *b, const struct router_entry *entries, size_t count,
                           router_ref ref)
{
    struct router_node *node = router_at(b->r, ref);
    const size_t from = node->prefix_len;
    const router_ref above = node->candidates.count ? ref : node->above;
    for (size_t i = 0, n; i < count; i += n) {
        n = same_segment(entries + i, count - i, from);
        struct slice first = router_path(&entries[i]);
        router_ref child = new_node(b, first, from, common_segments(first, router_path(&entries[i + n - 1])));
        ((struct router_node *)router_at(b->r, child))->above = above;
        node->children = node->child_count++ ? node->children : child;
    }
    struct router_index *index = NULL;
    if (node->child_count >= INDEX_FROM)
        index = router_index_create(b, node->child_count, &node->index);

    router_ref child = node->children;
    for (size_t i = 0, n; i < count; i += n) {
        const struct router_node *at = router_at(b->r, child);
        n = same_segment(entries + i, count - i, from);
        if (index)
            router_index_add(index, router_hash(b->r, slice_of(at->label, at->first)), child);
        build_node(b, entries + i, n, child);
        child += (router_ref)(router_record(offsetof(struct router_node, label), at->label_len) / 8);
    }
}

/* All entries begin with the node's text. */
static void build_node(struct router_building *b, const struct router_entry *entries, size_t count,
                       router_ref ref)
{
    struct router_node *node = router_at(b->r, ref);
    size_t own = 0;
    while (own < count && router_path(&entries[own]).len == node->prefix_len)
        own++;
    if (own)
        router_build_candidates(b, entries, own, &node->candidates);
    if (own < count)
        build_children(b, entries + own, count - own, ref);
}

void router_build_prefixes(struct router_building *b, const struct router_entry *entries, size_t count)
{
    struct slice first = S("");
    size_t common = 0;
    if (count) {
        first = router_path(&entries[0]);
        common = common_segments(first, router_path(&entries[count - 1]));
    }
    router_ref root = new_node(b, first, 0, common);
    if (count)
        build_node(b, entries, count, root);
}
