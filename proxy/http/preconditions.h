/* The conditions under which a request is to be answered with what it asks for (RFC 9110 §13): pure rules,
 * for whoever has a representation with validators. They count only where the answer without them would be a
 * 2xx (§13.2.1). */
#pragma once

#include "proxy/http/message.h"

/* What a representation can be told by. */
struct validators {
    struct slice etag; /* an entity-tag, quotes and all; empty = it has none */
    int64_t modified;  /* seconds since the epoch */
    bool has_modified;
};

/* For GET and HEAD. 0 = answer as if there were none; 304 or 412 otherwise. `now`: seconds since the epoch.
 */
unsigned preconditions_check(const struct fields *request, const struct validators *v, int64_t now);

/* Whether a Range field counts (§13.1.5): there is no If-Range, or it names this very representation. */
bool preconditions_allow_range(const struct fields *request, const struct validators *v, int64_t now);
