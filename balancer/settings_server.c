/* The options of a server, and of a list of servers in a file of its own. */
#include "balancer/server.h"
#include "balancer/settings_internal.h"
#include "core/address.h"

static void check_server(struct config *c, const struct config_node *node, void *object);
static void check_file(struct config *c, const struct config_node *node, void *object);

static const struct option server_options[] = {
    OPTION_AT(struct server_settings, address, "address", OPTION_TEXT, .flags = OPTION_FLAG_NONEMPTY,
              .shape = "ADDRESS", .schema = "{\"type\": \"string\"}",
              .help = "Where it listens: `10.0.0.1:8000`, `[2001:db8::1]:8000`, `unix:/run/app.sock`, or "
                      "`name.example:8000`, which is looked up every 30 seconds; while it does not resolve "
                      "the server is down."),
    OPTION_AT(struct server_settings, weight, "weight", OPTION_COUNT, .fallback = "1",
              .max = SERVER_WEIGHT_MAX, .help = "Its share, beside the others'. 0: nothing new."),
    OPTION_AT(struct server_settings, backup, "backup", OPTION_BOOL, .fallback = "false",
              .help = "Used only when no other server is up."),
    OPTION_AT(struct server_settings, max_connections, "max_connections", OPTION_COUNT, .fallback = "0",
              .max = UINT32_MAX, .help = "Requests or streams at once, over all workers. 0: no limit."),
    OPTION_AT(struct server_settings, zone, "zone", OPTION_TEXT,
              .help = "Where it stands; see the upstream's `prefer_zone`."),
    OPTION_AT(struct server_settings, dns, "dns", OPTION_TEXT, .flags = OPTION_FLAG_NONEMPTY,
              .shape = "NAME:PORT", .schema = "{\"type\": \"string\"}",
              .help = "Instead of `address`: every A and AAAA answer is a server, `api.internal:8000`. TLS "
                      "verifies the name."),
    OPTION_AT(struct server_settings, srv, "srv", OPTION_TEXT, .flags = OPTION_FLAG_NONEMPTY, .shape = "NAME",
              .schema = "{\"type\": \"string\"}",
              .help = "Instead of `address`: every target of the SRV records is a server, "
                      "`_http._tcp.api.internal`; the lowest priority are primaries, the others backups."),
    OPTION_AT(struct server_settings, file, "file", OPTION_TEXT, .flags = OPTION_FLAG_NONEMPTY,
              .shape = "FILE", .schema = "{\"type\": \"string\"}",
              .help = "Instead of `address`: a YAML or JSON list of servers, taken up whenever it changes."),
    OPTION_AT(struct server_settings, refresh, "refresh", OPTION_DURATION, .fallback = "30s", .min = 1000,
              .max = 86400000,
              .help =
                  "For `dns` and `srv`: the longest time between two look-ups; the answer's TTL may make "
                  "it shorter, down to 1s. For `file`: how often it is looked at when no change is told."),
};

const struct option_table server_table = {
    .name = "server",
    .help = "A server of an upstream; its address alone is enough.",
    .options = server_options,
    .count = COUNT_OF(server_options),
    .size = sizeof(struct server_settings),
    .has_node = true,
    .node_offset = offsetof(struct server_settings, node),
    .shorthand = "address",
    .check = check_server,
};

static const struct option server_file_options[] = {
    OPTION_AT(struct server_file_settings, servers, "servers", OPTION_LIST, .table = &server_table,
              .help = "The servers."),
};

const struct option_table server_file_table = {
    .name = "server list",
    .options = server_file_options,
    .count = COUNT_OF(server_file_options),
    .size = sizeof(struct server_file_settings),
    .shorthand = "servers",
    .check = check_file,
};

/* `host:port`; a socket's path too when `may_be_unix`. */
static void check_address(struct config *c, const struct config_node *at, struct slice text, bool may_be_unix)
{
    struct address address = {0};
    struct slice host = {0};
    uint16_t port = 0;
    const char *why = NULL;
    enum address_kind kind = address_parse(text, &address, &host, &port, &why);
    bool is_unix = kind == ADDRESS_SOCKET && address.any.sa_family == AF_UNIX;
    if (kind == ADDRESS_SOCKET && !is_unix)
        port = address_port(&address);
    if (kind == ADDRESS_BAD)
        config_fault(c, at, "%s", why);
    else if (text.at[0] == ':' || text.at[0] == '*')
        config_fault(c, at, "a server needs a host: an address like 127.0.0.1:80 or name.example:80");
    else if (is_unix && !may_be_unix)
        config_fault(c, at, "expected a name and a port, like api.internal:8000");
    else if (!is_unix && port == 0)
        config_fault(c, at, "a server needs a port from 1 to 65535");
}

static void check_srv(struct config *c, const struct config_node *at, struct slice name)
{
    if (slice_find(name, ':') < name.len || slice_find(name, ' ') < name.len)
        config_fault(c, at, "expected a name like _http._tcp.api.internal; the records say the port");
}

static void check_server(struct config *c, const struct config_node *node, void *object)
{
    struct server_settings *s = object;
    const struct slice given[] = {s->address, s->dns, s->srv, s->file};
    static const char *const keys[] = {"address", "dns", "srv", "file"};
    const char *first = NULL;
    for (size_t i = 0; i < COUNT_OF(given); i++) {
        if (given[i].len && first)
            config_fault_key(c, settings_key_or(node, keys[i]), "not together with `%s`", first);
        else if (given[i].len)
            first = keys[i];
    }
    if (!first && node && node->kind == NODE_MAP) {
        for (size_t i = 0; i < COUNT_OF(keys); i++)
            if (config_get(node, keys[i]))
                return; /* it is faulty, and that is told */
        config_fault(c, node, "missing key \"address\"");
    }
    if (s->address.len)
        check_address(c, settings_key_or(node, "address"), s->address, true);
    if (s->address.len && node && node->kind == NODE_MAP && config_get(node, "refresh"))
        config_fault_key(c, config_get(node, "refresh"), "only with `dns`, `srv` or `file`");
    if (s->dns.len)
        check_address(c, settings_key_or(node, "dns"), s->dns, false);
    if (s->srv.len)
        check_srv(c, settings_key_or(node, "srv"), s->srv);
    if (s->file.len)
        s->file = config_relative_path(c, node, s->file, CONFIG_READS);
}

static void check_file(struct config *c, const struct config_node *node, void *object)
{
    const struct server_file_settings *f = object;
    const struct server_settings *all = f->servers.at;
    (void)node;
    for (size_t i = 0; i < f->servers.count; i++) {
        static const char *const keys[] = {"dns", "srv", "file"};
        for (size_t k = 0; k < COUNT_OF(keys) && all[i].address.len == 0; k++)
            if (all[i].node && all[i].node->kind == NODE_MAP && config_get(all[i].node, keys[k]))
                config_fault_key(c, config_get(all[i].node, keys[k]),
                                 "not in a list of servers: addresses alone");
    }
}

static bool gives(const struct server_settings *s, const char *key)
{
    return s->node && s->node->kind == NODE_MAP && config_get(s->node, key);
}

struct server_settings server_settings_inherit(const struct server_settings *s,
                                               const struct server_settings *entry)
{
    struct server_settings out = *s;
    if (!gives(s, "weight"))
        out.weight = entry->weight;
    if (!gives(s, "backup"))
        out.backup = entry->backup;
    if (!gives(s, "max_connections"))
        out.max_connections = entry->max_connections;
    if (!gives(s, "zone"))
        out.zone = entry->zone;
    return out;
}
