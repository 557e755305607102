#include "tls/client.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

#include "tls/certificate.h"
#include "tls/sessions.h"
#include "tls/transport.h"

#define NAME_MAX_BYTES 255

struct tls_client_slot {
    struct tls_slot slot;
    SSL_CTX *context;
    struct tls_sessions sessions;
};

struct tls_client {
    struct tls_hold hold;
    struct tls_files files;
    struct tls_client_slot *slots;
    unsigned workers;
    bool verify;
    char *server_name; /* of the settings, or NULL */
};

static int load(struct config *c, const struct config_node *at, const struct tls_client_settings *s,
                struct tls_client *t);
static void destroy(struct tls_hold *hold);
static void before_handshake(struct tls_state *state);
static int on_session(SSL *ssl, SSL_SESSION *session);

struct tls_client *tls_client_create(struct config *c, const struct config_node *at,
                                     const struct tls_client_settings *s, unsigned workers)
{
    if (!at)
        at = s->node;
    struct tls_client *t = calloc(1, sizeof *t);
    struct tls_client_slot *slots = NULL;
    if (posix_memalign((void **)&slots, 64, workers * sizeof *slots) != 0)
        slots = NULL;
    if (!t || !slots) {
        free(t);
        free(slots);
        config_fault(c, at, "out of memory");
        return NULL;
    }
    memset(slots, 0, workers * sizeof *slots);
    *t = (struct tls_client){.slots = slots, .workers = workers, .verify = s->verify};
    t->hold.destroy = destroy;
    atomic_init(&t->hold.slots, workers);
    for (unsigned i = 0; i < workers; i++) {
        slots[i].slot.whole = &t->hold;
        atomic_init(&slots[i].slot.refs, 1);
    }
    int result = load(c, at, s, t);
    ERR_clear_error();
    if (result == 0)
        return t;
    tls_client_free(t);
    return NULL;
}

void tls_client_free(struct tls_client *t)
{
    if (!t)
        return;
    unsigned workers = t->workers;
    struct tls_client_slot *slots = t->slots;
    for (unsigned i = 0; i < workers; i++)
        tls_slot_drop(&slots[i].slot);
}

static void destroy(struct tls_hold *hold)
{
    struct tls_client *t = CONTAINER_OF(hold, struct tls_client, hold);
    for (unsigned i = 0; i < t->workers; i++) {
        tls_sessions_clear(&t->slots[i].sessions);
        SSL_CTX_free(t->slots[i].context);
    }
    tls_files_free(&t->files);
    BIO_meth_free(t->hold.bio);
    free(t->server_name);
    free(t->slots);
    free(t);
}

bool tls_client_changed(const struct tls_client *t)
{
    return tls_files_changed(&t->files);
}

const struct tls_files *tls_client_files(const struct tls_client *t)
{
    return &t->files;
}

/* Loading. */

static const struct config_node *setting(const struct config_node *map, const char *key)
{
    const struct config_node *at = map && map->kind == NODE_MAP ? config_get(map, key) : NULL;
    return at ? at : map;
}

/* Whether the directory holds authorities under their hashes (c_rehash(1)). */
static bool is_hashed(const char *path)
{
    DIR *d = opendir(path);
    bool found = false;
    for (struct dirent *e; d && !found && (e = readdir(d));)
        found = slice_ends(slice_text(e->d_name), S(".0"));
    if (d)
        closedir(d);
    return found;
}

/* The directory is looked into when an authority is needed; the one file with all of them would cost 20 ms to
 * read, for every upstream. */
static int trust_system(X509_STORE *store)
{
    const char *path = getenv(X509_get_default_cert_dir_env());
    if (!path)
        path = X509_get_default_cert_dir();
    if (!getenv(X509_get_default_cert_file_env()) && is_hashed(path))
        return X509_STORE_load_path(store, path) == 1 ? 0 : -1;
    return X509_STORE_set_default_paths(store) == 1 ? 0 : -1;
}

/* Who is trusted, shared by all workers: only full handshakes look at it. NULL after config_fault. */
static X509_STORE *load_authorities(struct config *c, const struct config_node *at,
                                    const struct tls_client_settings *s, struct tls_client *t)
{
    X509_STORE *store = X509_STORE_new();
    if (!store || !s->ca.len) {
        if (store && trust_system(store) == 0)
            return store;
        config_fault(c, at, "the system's authorities cannot be used: %s", tls_error_words());
        X509_STORE_free(store);
        return NULL;
    }
    /* What is named here is trusted as it is: an intermediate, or the server's own certificate. */
    X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
    at = setting(at, "ca");
    const char *path = config_relative_path(c, at, s->ca, CONFIG_READS).at;
    struct slice pem;
    if (!path || tls_file_read(&t->files, path, &pem) != 0) {
        config_fault(c, at, "cannot read %s: %s", path ? path : "", strerror(errno));
        X509_STORE_free(store);
        return NULL;
    }
    STACK_OF(X509) *all = tls_certificates_parse(pem);
    tls_file_release(&pem);
    bool done = all != NULL;
    for (int i = 0; i < sk_X509_num(all) && done; i++)
        done = X509_STORE_add_cert(store, sk_X509_value(all, i)) == 1;
    sk_X509_pop_free(all, X509_free);
    if (done)
        return store;
    config_fault(c, at, "%s holds no certificates that can be used: %s", path, tls_error_words());
    X509_STORE_free(store);
    return NULL;
}

