#include "admin/otlp_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/log.h"
#include "proxy/http/trace_context.h"

/* An attribute's name and what stands around it; a byte of text is six at most. */
#define ROOM_FOR(text_len) ((text_len)*6 + 256)

/* Text. */

static bool has_room(struct otlp_text *t, size_t more)
{
    if (t->failed || t->size - t->len >= more)
        return !t->failed;
    size_t size = t->size ? t->size * 2 : 16384;
    while (size - t->len < more)
        size *= 2;
    char *at = realloc(t->at, size);
    if (!at) {
        t->failed = true;
        return false;
    }
    t->at = at;
    t->size = size;
    return true;
}

static void put(struct otlp_text *t, struct slice s)
{
    if (s.len == 0 || !has_room(t, s.len))
        return;
    memcpy(t->at + t->len, s.at, s.len);
    t->len += s.len;
}

/* Nothing in it has to be written in another way. */
static bool is_plain(struct slice s)
{
    bool plain = true;
    for (size_t i = 0; i < s.len; i++)
        plain &= s.at[i] >= ' ' && s.at[i] < 0x7f && s.at[i] != '"' && s.at[i] != '\\';
    return plain;
}

static void put_text(struct otlp_text *t, struct slice s)
{
    if (LIKELY(is_plain(s)))
        put(t, s);
    else if (has_room(t, ROOM_FOR(s.len)))
        t->len += json_escape(s, t->at + t->len, t->size - t->len);
}

static void put_number(struct otlp_text *t, uint64_t n)
{
    char digits[20];
    size_t at = sizeof digits;
    do
        digits[--at] = (char)('0' + n % 10);
    while (n /= 10);
    put(t, slice_of(digits + at, sizeof digits - at));
}

static void put_hex(struct otlp_text *t, uint64_t n)
{
    char digits[16];
    trace_hex(n, digits);
    put(t, slice_of(digits, sizeof digits));
}

static void put_nanoseconds(struct otlp_text *t, int64_t us)
{
    put(t, S("\""));
    put_number(t, (uint64_t)us);
    put(t, S("000\""));
}

/* Behind another element of a list or an object. */
static void comma(struct otlp_text *t)
{
    if (!t->failed && t->len && t->at[t->len - 1] != '[' && t->at[t->len - 1] != '{')
        put(t, S(","));
}

/* Attributes. */

/* `name` is plain. */
static void key(struct otlp_text *t, struct slice name, struct slice type)
{
    comma(t);
    put(t, S("{\"key\":\""));
    put(t, name);
    put(t, S("\",\"value\":{\""));
    put(t, type);
    put(t, S("\":"));
}

/* One that is not known is left out. */
static void text(struct otlp_text *t, struct slice name, struct slice value)
{
    if (value.len == 0)
        return;
    key(t, name, S("stringValue"));
    put(t, S("\""));
    put_text(t, value);
    put(t, S("\"}}"));
}

static void number(struct otlp_text *t, struct slice name, uint64_t value)
{
    key(t, name, S("intValue"));
    put(t, S("\""));
    put_number(t, value);
    put(t, S("\"}}"));
}

static void truth(struct otlp_text *t, struct slice name, bool value)
{
    key(t, name, S("boolValue"));
    put(t, value ? S("true}}") : S("false}}"));
}

/* Of the configuration. */
static void given(struct otlp_text *t, const struct option_pair *p)
{
    comma(t);
    put(t, S("{\"key\":\""));
    put_text(t, p->name);
    put(t, S("\",\"value\":{\"stringValue\":\""));
    put_text(t, p->value);
    put(t, S("\"}}"));
}

static bool is_given(const struct tracing_settings *s, struct slice name)
{
    for (size_t i = 0; i < s->attributes.count; i++)
        if (slice_equal(s->attributes.at[i].name, name))
            return true;
    return false;
}

