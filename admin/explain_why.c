/* Why a listener is the one or not, and who lets a client in: the reasons of explain_text.h. */
#include "admin/explain_settings.h"
#include "admin/explain_text.h"

bool explain_is_listener(const struct explained *e, const struct listener_config *l)
{
    return e->stream ? e->stream == l : !e->no_stream && e->listener && e->listener->slot == l->slot;
}

static const char *addresses_of(const struct listener_config *l, struct arena *a)
{
    const char *text = "";
    for (size_t i = 0; text && i < l->address_count; i++) {
        char address[ADDRESS_TEXT_MAX];
        size_t len = address_print(&l->addresses[i], address, sizeof address);
        text = arena_printf(a, "%s%s%.*s", text, i ? ", " : "", (int)len, address);
    }
    return text;
}

static uint64_t port_of(const struct explained *e)
{
    const struct http_request *r = &e->request.request;
    uint64_t port;
    if (slice_to_u64(host_port(r->host), &port) != 0)
        port = slice_equal(r->scheme, S("https")) ? 443 : 80;
    return port;
}

static bool has_port(const struct listener_config *l, uint64_t port)
{
    for (size_t i = 0; i < l->address_count; i++)
        if (address_port(&l->addresses[i]) == port)
            return true;
    return false;
}

/* What keeps it from being the one that the URL leads to; NULL = nothing does. */
static const char *obstacle(const struct explained *e, const struct listener_config *l, struct arena *a)
{
    static const char *const protocols[] = {"http", "tcp", "udp"};
    bool is_tls = slice_equal(e->request.request.scheme, S("https"));
    unsigned long long port = port_of(e);
    bool wants_udp = e->scheme == EXPLAIN_UDP;
    if (wants_udp != (l->protocol == LISTENER_UDP))
        return arena_printf(a, "its protocol is %s", protocols[l->protocol]);
    if (e->scheme == EXPLAIN_TCP && l->protocol == LISTENER_HTTP)
        return "its protocol is http";
    if (!has_port(l, port))
        return arena_printf(a, "it is not bound to port %llu", port);
    if (l->protocol == LISTENER_HTTP && is_tls != (l->tls != NULL))
        return l->tls ? "it speaks TLS, and the URL is not https"
                      : "it does not speak TLS, and the URL is https";
    return NULL;
}

const char *explain_listener_reason(const struct explained *e, const struct listener_config *l,
                                    struct arena *a)
{
    static const char *const protocols[] = {"http", "tcp", "udp"};
    const struct config_node *node = l->settings->node;
    const char *why = obstacle(e, l, a), *addresses = addresses_of(l, a);
    bool is_it = explain_is_listener(e, l);
    if (!is_it && !why)
        why = "another one is bound to that port too, and comes first in the file";
    if (is_it && why)
        why = arena_printf(a, "though %s: no other one fits better", why);
    if (!why)
        why = arena_printf(a, "bound to port %llu", (unsigned long long)port_of(e));
    return why && addresses ? arena_printf(a, "(%s%s on %s, %s:%u): %s", protocols[l->protocol],
                                           l->tls ? " with TLS" : "", addresses, node ? node->file : "",
                                           node ? node->key_line ? node->key_line : node->line : 0, why)
                            : NULL;
}

/* The longest network of a list that holds the client; NULL = none does. */
static const char *network_of(const struct option_texts *texts, const struct cidr_set *set,
                              const struct ip *client, const char *word, struct arena *a)
{
    unsigned bits = cidr_set_match(set, client);
    for (size_t i = 0; bits && i < set->count; i++)
        if (set->at[i].bits + 1u == bits && cidr_contains(&set->at[i], client))
            return arena_printf(a, "%s %.*s, %s", word, SLICE_FMT(texts->at[i]),
                                explain_place(a, texts->nodes[i]));
    return NULL;
}

const char *explain_access(const struct explained *e, struct arena *a)
{
    const struct route *r = e->why.route;
    if (!r || access_is_open(&r->access))
        return NULL;
    bool lets_in = access_allows(&r->access, &e->request.client);
    const char *text =
        lets_in ? network_of(&r->settings->allow, &r->access.allow, &e->request.client, "let in by allow", a)
                : network_of(&r->settings->deny, &r->access.deny, &e->request.client, "kept out by deny", a);
    if (text)
        return text;
    return lets_in ? "let in: neither allow nor deny names its network"
                   : "kept out: there is an allow list, and no network of it holds this address";
}
