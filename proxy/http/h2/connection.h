/* HTTP/2 towards clients (RFC 9113), by nghttp2: a connection whose streams each feed an exchange. It begins
 * as a connection of the h1 codec, which hands it over when ALPN chose h2, or when its first bytes are the
 * client's preface (h2c by prior knowledge).
 *
 * Flow control goes end to end: a stream's window opens as its responder takes the request's body, and a
 * responder waits while its stream's response is not taken. What a connection can hold is bounded by its
 * number of streams. */
#pragma once

#include "proxy/listener.h"

/* Enough of the client's preface to know it: no HTTP/1.1 request begins so. */
#define H2_PREFACE "PRI * HTTP/2.0"

/* Takes over an open connection: its handler, and `client`, which is moved out of where it is (and not to be
 * left by the one who gave it). `kept` is what was read of it already; it is looked at after the pass. At
 * the end gone(c) frees the memory that `c` is in. Returns 0, or -1 when out of memory: nothing was changed
 * then. */
int h2_take_over(struct conn *c, struct client *client, struct slice kept, void (*gone)(struct conn *c));
