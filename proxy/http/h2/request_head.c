#include <stdlib.h>

#include "proxy/http/h1/target.h"
#include "proxy/http/h2/head.h"

#define HEAD_EXCESS 4 /* times the limits: nobody sends that by mistake */

/* Collecting a head. */

void h2_request_head_begin(struct h2_connection *c)
{
    h2_head_begin(&c->head);
    c->head_open = true;
    h2_set_clock(c);
}

void h2_request_head_end(struct h2_connection *c)
{
    c->head_open = false;
    if (c->head.capacity > H2_HEAD_KEPT)
        h2_head_free(&c->head);
    h2_set_clock(c);
}

static void refuse_head(struct h2_head *h, uint16_t status, const char *reason)
{
    if (h->fault)
        return;
    h->fault = reason;
    h->status = status;
}

/* What RFC 9113 §8.2 and §8.3 say of a field nghttp2 has seen to: its name is a token in lower case, its
 * value has neither control characters nor white space around it, it is no field of the connection's, and
 * "te" says nothing but "trailers". What is wrong comes to on_invalid_header (request.c), or resets the
 * stream. */
void h2_request_head_add(struct h2_connection *c, struct slice name, struct slice value)
{
    struct h2_head *h = &c->head;
    const struct h1_limits *limits = &c->client.listener->config->head_limits;
    h->decoded += (uint32_t)(name.len + value.len + 4);
    if (h->decoded > HEAD_EXCESS * (limits->header_size + 1024)) {
        h2_calm(c, H2_ABUSE_HEADERS);
        return;
    }
    if (h->fault)
        return;
    if (h->decoded > limits->header_size || h->count >= limits->header_count + 4)
        refuse_head(h, 431, "the head is past its limits");
    else if (h2_head_add(h, name, value) != 0)
        refuse_head(h, 503, "out of memory");
}

/* From a head to a request. */

/* The fields go to the request, and the pseudo-header fields to their places. 0, or -1 when out of memory. */
static int take_lines(struct exchange *x, const struct h2_head *h, struct slice *authority)
{
    struct http_request *r = &x->request;
    struct h2_pseudo pseudo = {0};
    if (h2_head_fields(h, &x->arena, &r->fields, &pseudo) != 0)
        return -1;
    r->method = pseudo.method;
    r->scheme = pseudo.scheme;
    r->target = pseudo.path;
    r->protocol = pseudo.protocol;
    *authority = pseudo.authority;
    return 0;
}

/* RFC 9113 §8.2.3: the crumbs of Cookie become one field again. */
static int join_cookies(struct exchange *x, struct fields *f)
{
    struct field *first = fields_find(f, FIELD_COOKIE);
    size_t len = 0, crumbs = 0;
    for (uint32_t i = 0; i < f->count; i++)
        if (f->at[i].id == FIELD_COOKIE) {
            len += f->at[i].value.len + 2;
            crumbs++;
        }
    if (crumbs < 2)
        return 0;
    char *joined = arena_alloc(&x->arena, len), *to = joined;
    if (!joined)
        return -1;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < f->count; i++) {
        struct field *at = &f->at[i];
        if (at->id == FIELD_COOKIE) {
            if (at->value.len)
                memcpy(to, at->value.at, at->value.len);
            to += at->value.len;
            memcpy(to, "; ", 2);
            to += 2;
        }
        if (at->id != FIELD_COOKIE || at == first)
            f->at[kept++] = *at;
    }
    f->count = kept;
    first->value = slice_of(joined, len - 2);
    first->line_len = 0;
    return 0;
}

static const char *read_host(struct http_request *r, struct slice authority, struct field_ids seen)
{
    const struct field *host = fields_find(&r->fields, FIELD_HOST);
    if (seen.again & FIELD_BIT(FIELD_HOST))
        return "more than one Host";
    if (authority.at && host && !slice_equal_nocase(authority, host->value))
        return "Host is not :authority";
    r->host = authority.at ? authority : host ? host->value : slice_of(NULL, 0);
    if (!h1_is_authority(r->host, false))
        return "the authority is not valid";
    return NULL;
}

