/* The lines of one field of a message, in their order: how the rules get what they need of a head without
 * knowing heads. */
#pragma once

#include "core/slice.h"

struct cache_lines {
    const struct slice *at; /* values, trimmed of white space */
    uint32_t count;
};