char *otlp_resource(const struct tracing_settings *s)
{
    struct otlp_text t = {0};
    char host[256] = "";
    gethostname(host, sizeof host - 1);
    const struct option_pair own[] = {{S("service.name"), s->service, NULL},
                                      {S("service.version"), S(WEIR_VERSION), NULL},
                                      {S("host.name"), slice_text(host), NULL}};
    put(&t, S("{\"attributes\":["));
    for (size_t i = 0; i < COUNT_OF(own); i++)
        if (!is_given(s, own[i].name))
            text(&t, own[i].name, own[i].value);
    number(&t, S("process.pid"), (uint64_t)getpid());
    for (size_t i = 0; i < s->attributes.count; i++)
        given(&t, &s->attributes.at[i]);
    put(&t, slice_of("]}", 3)); /* with the NUL */
    if (!t.failed)
        return t.at;
    free(t.at);
    return NULL;
}

void otlp_begin(struct otlp_text *t, const char *resource)
{
    t->len = 0;
    t->failed = false;
    put(t, S("{\"resourceSpans\":[{\"resource\":"));
    put(t, slice_text(resource));
    put(t, S(",\"scopeSpans\":[{\"scope\":{\"name\":\"weir\",\"version\":\"" WEIR_VERSION "\"},\"spans\":["));
}

void otlp_finish(struct otlp_text *t)
{
    put(t, S("]}]}]}"));
}

/* One span. */

/* `METHOD ROUTE`; a method that nobody knows is called HTTP, so that names stay few. */
static void put_name(struct otlp_text *t, const struct span *s)
{
    struct slice route = span_slice(s, s->route);
    put(t, S(",\"name\":\""));
    if (s->is_other_method)
        put(t, S("HTTP"));
    else
        put_text(t, span_slice(s, s->method));
    if (route.len) {
        put(t, S(" "));
        put_text(t, route);
    }
    put(t, S("\""));
}

static void put_ids(struct otlp_text *t, const struct span *s)
{
    put(t, S("{\"traceId\":\""));
    put_hex(t, s->trace_high);
    put_hex(t, s->trace_low);
    put(t, S("\",\"spanId\":\""));
    put_hex(t, s->id);
    if (s->parent) {
        put(t, S("\",\"parentSpanId\":\""));
        put_hex(t, s->parent);
    }
    put(t, S("\""));
    if (s->state.len) {
        put(t, S(",\"traceState\":\""));
        put_text(t, span_slice(s, s->state));
        put(t, S("\""));
    }
    /* The flags of trace context, that it is known whether the parent is remote, and whether it is. */
    put(t, S(",\"flags\":"));
    put_number(t, (uint64_t)(s->sampled + 2 * s->is_random + 0x100 + 0x200 * s->has_remote_parent));
}

static struct slice protocol_version(const struct span *s)
{
    return s->protocol == 20 ? S("2") : s->protocol == 10 ? S("1.0") : S("1.1");
}

static void put_method(struct otlp_text *t, const struct span *s)
{
    text(t, S("http.request.method"), s->is_other_method ? S("_OTHER") : span_slice(s, s->method));
    if (s->is_other_method)
        text(t, S("http.request.method_original"), span_slice(s, s->method));
}

/* What says in few words that, and how, it failed. */
static void put_error(struct otlp_text *t, const struct span *s, unsigned from_status)
{
    char digits[8];
    if (s->meant_status >= from_status) {
        int len = snprintf(digits, sizeof digits, "%u", s->meant_status);
        text(t, S("error.type"), slice_of(digits, (size_t)len));
    } else if (s->word) {
        text(t, S("error.type"), slice_text(s->word));
    }
}

static void put_request(struct otlp_text *t, const struct span *s)
{
    put_method(t, s);
    text(t, S("url.scheme"), s->is_tls ? S("https") : S("http"));
    text(t, S("url.path"), span_slice(s, s->path));
    text(t, S("url.query"), span_slice(s, s->query));
    text(t, S("http.route"), span_slice(s, s->route));
    text(t, S("server.address"), span_slice(s, s->host));
    if (s->port)
        number(t, S("server.port"), s->port);
    text(t, S("client.address"), span_slice(s, s->client));
    text(t, S("network.protocol.name"), S("http"));
    text(t, S("network.protocol.version"), protocol_version(s));
    text(t, S("user_agent.original"), span_slice(s, s->agent));
    if (s->status)
        number(t, S("http.response.status_code"), s->status);
    number(t, S("http.request.body.size"), s->request_bytes);
    number(t, S("http.response.body.size"), s->response_bytes);
    if (s->is_grpc)
        text(t, S("rpc.system"), S("grpc"));
    if (s->is_grpc && s->grpc_status <= 16)
        number(t, S("rpc.grpc.status_code"), s->grpc_status);
    put_error(t, s, 500);
    text(t, S("weir.route"), span_slice(s, s->name));
    text(t, S("weir.listener"), span_slice(s, s->listener));
    text(t, S("weir.upstream"), span_slice(s, s->upstream));
    text(t, S("weir.cache"), slice_text(s->cache));
    text(t, S("weir.termination"), slice_text(s->termination));
    text(t, S("weir.request_id"), span_slice(s, s->request_id));
    number(t, S("weir.attempts"), s->attempts);
}

