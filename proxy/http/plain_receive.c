/* What a listener makes of a request before any route is asked: the parser of live traffic reads it, and the
 * same rules say who the client is. */
#include "proxy/http/client_address.h"
#include "proxy/http/h1/parse.h"
#include "proxy/http/rehearsal.h"

static char *put(char *at, struct slice s)
{
    if (s.len)
        memcpy(at, s.at, s.len);
    return at + s.len;
}

/* The head as a client writes it; at is NULL when out of memory. */
static struct slice write_head(struct arena *a, const struct http_request *r)
{
    size_t size = r->method.len + r->target.len + sizeof "  HTTP/1.1\r\n\r\n";
    for (uint32_t i = 0; i < r->fields.count; i++)
        size += r->fields.at[i].name.len + r->fields.at[i].value.len + sizeof ": \r\n";
    char *text = arena_alloc(a, size), *at = text;
    if (!text)
        return (struct slice){0};
    at = put(put(put(put(at, r->method), S(" ")), r->target), S(" HTTP/1.1\r\n"));
    for (uint32_t i = 0; i < r->fields.count; i++)
        at = put(put(put(put(at, r->fields.at[i].name), S(": ")), r->fields.at[i].value), S("\r\n"));
    at = put(at, S("\r\n"));
    return slice_of(text, (size_t)(at - text));
}

static void refuse(struct plain_request *p, unsigned status, const char *why)
{
    if (p->refused)
        return;
    p->refused = status;
    p->refusal = why;
}

/* 0 with p->request as the parser has it, or with p->refused. */
static int parse(struct arena *a, struct plain_request *p)
{
    const struct h1_limits *limits = &p->config->head_limits;
    struct http_request parsed = {.fields = {.capacity = limits->header_count}};
    struct slice head = write_head(a, &p->request);
    struct h1_fault fault = {0};
    size_t scanned = 0;
    parsed.fields.at = arena_alloc(a, (limits->header_count + 1) * sizeof *parsed.fields.at);
    if (!head.at || !parsed.fields.at)
        return -1;
    ssize_t len = h1_parse_request(head, &scanned, limits, &parsed, &fault);
    if (len > 0) {
        parsed.scheme = p->request.scheme;
        p->request = parsed;
    } else {
        refuse(p, len < 0 ? fault.status : 400, len < 0 ? fault.reason : "no whole head");
    }
    return 0;
}

/* As exchange_begin() does, in its order. */
static void look(struct plain_request *p)
{
    if (p->request.method_id == METHOD_CONNECT)
        refuse(p, 501, "CONNECT is not for a reverse proxy");
    else if (p->request.expect_unknown)
        refuse(p, 417, "an expectation that is not 100-continue");
}

int plain_request_receive(struct arena *a, struct plain_request *p)
{
    if (!p->config)
        return 0;
    if (parse(a, p) != 0)
        return -1;
    struct rehearsal *r = rehearsal_create(p);
    if (!r)
        return -1;
    const struct exchange *x = rehearsal_exchange(r);
    p->is_trusted = client_peer_is_trusted(x);
    p->client = x->client;
    p->client_text = arena_copy(a, x->client_text);
    rehearsal_free(r);
    look(p);
    return p->client_text.at ? 0 : -1;
}
