#include "import/model.h"

#include <ctype.h>

#include "core/address.h"

void import_init(struct import *in, struct arena *a, const char *from, const char *file)
{
    *in = (struct import){.arena = a, .from = from, .file = file};
    in->report.arena = a;
    in->top = yaml_map(a);
    in->tests = yaml_list(a);
    in->last_listener = &in->listeners;
    in->last_route = &in->routes;
    in->last_upstream = &in->upstreams;
}

/* Names. */

static const char *clean_name(struct arena *a, const char *s)
{
    struct text out = {0};
    for (const char *p = s; *p; p++) {
        bool good = isalnum((unsigned char)*p) || *p == '_' || *p == '.';
        if (good && !(*p == '.' && (!out.len || out.at[out.len - 1] == '-')))
            text_add_bytes(&out, p, 1);
        else if (out.len && out.at[out.len - 1] != '-')
            text_add(&out, "-");
    }
    while (out.len && (out.at[out.len - 1] == '-' || out.at[out.len - 1] == '.'))
        out.at[--out.len] = '\0';
    const char *name = out.len ? import_copy(a, out.at, out.len > 100 ? 100 : out.len) : "unnamed";
    text_free(&out);
    return name;
}

/* The three kinds have their names to themselves; `kind` says which is asked. */
static bool name_is_taken(const struct import *in, int kind, const char *name)
{
    for (const struct import_listener *l = kind == 0 ? in->listeners : NULL; l; l = l->next)
        if (text_is(l->name, name))
            return true;
    for (const struct import_route *r = kind == 1 ? in->routes : NULL; r; r = r->next)
        if (text_is(r->name, name))
            return true;
    for (const struct import_upstream *u = kind == 2 ? in->upstreams : NULL; u; u = u->next)
        if (text_is(u->name, name))
            return true;
    return false;
}

static const char *free_name(const struct import *in, int kind, const char *wanted)
{
    const char *base = clean_name(in->arena, wanted), *name = base;
    for (int n = 2; name_is_taken(in, kind, name); n++)
        name = import_printf(in->arena, "%s-%d", base, n);
    return name;
}

/* What is made. */

struct import_listener *import_listener(struct import *in, const char *name, const char *origin)
{
    struct import_listener *l = import_alloc(in->arena, sizeof *l);
    l->name = free_name(in, 0, name);
    l->origin = origin;
    l->body = yaml_map(in->arena);
    *in->last_listener = l;
    in->last_listener = &l->next;
    return l;
}

struct import_route *import_route(struct import *in, const char *name, const char *origin)
{
    struct import_route *r = import_alloc(in->arena, sizeof *r);
    r->name = free_name(in, 1, name);
    r->origin = origin;
    r->listeners = yaml_list(in->arena);
    r->hosts = yaml_list(in->arena);
    r->conditions = yaml_map(in->arena);
    r->body = yaml_map(in->arena);
    *in->last_route = r;
    in->last_route = &r->next;
    return r;
}

struct import_upstream *import_upstream(struct import *in, const char *name, const char *origin)
{
    struct import_upstream *u = import_alloc(in->arena, sizeof *u);
    u->name = free_name(in, 2, name);
    u->origin = origin;
    u->body = yaml_map(in->arena);
    *in->last_upstream = u;
    in->last_upstream = &u->next;
    return u;
}

/* By segments "/a" and "/a/" are one. */
static bool same_path(const struct import_route *a, const struct import_route *b)
{
    const char *x = a->kind == IMPORT_PATH_ANY ? "/" : a->path,
               *y = b->kind == IMPORT_PATH_ANY ? "/" : b->path;
    bool prefixes = a->kind <= IMPORT_PATH_PREFIX && b->kind <= IMPORT_PATH_PREFIX;
    size_t m = strlen(x), n = strlen(y);
    if (!prefixes)
        return a->kind == b->kind && text_is(x, y);
    m -= m && x[m - 1] == '/';
    n -= n && y[n - 1] == '/';
    return m == n && strncmp(x, y, m) == 0;
}

bool import_route_is_taken(const struct import *in, const struct import_route *r)
{
    for (const struct import_route *o = in->routes; o; o = o->next)
        if (o != r && same_path(o, r) && yaml_equal(o->hosts, r->hosts) &&
            yaml_equal(o->listeners, r->listeners) && yaml_equal(o->conditions, r->conditions))
            return true;
    return false;
}

