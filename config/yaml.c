/* libyaml's events to a tree. Nothing recurses, and what aliases multiply is counted before anybody walks it:
 * a deeply nested or a multiplying file is refused after as much work as its size is worth. */
#include "config/yaml_internal.h"

#include <stdlib.h>

static int build(struct yaml_builder *b);
static int take(struct yaml_builder *b, const yaml_event_t *event);
static void resolve_scalar(struct yaml_builder *b, struct config_node *node, const yaml_event_t *event);

int yaml_read(struct config *c, const struct yaml_source *source, struct config_node **root)
{
    struct yaml_builder *b = calloc(1, sizeof *b);
    if (!b || !yaml_parser_initialize(&b->parser)) {
        c->out_of_memory = true;
        free(b);
        return -1;
    }
    b->c = c;
    b->source = source;
    yaml_parser_set_input_string(&b->parser, (const unsigned char *)(source->text.at ? source->text.at : ""),
                                 source->text.len);

    int rc = build(b);
    if (rc == 0) {
        *root = b->root;
        rc = b->faults ? 1 : 0;
    }
    yaml_parser_delete(&b->parser);
    name_table_free(&b->anchors);
    free(b->pending);
    free(b);
    return rc;
}

static int build(struct yaml_builder *b)
{
    for (bool more = true; more;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&b->parser, &event)) {
            syntax_fault(b->c, b->source, &b->parser);
            return -1;
        }
        more = event.type != YAML_STREAM_END_EVENT;
        int rc = take(b, &event);
        yaml_event_delete(&event);
        if (rc)
            return -1;
    }
    return 0;
}

/* A fault that ends the reading. */
static int fatal(struct yaml_builder *b, yaml_mark_t mark, const char *words)
{
    config_fault_place(b->c, b->source->file, (uint32_t)mark.line + 1, (uint32_t)mark.column + 1, "%s",
                       words);
    return -1;
}

static int charge(struct yaml_builder *b, yaml_mark_t mark, size_t nodes)
{
    if (nodes > *b->source->nodes_left)
        return fatal(b, mark,
                     "more values than a configuration may hold, or aliases that multiply without end");
    *b->source->nodes_left -= nodes;
    return 0;
}

/* Only what YAML itself defines; `!!str` and `!` make text of anything. */
static bool is_known_tag(const char *tag)
{
    static const char *const known[] = {"str", "int", "float", "bool", "null", "map", "seq", "merge"};
    const char *prefix = "tag:yaml.org,2002:";
    if (!tag || strcmp(tag, "!") == 0)
        return true;
    if (strncmp(tag, prefix, strlen(prefix)) != 0)
        return false;
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (strcmp(tag + strlen(prefix), known[i]) == 0)
            return true;
    return false;
}

static void check_tag(struct yaml_builder *b, struct config_node *node, const unsigned char *tag)
{
    if (is_known_tag((const char *)tag))
        return;
    config_fault(b->c, node, "unknown tag %s", config_quote(b->c, slice_text((const char *)tag)));
    node->faulty = true;
    b->faults = true;
}

static int take_scalar(struct yaml_builder *b, const yaml_event_t *event)
{
    struct config_node *node = yaml_node_at(b, NODE_SCALAR, event->start_mark);
    if (!node)
        return -1;
    node->text =
        arena_copy(&b->c->arena, slice_of((const char *)event->data.scalar.value, event->data.scalar.length));
    if (!node->text.at)
        return yaml_memory_fault(b);
    yaml_locate(b, node);
    resolve_scalar(b, node, event);
    check_tag(b, node, event->data.scalar.tag);
    if (yaml_define_anchor(b, event->data.scalar.anchor, node))
        return -1;
    return yaml_place(b, node);
}

static bool is_null_word(struct slice text)
{
    return !text.len || slice_equal(text, S("~")) || slice_equal(text, S("null")) ||
           slice_equal(text, S("Null")) || slice_equal(text, S("NULL"));
}

/* Behind the text's end, where config_written() finds it. */
static int keep_written(struct yaml_builder *b, struct config_node *node, struct slice written)
{
    if (slice_equal(node->text, written))
        return 0;
    char *both = arena_alloc(&b->c->arena, node->text.len + written.len + 2);
    if (!both)
        return yaml_memory_fault(b);
    memcpy(both, node->text.at, node->text.len);
    both[node->text.len] = 0;
    memcpy(both + node->text.len + 1, written.at, written.len);
    both[node->text.len + 1 + written.len] = 0;
    node->text.at = both;
    node->has_variables = true;
    return 0;
}

static void resolve_scalar(struct yaml_builder *b, struct config_node *node, const yaml_event_t *event)
{
    const char *tag = (const char *)event->data.scalar.tag;
    node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE ||
                   (tag && (strcmp(tag, "!") == 0 || strcmp(tag, YAML_STR_TAG) == 0));
    bool was_null = is_null_word(node->text);
    struct slice written = node->text;

    if (b->source->expand && slice_find(node->text, '$') < node->text.len &&
        (environment_expand(b->c, node, node->text, &node->text) || keep_written(b, node, written))) {
        node->faulty = true;
        b->faults = true;
    }
    /* What a variable holds never becomes YAML's null, but for nothing at all. */
    if (!node->quoted && (was_null || !node->text.len))
        node->kind = NODE_NULL;
}

