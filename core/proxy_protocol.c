#include "core/proxy_protocol.h"

#include <arpa/inet.h>
#include <stdio.h>

#define V1_MAX      107u /* with CR LF: the longest line of version 1 */
#define V2_FIXED    16u
#define FAMILY_NONE 0x00
#define FAMILY_V4   0x10
#define FAMILY_V6   0x20
#define FAMILY_UNIX 0x30
#define STREAM      0x01

enum tlv {
    TLV_ALPN = 0x01,
    TLV_AUTHORITY = 0x02,
    TLV_SSL = 0x20,
    TLV_SSL_VERSION = 0x21,
    TLV_SSL_CN = 0x22,
    TLV_SSL_CIPHER = 0x23,
};

enum ssl_client { CLIENT_SSL = 0x01, CLIENT_CERT_CONN = 0x02, CLIENT_CERT_SESSION = 0x04 };

static const char v2_signature[12] = "\r\n\r\n\0\r\nQUIT\n";

static ssize_t fail(const char **why, const char *text)
{
    *why = text;
    return -1;
}

static void set_v4(struct ip *ip, const void *bytes)
{
    *ip = (struct ip){.bytes = {[10] = 0xff, [11] = 0xff}};
    memcpy(ip->bytes + 12, bytes, 4);
}

static void set_v6(struct ip *ip, const void *bytes)
{
    *ip = (struct ip){0};
    memcpy(ip->bytes, bytes, 16);
}

/* Version 1: one line of text. */

/* The next word; words are apart by exactly one space. */
static struct slice next_word(struct slice *rest)
{
    size_t space = slice_find(*rest, ' ');
    struct slice word = slice_of(rest->at, space);
    *rest = slice_skip(*rest, space + 1);
    return word;
}

static int read_ip(struct slice word, int family, struct ip *out)
{
    char text[INET6_ADDRSTRLEN];
    unsigned char bytes[16];
    if (word.len == 0 || word.len >= sizeof text || memchr(word.at, 0, word.len))
        return -1;
    memcpy(text, word.at, word.len);
    text[word.len] = 0;
    if (inet_pton(family, text, bytes) != 1)
        return -1;
    if (family == AF_INET)
        set_v4(out, bytes);
    else
        set_v6(out, bytes);
    return 0;
}

/* No leading zeros, as the specification wants it. */
static int read_port(struct slice word, struct ip *out)
{
    uint64_t port;
    if (slice_to_u64(word, &port) != 0 || port > 65535 || (word.len > 1 && word.at[0] == '0'))
        return -1;
    out->port = (uint16_t)port;
    return 0;
}

static int parse_line(struct slice line, struct proxy_header *out)
{
    struct slice rest = line;
    next_word(&rest);
    struct slice family = next_word(&rest);
    *out = (struct proxy_header){.version = 1};
    if (slice_equal(family, S("UNKNOWN"))) {
        out->local = true;
        return 0;
    }
    int af = slice_equal(family, S("TCP4")) ? AF_INET : slice_equal(family, S("TCP6")) ? AF_INET6 : -1;
    if (af < 0)
        return -1;
    struct slice source = next_word(&rest), destination = next_word(&rest);
    struct slice source_port = next_word(&rest), destination_port = rest;
    if (read_ip(source, af, &out->source) != 0 || read_ip(destination, af, &out->destination) != 0 ||
        read_port(source_port, &out->source) != 0 || read_port(destination_port, &out->destination) != 0)
        return -1;
    return 0;
}

static ssize_t parse_v1(struct slice in, struct proxy_header *out, const char **why)
{
    size_t limit = in.len < V1_MAX ? in.len : V1_MAX;
    size_t end = slice_find(slice_of(in.at, limit), '\n');
    if (end == limit)
        return limit < V1_MAX ? 0 : fail(why, "a PROXY line without an end");
    if (in.at[end - 1] != '\r')
        return fail(why, "a PROXY line that does not end with CR LF");
    struct proxy_header header;
    if (parse_line(slice_of(in.at, end - 1), &header) != 0)
        return fail(why, "a PROXY line that cannot be understood");
    *out = header;
    return (ssize_t)end + 1;
}

