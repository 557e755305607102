#include "proxy/http/trace_settings.h"

#include "proxy/http/message.h"
#include "tls/client.h"

static void check(struct config *c, const struct config_node *node, void *object);

static const struct option tracing_options[] = {
    OPTION_AT(struct tracing_settings, endpoint, "endpoint", OPTION_TEXT,
              .fallback = "http://127.0.0.1:4318/v1/traces",
              .flags = OPTION_FLAG_NONEMPTY | OPTION_FLAG_MAYBE_SECRET,
              .help = "Where spans go: the URL, http or https, of a collector that takes OTLP/HTTP JSON. "
                      "Without a path it is /v1/traces."),
    OPTION_AT(struct tracing_settings, tls, "tls", OPTION_BLOCK_IF, .table = &tls_client_table,
              .flags = OPTION_FLAG_TRUE,
              .help = "How an https collector is verified, and a certificate for it."),
    OPTION_AT(struct tracing_settings, headers, "headers", OPTION_PAIRS, .flags = OPTION_FLAG_SECRET,
              .shape = "{name: value}",
              .help = "Header fields of what is sent to the collector, as for its authentication. `${NAME}` "
                      "keeps secrets out of the file."),
    OPTION_AT(struct tracing_settings, service, "service", OPTION_TEXT, .fallback = "weir",
              .flags = OPTION_FLAG_NONEMPTY, .help = "service.name of all spans."),
    OPTION_AT(struct tracing_settings, attributes, "attributes", OPTION_PAIRS, .shape = "{name: value}",
              .help = "More attributes of the resource, as `deployment.environment.name: staging`."),
    OPTION_AT(struct tracing_settings, sample, "sample", OPTION_NUMBER, .fallback = "1%",
              .flags = OPTION_FLAG_PERCENT, .max = 1,
              .help = "The share of traces that is told, of those that begin here; by the trace's id."),
    OPTION_AT(struct tracing_settings, parent, "parent", OPTION_BOOL, .fallback = "true",
              .help = "Where a request brings a traceparent, its sampled flag decides instead of `sample`. "
                      "false: where strangers send it; the trace goes on, `sample` decides."),
    OPTION_AT(struct tracing_settings, errors, "errors", OPTION_BOOL, .fallback = "true",
              .help = "Requests that failed (5xx, or no whole answer) are told even when they are not "
                      "sampled; but never against a parent that says no."),
    OPTION_AT(struct tracing_settings, query, "query", OPTION_BOOL, .fallback = "false",
              .help = "Spans have url.query. Queries may hold secrets."),
    OPTION_AT(struct tracing_settings, queue, "queue", OPTION_COUNT, .fallback = "4096", .min = 64,
              .max = 65536,
              .help = "Spans of each worker that wait for the collector, at about 750 bytes each; what would "
                      "be more is dropped and counted."),
    OPTION_AT(struct tracing_settings, batch, "batch", OPTION_COUNT, .fallback = "512", .min = 1, .max = 8192,
              .help = "Spans at most in a message to the collector."),
    OPTION_AT(struct tracing_settings, interval, "interval", OPTION_DURATION, .fallback = "1s", .min = 100,
              .max = 60000, .help = "How long a span waits for others to go with."),
    OPTION_AT(struct tracing_settings, timeout, "timeout", OPTION_DURATION, .fallback = "10s", .min = 100,
              .max = 60000, .help = "Of a message to the collector, with its answer."),
};

const struct option_table tracing_table = {
    .name = "tracing",
    .help = "Spans of requests and of attempts on servers, by OpenTelemetry's protocol; and W3C Trace "
            "Context towards the servers. `true` is a collector on this machine.",
    .options = tracing_options,
    .count = COUNT_OF(tracing_options),
    .size = sizeof(struct tracing_settings),
    .has_node = true,
    .node_offset = offsetof(struct tracing_settings, node),
    .check = check,
};

static const struct option route_tracing_options[] = {
    OPTION_AT(struct route_tracing_settings, sample, "sample", OPTION_NUMBER, .flags = OPTION_FLAG_PERCENT,
              .max = 1, .set_offset = offsetof(struct route_tracing_settings, has_sample),
              .help = "The share of traces that is told, of those that begin here. Absent: the global one."),
};

