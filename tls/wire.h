/* The ciphertext of a connection; for transport.c. OpenSSL reads and writes it through a BIO.
 *
 * Reading: it is received into the loop's scratch buffer, one recv(2) for many records, and OpenSSL takes it
 * from there. What it did not take when the call ends (the caller's buffer is full, or data came behind the
 * handshake) is copied into a buffer of the connection's own, which is freed when it is empty.
 *
 * Writing: records are gathered in the loop's wire buffer, and leave by one conn_raw_write(). */
#pragma once

#include "tls/transport.h"

/* At the end of a call: keeps what was not taken. May break the connection (ENOMEM). */
void tls_wire_keep(struct tls_state *s);

/* Whether the next record is there, all of it. OpenSSL takes nothing of a record that it has not asked for,
 * so what is left begins with a header. */
static inline bool tls_wire_has_record(const struct tls_state *s)
{
    const unsigned char *header = (const unsigned char *)s->in;
    return s->in_len >= 5 && s->in_len - 5 >= (size_t)(header[3] << 8 | header[4]);
}

/* One call for all that was gathered. A write error is told by the connection. */
void tls_wire_flush(struct tls_state *s);