void import_route_drop(struct import *in, struct import_route *r)
{
    struct import_route **at = &in->routes;
    while (*at && *at != r)
        at = &(*at)->next;
    if (*at)
        *at = r->next;
    in->last_route = &in->routes;
    while (*in->last_route)
        in->last_route = &(*in->last_route)->next;
}

bool import_once(struct import *in, const char *group, const char *key, const char *value)
{
    struct yaml_node *map = group ? yaml_at(in->arena, in->top, group) : in->top;
    const struct yaml_node *old = yaml_get(map, key);
    if (old)
        return text_is(yaml_scalar(old), value);
    yaml_set_raw(in->arena, map, key, value);
    return true;
}

const char *import_literal(struct arena *a, const char *s)
{
    struct text out = {0};
    for (const char *p = s; *p; p++) {
        text_add_bytes(&out, p, 1);
        if (*p == '$' && p[1] == '{')
            text_add(&out, "$");
    }
    const char *copy = out.at ? import_copy(a, out.at, out.len) : "";
    text_free(&out);
    return copy;
}

const char *import_duration(struct arena *a, long long ms)
{
    static const struct {
        long long ms;
        const char *name;
    } units[] = {{86400000, "d"}, {3600000, "h"}, {60000, "m"}, {1000, "s"}};
    for (size_t i = 0; ms && i < COUNT_OF(units); i++)
        if (ms % units[i].ms == 0)
            return import_printf(a, "%lld%s", ms / units[i].ms, units[i].name);
    return ms ? import_printf(a, "%lldms", ms) : "0";
}

/* Clients. */

/* Bits of the longest network that holds the address, and one; 0 when none does. */
static unsigned longest(const struct yaml_node *networks, const struct ip *ip)
{
    unsigned most = 0;
    for (size_t i = 0; i < yaml_count(networks); i++) {
        struct cidr cidr;
        if (cidr_parse(slice_text(yaml_scalar(yaml_item(networks, i))), &cidr) == 0 &&
            cidr_contains(&cidr, ip) && cidr.bits + 1u > most)
            most = cidr.bits + 1u;
    }
    return most;
}

static bool lets_in(const struct yaml_node *allow, const struct yaml_node *deny, const char *client)
{
    struct ip ip;
    if (ip_parse(slice_text(client), &ip) != 0)
        return false;
    unsigned allowed = longest(allow, &ip), denied = longest(deny, &ip);
    return allowed || denied ? allowed > denied : yaml_count(allow) == 0 || yaml_count(deny) > 0;
}

const char *import_client(struct arena *a, const struct yaml_node *body)
{
    static const char *const others[] = {"192.0.2.1", "198.51.100.1", "10.0.0.1"};
    const struct yaml_node *allow = yaml_get(body, "allow"), *deny = yaml_get(body, "deny");
    if (lets_in(allow, deny, "127.0.0.1"))
        return NULL;
    for (size_t i = 0; i < yaml_count(allow); i++) {
        const char *text = yaml_scalar(yaml_item(allow, i)), *slash = strchr(text, '/');
        const char *client = slash ? import_copy(a, text, (size_t)(slash - text)) : text;
        if (lets_in(allow, deny, client))
            return client;
    }
    for (size_t i = 0; i < COUNT_OF(others); i++)
        if (lets_in(allow, deny, others[i]))
            return others[i];
    return "";
}

/* Tests. */

void import_test(struct import *in, const struct import_test *t)
{
    struct arena *a = in->arena;
    struct yaml_node *test = yaml_map(a), *expect = yaml_map(a);
    const char *scheme = t->listener->tls ? "https" : "http";
    bool usual = text_is(t->listener->port, t->listener->tls ? "443" : "80") || !t->listener->port;
    yaml_set_text(a, test, "request",
                  import_printf(a, "%s %s://%s%s%s%s", t->method ? t->method : "GET", scheme, t->host,
                                usual ? "" : ":", usual ? "" : t->listener->port, t->target));
    if (t->headers)
        yaml_set(a, test, "headers", t->headers);
    if (t->client)
        yaml_set_text(a, test, "client", t->client);
    yaml_set_text(a, test, "listener", t->listener->name);
    if (t->route)
        yaml_set_text(a, expect, "route", t->route);
    if (t->upstream)
        yaml_set_text(a, expect, "upstream", t->upstream);
    if (t->status)
        yaml_set_raw(a, expect, "status", import_printf(a, "%d", t->status));
    if (t->location)
        yaml_set_text(a, expect, "location", t->location);
    if (t->path)
        yaml_set_text(a, expect, "path", t->path);
    yaml_set(a, test, "expect", expect);
    yaml_add(a, in->tests, test);
}
