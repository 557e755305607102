/* What the files of the resolver share; nobody else includes it.
 *
 *     resolve.c        c-ares on the control thread's loop; servers that have a name
 *     resolve_query.c  single questions: addresses of a host, SRV records */
#pragma once

#include <ares.h>

#include "balancer/resolve.h"

struct resolver {
    struct loop *loop;
    ares_channel channel;
    struct list sockets;
    struct list queries; /* of struct resolve_query */
    struct timer timer;  /* c-ares' own time limits */
    msec_t interval;
};

/* After anything was asked of c-ares, or told to it: its time limits may be others now. */
void resolver_arm(struct resolver *r);

/* Delivers the answers to single questions that have come. */
void resolver_deliver(struct resolver *r);

/* When c-ares has called back for all: those whose answer was not delivered yet. */
void resolver_free_queries(struct resolver *r);
