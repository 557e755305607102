#include "proxy/names.h"

#include <stdlib.h>

#include "core/hash.h"

struct server_names {
    struct table *table; /* name -> index in upstreams */
    struct upstream **upstreams;
    struct upstream *fallback;
};

/* In lower case, without a dot behind, in the config's arena. */
static struct slice normal_name(struct config *c, struct slice name)
{
    if (name.len && name.at[name.len - 1] == '.')
        name.len--;
    char *copy = arena_alloc(&c->arena, name.len + 1);
    for (size_t i = 0; copy && i < name.len; i++)
        copy[i] = ascii_lower(name.at[i]);
    return slice_of(copy, copy ? name.len : 0);
}

static bool is_name(struct slice name)
{
    struct slice rest = slice_begins(name, S("*.")) ? slice_skip(name, 2) : name;
    if (rest.len == 0 || rest.len > 253 || rest.at[0] == '.')
        return false;
    for (size_t i = 0; i < rest.len; i++) {
        char ch = rest.at[i];
        if (!((ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9') || ch == '-' || ch == '_' || ch == '.'))
            return false;
    }
    return true;
}

static int add(struct config *c, struct server_names *n, const struct option_pair *p, struct slice name,
               size_t index)
{
    uint64_t there;
    if (slice_equal(name, S("default")))
        config_fault_key(c, p->node, "\"default\" is for \"sni\"; here the rest is what TLS ends for");
    else if (!is_name(name))
        config_fault_key(c, p->node, "expected a name like a.example or *.a.example");
    else if (table_get(n->table, name, &there))
        config_fault_key(c, p->node, "the name is listed already");
    else
        return table_put(n->table, name, index);
    return 0;
}

struct server_names *
server_names_create(struct config *c, const struct option_pairs *pairs, bool with_default,
                    struct upstream *(*find)(void *argument, struct slice name, const struct config_node *at),
                    void *argument)
{
    struct server_names *n = calloc(1, sizeof *n);
    if (!n)
        return NULL;
    n->table = table_create();
    n->upstreams = calloc(pairs->count + 1, sizeof(struct upstream *));
    if (!n->table || !n->upstreams)
        goto fail;
    for (size_t i = 0; i < pairs->count; i++) {
        const struct option_pair *p = &pairs->at[i];
        struct slice name = normal_name(c, p->name);
        n->upstreams[i] = find(argument, p->value, p->node);
        if (!name.at)
            goto fail;
        if (with_default && slice_equal(name, S("default")))
            n->fallback = n->upstreams[i];
        else if (add(c, n, p, name, i) != 0)
            goto fail;
    }
    return n;
fail:
    server_names_free(n);
    return NULL;
}

void server_names_free(struct server_names *n)
{
    if (!n)
        return;
    table_free(n->table);
    free(n->upstreams);
    free(n);
}

struct upstream *server_names_find(const struct server_names *n, struct slice name)
{
    char wildcard[256];
    uint64_t index;
    if (name.len == 0 || name.len >= sizeof wildcard)
        return n->fallback;
    if (table_get(n->table, name, &index))
        return n->upstreams[index];
    memcpy(wildcard, name.at, name.len);
    for (size_t dot = slice_find(name, '.'); dot < name.len;) {
        /* "*" in the place before the dot: what stood there is not needed any more. */
        if (dot > 0) {
            wildcard[dot - 1] = '*';
            if (table_get(n->table, slice_of(wildcard + dot - 1, name.len - dot + 1), &index))
                return n->upstreams[index];
        }
        dot += 1 + slice_find(slice_skip(name, dot + 1), '.');
    }
    return n->fallback;
}
