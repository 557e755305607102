/* HAProxy's grammar: sections of lines of words; quotes, `\` escapes, comments. Nothing is known here of what
 * a keyword means. */
#pragma once

#include "import/text.h"

struct hx_line {
    const char **args;
    size_t count;
    unsigned line;
    bool done; /* converted, or reported */
    struct hx_line *next;
};

struct hx_section {
    const char *kind, *name; /* "frontend", "web"; name is "" where there is none */
    const char *from;        /* NULL: the defaults above */
    unsigned line;
    struct hx_line *lines;
    const struct hx_section *defaults; /* of frontend, backend, listen; NULL = none */
    struct hx_section *next;
};

/* NULL with *why ("FILE:LINE: …") when it is malformed. */
struct hx_section *haproxy_parse(struct arena *a, const char *file, struct slice text, const char **why);
