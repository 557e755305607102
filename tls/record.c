#include "tls/record.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ssl.h>
#include <string.h>

/* Pieces from here on are enciphered where they lie; smaller ones are copied, so that the byte behind them
 * is not a call of its own. */
#define COPY_MAX 4096u

#define HMAC_BLOCK_MAX 128u            /* of SHA-384 */
#define HMAC_TEXT_MAX  EVP_MAX_MD_SIZE /* no text is longer than a digest */

/* Suites. */

int tls_suites_load(struct tls_suites *s)
{
    static const struct {
        uint32_t id;
        uint8_t secret_len;
        const char *cipher, *digest;
    } known[TLS_SUITES] = {
        {TLS1_3_CK_AES_128_GCM_SHA256, 32, "AES-128-GCM", "SHA256"},
        {TLS1_3_CK_AES_256_GCM_SHA384, 48, "AES-256-GCM", "SHA384"},
        {TLS1_3_CK_CHACHA20_POLY1305_SHA256, 32, "ChaCha20-Poly1305", "SHA256"},
    };
    for (size_t i = 0; i < TLS_SUITES; i++) {
        struct tls_suite *suite = &s->at[i];
        suite->id = (uint16_t)known[i].id;
        suite->secret_len = known[i].secret_len;
        suite->cipher = EVP_CIPHER_fetch(NULL, known[i].cipher, NULL);
        suite->digest = EVP_MD_fetch(NULL, known[i].digest, NULL);
        if (!suite->digest)
            return -1;
    }
    return 0;
}

void tls_suites_free(struct tls_suites *s)
{
    for (size_t i = 0; i < TLS_SUITES; i++) {
        EVP_CIPHER_free(s->at[i].cipher);
        EVP_MD_free(s->at[i].digest);
    }
}

const struct tls_suite *tls_suite_find(const struct tls_suites *s, unsigned id)
{
    for (size_t i = 0; i < TLS_SUITES; i++) {
        if (s->at[i].id == id && s->at[i].cipher)
            return &s->at[i];
    }
    return NULL;
}

/* Keys. */

/* HMAC (RFC 2104) of a short text; OpenSSL's would look up its algorithms by name each time, which costs more
 * than the digests do. */
static int authenticate(const struct tls_protection *p, const unsigned char *text, size_t len,
                        unsigned char digest[EVP_MAX_MD_SIZE])
{
    unsigned char in[HMAC_BLOCK_MAX + HMAC_TEXT_MAX];
    size_t block = (size_t)EVP_MD_get_block_size(p->suite->digest);
    ASSERT(block <= HMAC_BLOCK_MAX && p->suite->secret_len <= block && len <= HMAC_TEXT_MAX);
    memset(in, 0x36, block);
    for (size_t i = 0; i < p->suite->secret_len; i++)
        in[i] ^= p->secret[i];
    memcpy(in + block, text, len);
    unsigned n = 0;
    int done = EVP_Digest(in, block + len, digest, &n, p->suite->digest, NULL) == 1;
    for (size_t i = 0; i < block; i++)
        in[i] ^= 0x36 ^ 0x5c;
    memcpy(in + block, digest, n);
    done = done && EVP_Digest(in, block + n, digest, &n, p->suite->digest, NULL) == 1;
    OPENSSL_cleanse(in, sizeof in);
    return done ? 0 : -1;
}

/* HKDF-Expand-Label without a context (§7.1), for what is no longer than a digest. */
static int expand(const struct tls_protection *p, const char *label, unsigned char *out, size_t len)
{
    unsigned char info[HMAC_TEXT_MAX], digest[EVP_MAX_MD_SIZE];
    size_t label_len = strlen(label), n = 0;
    ASSERT(label_len + 11 <= sizeof info && len <= p->suite->secret_len);
    info[n++] = 0;
    info[n++] = (unsigned char)len;
    info[n++] = (unsigned char)(6 + label_len);
    memcpy(info + n, "tls13 ", 6);
    memcpy(info + n + 6, label, label_len);
    n += 6 + label_len;
    info[n++] = 0; /* the context's length */
    info[n++] = 1; /* the first block of HKDF-Expand (RFC 5869 §2.3) */
    if (authenticate(p, info, n, digest) != 0)
        return -1;
    memcpy(out, digest, len);
    OPENSSL_cleanse(digest, sizeof digest);
    return 0;
}

static int use_secret(struct tls_protection *p, bool sealing)
{
    unsigned char key[EVP_MAX_KEY_LENGTH];
    size_t len = (size_t)EVP_CIPHER_get_key_length(p->suite->cipher);
    int done = expand(p, "key", key, len) == 0 && expand(p, "iv", p->iv, sizeof p->iv) == 0 &&
               EVP_CipherInit_ex(p->cipher, p->suite->cipher, NULL, key, NULL, sealing) == 1;
    OPENSSL_cleanse(key, sizeof key);
    return done ? 0 : -1;
}

