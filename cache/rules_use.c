/* What may be done with a stored response: RFC 9111 §4, §5.2.1, RFC 5861. */
#include "cache/date.h"
#include "cache/rules.h"

const struct cache_request_directives cache_says_nothing = {.max_age = CACHE_UNSET,
                                                            .min_fresh = CACHE_UNSET,
                                                            .max_stale = CACHE_UNSET,
                                                            .stale_if_error = CACHE_UNSET};

void cache_request_directives(const struct cache_request *r, struct cache_request_directives *out)
{
    struct cache_control c;
    *out = cache_says_nothing;
    if (LIKELY(r->cache_control.count == 0 && r->pragma.count == 0))
        return;
    if (r->cache_control.count == 0) { /* §5.4 */
        cache_control_parse(&r->pragma, &c);
        out->no_cache = c.no_cache;
        return;
    }
    cache_control_parse(&r->cache_control, &c);
    out->no_cache = c.no_cache;
    out->no_store = c.no_store;
    out->only_if_cached = c.only_if_cached;
    out->max_age = c.max_age;
    out->min_fresh = c.min_fresh;
    out->max_stale = c.max_stale;
    out->stale_if_error = c.stale_if_error;
}

int64_t cache_age(const struct cache_freshness *f, int64_t now)
{
    int64_t resident = now - f->response_time;
    if (UNLIKELY(resident < -CACHE_CLOCKS_DIFFER_SECONDS))
        return f->initial_age > f->lifetime ? f->initial_age : f->lifetime;
    return f->initial_age + (resident > 0 ? resident : 0);
}

/* §5.2.1.1, §5.2.1.3. */
static bool is_good_enough(const struct cache_freshness *f, const struct cache_request_directives *d,
                           int64_t age)
{
    if (d->max_age != CACHE_UNSET && (age > d->max_age || d->max_age == 0))
        return false;
    return d->min_fresh == CACHE_UNSET || f->lifetime - age >= d->min_fresh;
}

/* §4.2.4. Without max-stale, a client that says max-age or min-fresh does not want a stale one (§5.2.1.1,
 * §5.2.1.3). */
static enum cache_use use_of_stale(const struct cache_freshness *f, const struct cache_request_directives *d,
                                   int64_t age)
{
    int64_t staleness = age > f->lifetime ? age - f->lifetime : 0;
    bool is_wanted = d->max_age == CACHE_UNSET && d->min_fresh == CACHE_UNSET;
    if (d->max_stale != CACHE_UNSET)
        is_wanted = staleness <= d->max_stale &&
                    (d->max_age == CACHE_UNSET || (age <= d->max_age && d->max_age != 0));
    if (!is_wanted)
        return CACHE_USE_VALIDATED;
    if (staleness < f->stale_while_revalidate)
        return CACHE_USE_UPDATING;
    return d->max_stale != CACHE_UNSET && !f->must_revalidate ? CACHE_USE_STALE : CACHE_USE_VALIDATED;
}

enum cache_use cache_may_use(const struct cache_freshness *f, const struct cache_request_directives *d,
                             bool soft_purged, int64_t now, const char **reason)
{
    int64_t age = cache_age(f, now);
    if (LIKELY(f->lifetime > age && !soft_purged && !f->no_cache)) {
        bool is_fine = !d->no_cache && is_good_enough(f, d, age);
        *reason = is_fine ? NULL : "request";
        return is_fine ? CACHE_USE_FRESH : CACHE_USE_VALIDATED;
    }
    *reason = "stale";
    return d->no_cache ? CACHE_USE_VALIDATED : use_of_stale(f, d, age);
}

bool cache_may_use_on_error(const struct cache_freshness *f, const struct cache_request_directives *d,
                            bool answered, int64_t now)
{
    int64_t limit = f->stale_if_error;
    if (!answered && !f->must_revalidate && limit < CACHE_DISCONNECTED_SECONDS)
        limit = CACHE_DISCONNECTED_SECONDS;
    if (d->no_cache || (f->must_revalidate && limit == 0))
        return false;
    if (!f->must_revalidate && d->stale_if_error > limit)
        limit = d->stale_if_error;
    return cache_age(f, now) < f->lifetime + limit;
}

static bool is_weak(struct slice etag)
{
    return slice_begins(etag, S("W/"));
}

/* §4.3.4: a strong tag is about what has the same one, a weak one about what matches weakly (RFC 9110
 * §8.8.3.2). */
static bool etags_agree(struct slice stored, struct slice etag)
{
    if (!is_weak(etag))
        return slice_equal(stored, etag);
    return slice_equal(is_weak(stored) ? slice_skip(stored, 2) : stored, slice_skip(etag, 2));
}

bool cache_validators_agree(struct slice stored_etag, struct slice stored_modified, struct slice etag,
                            struct slice modified)
{
    int64_t stored_time, time;
    if (etag.len)
        return etags_agree(stored_etag, etag);
    if (modified.len == 0 || slice_equal(stored_modified, modified))
        return true;
    return http_date_parse(stored_modified, 0, &stored_time) == 0 &&
           http_date_parse(modified, 0, &time) == 0 && stored_time == time;
}
