/* Socket addresses: parsing, printing, comparing, and sets of networks (CIDR). */
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "core/slice.h"

/* Any address that a socket can have; len 0 = none. */
struct address {
    socklen_t len;
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un un;
    };
};

/* A peer's IP address in small: IPv4 as ::ffff:a.b.c.d. A Unix peer is all zero with is_unix. */
struct ip {
    uint8_t bytes[16];
    uint16_t port;
    bool is_unix;
};

#define ADDRESS_TEXT_MAX 128

enum address_kind {
    ADDRESS_BAD = -1,
    ADDRESS_SOCKET, /* out is complete */
    ADDRESS_NAME,   /* host and port are to be resolved: *host, *port */
};

/* `127.0.0.1:80`, `[::1]:80`, `[fe80::1%eth0]:80`, `unix:/run/app.sock`, `unix:@abstract`, `name.example:80`;
 * and, for listening, `:80` (any IPv6, dual stack) and `*:80` (any IPv4). On ADDRESS_BAD, *why says what is
 * wrong. */
enum address_kind address_parse(struct slice text, struct address *out, struct slice *host, uint16_t *port,
                                const char **why);

/* As address_parse reads it; returns the length written (without the NUL). */
size_t address_print(const struct address *a, char *out, size_t size);

bool address_equal(const struct address *a, const struct address *b);

void address_set_port(struct address *a, uint16_t port);
uint16_t address_port(const struct address *a);

struct ip ip_of_address(const struct address *a);
/* Without the port: "10.0.0.1", "::1", or "unix:". */
size_t ip_print(const struct ip *ip, char *out, size_t size);
/* A bare address without a port or zone, IPv6 with or without brackets. 0 or -1. */
int ip_parse(struct slice text, struct ip *out);
static inline bool ip_is_v4(const struct ip *ip)
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    return memcmp(ip->bytes, mapped, 12) == 0;
}

struct cidr {
    uint8_t bytes[16];
    uint8_t bits; /* 0..128, of the mapped form */
};

/* `10.0.0.0/8`, `10.0.0.1`, `2001:db8::/32`. 0, or -1 (bits behind the prefix set, nonsense). A network of
 * IPv6 holds no IPv4 address, `::/0` neither. */
int cidr_parse(struct slice text, struct cidr *out);
bool cidr_contains(const struct cidr *c, const struct ip *ip);

struct cidr_set {
    struct cidr *at;
    size_t count;
};

/* The longest prefix of the set that holds the address, in bits + 1; 0 when none does. */
unsigned cidr_set_match(const struct cidr_set *s, const struct ip *ip);