int tls_protection_begin(struct tls_protection *p, const struct tls_suite *suite, const unsigned char *secret,
                         uint64_t sequence, bool sealing)
{
    *p = (struct tls_protection){.suite = suite, .sequence = sequence, .cipher = EVP_CIPHER_CTX_new()};
    memcpy(p->secret, secret, suite->secret_len);
    return p->cipher ? use_secret(p, sealing) : -1;
}

int tls_protection_update(struct tls_protection *p)
{
    unsigned char next[TLS_SECRET_MAX];
    if (expand(p, "traffic upd", next, p->suite->secret_len) != 0)
        return -1;
    memcpy(p->secret, next, p->suite->secret_len);
    OPENSSL_cleanse(next, sizeof next);
    p->sequence = 0;
    return use_secret(p, EVP_CIPHER_CTX_is_encrypting(p->cipher));
}

void tls_protection_end(struct tls_protection *p)
{
    EVP_CIPHER_CTX_free(p->cipher);
    OPENSSL_cleanse(p, sizeof *p);
}

/* Records. */

/* §5.3: the number of the record, in the end of the IV. */
static void next_nonce(struct tls_protection *p, unsigned char nonce[12])
{
    uint64_t n = __builtin_bswap64(p->sequence++), tail;
    memcpy(&tail, p->iv + 4, sizeof tail);
    tail ^= n;
    memcpy(nonce, p->iv, 4);
    memcpy(nonce + 4, &tail, sizeof tail);
}

int tls_seal(struct tls_protection *p, enum tls_content type, const char *from, size_t len, char *out)
{
    size_t body = len + 1 + TLS_RECORD_TAG;
    unsigned char *at = (unsigned char *)out, *text = at + TLS_RECORD_HEADER;
    unsigned char nonce[12], kind = (unsigned char)type;
    at[0] = TLS_DATA;
    at[1] = at[2] = 3;
    at[3] = (unsigned char)(body >> 8);
    at[4] = (unsigned char)body;
    size_t apart = 0;
    if (from != (char *)text) {
        if (len < COPY_MAX)
            memcpy(text, from, len);
        else
            apart = len;
    }
    next_nonce(p, nonce);
    int n;
    if (EVP_EncryptInit_ex(p->cipher, NULL, NULL, NULL, nonce) != 1 ||
        EVP_EncryptUpdate(p->cipher, NULL, &n, at, TLS_RECORD_HEADER) != 1)
        return -1;
    if (apart) {
        if (EVP_EncryptUpdate(p->cipher, text, &n, (const unsigned char *)from, (int)len) != 1 ||
            EVP_EncryptUpdate(p->cipher, text + len, &n, &kind, 1) != 1)
            return -1;
    } else {
        text[len] = kind;
        if (EVP_EncryptUpdate(p->cipher, text, &n, text, (int)len + 1) != 1)
            return -1;
    }
    OSSL_PARAM tag[] = {
        OSSL_PARAM_construct_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, text + len + 1, TLS_RECORD_TAG),
        OSSL_PARAM_construct_end(),
    };
    if (EVP_EncryptFinal_ex(p->cipher, text + len + 1, &n) != 1 ||
        EVP_CIPHER_CTX_get_params(p->cipher, tag) != 1)
        return -1;
    return 0;
}

ssize_t tls_open(struct tls_protection *p, const char *record, size_t body, char *out, unsigned *type)
{
    if (body < TLS_RECORD_TAG + 1)
        return -1;
    unsigned char nonce[12], *text = (unsigned char *)out;
    const unsigned char *at = (const unsigned char *)record;
    size_t len = body - TLS_RECORD_TAG;
    unsigned char mark[TLS_RECORD_TAG];
    memcpy(mark, at + TLS_RECORD_HEADER + len, sizeof mark);
    OSSL_PARAM tag[] = {
        OSSL_PARAM_construct_octet_string(OSSL_CIPHER_PARAM_AEAD_TAG, mark, sizeof mark),
        OSSL_PARAM_construct_end(),
    };
    next_nonce(p, nonce);
    int n;
    if (EVP_DecryptInit_ex2(p->cipher, NULL, NULL, nonce, tag) != 1 ||
        EVP_DecryptUpdate(p->cipher, NULL, &n, at, TLS_RECORD_HEADER) != 1 ||
        EVP_DecryptUpdate(p->cipher, text, &n, at + TLS_RECORD_HEADER, (int)len) != 1 ||
        EVP_DecryptFinal_ex(p->cipher, text + len, &n) != 1)
        return -1;
    while (len && text[len - 1] == 0) /* padding (§5.4) */
        len--;
    *type = len ? text[len - 1] : 0;
    return len ? (ssize_t)(len - 1) : 0;
}
