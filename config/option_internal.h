/* What option.c, value.c, schema.c and reference.c share; nobody else includes it. */
#pragma once

#include "config/internal.h"
#include "config/option.h"

/* value.c: a reader's limits worded for durations and sizes: `10s`, `16KiB`. */
enum unit {
    UNIT_NONE,
    UNIT_SHARE,    /* 0.2 is 20% */
    UNIT_DURATION, /* milliseconds */
    UNIT_SIZE,     /* bytes */
};

/* How a number of that unit is written; in `to`. */
void unit_write(enum unit unit, double value, char *to, size_t size);

/* 0, or -1 after a fault, when value is outside [min, max]; max 0 = no limit. */
int unit_check(struct config *c, const struct config_node *node, enum unit unit, double value, double min,
               double max);

/* A scalar's faults: `expected true or false, written true; found a list`. Always -1. */
int value_fault(struct config *c, const struct config_node *node, const char *expected, const char *example);

/* `true` and `false` as YAML 1.2 core has them, unquoted: 1, 0; anything else -1. */
int value_as_bool(const struct config_node *node);

const struct option *option_find(const struct option_table *table, struct slice name);

/* A long text in pieces. */
struct output {
    option_writer *write;
    void *argument;
};
void output_text(const struct output *out, const char *text);

/* Every table from `root` down, once, in the order of the tables, with the number of its uses. On the heap.
 */
struct table_use {
    const struct option_table *table;
    size_t uses;
};
struct table_list {
    struct table_use *at;
    size_t count, capacity;
};
/* 0, or -1 when out of memory. */
int table_list_collect(struct table_list *list, const struct option_table *root);
/* Its place; the list has it. */
size_t table_list_find(const struct table_list *list, const struct option_table *table);
void table_list_free(struct table_list *list);

/* Whether the option's `table` counts. */
bool option_has_table(const struct option *o);

/* How schema and reference show an option: a NODE with a table is a block, or a list of them. */
static inline enum option_type option_shown_type(const struct option *o)
{
    if (o->type != OPTION_NODE || !o->table)
        return o->type;
    return o->flags & OPTION_FLAG_LIST ? OPTION_LIST : OPTION_BLOCK;
}
