/* weir's own error answers: the route's page if it has one, problem details (RFC 9457) for clients that
 * accept JSON, a short page otherwise; to gRPC a status of gRPC. They tell the request's id, and nothing of
 * what is behind weir. */
#pragma once

#include "proxy/http/exchange.h"

void answer_error(struct exchange *x, unsigned status);
