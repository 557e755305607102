/* What the fields of a head mean together: where the message ends (RFC 9112 §6.3), whose it is (Host), and
 * what becomes of the connection. Whatever two recipients could read in two ways is refused. */
#pragma once

#include "proxy/http/h1/parse.h"

/* Sets fault and gives false, so that a check reads `return h1_refuse(...)`. */
bool h1_refuse(struct h1_fault *fault, unsigned status, const char *reason);

/* Sets the fields' ids, and the body, keep_alive, host and so on of a head whose lines are parsed; the start
 * line's values and the target's are there. False with *fault. */
bool h1_frame_request(struct http_request *out, struct h1_fault *fault);

/* Likewise; the fault's status is that of a request, 502 is the caller's business. */
bool h1_frame_response(struct http_response *out, enum http_method request_method, struct h1_fault *fault);

/* Sets the ids of trailer fields; false when one may not be there (RFC 9110 §6.5.1). */
bool h1_check_trailers(struct fields *fields, struct h1_fault *fault);
