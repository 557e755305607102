/* What the files of listeners share: listener.c (listeners from configuration to configuration, and their
 * clients) and acceptor.c (the sockets that they accept on). */
#pragma once

#include "proxy/listener.h"

/* NULL = it has none of that descriptor. */
struct acceptor *acceptor_find(struct listener *l, int fd);
/* Accepts on the socket from now on, unless it does already. */
void acceptor_attach(struct listener *l, const struct listener_socket *s);
/* The descriptor stays open: it is lent. */
void acceptor_detach(struct acceptor *a);

/* A socket that is given up may have connections in its queue: they are served before it goes. So that none
 * comes between the last one and the close, no new handshake is answered from here on: clients try again
 * shortly after, and are refused or taken by whoever listens there then. */
void acceptor_close_queue(struct acceptor *a);
