/* The listeners of a configuration, compiled: addresses, TLS, names, the upstream of a stream. */
#include "proxy/snapshot_internal.h"

static const struct upstream_settings *upstream_settings_of(const struct snapshot *s, struct slice name)
{
    const struct upstream_settings *all = s->settings.upstreams.at;
    for (size_t i = 0; i < s->settings.upstreams.count; i++)
        if (slice_equal(all[i].name, name))
            return &all[i];
    return NULL;
}

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

int snapshot_build_listeners(struct snapshot *s, const struct snapshot_context *context)
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

void snapshot_free_listener(struct listener_config *l)
{
    tls_server_free(l->tls);
    server_names_free(l->names);
    if (l->access && l->access_free)
        l->access_free(l->access);
}

const struct listener_config *snapshot_listener(const struct snapshot *s, struct slice name)
{
    for (size_t i = 0; i < s->listener_count; i++)
        if (slice_equal(s->listeners[i].name, name))
            return &s->listeners[i];
    return NULL;
}
