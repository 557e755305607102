/* A certificate, its chain and its key, out of PEM text; what an operator wants to know of it; and
 * self-signed ones. For the other files of tls/. */
#pragma once

#include <openssl/ssl.h>

#include "tls/files.h"
#include "tls/server.h"

struct tls_identity {
    X509 *cert;
    STACK_OF(X509) * chain; /* without cert; may be NULL */
    EVP_PKEY *key;
    unsigned char *ocsp; /* DER, for stapling; NULL = none */
    size_t ocsp_len;
    int64_t ocsp_until; /* seconds since the epoch */
};

/* What failed last in OpenSSL, in words; the queue is cleared. Static text. */
const char *tls_error_words(void);

/* From files. 0, or -1 after config_fault() at the node of the setting that is wrong. `key` empty = the
 * cert's file. */
int tls_identity_load(struct config *c, struct tls_files *files, const struct config_node *cert_at,
                      struct slice cert, const struct config_node *key_at, struct slice key,
                      struct tls_identity *out);
/* The same from PEM text: 0 or -1 (`tls_error_words` tells). */
int tls_identity_parse(struct slice pem, struct tls_identity *out);
void tls_identity_free(struct tls_identity *i);

/* Looks for the OCSP response at `path`.ocsp; warns at `at` when there is one and it is of no use. */
void tls_identity_load_ocsp(struct config *c, struct tls_files *files, const struct config_node *at,
                            const char *path, struct tls_identity *i);

/* Gives the context copies of the certificate and the key. 0 or -1 (`tls_error_words`). */
int tls_identity_use(const struct tls_identity *i, SSL_CTX *context);

/* Fills *out; texts go to the arena. -1 when out of memory. */
int tls_certificate_describe(struct arena *a, const struct tls_identity *i, const char *file,
                             struct tls_certificate *out);

/* The certificates of a PEM bundle; NULL when there is none or one is broken (`tls_error_words`). */
STACK_OF(X509) * tls_certificates_parse(struct slice pem);

/* Certificate and key (ECDSA P-256) for names and addresses, as PEM text; release with tls_file_release(). 0
 * or -1. */
int tls_self_signed_make(const struct slice *names, size_t count, struct slice *pem);
