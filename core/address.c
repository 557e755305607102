#include "core/address.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stddef.h>
#include <stdio.h>

static int parse_port(struct slice text, uint16_t *port)
{
    uint64_t value;
    if (slice_to_u64(text, &value) != 0 || value > 65535 || text.len > 5)
        return -1;
    *port = (uint16_t)value;
    return 0;
}

static enum address_kind parse_unix(struct slice path, struct address *out, const char **why)
{
    bool abstract = path.len && path.at[0] == '@';
    if (path.len <= (abstract ? 1 : 0)) {
        *why = abstract ? "a name must follow \"unix:@\"" : "a path must follow \"unix:\"";
        return ADDRESS_BAD;
    }
    if (path.len >= sizeof out->un.sun_path) {
        *why = "the path of a Unix socket may have at most 107 bytes";
        return ADDRESS_BAD;
    }
    if (slice_find(path, 0) < path.len) {
        *why = "the path of a Unix socket may not hold a NUL";
        return ADDRESS_BAD;
    }
    *out = (struct address){0};
    out->un.sun_family = AF_UNIX;
    memcpy(out->un.sun_path, path.at, path.len);
    if (abstract)
        out->un.sun_path[0] = 0;
    out->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.len + (abstract ? 0 : 1));
    return ADDRESS_SOCKET;
}

/* For the C library's parsers, which want a NUL at the end and none before. */
static int copy_text(struct slice s, char *out, size_t size)
{
    if (s.len >= size || slice_find(s, 0) < s.len)
        return -1;
    if (s.len)
        memcpy(out, s.at, s.len);
    out[s.len] = 0;
    return 0;
}

static int parse_v6(struct slice host, struct in6_addr *out)
{
    char text[INET6_ADDRSTRLEN];
    if (copy_text(host, text, sizeof text) != 0)
        return -1;
    return inet_pton(AF_INET6, text, out) == 1 ? 0 : -1;
}

/* The interface of a link-local address, by name or number (RFC 4007 §11). */
static int parse_zone(struct slice zone, uint32_t *out)
{
    char text[IF_NAMESIZE];
    uint64_t number;
    if (copy_text(zone, text, sizeof text) != 0)
        return -1;
    *out = if_nametoindex(text);
    if (*out)
        return 0;
    if (slice_to_u64(zone, &number) != 0 || number == 0 || number > UINT32_MAX)
        return -1;
    *out = (uint32_t)number;
    return 0;
}

static int parse_v6_zone(struct slice host, struct sockaddr_in6 *out, const char **why)
{
    size_t percent = slice_find(host, '%');
    out->sin6_family = AF_INET6;
    if (parse_v6(slice_of(host.at, percent), &out->sin6_addr) != 0)
        return -1;
    if (percent < host.len && parse_zone(slice_skip(host, percent + 1), &out->sin6_scope_id) != 0) {
        *why = "what stands behind \"%\" is no network interface here";
        return -1;
    }
    return 0;
}

static int parse_v4(struct slice host, struct in_addr *out)
{
    char text[INET_ADDRSTRLEN];
    if (copy_text(host, text, sizeof text) != 0)
        return -1;
    return inet_pton(AF_INET, text, out) == 1 ? 0 : -1;
}

/* Letters, digits, hyphens and (seen in the wild) underscores, in labels of 1 to 63 bytes (RFC 1123 §2.1).
 * What is digits and dots alone was meant to be an address. */
static bool is_host_name(struct slice host)
{
    if (host.len == 0 || host.len > 253)
        return false;
    bool digits_only = true;
    size_t label = 0;
    for (size_t i = 0; i < host.len; i++) {
        char c = ascii_lower(host.at[i]);
        bool digit = c >= '0' && c <= '9';
        if (c == '.') {
            if (label == 0)
                return false;
            label = 0;
            continue;
        }
        if (!(digit || (c >= 'a' && c <= 'z') || c == '-' || c == '_') || ++label > 63)
            return false;
        digits_only = digits_only && digit;
    }
    return !digits_only;
}

