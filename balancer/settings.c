#include "balancer/settings.h"

#include <stdlib.h>

#include "balancer/breaker.h"
#include "balancer/check_grpc.h"
#include "balancer/escape.h"
#include "balancer/hedge.h"
#include "balancer/outlier.h"
#include "balancer/queue.h"
#include "balancer/server.h"
#include "balancer/sticky.h"
#include "core/address.h"
#include "tls/settings.h"

static int parse_check_type(struct config *c, const struct config_node *node, void *field);
static int parse_expect(struct config *c, const struct config_node *node, void *field);
static int parse_bytes(struct config *c, const struct config_node *node, void *field);
static void check_server(struct config *c, const struct config_node *node, void *object);
static void check_file(struct config *c, const struct config_node *node, void *object);
static void check_check(struct config *c, const struct config_node *node, void *object);
static void check_upstream(struct config *c, const struct config_node *node, void *object);

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

static const struct option keepalive_options[] = {
    OPTION_AT(struct keepalive_settings, idle, "idle", OPTION_COUNT, .fallback = "64", .max = 1000000,
              .help = "Idle connections that each worker keeps to each server. 0: none."),
    OPTION_AT(struct keepalive_settings, requests, "requests", OPTION_COUNT, .fallback = "0",
              .max = UINT32_MAX, .help = "Requests on one connection before it is closed. 0: no limit."),
};

static const struct option_table keepalive_table = {
    .name = "keepalive",
    .help = "Connections to servers that are used again.",
    .options = keepalive_options,
    .count = COUNT_OF(keepalive_options),
    .size = sizeof(struct keepalive_settings),
};

static const char *const check_types[] = {"http", "tcp", "tls", "grpc", "udp", NULL};

static const struct option check_options[] = {
    OPTION_AT(struct check_settings, type, "type", OPTION_CUSTOM, .fallback = "http",
              .parse = parse_check_type, .shape = "http, tcp, tls, grpc, udp",
              .schema = "{\"enum\": [\"http\", \"tcp\", \"tls\", \"grpc\", \"udp\"]}",
              .help = "http: GET of `path`, in what `protocol` says; tcp: connect, then `send` and "
                      "`receive`; tls: a handshake; grpc: "
                      "grpc.health.v1 over HTTP/2, good when it says SERVING; udp: a datagram of `send`, and "
                      "its answer."),
    OPTION_AT(struct check_settings, path, "path", OPTION_TEXT, .fallback = "/",
              .flags = OPTION_FLAG_MAYBE_SECRET, .help = "For http."),
    OPTION_AT(struct check_settings, interval, "interval", OPTION_DURATION, .fallback = "2s", .min = 10,
              .max = 86400000, .help = "From one check's start to the next's, give or take a tenth."),
    OPTION_AT(struct check_settings, timeout, "timeout", OPTION_DURATION, .fallback = "1s", .min = 1,
              .max = 86400000, .help = "A check that takes longer has failed."),
    OPTION_AT(struct check_settings, rise, "rise", OPTION_COUNT, .fallback = "2", .min = 1, .max = 1000,
              .help = "Successes in a row that take a server back."),
    OPTION_AT(struct check_settings, fall, "fall", OPTION_COUNT, .fallback = "3", .min = 1, .max = 1000,
              .help = "Failures in a row that take it down."),
    OPTION_AT(struct check_settings, expect, "expect", OPTION_CUSTOM, .fallback = "[200-399]",
              .parse = parse_expect, .shape = "STATUS or FROM-TO, or a list",
              .schema = "{\"type\": [\"string\", \"integer\", \"array\"]}",
              .help = "For http: the statuses that are good."),
    OPTION_AT(struct check_settings, headers, "headers", OPTION_PAIRS,
              .help = "For http and grpc: fields to send; `host` replaces the server's name."),
    OPTION_AT(struct check_settings, send, "send", OPTION_CUSTOM, .parse = parse_bytes, .shape = "TEXT",
              .schema = "{\"type\": \"string\"}",
              .help =
                  "For tcp and udp: bytes to send; udp needs them. `\\r`, `\\n`, `\\t`, `\\\\`, `\\xHH`."),
    OPTION_AT(
        struct check_settings, receive, "receive", OPTION_CUSTOM, .parse = parse_bytes, .shape = "TEXT",
        .schema = "{\"type\": \"string\"}",
        .help =
            "For tcp and udp: what the answer must begin with; escapes as in `send`. Without it, udp takes "
            "silence for good, and an ICMP error alone for bad."),
    OPTION_AT(struct check_settings, service, "service", OPTION_TEXT, .shape = "NAME",
              .schema = "{\"type\": \"string\"}",
              .help = "For grpc: the service that is asked for. Absent: the server as a whole."),
};

