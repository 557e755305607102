/* The Forwarded field (RFC 7239): who is named in it, and what weir adds to it. Pure text. */
#pragma once

#include <sys/types.h>

#include "core/address.h"
#include "core/arena.h"

/* How many elements a field's value can have at most. */
size_t forwarded_bound(struct slice value);

/* The `for` of every element, in order, without its quotes; empty for an element without one. `nodes` has
 * room for forwarded_bound(). The number of elements, or -1 when the value is none (§4). */
ssize_t forwarded_nodes(struct slice value, struct slice *nodes);

/* "for=192.0.2.1;host=a.example;proto=https", quoted where it must be: IPv6 addresses, which stand in
 * brackets (§6), and a host with a port. A Unix peer is "unknown". A host that cannot be quoted, or is empty,
 * is left out. In the arena; at is NULL when out of memory. */
struct slice forwarded_element(struct arena *a, const struct ip *peer, struct slice host, struct slice proto);
