#include "core/exemplars.h"

#include <stdlib.h>

#define TEXT_WORDS (sizeof(struct exemplar_text) / sizeof(uint64_t))
#define READ_TRIES 100u

_Static_assert(sizeof(struct exemplar_text) % sizeof(uint64_t) == 0, "copied by words");

struct exemplar {
    _Atomic uint64_t sequence; /* odd while it is being written; 0 = there is nothing yet */
    _Atomic uint64_t words[TEXT_WORDS];
};

static bool is_plain(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.at[i] <= ' ' || s.at[i] > '~' || s.at[i] == '"' || s.at[i] == '\\')
            return false;
    return true;
}

bool exemplar_text_set(struct exemplar_text *text, struct slice id, struct slice trace)
{
    if (!id.len || id.len > EXEMPLAR_ID_MAX || trace.len > EXEMPLAR_TRACE_MAX || !is_plain(id) ||
        !is_plain(trace))
        return false;
    text->id_len = id.len;
    memcpy(text->id, id.at, id.len);
    text->trace_len = trace.len;
    if (trace.len)
        memcpy(text->trace, trace.at, trace.len);
    return true;
}

/* Every word is stored with `release` and read with `acquire`: a reader that sees one of the new words sees
 * the odd number that was stored before it too, when it looks again. */
static void store(struct exemplar *x, const struct exemplar_text *text)
{
    uint64_t words[TEXT_WORDS];
    memcpy(words, text, sizeof words);
    uint64_t sequence = atomic_load_explicit(&x->sequence, memory_order_relaxed);
    atomic_store_explicit(&x->sequence, sequence + 1, memory_order_relaxed);
    for (size_t i = 0; i < TEXT_WORDS; i++)
        atomic_store_explicit(&x->words[i], words[i], memory_order_release);
    atomic_store_explicit(&x->sequence, sequence + 2, memory_order_release);
}

void exemplars_take(struct exemplars *e, unsigned bucket, usec_t now, unsigned *budget,
                    const struct exemplar_text *text)
{
    struct exemplar *x = atomic_load_explicit(&e->at[bucket], memory_order_relaxed);
    e->taken[bucket] = EXEMPLARS_EVERY(now);
    if (!x) {
        x = *budget ? calloc(1, sizeof *x) : NULL;
        if (!x)
            return;
        --*budget;
        store(x, text);
        atomic_store_explicit(&e->at[bucket], x, memory_order_release);
        return;
    }
    store(x, text);
}

bool exemplars_get(const struct exemplars *e, unsigned bucket, struct exemplar_text *out)
{
    const struct exemplar *x = atomic_load_explicit(&e->at[bucket], memory_order_acquire);
    for (unsigned i = 0; x && i < READ_TRIES; i++) {
        uint64_t words[TEXT_WORDS], before = atomic_load_explicit(&x->sequence, memory_order_acquire);
        for (size_t k = 0; k < TEXT_WORDS; k++)
            words[k] = atomic_load_explicit(&x->words[k], memory_order_acquire);
        if (before % 2 == 0 && atomic_load_explicit(&x->sequence, memory_order_relaxed) == before) {
            memcpy(out, words, sizeof words);
            return out->id_len != 0;
        }
    }
    return false;
}

void exemplars_forget(struct exemplars *e)
{
    static const struct exemplar_text none = {0};
    for (unsigned i = 0; i < EXEMPLARS; i++) {
        struct exemplar *x = atomic_load_explicit(&e->at[i], memory_order_relaxed);
        if (x)
            store(x, &none);
        e->taken[i] = 0;
    }
}

void exemplars_free(struct exemplars *e)
{
    for (unsigned i = 0; i < EXEMPLARS; i++)
        free(atomic_load_explicit(&e->at[i], memory_order_relaxed));
    *e = (struct exemplars){0};
}
