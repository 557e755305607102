#include "cache/rules_age.h"

#include "cache/date.h"

#define HEURISTIC_SHARE 10
#define HEURISTIC_MAX   (INT64_C(24) * 3600)

bool cache_control_select(const struct cache_response *r, struct cache_control *out)
{
    if (r->cdn_cache_control.count && cache_control_parse_dictionary(&r->cdn_cache_control, out) == 0)
        return true;
    if (r->surrogate_control.count && cache_control_parse_surrogate(&r->surrogate_control, out) == 0)
        return true;
    cache_control_parse(&r->cache_control, out);
    return false;
}

/* The date in a field that has one line; -1 when there is no such. */
static int parse_date(const struct cache_lines *lines, int64_t now, int64_t *out)
{
    return lines->count == 1 ? http_date_parse(lines->at[0], now, out) : -1;
}

int64_t cache_date_value(const struct cache_response *r, int64_t response_time)
{
    int64_t date = response_time;
    parse_date(&r->date, response_time, &date);
    return date;
}

int64_t cache_age_value(const struct cache_response *r)
{
    if (r->age.count == 0)
        return 0;
    return r->age.count == 1 ? cache_seconds(r->age.at[0]) : -1;
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t bounded(int64_t seconds)
{
    return seconds < 0 ? 0 : seconds > CACHE_SECONDS_MAX ? CACHE_SECONDS_MAX : seconds;
}

int64_t cache_initial_age(int64_t age_value, int64_t date, int64_t request_time, int64_t response_time)
{
    int64_t response_delay = larger(response_time - request_time, 0);
    return bounded(larger(response_time - date, age_value + response_delay));
}

int64_t cache_explicit_lifetime(const struct cache_response *r, const struct cache_control *c,
                                bool is_targeted, int64_t date)
{
    int64_t expires;
    if (c->is_broken)
        return 0;
    if (c->s_maxage != CACHE_UNSET)
        return c->s_maxage;
    if (c->max_age != CACHE_UNSET)
        return c->max_age;
    if (is_targeted || r->expires.count == 0)
        return CACHE_UNSET;
    /* §5.3: what is no date is in the past. */
    return parse_date(&r->expires, date, &expires) == 0 ? bounded(expires - date) : 0;
}

/* §5.4: what Pragma means in a response is not laid down. Where nothing else is said, it is believed. */
static bool pragma_forbids(const struct cache_response *r)
{
    struct cache_control pragma;
    cache_control_parse(&r->pragma, &pragma);
    return r->cache_control.count == 0 && pragma.no_cache;
}

int64_t cache_implied_lifetime(const struct cache_response *r, const struct cache_control *c,
                               bool is_targeted, const struct cache_defaults *d, int64_t date)
{
    int64_t modified;
    bool is_heuristic = cache_is_heuristic_status(r->status);
    if (!is_targeted && r->pragma.count && pragma_forbids(r))
        return CACHE_UNSET;
    /* What a client can bring about by odd fields is not made to last for others. */
    bool is_provoked = r->status == 405 || r->status == 414 || r->status == 501;
    if (d->ttl != CACHE_UNSET && ((is_heuristic && !is_provoked) || cache_is_listed_status(d, r->status)))
        return bounded(d->ttl);
    if ((is_heuristic || c->is_public) && parse_date(&r->last_modified, date, &modified) == 0 &&
        modified < date) {
        int64_t share = (date - modified) / HEURISTIC_SHARE;
        return share < HEURISTIC_MAX ? share : HEURISTIC_MAX;
    }
    return CACHE_UNSET;
}

bool cache_is_heuristic_status(unsigned status)
{
    switch (status) {
    case 200:
    case 203:
    case 204:
    case 300:
    case 301:
    case 308:
    case 404:
    case 405:
    case 410:
    case 414:
    case 501:
        return true;
    default:
        return false;
    }
}

bool cache_is_listed_status(const struct cache_defaults *d, unsigned status)
{
    for (uint32_t i = 0; i < d->status_count; i++)
        if (d->statuses[i] == status)
            return true;
    return false;
}
