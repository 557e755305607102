#include "proxy/settings.h"

#include "proxy/http/checks.h"
#include "proxy/settings_internal.h"

static const char *const log_levels[] = {"debug", "info", "warn", "error", NULL};
static const char *const log_formats[] = {"text", "json", NULL};
static const char *const protocols[] = {"http", "tcp", "udp", NULL};

static const struct option limits_options[] = {
    OPTION_AT(struct limits, connections, "connections", OPTION_COUNT, .fallback = "65536",
              .help = "Client connections open at once, over all of a listener; 0 = no limit. Past it a new "
                      "one is closed; of udp, the session that was quiet for longest makes room."),
    OPTION_AT(struct limits, connections_per_ip, "connections_per_ip", OPTION_COUNT, .fallback = "0",
              .help = "The same for one client address; 0 = no limit."),
    OPTION_AT(struct limits, request_line, "request_line", OPTION_SIZE, .fallback = "8KiB", .min = 64,
              .max = 64 * 1024, .help = "Bytes of a request line; 414 past it."),
    OPTION_AT(struct limits, header_size, "header_size", OPTION_SIZE, .fallback = "32KiB", .min = 128,
              .max = 64 * 1024,
              .help = "Bytes of a whole head, of requests and responses; 431 past it (502 for a response)."),
    OPTION_AT(struct limits, header_count, "header_count", OPTION_COUNT, .fallback = "128", .min = 1,
              .max = 10000, .help = "Fields of a head; 431 past it."),
    OPTION_AT(struct limits, body_size, "body_size", OPTION_SIZE, .fallback = "0",
              .help = "Bytes of a request's body; 0 = no limit; 413 past it. A route may say otherwise."),
};
static const struct option_table limits_table = {
    .name = "limits",
    .help = "Bounds of what a client may send. A listener may have its own.",
    .options = limits_options,
    .count = COUNT_OF(limits_options),
    .size = sizeof(struct limits)};

static const struct option timeouts_options[] = {
    OPTION_AT(struct timeouts, connect, "connect", OPTION_DURATION, .fallback = "5s", .min = 1,
              .help = "To connect to an upstream server; 504, or the next server."),
    OPTION_AT(struct timeouts, tls, "tls", OPTION_DURATION, .min = 1,
              .help = "For the TLS handshake with it, from then on. Absent: as `connect`."),
    OPTION_AT(struct timeouts, header, "header", OPTION_DURATION, .fallback = "10s", .min = 1,
              .help = "A client's whole request head, from its first byte (408), and its TLS handshake."),
    OPTION_AT(struct timeouts, body, "body", OPTION_DURATION, .fallback = "30s", .min = 1,
              .help = "Between two reads of a body, on either side, and without a byte that a client takes."),
    OPTION_AT(struct timeouts, response, "response", OPTION_DURATION, .fallback = "60s", .min = 1,
              .help = "From the request's end to the response head's; 504."),
    OPTION_AT(struct timeouts, keepalive, "keepalive", OPTION_DURATION, .fallback = "75s", .min = 1,
              .help = "An idle client connection."),
    OPTION_AT(struct timeouts, upstream_keepalive, "upstream_keepalive", OPTION_DURATION, .fallback = "60s",
              .min = 1,
              .help = "An idle connection to a server; less where the server is known to close it sooner."),
    OPTION_AT(struct timeouts, idle, "idle", OPTION_DURATION, .fallback = "10m", .min = 1,
              .help = "A tcp, udp or upgraded (WebSocket) stream, or a call of gRPC, with no byte either "
                      "way."),
    OPTION_AT(struct timeouts, drain, "drain", OPTION_DURATION, .fallback = "30s",
              .help = "At a stop or upgrade, before what is left is cut."),
};
static const struct option_table timeouts_table = {
    .name = "timeouts",
    .help = "How long things may take. A listener may have its own.",
    .options = timeouts_options,
    .count = COUNT_OF(timeouts_options),
    .size = sizeof(struct timeouts)};