/* What is wrong with a text that is no address. */
static const char *wrong_with(struct slice text)
{
    size_t colons = 0, digits = 0;
    for (size_t i = 0; i < text.len; i++) {
        colons += text.at[i] == ':';
        digits += text.at[i] >= '0' && text.at[i] <= '9';
    }
    if (memmem(text.at, text.len, "://", 3))
        return "an address has no scheme; write 127.0.0.1:80 or name.example:80, without http://";
    if (memchr(text.at, '/', text.len))
        return "an address has no path; write 127.0.0.1:80 or name.example:80";
    if (text.len && digits == text.len)
        return "a port alone has a colon before it, like :80";
    if (colons > 1 && text.at[0] != '[')
        return "an IPv6 address stands in brackets before its port, like [::1]:80";
    if (colons == 0 || text.at[text.len - 1] == ']')
        return "the port is missing: expected an address like 127.0.0.1:80";
    return "expected an address like 127.0.0.1:80, [::1]:80, name.example:80 or unix:/run/app.sock";
}

enum address_kind address_parse(struct slice text, struct address *out, struct slice *host, uint16_t *port,
                                const char **why)
{
    *why = wrong_with(text);
    if (slice_begins(text, S("unix:")))
        return parse_unix(slice_skip(text, 5), out, why);
    size_t colon = text.len;
    while (colon > 0 && text.at[colon - 1] != ':')
        colon--;
    if (colon == 0)
        return ADDRESS_BAD;
    struct slice name = slice_of(text.at, colon - 1);
    uint16_t number;
    if (parse_port(slice_skip(text, colon), &number) != 0) {
        if (!memchr(text.at, '/', text.len) && text.at[text.len - 1] != ']' &&
            !memchr(name.at, ':', name.len))
            *why = "the port must be a number from 0 to 65535";
        return ADDRESS_BAD;
    }
    struct address a = {0};
    if (name.len == 0) {
        a.len = sizeof a.v6;
        a.v6.sin6_family = AF_INET6;
        a.v6.sin6_addr = in6addr_any;
    } else if (name.at[0] == '[') {
        if (name.len < 2 || name.at[name.len - 1] != ']' ||
            parse_v6_zone(slice_of(name.at + 1, name.len - 2), &a.v6, why) != 0)
            return ADDRESS_BAD;
        a.len = sizeof a.v6;
    } else if (slice_equal(name, S("*")) || parse_v4(name, &a.v4.sin_addr) == 0) {
        a.len = sizeof a.v4;
        a.v4.sin_family = AF_INET;
    } else if (is_host_name(name)) {
        *host = name;
        *port = number;
        return ADDRESS_NAME;
    } else {
        return ADDRESS_BAD;
    }
    address_set_port(&a, number);
    *port = number;
    *out = a;
    return ADDRESS_SOCKET;
}

size_t address_print(const struct address *a, char *out, size_t size)
{
    char host[INET6_ADDRSTRLEN];
    int n = 0;
    if (size)
        out[0] = 0;
    if (a->len == 0)
        return 0;
    if (a->any.sa_family == AF_INET) {
        inet_ntop(AF_INET, &a->v4.sin_addr, host, sizeof host);
        n = snprintf(out, size, "%s:%u", host, ntohs(a->v4.sin_port));
    } else if (a->any.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &a->v6.sin6_addr, host, sizeof host);
        if (a->v6.sin6_scope_id)
            n = snprintf(out, size, "[%s%%%u]:%u", host, a->v6.sin6_scope_id, ntohs(a->v6.sin6_port));
        else
            n = snprintf(out, size, "[%s]:%u", host, ntohs(a->v6.sin6_port));
    } else if (a->any.sa_family == AF_UNIX) {
        size_t len = a->len - offsetof(struct sockaddr_un, sun_path);
        if (len && a->un.sun_path[0] == 0)
            n = snprintf(out, size, "unix:@%.*s", (int)len - 1, a->un.sun_path + 1);
        else
            n = snprintf(out, size, "unix:%.*s", (int)len, a->un.sun_path);
    }
    return n < 0 ? 0 : (size_t)n < size ? (size_t)n : size ? size - 1 : 0;
}

bool address_equal(const struct address *a, const struct address *b)
{
    return a->len == b->len && memcmp(&a->any, &b->any, a->len) == 0;
}

