/* Who sends to which upstream, and how long that may take. */
#include "core/hash.h"
#include "proxy/lint/internal.h"

msec_t lint_response(const struct route *r, const struct listener_config *on)
{
    return r->timeouts.has_response ? r->timeouts.response : on->settings->timeouts.response;
}

msec_t lint_longest_response(const struct lint *l, const struct route *r)
{
    msec_t longest = 0;
    for (size_t i = 0; i < l->listener_count; i++) {
        const struct listener_config *on = &l->s->listeners[l->listeners[i].slot];
        if (route_on_listener(r, on->slot) && lint_response(r, on) > longest)
            longest = lint_response(r, on);
    }
    return longest;
}

size_t lint_fixed_servers(const struct upstream_settings *u)
{
    const struct server_settings *servers = u->servers.at;
    for (size_t i = 0; i < u->servers.count; i++)
        if (!servers[i].address.len)
            return 0;
    return u->servers.count;
}

static struct lint_use *use_of(struct lint *l, const struct table *names, struct slice name)
{
    uint64_t at;
    return table_get(names, name, &at) ? &l->uses[at] : NULL;
}

static void longer(msec_t *longest, msec_t one)
{
    if (one > *longest)
        *longest = one;
}

static void add_route(struct lint *l, const struct table *names, const struct route *r)
{
    for (size_t i = 0; i < r->target_count; i++) {
        struct lint_use *use = use_of(l, names, r->targets[i].name);
        if (!use)
            continue;
        use->by_http = true;
        longer(&use->longest, r->timeout ? r->timeout : MSEC_MAX);
        longer(&use->longest_attempt, r->retries.timeout ? r->retries.timeout : MSEC_MAX);
        longer(&use->longest_response, lint_longest_response(l, r));
    }
}

static void add_stream(struct lint *l, const struct table *names, struct slice name)
{
    struct lint_use *use = name.len ? use_of(l, names, name) : NULL;
    if (use)
        use->by_stream = true;
}

static void add_listener(struct lint *l, const struct table *names, const struct listener_settings *on)
{
    add_stream(l, names, on->upstream);
    for (size_t i = 0; i < on->sni.count; i++)
        add_stream(l, names, on->sni.at[i].value);
    for (size_t i = 0; i < on->passthrough.count; i++)
        add_stream(l, names, on->passthrough.at[i].value);
}

int lint_gather_uses(struct lint *l)
{
    const struct upstream_settings *all = l->s->settings.upstreams.at;
    size_t count = l->s->settings.upstreams.count;
    struct table *names = table_create();
    bool ok = names != NULL;
    l->uses = arena_zalloc(&l->c->arena, (count + 1) * sizeof *l->uses);
    for (size_t i = 0; ok && l->uses && i < count; i++) {
        l->uses[i].settings = &all[i];
        ok = table_put(names, all[i].name, i) == 0;
    }
    ok = ok && l->uses;
    for (size_t i = 0; ok && i < l->s->route_count; i++)
        add_route(l, names, &l->s->routes[i]);
    for (size_t i = 0; ok && i < l->s->listener_count; i++)
        add_listener(l, names, l->s->listeners[i].settings);
    table_free(names);
    return ok ? 0 : -1;
}
