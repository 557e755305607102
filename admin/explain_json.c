#include "admin/explain_json.h"

#include <stdlib.h>

#include "admin/explain_cache.h"
#include "admin/explain_files.h"
#include "admin/explain_headers.h"
#include "admin/explain_pick.h"
#include "admin/explain_settings.h"
#include "admin/explain_upstream.h"
#include "admin/internal.h"

/* NULL gives null. */
static json_t *text_or_null(const char *text)
{
    return text ? json_slice(slice_text(text)) : json_null();
}

static json_t *slice_or_null(struct slice s)
{
    return s.at ? json_slice(s) : json_null();
}

/* What print() writes. */
static json_t *printed(const struct explained *e, void (*print)(const struct explained *, FILE *))
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    if (!out)
        return NULL;
    print(e, out);
    fclose(out);
    json_t *value = text ? json_slice(slice_of(text, len)) : NULL;
    free(text);
    return value;
}

static json_t *listeners_json(const struct explained *e, struct arena *a)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < e->snapshot->listener_count; i++) {
        const struct listener_config *l = &e->snapshot->listeners[i];
        json_array_append_new(list, json_pack("{s:o, s:b, s:o}", "listener", json_slice(l->name), "chosen",
                                              explain_is_listener(e, l), "reason",
                                              text_or_null(explain_listener_reason(e, l, a))));
    }
    return list;
}

static json_t *routes_json(const struct explained *e)
{
    static const char *const reasons[] = {[EXPLAIN_WON] = "chosen",
                                          [EXPLAIN_LISTENER] = "listener",
                                          [EXPLAIN_HOST] = "host",
                                          [EXPLAIN_PATH] = "path",
                                          [EXPLAIN_METHOD] = "method",
                                          [EXPLAIN_CONDITION] = "condition",
                                          [EXPLAIN_LESS_SPECIFIC] = "less specific"};
    json_t *list = json_array();
    for (size_t i = 0; list && i < e->why.step_count; i++) {
        const struct explain_step *s = &e->why.steps[i];
        json_array_append_new(list,
                              json_pack("{s:o, s:s, s:i, s:b, s:s, s:o}", "route", json_slice(s->route->name),
                                        "file", s->route->node->file, "line", (int)s->route->node->line,
                                        "chosen", s->reason == EXPLAIN_WON, "by", reasons[s->reason],
                                        "reason", json_slice(s->text)));
    }
    return list;
}

static json_t *settings_json(const struct explained_settings *s)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < s->count; i++)
        json_array_append_new(list,
                              json_pack("{s:s, s:o, s:o}", "name", s->at[i].name, "value",
                                        text_or_null(s->at[i].value), "from", text_or_null(s->at[i].from)));
    return list;
}

static json_t *headers_json(const struct explained_headers *h)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < h->count; i++)
        json_array_append_new(list,
                              json_pack("{s:o, s:o, s:o, s:o}", "name", json_slice(h->at[i].name), "before",
                                        slice_or_null(h->at[i].before), "after",
                                        slice_or_null(h->at[i].after), "by", text_or_null(h->at[i].by)));
    return list;
}

static json_t *servers_json(const struct upstream *u, struct arena *a)
{
    struct explained_servers all;
    json_t *list = json_array();
    if (!list || explain_servers(u, a, &all) != 0)
        return list;
    for (size_t i = 0; i < all.count; i++) {
        const struct explained_server *s = &all.at[i];
        json_array_append_new(list, json_pack("{s:o, s:o, s:i, s:i, s:i, s:b, s:o, s:o, s:o, s:s, s:i}",
                                              "address", json_slice(s->server->name), "source",
                                              text_or_null(s->source), "weight", (int)s->weight, "in_flight",
                                              (int)s->in_flight, "max_connections", (int)s->max_connections,
                                              "backup", s->backup, "zone", text_or_null(s->zone), "state",
                                              text_or_null(s->state), "score", text_or_null(s->score),
                                              "reason", s->reason, "tier", (int)s->tier + 1));
    }
    return list;
}

static json_t *pick_json(const struct explained *e, const struct upstream *u)
{
    char *text = NULL;
    size_t len = 0;
    struct slice server = {0};
    FILE *out = open_memstream(&text, &len);
    if (!out)
        return NULL;
    bool known = explain_pick(e, u, &server, out);
    fclose(out);
    json_t *value = known && text ? json_pack("{s:o, s:o}", "server", slice_or_null(server), "reason",
                                              json_slice(slice_of(text, len)))
                                  : json_null();
    free(text);
    return value;
}

