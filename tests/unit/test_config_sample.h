/* A small proxy's options: every type of option once or more, shared by tests/unit/test_config_option.c and
 * tests/fuzz/fuzz_config.c. */
#pragma once

#include "config/option.h"

struct sample_limits {
    const struct config_node *node;
    uint64_t connections;
    bool connections_given;
    uint64_t body_size;
    msec_t idle_ms;
};

static const struct option sample_limits_options[] = {
    OPTION_AT(struct sample_limits, connections, "connections", OPTION_COUNT, .fallback = "65536", .min = 1,
              .max = 1e6, .set_offset = offsetof(struct sample_limits, connections_given),
              .help = "Clients at once."),
    OPTION_AT(struct sample_limits, body_size, "body_size", OPTION_SIZE, .fallback = "1MiB",
              .max = 1073741824, .help = "0 = no limit."),
    OPTION_AT(struct sample_limits, idle_ms, "idle", OPTION_DURATION, .fallback = "10m", .min = 100,
              .max = 86400000, .help = "Without a byte."),
};

static const struct option_table sample_limits_table = {
    .name = "limits",
    .help = "What a client may ask for.",
    .options = sample_limits_options,
    .count = COUNT_OF(sample_limits_options),
    .size = sizeof(struct sample_limits),
    .has_node = true,
    .node_offset = offsetof(struct sample_limits, node),
};

struct sample_cache {
    double share;
    struct option_texts statuses;
};

static const struct option sample_cache_options[] = {
    OPTION_AT(struct sample_cache, share, "share", OPTION_NUMBER, .fallback = "20%", .max = 1,
              .flags = OPTION_FLAG_PERCENT, .help = "Of all | some."),
    OPTION_AT(struct sample_cache, statuses, "statuses", OPTION_TEXTS, .fallback = "[200, 301]",
              .flags = OPTION_FLAG_NONEMPTY),
};

static const struct option_table sample_cache_table = {
    .name = "cache of a route",
    .options = sample_cache_options,
    .count = COUNT_OF(sample_cache_options),
    .size = sizeof(struct sample_cache),
};

struct sample_server {
    const struct config_node *node;
    struct slice address;
    uint64_t weight;
    bool backup;
};

static const struct option sample_server_options[] = {
    OPTION_AT(struct sample_server, address, "address", OPTION_TEXT,
              .flags = OPTION_FLAG_REQUIRED | OPTION_FLAG_NONEMPTY),
    OPTION_AT(struct sample_server, weight, "weight", OPTION_COUNT, .fallback = "1", .max = 256),
    OPTION_AT(struct sample_server, backup, "backup", OPTION_BOOL, .fallback = "false"),
    {.name = "zone", .type = OPTION_PLANNED, .help = "Where it stands."},
};

static inline void sample_server_check(struct config *c, const struct config_node *node, void *object)
{
    const struct sample_server *server = object;
    if (server->backup && server->weight > 1)
        config_fault(c, node, "a backup has no weight");
}

static const struct option_table sample_server_table = {
    .name = "server",
    .options = sample_server_options,
    .count = COUNT_OF(sample_server_options),
    .size = sizeof(struct sample_server),
    .has_node = true,
    .node_offset = offsetof(struct sample_server, node),
    .shorthand = "address",
    .check = sample_server_check,
};

struct sample_upstream {
    struct slice name;
    struct option_list servers;
    const struct sample_cache *health_check;
};

static const struct option sample_upstream_options[] = {
    OPTION_AT(struct sample_upstream, servers, "servers", OPTION_LIST, .table = &sample_server_table,
              .flags = OPTION_FLAG_REQUIRED | OPTION_FLAG_NONEMPTY),
    OPTION_AT(struct sample_upstream, health_check, "health_check", OPTION_BLOCK_IF,
              .table = &sample_cache_table),
};

