/* The sessions that a worker may resume with the servers of an upstream: a small table, the newest of a place
 * wins. One worker's alone. */
#pragma once

#include <openssl/ssl.h>

#include "core/address.h"

#define TLS_SESSIONS_KEPT 64

struct tls_session {
    uint64_t key; /* 0 = empty */
    SSL_SESSION *session;
};

struct tls_sessions {
    struct tls_session at[TLS_SESSIONS_KEPT];
};

/* Of the server's address and the name that was verified there; never 0. */
uint64_t tls_session_key(const struct address *server, const char *name);

/* NULL = none. The table keeps its own reference. */
SSL_SESSION *tls_sessions_find(struct tls_sessions *t, uint64_t key);
/* Takes the caller's reference. */
void tls_sessions_put(struct tls_sessions *t, uint64_t key, SSL_SESSION *session);
void tls_sessions_clear(struct tls_sessions *t);