static const struct option access_options[] = {
    OPTION_AT(struct access_settings, format, "format", OPTION_TEXT, .fallback = "json",
              .shape = "json, combined, or a template",
              .help =
                  "How a line looks: json, combined (as Apache and nginx), or a template with variables."),
    OPTION_AT(struct access_settings, output, "output", OPTION_TEXT, .fallback = "stdout",
              .shape = "stdout, stderr, syslog, syslog:/path or a path",
              .help = "Where lines go; syslog is the socket /dev/log, or the one of the path behind it."),
    OPTION_AT(struct access_settings, sample, "sample", OPTION_NUMBER, .fallback = "1.0", .min = 0, .max = 1,
              .flags = OPTION_FLAG_PERCENT,
              .help = "Share of requests that are logged; errors (5xx) always are."),
};
static const struct option_table access_table = {.name = "log.access",
                                                 .help = "The access log: a line for each finished request.",
                                                 .options = access_options,
                                                 .count = COUNT_OF(access_options),
                                                 .size = sizeof(struct access_settings),
                                                 .has_node = true,
                                                 .node_offset = offsetof(struct access_settings, node)};

static const struct option log_options[] = {
    OPTION_AT(struct log_settings, level, "level", OPTION_ENUM, .choices = log_levels, .fallback = "info",
              .help = "The least important lines that are written."),
    OPTION_AT(struct log_settings, format, "format", OPTION_ENUM, .choices = log_formats, .fallback = "text",
              .help = "How the program's own log looks; it goes to standard error."),
    OPTION_AT(struct log_settings, access, "access", OPTION_BLOCK_IF, .table = &access_table,
              .flags = OPTION_FLAG_TRUE, .help = "The access log; off unless asked for."),
};
static const struct option_table log_table = {.name = "log",
                                              .help = "What is written about what happens.",
                                              .options = log_options,
                                              .count = COUNT_OF(log_options),
                                              .size = sizeof(struct log_settings)};

static const struct option listener_log_options[] = {
    OPTION_AT(struct log_settings, access, "access", OPTION_BLOCK_IF, .table = &access_table,
              .flags = OPTION_FLAG_TRUE, .help = "The access log of this listener."),
};
static const struct option_table listener_log_table = {.name = "listener log",
                                                       .help = "What a listener may say of its log.",
                                                       .options = listener_log_options,
                                                       .count = COUNT_OF(listener_log_options),
                                                       .size = sizeof(struct log_settings)};

static const struct option admin_options[] = {
    OPTION_AT(struct admin_settings, bind, "bind", OPTION_TEXTS,
              .help =
                  "Where the dashboard, the API and the metrics are; absent = none but the control socket."),
    OPTION_AT(struct admin_settings, token, "token", OPTION_TEXT, .flags = OPTION_FLAG_SECRET,
              .help = "When set, asked for (Authorization: Bearer) on everything but /metrics and /health."),
    OPTION_AT(struct admin_settings, socket, "socket", OPTION_TEXT, .fallback = "/run/weir.sock",
              .help = "The control socket of weir reload, stop, status, …; mode 0600. Empty = none."),
};
static void check_admin(struct config *c, const struct config_node *node, void *object)
{
    const struct admin_settings *s = object;
    (void)node;
    for (size_t i = 0; i < s->bind.count; i++) {
        struct address a;
        struct slice host;
        uint16_t port;
        const char *why;
        enum address_kind kind =
            s->bind.at[i].len ? address_parse(s->bind.at[i], &a, &host, &port, &why) : ADDRESS_SOCKET;
        if (kind != ADDRESS_SOCKET)
            config_fault(c, s->bind.nodes[i], "%s",
                         kind == ADDRESS_NAME ? "an address is needed, not a name" : why);
    }
}

