/* Which of a URL's variants a request asks for (RFC 9111 §4.1): the request's values of the fields that the stored
 * response's Vary names, normalised where that does not change their meaning. */
#pragma once

#include "cache/lines.h"
#include "core/arena.h"

#define CACHE_VARY_NAMES_MAX 16   /* more: the response is not stored */
#define CACHE_VARY_TEXT_MAX  4096 /* of one variant's text: likewise */

/* The lines of the request's field of that name (lower case); context is the caller's. The array must stay until the
 * call that asked returns. */
typedef struct cache_lines cache_vary_lookup(void *context, struct slice name);

/* The names in Vary, in lower case, sorted, each once, separated by commas: "accept-encoding,accept-language"; from the
 * arena. Empty = none. 0; -1 when it says "*", is not well-formed, or names too many; -2 out of memory. */
int cache_vary_names(const struct cache_lines *vary, struct arena *a, struct slice *names);

/* The request's variant text under `names` (as cache_vary_names gives them): "name:value\n" for each, a field that is
 * not there told from an empty one. Two requests with equal texts get the same variant. Accept-Encoding: the codings in
 * use, sorted, without weights where all are acceptable alike; Accept-Language: lower case; all: lists with one
 * ", " between members, neighbouring lines joined. 0, or -1 (too long, out of memory). */
int cache_vary_text(struct slice names, cache_vary_lookup *lookup, void *context, struct arena *a, struct slice *text);
