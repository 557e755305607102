#include "balancer/settings.h"

#include <stdlib.h>

#include "balancer/breaker.h"
#include "balancer/hedge.h"
#include "balancer/outlier.h"
#include "balancer/queue.h"
#include "balancer/settings_internal.h"
#include "balancer/sticky.h"
#include "tls/settings.h"

static void check_upstream(struct config *c, const struct config_node *node, void *object);

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
    OPTION_AT(struct upstream_settings, health_check, "health_check", OPTION_BLOCK_IF,
              .table = &health_check_table, .flags = OPTION_FLAG_TRUE,
              .help = "Absent: servers count as up."),
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
        config_fault(c, settings_key_or(node, "hash_balance"),
                     "expected at least 100%%, or 0%% for no bound");
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
            config_fault(c, settings_key_or(sorted[i]->node, "address"),
                         "%.*s is listed already; a greater share is `weight`",
                         SLICE_FMT(sorted[i]->address));
    free(sorted);
}
