/* A loaded tree to settings: what listeners inherit, then the tables, then the routes. */
#include "proxy/settings_internal.h"

/* What a listener inherits, put into its node before the table is applied. */
static struct config_node *inherit(struct config *c, struct config_node *root, struct config_node *listener)
{
    static const char *const keys[] = {"limits", "timeouts"};
    struct config_node *merged = listener;
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        struct config_node *global = config_get(root, keys[i]);
        if (!global || global->kind != NODE_MAP || !merged || merged->kind != NODE_MAP)
            continue;
        struct config_node *base = config_map_of(c, merged, keys[i], global);
        merged = base ? config_merge(c, base, merged) : merged;
    }
    struct config_node *log = config_get(root, "log");
    struct config_node *access = log && log->kind == NODE_MAP ? config_get(log, "access") : NULL;
    if (access && merged && merged->kind == NODE_MAP) {
        struct config_node *inner = config_map_of(c, merged, "access", access);
        struct config_node *base = inner ? config_map_of(c, merged, "log", inner) : NULL;
        merged = base ? config_merge(c, base, merged) : merged;
    }
    return merged;
}

static void inherit_all(struct config *c, struct config_node *root)
{
    struct config_node *listeners = config_get(root, "listeners");
    if (!listeners || listeners->kind != NODE_MAP)
        return;
    for (size_t i = 0; i < listeners->count; i++)
        listeners->items[i] = inherit(c, root, listeners->items[i]);
}

static int load_routes(struct config *c, struct settings *out)
{
    const struct config_node *routes = out->route_nodes;
    int failed = 0;
    if (out->defaults) {
        struct route_settings unused;
        failed |= option_apply(c, &defaults_table, out->defaults, &unused);
    }
    if (!routes || routes->kind == NODE_NULL)
        return failed;
    if (routes->kind != NODE_LIST) {
        config_fault(c, routes, "expected a list of routes, each with \"- \" before it");
        return -1;
    }
    struct route_settings *at = arena_zalloc(&c->arena, (routes->count + 1) * sizeof *at);
    if (!at)
        return -1;
    for (size_t i = 0; i < routes->count; i++)
        failed |= route_settings_load(c, out->defaults, routes->items[i], &at[i]);
    out->routes = (struct option_list){at, routes->count};
    return failed;
}

int settings_load(struct config *c, struct settings *out)
{
    config_mark_secrets(&settings_table, c->root);
    inherit_all(c, c->root);
    int failed = option_apply(c, &settings_table, c->root, out);
    if (!out->admin) {
        out->admin = arena_alloc(&c->arena, sizeof *out->admin);
        if (!out->admin)
            return -1;
        failed |= option_apply(c, &admin_settings_table, NULL, out->admin);
    }
    failed |= load_routes(c, out);
    return failed ? -1 : 0;
}
