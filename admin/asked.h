/* What a call asks for behind the `?`: application/x-www-form-urlencoded (WHATWG URL §5.1). */
#pragma once

#include "admin/http_server.h"

/* Decoded, in the call's arena; {NULL, 0} when it is not there, or is badly escaped. */
struct slice asked_value(struct http_call *c, const char *name);
/* A whole number; `otherwise` when it is not there, or is none. */
size_t asked_number(struct http_call *c, const char *name, size_t otherwise);
/* Whether one of `count` texts has `wanted` in it, whatever the case; an empty `wanted` is in all. */
bool asked_finds(struct slice wanted, const struct slice *texts, size_t count);
