/* Which hosts the certificates of a listener cover: RFC 6125 §6.4 as tls/server.h chooses by it - the exact
 * name, or a wildcard of one label. */
#include "core/hash.h"
#include "proxy/lint/internal.h"

/* A name under ".example.com" is among the certificates': a wildcard route may be for these alone. */
static bool covers_below(const struct tls_server *tls, struct slice suffix)
{
    const struct tls_certificate *all;
    size_t count = tls_server_certificates(tls, &all);
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < all[i].name_count; k++)
            if (slice_ends(all[i].names[k], suffix))
                return true;
    return false;
}

static bool covers(const struct listener_config *on, const struct route_host *h)
{
    struct slice name = h->name;
    if (h->kind == ROUTE_HOST_WILDCARD)
        return covers_below(on->tls, name);
    if (on->names && on->settings->passthrough.count && server_names_find(on->names, name))
        return true;
    if (name.len > 2 && name.at[0] == '[')
        name = slice_of(name.at + 1, name.len - 2);
    return tls_server_covers(on->tls, name);
}

static const char *names_of(struct lint *l, const struct listener_config *on)
{
    const struct tls_certificate *all;
    size_t count = tls_server_certificates(on->tls, &all), told = 0;
    const char *text = "";
    for (size_t i = 0; text && i < count; i++)
        for (size_t k = 0; text && k < all[i].name_count && told < 4; k++, told++)
            text = arena_printf(&l->scratch, "%s%s%.*s", text,
                                told == 3 ? ", …"
                                : told    ? ", "
                                          : "",
                                told == 3 ? 0 : (int)all[i].names[k].len, all[i].names[k].at);
    return text && *text ? text : "none";
}

/* On none of the listeners with TLS that the route is for is the host covered. */
static void check_host(struct lint *l, const struct route *r, const struct route_host *h)
{
    const struct listener_config *bare = NULL;
    bool has_plain = false;
    for (size_t i = 0; i < l->listener_count; i++) {
        const struct listener_config *on = &l->s->listeners[l->listeners[i].slot];
        if (!route_on_listener(r, on->slot))
            continue;
        has_plain |= !on->tls;
        if (on->tls && covers(on, h))
            return;
        if (on->tls && !bare)
            bare = on;
    }
    if (!bare)
        return;
    bool made = bare->settings->tls->self_signed.count != 0;
    lint_warn(l, LINT_CERTIFICATE_NOT_FOR_HOST, h->node,
              made ? "add the name to \"self_signed\""
              : has_plain
                  ? "add a certificate for it, or keep the route to the listeners without TLS (\"listener\")"
                  : "add a certificate for it",
              NULL, "no certificate of listener %s is for %s%.*s; there are: %s",
              config_quote(l->c, bare->name), h->kind == ROUTE_HOST_WILDCARD ? "*" : "", SLICE_FMT(h->name),
              names_of(l, bare));
}

/* Certificates that no route has a host for. */

/* What the hosts of one listener's routes are known by: "a.example", ".b.example" for a wildcard, and
 * "*.example" for the parent of an exact name. */
struct hosts {
    struct table *table;
    struct arena *arena;
    bool any; /* some route takes every host */
};

static bool add_host(struct hosts *hosts, const struct route_host *h)
{
    if (h->kind == ROUTE_HOST_ANY)
        hosts->any = true;
    if (h->kind == ROUTE_HOST_ANY || table_put(hosts->table, h->name, 1) != 0)
        return h->kind == ROUTE_HOST_ANY;
    size_t dot = h->kind == ROUTE_HOST_EXACT ? slice_find(h->name, '.') : h->name.len;
    const char *parent = arena_printf(hosts->arena, "*%.*s", SLICE_FMT(slice_skip(h->name, dot)));
    return parent && table_put(hosts->table, slice_text(parent), 1) == 0;
}

static bool is_wanted(const struct hosts *hosts, struct slice name)
{
    uint64_t unused;
    if (table_get(hosts->table, name, &unused))
        return true;
    for (size_t i = 0; i < name.len; i++)
        if (name.at[i] == '.' && table_get(hosts->table, slice_skip(name, i), &unused))
            return true;
    return false;
}

static void check_unused(struct lint *l, const struct listener_config *on)
{
    const struct tls_certificate_settings *entries = on->settings->tls->certificates.at;
    const struct tls_certificate *all;
    size_t count = tls_server_certificates(on->tls, &all), routes = 0;
    struct hosts hosts = {.table = table_create(), .arena = &l->scratch};
    bool ok = hosts.table != NULL;
    for (size_t i = 0; ok && i < l->s->route_count && !hosts.any; i++) {
        const struct route *r = &l->s->routes[i];
        if (!route_on_listener(r, on->slot))
            continue;
        routes++;
        for (size_t k = 0; ok && k < r->host_count; k++)
            ok = add_host(&hosts, &r->hosts[k]);
    }
    /* The first is for whoever asks for no name, or for one that there is not. */
    for (size_t i = 1; ok && routes && !hosts.any && i < count && i < on->settings->tls->certificates.count;
         i++) {
        bool wanted = false;
        for (size_t k = 0; k < all[i].name_count && !wanted; k++)
            wanted = is_wanted(&hosts, all[i].names[k]);
        if (!wanted && all[i].name_count)
            lint_warn(l, LINT_CERTIFICATE_UNUSED, lint_place(entries[i].node, "cert"),
                      "take it out, or name the right file", NULL,
                      "no route of listener %s has a host that it is for: %.*s%s",
                      config_quote(l->c, on->name), SLICE_FMT(all[i].names[0]),
                      all[i].name_count > 1 ? ", …" : "");
    }
    table_free(hosts.table);
}

void lint_hosts(struct lint *l)
{
    size_t with_tls = 0;
    for (size_t i = 0; i < l->listener_count; i++) {
        const struct listener_config *on = &l->s->listeners[l->listeners[i].slot];
        with_tls += on->tls != NULL;
        if (on->tls && on->settings->tls->certificates.count)
            check_unused(l, on);
        arena_reset(&l->scratch);
    }
    for (size_t i = 0; with_tls && i < l->s->route_count && config_wants_warnings(l->c); i++) {
        const struct route *r = &l->s->routes[i];
        for (size_t k = 0; k < r->host_count; k++)
            if (r->hosts[k].kind != ROUTE_HOST_ANY)
                check_host(l, r, &r->hosts[k]);
        arena_reset(&l->scratch);
    }
}
