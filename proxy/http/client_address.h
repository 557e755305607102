/* Who the client is: the socket's peer, or - behind trusted proxies - whom they name (X-Forwarded-For, or
 * Forwarded where that is not there). */
#pragma once

#include "proxy/http/exchange.h"

/* Sets x->client and x->client_text. From the right, addresses in trusted_proxies are passed over; the first
 * other one is the client. */
void set_client_address(struct exchange *x);

/* Whether the peer is one whose X-Forwarded-* fields are believed. */
bool client_peer_is_trusted(const struct exchange *x);
