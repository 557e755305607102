/* Nodes and their places, while lists and maps are open. */
#include <stdlib.h>

#include "config/yaml_internal.h"

int yaml_memory_fault(struct yaml_builder *b)
{
    b->c->out_of_memory = true;
    return -1;
}

struct config_node *yaml_node_at(struct yaml_builder *b, enum node_kind kind, yaml_mark_t mark)
{
    struct config_node *node =
        node_new(b->c, kind, b->source->file, (uint32_t)mark.line + 1, (uint32_t)mark.column + 1);
    if (!node)
        b->c->out_of_memory = true;
    return node;
}

static int push(struct yaml_builder *b, struct config_node *node)
{
    if (b->pending_count == b->pending_capacity) {
        size_t capacity = b->pending_capacity ? b->pending_capacity * 2 : 256;
        struct config_node **larger = realloc(b->pending, capacity * sizeof(void *));
        if (!larger)
            return yaml_memory_fault(b);
        b->pending = larger;
        b->pending_capacity = capacity;
    }
    b->pending[b->pending_count++] = node;
    return 0;
}

void yaml_locate(struct yaml_builder *b, struct config_node *node)
{
    if (!b->depth)
        return;
    const struct yaml_frame *top = &b->frames[b->depth - 1];
    const struct config_node *map = top->node;
    if (map->kind == NODE_LIST) {
        node->parent = top->node;
        node->index = (uint32_t)(b->pending_count - top->base);
    } else if (top->has_key && top->key) {
        node->parent = top->node;
        node->key = top->key->text;
        node->key_line = top->key->line;
        node->key_column = top->key->column;
        node->is_merge = !top->key->quoted && slice_equal(top->key->text, S("<<"));
    } else {
        node->parent = map->parent;
        node->key = map->key;
        node->index = map->index;
    }
}

static void take_key(struct yaml_builder *b, struct yaml_frame *top, struct config_node *key)
{
    const char *problem = NULL;
    if (key->kind != NODE_SCALAR && key->kind != NODE_NULL)
        problem = "a key must be a word or a text";
    else if (!key->text.len)
        problem = "a key is missing before the \":\"";
    if (problem) {
        config_fault(b->c, key, "%s", problem);
        b->faults = true;
    }
    top->has_key = true;
    top->key = problem || key->faulty ? NULL : key;
}

int yaml_place(struct yaml_builder *b, struct config_node *node)
{
    if (!b->depth) {
        b->root = node;
        return 0;
    }
    struct yaml_frame *top = &b->frames[b->depth - 1];
    if (top->node->kind == NODE_LIST)
        return push(b, node);
    if (!top->has_key) {
        take_key(b, top, node);
        return 0;
    }
    const struct config_node *key = top->key;
    top->has_key = false;
    top->key = NULL;
    return key ? push(b, node) : 0; /* the value of a faulty key goes with it */
}

int yaml_define_anchor(struct yaml_builder *b, const unsigned char *anchor, struct config_node *node)
{
    if (!anchor)
        return 0;
    struct slice name = arena_copy(&b->c->arena, slice_text((const char *)anchor));
    struct name_slot *slot = name.at ? name_table_add(&b->anchors, name) : NULL;
    if (!slot)
        return yaml_memory_fault(b);
    slot->value = node;
    return 0;
}
