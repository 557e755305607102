/* The ciphertext of a connection; for transport.c (where OpenSSL reads and writes it, through a BIO) and
 * records.c.
 *
 * It is received into the loop's scratch buffer, one recv(2) for many records. What was not taken when a call
 * ends is copied into a buffer of the connection's own, which is freed when it is empty. What is written is
 * gathered in the loop's wire buffer, and leaves by one conn_raw_write(). */
#pragma once

#include "tls/transport.h"

/* More ciphertext behind s->in, all of it in the scratch buffer; false when there is none now. Fills in
 * s->wire_eof and s->wire_error. */
bool tls_wire_receive(struct tls_state *s);

/* At the end of a call: keeps what was not taken. May break the connection (ENOMEM). */
void tls_wire_keep(struct tls_state *s);

/* Whether the next record is there, all of it. */
static inline bool tls_wire_has_record(const struct tls_state *s)
{
    const unsigned char *header = (const unsigned char *)s->in;
    return s->in_len >= 5 && s->in_len - 5 >= (size_t)(header[3] << 8 | header[4]);
}

/* Room for `size` bytes behind what was gathered; s->wire_len grows when they are there. */
char *tls_wire_room(struct tls_state *s, size_t size);
/* One call for all that was gathered. A write error is told by the connection. */
void tls_wire_flush(struct tls_state *s);
