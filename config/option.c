/* A table of options applied to a node of the tree. */
#include "config/option_internal.h"

#define OPTIONS_LISTED 32

static int apply_option(struct config *c, const struct option *o, const struct config_node *node,
                        char *object);
static int apply_fallback(struct config *c, const struct option *o, void *field);
static int apply_value(struct config *c, const struct option *o, const struct config_node *node, void *field);
static int refuse_unknown_keys(struct config *c, const struct option_table *table,
                               const struct config_node *map);
static int refuse_missing_keys(struct config *c, const struct option_table *table,
                               const struct config_node *node, const char *given);
static int apply_shorthand(struct config *c, const struct option_table *table, const struct config_node *node,
                           char *object);

const struct option *option_find(const struct option_table *table, struct slice name)
{
    for (size_t i = 0; i < table->count; i++)
        if (slice_equal(slice_text(table->options[i].name), name))
            return &table->options[i];
    return NULL;
}

/* bind:":80" was meant to be a key and its value. */
static bool lacks_space(const struct config_node *node)
{
    if (node->kind != NODE_SCALAR || node->quoted)
        return false;
    size_t colon = 0;
    while (colon < node->text.len &&
           (ascii_lower(node->text.at[colon]) == '_' ||
            (ascii_lower(node->text.at[colon]) >= 'a' && ascii_lower(node->text.at[colon]) <= 'z')))
        colon++;
    return colon && colon + 1 < node->text.len && node->text.at[colon] == ':' &&
           node->text.at[colon + 1] != '/';
}

static int refuse_kind(struct config *c, const struct option_table *table, const struct config_node *node)
{
    const struct option *o = table->shorthand ? option_find(table, slice_text(table->shorthand)) : NULL;
    if (o)
        config_fault(c, node, "expected a map or just its %s, written {%s: …}; found %s", o->name, o->name,
                     node_describe(c, node));
    else if (lacks_space(node))
        config_fault(c, node, "expected a map; found %s: a space is missing behind its \":\"",
                     node_describe(c, node));
    else
        value_fault(c, node, "a map", "{name: value} or \"name: value\" line by line");
    return -1;
}

int option_apply(struct config *c, const struct option_table *table, const struct config_node *node,
                 void *object)
{
    char *bytes = object;
    int rc = 0;
    memset(object, 0, table->size);
    if (table->has_node)
        *(const struct config_node **)(void *)(bytes + table->node_offset) = node;
    if (table->has_name && node)
        memcpy(bytes + table->name_offset, &node->key, sizeof node->key);

    const struct config_node *map = node && node->kind == NODE_MAP ? node : NULL;
    for (size_t i = 0; i < table->count; i++) {
        const struct option *o = &table->options[i];
        const struct config_node *value = config_get(map, o->name);
        if (apply_option(c, o, value, bytes))
            rc = -1;
    }
    if (!node)
        return rc;

    bool is_short = node->kind == NODE_SCALAR || node->kind == NODE_LIST;
    if (is_short && apply_shorthand(c, table, node, bytes))
        return -1;
    if (map && refuse_unknown_keys(c, table, map))
        rc = -1;
    if (refuse_missing_keys(c, table, node, is_short ? table->shorthand : NULL))
        rc = -1;

    size_t before = c->error_count + c->errors_dropped;
    if (table->check)
        table->check(c, node, object);
    if (c->error_count + c->errors_dropped > before || c->out_of_memory)
        rc = -1;
    return rc;
}

static int apply_shorthand(struct config *c, const struct option_table *table, const struct config_node *node,
                           char *object)
{
    const struct option *o = table->shorthand ? option_find(table, slice_text(table->shorthand)) : NULL;
    bool takes_lists = o && (o->type == OPTION_TEXTS || o->type == OPTION_LIST || o->type == OPTION_CUSTOM);
    if (!o || (node->kind == NODE_LIST && !takes_lists))
        return refuse_kind(c, table, node);
    return apply_option(c, o, node, object);
}

