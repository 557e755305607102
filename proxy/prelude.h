/* What is looked at ahead of a connection's own protocol: the PROXY header of a proxy in front, and the name
 * that a TLS client asks for (`sni`, `passthrough`). The socket is held here until that is there, then it
 * goes on to the codec (listener_take). Bytes are looked at where they lie, in the socket, and only the PROXY
 * header is taken out: all else is the codec's, TLS or not. */
#pragma once

#include "proxy/listener.h"

/* Whether the listener's connections are looked at first. */
bool prelude_is_wanted(const struct listener *l);

/* Takes over an accepted socket. 0, or -1 when it was refused (limits, memory, not from a trusted proxy, no
 * header, a name that nobody has); it is closed then. It has timeouts.header to go on. */
int prelude_accept(struct listener *l, const struct arrival *a);
