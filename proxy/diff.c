/* What differs between two snapshots, in words: for `weir diff`, `weir reload` and the log. Compared are the
 * trees as they were written (merged with what they inherit), so that every option is seen without being
 * named here. */
#include <stdio.h>
#include <stdlib.h>

#include "proxy/runtime.h"

static bool is_equal(const struct config_node *a, const struct config_node *b)
{
    if (!a || !b || a == b)
        return a == b;
    if (a->kind != b->kind || a->count != b->count)
        return false;
    if (a->kind == NODE_SCALAR)
        return a->quoted == b->quoted && slice_equal(a->text, b->text);
    for (size_t i = 0; i < a->count; i++) {
        const struct config_node *other =
            a->kind == NODE_MAP ? config_get(b, a->items[i]->key.at) : b->items[i];
        if (!is_equal(a->items[i], other))
            return false;
    }
    return true;
}

/* The keys whose values differ, "limits, tls"; "" when none does. */
static void write_keys(FILE *out, const struct config_node *old, const struct config_node *fresh,
                       const char *but)
{
    bool any = false;
    for (size_t i = 0; i < fresh->count; i++) {
        const struct config_node *item = fresh->items[i];
        if ((but && slice_equal(item->key, slice_text(but))) || is_equal(config_get(old, item->key.at), item))
            continue;
        fprintf(out, "%s%.*s", any ? ", " : "", SLICE_FMT(item->key));
        any = true;
    }
    for (size_t i = 0; i < old->count; i++) {
        if ((but && slice_equal(old->items[i]->key, slice_text(but))) ||
            config_get(fresh, old->items[i]->key.at))
            continue;
        fprintf(out, "%s%.*s removed", any ? ", " : "", SLICE_FMT(old->items[i]->key));
        any = true;
    }
}

static uint64_t open_connections(const struct listener_config *l, unsigned workers)
{
    uint64_t open = 0;
    for (unsigned i = 0; l->stats && i < workers; i++)
        open += counter_get(&l->stats->worker[i]->connections_open);
    return open;
}

/* Where names that are not decrypted go. Only what tells more than "changed": `key` is in both. */
static void diff_names(FILE *out, const struct listener_config *was, const struct listener_config *l,
                       const char *key)
{
    const struct config_node *old = config_get(was->settings->node, key);
    const struct config_node *fresh = config_get(l->settings->node, key);
    if (!old || !fresh || old->kind != NODE_MAP || fresh->kind != NODE_MAP)
        return;
    for (size_t i = 0; i < fresh->count; i++) {
        const struct config_node *now = fresh->items[i], *before = config_get(old, now->key.at);
        if (is_equal(before, now))
            continue;
        fprintf(out, "listener %.*s: %s %.*s: %.*s -> %.*s\n", SLICE_FMT(l->name), key, SLICE_FMT(now->key),
                SLICE_FMT(before ? before->text : S("none")), SLICE_FMT(now->text));
    }
    for (size_t i = 0; i < old->count; i++)
        if (!config_get(fresh, old->items[i]->key.at))
            fprintf(out, "listener %.*s: %s %.*s: %.*s -> none\n", SLICE_FMT(l->name), key,
                    SLICE_FMT(old->items[i]->key), SLICE_FMT(old->items[i]->text));
}

static void diff_listeners(FILE *out, const struct snapshot *old, const struct snapshot *fresh)
{
    for (size_t i = 0; i < fresh->listener_count; i++) {
        const struct listener_config *l = &fresh->listeners[i], *before = snapshot_listener(old, l->name);
        if (!before) {
            fprintf(out, "listener %.*s: added\n", SLICE_FMT(l->name));
        } else if (!is_equal(before->settings->node, l->settings->node)) {
            fprintf(out, "listener %.*s: changed (", SLICE_FMT(l->name));
            write_keys(out, before->settings->node, l->settings->node, NULL);
            fprintf(out, ")\n");
            diff_names(out, before, l, "sni");
            diff_names(out, before, l, "passthrough");
        }
    }
    for (size_t i = 0; i < old->listener_count; i++) {
        const struct listener_config *l = &old->listeners[i];
        if (!snapshot_listener(fresh, l->name))
            fprintf(out, "listener %.*s: removed; %llu connections drain\n", SLICE_FMT(l->name),
                    (unsigned long long)open_connections(l, old->workers));
    }
}

static const struct route *find_route(const struct snapshot *s, struct slice name, const struct table *index)
{
    uint64_t at;
    return table_get(index, name, &at) ? &s->routes[at] : NULL;
}

static struct table *index_routes(const struct snapshot *s)
{
    struct table *t = table_create();
    for (size_t i = 0; t && i < s->route_count; i++)
        table_put(t, s->routes[i].name, i);
    return t;
}

static void diff_routes(FILE *out, const struct snapshot *old, const struct snapshot *fresh)
{
    struct table *before = index_routes(old), *now = index_routes(fresh);
    for (size_t i = 0; before && now && i < fresh->route_count; i++) {
        const struct route *r = &fresh->routes[i], *was = find_route(old, r->name, before);
        if (!was) {
            fprintf(out, "route %.*s: added\n", SLICE_FMT(r->name));
        } else if (!is_equal(was->settings->node, r->settings->node)) {
            fprintf(out, "route %.*s: changed (", SLICE_FMT(r->name));
            write_keys(out, was->settings->node, r->settings->node, NULL);
            fprintf(out, ")\n");
        }
    }
    for (size_t i = 0; before && now && i < old->route_count; i++)
        if (!find_route(fresh, old->routes[i].name, now))
            fprintf(out, "route %.*s: removed\n", SLICE_FMT(old->routes[i].name));
    table_free(before);
    table_free(now);
}

