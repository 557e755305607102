/* A server whose check flips must prove itself for longer before it is used again: the more changes between
 * up and down in the time of FLAPPING_INTERVALS checks, the more good checks in a row it needs. It is
 * forgiven as the changes grow old. */
#pragma once

#include "core/base.h"

#define FLAPPING_INTERVALS 60u
#define FLAPPING_LEAST     4u /* changes: fewer are no flapping */
#define FLAPPING_KEPT      8u
#define FLAPPING_TIMES_MAX 8u

/* Begins as zeroes. */
struct flapping {
    usec_t at[FLAPPING_KEPT]; /* a ring */
    unsigned count;           /* ever noted */
};

/* The server went up or down. */
void flapping_note(struct flapping *f, usec_t now_us);
/* Changes within the window; FLAPPING_KEPT stands for that many or more. */
unsigned flapping_changes(const struct flapping *f, usec_t now_us, msec_t interval);
/* By what `rise` is multiplied: 1 below FLAPPING_LEAST, then 2, 4 and 8, twice as much with every two changes
 * more. */
unsigned flapping_times(unsigned changes);
