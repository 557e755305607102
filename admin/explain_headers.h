/* What `weir explain` says of header fields: each one before and after, and who changes it. */
#pragma once

#include "admin/explain_text.h"

struct explained_header {
    struct slice name;
    struct slice before, after; /* at is NULL: it is not there */
    const char *by; /* "weir", "the connection's alone", or where the file says it; NULL = nobody */
};

struct explained_headers {
    struct explained_header *at;
    size_t count;
};

/* Of the request that a server would get; none where no server would. 0, or -1 when out of memory. */
int explain_request_headers(const struct explained *e, struct arena *a, struct explained_headers *out);
/* Of the answer. Fields of a server are not known: of those that are set or removed `before` is not there,
 * and what is removed has neither. */
int explain_response_headers(const struct explained *e, struct arena *a, struct explained_headers *out);

void explain_headers_print(const char *title, const struct explained_headers *h, FILE *out);
