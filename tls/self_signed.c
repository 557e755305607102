#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

#include "tls/certificate.h"

#define VALID_S  (825L * 24 * 3600) /* the longest that browsers take */
#define SKEWED_S 3600L              /* for clients whose clock is behind */

static int add_name(GENERAL_NAMES *all, struct slice name)
{
    char text[256];
    if (name.len == 0 || name.len >= sizeof text)
        return -1;
    memcpy(text, name.at, name.len);
    text[name.len] = '\0';

    GENERAL_NAME *g = GENERAL_NAME_new();
    if (!g)
        return -1;
    unsigned char address[16];
    int bytes = inet_pton(AF_INET, text, address) == 1 ? 4 : inet_pton(AF_INET6, text, address) == 1 ? 16 : 0;
    ASN1_STRING *value = bytes ? ASN1_OCTET_STRING_new() : ASN1_IA5STRING_new();
    if (!value || !ASN1_STRING_set(value, bytes ? (void *)address : text, bytes ? bytes : (int)name.len)) {
        ASN1_STRING_free(value);
        GENERAL_NAME_free(g);
        return -1;
    }
    GENERAL_NAME_set0_value(g, bytes ? GEN_IPADD : GEN_DNS, value);
    if (!sk_GENERAL_NAME_push(all, g)) {
        GENERAL_NAME_free(g);
        return -1;
    }
    return 0;
}

static int add_names(X509 *cert, const struct slice *names, size_t count)
{
    GENERAL_NAMES *all = GENERAL_NAMES_new();
    int result = all ? 0 : -1;
    for (size_t i = 0; i < count && result == 0; i++)
        result = add_name(all, names[i]);
    if (result == 0 && X509_add1_ext_i2d(cert, NID_subject_alt_name, all, 0, 0) != 1)
        result = -1;
    GENERAL_NAMES_free(all);
    return result;
}

static int add_extension(X509 *cert, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, cert, cert, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    int done = e && X509_add_ext(cert, e, -1) == 1;
    X509_EXTENSION_free(e);
    return done ? 0 : -1;
}

static int set_serial(X509 *cert)
{
    unsigned char bytes[16];
    if (RAND_bytes(bytes, sizeof bytes) != 1)
        return -1;
    bytes[0] = (unsigned char)((bytes[0] & 0x7f) | 0x40);
    BIGNUM *number = BN_bin2bn(bytes, sizeof bytes, NULL);
    int done = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert)) != NULL;
    BN_free(number);
    return done ? 0 : -1;
}

static int fill(X509 *cert, EVP_PKEY *key, const struct slice *names, size_t count)
{
    X509_NAME *subject = X509_get_subject_name(cert);
    int cn_len = names[0].len > 64 ? 64 : (int)names[0].len;
    if (X509_set_version(cert, X509_VERSION_3) != 1 || set_serial(cert) != 0 ||
        !X509_gmtime_adj(X509_getm_notBefore(cert), -SKEWED_S) ||
        !X509_gmtime_adj(X509_getm_notAfter(cert), VALID_S - SKEWED_S) || X509_set_pubkey(cert, key) != 1 ||
        X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_UTF8, (const unsigned char *)"weir self-signed", -1,
                                   -1, 0) != 1 ||
        X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)names[0].at, cn_len,
                                   -1, 0) != 1 ||
        X509_set_issuer_name(cert, subject) != 1)
        return -1;
    if (add_names(cert, names, count) != 0 ||
        add_extension(cert, NID_basic_constraints, "critical,CA:FALSE") != 0 ||
        add_extension(cert, NID_key_usage, "critical,digitalSignature") != 0 ||
        add_extension(cert, NID_ext_key_usage, "serverAuth") != 0 ||
        add_extension(cert, NID_subject_key_identifier, "hash") != 0)
        return -1;
    return X509_sign(cert, key, EVP_sha256()) > 0 ? 0 : -1;
}

static int write_pem(X509 *cert, EVP_PKEY *key, struct slice *pem)
{
    BIO *out = BIO_new(BIO_s_secmem());
    int result = -1;
    if (out && PEM_write_bio_X509(out, cert) == 1 &&
        PEM_write_bio_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL) == 1) {
        char *at;
        size_t len = (size_t)BIO_get_mem_data(out, &at);
        char *copy = malloc(len + 1);
        if (copy) {
            memcpy(copy, at, len);
            copy[len] = '\0';
            *pem = slice_of(copy, len);
            result = 0;
        }
    }
    BIO_free(out);
    return result;
}

int tls_self_signed_make(const struct slice *names, size_t count, struct slice *pem)
{
    if (count == 0)
        return -1;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    int result = -1;
    if (key && cert && fill(cert, key, names, count) == 0)
        result = write_pem(cert, key, pem);
    X509_free(cert);
    EVP_PKEY_free(key);
    return result;
}
