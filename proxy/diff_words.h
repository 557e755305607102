/* What differs between two pieces of configuration, in words: `timeouts.response: 30s -> 10s`. Secrets are
 * said to have changed, and no more. */
#pragma once

#include <stdio.h>

#include "config/tree.h"

/* Whether both say the same. NULL is a key that is not there. */
bool words_equal(const struct config_node *a, const struct config_node *b);

/* Every value that differs between two maps (NULL = none), with its path below `path`, and `separator`
 * between two of them. `but`: a key to leave out; NULL = none. How many there were. */
size_t words_changes(FILE *out, const struct config_node *old, const struct config_node *fresh,
                     const char *path, const char *but, const char *separator);
