/* Ticket keys as the handshakes use them; for the other files of tls/. */
#pragma once

#include "core/slice.h"
#include "tls/tickets.h"

#define TLS_TICKET_KEY_BYTES 80

/* The layout of a ticket key file: name, HMAC-SHA256 key, AES-256 key. */
struct tls_ticket_key {
    unsigned char name[16];
    unsigned char hmac[32];
    unsigned char aes[32];
};

/* Immutable once published. */
struct tls_ticket_keys {
    struct tls_ticket_keys *older; /* of tls_tickets: freed with it */
    size_t count;
    struct tls_ticket_key at[]; /* the first encrypts */
};

/* From the contents of key files, one behind the other; NULL when out of memory. tls_ticket_keys_free() it.
 */
struct tls_ticket_keys *tls_ticket_keys_read(struct slice bytes);
void tls_ticket_keys_free(struct tls_ticket_keys *k);

/* The present set; any thread. */
const struct tls_ticket_keys *tls_tickets_keys(const struct tls_tickets *t);

/* The self-signed certificate and key for these names, made when there is none yet: PEM text that lives with
 * `t`. 0 or -1. Control thread. */
int tls_tickets_self_signed(struct tls_tickets *t, const struct slice *names, size_t count,
                            struct slice *pem);
