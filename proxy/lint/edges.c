/* Where weir meets the world: listeners, clients' addresses, the admin interface. */
#include "proxy/lint/internal.h"

#define TOKEN_SHORT 16

/* Listeners. */

static bool has_route(const struct lint *l, unsigned slot)
{
    for (size_t i = 0; i < l->s->route_count; i++)
        if (route_on_listener(&l->s->routes[i], slot))
            return true;
    return false;
}

static void check_routes_of(struct lint *l, const struct listener_config *on)
{
    if (!on->settings->passthrough.count && !has_route(l, on->slot))
        lint_warn_key(l, LINT_LISTENER_WITHOUT_ROUTE, on->settings->node,
                      "add a route for it, or take the listener out",
                      "every request to it is a 404: no route is for it");
}

/* Clients' addresses. */

static bool is_everybody(const struct cidr *c)
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    return c->bits == 0 || (c->bits == 96 && memcmp(c->bytes, mapped, 12) == 0);
}

static bool is_inside(const struct listener_config *on)
{
    for (size_t i = 0; i < on->address_count; i++)
        if (!lint_is_loopback(&on->addresses[i]))
            return false;
    return true;
}

static void check_trust(struct lint *l, const struct listener_config *on)
{
    for (size_t i = 0; i < on->trusted.count; i++)
        if (is_everybody(&on->trusted.at[i]) && !is_inside(on)) {
            lint_warn(l, LINT_CLIENTS_BEHIND_PROXY, lint_place(on->settings->node, "trusted_proxies"),
                      "name the networks of your proxies alone", NULL,
                      "everybody is believed: a client may say what its address is");
            return;
        }
}

/* All that reaches the route comes from this machine, so from a proxy on it, and its rules never have that
 * address. */
static void check_rules(struct lint *l, const struct route *r)
{
    static const char *const own[] = {"127.0.0.1", "::1"};
    struct ip ip;
    if (access_is_open(&r->access))
        return;
    for (size_t i = 0; i < l->s->listener_count; i++) {
        const struct listener_config *on = &l->s->listeners[i];
        if (on->protocol == LISTENER_HTTP && route_on_listener(r, on->slot) &&
            (!is_inside(on) || on->trusted.count || on->settings->proxy_protocol))
            return;
    }
    for (size_t i = 0; i < COUNT_OF(own); i++)
        if (ip_parse(slice_text(own[i]), &ip) == 0 &&
            (cidr_set_match(&r->access.allow, &ip) || cidr_set_match(&r->access.deny, &ip)))
            return;
    const struct config_node *allow = lint_given(r->settings->node, "allow"),
                             *deny = lint_given(r->settings->node, "deny");
    lint_warn(l, LINT_CLIENTS_BEHIND_PROXY, allow ? allow : deny,
              "name the proxy in the listener's \"trusted_proxies\": [127.0.0.1]", NULL,
              "%s: the route's listeners are for this machine alone, so every client is a proxy on it",
              access_allows(&r->access, &ip) ? "refuses nobody" : "lets nobody in");
}

/* The admin interface. */

static void check_admin(struct lint *l)
{
    const struct admin_settings *admin = l->s->settings.admin;
    for (size_t i = 0; i < admin->bind.count && !admin->token.len; i++) {
        struct address address;
        struct slice host;
        uint16_t port;
        const char *why;
        if (address_parse(admin->bind.at[i], &address, &host, &port, &why) == ADDRESS_SOCKET &&
            !lint_is_loopback(&address)) {
            lint_warn(l, LINT_ADMIN_OPEN, admin->bind.nodes[i], "set \"token\", or bind to 127.0.0.1", NULL,
                      "whoever reaches this address can drain servers, purge the cache and stop weir");
            break;
        }
    }
    if (admin->bind.count && admin->token.len && admin->token.len < TOKEN_SHORT)
        lint_warn(l, LINT_ADMIN_TOKEN_WEAK, lint_place(admin->node, "token"),
                  "take 16 or more random ones: openssl rand -hex 16", NULL,
                  "has %zu characters, which can be guessed", admin->token.len);
}

void lint_edges(struct lint *l)
{
    for (size_t i = 0; i < l->s->listener_count; i++) {
        const struct listener_config *on = &l->s->listeners[i];
        if (on->protocol == LISTENER_HTTP)
            check_routes_of(l, on);
        check_trust(l, on);
    }
    for (size_t i = 0; i < l->s->route_count; i++)
        check_rules(l, &l->s->routes[i]);
    check_admin(l);
}
