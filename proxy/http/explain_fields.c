#include "proxy/http/explain_fields.h"

#include "proxy/http/explain_lookup.h"
#include "proxy/http/fields.h"
#include "proxy/http/forward_request.h"
#include "proxy/http/rehearsal.h"

/* Whether the value is known before anything is sent. */
static bool is_known(const struct template_variable *v)
{
    switch (v->id) {
    case TEMPLATE_CLIENT:
    case TEMPLATE_METHOD:
    case TEMPLATE_SCHEME:
    case TEMPLATE_HOST:
    case TEMPLATE_PORT:
    case TEMPLATE_TARGET:
    case TEMPLATE_PATH:
    case TEMPLATE_QUERY:
    case TEMPLATE_ROUTE:
    case TEMPLATE_HEADER:
    case TEMPLATE_COOKIE:
    case TEMPLATE_ARG:
    case TEMPLATE_LISTENER:
    case TEMPLATE_UPSTREAM:
        return true;
    default:
        return false;
    }
}

static bool is_known_text(const struct template *t, const struct route *r)
{
    for (size_t i = 0; i < t->count; i++) {
        const struct template_variable *v = &t->pieces[i].variable;
        bool is_split = v->id == TEMPLATE_UPSTREAM && r->action == ROUTE_SPLIT;
        if (t->pieces[i].has_variable && (is_split || !is_known(v)))
            return false;
    }
    return true;
}

/* What the file writes, where nothing better is known. */
static void show_unknown(const struct route *r, const struct edits *e, const struct option_pairs *pairs,
                         size_t from, struct fields *f)
{
    for (size_t i = 0; i < pairs->count; i++) {
        if (is_known_text(&e->at[from + i].value, r))
            continue;
        for (uint32_t k = 0; k < f->count; k++)
            if (slice_equal_nocase(f->at[k].name, pairs->at[i].name))
                f->at[k].value = pairs->at[i].value;
    }
}

static void show_all_unknown(const struct route *r, const struct edits *e, const struct edits_settings *s,
                             struct fields *f)
{
    size_t removes = e->count - e->set_count - e->add_count;
    show_unknown(r, e, &s->set, removes, f);
    show_unknown(r, e, &s->add, removes + e->set_count, f);
}

/* They outlive the rehearsal. */
static int copy_fields(struct arena *a, const struct fields *from, struct fields *to)
{
    *to = (struct fields){.at = arena_alloc(a, (from->count + 1) * sizeof *to->at)};
    for (uint32_t i = 0; to->at && i < from->count; i++) {
        struct field *f = &to->at[to->count++];
        *f = (struct field){.name = arena_copy(a, from->at[i].name),
                            .value = arena_copy(a, from->at[i].value),
                            .id = from->at[i].id};
        if (!f->name.at || !f->value.at)
            return -1;
    }
    return to->at ? 0 : -1;
}

/* When the cache asks the origin, nothing in the request is the client's alone. */
static int as_fetched(const struct plain_request *p, const struct explanation *e, struct exchange *x)
{
    struct explained_lookup lookup;
    struct fields all = x->request.fields, kept = {0};
    if (!explain_lookup(p, e, &x->arena, &lookup) || lookup.refused)
        return 0;
    int failed = 0;
    for (uint32_t i = 0; i < all.count; i++)
        if (cache_is_fetched(e->route->cache, &all.at[i], p->is_trusted))
            failed |= fields_add(&x->arena, &kept, all.at[i].id, all.at[i].name, all.at[i].value);
    failed |=
        fields_add(&x->arena, &kept, FIELD_OTHER, S("Surrogate-Capability"), S("weir=\"Surrogate/1.0\""));
    x->request.fields = kept;
    x->request.host = lookup.names.authority;
    return failed;
}

int explain_request_fields(const struct plain_request *p, const struct explanation *e, struct arena *arena,
                           struct fields *out)
{
    struct fields made = {0};
    struct rehearsal *r = rehearsal_create(p);
    if (!r)
        return -1;
    rehearsal_route(r, e->route, &e->match, e->path);
    struct exchange *x = rehearsal_exchange(r);
    int result = as_fetched(p, e, x);
    if (result == 0)
        result = forward_fields(x, &made) == 0 ? copy_fields(arena, &made, out) : -1;
    if (result == 0)
        show_all_unknown(e->route, &e->route->request_headers, &e->route->settings->request_headers, out);
    rehearsal_free(r);
    return result;
}

/* What the route's action puts into its answer, ahead of what is put into every one. */
static int add_own(struct exchange *x, const struct explanation *e, struct fields *f)
{
    const struct route *r = e->route;
    struct slice body = S("");
    if (r->action == ROUTE_REDIRECT)
        return fields_add(&x->arena, f, FIELD_LOCATION, S("Location"), e->location);
    if (r->action != ROUTE_RESPOND)
        return 0;
    if (edits_apply(&r->respond.headers, f, &x->arena, exchange_variable, x) != 0 ||
        template_expand(&r->respond.body, &x->arena, exchange_variable, x, &body) != 0)
        return -1;
    for (size_t i = 0; i < r->respond.headers.count && i < f->count; i++)
        if (!is_known_text(&r->respond.headers.at[i].value, r))
            f->at[i].value = r->settings->respond->headers.at[i].value;
    if (body.len && !fields_find(f, FIELD_CONTENT_TYPE))
        return fields_add(&x->arena, f, FIELD_CONTENT_TYPE, S("Content-Type"),
                          S("text/plain; charset=utf-8"));
    return 0;
}

int explain_response_fields(const struct plain_request *p, const struct explanation *e, struct arena *arena,
                            struct fields *out)
{
    struct fields made = {0};
    struct rehearsal *r = rehearsal_create(p);
    if (!r)
        return -1;
    rehearsal_route(r, e->route, &e->match, e->path);
    struct exchange *x = rehearsal_exchange(r);
    int result = add_own(x, e, &made);
    result |= fields_add(&x->arena, &made, FIELD_VIA, S("Via"), exchange_via(1, false));
    result |= edits_apply(&e->route->response_headers, &made, &x->arena, exchange_variable, x);
    if (result == 0)
        result = copy_fields(arena, &made, out);
    if (result == 0)
        show_all_unknown(e->route, &e->route->response_headers, &e->route->settings->response_headers, out);
    rehearsal_free(r);
    return result;
}
