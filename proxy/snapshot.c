#include "proxy/snapshot.h"

#include <stdlib.h>
#include <time.h>

#include "proxy/http/affinity.h"
#include "proxy/http/checks.h"
#include "proxy/http/pages.h"
#include "proxy/lint/lint.h"
#include "proxy/snapshot_internal.h"

static int build_upstreams(struct snapshot *s, const struct snapshot_context *context);
static int build_routes(struct snapshot *s, const struct snapshot_context *context);
static void check_requests(struct snapshot *s);

static int build(struct snapshot *s, const struct snapshot_context *context)
{
    struct config *c = &s->config;
    /* Even a file with faults is looked at as far as it goes, so that one run tells them all. */
    if (config_load(c, s->file) != 0 && (!c->root || c->error_count == 0))
        return c->error_count ? 0 : -1;
    if (settings_load(c, &s->settings) != 0 && c->error_count == 0)
        return -1;
    s->tracing = s->settings.tracing;
    /* Every part is built, faults or not, so that all faults are found. */
    if (build_upstreams(s, context) != 0 || snapshot_build_listeners(s, context) != 0 ||
        build_routes(s, context) != 0)
        return -1;
    if (c->error_count == 0)
        check_requests(s);
    if (c->error_count == 0 && context->lint)
        lint_snapshot(s, (int64_t)time(NULL));
    return 0;
}

struct snapshot *snapshot_build(const char *path, const struct snapshot_context *context)
{
    struct snapshot *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    config_init(&s->config);
    s->config.keep = context->keep;
    s->config.kept = context->kept;
    s->workers = context->workers ? context->workers : 1;
    s->control = context->control;
    s->file = strdup(path);
    if (!s->file || build(s, context) != 0) {
        snapshot_free(s);
        return NULL;
    }
    return s;
}

void snapshot_free(struct snapshot *s)
{
    router_free(s->router);
    routes_free(s->routes, s->route_count);
    for (size_t i = 0; i < s->listener_count; i++)
        snapshot_free_listener(&s->listeners[i]);
    for (size_t i = 0; i < s->upstream_count; i++)
        upstream_free(s->upstreams[i]);
    config_free(&s->config);
    free(s->holds);
    free(s->file);
    free(s);
}

/* Upstreams. */

static int build_upstreams(struct snapshot *s, const struct snapshot_context *context)
{
    struct upstream_settings *settings = s->settings.upstreams.at;
    size_t count = s->settings.upstreams.count;
    s->upstreams = arena_zalloc(&s->config.arena, (count + 1) * sizeof(struct upstream *));
    if (!s->upstreams)
        return -1;
    /* A place for every name, so that routes find theirs even where the upstream itself has faults. */
    s->upstream_count = count;
    for (size_t i = 0; i < count; i++) {
        size_t faults = s->config.error_count;
        s->upstreams[i] = upstream_create(&s->config, settings[i].node, settings[i].name, &settings[i],
                                          context->dry ? NULL : context->servers, s->workers);
        if (!s->upstreams[i] && s->config.error_count == faults && faults == 0)
            return -1;
        const struct affinity_rule *rule;
        if (affinity_compile(&s->config, &settings[i], &rule) != 0 && s->config.error_count == 0)
            return -1;
        if (s->upstreams[i])
            s->upstreams[i]->affinity = rule;
    }
    return 0;
}

struct upstream *snapshot_upstream(const struct snapshot *s, struct slice name)
{
    for (size_t i = 0; i < s->upstream_count; i++)
        if (s->upstreams[i] && slice_equal(s->upstreams[i]->name, name))
            return s->upstreams[i];
    return NULL;
}

/* Routes. */

static int collect_names(struct snapshot *s, struct route_names *names)
{
    struct arena *a = &s->config.arena;
    const struct upstream_settings *upstreams = s->settings.upstreams.at;
    const char **listeners = arena_alloc(a, (s->listener_count + 1) * sizeof *listeners);
    bool *is_http = arena_alloc(a, s->listener_count + 1);
    const char **upstream_names = arena_alloc(a, (s->upstream_count + 1) * sizeof *upstream_names);
    if (!listeners || !is_http || !upstream_names)
        return -1;
    for (size_t i = 0; i < s->listener_count; i++) {
        listeners[i] = s->listeners[i].name.at;
        is_http[i] = s->listeners[i].protocol == LISTENER_HTTP;
    }
    for (size_t i = 0; i < s->upstream_count; i++)
        upstream_names[i] = upstreams[i].name.at;
    *names = (struct route_names){listeners, is_http, s->listener_count, upstream_names, s->upstream_count};
    return 0;
}

