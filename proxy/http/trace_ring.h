/* Spans on their way from a worker to whoever tells the collector: a bounded ring of fixed records, one
 * writer (the worker), one reader (the exporter's thread), no lock. Who finds no room drops, and counts that;
 * nobody waits.
 *
 * A ring that has been replaced is `retired` once its worker can no longer write to it; the reader frees it
 * when it is empty. */
#pragma once

#include "core/base.h"
#include "core/counter.h"
#include "core/slice.h"

#define SPAN_TEXT 512u /* bytes for all texts of a span */

enum span_kind { SPAN_SERVER, SPAN_CLIENT };

/* A piece of the span's text. */
struct span_text {
    uint16_t at, len;
};

/* One request (SPAN_SERVER), or one attempt on a server (SPAN_CLIENT). Times are microseconds: since the
 * epoch, or, of what happened in between, since `base_us`. */
struct span {
    uint64_t trace_high, trace_low, id, parent; /* parent 0 = the trace begins here */
    int64_t base_us, began_us, ended_us;
    uint64_t request_bytes, response_bytes;  /* of bodies; of the request's span */
    uint32_t connected_us, sent_us, head_us; /* of the attempt's; 0 = it did not come to that */
    const char *word;                        /* static: how it ended, where it failed; NULL = it did not */
    const char *termination, *cache;         /* static */
    uint16_t status;                         /* 0 = none */
    uint16_t meant_status;                   /* that says whether it failed */
    uint16_t number;                         /* of the attempt, from 0 */
    uint16_t attempts;                       /* of the request */
    uint16_t port;                           /* of the server's address; 0 = not known */
    uint16_t text_len;
    uint8_t kind;
    uint8_t protocol; /* 10, 11, 20 */
    uint8_t grpc_status;
    bool is_grpc, is_tls, is_other_method, sampled, is_random, has_remote_parent, reused, is_unix, for_cache;
    struct span_text method, route, name, listener, upstream, server, address, client, request_id, reason;
    struct span_text host, agent, state, path, query;
    char text[SPAN_TEXT];
};

static inline struct slice span_slice(const struct span *s, struct span_text t)
{
    return slice_of(s->text + t.at, t.len);
}

struct span_ring {
    uint32_t capacity;
    _Atomic bool retired;
    counter dropped; /* for want of room; the worker's */
    _Alignas(64) _Atomic uint64_t written;
    _Alignas(64) _Atomic uint64_t taken;
    _Alignas(64) struct span at[];
};

/* NULL when out of memory. */
struct span_ring *span_ring_create(uint32_t capacity);
void span_ring_free(struct span_ring *r);

/* The worker's side: whether there is room for `count` spans (which counts them as dropped if not); the i-th
 * of those; all of them are there. */
bool span_ring_has_room(struct span_ring *r, uint32_t count);
struct span *span_ring_next(struct span_ring *r, uint32_t i);
void span_ring_publish(struct span_ring *r, uint32_t count);

/* The reader's side: the oldest, or NULL; it is done with. */
const struct span *span_ring_oldest(const struct span_ring *r);
void span_ring_take(struct span_ring *r);
uint64_t span_ring_waiting(const struct span_ring *r);
