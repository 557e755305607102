/* The configuration as the API tells of it; for the files of admin/ that do. */
#pragma once

#include <jansson.h>

#include "admin/internal.h"

/* The trial that is on, with what was before and is now; null when none is. */
json_t *trial_json(struct admin *a);

/* Reads the "confirm" and "limits" of a question: `*wanted` says whether there is to be a trial. False after
 * a 400. */
bool trial_read(struct http_call *c, const json_t *body, struct trial_limits *out, bool *wanted);

/* A result's answer: 200, 409 or 422 with `refused`. Takes the result over. */
void api_reload_result(struct http_call *c, struct reload_result r, const char *refused);

/* What asked: the control socket is the command line's. */
static inline const char *api_asker(const struct http_call *c)
{
    return c->is_local ? "command" : "api";
}
