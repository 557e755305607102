/* Which values of a tree are secrets. */
#include "config/option_internal.h"

static void mark_all(struct config_node *node)
{
    node->is_secret = true;
    for (size_t i = 0; i < node->count; i++)
        mark_all(node->items[i]);
}

static bool contains(struct slice text, const char *word)
{
    struct slice w = slice_text(word);
    for (size_t i = 0; i + w.len <= text.len; i++)
        if (slice_equal_nocase(slice_of(text.at + i, w.len), w))
            return true;
    return false;
}

/* A name that the file chose: better one value hidden too many than one shown. */
static bool sounds_secret(struct slice name)
{
    static const char *const words[] = {"auth",   "cookie",     "token",   "secret", "passw",
                                        "apikey", "credential", "session", "private"};
    for (size_t i = 0; i < COUNT_OF(words); i++)
        if (contains(name, words[i]))
            return true;
    return contains(name, "key") && contains(name, "api");
}

/* Of maps whose keys are in no table. */
static void mark_by_name(struct config_node *node)
{
    for (size_t i = 0; i < node->count; i++) {
        struct config_node *item = node->items[i];
        if (node->kind == NODE_MAP && sounds_secret(item->key))
            mark_all(item);
        else
            mark_by_name(item);
    }
}

static void mark_each(const struct option_table *table, struct config_node *node)
{
    for (size_t i = 0; i < node->count; i++)
        config_mark_secrets(table, node->items[i]);
}

static void mark_node(const struct option *o, struct config_node *node)
{
    if (o->flags & OPTION_FLAG_SECRET) {
        mark_all(node);
        return;
    }
    switch (option_shown_type(o)) {
    case OPTION_BLOCK:
    case OPTION_BLOCK_IF:
        config_mark_secrets(o->table, node);
        break;
    case OPTION_LIST:
        if (node->kind == NODE_LIST)
            mark_each(o->table, node);
        else
            config_mark_secrets(o->table, node);
        break;
    case OPTION_MAP:
        mark_each(o->table, node);
        break;
    case OPTION_PAIRS:
    case OPTION_NODE:
    case OPTION_CUSTOM:
        mark_by_name(node);
        break;
    default:
        break;
    }
}

void config_mark_secrets(const struct option_table *table, struct config_node *node)
{
    if (!node)
        return;
    for (size_t i = 0; node->kind == NODE_MAP && i < node->count; i++) {
        struct config_node *item = node->items[i];
        const struct option *o = option_find(table, item->key);
        if (o)
            mark_node(o, item);
        else if (sounds_secret(item->key))
            mark_all(item); /* a key that was meant for a secret, perhaps */
    }
    const struct option *o = table->shorthand ? option_find(table, slice_text(table->shorthand)) : NULL;
    if (o && (node->kind == NODE_SCALAR || node->kind == NODE_LIST))
        mark_node(o, node);
}
