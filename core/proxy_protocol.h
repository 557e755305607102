/* The PROXY protocol, versions 1 and 2 (HAProxy's "proxy-protocol.txt"): the header that a proxy sends ahead
 * of a connection's own bytes, saying between which addresses the connection really is. Pure text and bytes:
 * nothing is read or sent here. */
#pragma once

#include <sys/types.h>

#include "core/address.h"

#define PROXY_HEADER_MAX 4096u /* of a header that is received, whatever length it claims */

struct proxy_header {
    bool local; /* v2 LOCAL, v1 UNKNOWN, v2 UNSPEC: it says nothing; the socket's addresses are true */
    uint8_t version;
    struct ip source, destination; /* with ports; is_unix for Unix sockets */
};

/* The header at the beginning of `in`: its length, 0 when more bytes are needed to say, or -1 when there is
 * none or a broken one (*why says which, in words). TLVs are passed over, but must fit. */
ssize_t proxy_header_parse(struct slice in, struct proxy_header *out, const char **why);

/* What can be told beside the addresses, by v2 alone; empty = not told. */
struct proxy_details {
    struct slice alpn;
    struct slice authority;   /* the server name that the client asked for */
    struct slice tls_version; /* "TLSv1.3"; empty = the client's connection is plain */
    struct slice tls_cipher;
    struct slice tls_client_cn;
    bool tls_client_shown; /* the client showed a certificate, and it was verified */
};

#define PROXY_HEADER_SENT_MAX 1024u /* room enough for what proxy_header_write makes */

/* Writes the header of that version (1 or 2); the length. A detail that has no room is left out. `details`
 * may be NULL. Addresses of two families are both given as IPv6; a Unix socket on either side makes the
 * header one that says nothing (v2: UNSPEC, with the details), and so does `local` (v2: LOCAL; v1: UNKNOWN).
 */
size_t proxy_header_write(const struct proxy_header *h, int version, const struct proxy_details *details,
                          char out[PROXY_HEADER_SENT_MAX]);