static const char *read_target(struct http_request *r)
{
    if (r->method_id == METHOD_CONNECT)
        r->target = r->host;
    for (size_t i = 0; i < r->target.len; i++)
        if (!byte_is(r->target.at[i], BYTE_TARGET))
            return "a byte in :path that no path has";
    if (r->target.len == 0)
        return "no :path";
    if (r->method_id != METHOD_CONNECT && r->target.at[0] != '/' && !slice_equal(r->target, S("*")))
        return ":path is not a path";
    if (r->method_id != METHOD_CONNECT && !slice_equal_nocase(r->scheme, S("http")) &&
        !slice_equal_nocase(r->scheme, S("https")))
        return ":scheme is neither http nor https";
    /* Which of the two is the connection's to say: a client behind something that ends TLS cannot know. */
    r->scheme = (struct slice){0};
    return h1_target(r, r->target.at + slice_find(r->target, '?'));
}

static const char *read_length(struct h2_stream *s, struct http_request *r, struct field_ids seen)
{
    if (!(seen.once & FIELD_BIT(FIELD_CONTENT_LENGTH)))
        return NULL;
    struct slice value = fields_find(&r->fields, FIELD_CONTENT_LENGTH)->value;
    if (seen.again & FIELD_BIT(FIELD_CONTENT_LENGTH))
        return "more than one content-length";
    if (value.len > 19 || slice_to_u64(value, &s->length) != 0 || s->length > INT64_MAX)
        return "content-length is not a number";
    s->has_length = true;
    return NULL;
}

/* RFC 8441 §4: what opens a WebSocket is a GET to all that routes, edits and forwards it, as it is over
 * HTTP/1.1. Its stream carries no body but what follows the answer. */
static const char *read_protocol(struct h2_stream *s, struct http_request *r, unsigned *status)
{
    *status = 501;
    if (!slice_equal(r->protocol, S("websocket")))
        return "an extended CONNECT for another protocol than WebSocket";
    *status = 400;
    if (s->request_done)
        return "an extended CONNECT that has ended";
    if (fields_find(&r->fields, FIELD_CONTENT_LENGTH))
        return "an extended CONNECT with a content-length";
    r->method = (struct slice)SLICE("GET");
    r->method_id = METHOD_GET;
    r->upgrade = true;
    s->connects = true;
    return NULL;
}

static void read_expect(struct http_request *r)
{
    const struct field *f = fields_find(&r->fields, FIELD_EXPECT);
    if (!f)
        return;
    r->expect_continue = slice_equal_nocase(f->value, S("100-continue"));
    r->expect_unknown = !r->expect_continue;
}

/* What is wrong with it; *status is what the client gets. */
const char *h2_request_read(struct h2_stream *s, const struct h2_head *h, unsigned *status)
{
    struct exchange *x = s->x;
    struct http_request *r = &x->request;
    const struct h1_limits *limits = &x->listener->config->head_limits;
    struct slice authority = {0};
    *status = 503;
    if (take_lines(x, h, &authority) != 0 || join_cookies(x, &r->fields) != 0)
        return "out of memory";
    *status = 400;
    r->minor = 1;
    r->keep_alive = true;
    r->method_id = method_id(r->method);
    if (!is_token(r->method))
        return ":method is not a token";
    struct field_ids seen = fields_identify(&r->fields);
    const char *fault = r->protocol.at ? read_protocol(s, r, status) : NULL;
    if (!fault)
        fault = read_host(r, authority, seen);
    if (!fault)
        fault = read_target(r);
    if (!fault)
        fault = read_length(s, r, seen);
    if (fault)
        return fault;
    *status = 414;
    if (r->method.len + r->target.len + sizeof "  HTTP/1.1\r\n" > limits->request_line)
        return ":path is too long";
    read_expect(r);
    r->body = s->has_length ? BODY_LENGTH : s->request_done || s->connects ? BODY_NONE : BODY_CHUNKED;
    r->content_length = s->length;
    return NULL;
}