/* The names that may be meant, or that there are; what is planned is not offered. */
static const char *nearest_key(struct config *c, const struct option_table *table, struct slice key)
{
    const char *names[OPTIONS_LISTED], *ours;
    size_t count = 0;
    struct suggestion s = {.word = key};
    for (size_t i = 0; i < table->count; i++)
        if (table->options[i].type != OPTION_PLANNED) {
            suggestion_consider(&s, table->options[i].name);
            if (count < COUNT_OF(names))
                names[count++] = table->options[i].name;
        }
    for (size_t i = 0; !s.best && (ours = config_foreign_key(key, &i)) != NULL;)
        if (option_find(table, slice_text(ours)))
            s.best = ours;
    if (!s.best)
        return config_mend(c, key, names, count, count < COUNT_OF(names));
    const char *mend = arena_printf(&c->arena, "; did you mean \"%s\"?", s.best);
    return mend ? mend : "";
}

static int refuse_unknown_keys(struct config *c, const struct option_table *table,
                               const struct config_node *map)
{
    int rc = 0;
    for (size_t i = 0; i < map->count; i++) {
        const struct config_node *item = map->items[i];
        if (option_find(table, item->key))
            continue;
        config_fault_key(c, item, "unknown key%s",
                         config_wants_faults(c) ? nearest_key(c, table, item->key) : "");
        rc = -1;
    }
    return rc;
}

static int refuse_missing_keys(struct config *c, const struct option_table *table,
                               const struct config_node *node, const char *given)
{
    int rc = 0;
    for (size_t i = 0; i < table->count; i++) {
        const struct option *o = &table->options[i];
        const struct config_node *value = config_get(node, o->name);
        bool is_there = value && (value->kind != NODE_NULL || value->faulty);
        if (!(o->flags & OPTION_FLAG_REQUIRED) || is_there || (given && strcmp(given, o->name) == 0))
            continue;
        config_fault(c, node, "missing key \"%s\"", o->name);
        rc = -1;
    }
    return rc;
}

static int apply_option(struct config *c, const struct option *o, const struct config_node *node,
                        char *object)
{
    void *field = object + o->offset;
    if (o->type == OPTION_PLANNED) {
        if (node)
            config_fault_key(c, node, "not supported yet");
        return node ? -1 : 0;
    }
    bool given = node && node->kind != NODE_NULL;
    if (o->set_offset)
        memcpy(object + o->set_offset, &given, sizeof given);

    /* A block brings its defaults itself. */
    int rc = given && o->type == OPTION_BLOCK ? 0 : apply_fallback(c, o, field);
    return given && apply_value(c, o, node, field) ? -1 : rc;
}

/* Defaults are our own; one that does not read is a mistake of the table. */
static int apply_fallback(struct config *c, const struct option *o, void *field)
{
    if (o->type == OPTION_BLOCK)
        return option_apply(c, o->table, NULL, field);
    if (!o->fallback || o->type == OPTION_CUSTOM || o->type == OPTION_NODE)
        return 0;

    bool is_scalar = o->type <= OPTION_ENUM;
    const struct config_node scalar = {
        .kind = NODE_SCALAR, .file = "default", .text = slice_text(o->fallback), .height = 1, .weight = 1};
    const struct config_node *node = is_scalar ? &scalar : yaml_fallback(c, o->fallback);
    if (!node) {
        c->out_of_memory = true;
        return -1;
    }
    return node->kind == NODE_NULL ? 0 : apply_value(c, o, node, field);
}

static int apply_ranged(struct config *c, const struct option *o, const struct config_node *node, void *field)
{
    uint64_t value = 0;
    bool is_size = o->type == OPTION_SIZE;
    if (is_size ? option_size(c, node, &value) : option_duration(c, node, &value))
        return -1;
    if (unit_check(c, node, is_size ? UNIT_SIZE : UNIT_DURATION, (double)value, o->min, o->max))
        return -1;
    memcpy(field, &value, sizeof value);
    return 0;
}

static int refuse_empty(struct config *c, const struct option *o, const struct config_node *node,
                        size_t count)
{
    if (count || !(o->flags & OPTION_FLAG_NONEMPTY))
        return 0;
    config_fault(c, node, "may not be empty");
    return -1;
}

static int apply_text(struct config *c, const struct option *o, const struct config_node *node,
                      struct slice *field)
{
    struct slice text;
    if (option_text(c, node, &text) || refuse_empty(c, o, node, text.len))
        return -1;
    *field = text;
    return 0;
}

