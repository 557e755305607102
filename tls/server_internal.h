/* The inside of a tls_server; for server.c (life, queries), server_load.c (what the settings name) and
 * server_context.c (SSL_CTX and what it calls back). */
#pragma once

#include "core/arena.h"
#include "tls/certificate.h"
#include "tls/hold.h"
#include "tls/keys.h"
#include "tls/server.h"

#define TLS_KEY_TYPES 3 /* of one name: RSA, EC, EdDSA */

/* What is demanded of clients. */
struct tls_policy {
    int verify;                  /* enum tls_client_verify, never UNSET */
    const char *path;            /* of the CA file; NULL = none */
    X509_STORE *store;           /* shared: only full handshakes with a client certificate use it */
    STACK_OF(X509_NAME) * names; /* told to clients */
    unsigned char id[32];        /* digest of mode and certificates; the session id context */
};

/* What is offered under a name: certificates of different key types, the first in the file leading. One
 * SSL_CTX a worker each. */
struct tls_choice {
    unsigned identities[TLS_KEY_TYPES];
    unsigned count;
    unsigned policy;
};

struct tls_name {
    struct slice name; /* exact, or "*.example.com" */
    unsigned choice;
};

struct tls_server_slot {
    struct tls_slot slot;
    struct tls_server *server;
    SSL_CTX **contexts; /* by choice */
};

struct tls_server {
    struct tls_hold hold;
    struct arena arena;
    struct tls_files files;
    struct tls_identity *identities; /* by entry of the file */
    struct tls_certificate *certificates;
    unsigned *entry_policies;
    unsigned identity_count;
    struct tls_policy *policies;
    unsigned policy_count;
    struct tls_choice *choices; /* [0] is the default */
    unsigned choice_count;
    struct tls_name *names; /* sorted */
    size_t name_count;
    struct slice alpn; /* in the wire's form */
    struct tls_tickets *tickets;
    struct tls_ticket_keys *file_keys; /* NULL = tickets' */
    EVP_CIPHER *ticket_cipher;
    struct tls_server_slot *slots;
    unsigned workers;
};

/* Everything but contexts. 0, or -1 after config_fault. */
int tls_server_load(struct config *c, const struct config_node *at, const struct tls_server_settings *s,
                    struct tls_server *server);

/* The contexts of one worker. 0, or -1 after config_fault. */
int tls_server_contexts(struct config *c, const struct config_node *at, const struct tls_server_settings *s,
                        struct tls_server *server, struct tls_server_slot *slot);

/* The choice for a name in lower case (empty = none given); NULL `found` is allowed. */
unsigned tls_server_choose(const struct tls_server *s, struct slice name, bool *found);

uint64_t tls_policy_number(const struct tls_policy *p);
