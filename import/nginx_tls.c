/* ssl_… of the servers of a socket: the certificates of its listener, the default server's first. */
#include <unistd.h>

#include "import/nginx.h"
#include "import/source.h"

static const char *file_path(struct nginx *n, struct ng *d, const char *path)
{
    const char *full = source_path(n->a, n->in->file, path);
    if (access(full, F_OK) != 0)
        ng_note(n, d, "there is no such file now; weir check refuses the file until it is there");
    return full;
}

static void client_certificates(struct nginx *n, const struct ng *scope, struct yaml_node *entry)
{
    struct ng *verify = ng_effective(scope, "ssl_verify_client"),
              *ca = ng_effective(scope, "ssl_client_certificate");
    const char *how = verify ? ng_arg(verify, 0) : "off";
    if (text_is(how, "off"))
        return;
    if (!text_is(how, "on") && !text_is(how, "optional")) {
        ng_left(
            n, verify,
            "weir accepts no certificate that it cannot verify; write client_ca and client_verify: optional");
        return;
    }
    if (!ca) {
        ng_left(n, verify, "there is no ssl_client_certificate; write client_ca");
        return;
    }
    yaml_set_text(n->a, entry, "client_ca", file_path(n, ca, ng_arg(ca, 0)));
    yaml_set_raw(n->a, entry, "client_verify", text_is(how, "on") ? "require" : "optional");
}

static void certificates(struct nginx *n, const struct ng_server *s, struct yaml_node *list)
{
    struct ng *cert = ng_level(s->block, "ssl_certificate"), *key = ng_level(s->block, "ssl_certificate_key");
    for (; cert; cert = ng_next(cert), key = key ? ng_next(key) : NULL) {
        struct yaml_node *entry = yaml_map(n->a);
        if (strchr(ng_arg(cert, 0), '$')) {
            ng_left(n, cert, "weir reads certificates when it starts; name each file");
            continue;
        }
        yaml_set_text(n->a, entry, "cert", file_path(n, cert, ng_arg(cert, 0)));
        if (key && !text_is(ng_arg(key, 0), ng_arg(cert, 0)))
            yaml_set_text(n->a, entry, "key", file_path(n, key, ng_arg(key, 0)));
        client_certificates(n, s->block, entry);
        if (!yaml_has_equal(list, entry))
            yaml_add(n->a, list, entry);
    }
}

static void protocols(struct nginx *n, const struct ng *scope, struct yaml_node *tls)
{
    struct ng *d = ng_effective(scope, "ssl_protocols");
    bool old = false, v12 = false, v13 = false;
    for (size_t i = 0; d && i < d->arg_count; i++) {
        v12 |= text_is(d->args[i], "TLSv1.2");
        v13 |= text_is(d->args[i], "TLSv1.3");
        old |= !text_is(d->args[i], "TLSv1.2") && !text_is(d->args[i], "TLSv1.3");
    }
    if (v13 && !v12)
        yaml_set_text(n->a, tls, "min_version", "1.3");
    if (old)
        ng_note(n, d, "weir speaks TLS 1.2 and 1.3, nothing older");
    if (v12 && !v13)
        ng_note(n, d, "weir speaks TLS 1.3 too");
}

static void ciphers(struct nginx *n, const struct ng *scope, struct yaml_node *tls)
{
    struct ng *d = ng_effective(scope, "ssl_ciphers");
    if (d)
        yaml_set_text(n->a, tls, "ciphers", ng_arg(d, 0));
    if ((d = ng_effective(scope, "ssl_ecdh_curve")) && !text_is(ng_arg(d, 0), "auto")) {
        struct slice rest = slice_text(ng_arg(d, 0)), one;
        while (slice_next(&rest, ':', &one))
            yaml_add_text(n->a, yaml_list_at(n->a, tls, "curves"), import_copy(n->a, one.at, one.len));
    }
    if ((d = ng_effective(scope, "ssl_session_tickets")) && text_is(ng_arg(d, 0), "off"))
        yaml_set_raw(n->a, tls, "session_tickets", "false");
    for (d = ng_level(scope, "ssl_session_ticket_key"); d; d = ng_next(d))
        yaml_add_text(n->a, yaml_list_at(n->a, tls, "ticket_keys"), file_path(n, d, ng_arg(d, 0)));
}

void ng_server_tls(struct nginx *n, struct ng_socket *s, struct yaml_node *body)
{
    struct yaml_node *tls = yaml_at(n->a, body, "tls"), *list = yaml_list_at(n->a, tls, "certificates");
    const struct ng *first = s->first->block;
    certificates(n, s->first, list);
    for (size_t i = 0; i < s->server_count; i++)
        certificates(n, s->servers[i], list);
    if (!yaml_count(list))
        report_add(
            &n->in->report, REPORT_LEFT, s->at->file, s->at->line, ng_words(n, s->at),
            "no server of this address names a certificate that weir can read; write tls.certificates");
    protocols(n, first, tls);
    ciphers(n, first, tls);
    /* The same of the other servers counts for nothing in nginx either: the default server's hold. */
    static const char *const names[] = {
        "ssl_protocols",          "ssl_ciphers",       "ssl_ecdh_curve",        "ssl_session_tickets",
        "ssl_session_ticket_key", "ssl_verify_client", "ssl_client_certificate"};
    for (size_t i = 0; i < s->server_count; i++)
        for (size_t k = 0; k < COUNT_OF(names); k++)
            ng_level(s->servers[i]->block, names[k]);
}
