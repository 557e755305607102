#include "tls/settings.h"

static void check_certificate(struct config *c, const struct config_node *node, void *object);
static void check_server(struct config *c, const struct config_node *node, void *object);
static void check_client(struct config *c, const struct config_node *node, void *object);

static int parse_verify(struct config *c, const struct config_node *node, void *field);
static int parse_alpn(struct config *c, const struct config_node *node, void *field);

static const char *const min_versions[] = {"1.2", "1.3", NULL};

#define VERIFY_OPTION(type_, help_)                                                                          \
    OPTION_AT(type_, client_verify, "client_verify", OPTION_CUSTOM, .parse = parse_verify,                   \
              .schema = "{\"enum\": [\"require\", \"optional\", \"off\"]}",                                  \
              .shape = "require, optional or off", .help = (help_))

static const struct option certificate_options[] = {
    OPTION_AT(
        struct tls_certificate_settings, cert, "cert", OPTION_TEXT,
        .flags = OPTION_FLAG_REQUIRED | OPTION_FLAG_NONEMPTY,
        .help = "PEM file: the certificate, then its chain. A DER OCSP response beside it (the same name and "
                "`.ocsp`) is stapled."),
    OPTION_AT(struct tls_certificate_settings, key, "key", OPTION_TEXT,
              .help = "PEM file of the private key, unencrypted. Default: the `cert` file."),
    OPTION_AT(struct tls_certificate_settings, client_ca, "client_ca", OPTION_TEXT,
              .help = "As the listener's `client_ca`, for this certificate's names alone."),
    VERIFY_OPTION(
        struct tls_certificate_settings,
        "As the listener's `client_verify`, for this certificate's names alone; `off` lifts the listener's."),
};

static const struct option_table certificate_table = {
    .name = "certificate",
    .help = "A certificate of a listener and its key.",
    .options = certificate_options,
    .count = COUNT_OF(certificate_options),
    .size = sizeof(struct tls_certificate_settings),
    .has_node = true,
    .node_offset = offsetof(struct tls_certificate_settings, node),
    .check = check_certificate,
};

static const struct option server_options[] = {
    OPTION_AT(struct tls_server_settings, certificates, "certificates", OPTION_LIST,
              .table = &certificate_table, .flags = OPTION_FLAG_NONEMPTY,
              .help =
                  "Chosen by SNI: exact name, then wildcard, then the first of the list. An RSA and an ECDSA "
                  "certificate for one name are both offered."),
    OPTION_AT(
        struct tls_server_settings, self_signed, "self_signed", OPTION_TEXTS, .flags = OPTION_FLAG_NONEMPTY,
        .help =
            "Names or addresses; instead of `certificates`: a certificate for them is made at start and kept "
            "across reloads. For trying out and tests."),
    OPTION_AT(struct tls_server_settings, min_version, "min_version", OPTION_ENUM, .fallback = "1.2",
              .choices = min_versions, .help = "The oldest TLS version that is spoken."),
    OPTION_AT(
        struct tls_server_settings, ciphers, "ciphers", OPTION_TEXT,
        .help =
            "OpenSSL cipher list for TLS 1.2, by preference. Default: Mozilla's intermediate ECDHE list."),
    OPTION_AT(struct tls_server_settings, ciphersuites, "ciphersuites", OPTION_TEXT,
              .help =
                  "OpenSSL cipher suites for TLS 1.3, by preference. Default: AES-128, AES-256, ChaCha20."),
    OPTION_AT(struct tls_server_settings, curves, "curves", OPTION_TEXTS,
              .help = "Groups for the key exchange, by preference. Default: X25519, P-256, P-384."),
    OPTION_AT(struct tls_server_settings, alpn, "alpn", OPTION_CUSTOM, .parse = parse_alpn,
              .set_offset = offsetof(struct tls_server_settings, alpn_set),
              .schema = "{\"type\": [\"string\", \"array\"], \"items\": {\"type\": \"string\"}}",
              .shape = "a protocol or a list of them",
              .help = "Application protocols by preference. Default: what the listener speaks."),
    OPTION_AT(struct tls_server_settings, client_ca, "client_ca", OPTION_TEXT,
              .help = "PEM file of the authorities whose client certificates are accepted (mutual TLS)."),
    VERIFY_OPTION(struct tls_server_settings,
                  "Whether a client must show a certificate (`require`, the default with `client_ca`) or may "
                  "(`optional`: a wrong one is refused all the same)."),
    OPTION_AT(struct tls_server_settings, session_tickets, "session_tickets", OPTION_BOOL, .fallback = "true",
              .help = "Resumption by tickets. Without, each worker keeps a small session cache."),
    OPTION_AT(
        struct tls_server_settings, ticket_keys, "ticket_keys", OPTION_TEXTS,
        .help = "Files of 80-byte ticket keys, to share among machines: the first key encrypts, all decrypt. "
                "Default: keys made at start and rotated every 8 hours."),
    OPTION_AT(struct tls_server_settings, ocsp_stapling, "ocsp_stapling", OPTION_BOOL, .fallback = "true",
              .help =
                  "Staple the OCSP response found in the file beside each certificate. It is not fetched."),
};

