/* One reading of an HTTP/1.1 request, written to be strict and not fast, and apart from weir's own parser:
 * whatever weir made of frames must pass here (RFC 9112, and what RFC 9113 §8.2 keeps out). A request that is
 * not all there yet must be the beginning of one that would pass. */
#pragma once

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/slice.h"

struct seen_request {
    bool head;        /* its head is all there */
    bool complete;    /* its body too */
    bool is_head;     /* the method is HEAD */
    bool upgrade;     /* it asks for another protocol */
    struct slice key; /* of a WebSocket */
    size_t len;       /* when complete */
    int fill;         /* the byte that its body is made of; -1 = not told, -2 = told twice */
    uint64_t bytes;   /* of body that came so far */
};

static bool seen_token_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

/* The next line, without its CRLF; false when its end has not come. A bare CR or LF, or a NUL, is a fault. */
static bool seen_line(struct slice *rest, struct slice *line)
{
    for (size_t i = 0; i < rest->len; i++) {
        ASSERT(rest->at[i] != '\0');
        ASSERT(rest->at[i] != '\n');
        if (rest->at[i] != '\r')
            continue;
        if (i + 1 == rest->len)
            return false;
        ASSERT(rest->at[i + 1] == '\n');
        *line = slice_of(rest->at, i);
        *rest = slice_skip(*rest, i + 2);
        return true;
    }
    return false;
}

static void seen_field(struct slice line, struct slice *name, struct slice *value)
{
    size_t colon = 0;
    while (colon < line.len && line.at[colon] != ':') {
        ASSERT(seen_token_char(line.at[colon]));
        colon++;
    }
    ASSERT(colon > 0 && colon < line.len);
    *name = slice_of(line.at, colon);
    *value = slice_skip(line, colon + 1);
    while (value->len && (value->at[0] == ' ' || value->at[0] == '\t'))
        *value = slice_skip(*value, 1);
    for (size_t i = 0; i < value->len; i++)
        ASSERT((unsigned char)value->at[i] >= 0x20 || value->at[i] == '\t');
    for (size_t i = 0; i < value->len; i++)
        ASSERT(value->at[i] != 0x7f);
}

static bool seen_is(struct slice name, const char *text)
{
    return name.len == strlen(text) && strncasecmp(name.at, text, name.len) == 0;
}

static void seen_request_line(struct slice line, struct seen_request *r)
{
    size_t method = 0;
    while (method < line.len && seen_token_char(line.at[method]))
        method++;
    ASSERT(method > 0 && method < line.len && line.at[method] == ' ');
    struct slice target = slice_skip(line, method + 1);
    ASSERT(target.len > 9 && memcmp(target.at + target.len - 9, " HTTP/1.1", 9) == 0);
    target.len -= 9;
    ASSERT(target.len > 0);
    for (size_t i = 0; i < target.len; i++)
        ASSERT(target.at[i] > 0x20 && target.at[i] < 0x7f && target.at[i] != '#');
    bool is_star = target.len == 1 && target.at[0] == '*';
    ASSERT(target.at[0] == '/' || (is_star && method == 7 && memcmp(line.at, "OPTIONS", 7) == 0));
    ASSERT(!(method == 7 && memcmp(line.at, "CONNECT", 7) == 0));
    r->is_head = method == 4 && memcmp(line.at, "HEAD", 4) == 0;
}

static uint64_t seen_number(struct slice digits)
{
    uint64_t n = 0;
    ASSERT(digits.len > 0 && digits.len < 19);
    for (size_t i = 0; i < digits.len; i++) {
        ASSERT(digits.at[i] >= '0' && digits.at[i] <= '9');
        n = n * 10 + (uint64_t)(digits.at[i] - '0');
    }
    return n;
}

static void seen_body(struct seen_request *r, struct slice bytes)
{
    for (size_t i = 0; i < bytes.len && r->fill >= 0; i++)
        ASSERT(bytes.at[i] == r->fill);
    r->bytes += bytes.len;
}

