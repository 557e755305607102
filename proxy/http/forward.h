/* The responder that asks an upstream: picks a server, takes or makes a connection, sends the request in
 * HTTP/1.1, and passes the response on. An attempt that fails before any byte of a response may be made again
 * elsewhere:
 *
 *  - nothing was sent (connect or handshake failed): any method, any other server;
 *  - it was sent, and the connection ended before a byte came back: idempotent methods (RFC 9110 §9.2.2)
 * whose body is still at hand, within the upstream's retry budget. */
#pragma once

#include "proxy/http/exchange.h"

extern const struct responder forward_responder;
