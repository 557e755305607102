/* Routes: what they match and do, what was counted of them, and the weights of splits, which may be changed
 * while they serve. */
#include "admin/asked.h"
#include "admin/internal.h"
#include "admin/live.h"
#include "admin/totals.h"

static json_t *hosts_json(const struct route *r)
{
    json_t *hosts = json_array();
    for (size_t i = 0; hosts && i < r->host_count; i++) {
        const struct route_host *h = &r->hosts[i];
        char name[300];
        int n =
            snprintf(name, sizeof name, "%s%.*s", h->kind == ROUTE_HOST_EXACT ? "" : "*", SLICE_FMT(h->name));
        json_array_append_new(
            hosts, json_slice(slice_of(name, (size_t)n < sizeof name ? (size_t)n : sizeof name - 1)));
    }
    return hosts;
}

static json_t *methods_json(const struct route *r)
{
    json_t *methods = json_array();
    for (size_t i = 0; methods && i < r->method_count; i++)
        json_array_append_new(methods, json_slice(r->methods[i]));
    return methods;
}

static json_t *path_json(const struct route *r)
{
    static const char *const kinds[] = {
        [ROUTE_PATH_PREFIX] = "prefix", [ROUTE_PATH_EXACT] = "exact", [ROUTE_PATH_REGEX] = "regex"};
    return json_pack("{s:o}", kinds[r->path.kind],
                     r->path.text.len ? json_slice(r->path.text) : json_string("/"));
}

static json_t *listeners_json(const struct snapshot *s, const struct route *r)
{
    json_t *names = json_array();
    for (size_t i = 0; names && i < s->listener_count; i++)
        if (s->listeners[i].protocol == LISTENER_HTTP && route_on_listener(r, s->listeners[i].slot))
            json_array_append_new(names, json_slice(s->listeners[i].name));
    return names;
}

static json_t *conditions_json(const struct route *r)
{
    json_t *all = json_array();
    struct arena arena;
    arena_init(&arena, NULL, 0);
    for (size_t i = 0; all && i < r->conditions.count; i++)
        json_array_append_new(all, json_string(condition_name(&arena, &r->conditions.at[i])));
    arena_reset(&arena);
    return all;
}

static json_t *split_json(const struct route *r)
{
    json_t *split = json_object();
    for (size_t i = 0; split && i < r->target_count; i++) {
        const struct route_target *t = &r->targets[i];
        uint32_t weight = atomic_load_explicit(&t->weight, memory_order_relaxed);
        json_object_setn_new(split, t->name.at, t->name.len, json_integer((json_int_t)weight));
    }
    return split;
}

static void add_action(json_t *out, const struct route *r)
{
    static const char *const names[] = {
        [ROUTE_NONE] = "none",         [ROUTE_UPSTREAM] = "upstream", [ROUTE_SPLIT] = "split",
        [ROUTE_REDIRECT] = "redirect", [ROUTE_RESPOND] = "respond",   [ROUTE_FILES] = "files"};
    json_object_set_new(out, "action", json_string(names[r->action]));
    if (r->action == ROUTE_UPSTREAM)
        json_object_set_new(out, "upstream", json_slice(r->targets[0].name));
    if (r->action == ROUTE_SPLIT)
        json_object_set_new(out, "split", split_json(r));
    if (r->action == ROUTE_REDIRECT)
        json_object_set_new(out, "redirect", json_slice(r->settings->redirect->to));
    if (r->action == ROUTE_RESPOND)
        json_object_set_new(out, "status", json_integer(r->respond.status));
    if (r->action == ROUTE_FILES)
        json_object_set_new(out, "files", json_slice(r->files->root));
}

static void add_counts(json_t *out, const struct runtime *rt, uint32_t id)
{
    struct totals t;
    totals_of_route(&t, &rt->stats, id);
    const _Atomic uint32_t *in_flight = rt->stats.in_flight[id];
    json_object_set_new(out, "requests", json_integer((json_int_t)t.requests));
    json_object_set_new(out, "errors", json_integer((json_int_t)t.server_errors));
    json_object_set_new(out, "client_errors", json_integer((json_int_t)t.client_errors));
    json_object_set_new(out, "statuses", live_classes_json(t.statuses));
    json_object_set_new(out, "in_flight",
                        in_flight ? json_integer((json_int_t)atomic_load(in_flight)) : json_null());
    json_object_set_new(out, "mean_ms",
                        json_real(t.requests ? (double)t.duration_us / (double)t.requests / 1000 : 0.0));
    json_object_set_new(out, "duration_us", json_integer((json_int_t)t.duration_us));
    json_object_set_new(out, "durations", totals_durations_json(t.fine));
}

json_t *route_words_json(const struct runtime *rt, const struct route *r)
{
    const struct snapshot *s = rt->snapshot;
    json_t *out = json_pack("{s:o, s:s, s:I, s:o, s:o, s:o, s:o, s:o}", "name", json_slice(r->name), "file",
                            r->node->file, "line", (json_int_t)r->node->line, "listeners",
                            listeners_json(s, r), "hosts", hosts_json(r), "path", path_json(r), "methods",
                            methods_json(r), "conditions", conditions_json(r));
    if (!out)
        return NULL;
    add_action(out, r);
    json_object_set_new(out, "cache", json_boolean(r->cache != NULL));
    return out;
}

static json_t *route_json(const struct runtime *rt, const struct route *r)
{
    json_t *out = route_words_json(rt, r);
    if (out)
        add_counts(out, rt, rt->snapshot->route_stats_ids[r->index]);
    return out;
}

