/* Listening sockets that the service manager opened (sd_listen_fds(3): LISTEN_PID, LISTEN_FDS,
 * LISTEN_FDNAMES): ports that weir itself may not bind, and connections that wait while it is restarted.
 *
 * A socket is the listener's that binds its address; else, by FileDescriptorName=, the listener's of that
 * name, in place of an address that it would bind. All workers share it: it stands in each one's loop. One
 * for datagrams is the first worker's alone. It is never removed, and stays the manager's to close. */
#pragma once

#include "proxy/snapshot.h"
#include "proxy/sockets.h"

/* Before another thread is there. Takes the variables out of the environment. */
void activation_take(struct sockets *s);

/* Gives those that are named to their listeners, and closes, with a word in the log, those that nobody wants.
 * Once, before sockets are opened for the first configuration. */
void activation_match(struct sockets *s, const struct snapshot *snapshot);
