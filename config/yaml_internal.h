/* What the files that read YAML share: yaml.c (libyaml's events) and yaml_place.c (where what they tell of
 * stands in the tree). */
#pragma once

#include "config/internal.h"

struct yaml_frame {
    struct config_node *node;
    size_t base;             /* of its items on the stack of pending ones */
    struct config_node *key; /* in a map: the key whose value comes next; NULL = it had a fault */
    bool has_key;
};

struct yaml_builder {
    struct config *c;
    const struct yaml_source *source;
    yaml_parser_t parser;
    struct name_table anchors;
    struct yaml_frame frames[CONFIG_DEPTH_MAX];
    size_t depth;
    struct config_node **pending; /* items of all open collections, one's behind its parent's */
    size_t pending_count, pending_capacity;
    struct config_node *root;
    unsigned documents;
    bool faults;
};

/* Out of memory, noted: -1. */
int yaml_memory_fault(struct yaml_builder *b);
/* A new node that stands nowhere yet. NULL when out of memory, which is noted. */
struct config_node *yaml_node_at(struct yaml_builder *b, enum node_kind kind, yaml_mark_t mark);
/* Where the next node will stand, so that a fault in it has its path. A key has the path of its map. */
void yaml_locate(struct yaml_builder *b, struct config_node *node);
/* A located node becomes the root, an item of the open list, or a key or a value of the open map. 0, or -1.
 */
int yaml_place(struct yaml_builder *b, struct config_node *node);
/* The node can be told by aliases from then on; `anchor` may be NULL. 0, or -1. */
int yaml_define_anchor(struct yaml_builder *b, const unsigned char *anchor, struct config_node *node);
