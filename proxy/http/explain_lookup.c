#include "proxy/http/explain_lookup.h"

#include "proxy/http/cache/facts.h"

bool explain_lookup(const struct plain_request *p, const struct explanation *e, struct arena *a,
                    struct explained_lookup *out)
{
    const struct route *r = e->route;
    if (!r || !r->cache || e->action != EXPLAIN_ROUTED || e->rewrite_fault)
        return false;
    struct plain_context context = {p, r, a, e->path};
    struct cache_subject subject = {.request = &p->request,
                                    .scheme = p->request.scheme,
                                    .host = p->host,
                                    .matched = p->path,
                                    .path = e->path,
                                    .peer_is_trusted = p->is_trusted,
                                    .lookup = plain_variable,
                                    .context = &context};
    uint64_t seen = fields_seen(&p->request.fields);
    *out = (struct explained_lookup){0};
    out->refused = cache_refuses(r->cache, &p->request, seen, &out->said);
    if (cache_names_build(r, &subject, a, &out->names) != 0 && !out->refused)
        out->refused = "key-too-long";
    return true;
}
