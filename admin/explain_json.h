/* What `weir explain --json` and the API say: the same facts as explain_print(), and its text.
 * docs/explain.md names every key. */
#pragma once

#include <jansson.h>

#include "admin/explain_text.h"

/* NULL when out of memory. `a` is for texts on the way. */
json_t *explain_json(const struct explained *e, struct arena *a);
