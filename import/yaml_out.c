#include "import/yaml_out.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#define LINE_MAX_LEN 120

enum yaml_kind { YAML_RAW, YAML_TEXT, YAML_LIST, YAML_MAP };

struct yaml_item {
    const char *key; /* of a map */
    struct yaml_node *value;
    struct yaml_item *next;
};

struct yaml_comment_line {
    const char *text;
    struct yaml_comment_line *next;
};

struct yaml_node {
    enum yaml_kind kind;
    const char *text;
    struct yaml_item *items;
    struct yaml_comment_line *comments;
    size_t count;
};

/* Putting together. */

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

/* Printing. */

static bool is_plain(const char *s)
{
    static const char *const words[] = {"true", "false", "null",  "True", "False",
                                        "Null", "TRUE",  "FALSE", "NULL"};
    size_t dots = 0;
    for (const char *p = s; *p; p++) {
        dots += *p == '.';
        bool inner_colon = *p == ':' && p != s && (isalnum((unsigned char)p[1]) || p[1] == '/');
        if (!isalnum((unsigned char)*p) && !strchr("_./-", *p) && !inner_colon)
            return false;
    }
    if (!isalpha((unsigned char)*s) && *s != '/' && *s != '_' && dots < 2) /* 10.0.0.1:80 is no number */
        return false;
    return *s != '-' && *s != '.' && !text_in(s, words, COUNT_OF(words));
}

/* A number, duration, share or word; what else a source may have in its place is quoted. */
static bool is_raw(const char *s)
{
    for (const char *p = s; *p; p++)
        if (!isalnum((unsigned char)*p) && !(p != s && strchr("._%-", *p)))
            return false;
    return *s != '\0';
}

static void print_scalar(const struct yaml_node *n, struct text *out)
{
    if ((n->kind == YAML_RAW && is_raw(n->text)) || is_plain(n->text)) {
        text_add(out, n->text);
        return;
    }
    text_add(out, "\"");
    for (const unsigned char *p = (const unsigned char *)n->text; *p; p++) {
        if (*p == '"' || *p == '\\')
            text_printf(out, "\\%c", *p);
        else if (*p == '\n')
            text_add(out, "\\n");
        else if (*p < 0x20 || *p == 0x7f)
            text_printf(out, "\\x%02X", *p);
        else
            text_add_bytes(out, (const char *)p, 1);
    }
    text_add(out, "\"");
}

static void print_key(const char *key, struct text *out)
{
    struct yaml_node n = {.kind = text_number(key) >= 0 ? YAML_RAW : YAML_TEXT, .text = key};
    print_scalar(&n, out);
    text_add(out, ": ");
}

static bool has_comments(const struct yaml_node *n)
{
    for (const struct yaml_item *i = n->items; i; i = i->next)
        if (i->value->comments || has_comments(i->value))
            return true;
    return false;
}

static void print_flow(const struct yaml_node *n, struct text *out)
{
    if (n->kind < YAML_LIST) {
        print_scalar(n, out);
        return;
    }
    text_add(out, n->kind == YAML_LIST ? "[" : n->count ? "{ " : "{");
    for (const struct yaml_item *i = n->items; i; i = i->next) {
        if (i->key)
            print_key(i->key, out);
        print_flow(i->value, out);
        text_add(out, i->next ? ", " : "");
    }
    text_add(out, n->kind == YAML_LIST ? "]" : n->count ? " }" : "}");
}

bool yaml_equal(const struct yaml_node *a, const struct yaml_node *b)
{
    struct text x = {0}, y = {0};
    print_flow(a, &x);
    print_flow(b, &y);
    bool same = text_is(x.at, y.at);
    text_free(&x);
    text_free(&y);
    return same;
}

bool yaml_has_equal(const struct yaml_node *list, const struct yaml_node *n)
{
    for (const struct yaml_item *i = list->items; i; i = i->next)
        if (yaml_equal(i->value, n))
            return true;
    return false;
}

static void print_block(const struct yaml_node *n, size_t indent, bool dashed, struct text *out);

static void print_comments(const struct yaml_node *n, size_t indent, struct text *out)
{
    for (const struct yaml_comment_line *c = n->comments; c; c = c->next)
        text_printf(out, "%*s# %s\n", (int)indent, "", c->text);
}

/* In a line when it fits, as a block below otherwise. Behind the key or dash, which is printed already. */
static void print_value(const struct yaml_node *n, size_t column, size_t indent, bool wide, bool in_list,
                        struct text *out)
{
    struct text flow = {0};
    if (!wide && !has_comments(n))
        print_flow(n, &flow);
    if (n->kind < YAML_LIST || n->count == 0 || (flow.at && column + flow.len <= LINE_MAX_LEN)) {
        if (!flow.at)
            print_flow(n, &flow);
        text_add(out, flow.at);
        text_add(out, "\n");
    } else {
        if (!in_list) {
            out->at[--out->len] = '\0'; /* the space behind the colon */
            text_add(out, "\n");
        }
        print_block(n, indent, in_list, out);
    }
    text_free(&flow);
}

static void print_block(const struct yaml_node *n, size_t indent, bool dashed, struct text *out)
{
    for (const struct yaml_item *i = n->items; i; i = i->next) {
        if (!dashed) {
            print_comments(i->value, indent, out);
            text_printf(out, "%*s", (int)indent, "");
        }
        dashed = false;
        size_t begin = out->len;
        if (i->key) {
            print_key(i->key, out);
            print_value(i->value, indent + out->len - begin, indent + 2, false, false, out);
        } else {
            text_add(out, "- ");
            print_value(i->value, indent + 2, indent + 2, false, i->value->kind == YAML_MAP, out);
        }
    }
}

void yaml_print(const struct yaml_node *map, struct text *out)
{
    for (const struct yaml_item *i = map->items; i; i = i->next) {
        print_comments(i->value, 0, out);
        print_key(i->key, out);
        bool wide = text_is(i->key, "listeners") || text_is(i->key, "routes") ||
                    text_is(i->key, "upstreams") || text_is(i->key, "tests");
        print_value(i->value, strlen(i->key) + 2, 2, wide, false, out);
    }
}
