/* What a certificate, or a bundle of them, looks like to who checks a configuration. Control thread. */
#pragma once

#include "tls/server.h"

enum tls_chain {
    TLS_CHAIN_GOOD,
    TLS_CHAIN_OUT_OF_ORDER, /* one is not issued by the next: TLS 1.2 clients refuse that (RFC 5246 §7.4.2) */
    TLS_CHAIN_MISSING,      /* it stands alone, and its issuer publishes an intermediate for it */
};

struct tls_inspection {
    enum tls_chain chain;
    unsigned
        chain_at;     /* out of order: the place in the file of the one that is not issued by the next, from 1
                       */
    const char *weak; /* what is: "an RSA key of 1024 bits", "a signature with SHA-1"; NULL = nothing */
    bool has_responder; /* it names an OCSP responder */
    bool has_response;  /* one is stapled */
    char weak_text[64]; /* behind `weak` */
};

/* The certificate of that number (tls_server_certificates()). */
void tls_server_inspect(const struct tls_server *s, size_t index, struct tls_inspection *out);

struct tls_bundle {
    size_t count, expired;
    int64_t
        first_end; /* seconds since the epoch: of those not expired, the first to end; 0 = all are expired */
    char subject[160]; /* of that one, or of the first that expired; RFC 2253 */
};

/* The certificates of a PEM file at `now`. 0, or -1 when there are none. */
int tls_bundle_inspect(const char *path, int64_t now, struct tls_bundle *out);
