/* As much of HTTP/2 as a health check needs: one connection, one request, one answer. It knows no socket:
 * bytes go in and come out, so that it works over whatever the check's connection is.
 *
 * Everything is bounded: CHECK_H2_INPUT_MAX bytes of input in all, the head's fields are looked at and not
 * kept, of the body the first bytes are. */
#pragma once

#include <stdbool.h>

#include "core/slice.h"

#define CHECK_H2_INPUT_MAX   (64u << 10)
#define CHECK_H2_BODY_MAX    256
#define CHECK_H2_MESSAGE_MAX 80

struct check_h2;

/* A field of the request; names in any case. Those of the connection (RFC 9113 §8.2.2) are left out. */
struct check_h2_field {
    struct slice name, value;
};

struct check_h2_answer {
    int status;                              /* of the final head; 0 = it has not come */
    int grpc_status;                         /* of the head or the trailers; -1 = none */
    char grpc_message[CHECK_H2_MESSAGE_MAX]; /* as it was sent, cut; "" = none */
    bool is_grpc;                            /* by its content-type */
    bool ended;                              /* the answer is complete */
    bool reset;                              /* it will never be; `error` says why (RFC 9113 §7) */
    uint32_t error;
    size_t body_len; /* all of it; the first CHECK_H2_BODY_MAX bytes are in `body` */
    unsigned char body[CHECK_H2_BODY_MAX];
};

/* A session with its request submitted; the four pseudo-header fields come first in `fields`. The body is
 * copied; empty = none. NULL when out of memory. */
struct check_h2 *check_h2_create(const struct check_h2_field *fields, size_t count, struct slice body);
void check_h2_free(struct check_h2 *h);

/* What is to be sent next; empty = nothing now. Valid until the next call. */
struct slice check_h2_output(struct check_h2 *h);

/* Takes in all of `in`. Send what there is to say after it, then look for the fault. */
void check_h2_input(struct check_h2 *h, struct slice in);

/* Why the connection is of no more use (static text); NULL = it is. */
const char *check_h2_fault(const struct check_h2 *h);

/* What has come so far. */
const struct check_h2_answer *check_h2_answer(const struct check_h2 *h);

/* Nothing more is wanted: the stream is reset unless it is done, and the session ended (GOAWAY). */
void check_h2_finish(struct check_h2 *h);
