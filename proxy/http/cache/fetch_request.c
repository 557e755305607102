/* The request, as it is asked for the cache: nothing in it is the client's alone. */
#include "proxy/http/cache/fetch_internal.h"
#include "proxy/http/client_address.h"
#include "proxy/http/fields.h"

static int copy_fields(struct cache_fetch *f, const struct fields *from)
{
    struct exchange *x = f->x;
    bool is_trusted = client_peer_is_trusted(x);
    struct fields *to = &x->request.fields;
    for (uint32_t i = 0; i < from->count; i++) {
        if (!cache_is_fetched(f->rules, &from->at[i], is_trusted))
            continue;
        struct slice name = arena_copy(&x->arena, from->at[i].name),
                     value = arena_copy(&x->arena, from->at[i].value);
        if (!name.at || !value.at || fields_add(&x->arena, to, from->at[i].id, name, value) != 0)
            return -1;
    }
    return 0;
}

/* RFC 9111 §4.3.1. */
int fetch_add_validators(struct cache_fetch *f)
{
    struct exchange *x = f->x;
    const struct cache_object *base = f->fill->base;
    if (!base)
        return 0;
    if (base->etag.len &&
        fields_add(&x->arena, &x->request.fields, FIELD_IF_NONE_MATCH, S("If-None-Match"), base->etag) != 0)
        return -1;
    return base->modified.len ? fields_add(&x->arena, &x->request.fields, FIELD_IF_MODIFIED_SINCE,
                                           S("If-Modified-Since"), base->modified)
                              : 0;
}

static int copy(struct arena *a, struct slice *s)
{
    if (s->len == 0)
        return 0;
    *s = arena_copy(a, *s);
    return s->at ? 0 : -1;
}

int fetch_copy_names(struct cache_fetch *f, const struct cache_names *from)
{
    struct arena *a = &f->x->arena;
    f->names = *from;
    int failed = copy(a, &f->names.key) | copy(a, &f->names.url) | copy(a, &f->names.authority) |
                 copy(a, &f->names.query);
    f->key.text = f->names.key;
    return failed;
}

/* Edge Architecture Specification §2.2: what a Surrogate-Control for this cache is addressed to. */
static int announce(struct exchange *x)
{
    return fields_add(&x->arena, &x->request.fields, FIELD_OTHER, S("Surrogate-Capability"),
                      S("weir=\"Surrogate/1.0\""));
}

/* It is in the client's connection, which may end first. */
static int copy_destination(struct exchange *x, const struct ip *from)
{
    struct ip *to = from ? arena_alloc(&x->arena, sizeof *to) : NULL;
    x->destination = to;
    if (to)
        *to = *from;
    return to || !from ? 0 : -1;
}

int fetch_copy_request(struct cache_fetch *f, const struct exchange *from)
{
    struct exchange *x = f->x;
    struct arena *a = &x->arena;
    x->route = from->route;
    x->match = from->match;
    x->host = from->host;
    x->path = from->path;
    x->peer = from->peer;
    x->client = from->client;
    x->client_text = from->client_text;
    x->request_id = from->request_id;
    x->started_us = from->started_us; /* what is told of attempts is told from there */
    x->is_tls = from->is_tls;
    x->protocol = from->protocol;
    x->request_done = true;
    x->keep_alive_ok = true;
    x->request = (struct http_request){.method_id = METHOD_GET,
                                       .method = SLICE("GET"),
                                       .target = from->request.target,
                                       .scheme = from->request.scheme, /* static text */
                                       .host = f->names.authority,
                                       .path = from->request.path,
                                       .query = f->names.query,
                                       .has_query = f->names.has_query,
                                       .minor = from->request.minor,
                                       .body = BODY_NONE,
                                       .keep_alive = true};
    return copy_destination(x, from->destination) | copy(a, &x->host) | copy(a, &x->path) |
           copy(a, &x->client_text) | copy(a, &x->request_id) | announce(x) | copy(a, &x->request.target) |
           copy(a, &x->request.path) | copy_fields(f, &from->request.fields) | fetch_add_validators(f);
}
