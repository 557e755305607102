/* JSON Schema (draft 2020-12) from option tables. */
#include "config/json.h"

#include <stdio.h>
#include <stdlib.h>

/* What YAML makes of an unquoted text is not always a string. */
#define TEXT_TYPES "[\"string\", \"number\", \"boolean\"]"

struct schema {
    struct json json;
    struct table_list tables;
};

static void write_object(struct schema *s, const struct option_table *table, bool is_root);
static void write_table(struct schema *s, const struct option_table *table);
static void write_option(struct schema *s, const struct option *o);

/* `$defs` needs names that are unique and plain. */
static void table_name(const struct schema *s, const struct option_table *table, char *to, size_t size)
{
    size_t at = table_list_find(&s->tables, table), used = 0, twins = 0;
    for (size_t i = 0; i < at; i++)
        twins += strcmp(s->tables.at[i].table->name, table->name) == 0;
    for (const char *p = table->name; *p && used + 24 < size; p++)
        to[used++] = strchr("/~#% \"\\", *p) ? '_' : *p;
    to[used] = 0;
    if (twins)
        snprintf(to + used, size - used, "_%zu", twins + 1);
}

/* null and a variable of the environment may stand anywhere. */
static void write_own_definitions(struct json *j)
{
    json_key(j, "null_or_variable");
    json_raw(j, "{\"anyOf\": [{\"type\": \"null\"}, "
                "{\"type\": \"string\", \"pattern\": \"\\\\$\\\\{[A-Z_][A-Z0-9_]*(:-.*)?\\\\}\"}]}");
}

void option_schema(const struct option_table *table, option_writer *write, void *argument)
{
    struct schema s = {.json = {.out = {write, argument}}};
    if (table_list_collect(&s.tables, table) == 0) {
        write_object(&s, table, true);
        output_text(&s.json.out, "\n");
    }
    table_list_free(&s.tables);
}

static void write_definitions(struct schema *s)
{
    struct json *j = &s->json;
    char name[128];
    json_key(j, "$defs");
    json_open(j, '{');
    write_own_definitions(j);
    for (size_t i = 0; i < s->tables.count; i++) {
        if (s->tables.at[i].uses < 2)
            continue;
        table_name(s, s->tables.at[i].table, name, sizeof name);
        json_key(j, name);
        write_object(s, s->tables.at[i].table, false);
    }
    json_close(j, '}');
}

static void write_root_extras(struct json *j)
{
    json_key(j, "include");
    json_raw(
        j, "{\"description\": \"Files or patterns, relative to this file, whose keys are added.\", "
           "\"anyOf\": [{\"type\": \"string\"}, {\"type\": \"array\", \"items\": {\"type\": \"string\"}}]}");
}

static void write_required(struct json *j, const struct option_table *table)
{
    bool any = false;
    for (size_t i = 0; i < table->count; i++)
        any = any || (table->options[i].flags & OPTION_FLAG_REQUIRED);
    if (!any)
        return;
    json_key(j, "required");
    json_open(j, '[');
    for (size_t i = 0; i < table->count; i++)
        if (table->options[i].flags & OPTION_FLAG_REQUIRED)
            json_text(j, slice_text(table->options[i].name));
    json_close(j, ']');
}

static void write_object(struct schema *s, const struct option_table *table, bool is_root)
{
    struct json *j = &s->json;
    json_open(j, '{');
    if (is_root) {
        json_pair(j, "$schema", "https://json-schema.org/draft/2020-12/schema");
        json_pair(j, "title", table->name);
    }
    if (table->help)
        json_pair(j, "description", table->help);
    json_pair(j, "type", "object");
    json_key(j, "properties");
    json_open(j, '{');
    for (size_t i = 0; i < table->count; i++) {
        if (table->options[i].type == OPTION_PLANNED)
            continue;
        json_key(j, table->options[i].name);
        write_option(s, &table->options[i]);
    }
    if (is_root && !option_find(table, S("include")))
        write_root_extras(j);
    json_close(j, '}');
    if (is_root)
        json_pair_raw(j, "patternProperties", "{\"^x-\": true}");
    write_required(j, table);
    json_pair_raw(j, "additionalProperties", "false");
    if (is_root)
        write_definitions(s);
    json_close(j, '}');
}

static void write_reference(struct schema *s, const struct option_table *table)
{
    char name[128], link[160];
    table_name(s, table, name, sizeof name);
    snprintf(link, sizeof link, "#/$defs/%s", name);
    json_open(&s->json, '{');
    json_pair(&s->json, "$ref", link);
    json_close(&s->json, '}');
}

