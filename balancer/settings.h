/* What the file says of an upstream: the option tables of an `upstreams:` entry and the structs that they
 * fill. Everything lives in the config's arena. */
#pragma once

#include "config/option.h"

struct breaker_settings;
struct hedge_settings;
struct outlier_settings;
struct queue_settings;
struct tls_client_settings;

enum balance {
    BALANCE_ROUND_ROBIN,
    BALANCE_LEAST_CONNECTIONS,
    BALANCE_RANDOM_TWO,
    BALANCE_EWMA,
    BALANCE_RING_HASH,
    BALANCE_MAGLEV,
    BALANCE_SOURCE_HASH,
};

enum upstream_protocol { UPSTREAM_HTTP1, UPSTREAM_HTTP2, UPSTREAM_AUTO };

/* The numbers are the protocol's versions. */
enum upstream_proxy_protocol { PROXY_NONE, PROXY_V1, PROXY_V2 };

enum on_down { ON_DOWN_KEEP, ON_DOWN_CLOSE };

enum check_type { CHECK_HTTP, CHECK_TCP, CHECK_TLS, CHECK_GRPC, CHECK_UDP };

struct server_settings {
    const struct config_node *node;
    struct slice
        address;       /* as in the file: host:port, name:port, unix:/path; empty where one of these is not */
    struct slice dns;  /* name:port, each of whose addresses is a server */
    struct slice srv;  /* name of SRV records, each target of which is a server */
    struct slice file; /* with a list of servers */
    msec_t refresh;    /* of these three: the longest time between two looks */
    uint64_t weight;   /* 0 = gets nothing new */
    bool backup;
    uint64_t max_connections; /* 0 = no limit */
    struct slice zone;        /* empty = none */
};

struct keepalive_settings {
    uint64_t idle;     /* idle connections kept a worker and server; 0 = none */
    uint64_t requests; /* requests a connection; 0 = no limit */
};

struct status_range {
    uint16_t from, to; /* both are in it */
};

struct status_ranges {
    struct status_range *at;
    size_t count;
};

struct check_settings {
    int type; /* enum check_type */
    struct slice path;
    msec_t interval, timeout;
    uint64_t rise, fall;
    struct status_ranges expect;
    struct option_pairs headers;
    struct slice send, receive; /* escapes decoded; may hold any byte */
    struct slice service;       /* for grpc; empty = the server as a whole */
};

struct upstream_settings {
    const struct config_node *node;
    struct slice name;          /* the key, when read through a MAP of upstream_table */
    int balance;                /* enum balance */
    int protocol;               /* enum upstream_protocol */
    int proxy_protocol;         /* enum upstream_proxy_protocol: the header sent first */
    int on_down;                /* enum on_down: streams of a server that went down */
    struct option_list servers; /* of struct server_settings; at least one */
    struct keepalive_settings keepalive;
    struct check_settings *health_check; /* NULL = none */
    struct hedge_settings *hedge;        /* NULL = none */
    struct breaker_settings *breaker;    /* NULL = none */
    struct outlier_settings *outlier;    /* NULL = none; outlier.h */
    struct queue_settings *queue;        /* NULL = none; queue.h */
    msec_t slow_start;                   /* 0 = none */
    double panic_threshold;              /* a share; 0 = never */
    struct tls_client_settings *tls;     /* NULL = plain */
    struct slice prefer_zone;            /* empty = none */
    struct slice hash_key;               /* as written; proxy/http/affinity.h reads it */
    double hash_balance;                 /* 1.25: a server has no more than that of its share; 0 = no bound */
    struct sticky_settings *sticky;      /* NULL = none; sticky.h */
};

extern const struct option_table upstream_table;
extern const struct option_table server_table;

/* A list of servers in a file of its own: addresses alone. */
struct server_file_settings {
    struct option_list servers; /* of struct server_settings */
};
extern const struct option_table server_file_table;

/* An entry of a list in a file of its own, where `entry` says what holds for all that do not say otherwise.
 */
struct server_settings server_settings_inherit(const struct server_settings *s,
                                               const struct server_settings *entry);

/* Whether an HTTP status is in one of the ranges. */
bool status_ranges_contain(const struct status_ranges *r, unsigned status);
