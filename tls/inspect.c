#include "tls/inspect.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>

#include "tls/server_internal.h"

static bool is_issued(const X509 *one, const X509 *by)
{
    return X509_NAME_cmp(X509_get_issuer_name(one), X509_get_subject_name(by)) == 0;
}

static bool is_own_issuer(const X509 *one)
{
    return is_issued(one, one);
}

/* RFC 5280 §4.2.2.1: where its issuer's certificate can be fetched. Authorities say so of intermediates;
 * nobody fetches a root. */
static bool names_issuer(X509 *one)
{
    AUTHORITY_INFO_ACCESS *access = X509_get_ext_d2i(one, NID_info_access, NULL, NULL);
    bool found = false;
    for (int i = 0; access && i < sk_ACCESS_DESCRIPTION_num(access); i++)
        found |= OBJ_obj2nid(sk_ACCESS_DESCRIPTION_value(access, i)->method) == NID_ad_ca_issuers;
    AUTHORITY_INFO_ACCESS_free(access);
    return found;
}

static void inspect_chain(const struct tls_identity *i, struct tls_inspection *out)
{
    const X509 *one = i->cert;
    int count = i->chain ? sk_X509_num(i->chain) : 0;
    if (count == 0 && !is_own_issuer(one) && names_issuer(i->cert))
        out->chain = TLS_CHAIN_MISSING;
    for (int k = 0; k < count; k++) {
        const X509 *next = sk_X509_value(i->chain, k);
        if (!is_issued(one, next)) {
            out->chain = TLS_CHAIN_OUT_OF_ORDER;
            out->chain_at = (unsigned)k + 1;
            return;
        }
        one = next;
    }
}

static void inspect_strength(const struct tls_identity *i, struct tls_inspection *out)
{
    int type = EVP_PKEY_get_base_id(i->key), bits = EVP_PKEY_get_bits(i->key), digest = NID_undef;
    if (type == EVP_PKEY_RSA && bits < 2048)
        snprintf(out->weak_text, sizeof out->weak_text, "an RSA key of %d bits", bits);
    else if (type == EVP_PKEY_EC && bits < 224)
        snprintf(out->weak_text, sizeof out->weak_text, "an EC key of %d bits", bits);
    else if (!is_own_issuer(i->cert) && X509_get_signature_info(i->cert, &digest, NULL, NULL, NULL) == 1 &&
             (digest == NID_sha1 || digest == NID_md5))
        snprintf(out->weak_text, sizeof out->weak_text, "a signature with %s",
                 digest == NID_md5 ? "MD5" : "SHA-1");
    if (out->weak_text[0])
        out->weak = out->weak_text;
}

void tls_server_inspect(const struct tls_server *s, size_t index, struct tls_inspection *out)
{
    const struct tls_identity *i = &s->identities[index];
    *out = (struct tls_inspection){.has_response = i->ocsp != NULL};
    inspect_chain(i, out);
    inspect_strength(i, out);
    STACK_OF(OPENSSL_STRING) *responders = X509_get1_ocsp(i->cert);
    out->has_responder = responders && sk_OPENSSL_STRING_num(responders) > 0;
    X509_email_free(responders);
    ERR_clear_error();
}

static int64_t seconds_of(const ASN1_TIME *t)
{
    struct tm parts = {0};
    return ASN1_TIME_to_tm(t, &parts) == 1 ? (int64_t)timegm(&parts) : 0;
}

static void name_of(const X509 *one, char *out, size_t size)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    long len = bio && X509_NAME_print_ex(bio, X509_get_subject_name(one), 0, XN_FLAG_RFC2253) >= 0
                   ? BIO_get_mem_data(bio, &text)
                   : 0;
    snprintf(out, size, "%.*s", (int)len, text ? text : "");
    BIO_free(bio);
}

int tls_bundle_inspect(const char *path, int64_t now, struct tls_bundle *out)
{
    struct tls_files files = {0};
    struct slice pem;
    *out = (struct tls_bundle){0};
    STACK_OF(X509) *all = NULL;
    if (tls_file_read(&files, path, &pem) == 0) {
        all = tls_certificates_parse(pem);
        tls_file_release(&pem);
    }
    tls_files_free(&files);
    out->count = all ? (size_t)sk_X509_num(all) : 0;
    for (size_t i = 0; i < out->count; i++) {
        const X509 *one = sk_X509_value(all, (int)i);
        int64_t end = seconds_of(X509_get0_notAfter(one));
        if (end < now) {
            if (out->expired++ == 0 && !out->first_end)
                name_of(one, out->subject, sizeof out->subject);
        } else if (!out->first_end || end < out->first_end) {
            out->first_end = end;
            name_of(one, out->subject, sizeof out->subject);
        }
    }
    sk_X509_pop_free(all, X509_free);
    ERR_clear_error();
    return out->count ? 0 : -1;
}