const struct option_table admin_settings_table = {.name = "admin",
                                                  .help = "How weir is seen and steered while it runs.",
                                                  .options = admin_options,
                                                  .count = COUNT_OF(admin_options),
                                                  .size = sizeof(struct admin_settings),
                                                  .has_node = true,
                                                  .node_offset = offsetof(struct admin_settings, node),
                                                  .check = check_admin};

static void name_folders(struct config *c, struct option_texts *folders, enum config_use use)
{
    for (size_t i = 0; i < folders->count; i++) {
        struct slice path = config_relative_path(c, folders->nodes[i], folders->at[i], use);
        if (path.at)
            folders->at[i] = path;
    }
}

static void check_sandbox(struct config *c, const struct config_node *node, void *object)
{
    struct sandbox_settings *s = object;
    (void)node;
    name_folders(c, &s->read, CONFIG_READS);
    name_folders(c, &s->write, CONFIG_WRITES);
}

static const struct option sandbox_options[] = {
    OPTION_AT(struct sandbox_settings, read, "read", OPTION_TEXTS,
              .help = "Folders that may be read besides those of the files that are named: for what later "
                      "reloads will name."),
    OPTION_AT(struct sandbox_settings, write, "write", OPTION_TEXTS,
              .help = "The same of folders for logs and Unix sockets."),
};
static const struct option_table sandbox_table = {
    .name = "sandbox",
    .help = "What weir takes from itself before it serves: every file outside of the folders that the file "
            "names (Landlock), and every system call that it does not make (seccomp). A reload stays "
            "inside.",
    .options = sandbox_options,
    .count = COUNT_OF(sandbox_options),
    .size = sizeof(struct sandbox_settings),
    .check = check_sandbox};

/* Where a tcp listener's streams go: to one upstream, or by name. */
static void check_names(struct config *c, const struct config_node *node, struct listener_settings *l)
{
    const struct config_node *sni = node ? config_get(node, "sni") : NULL;
    const struct config_node *passthrough = node ? config_get(node, "passthrough") : NULL;
    if (l->protocol == LISTENER_TCP && l->upstream.len == 0 && !l->sni.count)
        config_fault(c, node, "a tcp listener needs \"upstream\" or \"sni\"");
    if (sni && l->protocol == LISTENER_HTTP)
        config_fault_key(c, sni,
                         "\"sni\" is for protocol tcp; names that an http listener is to forward "
                         "undecrypted stand in \"passthrough\"");
    else if (sni && l->sni.count && l->upstream.len)
        config_fault_key(c, sni, "\"upstream\" is given too; what no name matches goes to \"default\"");
    else if (sni && l->sni.count && l->tls)
        config_fault_key(c, sni, "nothing is decrypted with \"sni\": \"tls\" cannot stand beside it");
    if (passthrough && l->passthrough.count && !l->tls)
        config_fault_key(c, passthrough, "only beside \"tls\": what is not passed through ends here");
}

/* Datagrams have no connection that any of these could be about. */
static void check_udp(struct config *c, const struct config_node *node, const struct listener_settings *l)
{
    static const struct {
        const char *key, *why;
    } refused[] = {
        {"tls", "there is no TLS over datagrams: \"tls\" is for protocols http and tcp"},
        {"http2", "\"http2\" is for protocol http"},
        {"sni", "\"sni\" is for protocol tcp"},
        {"passthrough", "\"passthrough\" is for protocols http and tcp"},
        {"proxy_protocol", "\"proxy_protocol\" is received with protocols http and tcp alone"},
        {"trusted_proxies", "\"trusted_proxies\" are for protocols http and tcp"},
    };
    for (size_t i = 0; node && i < COUNT_OF(refused); i++) {
        const struct config_node *given = config_get(node, refused[i].key);
        if (given && given->kind != NODE_NULL)
            config_fault_key(c, given, "%s", refused[i].why);
    }
    if (l->upstream.len == 0)
        config_fault(c, node, "a udp listener needs \"upstream\"");
}

