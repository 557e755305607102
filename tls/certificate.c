#include "tls/certificate.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>

static EVP_PKEY *parse_key(struct slice pem);
static int no_passphrase(char *buf, int size, int writing, void *argument);

const char *tls_error_words(void)
{
    unsigned long first = ERR_peek_error();
    const char *words = first ? ERR_reason_error_string(first) : NULL;
    if (ERR_GET_LIB(first) == ERR_LIB_PEM && ERR_GET_REASON(first) == PEM_R_NO_START_LINE)
        words = "no PEM block of that kind in it";
    ERR_clear_error();
    return words ? words : "OpenSSL gives no reason";
}

void tls_identity_free(struct tls_identity *i)
{
    X509_free(i->cert);
    sk_X509_pop_free(i->chain, X509_free);
    EVP_PKEY_free(i->key);
    OPENSSL_free(i->ocsp);
    *i = (struct tls_identity){0};
}

STACK_OF(X509) * tls_certificates_parse(struct slice pem)
{
    ERR_clear_error();
    BIO *in = BIO_new_mem_buf(pem.at, (int)pem.len);
    STACK_OF(X509) *all = in ? sk_X509_new_null() : NULL;
    if (!all) {
        BIO_free(in);
        return NULL;
    }
    X509 *one;
    while ((one = PEM_read_bio_X509_AUX(in, NULL, no_passphrase, NULL))) {
        if (!sk_X509_push(all, one)) {
            X509_free(one);
            break;
        }
    }
    BIO_free(in);
    /* The end of the file is "no start line". */
    bool at_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    if (!at_end || sk_X509_num(all) == 0) {
        sk_X509_pop_free(all, X509_free);
        return NULL;
    }
    ERR_clear_error();
    return all;
}

/* Nobody is there to type one. */
static int no_passphrase(char *buf, int size, int writing, void *argument)
{
    (void)buf, (void)size, (void)writing, (void)argument;
    return -1;
}

static EVP_PKEY *parse_key(struct slice pem)
{
    ERR_clear_error();
    BIO *in = BIO_new_mem_buf(pem.at, (int)pem.len);
    EVP_PKEY *key = in ? PEM_read_bio_PrivateKey(in, NULL, no_passphrase, NULL) : NULL;
    BIO_free(in);
    return key;
}

static int parse_certificates(struct slice pem, struct tls_identity *out)
{
    STACK_OF(X509) *all = tls_certificates_parse(pem);
    if (!all)
        return -1;
    out->cert = sk_X509_shift(all);
    out->chain = all;
    return 0;
}

int tls_identity_parse(struct slice pem, struct tls_identity *out)
{
    *out = (struct tls_identity){0};
    if (parse_certificates(pem, out) == 0 && (out->key = parse_key(pem)) != NULL)
        return 0;
    tls_identity_free(out);
    return -1;
}

int tls_identity_load(struct config *c, struct tls_files *files, const struct config_node *cert_at,
                      struct slice cert, const struct config_node *key_at, struct slice key,
                      struct tls_identity *out)
{
    *out = (struct tls_identity){0};
    const char *cert_path = config_relative_path(c, cert_at, cert, CONFIG_READS).at;
    const char *key_path = key.len ? config_relative_path(c, key_at, key, CONFIG_READS).at : cert_path;
    struct slice text;

    if (!cert_path || tls_file_read(files, cert_path, &text) != 0) {
        config_fault(c, cert_at, "cannot read %s: %s", cert_path ? cert_path : "", strerror(errno));
    } else {
        if (parse_certificates(text, out) != 0)
            config_fault(c, cert_at, "%s holds no certificate that can be used: %s", cert_path,
                         tls_error_words());
        tls_file_release(&text);
    }

    if (!key_path || tls_file_read(files, key_path, &text) != 0) {
        if (key.len)
            config_fault(c, key_at, "cannot read %s: %s", key_path ? key_path : "", strerror(errno));
    } else {
        out->key = parse_key(text);
        if (!out->key)
            config_fault(c, key_at, "%s holds no private key that can be used (an encrypted one cannot): %s",
                         key_path, tls_error_words());
        tls_file_release(&text);
    }

    if (out->cert && out->key) {
        if (X509_check_private_key(out->cert, out->key) == 1)
            return 0;
        ERR_clear_error();
        config_fault(c, key_at, "the key in %s does not match the certificate in %s", key_path, cert_path);
    }
    tls_identity_free(out);
    return -1;
}

static STACK_OF(X509) * copy_chain(const STACK_OF(X509) * chain)
{
    STACK_OF(X509) *copy = sk_X509_new_reserve(NULL, sk_X509_num(chain));
    for (int i = 0; copy && i < sk_X509_num(chain); i++) {
        X509 *one = X509_dup(sk_X509_value(chain, i));
        if (!one) {
            sk_X509_pop_free(copy, X509_free);
            return NULL;
        }
        sk_X509_push(copy, one);
    }
    return copy;
}

int tls_identity_use(const struct tls_identity *i, SSL_CTX *context)
{
    ERR_clear_error();
    X509 *cert = X509_dup(i->cert);
    EVP_PKEY *key = EVP_PKEY_dup(i->key);
    STACK_OF(X509) *chain = i->chain ? copy_chain(i->chain) : NULL;
    int done =
        cert && key && (chain || !i->chain) && SSL_CTX_use_cert_and_key(context, cert, key, chain, 1) == 1;
    X509_free(cert);
    EVP_PKEY_free(key);
    sk_X509_pop_free(chain, X509_free);
    return done ? 0 : -1;
}
