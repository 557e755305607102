/* Reads the fields that say how a message may be cached: Cache-Control (RFC 9111 §5.2), CDN-Cache-Control
 * (RFC 9213) and Surrogate-Control (Edge Architecture Specification). What they say is put into one struct;
 * cache/rules.h decides what follows from it.
 *
 * Where a field contradicts itself, on one line or several, the strictest word counts: the shortest time, and
 * `no-store` beside anything. A time that is no plain number (a quoted one is) makes a response stale
 * (§4.2.1): max-age and s-maxage are 0 then; the other times count as not there. Directives that nobody here
 * knows are passed over (§5.2.3). */
#pragma once

#include "cache/lines.h"

#define CACHE_SECONDS_MAX (INT64_C(1) << 40)
#define CACHE_UNSET       (-1) /* of a duration: nothing was said */
#define CACHE_OMITTED_MAX 4

/* The name by which Surrogate-Control means weir (`max-age=60;weir`): what weir calls itself in
 * Surrogate-Capability. */
#define CACHE_SURROGATE_NAME "weir"

struct cache_control {
    bool no_store;
    bool no_cache, is_private; /* the unqualified ones: of the whole response */
    bool is_public;
    bool must_revalidate, proxy_revalidate, must_understand;
    bool only_if_cached;
    bool is_broken;           /* a quoted string has no end: what it hides is not known */
    bool is_omitted_too_long; /* more than CACHE_OMITTED_MAX qualified forms */
    int64_t max_age, s_maxage;
    int64_t stale_while_revalidate, stale_if_error;
    int64_t min_fresh;
    int64_t max_stale; /* CACHE_SECONDS_MAX: any */
    /* The arguments of no-cache="…" and private="…" (§5.2.2.4, §5.2.2.7): names of fields, separated by
     * commas. */
    struct slice omitted[CACHE_OMITTED_MAX];
    uint32_t omitted_count;
};

/* A number of seconds (§1.2.2): digits alone; what is larger than CACHE_SECONDS_MAX is that. CACHE_UNSET when
 * it is none. */
int64_t cache_seconds(struct slice text);

/* Cache-Control of a request or a response; also the empty one. Never fails: what it cannot read says
 * nothing, or the strictest. The slices in `out` are into the lines. */
void cache_control_parse(const struct cache_lines *lines, struct cache_control *out);

/* CDN-Cache-Control: a dictionary of RFC 9651. 0; -1 when it is empty or not well-formed, and is to be
 * ignored as a whole (RFC 9213 §2.1). Parameters are passed over, of equal keys the last one counts. */
int cache_control_parse_dictionary(const struct cache_lines *lines, struct cache_control *out);

/* Surrogate-Control: no-store and max-age=N or max-age=N+M (M seconds of use while it is refreshed), for all
 * surrogates or
 * `;weir`; the latter comes first. 0; -1 when nothing in it is for weir. */
int cache_control_parse_surrogate(const struct cache_lines *lines, struct cache_control *out);

/* One directive, however it was written: how cache_control_parse and the others tell what they found. */
struct cache_directive {
    struct slice name;
    struct slice argument; /* of a quoted one, what is between the quotes */
    bool has_argument;
    bool is_sound; /* as the grammar wants it */
};
void cache_control_init(struct cache_control *out);
void cache_control_apply(const struct cache_directive *d, struct cache_control *out);

/* Takes the next element of a list at the front of *rest: up to a comma that is not in a quoted string;
 * without white space, never empty. False at the end. *is_broken is set when a quote has no partner; it is
 * then a character like others. */
bool cache_control_next(struct slice *rest, struct slice *element, bool *is_broken);
struct cache_directive cache_control_directive(struct slice element);

/* RFC 9110 §5.6.2. */
bool cache_is_token_char(char c);
bool cache_is_token(struct slice s);

/* The order of two texts without case: negative, 0 or positive. */
int cache_compare_nocase(struct slice a, struct slice b);
