/* How one attempt on a server ended: what passive health and the policies that learn are told. */
#pragma once

#include "core/base.h"

enum outcome_kind {
    OUTCOME_ABANDONED, /* the client left, or weir stopped it: says nothing about the server */
    OUTCOME_ANSWERED, /* a whole response came, or a stream ended in order; `status` says which (0 = a stream)
                       */
    OUTCOME_UNREACHABLE, /* no connection, or no TLS */
    OUTCOME_RESET,       /* the connection ended or broke before the response was complete */
    OUTCOME_BAD,         /* it broke the protocol */
    OUTCOME_TIMEOUT,     /* it took too long to connect, to take the request, to answer or to go on */
};

struct outcome {
    enum outcome_kind kind;
    uint16_t status; /* of the response; 0 = none came */
    usec_t head_us;  /* from the attempt's start to the response's head; 0 = none came */
    usec_t took_us;  /* from the attempt's start to its end */
    usec_t now_us;   /* the worker's clock */
};
