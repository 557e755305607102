#include "import/yaml_out.h"

#include <stdio.h>
#include <stdlib.h>

#include "import/yaml_internal.h"

static struct yaml_node *make(struct arena *a, enum yaml_kind kind, const char *text)
{
    struct yaml_node *n = import_alloc(a, sizeof *n);
    n->kind = kind;
    n->text = text;
    return n;
}

struct yaml_node *yaml_map(struct arena *a)
{
    return make(a, YAML_MAP, NULL);
}

struct yaml_node *yaml_list(struct arena *a)
{
    return make(a, YAML_LIST, NULL);
}

struct yaml_node *yaml_text(struct arena *a, const char *s)
{
    return make(a, YAML_TEXT, s);
}

struct yaml_node *yaml_raw(struct arena *a, const char *s)
{
    return make(a, YAML_RAW, s);
}

static void append(struct arena *a, struct yaml_node *n, const char *key, struct yaml_node *value)
{
    struct yaml_item *item = import_alloc(a, sizeof *item), **end = &n->items;
    item->key = key;
    item->value = value;
    while (*end)
        end = &(*end)->next;
    *end = item;
    n->count++;
}

void yaml_set(struct arena *a, struct yaml_node *map, const char *key, struct yaml_node *value)
{
    if (!*key) /* a field without a name is none */
        return;
    for (struct yaml_item *i = map->items; i; i = i->next)
        if (text_is(i->key, key)) {
            i->value = value;
            return;
        }
    append(a, map, key, value);
}

void yaml_set_text(struct arena *a, struct yaml_node *map, const char *key, const char *s)
{
    yaml_set(a, map, key, yaml_text(a, s));
}

void yaml_set_raw(struct arena *a, struct yaml_node *map, const char *key, const char *s)
{
    yaml_set(a, map, key, yaml_raw(a, s));
}

void yaml_merge_others(struct arena *a, struct yaml_node *map, const struct yaml_node *from, const char *but)
{
    for (const struct yaml_item *i = from->items; i; i = i->next)
        if (!text_is(i->key, but))
            yaml_set(a, map, i->key, i->value);
}

static struct yaml_node *deep_copy(struct arena *a, const struct yaml_node *n)
{
    struct yaml_node *copy = make(a, n->kind, n->text);
    copy->comments = n->comments;
    for (const struct yaml_item *i = n->items; i; i = i->next)
        append(a, copy, i->key, deep_copy(a, i->value));
    return copy;
}

void yaml_merge_deep(struct arena *a, struct yaml_node *map, const struct yaml_node *from)
{
    for (const struct yaml_item *i = from->items; i; i = i->next) {
        struct yaml_node *mine = yaml_get(map, i->key);
        if (!mine)
            yaml_set(a, map, i->key, deep_copy(a, i->value));
        else if (mine->kind == YAML_MAP && i->value->kind == YAML_MAP)
            yaml_merge_deep(a, mine, i->value);
        else if (mine->kind == YAML_LIST && i->value->kind == YAML_LIST)
            for (const struct yaml_item *k = i->value->items; k; k = k->next)
                if (!yaml_has_equal(mine, k->value))
                    append(a, mine, NULL, k->value);
    }
}

void yaml_drop(struct yaml_node *map, const char *key)
{
    for (struct yaml_item **at = &map->items; *at; at = &(*at)->next)
        if (text_is((*at)->key, key)) {
            *at = (*at)->next;
            map->count--;
            return;
        }
}

void yaml_merge(struct arena *a, struct yaml_node *map, const struct yaml_node *from)
{
    for (const struct yaml_item *i = from->items; i; i = i->next)
        yaml_set(a, map, i->key, i->value);
}

struct yaml_node *yaml_get(const struct yaml_node *map, const char *key)
{
    for (const struct yaml_item *i = map ? map->items : NULL; i; i = i->next)
        if (text_is(i->key, key))
            return i->value;
    return NULL;
}

static struct yaml_node *get_or_make(struct arena *a, struct yaml_node *map, const char *key,
                                     enum yaml_kind kind)
{
    struct yaml_node *n = yaml_get(map, key);
    if (!n || n->kind != kind) {
        n = make(a, kind, NULL);
        yaml_set(a, map, key, n);
    }
    return n;
}

struct yaml_node *yaml_at(struct arena *a, struct yaml_node *map, const char *key)
{
    return get_or_make(a, map, key, YAML_MAP);
}

struct yaml_node *yaml_list_at(struct arena *a, struct yaml_node *map, const char *key)
{
    return get_or_make(a, map, key, YAML_LIST);
}

void yaml_add(struct arena *a, struct yaml_node *list, struct yaml_node *value)
{
    append(a, list, NULL, value);
}

void yaml_add_others(struct arena *a, struct yaml_node *list, const struct yaml_node *from, const char *but)
{
    for (const struct yaml_item *i = from->items; i; i = i->next)
        if (!text_is(i->value->text, but))
            yaml_add(a, list, i->value);
}

bool yaml_has(const struct yaml_node *list, const char *s)
{
    for (const struct yaml_item *i = list ? list->items : NULL; i; i = i->next)
        if (text_is(i->value->text, s))
            return true;
    return false;
}

void yaml_add_text(struct arena *a, struct yaml_node *list, const char *s)
{
    if (!yaml_has(list, s))
        yaml_add(a, list, yaml_text(a, s));
}

struct yaml_node *yaml_first(const struct yaml_node *n)
{
    return n && n->items ? n->items->value : NULL;
}

static const struct yaml_item *item_at(const struct yaml_node *n, size_t at)
{
    const struct yaml_item *i = n ? n->items : NULL;
    while (i && at--)
        i = i->next;
    return i;
}

struct yaml_node *yaml_item(const struct yaml_node *n, size_t at)
{
    const struct yaml_item *i = item_at(n, at);
    return i ? i->value : NULL;
}

const char *yaml_key(const struct yaml_node *map, size_t at)
{
    const struct yaml_item *i = item_at(map, at);
    return i ? i->key : NULL;
}

size_t yaml_count(const struct yaml_node *n)
{
    return n ? n->count : 0;
}

const char *yaml_scalar(const struct yaml_node *n)
{
    return n ? n->text : NULL;
}

void yaml_comment(struct arena *a, struct yaml_node *n, const char *format, ...)
{
    struct yaml_comment_line *line = import_alloc(a, sizeof *line), **end = &n->comments;
    va_list args;
    char *s;
    va_start(args, format);
    int len = vasprintf(&s, format, args);
    va_end(args);
    if (len < 0)
        return;
    for (char *p = s; *p; p++)
        if ((unsigned char)*p < 0x20)
            *p = ' '; /* it stays one line */
    line->text = import_copy(a, s, strlen(s));
    free(s);
    while (*end)
        end = &(*end)->next;
    *end = line;
}