static const struct option_table sample_upstream_table = {
    .name = "upstream",
    .options = sample_upstream_options,
    .count = COUNT_OF(sample_upstream_options),
    .size = sizeof(struct sample_upstream),
    .has_name = true,
    .name_offset = offsetof(struct sample_upstream, name),
};

static const char *const sample_protocols[] = {"http", "tcp", "udp", NULL};
static const char *const sample_versions[] = {"1.2", "1.3", NULL};

struct sample_listener {
    struct slice name;
    struct option_texts bind;
    int protocol;
    int version;
    struct sample_limits limits;
    const struct config_node *timeouts;
};

static const struct option sample_listener_options[] = {
    OPTION_AT(struct sample_listener, bind, "bind", OPTION_TEXTS,
              .flags = OPTION_FLAG_REQUIRED | OPTION_FLAG_NONEMPTY),
    OPTION_AT(struct sample_listener, protocol, "protocol", OPTION_ENUM, .fallback = "http",
              .choices = sample_protocols),
    OPTION_AT(struct sample_listener, version, "min_version", OPTION_ENUM, .fallback = "1.2",
              .choices = sample_versions),
    OPTION_AT(struct sample_listener, limits, "limits", OPTION_BLOCK, .table = &sample_limits_table),
    OPTION_AT(struct sample_listener, timeouts, "timeouts", OPTION_NODE, .schema = "{\"type\": \"object\"}"),
};

static const struct option_table sample_listener_table = {
    .name = "listener",
    .options = sample_listener_options,
    .count = COUNT_OF(sample_listener_options),
    .size = sizeof(struct sample_listener),
    .has_name = true,
    .name_offset = offsetof(struct sample_listener, name),
};

struct sample_route {
    struct slice upstream;
    struct option_pairs headers;
    const struct sample_cache *cache;
};

static const struct option sample_route_options[] = {
    OPTION_AT(struct sample_route, upstream, "upstream", OPTION_TEXT, .help = "Where requests go."),
    OPTION_AT(struct sample_route, headers, "headers", OPTION_PAIRS),
    OPTION_AT(struct sample_route, cache, "cache", OPTION_BLOCK_IF, .table = &sample_cache_table,
              .flags = OPTION_FLAG_TRUE),
};

static const struct option_table sample_route_table = {
    .name = "route",
    .options = sample_route_options,
    .count = COUNT_OF(sample_route_options),
    .size = sizeof(struct sample_route),
};

struct sample {
    uint64_t workers;
    struct sample_limits limits;
    struct option_list listeners, upstreams, routes;
    struct slice user;
};

static inline int sample_workers(struct config *c, const struct config_node *node, void *field)
{
    if (node->kind == NODE_SCALAR && slice_equal(node->text, S("auto")))
        return 0;
    return option_count(c, node, 1, 64, field);
}

static const struct option sample_options[] = {
    OPTION_AT(struct sample, workers, "workers", OPTION_CUSTOM, .parse = sample_workers, .fallback = "auto",
              .schema = "{\"anyOf\": [{\"const\": \"auto\"}, {\"type\": \"integer\"}]}",
              .shape = "`auto` or a number"),
    OPTION_AT(struct sample, limits, "limits", OPTION_BLOCK, .table = &sample_limits_table),
    OPTION_AT(struct sample, listeners, "listeners", OPTION_MAP, .table = &sample_listener_table),
    OPTION_AT(struct sample, upstreams, "upstreams", OPTION_MAP, .table = &sample_upstream_table),
    OPTION_AT(struct sample, routes, "routes", OPTION_LIST, .table = &sample_route_table),
    OPTION_AT(struct sample, user, "user", OPTION_TEXT, .fallback = "nobody"),
    {.name = "tests", .type = OPTION_PLANNED},
};

static const struct option_table sample_table = {
    .name = "weir.yaml",
    .help = "The whole file.",
    .options = sample_options,
    .count = COUNT_OF(sample_options),
    .size = sizeof(struct sample),
};
