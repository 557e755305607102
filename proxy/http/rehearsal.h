/* An exchange that nobody sent: what the code of live traffic makes of a request is asked of that code
 * itself. It stands on a worker and a listener of its own that serve nothing, so nothing is sent and no state
 * changes. What only traffic knows (the client's port, TLS) is empty. */
#pragma once

#include "proxy/http/exchange.h"
#include "proxy/http/plain_request.h"

struct rehearsal;

/* p->config is there. NULL when out of memory; what the exchange gives lives until rehearsal_free(). The
 * client is the one that traffic would take for it (client_address.h). */
struct rehearsal *rehearsal_create(const struct plain_request *p);
/* NULL is allowed. */
void rehearsal_free(struct rehearsal *r);

/* With the route that it meets, the part of the path that was matched, and the path that is sent. */
void rehearsal_route(struct rehearsal *r, const struct route *route, const struct route_match *match,
                     struct slice path);
struct exchange *rehearsal_exchange(struct rehearsal *r);
