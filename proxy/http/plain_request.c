#include "proxy/http/plain_request.h"

/* Takes "scheme://authority" off the front. */
static int take_authority(struct slice *url, struct http_request *r, const char **why)
{
    size_t colon = slice_find(*url, ':');
    struct slice scheme = slice_of(url->at, colon), rest = slice_skip(*url, colon);
    if (slice_equal_nocase(scheme, S("https")))
        r->scheme = S("https");
    else if (slice_equal_nocase(scheme, S("http")))
        r->scheme = S("http");
    if (!r->scheme.len || !slice_begins(rest, S("://"))) {
        *why =
            "a URL begins with http://, https://, tcp://, tls:// or udp://, or, with a Host header, with /";
        return -1;
    }
    rest = slice_skip(rest, 3);
    size_t end = 0;
    while (end < rest.len && rest.at[end] != '/' && rest.at[end] != '?')
        end++;
    r->host = slice_of(rest.at, end);
    *url = slice_skip(rest, end);
    if (end == 0 || memchr(r->host.at, '@', end)) {
        *why = "the URL needs a host, without a user";
        return -1;
    }
    return 0;
}

static int read_url(struct arena *arena, struct slice url, struct http_request *r, const char **why)
{
    url.len = slice_find(url, '#'); /* never sent */
    for (size_t i = 0; i < url.len; i++)
        if (!byte_is(url.at[i], BYTE_TARGET)) {
            *why = "a URL is printable ASCII without spaces; write others as %HH";
            return -1;
        }
    bool is_star = slice_equal(url, S("*"));
    if (!slice_begins(url, S("/")) && !is_star && take_authority(&url, r, why))
        return -1;
    if (!r->scheme.len)
        r->scheme = S("http");

    size_t question = slice_find(url, '?');
    r->path = question ? slice_of(url.at, question) : S("/");
    r->has_query = question < url.len;
    r->query = r->has_query ? slice_skip(url, question + 1) : S("");
    const char *target =
        arena_printf(arena, "%.*s%s%.*s", SLICE_FMT(r->path), r->has_query ? "?" : "", SLICE_FMT(r->query));
    r->target = slice_text(target);
    *why = "out of memory";
    return target ? 0 : -1;
}

static int read_fields(struct arena *arena, const struct field *headers, size_t count, struct http_request *r,
                       const char **why)
{
    struct field *at = arena_alloc(arena, (count + 1) * sizeof *at);
    *why = "out of memory";
    if (!at)
        return -1;
    r->fields = (struct fields){.at = at, .capacity = (uint32_t)count + 1};
    for (size_t i = 0; i < count; i++) {
        if (!is_token(headers[i].name) || !is_field_value(headers[i].value)) {
            *why = "a header is \"name: value\", without control characters";
            return -1;
        }
        at[r->fields.count++] = (struct field){.name = headers[i].name,
                                               .value = slice_trim(headers[i].value),
                                               .id = (uint16_t)field_id(headers[i].name)};
    }
    struct field *host = fields_find(&r->fields, FIELD_HOST);
    if (host && !r->host.len)
        r->host = host->value;
    else if (host)
        host->value = r->host;
    else if (r->host.len)
        at[r->fields.count++] = (struct field){.name = S("host"), .value = r->host, .id = FIELD_HOST};
    return 0;
}

int plain_request_make(struct arena *arena, struct slice method, struct slice url,
                       const struct field *headers, size_t header_count, struct slice client,
                       struct plain_request *out, const char **why)
{
    struct plain_request p = {.request = {.method = method, .minor = 1, .keep_alive = true, .host = S("")}};
    struct http_request *r = &p.request;
    if (!is_token(method)) {
        *why = "a request is a method and a URL: GET https://example.com/";
        return -1;
    }
    r->method_id = method_id(method);
    if (read_url(arena, url, r, why) || read_fields(arena, headers, header_count, r, why))
        return -1;

    p.client_text = client.len ? client : S("127.0.0.1");
    if (ip_parse(p.client_text, &p.client)) {
        *why = "the client is no IP address";
        return -1;
    }
    p.peer = p.client;
    p.host = host_normalise(arena, r->host);
    p.path_fault = target_normalise(arena, r->path, &p.path);
    if (!p.host.at || p.path_fault == TARGET_NO_MEMORY) {
        *why = "out of memory";
        return -1;
    }
    *out = p;
    return 0;
}

static uint64_t port_of(const struct http_request *r)
{
    uint64_t port = 0;
    if (slice_to_u64(host_port(r->host), &port))
        port = slice_equal(r->scheme, S("https")) ? 443 : 80;
    return port;
}

static bool is_bound_to(const struct plain_listener *l, uint64_t port)
{
    for (size_t i = 0; i < l->port_count; i++)
        if (l->ports[i] == port)
            return true;
    return false;
}

const struct plain_listener *plain_request_listener(struct plain_request *p,
                                                    const struct plain_listener *listeners, size_t count)
{
    bool is_tls = slice_equal(p->request.scheme, S("https"));
    uint64_t port = port_of(&p->request);
    const struct plain_listener *best = NULL;
    int best_score = -1;
    for (size_t i = 0; i < count; i++) {
        const struct plain_listener *l = &listeners[i];
        int score = l->is_tls == is_tls ? 1 + is_bound_to(l, port) : 0;
        if (score > best_score) {
            best = l;
            best_score = score;
        }
    }
    if (best) {
        p->listener = best->name;
        p->listener_slot = best->slot;
        p->config = best->config;
    }
    return best;
}

static struct slice field_value(const struct fields *fields, const struct template_variable *v)
{
    const struct field *f =
        v->field_id != FIELD_OTHER ? fields_find(fields, v->field_id) : fields_find_name(fields, v->name);
    return f ? f->value : S("");
}

static struct slice port_text(const struct plain_context *x)
{
    struct slice port = host_port(x->request->request.host);
    if (port.len)
        return port;
    return slice_equal(x->request->request.scheme, S("https")) ? S("443") : S("80");
}

struct slice plain_variable(void *context, const struct template_variable *v)
{
    const struct plain_context *x = context;
    const struct http_request *r = &x->request->request;
    struct slice value = S("");
    switch (v->id) {
    case TEMPLATE_CLIENT:
        return x->request->client_text;
    case TEMPLATE_METHOD:
        return r->method;
    case TEMPLATE_SCHEME:
        return r->scheme;
    case TEMPLATE_HOST:
        return x->request->host;
    case TEMPLATE_PORT:
        return port_text(x);
    case TEMPLATE_TARGET:
        return r->target;
    case TEMPLATE_PATH:
        return x->path.at ? x->path : x->request->path;
    case TEMPLATE_QUERY:
        return r->query;
    case TEMPLATE_PROTOCOL:
        return S("HTTP/1.1");
    case TEMPLATE_ROUTE:
        return x->route ? x->route->name : S("");
    case TEMPLATE_UPSTREAM:
        return x->route && x->route->target_count ? x->route->targets[0].name : S("");
    case TEMPLATE_HEADER:
        return field_value(&r->fields, v);
    case TEMPLATE_COOKIE:
        cookie_value(&r->fields, v->name, &value);
        return value;
    case TEMPLATE_ARG:
        query_value(r->query, v->name, &value);
        return value;
    case TEMPLATE_LISTENER:
        return x->request->listener;
    case TEMPLATE_TLS_SNI:
        return slice_equal(r->scheme, S("https")) ? x->request->host : S("");
    default:
        return value; /* known only when something was sent */
    }
}
