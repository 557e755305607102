/* What the files of an exchange share. exchange.c: its life, and the request's way to a responder.
 * exchange_body.c: the request's body, and when both ways are done. exchange_respond.c: the response's way
 * out. */
#pragma once

#include "proxy/http/exchange.h"

#define EXCHANGE_DROP_MAX (256u << 10) /* of a request's body that nobody wants */

/* After either way went on: tells the codec when there is nothing more to come, or what is left of the
 * request's body is only to be read and dropped. The exchange may have ended then. */
void exchange_check_done(struct exchange *x);