static json_t *upstream_json(const struct explained *e, const struct upstream *u, struct slice name,
                             int64_t share, struct arena *a)
{
    struct explained_settings settings;
    const char *notes[8];
    json_t *now = json_array();
    if (!u)
        return json_pack("{s:o}", "upstream", json_slice(name));
    explain_upstream_settings(u, a, &settings);
    size_t count = explain_upstream_notes(u, a, notes);
    for (size_t i = 0; now && i < count; i++)
        json_array_append_new(now, json_slice(slice_text(notes[i])));
    return json_pack("{s:o, s:o, s:s, s:b, s:o, s:o, s:o, s:o}", "upstream", json_slice(name), "share",
                     share < 0 ? json_null() : json_integer(share), "policy", u->policy->name, "tls",
                     u->tls != NULL, "servers", servers_json(u, a), "pick", pick_json(e, u), "now", now,
                     "settings", settings_json(&settings));
}

static json_t *targets_json(const struct explained *e, struct arena *a)
{
    const struct route *r = e->why.route;
    json_t *list = json_array();
    if (list && e->stream_upstream)
        json_array_append_new(list, upstream_json(e, e->stream_upstream, e->stream_upstream->name, -1, a));
    for (size_t i = 0; list && r && e->why.action == EXPLAIN_ROUTED && i < r->target_count; i++) {
        const struct route_target *t = &r->targets[i];
        int64_t share =
            r->action == ROUTE_SPLIT ? (int64_t)atomic_load_explicit(&t->weight, memory_order_relaxed) : -1;
        json_array_append_new(list, upstream_json(e, t->upstream, t->name, share, a));
    }
    return list;
}

static json_t *names_json(const struct explained *e)
{
    const struct route *r = e->why.route;
    json_t *names = json_array();
    if (names && e->stream_upstream)
        json_array_append_new(names, json_slice(e->stream_upstream->name));
    for (size_t i = 0; names && r && i < r->target_count; i++)
        json_array_append_new(names, json_slice(r->targets[i].name));
    return names;
}

/* null where the route has none. */
static json_t *cache_json(const struct explained *e, struct arena *a)
{
    struct explained_cache c;
    struct explained_settings settings;
    if (!explain_cache(e, a, &c))
        return json_null();
    explain_cache_settings(e, a, &settings);
    const struct explained_lookup *l = &c.lookup;
    json_t *stored =
        c.is_stored ? json_pack("{s:i, s:I, s:I, s:I}", "status", (int)c.status, "bytes", (json_int_t)c.bytes,
                                "age", (json_int_t)c.age, "lifetime", (json_int_t)c.lifetime)
                    : json_null();
    return json_pack("{s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "lookup", l->refused == NULL, "reason",
                     text_or_null(l->refused), "key", l->refused ? json_null() : json_slice(l->names.key),
                     "url", slice_or_null(l->names.url), "result", text_or_null(c.result), "why",
                     text_or_null(c.why), "stored", stored, "not_kept", text_or_null(c.not_stored),
                     "settings", settings_json(&settings));
}

static json_t *file_json(const struct explained *e, struct arena *a)
{
    struct explained_file f;
    if (explain_file_of(e, a, &f) != 0 || !f.status)
        return json_null();
    return json_pack("{s:i, s:o, s:I, s:s}", "status", (int)f.status, "path",
                     f.path.len ? json_slice(f.path) : json_null(), "bytes", (json_int_t)f.size, "reason",
                     f.text);
}

static json_t *all_headers_json(const struct explained *e, struct arena *a,
                                int (*of)(const struct explained *, struct arena *,
                                          struct explained_headers *))
{
    struct explained_headers h;
    return of(e, a, &h) == 0 ? headers_json(&h) : NULL;
}

static unsigned status_of(const struct explained *e, struct arena *a)
{
    struct explained_file f;
    if (!e->why.status && explain_file_of(e, a, &f) == 0)
        return f.status;
    return e->why.status;
}

json_t *explain_json(const struct explained *e, struct arena *a)
{
    const struct route *r = e->why.route;
    struct explained_settings settings;
    explain_settings(e, a, &settings);
    unsigned status = status_of(e, a);
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
        "listener",
        e->stream                      ? json_slice(e->stream->name)
        : e->listener && !e->no_stream ? json_slice(e->listener->name)
                                       : json_null(),
        "listeners", listeners_json(e, a), "client", json_slice(e->request.client_text), "route",
        r ? json_slice(r->name) : json_null(), "routes", routes_json(e), "upstreams", names_json(e), "status",
        status ? json_integer(status) : json_null(), "location",
        e->why.location.len ? json_slice(e->why.location) : json_null(), "matched_path",
        slice_or_null(e->request.path), "path", slice_or_null(e->why.path), "access",
        text_or_null(e->request.refused ? NULL : explain_access(e, a)), "cache", cache_json(e, a), "file",
        file_json(e, a), "targets", targets_json(e, a), "request_headers",
        all_headers_json(e, a, explain_request_headers), "response_headers",
        all_headers_json(e, a, explain_response_headers), "settings", settings_json(&settings), "action",
        printed(e, explain_print_action), "text", printed(e, explain_print));
}