static const struct option_table check_table = {
    .name = "health_check",
    .help = "An active health check of every server. A server counts as up until it has failed.",
    .options = check_options,
    .count = COUNT_OF(check_options),
    .size = sizeof(struct check_settings),
    .check = check_check,
};

static const char *const balances[] = {"round_robin", "least_connections", "random_two", "ewma", "ring_hash",
                                       "maglev",      "source_hash",       NULL};
static const char *const protocols[] = {"http1", "http2", "auto", NULL};
static const char *const proxy_protocols[] = {"none", "v1", "v2", NULL};
static const char *const on_downs[] = {"keep", "close", NULL};

static const struct option upstream_options[] = {
    OPTION_AT(struct upstream_settings, balance, "balance", OPTION_ENUM, .fallback = "round_robin",
              .choices = balances,
              .help =
                  "How servers are chosen, by weight in every case: in turn (round_robin); fewest requests "
                  "in flight (least_connections); the less loaded of two drawn at random (random_two), or "
                  "of two the sooner done, as learned (ewma); by `hash_key` (ring_hash, maglev); by the "
                  "client's address (source_hash)."),
    OPTION_AT(struct upstream_settings, protocol, "protocol", OPTION_ENUM, .fallback = "http1",
              .choices = protocols,
              .help = "What the servers speak. http2: over TLS by ALPN, else by prior knowledge; auto: over "
                      "TLS what ALPN chooses, else http1."),
    OPTION_AT(struct upstream_settings, servers, "servers", OPTION_LIST, .table = &server_table,
              .flags = OPTION_FLAG_REQUIRED | OPTION_FLAG_NONEMPTY, .help = "At least one."),
    OPTION_AT(struct upstream_settings, tls, "tls", OPTION_BLOCK_IF, .table = &tls_client_table,
              .flags = OPTION_FLAG_TRUE, .help = "TLS to the servers; verified unless it says otherwise."),
    OPTION_AT(struct upstream_settings, proxy_protocol, "proxy_protocol", OPTION_ENUM, .fallback = "none",
              .choices = proxy_protocols,
              .help =
                  "The PROXY header that begins every connection to a server, ahead of TLS: none, v1, v2. "
                  "It names one client, so each request then gets a connection of its own. Of udp it is "
                  "v2, and begins the first datagram of a session. Health checks "
                  "send one that names nobody."),
    OPTION_AT(struct upstream_settings, on_down, "on_down", OPTION_ENUM, .fallback = "keep",
              .choices = on_downs,
              .help = "What becomes of tcp and upgraded streams when their server goes down; close: udp "
                      "sessions go to another, also when it is drained."),
    OPTION_AT(struct upstream_settings, keepalive, "keepalive", OPTION_BLOCK, .table = &keepalive_table),
    OPTION_AT(struct upstream_settings, health_check, "health_check", OPTION_BLOCK_IF, .table = &check_table,
              .flags = OPTION_FLAG_TRUE, .help = "Absent: servers count as up."),
    OPTION_AT(struct upstream_settings, hedge, "hedge", OPTION_BLOCK_IF, .table = &hedge_table,
              .flags = OPTION_FLAG_TRUE, .help = "Absent: none."),
    OPTION_AT(struct upstream_settings, breaker, "breaker", OPTION_BLOCK_IF, .table = &breaker_table,
              .flags = OPTION_FLAG_TRUE, .help = "Absent: none."),
    OPTION_AT(struct upstream_settings, hash_key, "hash_key", OPTION_TEXT, .fallback = "ip",
              .shape = "ip, host, path, header:NAME, cookie:NAME, or a text with variables",
              .help =
                  "For ring_hash and maglev: requests with the same key go to the same server. One without "
                  "(no such header, an empty text) goes to any. TCP and UDP have the client's address "
                  "alone."),
    OPTION_AT(struct upstream_settings, hash_balance, "hash_balance", OPTION_NUMBER, .fallback = "125%",
              .flags = OPTION_FLAG_PERCENT, .max = 100,
              .help =
                  "For ring_hash and maglev: a server that has this much of its fair share of the requests "
                  "in flight is passed over, at least 100%. 0%: no bound."),
    OPTION_AT(struct upstream_settings, prefer_zone, "prefer_zone", OPTION_TEXT,
              .help = "weir's own zone: servers whose `zone` it is are used as long as one of them can be, "
                      "before the others; `backup` ones after both. Empty: no preference."),
    OPTION_AT(struct upstream_settings, sticky, "sticky", OPTION_BLOCK_IF, .table = &sticky_table,
              .help = "Absent: none."),
    OPTION_AT(struct upstream_settings, slow_start, "slow_start", OPTION_DURATION, .fallback = "0",
              .max = 86400000,
              .help = "The share of a server that comes back, or is added while others serve, grows from 1 % "
                      "to the whole over this time. 0: at once."),
    OPTION_AT(struct upstream_settings, queue, "queue", OPTION_BLOCK_IF, .table = &queue_table,
              .flags = OPTION_FLAG_TRUE,
              .help = "Absent: when every server is at `max_connections`, it is a 503 at once."),
    OPTION_AT(struct upstream_settings, outlier, "outlier", OPTION_BLOCK_IF, .table = &outlier_table,
              .flags = OPTION_FLAG_TRUE, .help = "Absent: how requests end says nothing of a server."),
    OPTION_AT(struct upstream_settings, panic_threshold, "panic_threshold", OPTION_NUMBER, .fallback = "0%",
              .flags = OPTION_FLAG_PERCENT, .min = 0, .max = 1,
              .help = "When a smaller share of the servers is healthy, all are used, but for those taken out "
                      "by hand. 0%: never."),
};

