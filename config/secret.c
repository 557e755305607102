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

bool config_sounds_secret(struct slice name)
{
    static const char *const words[] = {"auth",       "cookie",  "token",   "secret", "passw",     "key",
                                        "credential", "session", "private", "verify", "signature", "hmac"};
    for (size_t i = 0; i < COUNT_OF(words); i++)
        if (contains(name, words[i]))
            return true;
    return false;
}

static bool begins_nocase(struct slice text, struct slice with)
{
    return text.len >= with.len && slice_equal_nocase(slice_of(text.at, with.len), with);
}

/* `http://user:password@host` */
static bool has_user(struct slice text)
{
    size_t at = 0;
    while (at < text.len && !slice_begins(slice_skip(text, at), S("://")))
        at++;
    text = slice_skip(text, at < text.len ? at + 3 : at);
    return slice_find(slice_of(text.at, slice_find(text, '/')), '@') < slice_find(text, '/');
}

/* `/path?token=…` */
static bool has_secret_argument(struct slice text)
{
    struct slice query = slice_skip(text, slice_find(text, '?') + 1), pair;
    while (slice_next(&query, '&', &pair)) {
        size_t equals = slice_find(pair, '=');
        if (equals < pair.len && config_sounds_secret(slice_of(pair.at, equals)))
            return true;
    }
    return false;
}

bool config_looks_secret(struct slice text)
{
    static const struct slice schemes[] = {SLICE("bearer "), SLICE("basic "), SLICE("auth ")};
    for (size_t i = 0; i < COUNT_OF(schemes); i++)
        if (begins_nocase(slice_trim(text), schemes[i]))
            return true;
    return has_user(text) || has_secret_argument(text);
}

static void mark_by_look(struct config_node *node)
{
    if (node->kind == NODE_SCALAR && config_looks_secret(node->text))
        node->is_secret = true;
}

/* `authorization:…` where a map is meant. */
static bool lacks_its_space(struct slice text)
{
    size_t colon = slice_find(text, ':');
    return colon < text.len && config_sounds_secret(slice_of(text.at, colon));
}

/* Of maps whose keys are in no table. */
static void mark_by_name(struct config_node *node)
{
    for (size_t i = 0; i < node->count; i++) {
        struct config_node *item = node->items[i];
        if (node->kind == NODE_MAP && config_sounds_secret(item->key))
            mark_all(item);
        else
            mark_by_name(item);
    }
    mark_by_look(node);
    if (node->kind == NODE_SCALAR && lacks_its_space(node->text))
        node->is_secret = true;
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
    if (o->flags & OPTION_FLAG_PLAIN)
        return;
    if (o->flags & OPTION_FLAG_MAYBE_SECRET)
        mark_by_look(node);
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
        else if (config_sounds_secret(item->key))
            mark_all(item); /* a key that was meant for a secret, perhaps */
    }
    const struct option *o = table->shorthand ? option_find(table, slice_text(table->shorthand)) : NULL;
    if (o && (node->kind == NODE_SCALAR || node->kind == NODE_LIST))
        mark_node(o, node);
}
