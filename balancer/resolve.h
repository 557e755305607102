/* Names to addresses (and SRV records), on the control thread's loop and without blocking: c-ares, its
 * sockets as libevent events. For every server `name:port` the name is looked up (A and AAAA) at once, then
 * every interval; after a failed look-up sooner, with a back-off from one second up. A failed look-up keeps
 * the last answer; of several addresses the present one is kept while it is still among them, else the first
 * is taken (RFC 6724 order). */
#pragma once

#include "balancer/server.h"
#include "core/loop.h"

struct resolver;
struct resolve_name;

/* `servers` as in registry_options. NULL when out of memory. */
struct resolver *resolver_create(struct loop *l, const char *servers, msec_t interval);
void resolver_free(struct resolver *r);

/* Waits, without the loop, until nothing is asked any more, or for so long; what came is delivered. */
void resolver_settle(struct resolver *r, msec_t at_most);

/* Looks up the server's host until resolver_remove; on every change server_set_address. `changed` may be
 * NULL. NULL when out of memory. */
struct resolve_name *resolver_add(struct resolver *r, struct server *s, struct slice host, uint16_t port,
                                  void (*changed)(struct server *, void *), void *argument);
void resolver_remove(struct resolve_name *n);
/* Looks up soon, when nothing is under way: the server does not answer, it may have moved. */
void resolver_hurry(struct resolve_name *n);

/* Single questions. The answer comes later, never from within the call that asked. */

struct resolve_record {
    struct address address; /* of a host; without a port */
    struct slice target;    /* of an SRV record (RFC 2782) … */
    uint16_t port, priority, weight;
    uint32_t ttl; /* seconds */
};

struct resolve_result {
    bool told;          /* by a server of the name: these records, or that there are none */
    const char *reason; /* why there are no records; "" = there are */
    const struct resolve_record *records;
    size_t count;
};

struct resolve_query;
/* `r` lives until it returns. */
typedef void resolve_done(void *argument, const struct resolve_result *r);

/* Addresses of one family (AF_INET, AF_INET6); /etc/hosts counts. NULL when out of memory. */
struct resolve_query *resolver_ask_addresses(struct resolver *r, const char *host, int family,
                                             resolve_done *done, void *argument);
struct resolve_query *resolver_ask_srv(struct resolver *r, const char *name, resolve_done *done,
                                       void *argument);
/* It is not called back any more. Only before it was; NULL is allowed. */
void resolve_cancel(struct resolve_query *q);