static SSL_CTX *make_context(struct config *c, const struct config_node *at, const struct tls_client *t,
                             X509_STORE *store, const struct tls_identity *identity)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (!context) {
        config_fault(c, at, "OpenSSL: %s", tls_error_words());
        return NULL;
    }
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                  SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_NO_AUTO_CHAIN);
    SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, on_session);
    SSL_CTX_set_verify(context, t->verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    if (store)
        SSL_CTX_set1_cert_store(context, store);
    if (identity->cert && tls_identity_use(identity, context) != 0) {
        config_fault(c, setting(at, "cert"), "the certificate cannot be used: %s", tls_error_words());
        SSL_CTX_free(context);
        return NULL;
    }
    return context;
}

static int load(struct config *c, const struct config_node *at, const struct tls_client_settings *s,
                struct tls_client *t)
{
    struct tls_identity identity = {0};
    X509_STORE *store = NULL;
    int result = 0;
    t->hold.bio = tls_transport_bio();
    t->server_name = s->server_name.len ? strndup(s->server_name.at, s->server_name.len) : NULL;
    if (!t->hold.bio || (s->server_name.len && !t->server_name)) {
        config_fault(c, at, "out of memory");
        return -1;
    }
    if (s->server_name.len > NAME_MAX_BYTES ||
        (t->server_name && strlen(t->server_name) != s->server_name.len)) {
        config_fault(c, setting(at, "server_name"), "no host name");
        result = -1;
    }
    if (s->cert.len && tls_identity_load(c, &t->files, setting(at, "cert"), s->cert, setting(at, "key"),
                                         s->key, &identity) != 0)
        result = -1;
    if (s->verify && !(store = load_authorities(c, at, s, t)))
        result = -1;
    for (unsigned i = 0; i < t->workers && result == 0; i++) {
        t->slots[i].context = make_context(c, at, t, store, &identity);
        if (!t->slots[i].context)
            result = -1;
    }
    tls_identity_free(&identity);
    X509_STORE_free(store);
    return result;
}

/* Connections. */

/* SNI, and what the certificate must be for. 0, or an errno. */
static int set_name(struct tls_state *state, bool verify)
{
    SSL *ssl = state->ssl;
    const char *name = state->name;
    if (!name)
        return verify ? EINVAL : 0;
    unsigned char address[16];
    if (inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1) {
        if (verify && X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) != 1)
            return ENOMEM;
        return 0;
    }
    if (SSL_set_tlsext_host_name(ssl, name) != 1)
        return EINVAL;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return verify && SSL_set1_host(ssl, name) != 1 ? ENOMEM : 0;
}

/* Lower case, without brackets and a dot behind; NULL when empty or out of memory. */
static char *copy_name(struct slice name)
{
    if (name.len > 1 && name.at[0] == '[' && name.at[name.len - 1] == ']')
        name = slice_of(name.at + 1, name.len - 2);
    if (name.len && name.at[name.len - 1] == '.')
        name.len--;
    if (name.len == 0 || name.len > NAME_MAX_BYTES || memchr(name.at, '\0', name.len))
        return NULL;
    char *copy = strndup(name.at, name.len);
    for (size_t i = 0; copy && i < name.len; i++)
        copy[i] = ascii_lower(copy[i]);
    return copy;
}

int tls_client_connect(struct tls_client *t, unsigned worker, struct conn *c, struct slice server_name,
                       struct slice alpn)
{
    ASSERT(worker < t->workers);
    struct tls_client_slot *slot = &t->slots[worker];
    struct tls_state *state = tls_state_create(c, slot->context, &slot->slot, false);
    if (!state) {
        errno = ENOMEM;
        return -1;
    }
    state->owner = slot;
    state->before_handshake = before_handshake;
    state->name = copy_name(t->server_name ? slice_text(t->server_name) : server_name);
    int error = set_name(state, t->verify);
    if (error == 0 && alpn.len &&
        SSL_set_alpn_protos(state->ssl, (const unsigned char *)alpn.at, (unsigned)alpn.len) != 0)
        error = EINVAL;
    if (error) {
        ERR_clear_error();
        tls_state_free(state);
        errno = error;
        return -1;
    }
    conn_set_transport(c, &tls_transport, state);
    return 0;
}

/* Now that the connection is there: which server it is, and its session. */
static void before_handshake(struct tls_state *state)
{
    struct tls_client_slot *slot = state->owner;
    struct address server;
    if (conn_peer(state->conn, &server) != 0)
        return;
    state->session_key = tls_session_key(&server, state->name);
    SSL_SESSION *session = tls_sessions_find(&slot->sessions, state->session_key);
    if (session)
        SSL_set_session(state->ssl, session);
    ERR_clear_error();
}

/* A ticket came (RFC 8446 §4.6.1: some time after the handshake). 1 = the reference is taken. */
static int on_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls_state *state = tls_state_of(ssl);
    struct tls_client_slot *slot = state->owner;
    if (!state->session_key || !SSL_SESSION_is_resumable(session))
        return 0;
    tls_sessions_put(&slot->sessions, state->session_key, session);
    return 1;
}
