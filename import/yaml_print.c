/* A document as text: plain where YAML reads it as it is meant, in a line where it fits. */
#include <ctype.h>

#include "import/yaml_internal.h"

#define LINE_MAX_LEN 120

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
