/* HTTP/1.1 towards clients (RFC 9112): a connection that reads one request after the other, hands each to an
 * exchange, and writes its response. Pipelined requests wait their turn in the connection's kept bytes, or in
 * the socket. */
#pragma once

#include "proxy/listener.h"

/* Takes over an accepted socket. 0, or -1 when it was refused (limits, memory); it is closed then. */
int h1_accept(struct listener *l, const struct arrival *a);