/* `?match=` looks at names, hosts, paths and upstreams. */
static bool is_wanted(const struct route *r, struct slice match)
{
    const struct slice own[] = {r->name, r->path.text};
    bool found = asked_finds(match, own, COUNT_OF(own));
    for (size_t i = 0; i < r->host_count && !found; i++)
        found = asked_finds(match, &r->hosts[i].name, 1);
    for (size_t i = 0; i < r->target_count && !found; i++)
        found = asked_finds(match, &r->targets[i].name, 1);
    return found;
}

/* `?limit=` bounds what is shown, not what is counted. */
void api_routes(struct http_call *c)
{
    const struct runtime *rt = admin_of(c)->runtime;
    struct slice match = asked_value(c, "match");
    size_t limit = asked_number(c, "limit", SIZE_MAX), matched = 0;
    usec_t now_us = api_reading_time(admin_of(c));
    json_t *all = json_array();
    for (size_t i = 0; all && i < rt->snapshot->route_count; i++) {
        const struct route *r = &rt->snapshot->routes[i];
        if (is_wanted(r, match) && matched++ < limit)
            json_array_append_new(all, route_json(rt, r));
    }
    api_reply(c, 200,
              json_pack("{s:o, s:I, s:I, s:I}", "routes", all, "now_us", (json_int_t)now_us, "total",
                        (json_int_t)rt->snapshot->route_count, "matched", (json_int_t)matched));
}

/* Splits. */

static struct route_target *find_target(struct route *r, const char *name)
{
    for (size_t i = 0; i < r->target_count; i++)
        if (slice_equal(r->targets[i].name, slice_text(name)))
            return &r->targets[i];
    return NULL;
}

/* What is wrong with the wanted weights, or NULL. */
static const char *check_split(struct route *r, json_t *split)
{
    const char *name;
    json_t *value;
    uint64_t sum = 0;
    json_object_foreach(split, name, value)
    {
        if (!find_target(r, name))
            return "the split names an upstream that the route's split in the file does not have; only those "
                   "may get a weight";
        if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) > 1000000)
            return "a weight must be a whole number from 0 to 1000000";
        sum += (uint64_t)json_integer_value(value);
    }
    for (size_t i = 0; i < r->target_count; i++) {
        char key[256];
        snprintf(key, sizeof key, "%.*s", SLICE_FMT(r->targets[i].name));
        if (!json_object_get(split, key))
            sum += atomic_load_explicit(&r->targets[i].weight, memory_order_relaxed);
    }
    return sum ? NULL : "all weights would be 0; one must be above";
}

static void change_split(struct http_call *c, struct route *r, json_t *split)
{
    struct admin *a = admin_of(c);
    const char *name;
    json_t *value;
    char text[512];
    int n = snprintf(text, sizeof text, "route %.*s splits by hand:", SLICE_FMT(r->name));
    json_object_foreach(split, name, value)
    {
        atomic_store_explicit(&find_target(r, name)->weight, (uint32_t)json_integer_value(value),
                              memory_order_relaxed);
        if (n > 0 && (size_t)n < sizeof text)
            n += snprintf(text + n, sizeof text - (size_t)n, " %s %lld", name,
                          (long long)json_integer_value(value));
    }
    log_info("a split was changed by hand", LOG_SLICE("route", r->name), LOG_TEXT("split", text));
    events_notice(a, "change", text);
    api_reply(c, 200, route_json(a->runtime, r));
}

static struct route *find_route(struct snapshot *s, struct slice name)
{
    for (size_t i = 0; i < s->route_count; i++)
        if (slice_equal(s->routes[i].name, name))
            return &s->routes[i];
    return NULL;
}

void api_patch_route(struct http_call *c)
{
    static const char *const keys[] = {"split", NULL};
    struct route *r = find_route(admin_of(c)->runtime->snapshot, c->arguments[0]);
    if (!r) {
        api_problem(c, 404, "no route has this name; see GET /api/v1/routes", NULL);
        return;
    }
    json_t *body = api_body(c);
    if (body && api_only_keys(c, body, keys)) {
        json_t *split = json_object_get(body, "split");
        const char *wrong = !json_is_object(split) || json_object_size(split) == 0
                                ? "say which weights: {\"split\": {\"blue\": 0, \"green\": 100}}"
                                : NULL;
        unsigned status = wrong ? 400 : 422;
        if (!wrong)
            wrong = r->action == ROUTE_SPLIT
                        ? check_split(r, split)
                        : "this route has no split in the file; only weights of one can be changed";
        if (wrong)
            api_problem(c, status, wrong, NULL);
        else
            change_split(c, r, split);
    }
    json_decref(body);
}

static bool same_split(const struct route *a, const struct route *b)
{
    const struct option_pairs *x = &a->settings->split, *y = &b->settings->split;
    if (a->target_count != b->target_count || x->count != y->count)
        return false;
    for (size_t i = 0; i < x->count; i++)
        if (!slice_equal(x->at[i].name, y->at[i].name) || !slice_equal(x->at[i].value, y->at[i].value))
            return false;
    return true;
}

void routes_carry_weights(const struct snapshot *old, const struct snapshot *fresh)
{
    for (size_t i = 0; i < fresh->route_count; i++) {
        struct route *to = &fresh->routes[i];
        if (to->action != ROUTE_SPLIT)
            continue;
        for (size_t k = 0; k < old->route_count; k++) {
            struct route *from = &old->routes[k];
            if (from->action != ROUTE_SPLIT || !slice_equal(from->name, to->name) || !same_split(from, to))
                continue;
            for (size_t n = 0; n < to->target_count; n++)
                atomic_store_explicit(&to->targets[n].weight,
                                      atomic_load_explicit(&from->targets[n].weight, memory_order_relaxed),
                                      memory_order_relaxed);
            break;
        }
    }
}
