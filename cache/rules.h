/* The rules of a shared cache, as pure functions over plain structs: what may be stored (RFC 9111 §3), how
 * long it is fresh (§4.2, RFC 9213), how old it is (§4.2.3), and what may be done with it for a request (§4,
 * §5.2.1, RFC 5861). Live traffic, `weir explain` and the tests call the same functions.
 *
 * Times of day are seconds since the epoch, durations are seconds. Both are kept below CACHE_SECONDS_MAX, so
 * that sums do not overflow (§1.2.2: at least 2^31). */
#pragma once

#include "cache/control.h"
#include "core/base.h"

/* What a route says for responses that do not say it themselves. */
struct cache_defaults {
    int64_t ttl; /* freshness where the response gives none; CACHE_UNSET = heuristics alone */
    int64_t stale_while_revalidate; /* CACHE_UNSET = 0 */
    int64_t stale_if_error;         /* likewise */
    const uint16_t *statuses; /* that may be stored at all; NULL = those that §4.2.2 calls heuristically
                               * cacheable, and others with explicit freshness */
    uint32_t status_count;
    bool store_set_cookie; /* an answer with Set-Cookie is stored like others; else it is not */
};

/* A request, as far as the rules ask. */
struct cache_request {
    struct cache_lines cache_control, pragma;
    bool has_authorization;
    bool is_head;
};

/* A request's directives (§5.2.1, §5.4). */
struct cache_request_directives {
    bool no_cache, no_store, only_if_cached;
    int64_t max_age, min_fresh; /* CACHE_UNSET = not there */
    int64_t max_stale;          /* CACHE_SECONDS_MAX: any; CACHE_UNSET = not there */
    int64_t stale_if_error;     /* RFC 5861 §4; CACHE_UNSET = not there */
};
/* Of a request that says nothing of caching. */
extern const struct cache_request_directives cache_says_nothing;
/* A Pragma of no-cache counts where there is no Cache-Control (§5.4). A time that is none counts as not
 * there, but max-age, which is 0 then. */
void cache_request_directives(const struct cache_request *r, struct cache_request_directives *out);

/* A response to GET, as far as the rules ask. */
struct cache_response {
    uint16_t status;
    struct cache_lines cache_control;
    /* Counts instead of cache_control and expires: a structured field (RFC 9213); and the older form of the
     * same (Edge Architecture Specification). */
    struct cache_lines cdn_cache_control, surrogate_control;
    struct cache_lines expires, date, age, pragma, last_modified, vary;
    bool has_set_cookie;
};

/* What is kept of a stored response for the rules: all that later decisions need. */
struct cache_freshness {
    int64_t response_time; /* when it came */
    int64_t initial_age;   /* corrected_initial_age, §4.2.3 */
    int64_t lifetime;      /* freshness_lifetime, §4.2.1; 0 = stale at once */
    /* 0 where must-revalidate, proxy-revalidate or no-cache forbids it. What s-maxage forbids (§5.2.2.10) the
     * response may allow itself by the same field (§5.2.3), but the route's defaults may not. */
    int64_t stale_while_revalidate, stale_if_error;
    bool is_heuristic;    /* nothing in the response says how long: §4.2.2, or the route's ttl */
    bool must_revalidate; /* no other leave to use it stale counts: must-revalidate, proxy-revalidate,
                             s-maxage, no-cache */
    bool no_cache;        /* every use is validated first; must_revalidate too */
};

/* Whether a response may be stored. `reason` is static text when it may not, NULL otherwise: one word of
 * Cache-Status's `detail` style: "method", "request" (its no-store), "status", "must-understand", "no-store",
 * "private", "authorization", "set-cookie", "vary-star", "vary" (not well-formed, or too long), "no-cache",
 * "no-freshness" (nothing says how long, nor is there a validator), "stale" (it came stale, and cannot be
 * validated). */
struct cache_verdict {
    bool store;
    bool is_explicit; /* not stored because of what the response says, so the next one will not be either */
    const char *reason;
    struct cache_freshness freshness;
    /* Names of fields that are not stored (`private="…"`, `no-cache="…"`, §5.2.2.4, §5.2.2.7): the values of
     * the qualified forms, comma-separated names; into cache_control's lines. At most CACHE_OMITTED_MAX; more
     * = not stored ("private"). */
    struct slice omitted[CACHE_OMITTED_MAX];
    uint32_t omitted_count;
};

/* §3. `request_time`, `response_time`: when the request was sent, and the head came. A response that can
 * neither be fresh nor be validated (`has_validator`: ETag or Last-Modified) is not stored, but where it may
 * be used stale without that. One with Set-Cookie is stored when the route wants it, or its
 * `private="set-cookie"` takes the cookie away: `public` and s-maxage are said of whole sites, cookies are
 * for one. Never stored: answers to HEAD, and the statuses 1xx, 206, 304, 412 and 416, which are about more
 * of the request than its URL. */
void cache_may_store(const struct cache_request *request, const struct cache_response *response,
                     bool has_validator, const struct cache_defaults *d, int64_t request_time,
                     int64_t response_time, struct cache_verdict *out);

/* Whether `name`, in whatever case, stands in one of the lists of names of the verdict. */
bool cache_is_omitted(const struct cache_verdict *v, struct slice name);

/* The clocks of two threads differ by so much at most. What came still later than now came before the clock
 * was set back, nobody knows how long ago. */
#define CACHE_CLOCKS_DIFFER_SECONDS 2

/* current_age, §4.2.3. Of what came before the clock was set back: as if it became stale just now. */
int64_t cache_age(const struct cache_freshness *f, int64_t now);

enum cache_use {
    CACHE_USE_FRESH,     /* as it is */
    CACHE_USE_STALE,     /* as it is, though stale: the client's max-stale allows it */
    CACHE_USE_UPDATING,  /* as it is, and one fetch in the background refreshes it (stale-while-revalidate) */
    CACHE_USE_VALIDATED, /* only after the origin has said that it is still good */
};

/* What a stored response is good for now (§4, §4.2.4, §5.2.1); `soft_purged`: it is stale whatever it says.
 * *reason says why not fresh, in the words of Cache-Status's `fwd` ("stale", "request"); NULL when it is. The
 * client's max-age=0 always asks for validation, as a browser's reload means it. only-if-cached is the
 * caller's: it is about what happens then. */
enum cache_use cache_may_use(const struct cache_freshness *f, const struct cache_request_directives *d,
                             bool soft_purged, int64_t now, const char **reason);

/* The origin failed: it answered 500, 502, 503 or 504 (`answered`), or nothing. May the stale response be
 * used instead? RFC 5861 §4, and §4.2.4 for what forbids it; that allows it too while the cache is
 * disconnected from the origin, which is for CACHE_DISCONNECTED_SECONDS here. */
#define CACHE_DISCONNECTED_SECONDS 3600
bool cache_may_use_on_error(const struct cache_freshness *f, const struct cache_request_directives *d,
                            bool answered, int64_t now);

/* A response to a method that is not safe makes what is stored for its URLs invalid (§4.4): a non-error
 * status. */
static inline bool cache_invalidates(unsigned status)
{
    return status >= 200 && status < 400;
}

/* Whether a 304 (or a HEAD's 200) is about this stored response (§4.3.4, §4.3.5): its entity-tag is the
 * stored one, a weak one weakly; without a tag, its date is; without either it is. Empty = not there. */
bool cache_validators_agree(struct slice stored_etag, struct slice stored_modified, struct slice etag,
                            struct slice modified);
