/* From settings to certificates, policies, and the table of names. */
#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <time.h>

#include "tls/server_internal.h"

static int load_identities(struct config *c, const struct tls_server_settings *s, struct tls_server *server);
static int load_self_signed(struct config *c, const struct config_node *at,
                            const struct tls_server_settings *s, struct tls_server *server);
static int load_policies(struct config *c, const struct config_node *at, const struct tls_server_settings *s,
                         struct tls_server *server);
static int load_ticket_keys(struct config *c, const struct tls_server_settings *s, struct tls_server *server);
static int build_alpn(const struct tls_server_settings *s, struct tls_server *server);
static int build_names(struct tls_server *server);

/* The node of a setting, or the map that it would stand in. */
static const struct config_node *setting(const struct config_node *map, const char *key)
{
    const struct config_node *at = map && map->kind == NODE_MAP ? config_get(map, key) : NULL;
    return at ? at : map;
}

int tls_server_load(struct config *c, const struct config_node *at, const struct tls_server_settings *s,
                    struct tls_server *server)
{
    size_t count = s->certificates.count ? s->certificates.count : 1;
    struct arena *a = &server->arena;
    server->identities = arena_zalloc(a, count * sizeof *server->identities);
    server->certificates = arena_zalloc(a, count * sizeof *server->certificates);
    server->entry_policies = arena_zalloc(a, count * sizeof *server->entry_policies);
    server->policies = arena_zalloc(a, (count + 1) * sizeof *server->policies);
    if (!server->identities || !server->certificates || !server->entry_policies || !server->policies)
        goto no_memory;
    if (!s->certificates.count && !s->self_signed.count) {
        config_fault(c, at, "needs certificates: [{cert: …, key: …}], or self_signed: [names]");
        return -1;
    }

    server->identity_count = (unsigned)count;
    int result = 0;
    if (s->certificates.count ? load_identities(c, s, server) : load_self_signed(c, at, s, server))
        result = -1;
    if (load_policies(c, at, s, server) != 0)
        result = -1;
    if (load_ticket_keys(c, s, server) != 0)
        result = -1;
    if (result != 0)
        return -1;
    if (build_alpn(s, server) == 0 && build_names(server) == 0)
        return 0;
no_memory:
    config_fault(c, at, "out of memory");
    return -1;
}

/* Certificates. */

static void warn_of_dates(struct config *c, const struct config_node *at, const struct tls_certificate *t)
{
    int64_t now = (int64_t)time(NULL);
    struct tm parts;
    char text[32];
    int64_t moment = t->not_after < now ? t->not_after : t->not_before;
    time_t clock = (time_t)moment;
    if (t->not_after >= now && t->not_before <= now)
        return;
    strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", gmtime_r(&clock, &parts));
    bool expired = moment == t->not_after;
    const struct config_advice advice = {.rule = "certificate-ends",
                                         .mend = expired ? "renew it, then weir reload"
                                                         : "look at this machine's clock, or wait"};
    config_advise(c, at, &advice,
                  expired ? "the certificate in %s expired on %s"
                          : "the certificate in %s is not valid before %s",
                  t->file, text);
}

static int load_identities(struct config *c, const struct tls_server_settings *s, struct tls_server *server)
{
    const struct tls_certificate_settings *entries = s->certificates.at;
    int result = 0;
    for (size_t i = 0; i < s->certificates.count; i++) {
        const struct tls_certificate_settings *e = &entries[i];
        struct tls_identity *identity = &server->identities[i];
        const struct config_node *cert_at = setting(e->node, "cert");
        if (tls_identity_load(c, &server->files, cert_at, e->cert, setting(e->node, "key"), e->key,
                              identity) != 0) {
            result = -1;
            continue;
        }
        const char *path =
            arena_copy(&server->arena, config_relative_path(c, cert_at, e->cert, CONFIG_READS)).at;
        if (!path ||
            tls_certificate_describe(&server->arena, identity, path, &server->certificates[i]) != 0) {
            config_fault(c, cert_at, "out of memory");
            result = -1;
            continue;
        }
        warn_of_dates(c, cert_at, &server->certificates[i]);
        if (s->ocsp_stapling)
            tls_identity_load_ocsp(c, &server->files, cert_at, path, identity);
    }
    return result;
}

static int load_self_signed(struct config *c, const struct config_node *at,
                            const struct tls_server_settings *s, struct tls_server *server)
{
    struct slice pem = {NULL, 0};
    at = setting(at, "self_signed");
    for (size_t i = 0; i < s->self_signed.count; i++) {
        if (s->self_signed.at[i].len == 0 || s->self_signed.at[i].len > 253) {
            config_fault(c, s->self_signed.nodes ? s->self_signed.nodes[i] : at, "a name has 1 to 253 bytes");
            return -1;
        }
    }
    int made = server->tickets
                   ? tls_tickets_self_signed(server->tickets, s->self_signed.at, s->self_signed.count, &pem)
                   : tls_self_signed_make(s->self_signed.at, s->self_signed.count, &pem);
    int result = made == 0 ? tls_identity_parse(pem, &server->identities[0]) : -1;
    if (result == 0)
        result =
            tls_certificate_describe(&server->arena, &server->identities[0], NULL, &server->certificates[0]);
    if (result != 0)
        config_fault(c, at, "cannot make a certificate for these names: %s", tls_error_words());
    if (!server->tickets)
        tls_file_release(&pem);
    return result;
}

