/* What an operator wants to know of a certificate, and the names that it is for (RFC 6125 §6.4). */
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "tls/certificate.h"

static int describe_names(struct arena *a, X509 *cert, struct tls_certificate *out);

static int64_t seconds(const ASN1_TIME *t)
{
    struct tm parts;
    return ASN1_TIME_to_tm(t, &parts) == 1 ? (int64_t)timegm(&parts) : 0;
}

/* RFC 2253, in UTF-8. */
static struct slice name_text(struct arena *a, const X509_NAME *name)
{
    BIO *out = BIO_new(BIO_s_mem());
    struct slice text = {NULL, 0};
    if (out && X509_NAME_print_ex(out, name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) >= 0) {
        char *at;
        long len = BIO_get_mem_data(out, &at);
        text = arena_copy(a, slice_of(at, (size_t)len));
    }
    BIO_free(out);
    return text;
}

static int describe_fingerprint(const X509 *cert, char out[65])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len;
    if (X509_digest(cert, EVP_sha256(), digest, &len) != 1)
        return -1;
    static const char digits[] = "0123456789abcdef";
    for (unsigned i = 0; i < 32; i++) {
        out[2 * i] = digits[digest[i] >> 4];
        out[2 * i + 1] = digits[digest[i] & 15];
    }
    out[64] = '\0';
    return 0;
}

int tls_certificate_describe(struct arena *a, const struct tls_identity *i, const char *file,
                             struct tls_certificate *out)
{
    const char *type = EVP_PKEY_get0_type_name(i->key);
    *out = (struct tls_certificate){
        .subject = name_text(a, X509_get_subject_name(i->cert)),
        .issuer = name_text(a, X509_get_issuer_name(i->cert)),
        .not_before = seconds(X509_get0_notBefore(i->cert)),
        .not_after = seconds(X509_get0_notAfter(i->cert)),
        .key_type = arena_copy(a, slice_text(type ? type : "")).at,
        .key_bits = (unsigned)EVP_PKEY_get_bits(i->key),
    };
    if (file)
        out->file = arena_copy(a, slice_text(file)).at;
    int failed = describe_fingerprint(i->cert, out->fingerprint) != 0 ||
                 describe_names(a, i->cert, out) != 0 || !out->subject.at || !out->issuer.at ||
                 !out->key_type || (file && !out->file);
    ERR_clear_error();
    return failed ? -1 : 0;
}

/* In lower case; nothing for what has bytes that no host name has. */
static struct slice dns_name(struct arena *a, const ASN1_STRING *s)
{
    struct slice raw = slice_of((const char *)ASN1_STRING_get0_data(s), (size_t)ASN1_STRING_length(s));
    while (raw.len && raw.at[raw.len - 1] == '.')
        raw.len--;
    for (size_t i = 0; i < raw.len; i++) {
        if ((unsigned char)raw.at[i] <= ' ' || (unsigned char)raw.at[i] >= 0x7f)
            return slice_of(NULL, 0);
    }
    struct slice name = raw.len ? arena_copy(a, raw) : slice_of(NULL, 0);
    char *at = (char *)(uintptr_t)name.at;
    for (size_t i = 0; at && i < name.len; i++)
        at[i] = ascii_lower(at[i]);
    return at ? name : slice_of(NULL, 0);
}

static struct slice address_name(struct arena *a, const ASN1_STRING *s)
{
    char text[INET6_ADDRSTRLEN];
    int len = ASN1_STRING_length(s);
    const char *known = len == 4    ? inet_ntop(AF_INET, ASN1_STRING_get0_data(s), text, sizeof text)
                        : len == 16 ? inet_ntop(AF_INET6, ASN1_STRING_get0_data(s), text, sizeof text)
                                    : NULL;
    return known ? arena_copy(a, slice_text(text)) : slice_of(NULL, 0);
}

static int describe_common_name(struct arena *a, X509 *cert, struct tls_certificate *out)
{
    X509_NAME *subject = X509_get_subject_name(cert);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    if (at < 0)
        return 0;
    struct slice *name = arena_alloc(a, sizeof *name);
    if (!name)
        return -1;
    *name = dns_name(a, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    out->names = name;
    out->name_count = name->len ? 1 : 0;
    return 0;
}

static int describe_names(struct arena *a, X509 *cert, struct tls_certificate *out)
{
    GENERAL_NAMES *all = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    int count = all ? sk_GENERAL_NAME_num(all) : 0;
    if (count <= 0) {
        GENERAL_NAMES_free(all);
        return describe_common_name(a, cert, out);
    }
    struct slice *names = arena_alloc(a, (size_t)count * sizeof *names);
    for (int type = GEN_DNS; names && type <= GEN_IPADD; type += GEN_IPADD - GEN_DNS) {
        for (int i = 0; i < count; i++) {
            const GENERAL_NAME *g = sk_GENERAL_NAME_value(all, i);
            if (g->type != type)
                continue;
            struct slice name = type == GEN_DNS ? dns_name(a, g->d.dNSName) : address_name(a, g->d.iPAddress);
            if (name.len)
                names[out->name_count++] = name;
        }
    }
    out->names = names;
    GENERAL_NAMES_free(all);
    return names ? 0 : -1;
}
