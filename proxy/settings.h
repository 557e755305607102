/* The configuration file as a whole: the table of its top level and of a listener. What belongs to a module -
 * a route, an upstream, TLS - is stated by that module's own table; here they come together.
 *
 * Inheritance (global, listener, `defaults`, route) is done on the tree, before tables are applied: maps
 * merge by key, anything else replaces, null takes away. */
#pragma once

#include "balancer/settings.h"
#include "cache/settings.h"
#include "config/option.h"
#include "core/address.h"
#include "core/log.h"
#include "proxy/http/route.h"
#include "proxy/http/trace_settings.h"
#include "tls/settings.h"

struct limits {
    uint64_t connections;        /* open client connections of a listener */
    uint64_t connections_per_ip; /* 0 = no limit */
    uint64_t request_line;       /* bytes */
    uint64_t header_size;        /* bytes */
    uint64_t header_count;
    uint64_t body_size; /* bytes; 0 = no limit */
};

/* All in ms. */
struct timeouts {
    msec_t connect, tls /* 0 = as connect */, header, body, response, keepalive, upstream_keepalive, idle,
        drain;
};

/* For a TLS handshake with a server. */
static inline msec_t timeouts_tls(const struct timeouts *t)
{
    return t->tls ? t->tls : t->connect;
}

struct access_settings {
    struct slice format; /* json, combined, or a template */
    struct slice output; /* stdout, stderr, syslog or a path */
    double sample;       /* 0..1 */
    const struct config_node *node;
};

struct log_settings {
    int level;                      /* enum log_level */
    int format;                     /* enum log_format */
    struct access_settings *access; /* NULL = off */
};

struct admin_settings {
    struct option_texts bind;
    struct slice token;  /* empty = none asked for */
    struct slice socket; /* path; empty = none */
    const struct config_node *node;
};

/* Folders that a later configuration may name too. */
struct sandbox_settings {
    struct option_texts read;
    struct option_texts write; /* and make sockets in */
};

enum listener_protocol { LISTENER_HTTP, LISTENER_TCP, LISTENER_UDP };

struct listener_settings {
    struct slice name;
    const struct config_node *node;
    struct option_texts bind;
    int protocol; /* enum listener_protocol */
    bool http2;
    bool proxy_protocol; /* a header is required */
    struct option_texts trusted_proxies;
    struct tls_server_settings *tls; /* NULL = plain */
    struct slice upstream;           /* tcp, udp */
    struct option_pairs sni;         /* tcp: name -> upstream; empty = none */
    struct option_pairs passthrough; /* likewise, where TLS ends here for the rest */
    const struct config_node *upstream_node;
    struct limits limits;
    struct timeouts timeouts;
    struct log_settings log; /* access alone */
};

struct settings {
    uint64_t workers; /* 0 = auto */
    struct log_settings log;
    struct admin_settings *admin; /* never NULL after settings_load; bind may be empty */
    struct limits limits;
    struct timeouts timeouts;
    struct option_list listeners; /* of struct listener_settings */
    const struct config_node *defaults;
    const struct config_node *route_nodes;
    struct option_list routes;    /* of struct route_settings, defaults merged in */
    struct option_list upstreams; /* of struct upstream_settings */
    struct cache_settings cache;
    const struct config_node *tests;
    struct tracing_settings *tracing; /* NULL = none */
    struct slice user;
    struct sandbox_settings *sandbox; /* NULL = none */
};

extern const struct option_table settings_table;

/* Inherits and applies the tables to a loaded tree. 0, or -1 with the faults in c. */
int settings_load(struct config *c, struct settings *out);
