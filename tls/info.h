/* What is known of a connection's TLS, for variables, logs and policy. */
#pragma once

#include "core/conn.h"

struct tls_info {
    struct slice version; /* "TLSv1.3" */
    struct slice cipher;  /* "TLS_AES_128_GCM_SHA256" */
    struct slice sni;  /* server side: what the client asked for, in lower case; empty = nothing. Client side:
                          the  name that was verified */
    struct slice alpn; /* empty = none */
    struct slice client_cn; /* server side: common name of the client's certificate; empty = none */
    bool resumed;
    uint32_t handshake_us; /* from its first byte, or the peer's, to its end */
    bool client_verified;  /* server side: the client showed a certificate, and it is good */
    unsigned
        certificate; /* server side: index of the first entry that was on offer (tls_server_certificates) */
    uint64_t policy; /* server side: see tls_server_policy */
};

/* NULL when the connection is plain, its handshake is not done, or it is closed. Lives as long as the
 * connection is open. */
const struct tls_info *tls_info(const struct conn *c);

/* Why the handshake (or the connection) failed, in words: "certificate has expired", "peer sent alert:
 * unknown CA", "plain HTTP on a TLS port". NULL = it did not. Valid in failed() until conn_close(). */
const char *tls_failure(const struct conn *c);

/* After CONN_EOF: the peer closed without close_notify, so that what ended there may be cut short (RFC 8446
 * §6.1). False for a plain connection. */
bool tls_truncated(const struct conn *c);
