/* What differs between two snapshots, in words: for `weir diff`, `weir reload` and the log. Compared are the
 * trees as they were written (merged with what they inherit), so that every option is seen without being
 * named here. */
#include <stdio.h>
#include <stdlib.h>

#include "config/print.h"
#include "proxy/diff_words.h"
#include "proxy/runtime.h"

/* "listener web: changed (http2: true -> false, timeouts.idle: 60s -> 30s)" */
static void diff_object(FILE *out, const char *what, struct slice name, const struct config_node *old,
                        const struct config_node *fresh, const char *but)
{
    char *changes = NULL;
    size_t len = 0;
    FILE *f = words_equal(old, fresh) ? NULL : open_memstream(&changes, &len);
    if (!f)
        return;
    size_t count = words_changes(f, old, fresh, "", but, ", ");
    fclose(f);
    if (count)
        fprintf(out, "%s %.*s: changed (%s)\n", what, SLICE_FMT(name), changes);
    free(changes);
}

static uint64_t open_connections(const struct listener_config *l, unsigned workers)
{
    uint64_t open = 0;
    for (unsigned i = 0; l->stats && i < workers; i++)
        open += counter_get(&l->stats->worker[i]->connections_open);
    return open;
}

static bool listens_on(const struct listener_config *l, const struct address *a)
{
    for (size_t i = 0; i < l->address_count; i++)
        if (address_equal(&l->addresses[i], a))
            return true;
    return false;
}

/* Addresses that it listens on no more: what came by them is asked to end. */
static void diff_addresses(FILE *out, const struct listener_config *was, const struct listener_config *l,
                           unsigned workers)
{
    char text[ADDRESS_TEXT_MAX];
    for (size_t i = 0; i < was->address_count; i++) {
        if (listens_on(l, &was->addresses[i]))
            continue;
        size_t len = address_print(&was->addresses[i], text, sizeof text);
        fprintf(out, "listener %.*s: no more on %.*s; its connections drain", SLICE_FMT(l->name), (int)len,
                text);
        if (was->stats)
            fprintf(out, " (of %llu of the listener)", (unsigned long long)open_connections(was, workers));
        fprintf(out, "\n");
    }
}

static void diff_listeners(FILE *out, const struct snapshot *old, const struct snapshot *fresh)
{
    for (size_t i = 0; i < fresh->listener_count; i++) {
        const struct listener_config *l = &fresh->listeners[i], *before = snapshot_listener(old, l->name);
        if (!before) {
            fprintf(out, "listener %.*s: added\n", SLICE_FMT(l->name));
            continue;
        }
        diff_object(out, "listener", l->name, before->settings->node, l->settings->node, NULL);
        diff_addresses(out, before, l, old->workers);
    }
    for (size_t i = 0; i < old->listener_count; i++) {
        const struct listener_config *l = &old->listeners[i];
        if (snapshot_listener(fresh, l->name))
            continue;
        fprintf(out, "listener %.*s: removed", SLICE_FMT(l->name));
        if (l->stats)
            fprintf(out, "; %llu connections drain", (unsigned long long)open_connections(l, old->workers));
        fprintf(out, "\n");
    }
}

