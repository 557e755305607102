/* The protection of TLS 1.3 records (RFC 8446 §5.2, §5.3) with the keys of one direction, and those keys
 * (§7.2, §7.3). The ciphers are OpenSSL's. For records.c. */
#pragma once

#include <openssl/evp.h>

#include "core/base.h"

#define TLS_RECORD_HEADER    5u
#define TLS_RECORD_TAG       16u
#define TLS_RECORD_PLAIN_MAX 16384u
#define TLS_RECORD_BODY_MAX  (TLS_RECORD_PLAIN_MAX + 256)             /* §5.2: what may follow a header */
#define TLS_RECORD_ADDS      (TLS_RECORD_HEADER + 1 + TLS_RECORD_TAG) /* to the plaintext; no padding */
#define TLS_SECRET_MAX       48u
#define TLS_SUITES           3

enum tls_content { TLS_ALERT = 21, TLS_HANDSHAKE = 22, TLS_DATA = 23 };

/* A cipher suite of TLS 1.3. */
struct tls_suite {
    uint16_t id;
    uint8_t secret_len;
    EVP_CIPHER *cipher;
    EVP_MD *digest;
};

struct tls_suites {
    struct tls_suite at[TLS_SUITES];
};

/* 0 or -1; in any case tls_suites_free(). */
int tls_suites_load(struct tls_suites *s);
void tls_suites_free(struct tls_suites *s);
/* NULL = none of ours (AES-CCM). Lives with `s`. */
const struct tls_suite *tls_suite_find(const struct tls_suites *s, unsigned id);

struct tls_protection {
    const struct tls_suite *suite;
    EVP_CIPHER_CTX *cipher;
    uint64_t sequence; /* of the next record */
    unsigned char iv[12];
    unsigned char secret[TLS_SECRET_MAX];
};

/* `secret` is of suite->secret_len bytes; `sequence` the number of the first record. 0, or -1 when out of
 * memory; in any case tls_protection_end(). The suite must outlive it. */
int tls_protection_begin(struct tls_protection *p, const struct tls_suite *suite, const unsigned char *secret,
                         uint64_t sequence, bool sealing);
/* The next generation of keys (KeyUpdate). 0 or -1. */
int tls_protection_update(struct tls_protection *p);
void tls_protection_end(struct tls_protection *p);

/* A record of `len` bytes at `from`; they may lie at out + TLS_RECORD_HEADER already. `out` has room for len
 * + TLS_RECORD_ADDS. 0 or -1. */
int tls_seal(struct tls_protection *p, enum tls_content type, const char *from, size_t len, char *out);

/* Opens a record of `body` bytes behind its header; `out` has room for body - TLS_RECORD_TAG. How long the
 * plaintext is, *type what it is (0 = nothing but padding). -1 = forged, or too short for one. */
ssize_t tls_open(struct tls_protection *p, const char *record, size_t body, char *out, unsigned *type);