static int apply_texts(struct config *c, const struct option *o, const struct config_node *node,
                       struct option_texts *field)
{
    struct option_texts texts = {0};
    if (option_texts(c, node, &texts) || refuse_empty(c, o, node, texts.count))
        return -1;
    *field = texts;
    return 0;
}

static void *new_object(struct config *c, const struct option_table *table, size_t count)
{
    void *object = arena_zalloc(&c->arena, table->size * (count ? count : 1));
    if (!object)
        c->out_of_memory = true;
    return object;
}

/* `true` instead of a map: an empty one at the same place. */
static const struct config_node *as_empty(struct config *c, const struct config_node *node)
{
    struct config_node *empty = arena_alloc(&c->arena, sizeof *empty);
    if (!empty) {
        c->out_of_memory = true;
        return NULL;
    }
    *empty = *node;
    empty->kind = NODE_NULL;
    return empty;
}

static int apply_block_if(struct config *c, const struct option *o, const struct config_node *node,
                          void **field)
{
    int word = value_as_bool(node);
    if (word == 0) {
        *field = NULL;
        return 0;
    }
    if (word == 1 && !(o->flags & OPTION_FLAG_TRUE)) {
        config_fault(c, node,
                     "true does not say enough; expected a map, written {name: value} or line by line");
        return -1;
    }
    void *object = new_object(c, o->table, 1);
    const struct config_node *at = word == 1 ? as_empty(c, node) : node;
    if (!object || !at)
        return -1;
    *field = object;
    return option_apply(c, o->table, at, object);
}

static int apply_list(struct config *c, const struct option *o, const struct config_node *node,
                      struct option_list *field)
{
    bool is_list = node->kind == NODE_LIST;
    size_t count = is_list ? node->count : 1;
    if (!is_list && node->kind != NODE_MAP && !o->table->shorthand)
        return value_fault(c, node, "a list of maps", "with \"- \" before each, or [{…}, {…}]");
    struct option_list list = {.at = new_object(c, o->table, count), .count = count};
    if (!list.at || refuse_empty(c, o, node, count))
        return -1;

    int rc = 0;
    for (size_t i = 0; i < count; i++) {
        const struct config_node *item = is_list ? node->items[i] : node;
        if (item->kind == NODE_NULL)
            rc = refuse_kind(c, o->table, item);
        else if (option_apply(c, o->table, item, (char *)list.at + i * o->table->size))
            rc = -1;
    }
    *field = list;
    return rc;
}

static int apply_map(struct config *c, const struct option *o, const struct config_node *node,
                     struct option_list *field)
{
    if (node->kind != NODE_MAP)
        return value_fault(c, node, "a map of names", "\"name: …\" line by line");
    struct option_list list = {.at = new_object(c, o->table, node->count), .count = node->count};
    if (!list.at || refuse_empty(c, o, node, node->count))
        return -1;

    int rc = 0;
    for (size_t i = 0; i < node->count; i++)
        if (option_apply(c, o->table, node->items[i], (char *)list.at + i * o->table->size))
            rc = -1;
    *field = list;
    return rc;
}

static int apply_value(struct config *c, const struct option *o, const struct config_node *node, void *field)
{
    switch (o->type) {
    case OPTION_BOOL:
        return option_bool(c, node, field);
    case OPTION_COUNT:
        return option_count(c, node, o->min, o->max, field);
    case OPTION_NUMBER:
        return option_number(c, node, o->flags & OPTION_FLAG_PERCENT, o->min, o->max, field);
    case OPTION_DURATION:
    case OPTION_SIZE:
        return apply_ranged(c, o, node, field);
    case OPTION_TEXT:
        return apply_text(c, o, node, field);
    case OPTION_ENUM:
        return option_choice(c, node, o->choices, field);
    case OPTION_TEXTS:
        return apply_texts(c, o, node, field);
    case OPTION_BLOCK:
        return option_apply(c, o->table, node, field);
    case OPTION_BLOCK_IF:
        return apply_block_if(c, o, node, field);
    case OPTION_LIST:
        return apply_list(c, o, node, field);
    case OPTION_MAP:
        return apply_map(c, o, node, field);
    case OPTION_PAIRS:
        return option_pairs(c, node, field);
    case OPTION_NODE:
        *(const struct config_node **)field = node;
        return 0;
    case OPTION_CUSTOM:
        return o->parse(c, node, field);
    case OPTION_PLANNED:
        break;
    }
    return 0;
}
