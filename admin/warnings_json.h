/* The warnings of a configuration (proxy/lint/lint.h) for the API: a list of {text, file, line, column, path,
 * message, mend, example, rule}, those that there are; `text` is the line that `weir check` prints. */
#pragma once

#include <jansson.h>

#include "config/tree.h"

json_t *warnings_json(struct config *c);
