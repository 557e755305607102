/* Clients of HTTP/1.1 that ask one thing each, in a body of their own letter, and read the answers strictly:
 * where an answer's head says x-fill, its body is of that letter alone. */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#include "proxy/http/h1/parse.h"

#define BODY_LONG    150000
#define ASKER_FIELDS 256

enum kind { GET, HEAD_, POST, POST_LONG, PUT_TRAILERS, WEBSOCKET, GET_TWICE, PUT_LONG, KINDS };

struct asker {
    int fd; /* -1 = gone */
    enum kind kind;
    char letter;
    char *out, *in; /* to be sent, and what came */
    size_t out_len, out_sent, in_len;
};

/* The bytes of its body. */
static uint64_t asker_body(enum kind kind)
{
    switch (kind) {
    case POST:
        return 5;
    case PUT_TRAILERS:
        return 6;
    case POST_LONG:
    case PUT_LONG:
        return BODY_LONG;
    default:
        return 0;
    }
}

static void put(struct asker *c, const char *text)
{
    size_t len = strlen(text);
    memcpy(c->out + c->out_len, text, len);
    c->out_len += len;
}

static void put_letters(struct asker *c, size_t count)
{
    memset(c->out + c->out_len, c->letter, count);
    c->out_len += count;
}

static void put_long(struct asker *c)
{
    put(c, "Transfer-Encoding: chunked\r\n\r\n");
    for (unsigned i = 0; i < 10; i++) {
        char line[32];
        snprintf(line, sizeof line, "%x\r\n", BODY_LONG / 10);
        put(c, line);
        put_letters(c, BODY_LONG / 10);
        put(c, "\r\n");
    }
    put(c, "0\r\n\r\n");
}

static void write_request(struct asker *c)
{
    static const char *const methods[KINDS] = {"GET", "HEAD", "POST", "POST", "PUT", "GET", "GET", "PUT"};
    put(c, methods[c->kind]);
    put(c, " / HTTP/1.1\r\nHost: t.example\r\n");
    switch (c->kind) {
    case POST:
        put(c, "Content-Length: 5\r\n\r\n");
        put_letters(c, 5);
        break;
    case POST_LONG:
    case PUT_LONG:
        put_long(c);
        break;
    case PUT_TRAILERS:
        put(c, "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n");
        put_letters(c, 3);
        put(c, "\r\n3\r\n");
        put_letters(c, 3);
        put(c, "\r\n0\r\nX-End: yes\r\n\r\n");
        break;
    case WEBSOCKET:
        put(c, "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
               "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
        break;
    case GET_TWICE:
        put(c, "\r\nGET / HTTP/1.1\r\nHost: t.example\r\n\r\n");
        break;
    default:
        put(c, "\r\n");
    }
}

static void asker_make(struct asker *c, enum kind kind, char letter)
{
    *c = (struct asker){.fd = -1, .kind = kind, .letter = letter, .out = malloc(BODY_LONG + 1024)};
    ASSERT(c->out);
    write_request(c);
}

static void asker_free(struct asker *c)
{
    free(c->in);
    free(c->out);
}

/* More of the answers. */
static void asker_take(struct asker *c, const char *at, size_t n)
{
    c->in = realloc(c->in, c->in_len + n);
    ASSERT(c->in);
    memcpy(c->in + c->in_len, at, n);
    c->in_len += n;
}

static void check_letters(struct slice data, char letter)
{
    for (size_t i = 0; letter && i < data.len; i++)
        ASSERT(data.at[i] == letter);
}

/* What there is of the body, and behind it; false when it is not whole. */
static bool check_body(const struct http_response *r, struct slice *in, char letter)
{
    struct h1_chunked chunked = {0};
    struct h1_fault fault;
    struct slice data;
    if (r->body == BODY_NONE)
        return true;
    if (r->body == BODY_LENGTH) {
        size_t n = r->content_length < in->len ? (size_t)r->content_length : in->len;
        check_letters(slice_of(in->at, n), letter);
        *in = slice_skip(*in, n);
        return n == r->content_length;
    }
    while (in->len && !chunked.done) {
        ASSERT(h1_chunked_next(&chunked, in, &data, &fault) == 0);
        check_letters(data, letter);
    }
    struct h1_limits limits = {8192, 65536, ASKER_FIELDS};
    struct field room[ASKER_FIELDS];
    struct fields trailers = {room, 0, ASKER_FIELDS, 0};
    size_t scanned = 0;
    ssize_t n = chunked.done ? h1_parse_trailers(*in, &scanned, &limits, &trailers, &fault) : 0;
    ASSERT(n >= 0);
    *in = slice_skip(*in, (size_t)n);
    return n > 0;
}

/* The answers of one client, as far as they have come. */
static void asker_check(const struct asker *c)
{
    struct slice in = slice_of(c->in, c->in_len);
    struct h1_limits limits = {8192, 65536, ASKER_FIELDS};
    unsigned finals = 0, asked = c->kind == GET_TWICE ? 2 : 1;
    while (in.len) {
        struct field room[ASKER_FIELDS];
        struct http_response r = {.fields = {room, 0, ASKER_FIELDS, 0}};
        struct h1_fault fault;
        size_t scanned = 0;
        ssize_t n =
            h1_parse_response(in, &scanned, &limits, c->kind == HEAD_ ? METHOD_HEAD : METHOD_GET, &r, &fault);
        if (n < 0)
            fprintf(stderr, "%s in:\n%.*s\n", fault.reason, SLICE_FMT(in));
        ASSERT(n >= 0);
        if (n == 0)
            return;
        in = slice_skip(in, (size_t)n);
        if (r.status == 101)
            return;
        if (r.status < 200)
            continue;
        ASSERT(++finals <= asked);
        const struct field *fill = fields_find_name(&r.fields, S("x-fill"));
        if (!check_body(&r, &in, fill && fill->value.len == 1 ? fill->value.at[0] : 0))
            return;
    }
}
