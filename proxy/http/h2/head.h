/* A head (or trailer section) of HTTP/2 while it is decoded, field by field. */
#pragma once

#include "core/arena.h"
#include "proxy/http/h2/internal.h"

void h2_head_begin(struct h2_head *h);
void h2_head_free(struct h2_head *h);

/* RFC 9113 §8.2: what is wrong with a field, or NULL; beyond what nghttp2 looks at. */
const char *h2_field_fault(struct slice name, struct slice value);

/* Appends a field. 0, or -1 when out of memory. */
int h2_head_add(struct h2_head *h, struct slice name, struct slice value);

/* A request's pseudo-header fields; `at` is NULL where there is none. */
struct h2_pseudo {
    struct slice method, scheme, path, protocol, authority;
};
/* The fields, copied into the arena, with room for a few more; a request's pseudo-header fields go to
 * `pseudo`, cleared before, or are left out (NULL). 0, or -1 when out of memory. */
int h2_head_fields(const struct h2_head *h, struct arena *a, struct fields *out, struct h2_pseudo *pseudo);
/* The value of a pseudo-header field, in h's memory; `at` is NULL when there is none. */
struct slice h2_head_pseudo(const struct h2_head *h, struct slice name);
