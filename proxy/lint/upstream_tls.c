/* TLS to servers, and client certificates that are asked for. */
#include "proxy/lint/internal.h"

/* Some server is named by its address alone, which it must then find in the certificate. */
static const struct server_settings *by_address(const struct upstream_settings *u)
{
    const struct server_settings *servers = u->servers.at;
    for (size_t i = 0; i < u->servers.count; i++) {
        struct address address;
        struct slice host;
        uint16_t port;
        const char *why;
        if (servers[i].address.len &&
            address_parse(servers[i].address, &address, &host, &port, &why) == ADDRESS_SOCKET &&
            address.any.sa_family != AF_UNIX)
            return &servers[i];
    }
    return NULL;
}

static void check_verification(struct lint *l, const struct upstream_settings *u)
{
    const struct tls_client_settings *tls = u->tls;
    const struct server_settings *bare = by_address(u);
    if (!tls->verify) {
        lint_warn(l, LINT_TLS_NOT_VERIFIED, lint_place(tls->node, "verify"),
                  "take it out; for an authority of your own say \"ca\", for another name \"server_name\"",
                  NULL, "whoever is between weir and these servers can pretend to be one of them");
        return;
    }
    if (bare && !tls->server_name.len && !tls->ca.len)
        lint_warn(
            l, LINT_TLS_CANNOT_BE_VERIFIED, bare->node,
            "say \"server_name\" (the name in its certificate), and \"ca\" if it is of an authority of your "
            "own",
            NULL,
            "is accepted only with a certificate for the address itself, which public authorities hardly "
            "issue");
}

/* A server of HTTP at port 443 that is sent plain text. */
static void check_plain(struct lint *l, const struct upstream_settings *u)
{
    const struct server_settings *servers = u->servers.at;
    for (size_t i = 0; i < u->servers.count; i++) {
        struct slice text = servers[i].address.len ? servers[i].address : servers[i].dns;
        if (slice_ends(text, S(":443"))) {
            lint_warn(l, LINT_PLAIN_TO_TLS_PORT, servers[i].node, "say \"tls: true\" beside \"servers\"",
                      NULL, "gets plain HTTP at the port of HTTPS");
            return;
        }
    }
}

/* Client certificates. */

static bool mentions(const struct config_node *node, const char *word)
{
    if (node->kind == NODE_SCALAR)
        return node->text.len && memmem(node->text.at, node->text.len, word, strlen(word));
    for (size_t i = 0; i < node->count; i++)
        if (mentions(node->items[i], word))
            return true;
    return false;
}

static bool is_told_of_clients(const struct lint *l)
{
    for (size_t i = 0; i < l->s->settings.upstreams.count; i++)
        if (l->uses[i].settings->proxy_protocol == PROXY_V2)
            return true;
    return mentions(l->c->root, "tls_client_cn");
}

/* `optional` lets everybody in: somebody must look at who has shown one. */
static void check_clients(struct lint *l)
{
    int told = -1;
    for (size_t i = 0; i < l->s->listener_count; i++) {
        const struct tls_server_settings *tls = l->s->listeners[i].settings->tls;
        if (!tls || tls->client_verify != TLS_VERIFY_OPTIONAL)
            continue;
        if (told < 0)
            told = is_told_of_clients(l);
        if (!told)
            lint_warn(
                l, LINT_CLIENT_CERTIFICATE_UNUSED, lint_place(tls->node, "client_verify"),
                "say \"require\", or pass ${tls_client_cn} on in request_headers", NULL,
                "clients without a certificate are let in all the same, and nothing looks at who had one");
    }
}

void lint_upstream_tls(struct lint *l)
{
    for (size_t i = 0; i < l->s->settings.upstreams.count; i++) {
        const struct upstream_settings *u = l->uses[i].settings;
        if (u->tls)
            check_verification(l, u);
        else if (l->uses[i].by_http)
            check_plain(l, u);
    }
    check_clients(l);
}