void address_set_port(struct address *a, uint16_t port)
{
    if (a->any.sa_family == AF_INET)
        a->v4.sin_port = htons(port);
    else if (a->any.sa_family == AF_INET6)
        a->v6.sin6_port = htons(port);
}

uint16_t address_port(const struct address *a)
{
    if (a->any.sa_family == AF_INET)
        return ntohs(a->v4.sin_port);
    if (a->any.sa_family == AF_INET6)
        return ntohs(a->v6.sin6_port);
    return 0;
}

static void map_v4(uint8_t *out, const void *v4)
{
    memset(out, 0, 10);
    out[10] = out[11] = 0xff;
    memcpy(out + 12, v4, 4);
}

struct ip ip_of_address(const struct address *a)
{
    struct ip ip = {0};
    ip.port = address_port(a);
    if (a->any.sa_family == AF_INET)
        map_v4(ip.bytes, &a->v4.sin_addr);
    else if (a->any.sa_family == AF_INET6)
        memcpy(ip.bytes, &a->v6.sin6_addr, 16);
    else
        ip.is_unix = true;
    return ip;
}

/* Once a request: inet_ntop() would go through printf. */
static size_t print_v4(const uint8_t *bytes, char *out)
{
    char *at = out;
    for (int i = 0; i < 4; i++) {
        unsigned value = bytes[i];
        if (i)
            *at++ = '.';
        if (value >= 100)
            *at++ = (char)('0' + value / 100);
        if (value >= 10)
            *at++ = (char)('0' + value / 10 % 10);
        *at++ = (char)('0' + value % 10);
    }
    *at = 0;
    return (size_t)(at - out);
}

size_t ip_print(const struct ip *ip, char *out, size_t size)
{
    if (size < INET6_ADDRSTRLEN) {
        if (size)
            out[0] = 0;
        return 0;
    }
    if (ip_is_v4(ip))
        return print_v4(ip->bytes + 12, out);
    if (ip->is_unix)
        memcpy(out, "unix:", 6);
    else
        inet_ntop(AF_INET6, ip->bytes, out, (socklen_t)size);
    return strlen(out);
}

int ip_parse(struct slice text, struct ip *out)
{
    struct ip ip = {0};
    struct in_addr v4;
    struct in6_addr v6;
    if (parse_v4(text, &v4) == 0) {
        map_v4(ip.bytes, &v4);
    } else {
        if (text.len > 2 && text.at[0] == '[' && text.at[text.len - 1] == ']')
            text = slice_of(text.at + 1, text.len - 2);
        if (parse_v6(text, &v6) != 0)
            return -1;
        memcpy(ip.bytes, &v6, 16);
    }
    *out = ip;
    return 0;
}

static bool bits_equal(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    if (memcmp(a, b, bits / 8) != 0)
        return false;
    unsigned rest = bits % 8;
    return rest == 0 || ((a[bits / 8] ^ b[bits / 8]) >> (8 - rest)) == 0;
}

int cidr_parse(struct slice text, struct cidr *out)
{
    size_t slash = slice_find(text, '/');
    struct ip ip;
    if (ip_parse(slice_of(text.at, slash), &ip) != 0)
        return -1;
    unsigned width = ip_is_v4(&ip) ? 32 : 128;
    uint64_t bits = width;
    if (slash < text.len && (slice_to_u64(slice_skip(text, slash + 1), &bits) != 0 || bits > width))
        return -1;
    struct cidr c = {.bits = (uint8_t)(bits + 128 - width)};
    memcpy(c.bytes, ip.bytes, 16);
    for (unsigned i = c.bits; i < 128; i++)
        if (c.bytes[i / 8] & (0x80u >> (i % 8)))
            return -1;
    *out = c;
    return 0;
}

bool cidr_contains(const struct cidr *c, const struct ip *ip)
{
    if (ip->is_unix || (c->bits < 96 && ip_is_v4(ip)))
        return false;
    return bits_equal(c->bytes, ip->bytes, c->bits);
}

unsigned cidr_set_match(const struct cidr_set *s, const struct ip *ip)
{
    unsigned best = 0;
    for (size_t i = 0; i < s->count; i++)
        if (s->at[i].bits + 1u > best && cidr_contains(&s->at[i], ip))
            best = s->at[i].bits + 1u;
    return best;
}
