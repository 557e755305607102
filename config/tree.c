#include "config/internal.h"

#include <ctype.h>
#include <stdlib.h>

#define SMALL_MAP 16

void config_init(struct config *c)
{
    *c = (struct config){0};
    arena_init(&c->arena, NULL, 0);
}

void config_free(struct config *c)
{
    if (c->fallbacks)
        name_table_free(c->fallbacks);
    arena_reset(&c->arena);
    *c = (struct config){0};
}

struct config_node *node_new(struct config *c, enum node_kind kind, const char *file, uint32_t line,
                             uint32_t column)
{
    struct config_node *node = arena_zalloc(&c->arena, sizeof *node);
    if (!node)
        return NULL;
    node->kind = kind;
    node->file = file;
    node->line = line;
    node->column = column;
    node->text = S("");
    node->height = 1;
    node->weight = 1;
    return node;
}

void node_weigh(struct config_node *node)
{
    uint64_t weight = 1;
    unsigned height = 0;
    for (size_t i = 0; i < node->count; i++) {
        weight += node->items[i]->weight;
        if (node->items[i]->height > height)
            height = node->items[i]->height;
    }
    node->weight = weight > UINT32_MAX ? UINT32_MAX : (uint32_t)weight;
    node->height = (uint16_t)(height + 1);
}

void node_remove(struct config_node *map, size_t index)
{
    map->count--;
    memmove(map->items + index, map->items + index + 1, (map->count - index) * sizeof(void *));
}

static struct config_node *find(const struct config_node *map, struct slice key)
{
    for (size_t i = 0; i < map->count; i++)
        if (slice_equal(map->items[i]->key, key))
            return map->items[i];
    return NULL;
}

struct config_node *config_get(const struct config_node *map, const char *key)
{
    return map && map->kind == NODE_MAP ? find(map, slice_text(key)) : NULL;
}

int key_index_init(struct key_index *index, const struct config_node *map)
{
    *index = (struct key_index){.map = map};
    if (map->count <= SMALL_MAP)
        return 0;
    for (size_t i = 0; i < map->count; i++) {
        struct name_slot *slot = name_table_add(&index->table, map->items[i]->key);
        if (!slot) {
            name_table_free(&index->table);
            return -1;
        }
        if (!slot->value)
            slot->value = map->items[i];
    }
    return 0;
}

struct config_node *key_index_get(const struct key_index *index, struct slice key)
{
    return index->table.capacity ? name_table_get(&index->table, key) : find(index->map, key);
}

void key_index_free(struct key_index *index)
{
    name_table_free(&index->table);
}

/* A key that reads well in a path without quotes. */
static bool is_word(struct slice key)
{
    for (size_t i = 0; i < key.len; i++) {
        unsigned char ch = (unsigned char)key.at[i];
        if (!isalnum(ch) && ch != '_' && ch != '-' && ch != '<' && ch != '/' && ch != '*' && ch != '$' &&
            ch < 0x80)
            return false;
    }
    return key.len > 0;
}

static const char *step(struct config *c, const struct config_node *at, const char *before)
{
    if (at->parent->kind == NODE_LIST)
        return arena_printf(&c->arena, "%s[%u]", before, at->index);
    if (is_word(at->key) && at->key.len <= 64)
        return arena_printf(&c->arena, "%s%s%.*s", before, *before ? "." : "", SLICE_FMT(at->key));
    return arena_printf(&c->arena, "%s[%s]", before, config_quote(c, at->key));
}

const char *config_path(struct config *c, const struct config_node *at)
{
    const struct config_node *chain[CONFIG_DEPTH_MAX + 1];
    size_t depth = 0;
    for (; at && at->parent && depth < COUNT_OF(chain); at = at->parent)
        chain[depth++] = at;

    const char *path = "";
    while (depth && path)
        path = step(c, chain[--depth], path);
    return path ? path : "";
}

void config_name_path(struct config *c, const struct config_node *at, const char *path, enum config_use use)
{
    if (c->named_count == c->named_capacity) {
        size_t capacity = c->named_capacity ? 2 * c->named_capacity : 16;
        struct config_named *more = arena_alloc(&c->arena, capacity * sizeof *more);
        if (!more) {
            c->out_of_memory = true;
            return;
        }
        if (c->named_count)
            memcpy(more, c->named, c->named_count * sizeof *more);
        c->named = more;
        c->named_capacity = capacity;
    }
    c->named[c->named_count++] = (struct config_named){.path = path, .at = at, .use = use};
}

struct slice config_relative_path(struct config *c, const struct config_node *at, struct slice path,
                                  enum config_use use)
{
    const char *slash = at && at->file ? strrchr(at->file, '/') : NULL;
    struct slice whole = !slash || (path.len && path.at[0] == '/')
                             ? arena_copy(&c->arena, path)
                             : slice_text(arena_printf(&c->arena, "%.*s/%.*s", (int)(slash - at->file),
                                                       at->file, SLICE_FMT(path)));
    if (whole.at)
        config_name_path(c, at, whole.at, use);
    return whole;
}
