#include "tls/info.h"

#include <openssl/err.h>
#include <stdlib.h>

#include "tls/transport.h"

static struct tls_state *state_of(const struct conn *c)
{
    if (c->transport != &tls_transport)
        return NULL;
    struct tls_state *s = c->transport_state;
    ASSERT(s->magic == TLS_STATE_MAGIC);
    return s;
}

const struct tls_info *tls_info(const struct conn *c)
{
    const struct tls_state *s = state_of(c);
    return s && s->established ? &s->info : NULL;
}

const char *tls_failure(const struct conn *c)
{
    const struct tls_state *s = state_of(c);
    return s ? s->failure : NULL;
}

bool tls_truncated(const struct conn *c)
{
    const struct tls_state *s = state_of(c);
    return s && s->end == TLS_CUT;
}

/* The last common name, as UTF-8 without control characters; its length, 0 when there is none. */
static size_t common_name(X509 *certificate, unsigned char **out)
{
    X509_NAME *subject = X509_get_subject_name(certificate);
    int at = -1, last = -1;
    while ((at = X509_NAME_get_index_by_NID(subject, NID_commonName, at)) >= 0)
        last = at;
    if (last < 0)
        return 0;
    int len = ASN1_STRING_to_UTF8(out, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, last)));
    if (len <= 0)
        return 0;
    for (int i = 0; i < len; i++) {
        if ((*out)[i] < ' ' || (*out)[i] == 0x7f)
            (*out)[i] = '?';
    }
    return (size_t)len;
}

int tls_info_fill(struct tls_state *s)
{
    struct tls_info *info = &s->info;
    info->version = slice_text(SSL_get_version(s->ssl));
    info->cipher = slice_text(SSL_get_cipher_name(s->ssl));
    info->resumed = SSL_session_reused(s->ssl) == 1;
    info->sni = slice_text(s->name);

    const unsigned char *alpn;
    unsigned alpn_len;
    SSL_get0_alpn_selected(s->ssl, &alpn, &alpn_len);
    unsigned char *cn = NULL;
    size_t cn_len = 0;
    X509 *peer = s->server ? SSL_get0_peer_certificate(s->ssl) : NULL;
    if (peer) {
        info->client_verified = SSL_get_verify_result(s->ssl) == X509_V_OK;
        cn_len = common_name(peer, &cn);
    }

    int result = 0;
    if (alpn_len + cn_len) {
        s->info_text = malloc(alpn_len + cn_len);
        if (!s->info_text) {
            result = -1;
        } else {
            if (alpn_len)
                memcpy(s->info_text, alpn, alpn_len);
            if (cn_len)
                memcpy(s->info_text + alpn_len, cn, cn_len);
            info->alpn = slice_of(s->info_text, alpn_len);
            info->client_cn = slice_of(s->info_text + alpn_len, cn_len);
        }
    }
    OPENSSL_free(cn);
    ERR_clear_error();
    return result;
}
