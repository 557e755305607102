/* The flight recorder: the last exchanges that failed and the slowest of the last minutes, each with every
 * attempt: which server, when what happened, why it ended. Bounded: every worker has room for RECORDER_FAILED
 * and twice RECORDER_SLOWEST of them, made at the first, and what does not fit of a text is cut.
 *
 * Written by workers (an ordinary exchange costs them two comparisons), read by the control thread; a lock
 * for each worker, held for a copy. */
#pragma once

#include "proxy/http/exchange.h"

#define RECORDER_FAILED    64u /* the oldest goes first */
#define RECORDER_SLOWEST   16u /* of the present period, and of the one before */
#define RECORDER_PERIOD_US (UINT64_C(300) * 1000000)
#define RECORDER_ATTEMPTS  8u
#define RECORDER_TEXT      1008u /* bytes for all texts of a record */

/* A piece of the record's text. */
struct record_text {
    uint16_t at, len;
};

struct record_attempt {
    struct record_text server, reason;                             /* no reason: it did not fail */
    uint32_t started_us, connected_us, sent_us, head_us, ended_us; /* as in struct attempt */
    uint16_t status;
    uint8_t outcome;
    bool reused;
};

/* One exchange, after its end. */
struct record {
    int64_t wall_us; /* of its end, since the epoch */
    usec_t took_us;
    uint64_t request_bytes, response_bytes;
    uint16_t status; /* 0 = none was sent */
    uint8_t termination;
    uint8_t protocol; /* 10, 11, 20 */
    uint8_t worker;
    uint8_t attempt_count;
    uint16_t attempts_made; /* may be more than are kept */
    struct record_text id, client, method, host, target, listener, route, upstream, reason;
    struct record_attempt attempts[RECORDER_ATTEMPTS];
    uint16_t text_len;
    char text[RECORDER_TEXT];
};

static inline struct slice record_slice(const struct record *r, struct record_text t)
{
    return slice_of(r->text + t.at, t.len);
}

struct recorder;

/* NULL when out of memory. */
struct recorder *recorder_create(void);
/* When no worker runs any more. NULL is allowed. */
void recorder_free(struct recorder *r);

/* On the worker's thread, at the exchange's end. Out of memory: nothing is kept. */
void recorder_exchange_ended(struct recorder *r, const struct exchange *x);

enum recorder_list { RECORDER_LIST_FAILED, RECORDER_LIST_SLOWEST };

/* Any thread: copies of what is kept over all workers, from malloc; *count of them. Failed ones newest first,
 * slowest ones slowest first. NULL when there are none, or when out of memory. `now_us` is the loops' clock.
 */
struct record *recorder_copy(struct recorder *r, enum recorder_list which, usec_t now_us, size_t *count);
