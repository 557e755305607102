#include "proxy/snapshot.h"

#include <stdlib.h>
#include <time.h>

#include "proxy/http/affinity.h"
#include "proxy/http/checks.h"
#include "proxy/http/pages.h"
#include "proxy/lint/lint.h"

static int build_upstreams(struct snapshot *s, const struct snapshot_context *context);
static int build_listeners(struct snapshot *s, const struct snapshot_context *context);
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
    if (build_upstreams(s, context) != 0 || build_listeners(s, context) != 0 || build_routes(s, context) != 0)
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

static void free_listener(struct listener_config *l)
{
    tls_server_free(l->tls);
    server_names_free(l->names);
    if (l->access && l->access_free)
        l->access_free(l->access);
}

void snapshot_free(struct snapshot *s)
{
    router_free(s->router);
    routes_free(s->routes, s->route_count);
    for (size_t i = 0; i < s->listener_count; i++)
        free_listener(&s->listeners[i]);
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

static const struct upstream_settings *upstream_settings_of(const struct snapshot *s, struct slice name)
{
    const struct upstream_settings *all = s->settings.upstreams.at;
    for (size_t i = 0; i < s->settings.upstreams.count; i++)
        if (slice_equal(all[i].name, name))
            return &all[i];
    return NULL;
}

/* Listeners. */

static void fault_unknown_upstream(struct snapshot *s, const struct config_node *at, struct slice name)
{
    const struct upstream_settings *all = s->settings.upstreams.at;
    size_t count = s->settings.upstreams.count;
    const char **names = arena_alloc(&s->config.arena, (count + 1) * sizeof *names);
    for (size_t i = 0; names && i < count; i++)
        names[i] = all[i].name.at;
    if (names)
        config_fault(&s->config, at, "no upstream is called %s%s", config_quote(&s->config, name),
                     config_mend(&s->config, name, names, count, true));
}

/* Where the address stands in the file before this one, or NULL. The same port may be had once for
 * connections and once for datagrams. */
static const char *taken_by(const struct snapshot *s, const struct listener_config *upto, size_t count,
                            const struct address *a)
{
    for (const struct listener_config *l = s->listeners; l <= upto; l++) {
        size_t addresses = l == upto ? count : l->address_count;
        for (size_t i = 0; i < addresses; i++)
            if ((l->protocol == LISTENER_UDP) == (upto->protocol == LISTENER_UDP) &&
                address_equal(&l->addresses[i], a))
                return l->name.at;
    }
    return NULL;
}

static int parse_addresses(struct snapshot *s, struct listener_config *l)
{
    const struct option_texts *bind = &l->settings->bind;
    l->addresses = arena_zalloc(&s->config.arena, (bind->count + 1) * sizeof *l->addresses);
    if (!l->addresses)
        return -1;
    for (size_t i = 0; i < bind->count; i++) {
        struct slice host;
        uint16_t port;
        const char *why = "", *taken;
        struct address *a = &l->addresses[l->address_count];
        switch (address_parse(bind->at[i], a, &host, &port, &why)) {
        case ADDRESS_BAD:
            config_fault(&s->config, bind->nodes[i], "%s", why);
            continue;
        case ADDRESS_NAME:
            config_fault(&s->config, bind->nodes[i], "a listener needs an address, not the name \"%.*s\"",
                         SLICE_FMT(host));
            continue;
        case ADDRESS_SOCKET:
            break;
        }
        if (l->protocol == LISTENER_UDP && a->any.sa_family == AF_UNIX) {
            config_fault(
                &s->config, bind->nodes[i],
                "a udp listener needs an IP address and a port: datagrams do not come by Unix sockets");
            continue;
        }
        taken = taken_by(s, l, l->address_count, a);
        if (taken)
            config_fault(&s->config, bind->nodes[i], "the address is listener %s's already", taken);
        else
            l->address_count++;
    }
    return 0;
}

static int parse_trusted(struct snapshot *s, struct listener_config *l)
{
    const struct option_texts *texts = &l->settings->trusted_proxies;
    l->trusted.at = arena_zalloc(&s->config.arena, (texts->count + 1) * sizeof *l->trusted.at);
    if (!l->trusted.at)
        return -1;
    for (size_t i = 0; i < texts->count; i++) {
        if (cidr_parse(texts->at[i], &l->trusted.at[l->trusted.count]) == 0)
            l->trusted.count++;
        else
            config_fault(&s->config, texts->nodes[i],
                         "expected a network like 10.0.0.0/8 or 2001:db8::/32, or an address");
    }
    return 0;
}

static void build_tls(struct snapshot *s, struct listener_config *l, const struct snapshot_context *context)
{
    struct tls_server_settings settings = *l->settings->tls;
    struct slice alpn[] = {S("h2"), S("http/1.1")};
    unsigned skip = l->settings->http2 ? 0 : 1;
    if (!settings.alpn_set && l->protocol == LISTENER_HTTP)
        settings.alpn = (struct option_texts){.at = alpn + skip, .count = COUNT_OF(alpn) - skip};
    l->tls = tls_server_create(&s->config, l->settings->tls->node, &settings, s->workers, context->tickets);
}

static struct upstream *find_upstream(void *argument, struct slice name, const struct config_node *at)
{
    struct snapshot *s = argument;
    if (!upstream_settings_of(s, name))
        fault_unknown_upstream(s, at, name);
    return snapshot_upstream(s, name);
}

static int build_names(struct snapshot *s, struct listener_config *l)
{
    const struct listener_settings *settings = l->settings;
    bool by_sni = settings->sni.count != 0;
    if (!by_sni && !settings->passthrough.count)
        return 0;
    l->names = server_names_create(&s->config, by_sni ? &settings->sni : &settings->passthrough, by_sni,
                                   find_upstream, s);
    return l->names ? 0 : -1;
}

/* What an upstream may say, but not when datagrams go there. */
static void check_takes_datagrams(struct snapshot *s, const struct listener_config *l,
                                  const struct upstream_settings *u)
{
    const struct server_settings *servers = u->servers.at;
    const struct config_node *at = l->settings->upstream_node;
    if (u->tls)
        config_fault(&s->config, at, "upstream %.*s has \"tls\", and a udp listener sends plain datagrams",
                     SLICE_FMT(u->name));
    if (u->proxy_protocol == PROXY_V1)
        config_fault(&s->config, at,
                     "upstream %.*s has proxy_protocol v1, which cannot tell of datagrams; v2 can",
                     SLICE_FMT(u->name));
    for (size_t i = 0; i < u->servers.count; i++)
        if (slice_begins(servers[i].address, S("unix:")))
            config_fault(&s->config, at,
                         "%.*s of upstream %.*s cannot be sent datagrams: it needs an IP address",
                         SLICE_FMT(servers[i].address), SLICE_FMT(u->name));
}

/* What it may say for the sake of others, and has no effect here. */
static void warn_of_idle_options(struct snapshot *s, const struct listener_config *l,
                                 const struct upstream_settings *u)
{
    const struct config_node *at = l->settings->upstream_node;
    if (u->hash_key.len && !slice_equal(u->hash_key, S("ip")))
        config_warn(&s->config, at,
                    "\"hash_key\" of upstream %.*s is not for streams and datagrams: theirs is the client's "
                    "address",
                    SLICE_FMT(u->name));
    if (u->sticky)
        config_warn(&s->config, at,
                    "\"sticky\" of upstream %.*s is for HTTP alone; balance: source_hash keeps clients at "
                    "their servers by address",
                    SLICE_FMT(u->name));
    if (u->hedge)
        config_warn(&s->config, at, "\"hedge\" of upstream %.*s is for HTTP alone", SLICE_FMT(u->name));
    if (u->queue && l->protocol == LISTENER_UDP)
        config_warn(&s->config, at,
                    "\"queue\" of upstream %.*s is not for datagrams: they are dropped when every server is "
                    "full",
                    SLICE_FMT(u->name));
}

static int build_listener(struct snapshot *s, struct listener_config *l,
                          const struct snapshot_context *context)
{
    const struct listener_settings *settings = l->settings;
    l->name = settings->name;
    l->protocol = (enum listener_protocol)settings->protocol;
    l->head_limits = (struct h1_limits){
        .request_line = (uint32_t)settings->limits.request_line,
        .header_size = (uint32_t)settings->limits.header_size,
        .header_count = (uint32_t)settings->limits.header_count,
    };
    if (parse_addresses(s, l) != 0 || parse_trusted(s, l) != 0)
        return -1;
    if (settings->tls)
        build_tls(s, l, context);
    if (l->protocol != LISTENER_HTTP && settings->upstream.len) {
        const struct upstream_settings *u = upstream_settings_of(s, settings->upstream);
        if (!u)
            fault_unknown_upstream(s, settings->upstream_node, settings->upstream);
        else if (l->protocol == LISTENER_UDP)
            check_takes_datagrams(s, l, u);
        if (u)
            warn_of_idle_options(s, l, u);
        l->upstream = snapshot_upstream(s, settings->upstream);
    }
    if (build_names(s, l) != 0)
        return -1;
    l->access_free = context->access_free;
    if (context->access && settings->log.access)
        context->access(context->argument, &s->config, settings->log.access, context->dry, &l->access);
    if (context->stats) {
        l->stats = stats_listener(context->stats, l->name);
        return l->stats ? 0 : -1;
    }
    return 0;
}

static int build_listeners(struct snapshot *s, const struct snapshot_context *context)
{
    const struct listener_settings *settings = s->settings.listeners.at;
    size_t count = s->settings.listeners.count;
    s->listeners = arena_zalloc(&s->config.arena, (count + 1) * sizeof *s->listeners);
    if (!s->listeners)
        return -1;
    for (size_t i = 0; i < count; i++) {
        struct listener_config *l = &s->listeners[i];
        l->slot = (unsigned)i;
        l->settings = &settings[i];
        s->listener_count = i + 1;
        if (build_listener(s, l, context) != 0)
            return -1;
    }
    return 0;
}

const struct listener_config *snapshot_listener(const struct snapshot *s, struct slice name)
{
    for (size_t i = 0; i < s->listener_count; i++)
        if (slice_equal(s->listeners[i].name, name))
            return &s->listeners[i];
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
