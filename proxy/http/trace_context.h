/* W3C Trace Context (https://www.w3.org/TR/trace-context/): the fields traceparent and tracestate, and the
 * numbers in them. Pure functions; nothing here knows a request. Ids are kept as numbers, whose digits are
 * the bytes of the field in order. */
#pragma once

#include "core/arena.h"
#include "proxy/http/message.h"

#define TRACE_PARENT_TEXT   55 /* "00-" 32 digits "-" 16 digits "-" 2 digits */
#define TRACE_STATE_MAX     512
#define TRACE_STATE_MEMBERS 32

struct trace_parent {
    uint64_t high, low; /* the trace's id: never both 0 */
    uint64_t span;      /* never 0 */
    bool sampled;
    bool is_random; /* level 2: the id's last seven bytes are random */
};

/* Strict by §3.2: version 00 is exactly as long as it is; of a higher one what stands at the same places
 * counts, ff is none; digits are in lower case; ids are not 0. False: it is as if it were not there. */
bool trace_parent_read(struct slice value, struct trace_parent *out);

/* In version 00. */
void trace_parent_write(const struct trace_parent *p, char out[TRACE_PARENT_TEXT]);

/* Whether there is any of both fields, well formed or not. */
bool trace_is_there(const struct fields *f);

/* What came: false when there is no traceparent, more than one, or a malformed one. */
bool trace_parent_of(const struct fields *f, struct trace_parent *out);

/* All lines of tracestate as one list (§3.3), in the arena or where it stands; empty when there is none, when
 * some of it is malformed, when there are too many members, or no memory. Past TRACE_STATE_MAX members go,
 * the long ones first, then from the end (§3.3.1.5). */
struct slice trace_state_of(const struct fields *f, struct arena *a);

/* Sixteen digits. */
void trace_hex(uint64_t number, char out[16]);

/* Whether a trace is among `share` (0 to 1) of all, by the last seven bytes of its id: wherever that is asked
 * with the same share, the answer is the same, and a larger share has all that a smaller one has. */
bool trace_is_among(uint64_t low, double share);

/* The id of an attempt's span, the number-th (from 0) of those of `seed`: different for each, never 0. So
 * nobody has to keep it. */
uint64_t trace_attempt_id(uint64_t seed, unsigned number);