const struct option_table upstream_table = {
    .name = "upstream",
    .help = "A group of servers that do the same, and how requests are shared among them.",
    .options = upstream_options,
    .count = COUNT_OF(upstream_options),
    .size = sizeof(struct upstream_settings),
    .has_node = true,
    .node_offset = offsetof(struct upstream_settings, node),
    .has_name = true,
    .name_offset = offsetof(struct upstream_settings, name),
    .check = check_upstream,
};

/* One of the words; those from `planned` on are in the contract, but not built. */
static int choose(struct config *c, const struct config_node *node, const char *const *words, int planned,
                  void *field)
{
    int choice = 0;
    if (option_choice(c, node, words, &choice) != 0)
        return -1;
    if (choice >= planned) {
        config_fault(c, node, "\"%s\" is not supported yet", words[choice]);
        return -1;
    }
    memcpy(field, &choice, sizeof choice);
    return 0;
}

static int parse_check_type(struct config *c, const struct config_node *node, void *field)
{
    return choose(c, node, check_types, CHECK_UDP + 1, field);
}

static int read_range(struct slice text, struct status_range *out)
{
    size_t dash = slice_find(text, '-');
    uint64_t from, to;
    if (slice_to_u64(slice_of(text.at, dash), &from) != 0)
        return -1;
    to = from;
    if (dash < text.len && slice_to_u64(slice_skip(text, dash + 1), &to) != 0)
        return -1;
    if (from < 100 || to > 599 || from > to)
        return -1;
    *out = (struct status_range){(uint16_t)from, (uint16_t)to};
    return 0;
}

