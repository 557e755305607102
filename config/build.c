/* Nodes that stand in no file. */
#include "config/internal.h"

struct config_node *config_map_of(struct config *c, const struct config_node *like, const char *key,
                                  struct config_node *value)
{
    struct config_node *map = arena_zalloc(&c->arena, sizeof *map);
    struct config_node *item = arena_alloc(&c->arena, sizeof *item);
    if (!map || !item)
        return NULL;
    *item = *value;
    item->key = slice_text(key);
    *map = *like;
    map->items = arena_alloc(&c->arena, sizeof(struct config_node *));
    if (!map->items)
        return NULL;
    map->items[0] = item;
    map->count = 1;
    return map;
}
