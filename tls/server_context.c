/* The SSL_CTXs of a worker, and what OpenSSL calls back during handshakes. */
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <time.h>

#include "tls/server_internal.h"
#include "tls/transport.h"

/* Mozilla's "intermediate" of version 5.7, without DHE. */
#define CIPHERS                                                                                              \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"               \
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
/* The same order for TLS 1.3 (OpenSSL's begins with AES-256). */
#define CIPHERSUITES "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define CURVES       "X25519:P-256:P-384"

#define SESSION_S     (8L * 3600) /* within what two older ticket keys still decrypt */
#define SESSIONS_KEPT 2048L       /* a worker, without tickets */
#define SNI_MAX       255

static int on_hello(SSL *ssl, int *alert, void *argument);
static int on_server_name(SSL *ssl, int *alert, void *argument);
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
                   unsigned in_len, void *argument);
static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                     EVP_MAC_CTX *mac, int encrypt);
static int on_status(SSL *ssl, void *argument);

static const struct config_node *setting(const struct config_node *map, const char *key)
{
    const struct config_node *at = map && map->kind == NODE_MAP ? config_get(map, key) : NULL;
    return at ? at : map;
}

/* "X25519:P-256" */
static const char *curves_text(struct config *c, const struct tls_server_settings *s)
{
    const char *text = s->curves.count ? "" : CURVES;
    for (size_t i = 0; i < s->curves.count && text; i++)
        text = arena_printf(&c->arena, "%s%s%.*s", text, i ? ":" : "", SLICE_FMT(s->curves.at[i]));
    return text ? text : "";
}

static int set_algorithms(struct config *c, const struct config_node *at, const struct tls_server_settings *s,
                          SSL_CTX *context)
{
    int result = 0;
    ERR_clear_error();
    if (SSL_CTX_set_cipher_list(context, s->ciphers.len ? s->ciphers.at : CIPHERS) != 1) {
        config_fault(c, setting(at, "ciphers"), "OpenSSL takes no cipher from this list: %s",
                     tls_error_words());
        result = -1;
    }
    if (SSL_CTX_set_ciphersuites(context, s->ciphersuites.len ? s->ciphersuites.at : CIPHERSUITES) != 1) {
        config_fault(c, setting(at, "ciphersuites"), "OpenSSL does not know these suites: %s",
                     tls_error_words());
        result = -1;
    }
    const char *curves = curves_text(c, s);
    if (SSL_CTX_set1_groups_list(context, curves) != 1) {
        ERR_clear_error();
        config_fault(c, setting(at, "curves"), "OpenSSL does not know one of \"%s\"", curves);
        result = -1;
    }
    return result;
}

/* Verification, and the context that keeps a session to the policy under which it was made. */
static int set_policy(const struct tls_policy *p, SSL_CTX *context)
{
    if (SSL_CTX_set_session_id_context(context, p->id, sizeof p->id) != 1)
        return -1;
    if (p->verify == TLS_VERIFY_OFF)
        return 0;
    int mode = SSL_VERIFY_PEER | (p->verify == TLS_VERIFY_REQUIRE ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0);
    SSL_CTX_set_verify(context, mode, NULL);
    SSL_CTX_set1_cert_store(context, p->store);
    STACK_OF(X509_NAME) *names = SSL_dup_CA_list(p->names);
    if (!names)
        return -1;
    SSL_CTX_set_client_CA_list(context, names);
    return 0;
}

static void set_sessions(const struct tls_server_settings *s, const struct tls_server *server,
                         SSL_CTX *context)
{
    SSL_CTX_set_timeout(context, SESSION_S);
    SSL_CTX_set_num_tickets(context, 1);
    if (s->session_tickets && (server->file_keys || server->tickets)) {
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
        SSL_CTX_set_tlsext_ticket_key_evp_cb(context, on_ticket);
    } else {
        SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_SERVER);
        SSL_CTX_sess_set_cache_size(context, SESSIONS_KEPT);
    }
}