static int parse_expect(struct config *c, const struct config_node *node, void *field)
{
    struct option_texts texts = {0};
    if (option_texts(c, node, &texts) != 0)
        return -1;
    struct status_ranges r = {arena_zalloc(&c->arena, (texts.count ? texts.count : 1) * sizeof *r.at), 0};
    int rc = 0;
    for (size_t i = 0; r.at && i < texts.count; i++) {
        if (read_range(texts.at[i], &r.at[r.count++]) == 0)
            continue;
        config_fault(c, texts.nodes[i], "expected a status like 200, or a range like 200-399");
        rc = -1;
    }
    if (r.at && texts.count == 0) {
        config_fault(c, node, "may not be empty");
        rc = -1;
    }
    memcpy(field, &r, sizeof r);
    return r.at ? rc : -1;
}

bool status_ranges_contain(const struct status_ranges *r, unsigned status)
{
    for (size_t i = 0; i < r->count; i++)
        if (status >= r->at[i].from && status <= r->at[i].to)
            return true;
    return false;
}

static int parse_bytes(struct config *c, const struct config_node *node, void *field)
{
    struct slice text, bytes;
    if (option_text(c, node, &text) != 0)
        return -1;
    char *room = arena_alloc(&c->arena, text.len + 1);
    if (!room)
        return -1;
    size_t bad;
    if (escape_decode(text, room, &bytes, &bad) != 0) {
        config_fault(c, node, "unknown escape \"%.*s\" (one of: \\r, \\n, \\t, \\0, \\\\, \\xHH)",
                     SLICE_FMT(slice_of(text.at + bad, text.len - bad < 4 ? text.len - bad : 4)));
        return -1;
    }
    memcpy(field, &bytes, sizeof bytes);
    return 0;
}

static const struct config_node *key_or(const struct config_node *node, const char *key)
{
    const struct config_node *value = node && node->kind == NODE_MAP ? config_get(node, key) : NULL;
    return value ? value : node;
}

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
            config_fault_key(c, key_or(node, keys[i]), "not together with `%s`", first);
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
        check_address(c, key_or(node, "address"), s->address, true);
    if (s->address.len && node && node->kind == NODE_MAP && config_get(node, "refresh"))
        config_fault_key(c, config_get(node, "refresh"), "only with `dns`, `srv` or `file`");
    if (s->dns.len)
        check_address(c, key_or(node, "dns"), s->dns, false);
    if (s->srv.len)
        check_srv(c, key_or(node, "srv"), s->srv);
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

/* What goes into the request must not end its line (RFC 9110 §5.5). */
static bool is_one_line(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.at[i] < 0x20 || s.at[i] == 0x7f)
            return false;
    return true;
}

