/* The records of a TLS 1.3 connection, once its handshake is done: weir reads and writes them itself, and
 * lets go of OpenSSL's SSL object, which is four fifths of what an idle connection would keep and most of
 * what a small record costs. The handshake, verification, tickets and ciphers are OpenSSL's.
 *
 * Server side only: what a client may send after its handshake is data, alerts and KeyUpdate (RFC 8446 §4.6),
 * while a client must understand tickets. TLS 1.2, and suites that record.h does not know, stay with the SSL.
 *
 * The traffic secrets come by OpenSSL's key log callback, which is the public way to have them; they are kept
 * as long as the connection (KeyUpdate needs them), written nowhere, and wiped. */
#pragma once

#include "tls/record.h"
#include "tls/transport.h"

/* RFC 8446 §5.5 allows 2^24.5 full records under one key of AES-GCM; looked at before each write. */
#define TLS_RECORDS_A_KEY (UINT64_C(1) << 24)

struct tls_records {
    struct tls_protection in, out;
    char *rest; /* plaintext that did not fit, from rest_at on */
    size_t rest_at, rest_len;
    unsigned char message[5]; /* of a handshake message that comes in pieces (§5.1) */
    unsigned message_len;
};

/* Watches the handshakes of a context for what tls_records_take_over() needs. */
void tls_records_watch(SSL_CTX *context);

/* After the handshake: from now on s->records, and no s->ssl. False when it stays with the SSL. */
bool tls_records_take_over(struct tls_state *s);
void tls_records_free(struct tls_state *s);

/* Plaintext into `buf`: how much; where it ends s->end says why. What it answers is left in the wire buffer,
 * and counted in s->answered with everything that brought no plaintext. */
size_t tls_records_read(struct tls_state *s, char *buf, size_t size);

/* Plaintext is there that did not fit. */
bool tls_records_pending(const struct tls_state *s);

/* 0 or -errno. The end of it is left in the wire buffer. */
int tls_records_write(struct tls_state *s, const struct iovec *iov, int count);

/* close_notify (§6.1). */
void tls_records_shutdown(struct tls_state *s);