const struct option_table tls_server_table = {
    .name = "tls (listener)",
    .help = "TLS of a listener. Needs `certificates` or `self_signed`.",
    .options = server_options,
    .count = COUNT_OF(server_options),
    .size = sizeof(struct tls_server_settings),
    .has_node = true,
    .node_offset = offsetof(struct tls_server_settings, node),
    .check = check_server,
};

static const struct option client_options[] = {
    OPTION_AT(struct tls_client_settings, verify, "verify", OPTION_BOOL, .fallback = "true",
              .help = "Verify the server's certificate, chain and name."),
    OPTION_AT(struct tls_client_settings, ca, "ca", OPTION_TEXT,
              .help = "PEM file of the authorities that are trusted. Default: the system's."),
    OPTION_AT(
        struct tls_client_settings, server_name, "server_name", OPTION_TEXT,
        .help = "The name that is asked for (SNI) and verified. Default: the server's host name or address."),
    OPTION_AT(struct tls_client_settings, cert, "cert", OPTION_TEXT,
              .help = "PEM file of the client certificate to show, with its chain."),
    OPTION_AT(struct tls_client_settings, key, "key", OPTION_TEXT,
              .help = "PEM file of its private key. Default: the `cert` file."),
};

const struct option_table tls_client_table = {
    .name = "tls (upstream)",
    .help = "TLS towards an upstream's servers; `true` takes every default.",
    .options = client_options,
    .count = COUNT_OF(client_options),
    .size = sizeof(struct tls_client_settings),
    .has_node = true,
    .node_offset = offsetof(struct tls_client_settings, node),
    .check = check_client,
};

static int parse_verify(struct config *c, const struct config_node *node, void *field)
{
    static const char *const words[] = {"off", "optional", "require", NULL};
    int word;
    if (option_choice(c, node, words, &word) != 0)
        return -1;
    *(int *)field = TLS_VERIFY_OFF + word;
    return 0;
}

/* RFC 7301 §3.1: a protocol's name is 1 to 255 bytes. */
static int parse_alpn(struct config *c, const struct config_node *node, void *field)
{
    struct option_texts *texts = field;
    if (option_texts(c, node, texts) != 0)
        return -1;
    size_t total = 0;
    for (size_t i = 0; i < texts->count; i++) {
        total += texts->at[i].len + 1;
        if (texts->at[i].len == 0 || texts->at[i].len > 255) {
            config_fault(c, texts->nodes[i], "a protocol's name has 1 to 255 bytes");
            return -1;
        }
    }
    if (total > 0xffff) {
        config_fault(c, node, "more than 65535 bytes of protocols");
        return -1;
    }
    return 0;
}

static void check_certificate(struct config *c, const struct config_node *node, void *object)
{
    struct tls_certificate_settings *s = object;
    if (s->client_verify == TLS_VERIFY_UNSET && s->client_ca.len)
        s->client_verify = TLS_VERIFY_REQUIRE;
    if (s->client_verify == TLS_VERIFY_OFF && s->client_ca.len)
        config_warn(c, node, "client_ca is not used: client_verify is off");
}

static void check_server(struct config *c, const struct config_node *node, void *object)
{
    struct tls_server_settings *s = object;
    if (s->client_verify == TLS_VERIFY_UNSET)
        s->client_verify = s->client_ca.len ? TLS_VERIFY_REQUIRE : TLS_VERIFY_OFF;
    if (s->certificates.count && s->self_signed.count)
        config_fault(c, node, "certificates and self_signed exclude each other");
    if (!s->certificates.count && !s->self_signed.count && node && !config_get(node, "certificates") &&
        !config_get(node, "self_signed"))
        config_fault(c, node, "needs certificates: [{cert: …, key: …}], or self_signed: [names]");

    if (s->client_verify != TLS_VERIFY_OFF && !s->client_ca.len)
        config_fault(c, node, "client_verify needs client_ca: a PEM file of the authorities");
    const struct tls_certificate_settings *entries = s->certificates.at;
    for (size_t i = 0; i < s->certificates.count; i++) {
        if (entries[i].client_verify > TLS_VERIFY_OFF && !entries[i].client_ca.len && !s->client_ca.len)
            config_fault(c, entries[i].node, "client_verify needs client_ca");
    }
    if (!s->session_tickets && s->ticket_keys.count)
        config_warn(c, node, "ticket_keys are not used: session_tickets is false");
}

static void check_client(struct config *c, const struct config_node *node, void *object)
{
    const struct tls_client_settings *s = object;
    if (s->key.len && !s->cert.len)
        config_fault(c, node, "key needs cert");
    if (!s->verify && s->ca.len)
        config_warn(c, node, "ca is not used: verify is false");
}