/* Mostly it stands where it stood. */
static const struct route *find_route(const struct snapshot *s, struct slice name, const struct table *index,
                                      size_t guess)
{
    uint64_t at;
    if (guess < s->route_count && slice_equal(s->routes[guess].name, name))
        return &s->routes[guess];
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
    const struct route *last = NULL;
    bool in_another_order = false;
    for (size_t i = 0; before && now && i < fresh->route_count; i++) {
        const struct route *r = &fresh->routes[i], *was = find_route(old, r->name, before, i);
        /* Of two that match a request as closely, the first one has it: the order of those in both counts. */
        in_another_order = in_another_order || (was && last && was < last);
        last = was ? was : last;
        if (!was)
            fprintf(out, "route %.*s: added\n", SLICE_FMT(r->name));
        else
            diff_object(out, "route", r->name, was->settings->node, r->settings->node, NULL);
    }
    for (size_t i = 0; before && now && i < old->route_count; i++)
        if (!find_route(fresh, old->routes[i].name, now, i))
            fprintf(out, "route %.*s: removed\n", SLICE_FMT(old->routes[i].name));
    if (in_another_order)
        fprintf(out, "routes: in another order\n");
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

static void put_number(FILE *out, const char *name, uint64_t was, uint64_t now, const char **separator)
{
    if (was == now)
        return;
    fprintf(out, "%s%s %llu -> %llu", *separator, name, (unsigned long long)was, (unsigned long long)now);
    *separator = ", ";
}

static void diff_entry(FILE *out, const struct server_settings *was, const struct server_settings *now)
{
    const char *separator = "";
    put_number(out, "weight", was->weight, now->weight, &separator);
    put_number(out, "max_connections", was->max_connections, now->max_connections, &separator);
    put_number(out, "refresh in ms", was->refresh, now->refresh, &separator);
    if (was->backup != now->backup) {
        fprintf(out, "%s%s", separator, now->backup ? "is a backup now" : "is no backup any more");
        separator = ", ";
    }
    if (!slice_equal(was->zone, now->zone))
        fprintf(out, "%szone %.*s -> %.*s", separator, SLICE_FMT(was->zone.len ? was->zone : S("none")),
                SLICE_FMT(now->zone.len ? now->zone : S("none")));
    fprintf(out, "\n");
}

static void diff_server(FILE *out, struct slice upstream, const struct server_settings *was,
                        const struct server_settings *now)
{
    char text[ENTRY_MAX];
    struct slice name = entry_name(now, text, sizeof text);
    fprintf(out, "upstream %.*s: server %.*s ", SLICE_FMT(upstream), SLICE_FMT(name));
    if (!was)
        fprintf(out, "added\n");
    else
        diff_entry(out, was, now);
}

static void diff_removed(FILE *out, const struct upstream *old, const struct server_settings *was, bool live)
{
    char text[ENTRY_MAX];
    struct slice name = entry_name(was, text, sizeof text);
    struct server *s = was->address.len ? upstream_server(old, was->address) : NULL;
    fprintf(out, "upstream %.*s: server %.*s removed", SLICE_FMT(old->name), SLICE_FMT(name));
    if (live && was->address.len)
        fprintf(out, "; %u requests in flight end", s ? server_in_flight(s) : 0);
    else if (live)
        fprintf(out, "; requests in flight at its servers end");
    fprintf(out, "\n");
}

static void diff_servers(FILE *out, struct config *c, const struct upstream *old,
                         const struct upstream *fresh, bool live)
{
    const struct server_settings *now = fresh->settings->servers.at, *before = old->settings->servers.at;
    struct table *was = index_servers(c, old), *is = index_servers(c, fresh);
    for (size_t i = 0; was && is && i < fresh->settings->servers.count; i++) {
        const struct server_settings *s = find_server(was, &now[i]);
        if (!s || s->weight != now[i].weight || s->backup != now[i].backup ||
            s->max_connections != now[i].max_connections || s->refresh != now[i].refresh ||
            !slice_equal(s->zone, now[i].zone))
            diff_server(out, fresh->name, s, &now[i]);
    }
    for (size_t i = 0; was && is && i < old->settings->servers.count; i++)
        if (!find_server(is, &before[i]))
            diff_removed(out, old, &before[i], live);
    table_free(was);
    table_free(is);
}

static void diff_upstreams(FILE *out, const struct snapshot *old, struct snapshot *fresh)
{
    bool live = old->generation != 0; /* not built again for the comparison alone */
    for (size_t i = 0; i < fresh->upstream_count; i++) {
        struct upstream *u = fresh->upstreams[i], *before = u ? snapshot_upstream(old, u->name) : NULL;
        if (u && !before)
            fprintf(out, "upstream %.*s: added\n", SLICE_FMT(u->name));
        if (!u || !before)
            continue;
        diff_servers(out, &fresh->config, before, u, live);
        diff_object(out, "upstream", u->name, before->settings->node, u->settings->node, "servers");
    }
    for (size_t i = 0; i < old->upstream_count; i++)
        if (old->upstreams[i] && !snapshot_upstream(fresh, old->upstreams[i]->name))
            fprintf(out, "upstream %.*s: removed\n", SLICE_FMT(old->upstreams[i]->name));
}

static void put_scalar(FILE *out, const struct config_node *node)
{
    if (node && node->kind != NODE_NULL)
        config_print_value(out, node, 80);
    else
        fputs("not set", out);
}

static void diff_key(FILE *out, const char *key, const struct config_node *was, const struct config_node *now)
{
    enum node_kind a = was ? was->kind : NODE_NULL, b = now ? now->kind : NODE_NULL;
    if (a == NODE_LIST || b == NODE_LIST) {
        fprintf(out, "%s: changed\n", key);
    } else if (a == NODE_SCALAR || b == NODE_SCALAR) {
        fprintf(out, "%s: ", key);
        put_scalar(out, was);
        fprintf(out, " -> ");
        put_scalar(out, now);
        fprintf(out, "\n");
    } else if (words_changes(out, was, now, key, NULL, "\n")) {
        fprintf(out, "\n");
    }
}

/* Every key of the file's top but those that have lines of their own. */
static void diff_rest(FILE *out, const struct snapshot *old, const struct snapshot *fresh)
{
    static const char *const told[] = {"listeners", "routes", "upstreams"};
    for (size_t i = 0; i < settings_table.count; i++) {
        const char *key = settings_table.options[i].name;
        const struct config_node *was = config_get(old->config.root, key);
        const struct config_node *now = config_get(fresh->config.root, key);
        bool is_told = false;
        for (size_t k = 0; k < COUNT_OF(told); k++)
            is_told = is_told || strcmp(key, told[k]) == 0;
        if (!is_told && !words_equal(was, now))
            diff_key(out, key, was, now);
    }
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
