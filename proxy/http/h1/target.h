/* The request target and the authority in it or in Host: RFC 9112 §3.2 and RFC 3986.
 *
 * A target is one or more bytes of 0x21-0x7E but "#". RFC 3986 allows fewer, but browsers send `|`, `^`, `{`,
 * `}`, "`" and others unescaped, and nginx and HAProxy pass them on; none of them ends a request line or a
 * field. A fragment, a byte of 0x80 and above, or a CTL has no business there, and some servers cut at them.
 */
#pragma once

#include "proxy/http/message.h"

/* Fills path, query, has_query, absolute_form and, but for the origin and asterisk forms, host, from
 * out->target and out->method_id. `question` is the first "?" of the target, or its end. NULL, or what is
 * wrong with it. */
const char *h1_target(struct http_request *out, const char *question);

/* RFC 3986 §3.2 without userinfo: host [":" port]; the host not empty, the port at most 65535 (it may be
 * empty unless `need_port`). */
bool h1_is_authority(struct slice s, bool need_port);
