#include "config/print.h"

#include <stdlib.h>

#include "core/log.h"

struct printer {
    FILE *out;
    char *text;
    size_t len; /* written, as of the last flush */
    size_t most;
    bool cut;
};

static void print_block(struct printer *p, const struct config_node *node, unsigned depth, bool behind_dash);

static bool is_plain_byte(unsigned char ch)
{
    return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') ||
           (ch && strchr("_-./$", ch));
}

/* Needs no quotes wherever it stands. */
static bool is_plain(struct slice text)
{
    if (!text.len || text.at[0] == '-')
        return false;
    for (size_t i = 0; i < text.len; i++)
        if (!is_plain_byte((unsigned char)text.at[i]))
            return false;
    return true;
}

/* JSON's strings are YAML's. */
static void print_quoted(FILE *out, struct slice text)
{
    char piece[512];
    fputc('"', out);
    while (text.len) {
        size_t take = text.len < 64 ? text.len : 64;
        while (take < text.len && take < 70 && ((unsigned char)text.at[take] & 0xc0) == 0x80)
            take++; /* not amid a character */
        fwrite(piece, 1, json_escape(slice_of(text.at, take), piece, sizeof piece), out);
        text = slice_skip(text, take);
    }
    fputc('"', out);
}

static void print_key(FILE *out, struct slice key)
{
    if (is_plain(key))
        fwrite(key.at, 1, key.len, out);
    else
        print_quoted(out, key);
}

/* `${NAME}` alone is no secret; of `${NAME:-default}` the default is. */
static void print_secret(FILE *out, const struct config_node *node)
{
    struct slice w = config_written(node);
    bool has = node->has_variables && slice_begins(w, S("${"));
    size_t n = has ? 2 + strspn(w.at + 2, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") : 0;
    if (has && n + 1 == w.len && w.at[n] == '}')
        fprintf(out, "%.*s", SLICE_FMT(w));
    else if (has && slice_begins(slice_skip(w, n), S(":-")) && slice_find(w, '}') == w.len - 1 &&
             slice_find(slice_skip(w, 2), '$') == w.len - 2)
        fprintf(out, "%.*s:-" CONFIG_SECRET "}", (int)n, w.at);
    else
        fputs(CONFIG_SECRET, out);
}

/* What YAML would read as something else stays in the quotes that it had. */
static void print_scalar(FILE *out, const struct config_node *node, bool in_flow)
{
    struct slice text = config_written(node);
    bool one_line = slice_find(text, '\n') == text.len && slice_find(text, '\r') == text.len;
    for (size_t i = 0; i < text.len && one_line; i++)
        one_line = (unsigned char)text.at[i] >= 0x20 && text.at[i] != 0x7f;
    if (node->is_secret)
        print_secret(out, node);
    else if (!node->quoted && one_line && text.len && (!in_flow || !strpbrk(text.at, ",[]{}")))
        fwrite(text.at, 1, text.len, out);
    else if (in_flow && node->quoted && is_plain(text))
        fwrite(text.at, 1, text.len, out); /* for people: `"8080"` in words is 8080 */
    else
        print_quoted(out, text);
}

static void print_flow(FILE *out, const struct config_node *node)
{
    bool is_map = node->kind == NODE_MAP;
    if (node->kind == NODE_NULL) {
        fputs("null", out);
    } else if (node->kind == NODE_SCALAR) {
        print_scalar(out, node, true);
    } else {
        fputc(is_map ? '{' : '[', out);
        for (size_t i = 0; i < node->count; i++) {
            fputs(i ? ", " : "", out);
            if (is_map) {
                print_key(out, node->items[i]->key);
                fputs(": ", out);
            }
            print_flow(out, node->items[i]);
        }
        fputc(is_map ? '}' : ']', out);
    }
}

void config_print_value(FILE *out, const struct config_node *node, size_t most)
{
    char *text = NULL;
    size_t len = 0;
    FILE *all = open_memstream(&text, &len);
    if (!all)
        return;
    print_flow(all, node);
    fclose(all);
    size_t end = len > most ? most : len;
    while (end < len && end && ((unsigned char)text[end] & 0xc0) == 0x80)
        end--;
    fprintf(out, "%.*s%s", (int)end, text ? text : "", end < len ? "…" : "");
    free(text);
}

static bool has_room(struct printer *p)
{
    fflush(p->out);
    if (p->len > p->most && !p->cut) {
        p->cut = true;
        fprintf(p->out, "# … the rest is left out: it is longer than %zu bytes\n", p->most);
    }
    return !p->cut;
}

static void indent(struct printer *p, unsigned depth)
{
    fprintf(p->out, "%*s", (int)(depth * 2), "");
}

/* What stands behind `key:` or `-`; a map in a list begins on the line of its dash. */
static void print_behind(struct printer *p, const struct config_node *node, unsigned depth, bool in_list)
{
    if (node->kind == NODE_NULL && node->has_variables) {
        fprintf(p->out, " %.*s\n", SLICE_FMT(config_written(node)));
    } else if (node->kind == NODE_NULL) {
        fputs(" null\n", p->out);
    } else if (node->kind == NODE_SCALAR) {
        fputc(' ', p->out);
        print_scalar(p->out, node, false);
        fputc('\n', p->out);
    } else if (node->count == 0) {
        fputs(node->kind == NODE_MAP ? " {}\n" : " []\n", p->out);
    } else {
        fputc(in_list ? ' ' : '\n', p->out);
        print_block(p, node, depth + 1, in_list);
    }
}

static void print_block(struct printer *p, const struct config_node *node, unsigned depth, bool behind_dash)
{
    for (size_t i = 0; i < node->count && has_room(p); i++) {
        const struct config_node *item = node->items[i];
        if (i || !behind_dash)
            indent(p, depth);
        if (node->kind == NODE_MAP) {
            print_key(p->out, item->key);
            fputc(':', p->out);
        } else {
            fputc('-', p->out);
        }
        print_behind(p, item, depth, node->kind == NODE_LIST);
    }
}

char *config_print(const struct config_node *root, size_t most)
{
    struct printer p = {.most = most};
    p.out = open_memstream(&p.text, &p.len);
    if (!p.out)
        return NULL;
    if (root && root->count)
        print_block(&p, root, 0, false);
    else
        fputs("{}\n", p.out);
    if (fclose(p.out) != 0) {
        free(p.text);
        return NULL;
    }
    return p.text;
}