/* Policies. */

static int finish_policy(struct tls_policy *p, const STACK_OF(X509) * certificates)
{
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    bool done = digest && EVP_DigestInit_ex(digest, EVP_sha256(), NULL) == 1 &&
                EVP_DigestUpdate(digest, &p->verify, sizeof p->verify) == 1;
    for (int i = 0; done && i < sk_X509_num(certificates); i++) {
        X509 *one = sk_X509_value(certificates, i);
        unsigned char sum[EVP_MAX_MD_SIZE];
        unsigned len;
        X509_NAME *name = X509_NAME_dup(X509_get_subject_name(one));
        done = name && X509_digest(one, EVP_sha256(), sum, &len) == 1 &&
               EVP_DigestUpdate(digest, sum, len) == 1 && X509_STORE_add_cert(p->store, one) == 1 &&
               sk_X509_NAME_push(p->names, name) > 0;
        if (!done)
            X509_NAME_free(name);
    }
    unsigned char id[EVP_MAX_MD_SIZE];
    done = done && EVP_DigestFinal_ex(digest, id, NULL) == 1;
    if (done)
        memcpy(p->id, id, sizeof p->id);
    EVP_MD_CTX_free(digest);
    return done ? 0 : -1;
}

/* The number of the policy, loaded unless it is known; -1 after config_fault. */
static int policy_for(struct config *c, const struct config_node *at, struct slice ca, int verify,
                      struct tls_server *server)
{
    const char *path = NULL;
    if (verify != TLS_VERIFY_OFF &&
        !(path = arena_copy(&server->arena, config_relative_path(c, at, ca, CONFIG_READS)).at)) {
        config_fault(c, at, "out of memory");
        return -1;
    }
    for (unsigned i = 0; i < server->policy_count; i++) {
        const struct tls_policy *known = &server->policies[i];
        if (known->verify == verify && (!path || strcmp(path, known->path) == 0))
            return (int)i;
    }

    if (path && !ca.len)
        return -1; /* said where the settings were read */
    struct tls_policy p = {.verify = verify, .path = path};
    STACK_OF(X509) *certificates = NULL;
    if (path) {
        struct slice pem;
        if (tls_file_read(&server->files, path, &pem) != 0) {
            config_fault(c, at, "cannot read %s: %s", path, strerror(errno));
            return -1;
        }
        certificates = tls_certificates_parse(pem);
        tls_file_release(&pem);
        if (!certificates) {
            config_fault(c, at, "%s holds no certificates that can be used: %s", path, tls_error_words());
            return -1;
        }
        p.store = X509_STORE_new();
        p.names = sk_X509_NAME_new_null();
    }
    int result = path && (!p.store || !p.names) ? -1 : finish_policy(&p, certificates);
    sk_X509_pop_free(certificates, X509_free);
    if (result != 0) {
        X509_STORE_free(p.store);
        sk_X509_NAME_pop_free(p.names, X509_NAME_free);
        config_fault(c, at, "the authorities cannot be used: %s", tls_error_words());
        return -1;
    }
    server->policies[server->policy_count] = p;
    return (int)server->policy_count++;
}

static int load_policies(struct config *c, const struct config_node *at, const struct tls_server_settings *s,
                         struct tls_server *server)
{
    const struct tls_certificate_settings *entries = s->certificates.at;
    int result = 0;
    for (unsigned i = 0; i < server->identity_count; i++) {
        const struct tls_certificate_settings *e = s->certificates.count ? &entries[i] : NULL;
        bool own_ca = e && e->client_ca.len;
        int verify = e && e->client_verify != TLS_VERIFY_UNSET ? e->client_verify : s->client_verify;
        if (verify == TLS_VERIFY_UNSET)
            verify = own_ca || s->client_ca.len ? TLS_VERIFY_REQUIRE : TLS_VERIFY_OFF;
        int policy = policy_for(c, setting(own_ca ? e->node : at, "client_ca"),
                                own_ca ? e->client_ca : s->client_ca, verify, server);
        if (policy < 0)
            result = -1;
        else
            server->entry_policies[i] = (unsigned)policy;
    }
    return result;
}

/* Ticket keys. */

