#include <openssl/err.h>
#include <openssl/sslerr.h>
#include <openssl/x509_vfy.h>
#include <stdio.h>
#include <stdlib.h>

#include "tls/transport.h"

/* Reasons of library SSL from here on are alerts of the peer (ssl.h, SSL_AD_REASON_OFFSET). */
#define ALERTS_BEGIN SSL_AD_REASON_OFFSET

static const char *plain_words(int reason)
{
    switch (reason) {
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
        return "plain HTTP on a TLS port";
    case SSL_R_WRONG_VERSION_NUMBER:
        return "the peer does not speak TLS, or no version that is allowed here";
    case SSL_R_UNSUPPORTED_PROTOCOL:
        return "no TLS version in common";
    case SSL_R_NO_SHARED_CIPHER:
        return "no cipher in common";
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
        return "the peer showed no certificate";
    case SSL_R_NO_APPLICATION_PROTOCOL:
        return "no application protocol (ALPN) in common";
    default:
        return NULL;
    }
}

static void say(struct tls_state *s, const char *before, const char *words)
{
    if (!*before) {
        s->failure = words;
        return;
    }
    free(s->failure_text);
    if (asprintf(&s->failure_text, "%s%s", before, words) < 0)
        s->failure_text = NULL;
    s->failure = s->failure_text ? s->failure_text : words;
}

void tls_failure_note(struct tls_state *s)
{
    unsigned long first = ERR_peek_error();
    int reason = ERR_GET_LIB(first) == ERR_LIB_SSL ? ERR_GET_REASON(first) : 0;
    long verified = SSL_get_verify_result(s->ssl);
    const char *words = plain_words(reason);
    if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED && verified != X509_V_OK)
        say(s, "", X509_verify_cert_error_string(verified));
    else if (words)
        say(s, "", words);
    else if (reason >= ALERTS_BEGIN)
        say(s, "peer sent alert: ", SSL_alert_desc_string_long(reason - ALERTS_BEGIN));
    else
        say(s, "", first ? ERR_reason_error_string(first) : NULL);
    if (!s->failure)
        s->failure = "TLS protocol error";
    ERR_clear_error();
}
