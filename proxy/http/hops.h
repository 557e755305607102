/* How far a request may go on: Max-Forwards of TRACE and OPTIONS (RFC 9110 §7.6.2), and an end to requests
 * that go round in a loop. Several weirs in a row are ordinary, so a Via that names weir is no loop yet: that
 * is one who has come by HOPS_MAX of them. */
#pragma once

#include "proxy/http/exchange.h"

#define HOPS_MAX 16u

/* Members of all Via fields (RFC 9110 §7.6.3) whose received-by is `weir`. */
unsigned hops_passed(const struct fields *f);

/* Whether the exchange may be forwarded. If not it has been answered: 508, or, as the last recipient, what
 * TRACE (RFC 9110 §9.3.8) or OPTIONS (§9.3.7) ask for. */
bool hops_may_forward(struct exchange *x);

/* Of what is forwarded: Max-Forwards of TRACE and OPTIONS is one less. 0, or -1 when out of memory. */
int hops_count_down(struct arena *a, const struct http_request *r, struct fields *out);
