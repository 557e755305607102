/* Exemplars: of a histogram's buckets, a request that fell into each not long ago, by its id. One worker
 * writes, any thread reads, and nobody waits: each exemplar is a handful of words under a sequence number (a
 * seqlock all of whose words are atomic), and a reader that met the writer tries again.
 *
 * A bucket is given one at most once in EXEMPLARS_EVERY; in between a request costs one comparison. They are
 * allocated one by one, when a bucket gets its first, until a worker's budget is spent: from then on new
 * buckets stay without. */
#pragma once

#include <stdatomic.h>

#include "core/base.h"
#include "core/slice.h"

#define EXEMPLARS          16u /* buckets of a histogram */
#define EXEMPLAR_ID_MAX    64u
#define EXEMPLAR_TRACE_MAX 32u
#define EXEMPLARS_EVERY(t) ((uint32_t)((t) >> 20)) /* microseconds to the number of their second, nearly */
#define EXEMPLARS_A_WORKER 16384u                  /* 2 MiB */

struct exemplar;

/* Of one histogram; zeroed at first. */
struct exemplars {
    uint32_t taken[EXEMPLARS]; /* when, by EXEMPLARS_EVERY; the worker's */
    _Atomic(struct exemplar *) at[EXEMPLARS];
};

/* What one is told by. The ids are text of visible ASCII without `"` and `\`; an exemplar whose ids are not,
 * or are longer than the two limits, is not kept (labels of at most 128 characters: OpenMetrics, Exemplars).
 */
struct exemplar_text {
    uint64_t value;
    int64_t wall_us;
    size_t id_len, trace_len; /* id_len 0: there is none */
    char id[EXEMPLAR_ID_MAX], trace[EXEMPLAR_TRACE_MAX];
};

static inline bool exemplars_due(const struct exemplars *e, unsigned bucket, usec_t now)
{
    return e->taken[bucket] != EXEMPLARS_EVERY(now);
}

/* The worker's. *budget: how many more it may allocate. `trace` may be empty. */
void exemplars_take(struct exemplars *e, unsigned bucket, usec_t now, unsigned *budget,
                    const struct exemplar_text *text);
/* Fills the ids in; false when they cannot be kept. */
bool exemplar_text_set(struct exemplar_text *text, struct slice id, struct slice trace);

/* Any thread. False when there is none. */
bool exemplars_get(const struct exemplars *e, unsigned bucket, struct exemplar_text *out);

/* The worker's: from now on there are none, whoever reads. */
void exemplars_forget(struct exemplars *e);
/* When no one reads or writes any more. */
void exemplars_free(struct exemplars *e);