static bool seen_trailers(struct slice *rest)
{
    static const char *const never[] = {
        "content-length", "transfer-encoding", "host",   "connection",    "te",
        "trailer",        "upgrade",           "expect", "authorization", NULL};
    struct slice line, name, value;
    while (seen_line(rest, &line)) {
        if (line.len == 0)
            return true;
        seen_field(line, &name, &value);
        for (size_t i = 0; never[i]; i++)
            ASSERT(!seen_is(name, never[i]));
    }
    return false;
}

static bool seen_chunks(struct slice *rest, struct seen_request *r)
{
    struct slice line;
    while (seen_line(rest, &line)) {
        uint64_t size = 0;
        ASSERT(line.len > 0 && line.len < 9);
        for (size_t i = 0; i < line.len; i++) {
            const char *digit = strchr("0123456789abcdef", line.at[i] | 0x20);
            ASSERT(digit);
            size = size * 16 + (uint64_t)(digit - "0123456789abcdef");
        }
        if (size == 0)
            return seen_trailers(rest);
        size_t have = rest->len < size ? rest->len : size;
        seen_body(r, slice_of(rest->at, have));
        *rest = slice_skip(*rest, have);
        if (have < size || rest->len < 2)
            return false;
        ASSERT(memcmp(rest->at, "\r\n", 2) == 0);
        *rest = slice_skip(*rest, 2);
    }
    return false;
}

struct seen_framing {
    unsigned hosts, lengths, codings, connections, upgrades, keys;
    uint64_t length;
};

static void seen_head_field(struct slice name, struct slice value, struct seen_framing *f,
                            struct seen_request *r)
{
    static const char *const never[] = {"keep-alive", "proxy-connection", NULL};
    for (size_t i = 0; never[i]; i++)
        ASSERT(!seen_is(name, never[i]));
    if (seen_is(name, "host")) {
        f->hosts++;
        ASSERT(value.len > 0 && !memchr(value.at, ' ', value.len) && !memchr(value.at, '/', value.len));
        ASSERT(!memchr(value.at, '@', value.len));
    } else if (seen_is(name, "content-length")) {
        f->lengths++;
        f->length = seen_number(value);
    } else if (seen_is(name, "transfer-encoding")) {
        f->codings++;
        ASSERT(seen_is(value, "chunked"));
    } else if (seen_is(name, "connection")) {
        f->connections++;
        ASSERT(seen_is(value, "upgrade"));
    } else if (seen_is(name, "upgrade")) {
        f->upgrades++;
        ASSERT(seen_is(value, "websocket"));
        r->upgrade = true;
    } else if (seen_is(name, "sec-websocket-key")) {
        f->keys++;
        r->key = value;
    } else if (seen_is(name, "te")) {
        ASSERT(seen_is(value, "trailers"));
    } else if (seen_is(name, "x-fill")) {
        /* Told twice, by an index of the table: which one counts is not known. */
        r->fill = value.len == 1 && r->fill == -1 ? value.at[0] : -2;
    }
}

/* What `bytes` begin with. */
static struct seen_request seen_read(struct slice bytes)
{
    struct seen_request r = {.fill = -1};
    struct seen_framing f = {0};
    struct slice rest = bytes, line, name, value;
    if (!seen_line(&rest, &line))
        return r;
    seen_request_line(line, &r);
    for (;;) {
        if (!seen_line(&rest, &line))
            return r;
        if (line.len == 0)
            break;
        seen_field(line, &name, &value);
        seen_head_field(name, value, &f, &r);
    }
    r.head = true;
    ASSERT(f.hosts == 1 && f.lengths <= 1 && f.codings <= 1 && !(f.lengths && f.codings));
    ASSERT(f.connections == f.upgrades && f.upgrades <= 1 && (f.upgrades == 0 || f.keys == 1));
    if (f.codings) {
        r.complete = seen_chunks(&rest, &r);
    } else {
        size_t have = rest.len < f.length ? rest.len : f.length;
        seen_body(&r, slice_of(rest.at, have));
        rest = slice_skip(rest, have);
        r.complete = have == f.length;
    }
    r.len = bytes.len - rest.len;
    return r;
}