static void check_listener(struct config *c, const struct config_node *node, void *object)
{
    struct listener_settings *l = object;
    l->upstream_node = node ? config_get(node, "upstream") : NULL;
    if (l->protocol == LISTENER_UDP)
        check_udp(c, node, l);
    else
        check_names(c, node, l);
    if (l->protocol == LISTENER_HTTP && l->upstream_node)
        config_fault_key(c, l->upstream_node,
                         "an http listener has routes; \"upstream\" is for protocols tcp and udp");
}

static const struct option listener_options[] = {
    OPTION_AT(struct listener_settings, bind, "bind", OPTION_TEXTS,
              .flags = OPTION_FLAG_REQUIRED | OPTION_FLAG_NONEMPTY, .shape = "an address or a list of them",
              .help = "Where it listens: `127.0.0.1:80`, `[::1]:80`, `:80` (every IPv4 and IPv6 address), "
                      "`[fe80::1%eth0]:80`, `unix:/run/web.sock`, `unix:@abstract`."),
    OPTION_AT(struct listener_settings, protocol, "protocol", OPTION_ENUM, .choices = protocols,
              .fallback = "http", .help = "What is spoken there."),
    OPTION_AT(struct listener_settings, http2, "http2", OPTION_BOOL, .fallback = "true",
              .help = "HTTP/2 by ALPN under TLS, by prior knowledge without."),
    OPTION_AT(struct listener_settings, proxy_protocol, "proxy_protocol", OPTION_BOOL, .fallback = "false",
              .help = "A PROXY v1 or v2 header is required, ahead of TLS too, within `timeouts.header`; the "
                      "client is whom it names. When `trusted_proxies` are set, others are closed."),
    OPTION_AT(struct listener_settings, trusted_proxies, "trusted_proxies", OPTION_TEXTS,
              .shape = "a list of CIDRs",
              .help = "Peers whose X-Forwarded-For (or, without one, Forwarded) is believed and passed on; "
                      "others' is replaced."),
    OPTION_AT(struct listener_settings, tls, "tls", OPTION_BLOCK_IF, .table = &tls_server_table,
              .help = "Terminates TLS here."),
    OPTION_AT(struct listener_settings, passthrough, "passthrough", OPTION_PAIRS, .flags = OPTION_FLAG_PLAIN,
              .shape = "a map from names to upstreams",
              .help =
                  "Names (`a.example`, `*.a.example`) whose connections go to an upstream undecrypted; TLS "
                  "ends here for the rest."),
    OPTION_AT(struct listener_settings, upstream, "upstream", OPTION_TEXT,
              .help = "For protocols tcp and udp: where streams and datagrams go."),
    OPTION_AT(struct listener_settings, sni, "sni", OPTION_PAIRS, .flags = OPTION_FLAG_PLAIN,
              .shape = "a map from names to upstreams",
              .help =
                  "For protocol tcp, instead of `upstream`: upstreams by the server name that a TLS client "
                  "asks for, without decrypting. `a.example`, `*.a.example` (any labels ahead; the longest "
                  "wins), and `default` for other names, for none, and for what is not TLS."),
    OPTION_AT(struct listener_settings, limits, "limits", OPTION_BLOCK, .table = &limits_table,
              .help = "Over the global ones."),
    OPTION_AT(struct listener_settings, timeouts, "timeouts", OPTION_BLOCK, .table = &timeouts_table,
              .help = "Over the global ones."),
    OPTION_AT(struct listener_settings, log, "log", OPTION_BLOCK, .table = &listener_log_table,
              .help = "Over the global one."),
};
static const struct option_table listener_table = {.name = "listener",
                                                   .help = "Where clients come in.",
                                                   .options = listener_options,
                                                   .count = COUNT_OF(listener_options),
                                                   .size = sizeof(struct listener_settings),
                                                   .has_node = true,
                                                   .has_name = true,
                                                   .node_offset = offsetof(struct listener_settings, node),
                                                   .name_offset = offsetof(struct listener_settings, name),
                                                   .check = check_listener};

