/* How an exchange ended, as one word: who ended it, in which phase, why. For the access log
 * (`${termination}`), the metric weir_terminations_total and the flight recorder; docs/operations.md has the
 * list. */
#pragma once

#include "core/base.h"

struct exchange;

enum termination {
    TERMINATION_COMPLETE, /* the answer was delivered whole, whoever made it */
    /* What the client did, or asked for. */
    TERMINATION_REQUEST_REFUSED,
    TERMINATION_NO_ROUTE,
    TERMINATION_DENIED,
    TERMINATION_REQUEST_TIMEOUT,
    TERMINATION_CLIENT_LEFT_SENDING,
    TERMINATION_CLIENT_LEFT_WAITING,
    TERMINATION_CLIENT_LEFT_RECEIVING,
    TERMINATION_CLIENT_STALLED,
    /* What weir decided. */
    TERMINATION_NO_SERVER,
    TERMINATION_QUEUE_FULL,
    TERMINATION_QUEUE_TIMEOUT,
    TERMINATION_CONCURRENCY,
    TERMINATION_LOOP,
    TERMINATION_BREAKER_OPEN,
    TERMINATION_EXCHANGE_TIMEOUT,
    TERMINATION_STOPPED,
    TERMINATION_WEIR_FAILED,
    /* What the server did, or did not do. */
    TERMINATION_CONNECT_FAILED,
    TERMINATION_CONNECT_TIMEOUT,
    TERMINATION_TLS_FAILED,
    TERMINATION_TLS_TIMEOUT,
    TERMINATION_SEND_TIMEOUT,
    TERMINATION_RESPONSE_TIMEOUT,
    TERMINATION_ATTEMPT_TIMEOUT,
    TERMINATION_BODY_TIMEOUT,
    TERMINATION_SERVER_CLOSED_WAITING,
    TERMINATION_SERVER_CLOSED_RESPONDING,
    TERMINATION_BAD_RESPONSE,
    TERMINATION_SERVER_DOWN,
    TERMINATION_IDLE_TIMEOUT,
    TERMINATIONS,
};

/* "complete", "response_timeout", … */
const char *termination_word(enum termination t);

/* Of an exchange that has ended: x->termination where whoever ended it has said so, else what follows from
 * its status, phase and end. */
enum termination termination_of(const struct exchange *x);

/* Something went wrong that an operator wants to see: anything but a whole answer, a client that asked for
 * the wrong thing or one that left. */
bool termination_is_failure(enum termination t);
