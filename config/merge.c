/* The three ways in which maps become one: config_merge (a nearer setting over an inherited one), merge keys
 * (`<<`), and the files of an include. None copies what is inside: nodes are shared and keep their place and
 * path. */
#include "config/internal.h"

static struct config_node *merge_map(struct config *c, struct config_node *base, struct config_node *over)
{
    struct config_node *map = arena_alloc(&c->arena, sizeof *map);
    struct key_index in_base, in_over;
    if (!map || key_index_init(&in_base, base))
        return NULL;
    if (key_index_init(&in_over, over)) {
        key_index_free(&in_base);
        return NULL;
    }

    *map = *over;
    map->count = 0;
    map->items = arena_alloc(&c->arena, (base->count + over->count + 1) * sizeof(struct config_node *));
    bool ok = map->items != NULL;
    for (size_t i = 0; ok && i < base->count; i++) {
        struct config_node *inherited = base->items[i], *nearer = key_index_get(&in_over, inherited->key);
        struct config_node *item = nearer ? config_merge(c, inherited, nearer) : inherited;
        ok = item != NULL;
        if (item && item->kind != NODE_NULL)
            map->items[map->count++] = item;
    }
    for (size_t i = 0; ok && i < over->count; i++)
        if (over->items[i]->kind != NODE_NULL && !key_index_get(&in_base, over->items[i]->key))
            map->items[map->count++] = over->items[i];
    if (ok)
        node_weigh(map);
    key_index_free(&in_base);
    key_index_free(&in_over);
    return ok ? map : NULL;
}

struct config_node *config_merge(struct config *c, struct config_node *base, struct config_node *over)
{
    if (!base || !over)
        return over ? over : base;
    if (base->kind == NODE_MAP && over->kind == NODE_MAP)
        return merge_map(c, base, over);
    return over;
}

/* The maps behind a merge key's value, in order of precedence: one, or a list of them. */
static size_t source_count(const struct config_node *value)
{
    return value->kind == NODE_LIST ? value->count : 1;
}

static struct config_node *source_at(struct config_node *value, size_t i)
{
    return value->kind == NODE_LIST ? value->items[i] : value;
}

/* The entry for `<<` leaves the map; NULL when it has none. */
static struct config_node *take_merge_key(struct config_node *map)
{
    for (size_t i = 0; i < map->count; i++)
        if (map->items[i]->is_merge) {
            struct config_node *value = map->items[i];
            node_remove(map, i);
            return value;
        }
    return NULL;
}

/* The map's own keys first; then what each source has that is not there yet. */
static int gather(struct config *c, struct config_node *map, struct config_node *value, size_t room)
{
    struct config_node **items = arena_alloc(&c->arena, room * sizeof(struct config_node *));
    struct name_table seen = {0};
    int failed = items ? 0 : -1;

    for (size_t i = 0; !failed && i < map->count; i++) {
        items[i] = map->items[i];
        failed = name_table_add(&seen, items[i]->key) ? 0 : -1;
    }
    for (size_t i = 0; !failed && i < source_count(value); i++) {
        struct config_node *source = source_at(value, i);
        for (size_t k = 0; !failed && source->kind == NODE_MAP && k < source->count; k++) {
            size_t before = seen.count;
            failed = name_table_add(&seen, source->items[k]->key) ? 0 : -1;
            if (!failed && seen.count > before)
                items[map->count++] = source->items[k];
        }
    }
    if (!failed)
        map->items = items;
    name_table_free(&seen);
    return failed;
}

int merge_keys_resolve(struct config *c, struct config_node *map, size_t *nodes_left)
{
    struct config_node *value = take_merge_key(map);
    if (!value)
        return 0;

    size_t room = map->count + 1, faults = 0;
    for (size_t i = 0; i < source_count(value); i++) {
        struct config_node *source = source_at(value, i);
        if (source->kind == NODE_MAP) {
            room += source->count;
        } else {
            config_fault(
                c, source,
                "expected a map or a list of maps to merge, written <<: *name or <<: [*a, *b]; found %s",
                node_describe(c, source));
            faults++;
        }
    }
    if (room > *nodes_left) {
        config_fault(c, value, "merge keys multiply to more than %u values", CONFIG_NODES_MAX);
        return -1;
    }
    *nodes_left -= room;
    if (gather(c, map, value, room)) {
        c->out_of_memory = true;
        return -1;
    }
    return faults ? 1 : 0;
}

/* Two files' items one behind the other in a new node that stands where `base` does; keys that both have are
 * faults. */
static struct config_node *join(struct config *c, const struct config_node *base,
                                const struct config_node *over, bool *fault)
{
    struct config_node *node = arena_alloc(&c->arena, sizeof *node);
    struct key_index index;
    if (!node || key_index_init(&index, base))
        return NULL;
    *node = *base;
    node->items = arena_alloc(&c->arena, (base->count + over->count + 1) * sizeof(struct config_node *));
    for (size_t i = 0; node->items && i < base->count; i++)
        node->items[i] = base->items[i];
    for (size_t i = 0; node->items && i < over->count; i++) {
        struct config_node *item = over->items[i];
        const struct config_node *first = base->kind == NODE_MAP ? key_index_get(&index, item->key) : NULL;
        if (first) {
            config_fault_key(c, item, "defined in two files (first at %s:%u:%u)", first->file,
                             first->key_line, first->key_column);
            *fault = true;
        } else {
            node->items[node->count++] = item;
        }
    }
    key_index_free(&index);
    if (!node->items)
        return NULL;
    node_weigh(node);
    return node;
}

int merge_file(struct config *c, struct config_node *base, const struct config_node *over)
{
    bool fault = false;
    struct config_node **items =
        arena_alloc(&c->arena, (base->count + over->count + 1) * sizeof(struct config_node *));
    if (!items)
        return -1;
    if (base->count)
        memcpy(items, base->items, base->count * sizeof(void *));
    base->items = items;

    for (size_t i = 0; i < over->count; i++) {
        struct config_node *item = over->items[i];
        size_t at = 0;
        while (at < base->count && !slice_equal(base->items[at]->key, item->key))
            at++;
        struct config_node *first = at < base->count ? items[at] : NULL;
        if (!first) {
            items[base->count++] = item;
        } else if (first->kind == NODE_NULL) {
            items[at] = item;
        } else if (first->kind == item->kind && item->kind != NODE_SCALAR) {
            items[at] = join(c, first, item, &fault);
            if (!items[at])
                return -1;
        } else if (item->kind != NODE_NULL) {
            config_fault_key(c, item, "defined in two files (first at %s:%u:%u)", first->file,
                             first->key_line, first->key_column);
            fault = true;
        }
    }
    return fault ? 1 : 0;
}
