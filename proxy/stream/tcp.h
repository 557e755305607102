/* TCP streams (L4): a client's connection and one to a server of the listener's upstream, and bytes both
 * ways. A half-close is passed on as a half-close; an error on one side resets the other, so that nothing cut
 * looks complete. */
#pragma once

#include "proxy/listener.h"

/* Takes over an accepted socket. 0, or -1 when it was refused (limits, memory); it is closed then. */
int tcp_accept(struct listener *l, const struct arrival *a);
