/* What `weir status` prints, from the API's answers. */
#pragma once

#include <jansson.h>
#include <stdio.h>

void status_print(const json_t *status, const json_t *listeners, const json_t *upstreams, FILE *out);