/* Version 2: binary. */

static unsigned number16(const char *at)
{
    return (unsigned)(unsigned char)at[0] << 8 | (unsigned char)at[1];
}

/* Types are of no interest, but what they say of their lengths must be true. */
static int skip_details(struct slice rest)
{
    while (rest.len) {
        if (rest.len < 3 || rest.len - 3 < number16(rest.at + 1))
            return -1;
        rest = slice_skip(rest, 3 + (size_t)number16(rest.at + 1));
    }
    return 0;
}

static int read_addresses(unsigned family, struct slice *body, struct proxy_header *out)
{
    static const size_t sizes[] = {0, 12, 36, 216};
    size_t size = sizes[family >> 4];
    if (body->len < size)
        return -1;
    const char *at = body->at;
    switch (family) {
    case FAMILY_NONE:
        out->local = true;
        body->len = 0; /* the specification: whatever follows is ignored */
        return 0;
    case FAMILY_V4:
        set_v4(&out->source, at);
        set_v4(&out->destination, at + 4);
        break;
    case FAMILY_V6:
        set_v6(&out->source, at);
        set_v6(&out->destination, at + 16);
        break;
    case FAMILY_UNIX:
        out->source.is_unix = out->destination.is_unix = true;
        break;
    }
    if (family != FAMILY_UNIX) {
        out->source.port = (uint16_t)number16(at + size - 4);
        out->destination.port = (uint16_t)number16(at + size - 2);
    }
    *body = slice_skip(*body, size);
    return 0;
}

static ssize_t parse_v2(struct slice in, struct proxy_header *out, const char **why)
{
    if (in.len > 12 && (unsigned char)in.at[12] >> 4 != 2)
        return fail(why, "a PROXY header of an unknown version");
    if (in.len < V2_FIXED)
        return 0;
    unsigned command = in.at[12] & 0x0f;
    unsigned family = (unsigned char)in.at[13] & 0xf0, transport = in.at[13] & 0x0f;
    size_t length = V2_FIXED + number16(in.at + 14);
    if (command > 1 || family > FAMILY_UNIX || transport > 2)
        return fail(why, "a PROXY header with values that are not defined");
    if (length > PROXY_HEADER_MAX)
        return fail(why, "a PROXY header that is too long");
    if (in.len < length)
        return 0;
    struct proxy_header header = {.version = 2, .local = command == 0};
    struct slice body = slice_of(in.at + V2_FIXED, length - V2_FIXED);
    if (command == 1 && (read_addresses(family, &body, &header) != 0 || skip_details(body) != 0))
        return fail(why, "a PROXY header that is shorter than what it holds");
    *out = header;
    return (ssize_t)length;
}

ssize_t proxy_header_parse(struct slice in, struct proxy_header *out, const char **why)
{
    struct slice v1 = S("PROXY "), v2 = slice_of(v2_signature, sizeof v2_signature);
    if (slice_begins(in, v1))
        return parse_v1(in, out, why);
    if (slice_begins(in, v2))
        return parse_v2(in, out, why);
    if (slice_begins(v1, in) || slice_begins(v2, in))
        return 0;
    return fail(why, "no PROXY header");
}

/* Writing. */

struct output {
    char *at;
    size_t len;
};

static void put(struct output *o, const void *bytes, size_t len)
{
    memcpy(o->at + o->len, bytes, len);
    o->len += len;
}

static void put8(struct output *o, unsigned n)
{
    o->at[o->len++] = (char)n;
}

static void put16(struct output *o, size_t n)
{
    put8(o, (unsigned)(n >> 8) & 0xff);
    put8(o, (unsigned)n & 0xff);
}

