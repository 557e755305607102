/* The values of `${…}` for an exchange: what it knows at the moment of asking. */
#include <stdio.h>
#include <time.h>

#include "proxy/http/cache/cache.h"
#include "proxy/http/exchange.h"
#include "proxy/http/target.h"
#include "proxy/http/timings.h"
#include "proxy/http/trace.h"
#include "tls/info.h"

static struct slice number(struct exchange *x, uint64_t value)
{
    return slice_text(arena_printf(&x->arena, "%llu", (unsigned long long)value));
}

static struct slice milliseconds(struct exchange *x, usec_t us)
{
    return slice_text(
        arena_printf(&x->arena, "%llu.%03u", (unsigned long long)(us / 1000), (unsigned)(us % 1000)));
}

static struct slice field_value(const struct fields *f, const struct template_variable *v)
{
    const struct field *found =
        v->field_id != FIELD_OTHER ? fields_find(f, v->field_id) : fields_find_name(f, v->name);
    return found ? found->value : slice_of("", 0);
}

/* The value of `name` in a list of name=value pairs, as in a query or a Cookie. */
static struct slice pair_value(struct slice list, char separator, struct slice name)
{
    struct slice pair;
    while (slice_next(&list, separator, &pair)) {
        size_t equals = slice_find(pair, '=');
        if (slice_equal(slice_of(pair.at, equals), name))
            return slice_skip(pair, equals + 1);
    }
    return slice_of("", 0);
}

static struct slice cookie(const struct exchange *x, struct slice name)
{
    for (uint32_t i = 0; i < x->request.fields.count; i++) {
        if (x->request.fields.at[i].id != FIELD_COOKIE)
            continue;
        struct slice value = pair_value(x->request.fields.at[i].value, ';', name);
        if (value.len)
            return value;
    }
    return slice_of("", 0);
}

static struct slice target(struct exchange *x)
{
    if (!x->request.absolute_form)
        return x->request.target;
    if (!x->request.has_query)
        return x->request.path;
    return slice_text(
        arena_printf(&x->arena, "%.*s?%.*s", SLICE_FMT(x->request.path), SLICE_FMT(x->request.query)));
}

static struct slice rfc3339(struct exchange *x)
{
    int64_t us = loop_wall_us(&x->worker->loop);
    time_t seconds = (time_t)(us / 1000000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    char text[40];
    size_t n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    n += (size_t)snprintf(text + n, sizeof text - n, ".%03dZ", (int)(us % 1000000 / 1000));
    return arena_copy(&x->arena, slice_of(text, n));
}

static struct slice protocol(const struct exchange *x)
{
    return x->protocol == 20   ? (struct slice)SLICE("HTTP/2.0")
           : x->protocol == 10 ? (struct slice)SLICE("HTTP/1.0")
                               : (struct slice)SLICE("HTTP/1.1");
}

static struct slice of_tls(struct exchange *x, enum template_id id)
{
    const struct conn *c = x->is_tls ? x->down_ops->connection(x) : NULL;
    const struct tls_info *info = c ? tls_info(c) : NULL;
    if (!info)
        return slice_of("", 0);
    switch (id) {
    case TEMPLATE_TLS_VERSION:
        return info->version;
    case TEMPLATE_TLS_CIPHER:
        return info->cipher;
    case TEMPLATE_TLS_SNI:
        return info->sni;
    default:
        return info->client_cn;
    }
}

static struct slice port(struct exchange *x)
{
    struct slice given = host_port(x->request.host);
    if (given.len)
        return given;
    return x->is_tls ? (struct slice)SLICE("443") : (struct slice)SLICE("80");
}

static struct slice of_response(struct exchange *x, const struct template_variable *v)
{
    if (x->response)
        return field_value(&x->response->fields, v);
    return field_value(&x->logged, v);
}

static struct slice phase(struct exchange *x, enum timing which)
{
    struct timings t;
    timings_of(x, &t);
    return t.us[which] < 0 ? slice_of("", 0) : milliseconds(x, (usec_t)t.us[which]);
}

struct slice exchange_variable(void *exchange, const struct template_variable *v)
{
    struct exchange *x = exchange;
    ASSERT(x->magic == EXCHANGE_MAGIC);
    usec_t now = loop_now_us(&x->worker->loop);
    switch (v->id) {
    case TEMPLATE_CLIENT:
        return x->client_text;
    case TEMPLATE_CLIENT_PORT:
        return number(x, x->peer.port);
    case TEMPLATE_METHOD:
        return x->request.method;
    case TEMPLATE_SCHEME:
        return x->is_tls ? (struct slice)SLICE("https") : (struct slice)SLICE("http");
    case TEMPLATE_HOST:
        return x->host;
    case TEMPLATE_PORT:
        return port(x);
    case TEMPLATE_TARGET:
        return target(x);
    case TEMPLATE_PATH:
        return x->path;
    case TEMPLATE_QUERY:
        return x->request.query;
    case TEMPLATE_PROTOCOL:
        return protocol(x);
    case TEMPLATE_STATUS:
        return number(x, x->status);
    case TEMPLATE_DURATION_MS:
        return milliseconds(x, now - x->started_us);
    case TEMPLATE_BYTES_IN:
        return number(x, x->request_bytes);
    case TEMPLATE_BYTES_OUT:
        return number(x, x->response_bytes);
    case TEMPLATE_REQUEST_ID:
        return x->request_id;
    case TEMPLATE_ROUTE:
        return x->route ? x->route->name : slice_of("", 0);
    case TEMPLATE_UPSTREAM:
        return x->upstream ? x->upstream->name : slice_of("", 0);
    case TEMPLATE_SERVER:
        return x->server ? x->server->name : slice_of("", 0);
    case TEMPLATE_UPSTREAM_MS:
        return x->upstream_head_us ? milliseconds(x, x->upstream_head_us - x->upstream_started_us)
                                   : slice_of("", 0);
    case TEMPLATE_CACHE:
        return cache_result_name(exchange_cache_result(x));
    case TEMPLATE_TLS_VERSION:
    case TEMPLATE_TLS_CIPHER:
    case TEMPLATE_TLS_SNI:
    case TEMPLATE_TLS_CLIENT_CN:
        return of_tls(x, v->id);
    case TEMPLATE_HEADER:
        return field_value(&x->request.fields, v);
    case TEMPLATE_RESPONSE_HEADER:
        return of_response(x, v);
    case TEMPLATE_COOKIE:
        return cookie(x, v->name);
    case TEMPLATE_ARG:
        return pair_value(x->request.query, '&', v->name);
    case TEMPLATE_TIME:
        return rfc3339(x);
    case TEMPLATE_LISTENER:
        return x->listener->name;
    case TEMPLATE_GRPC_STATUS:
        return x->grpc_status != GRPC_STATUS_NONE ? number(x, x->grpc_status) : slice_of("", 0);
    case TEMPLATE_TERMINATION:
        return slice_text(termination_word(termination_of(x)));
    case TEMPLATE_TRACE_ID:
        return trace_id_text(x);
    case TEMPLATE_SPAN_ID:
        return trace_span_text(x);
    case TEMPLATE_QUEUE_MS:
    case TEMPLATE_CONNECT_MS:
    case TEMPLATE_TLS_MS:
    case TEMPLATE_SEND_MS:
    case TEMPLATE_FIRST_BYTE_MS:
    case TEMPLATE_BODY_MS:
        return phase(x, (enum timing)(TIMING_QUEUE + (int)(v->id - TEMPLATE_QUEUE_MS)));
    case TEMPLATE_ID_COUNT:
        break;
    }
    return slice_of("", 0);
}