static int parse_workers(struct config *c, const struct config_node *node, void *field)
{
    if (node->kind == NODE_SCALAR && slice_equal(node->text, S("auto"))) {
        *(uint64_t *)field = 0;
        return 0;
    }
    if (node->kind == NODE_SCALAR && slice_to_u64(node->text, field) == 0 && *(uint64_t *)field >= 1 &&
        *(uint64_t *)field <= 256)
        return 0;
    config_fault(c, node, "expected auto or a number from 1 to 256");
    return -1;
}

static const struct option settings_options[] = {
    OPTION_AT(struct settings, workers, "workers", OPTION_CUSTOM, .parse = parse_workers,
              .shape = "auto or a number",
              .schema =
                  "{\"anyOf\":[{\"const\":\"auto\"},{\"type\":\"integer\",\"minimum\":1,\"maximum\":256}]}",
              .help = "Event-loop threads; auto = the CPUs that the process may use. Changed by `weir "
                      "upgrade`, not by a reload."),
    OPTION_AT(struct settings, log, "log", OPTION_BLOCK, .table = &log_table,
              .help = "What is written about what happens."),
    OPTION_AT(struct settings, admin, "admin", OPTION_BLOCK_IF, .table = &admin_settings_table,
              .help = "How weir is seen and steered while it runs."),
    OPTION_AT(struct settings, limits, "limits", OPTION_BLOCK, .table = &limits_table,
              .help = "Bounds of what a client may send."),
    OPTION_AT(struct settings, timeouts, "timeouts", OPTION_BLOCK, .table = &timeouts_table,
              .help = "How long things may take."),
    OPTION_AT(struct settings, listeners, "listeners", OPTION_MAP, .table = &listener_table,
              .flags = OPTION_FLAG_REQUIRED | OPTION_FLAG_NONEMPTY,
              .help = "Where clients come in, by name."),
    OPTION_AT(struct settings, defaults, "defaults", OPTION_NODE, .table = &defaults_table,
              .help = "What every route starts from."),
    OPTION_AT(struct settings, route_nodes, "routes", OPTION_NODE, .table = &route_table,
              .flags = OPTION_FLAG_LIST, .shape = "a list of routes",
              .help = "What is done with a request; the most specific match wins, whatever the order."),
    OPTION_AT(struct settings, upstreams, "upstreams", OPTION_MAP, .table = &upstream_table,
              .help = "The servers behind, by name."),
    OPTION_AT(struct settings, cache, "cache", OPTION_BLOCK, .table = &cache_table,
              .help = "The store of cached responses; a route's `cache` turns it on there."),
    OPTION_AT(struct settings, tests, "tests", OPTION_NODE, .table = &check_table, .flags = OPTION_FLAG_LIST,
              .shape = "a list of tests",
              .help = "Requests with what is expected of them; run by `weir check`, and by a reload before "
                      "it takes effect."),
    OPTION_AT(
        struct settings, tracing, "tracing", OPTION_BLOCK_IF, .table = &tracing_table,
        .flags = OPTION_FLAG_TRUE,
        .help = "Tells a collector of OpenTelemetry about requests, and servers where they are in a trace."),
    OPTION_AT(struct settings, user, "user", OPTION_TEXT,
              .help = "The user to become after binding, when started as root."),
    OPTION_AT(struct settings, sandbox, "sandbox", OPTION_BLOCK_IF, .table = &sandbox_table,
              .flags = OPTION_FLAG_TRUE,
              .help = "Keeps weir to the folders that the file names and the system calls that it makes; "
                      "changed by a restart."),
};

const struct option_table settings_table = {.name = "weir.yaml",
                                            .help = "The whole file.",
                                            .options = settings_options,
                                            .count = COUNT_OF(settings_options),
                                            .size = sizeof(struct settings)};
