/* What stands ahead of a connection's own protocol: the PROXY header of a proxy in front. The socket is held
 * here until that is there, then it goes on to the codec (listener_take). Bytes are looked at where they lie,
 * in the socket, and only the header is taken out: what is behind it is the codec's, TLS or not. */
#pragma once

#include "proxy/listener.h"

/* Whether the listener's connections begin with something that is not their protocol's. */
bool prelude_is_wanted(const struct listener *l);

/* Takes over an accepted socket. 0, or -1 when it was refused (limits, memory, not from a trusted proxy, no
 * header); it is closed then. It has timeouts.header to go on. */
int prelude_accept(struct listener *l, const struct arrival *a);
