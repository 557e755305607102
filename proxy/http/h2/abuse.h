/* What a peer of HTTP/2 can do that costs it little and the other side much (RFC 9113 §10.5): each kind is
 * counted in a bucket that leaks, and past its brim the connection ends with ENHANCE_YOUR_CALM. The limits
 * stand far above what browsers, gRPC and load generators do. */
#pragma once

#include <stdbool.h>

#include "core/base.h"

enum h2_abuse_kind {
    H2_ABUSE_RESET,        /* streams opened and reset, or made to be reset */
    H2_ABUSE_CONTINUATION, /* CONTINUATION frames */
    H2_ABUSE_PING,         /* and answers that nobody asked for */
    H2_ABUSE_SETTINGS,
    H2_ABUSE_EMPTY_DATA,  /* DATA without bytes or end, padded or not */
    H2_ABUSE_WINDOW,      /* WINDOW_UPDATE that nothing was sent for */
    H2_ABUSE_TINY_WINDOW, /* DATA of few bytes, because the window has no more */
    H2_ABUSE_PRIORITY,    /* PRIORITY, PRIORITY_UPDATE, GOAWAY and frames of unknown types */
    H2_ABUSE_HEADERS,     /* heads past their limits */
    H2_ABUSE_KINDS,
};

struct h2_abuse {
    uint32_t level[H2_ABUSE_KINDS];
    uint32_t updates; /* WINDOW_UPDATE that is paid for */
    msec_t leaked_at;
};

/* Counts one; true when the bucket runs over. */
bool h2_abuse_count(struct h2_abuse *a, enum h2_abuse_kind kind, msec_t now);

/* A DATA frame of that length was sent. It pays for WINDOW_UPDATE, now or later: peers of gRPC answer each
 * message with one or two, and one frame may hold many messages; and for a PING, by which they measure the
 * delay. */
void h2_abuse_sent(struct h2_abuse *a, size_t length);

/* "rapid_reset", for metrics and logs. */
const char *h2_abuse_name(enum h2_abuse_kind kind);
