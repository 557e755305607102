/* A request's place in a trace: which one it belongs to, what servers are told of it, and the spans that are
 * made of it at its end. Nothing of this is there while the configuration has no `tracing`: then traceparent
 * and tracestate go through as any other field, and it costs one look at the snapshot.
 *
 * The request's span (SERVER) is the parent of one for each attempt on a server (CLIENT), whose id that
 * server gets as its parent. A request that the cache makes (a fetch) has no span of its own: its attempts
 * are told as those of the request that led to it, at the fetch's end, which may be after that request's.
 *
 * Whether a trace is sampled is decided when it is first asked for, with the route known; what failed may be
 * told in spite of it (tracing.errors), when the end is known. */
#pragma once

#include "proxy/http/exchange.h"
#include "proxy/http/trace_context.h"
#include "proxy/http/trace_ring.h"
#include "proxy/http/trace_settings.h"

/* In the exchange's arena. */
struct trace {
    uint64_t high, low; /* its id */
    uint64_t span;      /* of the request */
    uint64_t remote;    /* the parent that came; 0 = the trace begins here */
    uint64_t seed;      /* of the attempts' ids */
    struct slice state; /* tracestate; empty = none */
    char *told;         /* traceparent as servers get it: TRACE_PARENT_TEXT bytes; NULL = not made yet */
    bool has_come;      /* one of both fields, whatever it says */
    bool is_random;     /* as the parent says */
    bool parent_sampled;
    bool decided, sampled;
    bool refused; /* a parent says that nothing is to be told */
};

/* NULL when there is no tracing (for this route), or no memory. */
struct trace *trace_of(struct exchange *x);

/* Puts traceparent and tracestate in, in place of those that came. 0, or -1 when out of memory. */
int trace_fields(struct exchange *x, struct fields *out);

/* The request is about to be sent in that attempt: its span is the parent from now on. */
void trace_attempt(struct exchange *x, const struct attempt *a);

/* `fetch` is a request of the cache's own, on behalf of `client`. */
void trace_lead(struct exchange *fetch, struct exchange *client);

/* Makes the spans. The exchange has ended, and still holds its servers. */
void trace_end(struct exchange *x);

/* As digits, in the arena; empty where there is none. The id of the trace that a request brings is known
 * without tracing, too. */
struct slice trace_id_text(struct exchange *x);
struct slice trace_span_text(struct exchange *x);
