/* Reads a Range field (RFC 9110 §14.2): which bytes of a representation are asked for. A pure rule. */
#pragma once

#include "proxy/http/message.h"

#define RANGES_MAX 16 /* more in one request: the whole is sent */

struct byte_range {
    uint64_t first, count; /* count > 0, and first + count is within the representation */
};

enum ranges_answer {
    RANGES_WHOLE, /* 200: no bytes, not well-formed, too many, or some of them twice (§14.2, §17.15) */
    RANGES_SOME,  /* 206 */
    RANGES_UNSATISFIABLE, /* 416 */
};

/* The value of the only Range field; false when there is none or several. */
bool ranges_asked(const struct fields *request, struct slice *value);

/* `size` is the representation's, in bytes. The ranges stay in the order of the request; those past the end
 * are left out. */
enum ranges_answer ranges_parse(struct slice value, uint64_t size, struct byte_range out[RANGES_MAX],
                                unsigned *count);
