/* What `weir requests` and `weir upstreams` print of the API's answers. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

/* A line a request; or, when only those of one id were asked for (`whole`), the whole story of each. */
void requests_print(const json_t *answer, bool whole, FILE *out);

/* A table of all servers. */
void upstreams_print(const json_t *answer, FILE *out);