/* `10.0.0.1:80`, `dns api.internal:8000`: what an entry is told apart by; in `text` if need be. */
static struct slice entry_name(const struct server_settings *s, char *text, size_t size)
{
    const struct slice what[] = {s->dns, s->srv, s->file};
    static const char *const kinds[] = {"dns", "srv", "file"};
    for (size_t i = 0; i < COUNT_OF(what); i++) {
        if (what[i].len == 0)
            continue;
        snprintf(text, size, "%s %.*s", kinds[i], SLICE_FMT(what[i]));
        return slice_text(text);
    }
    return s->address;
}

#define ENTRY_MAX 4200

/* By what stands in the file; the value is the entry's address. Names of sources are the config's memory. */
static struct table *index_servers(struct config *c, const struct upstream *u)
{
    const struct server_settings *all = u->settings->servers.at;
    struct table *t = table_create();
    char text[ENTRY_MAX];
    for (size_t i = 0; t && i < u->settings->servers.count; i++) {
        struct slice name = entry_name(&all[i], text, sizeof text);
        if (name.at == text)
            name = arena_copy(&c->arena, name);
        if (table_put(t, name, (uint64_t)(uintptr_t)&all[i]) != 0) {
            table_free(t);
            t = NULL;
        }
    }
    return t;
}

static const struct server_settings *find_server(const struct table *t, const struct server_settings *like)
{
    char text[ENTRY_MAX];
    uint64_t value;
    return table_get(t, entry_name(like, text, sizeof text), &value)
               ? (const struct server_settings *)(uintptr_t)value
               : NULL;
}

static void diff_server(FILE *out, struct slice upstream, const struct server_settings *was,
                        const struct server_settings *now)
{
    char text[ENTRY_MAX];
    struct slice name = entry_name(now, text, sizeof text);
    fprintf(out, "upstream %.*s: server %.*s ", SLICE_FMT(upstream), SLICE_FMT(name));
    if (!was)
        fprintf(out, "added\n");
    else if (was->weight != now->weight)
        fprintf(out, "weight %llu -> %llu\n", (unsigned long long)was->weight,
                (unsigned long long)now->weight);
    else
        fprintf(out, "changed\n");
}

static void diff_removed(FILE *out, const struct upstream *old, const struct server_settings *was)
{
    char text[ENTRY_MAX];
    struct slice name = entry_name(was, text, sizeof text);
    struct server *s = was->address.len ? upstream_server(old, was->address) : NULL;
    fprintf(out, "upstream %.*s: server %.*s removed; ", SLICE_FMT(old->name), SLICE_FMT(name));
    if (was->address.len)
        fprintf(out, "%u requests in flight end\n", s ? server_in_flight(s) : 0);
    else
        fprintf(out, "requests in flight at its servers end\n");
}

static void diff_servers(FILE *out, struct config *c, const struct upstream *old,
                         const struct upstream *fresh)
{
    const struct server_settings *now = fresh->settings->servers.at, *before = old->settings->servers.at;
    struct table *was = index_servers(c, old), *is = index_servers(c, fresh);
    for (size_t i = 0; was && is && i < fresh->settings->servers.count; i++) {
        const struct server_settings *s = find_server(was, &now[i]);
        if (!s || s->weight != now[i].weight || s->backup != now[i].backup ||
            s->max_connections != now[i].max_connections || s->refresh != now[i].refresh)
            diff_server(out, fresh->name, s, &now[i]);
    }
    for (size_t i = 0; was && is && i < old->settings->servers.count; i++)
        if (!find_server(is, &before[i]))
            diff_removed(out, old, &before[i]);
    table_free(was);
    table_free(is);
}

static void diff_upstreams(FILE *out, const struct snapshot *old, struct snapshot *fresh)
{
    for (size_t i = 0; i < fresh->upstream_count; i++) {
        struct upstream *u = fresh->upstreams[i], *before = u ? snapshot_upstream(old, u->name) : NULL;
        if (!u)
            continue;
        if (!before) {
            fprintf(out, "upstream %.*s: added\n", SLICE_FMT(u->name));
            continue;
        }
        diff_servers(out, &fresh->config, before, u);
        char *keys = NULL;
        size_t len = 0;
        FILE *f = open_memstream(&keys, &len);
        if (!f)
            continue;
        write_keys(f, before->settings->node, u->settings->node, "servers");
        fclose(f);
        if (len)
            fprintf(out, "upstream %.*s: changed (%s)\n", SLICE_FMT(u->name), keys);
        free(keys);
    }
    for (size_t i = 0; i < old->upstream_count; i++)
        if (old->upstreams[i] && !snapshot_upstream(fresh, old->upstreams[i]->name))
            fprintf(out, "upstream %.*s: removed\n", SLICE_FMT(old->upstreams[i]->name));
}

static void diff_rest(FILE *out, const struct snapshot *old, const struct snapshot *fresh)
{
    static const char *const keys[] = {"log",      "admin", "limits",  "timeouts", "cache",
                                       "defaults", "tests", "workers", "user"};
    for (size_t i = 0; i < COUNT_OF(keys); i++)
        if (!is_equal(config_get(old->config.root, keys[i]), config_get(fresh->config.root, keys[i])))
            fprintf(out, "%s: changed\n", keys[i]);
}

char *snapshot_diff(const struct snapshot *old, struct snapshot *fresh)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    if (!out)
        return strdup("");
    diff_listeners(out, old, fresh);
    diff_routes(out, old, fresh);
    diff_upstreams(out, old, fresh);
    diff_rest(out, old, fresh);
    if (fclose(out) != 0) {
        free(text);
        return strdup("");
    }
    return text;
}
