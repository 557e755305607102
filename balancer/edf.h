/* Earliest deadline first: entries that fall due in proportion to their weights, each `1 / weight` after its
 * last turn (Demers, Keshav, Shenker: "Analysis and Simulation of a Fair Queueing Algorithm", SIGCOMM 1989).
 * A binary heap, O(log n) a turn, which gives what smooth weighted round robin gives in O(n). The memory is
 * the owner's. */
#pragma once

#include "core/base.h"

#define EDF_NONE  UINT32_MAX
#define EDF_ROUND (UINT64_C(1) << 40) /* the time between two turns of weight 1 */

struct edf_entry {
    uint64_t due;
    uint32_t index;
};

struct edf {
    struct edf_entry *heap;
    uint32_t *position; /* of each index in the heap; EDF_NONE = not in it */
    size_t count;
};

/* Bytes for n entries, aligned to 8. */
static inline size_t edf_bytes(size_t n)
{
    return n * sizeof(struct edf_entry) + (n * sizeof(uint32_t) + 7) / 8 * 8;
}

/* An empty one over edf_bytes(n) bytes. */
void edf_init(struct edf *e, void *memory, size_t n);
void edf_insert(struct edf *e, uint32_t index, uint64_t due);
/* All of them are due by that much sooner; none was due before `by`. */
void edf_advance(struct edf *e, uint64_t by);
/* Those that are in it. */
void edf_move(struct edf *e, uint32_t index, uint64_t due);
void edf_remove(struct edf *e, uint32_t index);

static inline bool edf_has(const struct edf *e, uint32_t index)
{
    return e->position[index] != EDF_NONE;
}
static inline uint64_t edf_due(const struct edf *e, uint32_t index)
{
    return e->heap[e->position[index]].due;
}
/* From one turn to the next. */
static inline uint64_t edf_step(uint32_t weight)
{
    return EDF_ROUND / weight;
}
