/* The tables that are below one, for schema and reference. */
#include "config/option_internal.h"

#include <stdlib.h>

bool option_has_table(const struct option *o)
{
    return option_shown_type(o) == OPTION_BLOCK || o->type == OPTION_BLOCK_IF ||
           option_shown_type(o) == OPTION_LIST || o->type == OPTION_MAP;
}

size_t table_list_find(const struct table_list *list, const struct option_table *table)
{
    size_t i = 0;
    while (i < list->count && list->at[i].table != table)
        i++;
    return i;
}

int table_list_collect(struct table_list *list, const struct option_table *root)
{
    size_t known = table_list_find(list, root);
    if (known < list->count) {
        list->at[known].uses++;
        return 0;
    }
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 32;
        struct table_use *larger = realloc(list->at, capacity * sizeof *larger);
        if (!larger)
            return -1;
        list->at = larger;
        list->capacity = capacity;
    }
    list->at[list->count++] = (struct table_use){root, 1};
    for (size_t i = 0; i < root->count; i++)
        if (option_has_table(&root->options[i]) && table_list_collect(list, root->options[i].table))
            return -1;
    return 0;
}

void table_list_free(struct table_list *list)
{
    free(list->at);
    *list = (struct table_list){0};
}

void output_text(const struct output *out, const char *text)
{
    if (*text)
        out->write(out->argument, text, strlen(text));
}
