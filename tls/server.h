/* TLS of one listener: certificates chosen by server name, ticket keys, client verification, and the contexts
 * of every worker. Immutable once created; built by the control thread, used by all workers.
 *
 * Choice (RFC 6066 §3): the exact name, then the wildcard of one label, then the first certificate. Names are
 * those of the certificate (subjectAltName, or the common name where there is none). An RSA and an ECDSA
 * certificate for one name are both offered.
 *
 * Every worker has its own SSL_CTX, certificate and key objects: OpenSSL's reference counts are not shared.
 *
 * Lifetime: connections hold the server; tls_server_free may be called at any time, from any thread. */
#pragma once

#include "core/conn.h"
#include "tls/settings.h"
#include "tls/tickets.h"

struct tls_files;
struct tls_server;

/* A certificate as the operator knows it; lives with its server. */
struct tls_certificate {
    const char *file;             /* NULL = self-signed at start */
    struct slice subject, issuer; /* RFC 2253 text */
    const struct slice *names;    /* DNS names in lower case, then IP addresses as text */
    size_t name_count;
    int64_t not_before, not_after; /* seconds since the epoch */
    const char *key_type;          /* "RSA", "EC", "ED25519" */
    unsigned key_bits;
    char fingerprint[65]; /* SHA-256, hexadecimal */
};

/* NULL after config_fault() for every problem, at the place that names it (`at` for what has none). `at` may
 * be NULL: s->node. Paths are relative to the directory of the configuration file that holds them. `tickets`
 * may be NULL when no tickets are wanted (or in `check`). `s` is not kept. */
struct tls_server *tls_server_create(struct config *c, const struct config_node *at,
                                     const struct tls_server_settings *s, unsigned workers,
                                     struct tls_tickets *tickets);
void tls_server_free(struct tls_server *s);

/* Puts TLS over an accepted connection; connected() or failed() of its handler follows. 0, or -1 when out of
 * memory (the connection is left plain: close it). Nothing may be written before connected(). */
int tls_server_accept(struct tls_server *s, unsigned worker, struct conn *c);

/* Whether a file that was loaded (or looked for: FILE.ocsp) is another now: by device, inode, size and mtime.
 * Control thread; some calls of stat. */
bool tls_server_changed(const struct tls_server *s);
/* Those files. */
const struct tls_files *tls_server_files(const struct tls_server *s);

/* The certificates in the order of the file; *out lives with the server. */
size_t tls_server_certificates(const struct tls_server *s, const struct tls_certificate **out);

/* Whether some certificate is for that name (`host` in any case, no port; "*.example.com" asks for the
 * wildcard). */
bool tls_server_covers(const struct tls_server *s, struct slice host);

/* What a client must show to be let in under that name: an opaque value, equal exactly for equal demands
 * (mode and CA certificates), across servers and reloads. A request whose host has another policy than its
 * connection (tls_info()->policy) gets 421 (RFC 9110 §15.5.20). */
uint64_t tls_server_policy(const struct tls_server *s, struct slice host);
