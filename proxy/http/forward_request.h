/* The request as a server sees it: which fields go on, which are added, and how the head is written. */
#pragma once

#include "proxy/http/exchange.h"
#include "proxy/http/h1/write.h"

/* Makes the fields in the exchange's arena: hop-by-hop ones removed, X-Forwarded-*, X-Request-Id and Via set,
 * the route's edits made. 0, or -1 when out of memory. */
int forward_fields(struct exchange *x, struct fields *out);

/* Of a call of gRPC with a deadline: grpc-timeout says what is left of it now. */
void forward_put_deadline(struct exchange *x, struct fields *f);

/* Writes the head in HTTP/1.1. */
void forward_write_head(const struct exchange *x, const struct fields *f, struct head_writer *w);
