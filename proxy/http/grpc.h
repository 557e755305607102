/* gRPC over HTTP/2, as far as a proxy has to know it (github.com/grpc/grpc, doc/PROTOCOL-HTTP2.md): their
 * deadline, and how an error is told so that a client of gRPC understands it. Which requests are gRPC:
 * check_grpc_is_type() of their content-type. Pure functions; what is done with them is in exchange.c,
 * error_page.c and forward*.c. */
#pragma once

#include "core/base.h"
#include "core/slice.h"
#include "proxy/http/termination.h"

/* doc/statuscodes.md */
enum grpc_status {
    GRPC_OK = 0,
    GRPC_UNKNOWN = 2,
    GRPC_DEADLINE_EXCEEDED = 4,
    GRPC_PERMISSION_DENIED = 7,
    GRPC_RESOURCE_EXHAUSTED = 8,
    GRPC_UNIMPLEMENTED = 12,
    GRPC_INTERNAL = 13,
    GRPC_UNAVAILABLE = 14,
    GRPC_UNAUTHENTICATED = 16,
    GRPC_STATUSES = 17,
};

#define GRPC_TIMEOUT_TEXT 16
#define GRPC_STATUS_NONE  0xff

/* What an error of weir's own is called. As doc/http-grpc-status-mapping.md has it (429 too: UNAVAILABLE),
 * and where weir knows more than the number says: what ran out of time is DEADLINE_EXCEEDED, but a server
 * that could not be reached in time is UNAVAILABLE, since nothing was asked of it; what is too large is
 * RESOURCE_EXHAUSTED; 405 is UNIMPLEMENTED as 404 is. */
enum grpc_status grpc_status_of(unsigned http_status, enum termination why);

/* The value of grpc-status, or GRPC_STATUS_NONE when it is none: one or two digits, at most 16. */
uint8_t grpc_read_status(struct slice value);

/* The value of grpc-timeout: one to eight digits and a unit of H M S m u n. Rounded up to microseconds. False
 * when it is malformed. */
bool grpc_read_timeout(struct slice value, usec_t *out);
/* The other way, rounded up to what eight digits can say. */
struct slice grpc_write_timeout(usec_t left, char room[GRPC_TIMEOUT_TEXT]);

/* Percent-encodes for grpc-message: printable ASCII but "%" stands for itself. `room` has 3 * text.len bytes.
 */
struct slice grpc_encode_message(struct slice text, char *room);
