/* The Markdown reference from option tables: a heading a table, a row an option. */
#include "config/option_internal.h"

#include <ctype.h>
#include <stdio.h>

static void write_section(const struct output *out, const struct table_list *tables,
                          const struct option_table *table);
static void write_row(const struct output *out, const struct option *o);
static void write_shape(const struct output *out, const struct option *o);

void option_reference(const struct option_table *table, option_writer *write, void *argument)
{
    struct output out = {write, argument};
    struct table_list tables = {0};
    if (table_list_collect(&tables, table) == 0)
        for (size_t i = 0; i < tables.count; i++)
            write_section(&out, &tables, tables.at[i].table);
    table_list_free(&tables);
}

/* What would end a cell of the table is escaped. */
static void write_cell(const struct output *out, const char *text)
{
    for (const char *p = text; *p; p++) {
        if (*p == '|')
            output_text(out, "\\|");
        else if (*p == '\n')
            output_text(out, " ");
        else
            out->write(out->argument, p, 1);
    }
}

/* In backticks, but an empty text has no such form. */
static void write_code(const struct output *out, const char *text)
{
    if (!*text) {
        output_text(out, "empty");
        return;
    }
    output_text(out, "`");
    write_cell(out, text);
    output_text(out, "`");
}

/* The anchor that GitHub and others give a heading. */
static void write_link(const struct output *out, const struct option_table *table)
{
    output_text(out, "[");
    write_cell(out, table->name);
    output_text(out, "](#");
    for (const char *p = table->name; *p; p++) {
        unsigned char ch = (unsigned char)*p;
        char piece[2] = {ch == ' ' ? '-' : (char)tolower(ch), 0};
        if (isalnum(ch) || ch == '-' || ch == '_' || ch == ' ' || ch >= 0x80)
            output_text(out, piece);
    }
    output_text(out, ")");
}

static void write_section(const struct output *out, const struct table_list *tables,
                          const struct option_table *table)
{
    output_text(out, table == tables->at[0].table ? "# " : "\n## ");
    output_text(out, table->name);
    output_text(out, "\n\n");
    if (table->help) {
        output_text(out, table->help);
        output_text(out, "\n\n");
    }
    if (table->shorthand) {
        output_text(out, "A value alone, without a map, is its ");
        write_code(out, table->shorthand);
        output_text(out, ".\n\n");
    }
    output_text(out, "| option | written | default | what it does |\n| --- | --- | --- | --- |\n");
    for (size_t i = 0; i < table->count; i++)
        write_row(out, &table->options[i]);
}

static void write_row(const struct output *out, const struct option *o)
{
    output_text(out, "| ");
    write_code(out, o->name);
    output_text(out, " | ");
    if (o->type != OPTION_PLANNED)
        write_shape(out, o);
    output_text(out, " | ");
    if (o->flags & OPTION_FLAG_REQUIRED)
        output_text(out, "required");
    else if (o->fallback && o->type != OPTION_PLANNED)
        write_code(out, o->fallback);
    output_text(out, " | ");
    if (o->type == OPTION_PLANNED)
        output_text(out, o->help ? "Not supported yet. " : "Not supported yet.");
    write_cell(out, o->help ? o->help : "");
    output_text(out, " |\n");
}

static void write_limits(const struct output *out, const struct option *o, enum unit unit)
{
    char low[64], high[64], text[160];
    unit_write(unit, o->min, low, sizeof low);
    unit_write(unit, o->max, high, sizeof high);
    if (o->min > 0 && o->max > 0)
        snprintf(text, sizeof text, ", %s to %s", low, high);
    else if (o->max > 0)
        snprintf(text, sizeof text, ", at most %s", high);
    else if (o->min > 0)
        snprintf(text, sizeof text, ", at least %s", low);
    else
        return;
    output_text(out, text);
}

static void write_choices(const struct output *out, const struct option *o)
{
    for (size_t i = 0; o->choices[i]; i++) {
        output_text(out, i ? ", " : "");
        write_code(out, o->choices[i]);
    }
}

static void write_tables(const struct output *out, const struct option *o)
{
    const char *before = "";
    if (option_shown_type(o) == OPTION_LIST)
        before = "a list of ";
    else if (o->type == OPTION_MAP)
        before = "a map: name → ";
    output_text(out, before);
    write_link(out, o->table);
    if (o->type == OPTION_BLOCK_IF)
        output_text(out, o->flags & OPTION_FLAG_TRUE ? ", `true` or `false`" : " or `false`");
}

static void write_shape(const struct output *out, const struct option *o)
{
    if (o->shape) {
        write_cell(out, o->shape);
        return;
    }
    switch (option_shown_type(o)) {
    case OPTION_BOOL:
        output_text(out, "`true` or `false`");
        break;
    case OPTION_COUNT:
        output_text(out, "a whole number");
        write_limits(out, o, UNIT_NONE);
        break;
    case OPTION_NUMBER:
        output_text(out, o->flags & OPTION_FLAG_PERCENT ? "a share: `20%` or `0.2`" : "a number");
        write_limits(out, o, o->flags & OPTION_FLAG_PERCENT ? UNIT_SHARE : UNIT_NONE);
        break;
    case OPTION_DURATION:
        output_text(out, "a duration");
        write_limits(out, o, UNIT_DURATION);
        break;
    case OPTION_SIZE:
        output_text(out, "a size");
        write_limits(out, o, UNIT_SIZE);
        break;
    case OPTION_TEXT:
        output_text(out, "a text");
        break;
    case OPTION_ENUM:
        write_choices(out, o);
        break;
    case OPTION_TEXTS:
        output_text(out, "a text or a list of them");
        break;
    case OPTION_BLOCK:
    case OPTION_BLOCK_IF:
    case OPTION_LIST:
    case OPTION_MAP:
        write_tables(out, o);
        break;
    case OPTION_PAIRS:
        output_text(out, "a map: name → text");
        break;
    case OPTION_NODE:
    case OPTION_CUSTOM:
    case OPTION_PLANNED:
        break;
    }
}
