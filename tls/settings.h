/* What the configuration says of TLS: a listener's `tls:` and an upstream's `tls:`. Values only; nothing is
 * opened here. A path is as written; tls_server_create and tls_client_create take it relative to the file
 * that names it. */
#pragma once

#include "config/option.h"

enum tls_client_verify {
    TLS_VERIFY_UNSET, /* the listener's, or `require` where a client_ca is given */
    TLS_VERIFY_OFF,
    TLS_VERIFY_OPTIONAL, /* a certificate may be missing, but not be wrong */
    TLS_VERIFY_REQUIRE,
};

enum tls_min_version { TLS_MIN_1_2, TLS_MIN_1_3 };

/* An entry of `certificates:`. */
struct tls_certificate_settings {
    const struct config_node *node;
    struct slice cert;      /* PEM: the certificate and its chain */
    struct slice key;       /* PEM; empty = in the cert file */
    struct slice client_ca; /* empty = the listener's */
    int client_verify;      /* enum tls_client_verify */
};

struct tls_server_settings {
    const struct config_node *node;
    struct option_list certificates; /* of struct tls_certificate_settings */
    struct option_texts self_signed;
    int min_version;      /* enum tls_min_version */
    struct slice ciphers; /* empty = Mozilla intermediate */
    struct slice ciphersuites;
    struct option_texts curves;
    /* In order of preference. When !alpn_set the listener's protocol knows better: whoever calls
     * tls_server_create fills it ({"h2", "http/1.1"}, or none). */
    struct option_texts alpn;
    bool alpn_set;
    struct slice client_ca;
    int client_verify; /* enum tls_client_verify */
    bool session_tickets;
    struct option_texts ticket_keys; /* files of 80-byte keys; the first key encrypts */
    bool ocsp_stapling;
};

struct tls_client_settings {
    const struct config_node *node;
    bool verify;
    struct slice ca;          /* PEM; empty = the system's */
    struct slice server_name; /* empty = the name that tls_client_connect is given */
    struct slice cert, key;   /* PEM; key empty = in the cert file */
};

/* A listener's `tls:`; for OPTION_BLOCK_IF. */
extern const struct option_table tls_server_table;
/* An upstream's `tls:`; for OPTION_BLOCK_IF with OPTION_FLAG_TRUE. */
extern const struct option_table tls_client_table;
