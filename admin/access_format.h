/* How a line of the access log looks. Pure functions from what is known of a finished exchange to text;
 * nothing is allocated. What a peer chose is escaped so that it can forge neither a line nor a field. */
#pragma once

#include "core/base.h"
#include "proxy/http/template.h"
#include "proxy/http/timings.h"

/* One finished exchange. Empty slices and negative numbers: not known. */
struct access_entry {
    int64_t wall_us; /* since the epoch; of its end */
    struct slice client, method, host, target, protocol, listener, route, upstream, server, request_id,
        referer, user_agent, tls_version, reason, grpc_status, cache, trace_id;
    const char *termination; /* termination.h */
    const char *end;         /* "complete", "client gone", … */
    unsigned status;
    unsigned attempts;
    uint64_t bytes_in, bytes_out; /* of bodies */
    usec_t duration_us;
    int64_t upstream_us;
    struct timings timings;
};

/* Room for text. What does not fit sets `overflow`, and nothing more is written. */
struct access_text {
    char *at, *end;
    size_t value_max; /* of a value that a peer chose, bytes are taken; the rest is cut */
    bool overflow;
};

/* One line each, with its LF. */
void access_format_json(struct access_text *t, const struct access_entry *e);
/* As Apache's and nginx's "combined"; bytes that are no plain text, quotes and backslashes are written \xHH,
 * in capitals as nginx does. The time is UTC. */
void access_format_combined(struct access_text *t, const struct access_entry *e);
/* The template's own text as it is, values escaped as in combined. */
void access_format_template(struct access_text *t, const struct template *template, template_lookup *lookup,
                            void *context);