static void write_number(struct json *j, const char *key, double value)
{
    char text[64];
    snprintf(text, sizeof text, "%.15g", value);
    json_pair_raw(j, key, text);
}

static void write_limits(struct json *j, const struct option *o)
{
    write_number(j, "minimum", o->min > 0 || o->type == OPTION_NUMBER ? o->min : 0);
    if (o->max > 0)
        write_number(j, "maximum", o->max);
}

static void write_choices(struct json *j, const struct option *o)
{
    json_key(j, "enum");
    json_open(j, '[');
    for (const char *const *choice = o->choices; *choice; choice++) {
        char *end;
        double number = strtod(*choice, &end);
        json_text(j, slice_text(*choice));
        if (end != *choice && !*end && number == number &&
            number < 1e15) /* 1.2, unquoted, is a number to an editor */
            json_raw(j, *choice);
    }
    json_close(j, ']');
}

static void write_texts(struct json *j, bool nonempty)
{
    json_key(j, "anyOf");
    json_open(j, '[');
    json_raw(j, "{\"type\": " TEXT_TYPES "}");
    json_raw(j, nonempty ? "{\"type\": \"array\", \"minItems\": 1, \"items\": {\"type\": " TEXT_TYPES "}}"
                         : "{\"type\": \"array\", \"items\": {\"type\": " TEXT_TYPES "}}");
    json_close(j, ']');
}

static void write_list(struct schema *s, const struct option *o)
{
    struct json *j = &s->json;
    json_key(j, "anyOf");
    json_open(j, '[');
    json_open(j, '{');
    json_pair(j, "type", "array");
    if (o->flags & OPTION_FLAG_NONEMPTY)
        json_pair_raw(j, "minItems", "1");
    json_key(j, "items");
    write_table(s, o->table);
    json_close(j, '}');
    write_table(s, o->table);
    json_close(j, ']');
}

static void write_map(struct schema *s, const struct option *o)
{
    struct json *j = &s->json;
    json_pair(j, "type", "object");
    if (o->flags & OPTION_FLAG_NONEMPTY)
        json_pair_raw(j, "minProperties", "1");
    json_key(j, "additionalProperties");
    json_open(j, '{');
    json_key(j, "anyOf");
    json_open(j, '[');
    write_table(s, o->table);
    json_raw(j, "{\"type\": \"null\"}");
    json_close(j, ']');
    json_close(j, '}');
}

static void write_block(struct schema *s, const struct option *o)
{
    struct json *j = &s->json;
    json_key(j, "anyOf");
    json_open(j, '[');
    write_table(s, o->table);
    if (o->type == OPTION_BLOCK_IF)
        json_raw(j, o->flags & OPTION_FLAG_TRUE ? "{\"type\": \"boolean\"}" : "{\"const\": false}");
    json_close(j, ']');
}

static bool table_takes_lists(const struct option *shorthand)
{
    return shorthand->type == OPTION_TEXTS || shorthand->type == OPTION_LIST ||
           shorthand->type == OPTION_CUSTOM;
}

/* A scalar in the place of the map: whether its text is right, only applying the table can tell. */
static void write_table(struct schema *s, const struct option_table *table)
{
    struct json *j = &s->json;
    const struct option *shorthand =
        table->shorthand ? option_find(table, slice_text(table->shorthand)) : NULL;
    bool is_shared = s->tables.at[table_list_find(&s->tables, table)].uses > 1;
    if (shorthand) {
        json_open(j, '{');
        json_key(j, "anyOf");
        json_open(j, '[');
        json_raw(j, shorthand->schema ? shorthand->schema
                    : table_takes_lists(shorthand)
                        ? "{\"type\": [\"string\", \"number\", \"boolean\", \"array\"]}"
                        : "{\"type\": " TEXT_TYPES "}");
    }
    if (is_shared)
        write_reference(s, table);
    else
        write_object(s, table, false);
    if (shorthand) {
        json_close(j, ']');
        json_close(j, '}');
    }
}

