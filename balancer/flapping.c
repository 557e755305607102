#include "balancer/flapping.h"

void flapping_note(struct flapping *f, usec_t now_us)
{
    f->at[f->count++ % FLAPPING_KEPT] = now_us;
}

unsigned flapping_changes(const struct flapping *f, usec_t now_us, msec_t interval)
{
    usec_t window = (usec_t)interval * 1000 * FLAPPING_INTERVALS;
    unsigned kept = f->count < FLAPPING_KEPT ? f->count : FLAPPING_KEPT, recent = 0;
    for (unsigned i = 0; i < kept; i++)
        recent += now_us - f->at[i] < window;
    return recent;
}

unsigned flapping_times(unsigned changes)
{
    if (changes < FLAPPING_LEAST)
        return 1;
    unsigned times = 2u << (changes - FLAPPING_LEAST) / 2;
    return times < FLAPPING_TIMES_MAX ? times : FLAPPING_TIMES_MAX;
}
