/* Lines that would repeat: of those alike - the same event about the same thing - the first is told at once,
 * and then one a second at most, which says how many were left out since. For one thread; bounded: among more
 * than LOG_LIMIT_SLOTS at a time the one that was quiet longest is forgotten, and is told at once again. */
#pragma once

#include "core/base.h"

#define LOG_LIMIT_SLOTS 512u
#define LOG_LIMIT_US    1000000u

struct log_limit {
    struct log_limit_slot {
        const char *event; /* NULL = free */
        uint64_t about;
        usec_t told_us;
        uint64_t left_out; /* since then */
    } at[LOG_LIMIT_SLOTS];
};

/* Whether the line is to be written, then with *repeated, how many were left out before it. `event` is static
 * text, known by its address; `about` says of what it tells. The struct begins cleared. */
bool log_limit_allows(struct log_limit *l, const char *event, uint64_t about, usec_t now_us,
                      uint64_t *repeated);
