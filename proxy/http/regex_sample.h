/* Texts that a pattern matches: made up from the pattern, and then looked at with the pattern itself. For
 * people's sake (examples in warnings, tests of an imported file), so what it does not understand it leaves
 * out: there may be none for a pattern that does match something. */
#pragma once

#include "core/arena.h"

struct regex_sampling {
    struct arena *arena; /* where the samples go */
    struct slice pattern;
    bool paths; /* begin with "/", and are normal (target.h) */
    bool (*holds)(void *argument, struct slice text);
    void *argument;
};

#define REGEX_SAMPLE_BYTES 200

/* Up to `most` different ones; gives their number. *asked_query (may be NULL): of paths, whether every text
 * that was made up and that the pattern matches holds a "?" or a "#", which no path does; false where there
 * was none.
 */
size_t regex_samples(const struct regex_sampling *s, struct slice *out, size_t most, bool *asked_query);