static SSL_CTX *make_context(struct config *c, const struct config_node *at,
                             const struct tls_server_settings *s, struct tls_server_slot *slot,
                             const struct tls_choice *choice, int *faults)
{
    struct tls_server *server = slot->server;
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (!context) {
        config_fault(c, at, "OpenSSL: %s", tls_error_words());
        (*faults)++;
        return NULL;
    }
    SSL_CTX_set_app_data(context, slot);
    SSL_CTX_set_min_proto_version(context, s->min_version == TLS_MIN_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                  SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_NO_AUTO_CHAIN);
    /* Our order counts, but a client that puts ChaCha20 first has no AES in hardware. */
    SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                     SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    set_sessions(s, server, context);
    SSL_CTX_set_client_hello_cb(context, on_hello, slot);
    SSL_CTX_set_tlsext_servername_callback(context, on_server_name);
    if (server->alpn.len)
        SSL_CTX_set_alpn_select_cb(context, on_alpn, server);
    if (s->ocsp_stapling) {
        SSL_CTX_set_tlsext_status_cb(context, on_status);
        SSL_CTX_set_tlsext_status_arg(context, slot);
    }

    if (set_algorithms(c, at, s, context) != 0)
        (*faults)++;
    if (set_policy(&server->policies[choice->policy], context) != 0) {
        config_fault(c, at, "OpenSSL: %s", tls_error_words());
        (*faults)++;
    }
    const struct tls_certificate_settings *entries = s->certificates.at;
    for (unsigned i = 0; i < choice->count; i++) {
        unsigned entry = choice->identities[i];
        if (tls_identity_use(&server->identities[entry], context) == 0)
            continue;
        config_fault(c, s->certificates.count ? setting(entries[entry].node, "cert") : at,
                     "the certificate cannot be used: %s", tls_error_words());
        (*faults)++;
    }
    return context;
}

int tls_server_contexts(struct config *c, const struct config_node *at, const struct tls_server_settings *s,
                        struct tls_server *server, struct tls_server_slot *slot)
{
    slot->contexts = calloc(server->choice_count, sizeof *slot->contexts);
    if (!slot->contexts) {
        config_fault(c, at, "out of memory");
        return -1;
    }
    int faults = 0;
    for (unsigned i = 0; i < server->choice_count; i++) {
        /* What is wrong with the algorithms is told once. */
        if (i && faults)
            break;
        slot->contexts[i] = make_context(c, at, s, slot, &server->choices[i], &faults);
    }
    return faults ? -1 : 0;
}

/* Callbacks. */

/* The host name of the server_name extension (RFC 6066 §3), or nothing. */
static struct slice server_name(SSL *ssl)
{
    const unsigned char *at;
    size_t len;
    struct slice none = {NULL, 0};
    if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &at, &len) != 1 || len < 5)
        return none;
    size_t list = (size_t)(at[0] << 8 | at[1]), name = (size_t)(at[3] << 8 | at[4]);
    if (list != len - 2 || at[2] != TLSEXT_NAMETYPE_host_name || name == 0 || name > len - 5 ||
        name > SNI_MAX)
        return none;
    return slice_of((const char *)at + 5, name);
}

/* Before anything else is looked at - resumption above all, which is bound to the policy of the name. */
static int on_hello(SSL *ssl, int *alert, void *argument)
{
    const struct tls_server_slot *slot = argument;
    struct tls_state *state = tls_state_of(ssl);
    struct slice raw = server_name(ssl);
    if (raw.len && raw.at[raw.len - 1] == '.')
        raw.len--;
    free(state->name);
    state->name = raw.len ? malloc(raw.len + 1) : NULL;
    if (raw.len && !state->name) {
        *alert = SSL_AD_INTERNAL_ERROR;
        return SSL_CLIENT_HELLO_ERROR;
    }
    for (size_t i = 0; i < raw.len; i++)
        state->name[i] = raw.at[i] > ' ' && raw.at[i] < 0x7f ? ascii_lower(raw.at[i]) : '?';
    if (raw.len)
        state->name[raw.len] = '\0';

    const struct tls_server *server = slot->server;
    unsigned number = tls_server_choose(server, slice_of(state->name, raw.len), NULL);
    const struct tls_choice *choice = &server->choices[number];
    const struct tls_policy *policy = &server->policies[choice->policy];
    SSL_CTX *context = slot->contexts[number];
    SSL_set_SSL_CTX(ssl, context);
    SSL_set_verify(ssl, SSL_CTX_get_verify_mode(context), NULL);
    if (SSL_set_session_id_context(ssl, policy->id, sizeof policy->id) != 1) {
        *alert = SSL_AD_INTERNAL_ERROR;
        return SSL_CLIENT_HELLO_ERROR;
    }
    state->info.policy = tls_policy_number(policy);
    state->info.certificate = choice->identities[0];
    return SSL_CLIENT_HELLO_SUCCESS;
}

