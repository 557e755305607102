/* As much of HTTP as a health check needs: the request, and over HTTP/1 the status of the answer (RFC 9112
 * §4). */
#pragma once

#include "balancer/check_h2.h"
#include "balancer/settings.h"

#define CHECK_ANSWER_MAX (16u << 10) /* bytes looked at for the status */

/* The whole request, from malloc; `host` for the Host field unless the headers have one. `at` is NULL when
 * out of memory. */
struct slice check_http_request(const struct check_settings *c, struct slice host);

/* The same over HTTP/2. NULL when out of memory. */
struct check_h2 *check_http_h2(const struct check_settings *c, struct slice authority, bool is_tls);

/* The `host` of the settings' headers, or else `authority`. */
struct slice check_http_authority(const struct check_settings *c, struct slice authority);

/* The final status at the front of `in`, 1xx skipped; 0 = more is needed; -1 = this is no HTTP/1 response. */
int check_http_status(struct slice in);
