/* Spans as OpenTelemetry's protocol has them in JSON (OTLP 1.x, opentelemetry-proto's JSON mapping: ids in
 * hexadecimal digits, 64-bit numbers as strings), with the attributes of its semantic conventions for HTTP.
 * Pure functions from records to text. */
#pragma once

#include "proxy/http/trace_ring.h"
#include "proxy/http/trace_settings.h"

/* Grows; what does not fit in memory sets `failed`, and nothing more is written. */
struct otlp_text {
    char *at; /* from malloc; the owner frees */
    size_t len, size;
    bool failed;
};

/* The resource that all spans are of, as an object; malloc'ed, NUL-terminated. NULL when out of memory. */
char *otlp_resource(const struct tracing_settings *s);

/* A message: begun, a span at a time, ended. What was there is overwritten. */
void otlp_begin(struct otlp_text *t, const char *resource);
void otlp_put_span(struct otlp_text *t, const struct span *s);
void otlp_finish(struct otlp_text *t);