static int take_start(struct yaml_builder *b, const yaml_event_t *event, enum node_kind kind,
                      const unsigned char *anchor, const unsigned char *tag)
{
    if (b->depth == CONFIG_DEPTH_MAX)
        return fatal(b, event->start_mark, "lists and maps are nested too deep (64 levels at most)");
    struct config_node *node = yaml_node_at(b, kind, event->start_mark);
    if (!node)
        return -1;
    yaml_locate(b, node);
    check_tag(b, node, tag);
    if (yaml_define_anchor(b, anchor, node) || yaml_place(b, node))
        return -1;
    b->frames[b->depth++] = (struct yaml_frame){.node = node, .base = b->pending_count};
    return 0;
}

static void refuse_duplicates(struct yaml_builder *b, struct config_node *map)
{
    struct key_index index;
    if (key_index_init(&index, map)) {
        b->c->out_of_memory = true;
        b->faults = true;
        return;
    }
    size_t kept = 0;
    for (size_t i = 0; i < map->count; i++) {
        struct config_node *item = map->items[i];
        const struct config_node *first = key_index_get(&index, item->key);
        if (first == item) {
            map->items[kept++] = item;
            continue;
        }
        config_fault_key(b->c, item, "duplicate key; the first is at %s:%u:%u", first->file, first->key_line,
                         first->key_column);
        b->faults = true;
    }
    map->count = kept;
    key_index_free(&index);
}

static int take_end(struct yaml_builder *b)
{
    struct yaml_frame *top = &b->frames[--b->depth];
    struct config_node *node = top->node;
    node->count = b->pending_count - top->base;
    node->items = arena_alloc(&b->c->arena, (node->count + 1) * sizeof(struct config_node *));
    if (!node->items)
        return yaml_memory_fault(b);
    if (node->count)
        memcpy(node->items, b->pending + top->base, node->count * sizeof(void *));
    b->pending_count = top->base;

    if (node->kind == NODE_MAP) {
        refuse_duplicates(b, node);
        int merged = merge_keys_resolve(b->c, node, b->source->nodes_left);
        b->faults = b->faults || merged;
        if (merged < 0)
            return -1;
    }
    node_weigh(node);
    return 0;
}

static struct config_node *alias_target(struct yaml_builder *b, const yaml_event_t *event,
                                        const char **problem)
{
    struct slice name = slice_text((const char *)event->data.alias.anchor);
    struct config_node *target = name_table_get(&b->anchors, name);
    *problem = NULL;
    if (!target)
        *problem =
            arena_printf(&b->c->arena, "no anchor \"&%.*s\" stands before this alias", SLICE_FMT(name));
    for (size_t i = 0; i < b->depth; i++)
        if (target && b->frames[i].node == target)
            *problem = arena_printf(&b->c->arena, "\"*%.*s\" would contain itself", SLICE_FMT(name));
    return target;
}

/* An alias is a node of its own that shares what is inside. */
static int take_alias(struct yaml_builder *b, const yaml_event_t *event)
{
    const char *problem;
    struct config_node *target = alias_target(b, event, &problem);
    struct config_node *node = yaml_node_at(b, NODE_NULL, event->start_mark);
    if (!node)
        return -1;
    if (!problem) {
        if (b->depth + target->height > CONFIG_DEPTH_MAX + 1)
            return fatal(b, event->start_mark, "lists and maps are nested too deep (64 levels at most)");
        if (charge(b, event->start_mark, target->weight))
            return -1;
        uint32_t line = node->line, column = node->column;
        *node = *target;
        node->line = line;
        node->column = column;
        node->parent = NULL;
        node->key = (struct slice){NULL, 0};
        node->key_line = node->key_column = node->index = 0;
        node->is_merge = false;
        yaml_locate(b, node);
        return yaml_place(b, node);
    }
    yaml_locate(b, node);
    config_fault(b->c, node, "%s", problem);
    node->faulty = true;
    b->faults = true;
    return yaml_place(b, node);
}

static int take(struct yaml_builder *b, const yaml_event_t *event)
{
    if (charge(b, event->start_mark, 1))
        return -1;
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (b->documents++)
            return fatal(b, event->start_mark, "a second document begins here; a file holds one");
        return 0;
    case YAML_SCALAR_EVENT:
        return take_scalar(b, event);
    case YAML_SEQUENCE_START_EVENT:
        return take_start(b, event, NODE_LIST, event->data.sequence_start.anchor,
                          event->data.sequence_start.tag);
    case YAML_MAPPING_START_EVENT:
        return take_start(b, event, NODE_MAP, event->data.mapping_start.anchor,
                          event->data.mapping_start.tag);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        return take_end(b);
    case YAML_ALIAS_EVENT:
        return take_alias(b, event);
    default:
        return 0;
    }
}

const struct config_node *yaml_fallback(struct config *c, const char *text)
{
    if (!c->fallbacks) {
        c->fallbacks = arena_zalloc(&c->arena, sizeof *c->fallbacks);
        if (!c->fallbacks)
            return NULL;
    }
    struct name_slot *slot = name_table_add(c->fallbacks, slice_text(text));
    if (!slot)
        return NULL;
    if (!slot->value) {
        size_t nodes = CONFIG_NODES_MAX;
        struct yaml_source source = {.file = "default", .text = slice_text(text), .nodes_left = &nodes};
        struct config_node *root = NULL;
        if (yaml_read(c, &source, &root) == 0)
            slot->value = root;
    }
    return slot->value;
}