static bool is_field_name(struct slice s)
{
    static const char marks[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < s.len; i++) {
        char ch = ascii_lower(s.at[i]);
        if (!((ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9') || (ch && strchr(marks, ch))))
            return false;
    }
    return s.len != 0;
}

static void refuse_key(struct config *c, const struct config_node *node, const char *key, const char *type)
{
    const struct config_node *given = node && node->kind == NODE_MAP ? config_get(node, key) : NULL;
    if (given && given->kind != NODE_NULL)
        config_fault_key(c, given, "only with type: %s", type);
}

static void check_check(struct config *c, const struct config_node *node, void *object)
{
    static const char *const http_keys[] = {"path", "expect"};
    static const char *const tcp_keys[] = {"send", "receive"};
    struct check_settings *k = object;
    for (size_t i = 0; k->type != CHECK_HTTP && i < COUNT_OF(http_keys); i++)
        refuse_key(c, node, http_keys[i], "http");
    for (size_t i = 0; k->type != CHECK_TCP && k->type != CHECK_UDP && i < COUNT_OF(tcp_keys); i++)
        refuse_key(c, node, tcp_keys[i], "tcp or udp");
    if (k->type == CHECK_UDP && k->send.len == 0)
        config_fault(c, node,
                     "a udp check needs \"send\": nothing is known of a server that was sent nothing");
    if (k->type != CHECK_HTTP && k->type != CHECK_GRPC)
        refuse_key(c, node, "headers", "http");
    if (k->type != CHECK_GRPC)
        refuse_key(c, node, "service", "grpc");
    if (k->service.len > CHECK_GRPC_SERVICE_MAX)
        config_fault(c, key_or(node, "service"), "is longer than %u bytes", CHECK_GRPC_SERVICE_MAX);
    if (k->path.len == 0 || k->path.at[0] != '/' || !is_one_line(k->path) ||
        slice_find(k->path, ' ') < k->path.len)
        config_fault(c, key_or(node, "path"), "expected a path that begins with \"/\" and has no spaces");
    for (size_t i = 0; i < k->headers.count; i++) {
        const struct option_pair *p = &k->headers.at[i];
        if (!is_field_name(p->name) || !is_one_line(p->value))
            config_fault(c, p->node, "is no header that can be sent");
    }
    if (k->expect.count == 0) {
        k->expect.at = arena_alloc(&c->arena, sizeof *k->expect.at);
        if (k->expect.at)
            k->expect = (struct status_ranges){k->expect.at, 1};
        if (k->expect.at)
            k->expect.at[0] = (struct status_range){200, 399};
    }
}

static int by_address(const void *a, const void *b)
{
    const struct server_settings *x = *(const struct server_settings *const *)a;
    const struct server_settings *y = *(const struct server_settings *const *)b;
    size_t len = x->address.len < y->address.len ? x->address.len : y->address.len;
    int order = len ? memcmp(x->address.at, y->address.at, len) : 0;
    if (order == 0 && x->address.len != y->address.len)
        order = x->address.len < y->address.len ? -1 : 1;
    return order ? order : (x < y ? -1 : 1);
}

/* The address is the server's name, in the API too: it must be the only one. */
static void check_upstream(struct config *c, const struct config_node *node, void *object)
{
    static const char *const hash_keys[] = {"hash_key", "hash_balance"};
    struct upstream_settings *u = object;
    struct server_settings *servers = u->servers.at;
    size_t count = u->servers.count;
    bool by_key = u->balance == BALANCE_RING_HASH || u->balance == BALANCE_MAGLEV;
    for (size_t i = 0; !by_key && node && i < COUNT_OF(hash_keys); i++) {
        const struct config_node *given = config_get(node, hash_keys[i]);
        if (given && given->kind != NODE_NULL)
            config_fault_key(c, given, "only with balance: ring_hash or maglev");
    }
    if (u->hash_balance > 0 && u->hash_balance < 1)
        config_fault(c, key_or(node, "hash_balance"), "expected at least 100%%, or 0%% for no bound");
    if (count < 2)
        return;
    const struct server_settings **sorted = malloc(count * sizeof *sorted);
    if (!sorted)
        return;
    for (size_t i = 0; i < count; i++)
        sorted[i] = &servers[i];
    qsort(sorted, count, sizeof *sorted, by_address);
    for (size_t i = 1; i < count; i++)
        if (sorted[i]->address.len && slice_equal(sorted[i]->address, sorted[i - 1]->address))
            config_fault(c, key_or(sorted[i]->node, "address"),
                         "%.*s is listed already; a greater share is `weight`",
                         SLICE_FMT(sorted[i]->address));
    free(sorted);
}
