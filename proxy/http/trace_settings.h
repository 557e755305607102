/* `tracing:` of the file, and what a route may say otherwise. Values only. */
#pragma once

#include "config/option.h"

struct tls_client_settings;

struct tracing_settings {
    const struct config_node *node;
    struct slice endpoint;           /* a URL, as written; see tracing_endpoint_read */
    struct tls_client_settings *tls; /* of an https endpoint; NULL = verified as usual */
    struct option_pairs headers;     /* of what is sent to the collector; may be secret */
    struct slice service;            /* service.name */
    struct option_pairs attributes;  /* of the resource */
    double sample;                   /* 0..1, of the traces that begin here */
    bool parent;                     /* a parent's sampled flag decides, where there is one */
    bool errors;                     /* what failed is told whatever the sample; but not against a parent */
    bool query;                      /* url.query is told */
    uint64_t queue;                  /* spans that wait, for each worker */
    uint64_t batch;                  /* spans at most in a message to the collector */
    msec_t interval;                 /* a span waits at most so long for others to go with */
    msec_t timeout;                  /* of a message */
};

/* What a route says. */
struct route_tracing_settings {
    double sample;
    bool has_sample; /* else the global one counts */
};

extern const struct option_table tracing_table;
extern const struct option_table route_tracing_table;

struct tracing_endpoint {
    bool is_tls;
    struct slice authority; /* host and port as written */
    struct slice host;      /* without brackets */
    uint16_t port;          /* the scheme's default where none is written */
    struct slice path;      /* with the query */
};

/* http://HOST[:PORT][/PATH]; without a path it is /v1/traces. 0, or -1 with *why. */
int tracing_endpoint_read(struct slice url, struct tracing_endpoint *out, const char **why);
