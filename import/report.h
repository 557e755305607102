/* What an import tells besides its result: what was left (the exit status is 2 then) and what differs. One
 * line each, `FILE:LINE: directive: reason; what to do instead`, in the order of the source. */
#pragma once

#include "import/text.h"

enum report_kind {
    REPORT_LEFT, /* not converted */
    REPORT_NOTE, /* converted, and something is to be known */
};

struct report_entry;

struct report {
    struct arena *arena;
    struct report_entry *first, *last;
    size_t left, notes;
};

/* The same entry is told once. `file` and `what` must stay. */
void report_add(struct report *r, enum report_kind kind, const char *file, unsigned line, const char *what,
                const char *format, ...) __attribute__((format(printf, 6, 7)));

/* Lines with `prefix` before each. */
void report_print(const struct report *r, enum report_kind kind, const char *prefix, struct text *out);
