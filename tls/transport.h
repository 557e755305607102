/* The transport of conn.h over OpenSSL; for server.c and client.c. Plaintext pieces are joined into records.
 * How ciphertext comes and goes: wire.h. */
#pragma once

#include <openssl/ssl.h>

#include "core/conn.h"
#include "tls/hold.h"
#include "tls/info.h"

#define TLS_STATE_MAGIC 0x746c7331u

enum tls_end {
    TLS_OPEN,
    TLS_ENDED, /* close_notify came */
    TLS_CUT,   /* the socket's end came without it */
    TLS_BROKEN,
};

struct tls_state {
    uint32_t magic;
    enum tls_end end;
    int error; /* errno of TLS_BROKEN */
    bool established : 1;
    bool server : 1;
    bool said_goodbye : 1;
    bool wire_eof : 1;
    int wire_error;
    SSL *ssl;
    struct conn *conn;
    struct tls_slot *slot;
    /* Ciphertext that OpenSSL has not taken: in the loop's scratch during a call, in `left` between calls. */
    const char *in;
    size_t in_len;
    char *left;
    size_t wire_len;
    size_t wanted; /* how much the present call can use */
    /* Bytes written on behalf of reads (KeyUpdate answers) since plaintext came: bounded. */
    size_t answered;
    size_t paced; /* bytes written since the start or the last idle time; see record_size() */
    usec_t last_write_us;
    const char *failure; /* static, or failure_text */
    char *failure_text;
    char *name; /* server: SNI, in lower case; client: the name that is verified */
    struct tls_info info;
    char *info_text;
    usec_t began_us; /* the handshake; 0 = not yet */
    /* Client: before the first handshake step; may be NULL. */
    void (*before_handshake)(struct tls_state *);
    uint64_t session_key; /* client; 0 = none */
    void *owner;          /* the slot of the client or server */
};

/* A BIO method of the transport, for tls_hold. NULL when out of memory. */
BIO_METHOD *tls_transport_bio(void);

/* A state for the connection, with its SSL (not yet on the connection: conn_set_transport(c, &tls_transport,
 * state)). Takes the slot. NULL when out of memory. */
struct tls_state *tls_state_create(struct conn *c, SSL_CTX *context, struct tls_slot *slot, bool server);
void tls_state_free(struct tls_state *s);

/* The state of an SSL, in callbacks. */
static inline struct tls_state *tls_state_of(const SSL *ssl)
{
    struct tls_state *s = SSL_get_app_data(ssl);
    ASSERT(s && s->magic == TLS_STATE_MAGIC);
    return s;
}

extern const struct conn_transport tls_transport;

/* From info.c: fills s->info after the handshake. -1 when out of memory. */
int tls_info_fill(struct tls_state *s);
/* From failure.c: notes why, out of OpenSSL's error queue, and clears the queue. */
void tls_failure_note(struct tls_state *s);
