/* UDP (L4): datagrams from clients to servers and back.
 *
 * A session is what one client address says to one local address of a listener: a socket of its own,
 * connected to a server of the listener's upstream, for as many datagrams either way as they like. It ends
 * after `timeouts.idle` without one. Answers leave from the address that the client asked, also where the
 * listener has a wildcard. A server that refuses (ICMP) before it has answered is left for another one, which
 * gets what the first was sent; after an answer the session ends.
 *
 * Sessions are bounded by `limits.connections`: at the bound the one that was quiet for longest goes. They
 * live on the worker whose socket the kernel chooses for the client's address.
 *
 * A reload leaves them alone: at its client's next datagram a session goes over to the new configuration, and
 * to another server if its own is not in there any more. When its socket goes - an address that is given up,
 * a stop, an upgrade - a session goes on only to bring what servers answer, and ends when it was quiet for
 * UDP_LINGER_MS; at a stop as soon as it is answered. */
#pragma once

#include "core/address.h"

struct listener;
struct worker;
struct udp_port;
struct udp_sessions;
struct udp_batches;

#define UDP_LINGER_MS 3000

/* Serves a listening socket, which is borrowed. NULL when out of memory. */
struct udp_port *udp_attach(struct listener *l, int fd, const struct address *a);
/* Reads no more from it. `given_up`: what waits in its queue is served, and the socket is closed when its
 * last session has ended, UDP_LINGER_MS from now at the latest. Otherwise somebody else goes on with it. The
 * port is gone after this call. */
void udp_detach(struct udp_port *p, bool given_up);

/* At the listener's and the worker's end; NULL is allowed. */
void udp_sessions_free(struct udp_sessions *t);
void udp_batches_free(struct udp_batches *b);