static void count_route(struct stats *stats, struct route *r, uint32_t *id)
{
    *id = stats_route_id(stats, r->name);
    if (r->concurrency)
        r->in_flight = stats_route_in_flight(stats, *id);
}

static int build_routes(struct snapshot *s, const struct snapshot_context *context)
{
    struct route_names names;
    s->route_count = s->settings.routes.count;
    if (collect_names(s, &names) != 0)
        return -1;
    s->routes = routes_compile(&s->config, s->settings.routes.at, s->route_count, &names);
    if (!s->routes && s->route_count) {
        s->route_count = 0;
        return -1;
    }
    for (size_t i = 0; i < s->route_count; i++) {
        struct route *r = &s->routes[i];
        for (size_t k = 0; k < r->target_count; k++)
            r->targets[k].upstream = snapshot_upstream(s, r->targets[k].name);
        pages_load(&s->config, r);
    }
    if (s->config.error_count == 0)
        s->router = router_build(&s->config, s->routes, s->route_count);
    s->route_stats_ids = arena_zalloc(&s->config.arena, (s->route_count + 1) * sizeof *s->route_stats_ids);
    if (!s->route_stats_ids || (!s->router && s->config.error_count == 0))
        return -1;
    for (size_t i = 0; context->stats && i < s->route_count; i++)
        count_route(context->stats, &s->routes[i], &s->route_stats_ids[i]);
    return 0;
}

/* `tests:` */

size_t snapshot_plain_listeners(const struct snapshot *s, struct arena *a, struct plain_listener **out)
{
    size_t count = 0;
    struct plain_listener *all = arena_zalloc(a, (s->listener_count + 1) * sizeof *all);
    for (size_t i = 0; all && i < s->listener_count; i++) {
        const struct listener_config *l = &s->listeners[i];
        uint16_t *ports = arena_alloc(a, (l->address_count + 1) * sizeof *ports);
        if (l->protocol != LISTENER_HTTP || !ports)
            continue;
        for (size_t k = 0; k < l->address_count; k++)
            ports[k] = address_port(&l->addresses[k]);
        all[count++] = (struct plain_listener){.name = l->name,
                                               .slot = l->slot,
                                               .is_tls = l->tls != NULL,
                                               .ports = ports,
                                               .port_count = l->address_count,
                                               .config = l};
    }
    *out = all;
    return count;
}

static void check_requests(struct snapshot *s)
{
    struct plain_listener *listeners;
    size_t count = snapshot_plain_listeners(s, &s->config.arena, &listeners);
    struct checks with = {.router = s->router,
                          .listeners = listeners,
                          .listener_count = count,
                          .routes = s->routes,
                          .route_count = s->route_count};
    if (listeners)
        checks_run(&s->config, s->settings.tests, &with, &s->tests_passed);
}

/* Publishing and letting go. */

static void on_released(struct letter *letter)
{
    struct snapshot_hold *hold = CONTAINER_OF(letter, struct snapshot_hold, letter);
    struct snapshot *s = hold->snapshot;
    if (--s->holding == 0)
        s->released(s);
}

int snapshot_publish(struct snapshot *s, void (*released)(struct snapshot *))
{
    s->holds = aligned_alloc(64, s->workers * sizeof *s->holds);
    if (!s->holds)
        return -1;
    for (unsigned i = 0; i < s->workers; i++)
        s->holds[i] = (struct snapshot_hold){.letter.deliver = on_released, .snapshot = s};
    s->holding = s->workers;
    s->released = released;
    return 0;
}

void snapshot_release(struct snapshot *s, unsigned worker)
{
    struct snapshot_hold *hold = &s->holds[worker];
    ASSERT(hold->count);
    if (--hold->count == 0)
        loop_post(s->control, &hold->letter);
}