static void write_type(struct schema *s, const struct option *o)
{
    struct json *j = &s->json;
    switch (option_shown_type(o)) {
    case OPTION_BOOL:
        json_pair(j, "type", "boolean");
        break;
    case OPTION_COUNT:
        json_pair(j, "type", "integer");
        write_limits(j, o);
        break;
    case OPTION_NUMBER:
        if (o->flags & OPTION_FLAG_PERCENT) {
            json_pair_raw(j, "type", "[\"number\", \"string\"]");
            json_pair(j, "pattern", "^[0-9]+([.][0-9]+)?%?$");
        } else {
            json_pair(j, "type", "number");
        }
        write_limits(j, o);
        break;
    case OPTION_DURATION:
        json_pair_raw(j, "anyOf",
                      "[{\"const\": 0}, {\"type\": \"string\", \"pattern\": \"^([0-9]+(ms|s|m|h|d)|0)$\"}]");
        break;
    case OPTION_SIZE:
        json_pair_raw(j, "anyOf",
                      "[{\"type\": \"integer\", \"minimum\": 0}, "
                      "{\"type\": \"string\", \"pattern\": \"^[0-9]+([kKmMgG]([iI][bB])?)?$\"}]");
        break;
    case OPTION_TEXT:
        json_pair_raw(j, "type", TEXT_TYPES);
        if (o->flags & OPTION_FLAG_NONEMPTY)
            json_pair_raw(j, "minLength", "1");
        break;
    case OPTION_ENUM:
        write_choices(j, o);
        break;
    case OPTION_TEXTS:
        write_texts(j, o->flags & OPTION_FLAG_NONEMPTY);
        break;
    case OPTION_BLOCK:
    case OPTION_BLOCK_IF:
        write_block(s, o);
        break;
    case OPTION_LIST:
        write_list(s, o);
        break;
    case OPTION_MAP:
        write_map(s, o);
        break;
    case OPTION_PAIRS:
        json_pair_raw(j, "type", "\"object\"");
        json_pair_raw(j, "additionalProperties",
                      "{\"type\": [\"string\", \"number\", \"boolean\", \"null\"]}");
        break;
    case OPTION_NODE:
    case OPTION_CUSTOM:
    case OPTION_PLANNED:
        break;
    }
}

static void write_node(struct json *j, const struct config_node *node, bool is_text)
{
    char *end;
    int word = is_text ? -1 : value_as_bool(node);
    switch (node->kind) {
    case NODE_NULL:
        json_raw(j, "null");
        return;
    case NODE_SCALAR:
        if (word >= 0)
            json_raw(j, word ? "true" : "false");
        else if (!is_text && !node->quoted && node->text.at[0] >= '0' && node->text.at[0] <= '9' &&
                 (strtod(node->text.at, &end), !*end) &&
                 strspn(node->text.at, "0123456789.") == node->text.len)
            json_raw(j, node->text.at);
        else
            json_text(j, node->text);
        return;
    case NODE_LIST:
    case NODE_MAP:
        break;
    }
    json_open(j, node->kind == NODE_LIST ? '[' : '{');
    for (size_t i = 0; i < node->count; i++) {
        if (node->kind == NODE_MAP) {
            char key[256];
            snprintf(key, sizeof key, "%.*s", SLICE_FMT(node->items[i]->key));
            json_key(j, key);
        }
        write_node(j, node->items[i], is_text);
    }
    json_close(j, node->kind == NODE_LIST ? ']' : '}');
}

static void write_default(struct json *j, const struct option *o)
{
    if (!o->fallback)
        return;
    json_key(j, "default");
    struct config scratch;
    config_init(&scratch);
    bool is_text = o->type == OPTION_TEXT || o->type == OPTION_ENUM;
    const struct config_node *node = is_text ? NULL : yaml_fallback(&scratch, o->fallback);
    if (node)
        write_node(j, node, o->type == OPTION_TEXTS || o->type == OPTION_PAIRS);
    else
        json_text(j, slice_text(o->fallback));
    config_free(&scratch);
}

/* The text of a schema that somebody wrote by hand: its members, or {} */
static void write_given(struct json *j, const struct option *o)
{
    if (o->schema)
        json_raw(j, o->schema);
    else
        json_raw(j, "true");
}

static void write_option(struct schema *s, const struct option *o)
{
    struct json *j = &s->json;
    json_open(j, '{');
    if (o->help)
        json_pair(j, "description", o->help);
    write_default(j, o);
    json_key(j, "anyOf");
    json_open(j, '[');
    if (o->type == OPTION_CUSTOM || option_shown_type(o) == OPTION_NODE) {
        write_given(j, o);
    } else {
        json_open(j, '{');
        write_type(s, o);
        json_close(j, '}');
    }
    json_raw(j, "{\"$ref\": \"#/$defs/null_or_variable\"}");
    json_close(j, ']');
    json_close(j, '}');
}
