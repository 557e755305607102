/* How old a response is, and how long it is fresh: pieces of cache_may_store. */
#pragma once

#include "cache/rules.h"

/* The field that says how a response may be cached: the first of CDN-Cache-Control, Surrogate-Control and
 * Cache-Control that is there and well-formed (RFC 9213 §2.2). True when it is one of the first two:
 * Cache-Control and Expires say nothing then. */
bool cache_control_select(const struct cache_response *r, struct cache_control *out);

/* Date (RFC 9110 §6.6.1), or response_time where there is no valid one. */
int64_t cache_date_value(const struct cache_response *r, int64_t response_time);

/* Age (§5.1). Several, or one that is no number: -1. 0 when there is none. */
int64_t cache_age_value(const struct cache_response *r);

/* corrected_initial_age, §4.2.3. */
int64_t cache_initial_age(int64_t age_value, int64_t date, int64_t request_time, int64_t response_time);

/* freshness_lifetime as the response gives it (§4.2.1): s-maxage, max-age, Expires less Date; CACHE_UNSET
 * when it does not. What is not well-formed gives 0. */
int64_t cache_explicit_lifetime(const struct cache_response *r, const struct cache_control *c,
                                bool is_targeted, int64_t date);

/* For a response that does not say it: the route's ttl, or else a tenth of what went by since Last-Modified,
 * a day at most (§4.2.2). CACHE_UNSET when there is neither. */
int64_t cache_implied_lifetime(const struct cache_response *r, const struct cache_control *c,
                               bool is_targeted, const struct cache_defaults *d, int64_t date);

/* Statuses that are cacheable though nothing says so (RFC 9110 §15.1). */
bool cache_is_heuristic_status(unsigned status);
/* Whether `statuses` of the route name it; false when there are none. */
bool cache_is_listed_status(const struct cache_defaults *d, unsigned status);
