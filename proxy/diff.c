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

static const struct server_settings *find_server(const struct upstream *u, struct slice address)
{
    const struct server_settings *all = u->settings->servers.at;
    for (size_t i = 0; i < u->settings->servers.count; i++)
        if (slice_equal(all[i].address, address))
            return &all[i];
    return NULL;
}

static void diff_servers(FILE *out, const struct upstream *old, const struct upstream *fresh)
{
    const struct server_settings *now = fresh->settings->servers.at, *before = old->settings->servers.at;
    for (size_t i = 0; i < fresh->settings->servers.count; i++) {
        const struct server_settings *was = find_server(old, now[i].address);
        if (!was)
            fprintf(out, "upstream %.*s: server %.*s added\n", SLICE_FMT(fresh->name),
                    SLICE_FMT(now[i].address));
        else if (was->weight != now[i].weight)
            fprintf(out, "upstream %.*s: server %.*s weight %llu -> %llu\n", SLICE_FMT(fresh->name),
                    SLICE_FMT(now[i].address), (unsigned long long)was->weight,
                    (unsigned long long)now[i].weight);
        else if (was->backup != now[i].backup || was->max_connections != now[i].max_connections)
            fprintf(out, "upstream %.*s: server %.*s changed\n", SLICE_FMT(fresh->name),
                    SLICE_FMT(now[i].address));
    }
    for (size_t i = 0; i < old->settings->servers.count; i++) {
        if (find_server(fresh, before[i].address))
            continue;
        struct server *s = upstream_server(old, before[i].address);
        fprintf(out, "upstream %.*s: server %.*s removed; %u requests in flight end\n",
                SLICE_FMT(fresh->name), SLICE_FMT(before[i].address), s ? server_in_flight(s) : 0);
    }
}

static void diff_upstreams(FILE *out, const struct snapshot *old, const struct snapshot *fresh)
{
    for (size_t i = 0; i < fresh->upstream_count; i++) {
        struct upstream *u = fresh->upstreams[i], *before = u ? snapshot_upstream(old, u->name) : NULL;
        if (!u)
            continue;
        if (!before) {
            fprintf(out, "upstream %.*s: added\n", SLICE_FMT(u->name));
            continue;
        }
        diff_servers(out, before, u);
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
    static const char *const keys[] = {"log",      "admin", "limits",  "timeouts",
                                       "defaults", "tests", "workers", "user"};
    for (size_t i = 0; i < COUNT_OF(keys); i++)
        if (!is_equal(config_get(old->config.root, keys[i]), config_get(fresh->config.root, keys[i])))
            fprintf(out, "%s: changed\n", keys[i]);
}

char *snapshot_diff(const struct snapshot *old, const struct snapshot *fresh)
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