static void set16(struct output *o, size_t where, size_t n)
{
    struct output there = {o->at, where};
    put16(&there, n);
}

/* Left out when it is empty or has no room. */
static void put_detail(struct output *o, enum tlv type, struct slice value)
{
    if (value.len == 0 || value.len > PROXY_HEADER_SENT_MAX || o->len + 3 + value.len > PROXY_HEADER_SENT_MAX)
        return;
    put8(o, type);
    put16(o, value.len);
    put(o, value.at, value.len);
}

static void put_tls(struct output *o, const struct proxy_details *d)
{
    if (d->tls_version.len == 0 || o->len + 8 > PROXY_HEADER_SENT_MAX)
        return;
    put8(o, TLV_SSL);
    size_t length_at = o->len;
    put16(o, 0);
    put8(o, CLIENT_SSL | (d->tls_client_shown ? CLIENT_CERT_CONN | CLIENT_CERT_SESSION : 0u));
    put16(o, 0);
    put16(o, d->tls_client_shown ? 0 : 1); /* `verify`: zero = a certificate was shown and is good */
    put_detail(o, TLV_SSL_VERSION, d->tls_version);
    put_detail(o, TLV_SSL_CN, d->tls_client_cn);
    put_detail(o, TLV_SSL_CIPHER, d->tls_cipher);
    set16(o, length_at, o->len - length_at - 2);
}

static size_t write_v2(const struct proxy_header *h, const struct proxy_details *d, char *out)
{
    struct output o = {out, 0};
    bool is_unix = h->source.is_unix || h->destination.is_unix;
    bool is_v4 = ip_is_v4(&h->source) && ip_is_v4(&h->destination);
    put(&o, v2_signature, sizeof v2_signature);
    put8(&o, h->local ? 0x20 : 0x21);
    put8(&o, h->local || is_unix ? FAMILY_NONE : (is_v4 ? FAMILY_V4 : FAMILY_V6) | STREAM);
    put16(&o, 0);
    if (!h->local && !is_unix) {
        size_t from = is_v4 ? 12 : 0;
        put(&o, h->source.bytes + from, 16 - from);
        put(&o, h->destination.bytes + from, 16 - from);
        put16(&o, h->source.port);
        put16(&o, h->destination.port);
    }
    if (d && !h->local) {
        put_detail(&o, TLV_ALPN, d->alpn);
        put_detail(&o, TLV_AUTHORITY, d->authority);
        put_tls(&o, d);
    }
    set16(&o, 14, o.len - V2_FIXED);
    return o.len;
}

static void print_v1(const struct ip *ip, bool is_v4, char out[INET6_ADDRSTRLEN])
{
    inet_ntop(is_v4 ? AF_INET : AF_INET6, ip->bytes + (is_v4 ? 12 : 0), out, INET6_ADDRSTRLEN);
}

static size_t write_v1(const struct proxy_header *h, char *out)
{
    char source[INET6_ADDRSTRLEN], destination[INET6_ADDRSTRLEN];
    bool is_v4 = ip_is_v4(&h->source) && ip_is_v4(&h->destination);
    if (h->local || h->source.is_unix || h->destination.is_unix)
        return (size_t)snprintf(out, PROXY_HEADER_SENT_MAX, "PROXY UNKNOWN\r\n");
    print_v1(&h->source, is_v4, source);
    print_v1(&h->destination, is_v4, destination);
    return (size_t)snprintf(out, PROXY_HEADER_SENT_MAX, "PROXY TCP%c %s %s %u %u\r\n", is_v4 ? '4' : '6',
                            source, destination, h->source.port, h->destination.port);
}

size_t proxy_header_write(const struct proxy_header *h, int version, const struct proxy_details *details,
                          char out[PROXY_HEADER_SENT_MAX])
{
    return version == 1 ? write_v1(h, out) : write_v2(h, details, out);
}
