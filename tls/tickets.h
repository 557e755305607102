/* What the process keeps for TLS across reloads: the keys of session tickets (RFC 5077, RFC 8446 §4.6.1), and
 * the self-signed certificates that were made.
 *
 * Keys are made at start and rotated by the control thread: the newest encrypts, two more decrypt. Workers
 * read an atomic pointer to an immutable set, so no handshake takes a lock. Sets are never freed before the
 * whole is (240 bytes, three a day), so a reader needs no grace period. */
#pragma once

#include "core/base.h"

#define TLS_TICKET_ROTATION_MS (8u * 3600 * 1000)
#define TLS_TICKET_KEYS_KEPT   3

struct tls_tickets;

/* NULL when out of memory or randomness. Outlives every tls_server that was made with it. */
struct tls_tickets *tls_tickets_create(void);
void tls_tickets_free(struct tls_tickets *t);

/* Control thread, now and then: rotates when TLS_TICKET_ROTATION_MS have passed. `now` is CLOCK_MONOTONIC. */
void tls_tickets_refresh(struct tls_tickets *t, msec_t now);
/* Rotates at once. 0, or -1 (the old keys stay). */
int tls_tickets_rotate(struct tls_tickets *t);