const struct option_table route_tracing_table = {
    .name = "tracing of a route",
    .help = "What differs from the global `tracing`.",
    .options = route_tracing_options,
    .count = COUNT_OF(route_tracing_options),
    .size = sizeof(struct route_tracing_settings),
};

/* The endpoint. */

/* "host", "host:port", "[address]:port". */
static int read_authority(struct tracing_endpoint *e, const char **why)
{
    struct slice rest = e->authority;
    bool bracketed = rest.len && rest.at[0] == '[';
    size_t end = bracketed ? slice_find(rest, ']') : slice_find(rest, ':');
    if (bracketed && end == rest.len) {
        *why = "\"[\" without \"]\"";
        return -1;
    }
    e->host = bracketed ? slice_of(rest.at + 1, end - 1) : slice_of(rest.at, end);
    rest = slice_skip(rest, end + bracketed);
    uint64_t port = e->is_tls ? 443 : 80;
    if (rest.len && (rest.at[0] != ':' || slice_to_u64(slice_skip(rest, 1), &port) != 0 || port == 0 ||
                     port > UINT16_MAX)) {
        *why = "expected a port from 1 to 65535 behind the host";
        return -1;
    }
    e->port = (uint16_t)port;
    if (e->host.len == 0)
        *why = "there is no host";
    return e->host.len ? 0 : -1;
}

int tracing_endpoint_read(struct slice url, struct tracing_endpoint *out, const char **why)
{
    struct tracing_endpoint e = {.is_tls = slice_begins(url, S("https://"))};
    if (!e.is_tls && !slice_begins(url, S("http://"))) {
        *why = "expected a URL like http://127.0.0.1:4318/v1/traces";
        return -1;
    }
    struct slice rest = slice_skip(url, e.is_tls ? 8 : 7);
    size_t slash = slice_find(rest, '/');
    e.authority = slice_of(rest.at, slash);
    e.path = slice_skip(rest, slash);
    if (e.path.len <= 1)
        e.path = S("/v1/traces");
    for (size_t i = 0; i < rest.len; i++)
        if (rest.at[i] <= ' ' || rest.at[i] >= 0x7f || rest.at[i] == '#') {
            *why = "there is a character in it that no URL has, or a fragment";
            return -1;
        }
    if (slice_find(e.authority, '@') < e.authority.len || slice_find(e.authority, '?') < e.authority.len) {
        *why = "expected a host and a port before the path; what authenticates goes into headers";
        return -1;
    }
    if (read_authority(&e, why) != 0)
        return -1;
    *out = e;
    return 0;
}

static void check_headers(struct config *c, const struct option_pairs *headers)
{
    static const struct slice own[] = {SLICE("host"), SLICE("content-length"), SLICE("content-type"),
                                       SLICE("transfer-encoding"), SLICE("connection")};
    for (size_t i = 0; i < headers->count; i++) {
        const struct option_pair *h = &headers->at[i];
        if (!is_token(h->name))
            config_fault(c, h->node, "%s is no name of a header field", config_quote(c, h->name));
        if (!is_field_value(h->value))
            config_fault(c, h->node, "the value has a character that no header field has");
        for (size_t k = 0; k < COUNT_OF(own); k++)
            if (slice_equal_nocase(h->name, own[k]))
                config_fault(c, h->node, "%s is weir's to say", config_quote(c, h->name));
    }
}

static void check(struct config *c, const struct config_node *node, void *object)
{
    const struct tracing_settings *s = object;
    const struct config_node *at = config_get(node, "endpoint");
    struct tracing_endpoint e;
    const char *why;
    check_headers(c, &s->headers);
    if (s->endpoint.len && tracing_endpoint_read(s->endpoint, &e, &why) != 0) {
        config_fault(c, at ? at : node, "%s: %s", config_quote(c, s->endpoint), why);
        return;
    }
    if (s->tls && s->endpoint.len && !e.is_tls)
        config_fault(c, at ? at : node, "\"tls\" needs an https endpoint");
    /* What its files have of faults is told here, by `weir check` too. */
    else if (s->tls)
        tls_client_free(tls_client_create(c, s->tls->node, s->tls, 1));
}
