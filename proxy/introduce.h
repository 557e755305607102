/* The PROXY header that weir sends to servers whose upstream asks for it (`proxy_protocol`). */
#pragma once

#include "balancer/upstream.h"
#include "core/conn.h"

/* Whom a new connection to a server is made for. */
struct introduction {
    const struct ip *client;
    const struct ip *destination; /* where the client connected to; NULL = the own address of `from` */
    const struct conn *from;      /* the client's connection: its TLS is told; NULL = it is gone */
    struct slice
        server_name; /* that the client asked for, when TLS does not end here; empty = nothing known */
};

/* Called at once after pool_connect: the header goes out ahead of everything, TLS too. Does nothing when the
 * upstream wants none. A failure is told by the connection. */
void introduce(struct conn *to, const struct upstream *u, const struct introduction *i);