/* Without the query, which may hold secrets. */
static void put_url(struct otlp_text *t, const struct span *s)
{
    struct slice host = span_slice(s, s->address);
    bool has_colon = slice_find(host, ':') < host.len;
    if (s->is_unix)
        host = S("localhost");
    key(t, S("url.full"), S("stringValue"));
    put(t, s->is_tls ? S("\"https://") : S("\"http://"));
    put(t, has_colon && !s->is_unix ? S("[") : S(""));
    put_text(t, host);
    put(t, has_colon && !s->is_unix ? S("]") : S(""));
    if (s->port) {
        put(t, S(":"));
        put_number(t, s->port);
    }
    put_text(t, span_slice(s, s->path));
    put(t, S("\"}}"));
}

static void put_attempt(struct otlp_text *t, const struct span *s)
{
    put_method(t, s);
    put_url(t, s);
    text(t, S("server.address"), span_slice(s, s->address));
    if (s->port)
        number(t, S("server.port"), s->port);
    if (s->is_unix)
        text(t, S("network.transport"), S("unix"));
    if (s->status)
        number(t, S("http.response.status_code"), s->status);
    if (s->number)
        number(t, S("http.request.resend_count"), s->number);
    put_error(t, s, 400);
    text(t, S("weir.upstream"), span_slice(s, s->upstream));
    text(t, S("weir.server"), span_slice(s, s->server));
    text(t, S("weir.attempt.reason"), span_slice(s, s->reason));
    truth(t, S("weir.connection.reused"), s->reused);
    if (s->for_cache)
        truth(t, S("weir.cache.fetch"), true);
}

static void put_event(struct otlp_text *t, const struct span *s, struct slice name, uint32_t at_us)
{
    if (!at_us)
        return;
    comma(t);
    put(t, S("{\"timeUnixNano\":"));
    put_nanoseconds(t, s->base_us + at_us);
    put(t, S(",\"name\":\""));
    put(t, name);
    put(t, S("\"}"));
}

/* 5xx are the server's faults (of a span that is a server), 4xx too where weir is the client. */
static void put_status(struct otlp_text *t, const struct span *s)
{
    unsigned from = s->kind == SPAN_SERVER ? 500 : 400;
    if (s->meant_status < from && !s->word)
        return;
    put(t, S(",\"status\":{\"code\":2"));
    if (s->reason.len) {
        put(t, S(",\"message\":\""));
        put_text(t, span_slice(s, s->reason));
        put(t, S("\""));
    }
    put(t, S("}"));
}

void otlp_put_span(struct otlp_text *t, const struct span *s)
{
    comma(t);
    put_ids(t, s);
    put_name(t, s);
    put(t, s->kind == SPAN_SERVER ? S(",\"kind\":2") : S(",\"kind\":3"));
    put(t, S(",\"startTimeUnixNano\":"));
    put_nanoseconds(t, s->began_us);
    put(t, S(",\"endTimeUnixNano\":"));
    put_nanoseconds(t, s->ended_us);
    put(t, S(",\"attributes\":["));
    if (s->kind == SPAN_SERVER)
        put_request(t, s);
    else
        put_attempt(t, s);
    put(t, S("]"));
    if (s->connected_us || s->sent_us || s->head_us) {
        put(t, S(",\"events\":["));
        put_event(t, s, S("connected"), s->connected_us);
        put_event(t, s, S("request sent"), s->sent_us);
        put_event(t, s, S("response head"), s->head_us);
        put(t, S("]"));
    }
    put_status(t, s);
    put(t, S("}"));
}
