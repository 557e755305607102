/* Reads the dates of HTTP (RFC 9110 §5.6.7): the form in use and the two obsolete ones. http_date() in
 * proxy/worker.h writes them. */
#pragma once

#include "core/slice.h"

/* Seconds since the epoch. `now` (likewise) says which century two digits of a year mean: none more than 50
 * years ahead. The name of the weekday is not compared with the date. 0, or -1 when it is no date. */
int http_date_parse(struct slice text, int64_t now, int64_t *out);
