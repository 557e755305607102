/* Which of a URL's variants a request asks for (RFC 9111 §4.1): the request's values of the fields that the
 * stored response's Vary names, normalised where that does not change their meaning. */
#pragma once

#include "cache/lines.h"
#include "core/arena.h"

#define CACHE_VARY_NAMES_MAX 16   /* more: the response is not stored */
#define CACHE_VARY_TEXT_MAX  4096 /* of one variant's text: likewise */

/* The lines of the request's field of that name (lower case); context is the caller's. The array must stay
 * until the call that asked returns. */
typedef struct cache_lines cache_vary_lookup(void *context, struct slice name);

/* Whether responses with this Vary can be stored, and if not why. */
enum cache_vary_verdict {
    CACHE_VARY_FINE,
    CACHE_VARY_STAR,     /* "*" is among them: no request is known to match (§4.1) */
    CACHE_VARY_UNUSABLE, /* what is no name, or more than CACHE_VARY_NAMES_MAX */
};
enum cache_vary_verdict cache_vary_check(const struct cache_lines *vary);

/* The names in Vary, in lower case, sorted, each once, separated by commas:
 * "accept-encoding,accept-language"; from the arena. Empty = none. 0; -1 when it says "*", is not
 * well-formed, or names too many; -2 out of memory. */
int cache_vary_names(const struct cache_lines *vary, struct arena *a, struct slice *names);

/* The request's variant text under `names` (as cache_vary_names gives them): a line "name:value\n" for each,
 * "name\n" for a field that is not there. Two requests with equal texts get the same variant. What is made
 * alike is what the fields' definitions call alike, and no more:
 * - Accept-Encoding, Accept-Language: in lower case, sorted (order means nothing, RFC 9110 §12.5.3 and
 * §12.5.4), weights in thousandths and only where they differ. What is refused (`q=0`) stays, though it says
 * no more than not being named: an origin may look for the name alone;
 * - others: neighbouring lines joined, one ", " between members, no empty members;
 * - fields that are no lists (User-Agent, Cookie and the like): lines joined, nothing else.
 * 0; -1 when it is too long, or memory is out. */
int cache_vary_text(struct slice names, cache_vary_lookup *lookup, void *context, struct arena *a,
                    struct slice *text);
