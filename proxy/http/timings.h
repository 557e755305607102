/* How long each phase of an exchange took, for its line in the access log. Phases follow one another without
 * a gap: queue + connect + tls + send + first_byte + body is all of it. */
#pragma once

#include "proxy/http/exchange.h"

enum timing {
    TIMING_QUEUE,   /* until the attempt that counts began: a place was waited for, a body that is read ahead,
                       and earlier attempts failed */
    TIMING_CONNECT, /* 0 where a connection was used again */
    TIMING_TLS,     /* the handshake with the server */
    TIMING_SEND,    /* the request, until its last byte was handed over */
    TIMING_FIRST_BYTE, /* until the head of the server's response was there */
    TIMING_BODY,       /* until the answer's end was handed over to the client's side */
    TIMINGS,
};

/* In microseconds; -1 = it did not come to that. All are -1 where no server was asked. */
struct timings {
    int64_t us[TIMINGS];
};

/* Of an exchange that has ended. */
void timings_of(const struct exchange *x, struct timings *out);
