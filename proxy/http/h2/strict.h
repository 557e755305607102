/* What a client may not send and nghttp2 lets pass: DATA and HEADERS on streams that are gone (it forgets
 * those at once when priorities are RFC 9218's), and PRIORITY frames that are wrong (it reads none then).
 * Pure bookkeeping; what is made of a verdict is the caller's. */
#pragma once

#include "core/slice.h"

#define H2_RESETS_KEPT 32
#define H2_FRAME_HEAD  9

struct h2_strict {
    int32_t last;                     /* the highest stream that the client opened */
    int32_t skipped_from, skipped_to; /* those that it jumped over last, and cannot open any more */
    int32_t forgotten;                /* resets up to this one may be forgotten */
    uint32_t reset_count;
    struct {
        int32_t id;
        bool by_client;
    } resets[H2_RESETS_KEPT];
    uint8_t head[14]; /* of the frame that is being walked over */
    uint8_t have;
    uint32_t skip; /* bytes until the next frame */
};

enum h2_late {
    H2_LATE_NOT,    /* it may have been under way when weir reset the stream, or is nghttp2's to judge */
    H2_LATE_RESET,  /* the client reset the stream itself: an error of the stream (RFC 9113 §5.1) */
    H2_LATE_CLOSED, /* both sides had ended it: an error of the connection, STREAM_CLOSED */
    H2_LATE_NEVER,  /* it was never opened, and later ones were: PROTOCOL_ERROR (§5.1.1) */
};

/* Before the first byte of the connection, its preface, is walked over. */
void h2_strict_init(struct h2_strict *s);
void h2_strict_opened(struct h2_strict *s, int32_t id);
void h2_strict_reset(struct h2_strict *s, int32_t id, bool by_client);
/* Of DATA or HEADERS for `id`, which is not open. */
enum h2_late h2_strict_late(const struct h2_strict *s, int32_t id);

enum h2_found {
    H2_FOUND_NOTHING, /* to the end of what came */
    H2_FOUND_DATA,    /* the head of a DATA frame, up to and with its last byte */
    H2_FOUND_WRONG,   /* PRIORITY that makes a stream depend on itself (RFC 7540 §5.3.1) or is on stream 0
                       * (RFC 9113 §6.3) */
};

/* Walks over what came, up to what it finds: how many bytes that are. `*id` is the frame's stream. */
size_t h2_strict_walk(struct h2_strict *s, struct slice in, enum h2_found *found, int32_t *id);
