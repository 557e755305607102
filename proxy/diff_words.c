#include "proxy/diff_words.h"

#include "config/print.h"

#define VALUE_MAX 80u /* bytes of a value in words */
#define PATH_MAX_ 256u

struct words {
    FILE *out;
    const char *but, *separator;
    size_t count;
};

bool words_equal(const struct config_node *a, const struct config_node *b)
{
    if (!a || !b || a == b)
        return a == b;
    if (a->kind != b->kind || a->count != b->count)
        return false;
    if (a->kind == NODE_SCALAR)
        return a->quoted == b->quoted && slice_equal(a->text, b->text);
    for (size_t i = 0; i < a->count; i++) {
        /* Mostly the keys stand in the same order. */
        bool there = a->kind == NODE_LIST || slice_equal(a->items[i]->key, b->items[i]->key);
        if (!words_equal(a->items[i], there ? b->items[i] : config_get(b, a->items[i]->key.at)))
            return false;
    }
    return true;
}

static void put_path(struct words *w, const char *path)
{
    fprintf(w->out, "%s%s", w->count++ ? w->separator : "", path);
}

static bool has_secret(const struct config_node *node)
{
    if (!node)
        return false;
    for (size_t i = 0; i < node->count; i++)
        if (has_secret(node->items[i]))
            return true;
    return node->is_secret;
}

static void put_value(struct words *w, const struct config_node *node)
{
    if (!node || node->kind == NODE_NULL)
        fputs("not set", w->out);
    else
        config_print_value(w->out, node, VALUE_MAX);
}

/* What was added or taken away whole is named; so is what cannot be told in a few words. */
static void put_change(struct words *w, const char *path, const struct config_node *old,
                       const struct config_node *fresh)
{
    const struct config_node *there = fresh ? fresh : old;
    put_path(w, path);
    if (has_secret(old) || has_secret(fresh)) {
        fputs(old && fresh ? ": changed (a secret)" : fresh ? ": added (a secret)" : " removed", w->out);
    } else if (!old && there->kind == NODE_MAP) {
        fputs(": added ", w->out);
        put_value(w, fresh);
    } else if (!fresh && there->kind == NODE_MAP) {
        fputs(" removed", w->out);
    } else {
        fputs(": ", w->out);
        put_value(w, old);
        fputs(" -> ", w->out);
        put_value(w, fresh);
    }
}

static void compare_maps(struct words *w, const char *path, const struct config_node *old,
                         const struct config_node *fresh, bool top);

static void compare(struct words *w, const char *path, const struct config_node *old,
                    const struct config_node *fresh)
{
    bool maps = old && fresh && old->kind == NODE_MAP && fresh->kind == NODE_MAP;
    if (maps && old->count && fresh->count)
        compare_maps(w, path, old, fresh, false);
    else
        put_change(w, path, old, fresh);
}

static void compare_key(struct words *w, const char *path, struct slice key, const struct config_node *old,
                        const struct config_node *fresh)
{
    char below[PATH_MAX_];
    if (words_equal(old, fresh))
        return;
    snprintf(below, sizeof below, "%s%s%.*s", path, *path ? "." : "", SLICE_FMT(key));
    compare(w, below, old, fresh);
}

static void compare_maps(struct words *w, const char *path, const struct config_node *old,
                         const struct config_node *fresh, bool top)
{
    const char *but = top ? w->but : NULL;
    for (size_t i = 0; fresh && i < fresh->count; i++) {
        const struct config_node *item = fresh->items[i];
        if (!but || !slice_equal(item->key, slice_text(but)))
            compare_key(w, path, item->key, config_get(old, item->key.at), item);
    }
    for (size_t i = 0; old && i < old->count; i++) {
        const struct config_node *item = old->items[i];
        if ((!but || !slice_equal(item->key, slice_text(but))) && !config_get(fresh, item->key.at))
            compare_key(w, path, item->key, item, NULL);
    }
}

size_t words_changes(FILE *out, const struct config_node *old, const struct config_node *fresh,
                     const char *path, const char *but, const char *separator)
{
    struct words w = {.out = out, .but = but, .separator = separator};
    compare_maps(&w, path, old, fresh, true);
    return w.count;
}
