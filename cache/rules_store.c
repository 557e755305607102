/* What may be stored: RFC 9111 §3. */
#include "cache/rules_age.h"

#include "cache/vary.h"

/* Statuses whose answer depends on more of the request than its method, its URL and what Vary names: ranges
 * (RFC 9110 §14) and conditions (§13). What is stored is complete. */
static bool is_never_stored(unsigned status)
{
    return status < 200 || status == 206 || status == 304 || status == 412 || status == 416;
}

/* Those that RFC 9110 §15 defines: what must-understand asks for (§5.2.2.3). */
static bool is_understood(unsigned status)
{
    return (status >= 200 && status <= 205) || (status >= 300 && status <= 308 && status != 306) ||
           (status >= 400 && status <= 417) || status == 421 || status == 422 || status == 426 ||
           (status >= 500 && status <= 505);
}

/* §3.5. */
static bool allows_authorization(const struct cache_control *c)
{
    return c->is_public || c->must_revalidate || c->s_maxage != CACHE_UNSET;
}

/* What forbids storing whatever the freshness; NULL when nothing does. */
static const char *forbidden_by_control(const struct cache_response *r, const struct cache_control *c)
{
    bool is_for_who_understands = c->must_understand && is_understood(r->status);
    if (c->must_understand && !is_for_who_understands)
        return "must-understand";
    if (c->no_store && !is_for_who_understands)
        return "no-store";
    if (c->is_private || c->is_omitted_too_long)
        return "private";
    return NULL;
}

static const char *forbidden_by_fields(const struct cache_response *r, const struct cache_defaults *d,
                                       const struct cache_verdict *v)
{
    if (r->has_set_cookie && !d->store_set_cookie && !cache_is_omitted(v, S("set-cookie")))
        return "set-cookie";
    switch (cache_vary_check(&r->vary)) {
    case CACHE_VARY_STAR:
        return "vary-star";
    case CACHE_VARY_UNUSABLE:
        return "vary";
    case CACHE_VARY_FINE:
        break;
    }
    return NULL;
}

static int64_t or_default(int64_t said, int64_t otherwise)
{
    return said != CACHE_UNSET ? said : otherwise != CACHE_UNSET ? otherwise : 0;
}

/* RFC 5861, and RFC 9111 §4.2.4 for what forbids it. */
static void take_stale_times(const struct cache_control *c, const struct cache_defaults *d,
                             struct cache_freshness *f)
{
    bool is_strict = c->must_revalidate || c->proxy_revalidate || c->no_cache;
    bool is_shared_age = c->s_maxage != CACHE_UNSET;
    f->no_cache = c->no_cache;
    f->must_revalidate = is_strict || is_shared_age;
    if (is_strict)
        return;
    f->stale_while_revalidate =
        or_default(c->stale_while_revalidate, is_shared_age ? 0 : d->stale_while_revalidate);
    f->stale_if_error = or_default(c->stale_if_error, is_shared_age ? 0 : d->stale_if_error);
}

static void refuse(struct cache_verdict *v, const char *reason, bool is_explicit)
{
    v->store = false;
    v->reason = reason;
    v->is_explicit = is_explicit;
}

/* Freshness, and the last of §3's conditions: that there is any, or that the status goes without. */
static void judge_freshness(const struct cache_response *r, const struct cache_control *c, bool is_targeted,
                            bool has_validator, const struct cache_defaults *d, int64_t request_time,
                            struct cache_verdict *v)
{
    struct cache_freshness *f = &v->freshness;
    int64_t date = cache_date_value(r, f->response_time), age = cache_age_value(r);
    int64_t lifetime = cache_explicit_lifetime(r, c, is_targeted, date);

    f->is_heuristic = lifetime == CACHE_UNSET;
    if (f->is_heuristic)
        lifetime = cache_implied_lifetime(r, c, is_targeted, d, date);
    if (lifetime == CACHE_UNSET && !c->is_public && !cache_is_heuristic_status(r->status)) {
        refuse(v, "status", false);
        return;
    }
    /* §4.2.3 needs an age: one that cannot be read is as good as any that is too old. */
    f->lifetime = lifetime == CACHE_UNSET || age < 0 ? 0 : lifetime;
    f->initial_age = cache_initial_age(age < 0 ? 0 : age, date, request_time, f->response_time);
    take_stale_times(c, d, f);

    int64_t longer =
        f->stale_while_revalidate > f->stale_if_error ? f->stale_while_revalidate : f->stale_if_error;
    if (has_validator || (f->lifetime + longer > f->initial_age && !f->no_cache))
        v->store = true;
    else if (f->no_cache)
        refuse(v, "no-cache", true);
    else if (lifetime == CACHE_UNSET)
        refuse(v, "no-freshness", true);
    else
        refuse(v, "stale", lifetime == 0);
}

void cache_may_store(const struct cache_request *request, const struct cache_response *response,
                     bool has_validator, const struct cache_defaults *d, int64_t request_time,
                     int64_t response_time, struct cache_verdict *out)
{
    struct cache_request_directives asked;
    struct cache_control c;
    *out = (struct cache_verdict){.freshness = {.response_time = response_time}};

    cache_request_directives(request, &asked);
    if (request->is_head) {
        refuse(out, "method", false);
        return;
    }
    if (asked.no_store) {
        refuse(out, "request", false);
        return;
    }
    if (is_never_stored(response->status) || (d->statuses && !cache_is_listed_status(d, response->status))) {
        refuse(out, "status", false);
        return;
    }

    bool is_targeted = cache_control_select(response, &c);
    memcpy(out->omitted, c.omitted, sizeof out->omitted);
    out->omitted_count = c.omitted_count;
    const char *reason = forbidden_by_control(response, &c);
    if (!reason)
        reason = forbidden_by_fields(response, d, out);
    if (reason)
        refuse(out, reason, true);
    else if (request->has_authorization && !allows_authorization(&c))
        refuse(out, "authorization", false);
    else
        judge_freshness(response, &c, is_targeted, has_validator, d, request_time, out);
}

bool cache_is_omitted(const struct cache_verdict *v, struct slice name)
{
    for (uint32_t i = 0; i < v->omitted_count; i++) {
        struct slice rest = v->omitted[i], element;
        while (slice_next(&rest, ',', &element))
            if (slice_equal_nocase(element, name))
                return true;
    }
    return false;
}