/* Says that the name was used. */
static int on_server_name(SSL *ssl, int *alert, void *argument)
{
    (void)alert, (void)argument;
    return tls_state_of(ssl)->name ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}

/* Our order counts (RFC 7301 §3.2). */
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
                   unsigned in_len, void *argument)
{
    (void)ssl;
    const struct tls_server *server = argument;
    for (size_t ours = 0; ours < server->alpn.len; ours += 1u + (unsigned char)server->alpn.at[ours]) {
        const unsigned char *wanted = (const unsigned char *)server->alpn.at + ours;
        for (unsigned at = 0; at < in_len && in[at] < in_len - at; at += 1u + in[at]) {
            if (in[at] == *wanted && memcmp(in + at + 1, wanted + 1, *wanted) == 0) {
                *out = in + at + 1;
                *out_len = in[at];
                return SSL_TLSEXT_ERR_OK;
            }
        }
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static const struct tls_server_slot *slot_of(SSL *ssl)
{
    return SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
}

/* 1 = done, 2 = done and renew, 0 = unknown key: a full handshake, -1 = error. */
static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                     EVP_MAC_CTX *mac, int encrypt)
{
    const struct tls_server *server = slot_of(ssl)->server;
    const struct tls_ticket_keys *keys =
        server->file_keys ? server->file_keys : tls_tickets_keys(server->tickets);
    size_t i = 0;
    if (encrypt) {
        memcpy(name, keys->at[0].name, sizeof keys->at[0].name);
        if (RAND_bytes(iv, 16) != 1)
            return -1;
    } else {
        while (i < keys->count && memcmp(name, keys->at[i].name, sizeof keys->at[i].name) != 0)
            i++;
        if (i == keys->count)
            return 0;
    }

    const struct tls_ticket_key *key = &keys->at[i];
    char digest[] = "SHA256";
    unsigned char hmac[sizeof key->hmac];
    memcpy(hmac, key->hmac, sizeof hmac);
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, hmac, sizeof hmac),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };
    int done = EVP_CipherInit_ex(cipher, server->ticket_cipher, NULL, key->aes, iv, encrypt) == 1 &&
               EVP_MAC_CTX_set_params(mac, params) == 1;
    OPENSSL_cleanse(hmac, sizeof hmac);
    if (!done)
        return -1;
    /* In TLS 1.3 a client uses a ticket once (RFC 8446 §C.4), so every handshake brings a new one. */
    return i == 0 && (encrypt || SSL_version(ssl) != TLS1_3_VERSION) ? 1 : 2;
}

/* Staples the response of the certificate that was chosen. */
static int on_status(SSL *ssl, void *argument)
{
    const struct tls_server *server = ((const struct tls_server_slot *)argument)->server;
    X509 *used = SSL_get_certificate(ssl);
    for (unsigned i = 0; used && i < server->identity_count; i++) {
        const struct tls_identity *identity = &server->identities[i];
        if (!identity->ocsp || X509_cmp(identity->cert, used) != 0)
            continue;
        if (identity->ocsp_until <= (int64_t)time(NULL))
            break;
        unsigned char *copy = OPENSSL_memdup(identity->ocsp, identity->ocsp_len);
        if (!copy)
            break;
        SSL_set_tlsext_status_ocsp_resp(ssl, copy, (long)identity->ocsp_len);
        return SSL_TLSEXT_ERR_OK;
    }
    return SSL_TLSEXT_ERR_NOACK;
}