static int load_ticket_keys(struct config *c, const struct tls_server_settings *s, struct tls_server *server)
{
    if (!s->session_tickets || !s->ticket_keys.count)
        return 0;
    int result = 0;
    char *all = NULL;
    size_t len = 0;
    for (size_t i = 0; i < s->ticket_keys.count; i++) {
        const struct config_node *at = s->ticket_keys.nodes ? s->ticket_keys.nodes[i] : s->node;
        const char *path = config_relative_path(c, at, s->ticket_keys.at[i], CONFIG_READS).at;
        struct slice bytes = {NULL, 0};
        char *more = NULL;
        if (!path || tls_file_read(&server->files, path, &bytes) != 0) {
            config_fault(c, at, "cannot read %s: %s", path ? path : "", strerror(errno));
            result = -1;
        } else if (bytes.len == 0 || bytes.len % TLS_TICKET_KEY_BYTES ||
                   bytes.len > 64 * TLS_TICKET_KEY_BYTES) {
            config_fault(c, at, "%s has %zu bytes: a key has %d, and a file one to 64 of them", path,
                         bytes.len, TLS_TICKET_KEY_BYTES);
            result = -1;
        } else if (!(more = malloc(len + bytes.len))) {
            config_fault(c, at, "out of memory");
            result = -1;
        } else {
            if (len)
                memcpy(more, all, len);
            memcpy(more + len, bytes.at, bytes.len);
            struct slice old = slice_of(all, len);
            tls_file_release(&old);
            all = more;
            len += bytes.len;
        }
        tls_file_release(&bytes);
    }
    struct slice joined = slice_of(all, len);
    if (result == 0 && !(server->file_keys = tls_ticket_keys_read(joined))) {
        config_fault(c, s->node, "out of memory");
        result = -1;
    }
    tls_file_release(&joined);
    return result;
}

static int build_alpn(const struct tls_server_settings *s, struct tls_server *server)
{
    size_t len = 0, at = 0;
    for (size_t i = 0; i < s->alpn.count; i++)
        len += s->alpn.at[i].len + 1;
    if (!len)
        return 0;
    char *wire = arena_alloc(&server->arena, len);
    if (!wire)
        return -1;
    for (size_t i = 0; i < s->alpn.count; i++) {
        wire[at++] = (char)s->alpn.at[i].len;
        memcpy(wire + at, s->alpn.at[i].at, s->alpn.at[i].len);
        at += s->alpn.at[i].len;
    }
    server->alpn = slice_of(wire, len);
    return 0;
}

/* Names. */

static int order_names(const void *left, const void *right)
{
    const struct tls_name *a = left, *b = right;
    size_t len = a->name.len < b->name.len ? a->name.len : b->name.len;
    int order = memcmp(a->name.at, b->name.at, len);
    if (order == 0)
        order = (a->name.len > b->name.len) - (a->name.len < b->name.len);
    /* For now `choice` is the entry: the first in the file leads. */
    return order ? order : (a->choice > b->choice) - (a->choice < b->choice);
}

/* One of OpenSSL's slots for certificates. */
static int key_type(const struct tls_identity *i)
{
    return EVP_PKEY_get_base_id(i->key);
}

/* The choice of these entries, which are all for one name: the first of each key type, under the first's
 * policy. */
static unsigned choice_of(struct tls_server *s, const struct tls_name *names, size_t count)
{
    struct tls_choice choice = {.policy = s->entry_policies[names[0].choice]};
    for (size_t i = 0; i < count && choice.count < TLS_KEY_TYPES; i++) {
        unsigned entry = names[i].choice;
        bool fits = s->entry_policies[entry] == choice.policy;
        for (unsigned k = 0; k < choice.count; k++)
            fits = fits && key_type(&s->identities[choice.identities[k]]) != key_type(&s->identities[entry]);
        if (fits)
            choice.identities[choice.count++] = entry;
    }
    for (unsigned i = 0; i < s->choice_count; i++) {
        if (memcmp(&s->choices[i], &choice, sizeof choice) == 0)
            return i;
    }
    s->choices[s->choice_count] = choice;
    return s->choice_count++;
}

static int build_names(struct tls_server *s)
{
    size_t count = 0, kept = 0;
    for (unsigned i = 0; i < s->identity_count; i++)
        count += s->certificates[i].name_count;
    s->names = arena_alloc(&s->arena, (count + 1) * sizeof *s->names);
    s->choices = arena_zalloc(&s->arena, (count + 1) * sizeof *s->choices);
    if (!s->names || !s->choices)
        return -1;
    for (unsigned i = 0; i < s->identity_count; i++) {
        for (size_t k = 0; k < s->certificates[i].name_count; k++)
            s->names[s->name_count++] = (struct tls_name){s->certificates[i].names[k], i};
    }

    /* The default: the first certificate, and what else is there for its first name. */
    struct tls_name first[TLS_KEY_TYPES * 4] = {{.choice = 0}};
    size_t firsts = 1;
    for (size_t i = 0; s->certificates[0].name_count && i < s->name_count && firsts < COUNT_OF(first); i++) {
        if (s->names[i].choice && slice_equal(s->names[i].name, s->certificates[0].names[0]))
            first[firsts++] = s->names[i];
    }
    choice_of(s, first, firsts);

    qsort(s->names, s->name_count, sizeof *s->names, order_names);
    for (size_t i = 0; i < s->name_count;) {
        size_t same = i + 1;
        while (same < s->name_count && slice_equal(s->names[same].name, s->names[i].name))
            same++;
        struct tls_name one = {s->names[i].name, choice_of(s, &s->names[i], same - i)};
        s->names[kept++] = one;
        i = same;
    }
    s->name_count = kept;
    return 0;
}
