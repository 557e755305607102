/* The name that a TLS client asks for (SNI, RFC 6066 §3), read from its first bytes without taking part in
 * the handshake. */
#pragma once

#include "core/slice.h"

#define CLIENT_HELLO_MAX      16384u /* bytes on the wire; a longer one is no good */
#define CLIENT_HELLO_NAME_MAX 255u

enum client_hello {
    CLIENT_HELLO_MORE,     /* not all of it is there */
    CLIENT_HELLO_NAMED,    /* it asks for a name */
    CLIENT_HELLO_NAMELESS, /* it asks for none */
    CLIENT_HELLO_NOT_TLS,  /* something else altogether: told by the first bytes that cannot be of one */
    CLIENT_HELLO_BROKEN,   /* TLS, but with a length or a name that cannot be */
};

/* What the bytes at the beginning of a connection are. The handshake message may lie in any number of records
 * (RFC 8446 §5.1); extensions that are not known, GREASE among them (RFC 8701), are passed over. *name is in
 * lower case, without a dot behind, in `room`; empty unless CLIENT_HELLO_NAMED. The verdict on a prefix is
 * the verdict on the whole, or CLIENT_HELLO_MORE. */
enum client_hello client_hello_parse(struct slice in, char room[CLIENT_HELLO_NAME_MAX], struct slice *name);
