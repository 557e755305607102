/* As much of HTTP/1 as a health check needs: the request, and the status of the answer (RFC 9112 §4). */
#pragma once

#include "balancer/settings.h"

#define CHECK_ANSWER_MAX (16u << 10) /* bytes looked at for the status */

/* The whole request, from malloc; `host` for the Host field unless the headers have one. `at` is NULL when
 * out of memory. */
struct slice check_http_request(const struct check_settings *c, struct slice host);

/* The final status at the front of `in`, 1xx skipped; 0 = more is needed; -1 = this is no HTTP/1 response. */
int check_http_status(struct slice in);
