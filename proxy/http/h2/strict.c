#include "proxy/http/h2/strict.h"

#define PREFACE_LEN    24
#define FRAME_DATA     0
#define FRAME_PRIORITY 2
#define PRIORITY_LEN   5

void h2_strict_init(struct h2_strict *s)
{
    *s = (struct h2_strict){.skip = PREFACE_LEN};
}

/* Streams. */

void h2_strict_opened(struct h2_strict *s, int32_t id)
{
    if (id <= s->last)
        return;
    int32_t next = s->last ? s->last + 2 : 1;
    if (id > next) {
        s->skipped_from = next;
        s->skipped_to = id - 2;
    }
    s->last = id;
}

void h2_strict_reset(struct h2_strict *s, int32_t id, bool by_client)
{
    uint32_t slot = s->reset_count++ % H2_RESETS_KEPT;
    if (s->resets[slot].id > s->forgotten)
        s->forgotten = s->resets[slot].id;
    s->resets[slot].id = id;
    s->resets[slot].by_client = by_client;
}

enum h2_late h2_strict_late(const struct h2_strict *s, int32_t id)
{
    if (id > s->last || id % 2 == 0)
        return H2_LATE_NOT;
    bool by_client = false;
    for (uint32_t i = 0; i < H2_RESETS_KEPT; i++) {
        if (s->resets[i].id != id)
            continue;
        if (!s->resets[i].by_client)
            return H2_LATE_NOT;
        by_client = true;
    }
    if (!by_client && id <= s->forgotten)
        return H2_LATE_NOT;
    if (id >= s->skipped_from && id <= s->skipped_to)
        return H2_LATE_NEVER; /* not even refused */
    return by_client ? H2_LATE_RESET : H2_LATE_CLOSED;
}

/* Frames. */

static uint32_t number(const uint8_t at[4])
{
    return ((uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3]) & INT32_MAX;
}

/* How much of the frame that begins in s->head must be seen. */
static uint8_t wanted(const struct h2_strict *s)
{
    bool is_priority = s->have >= H2_FRAME_HEAD && s->head[3] == FRAME_PRIORITY && s->head[0] == 0 &&
                       s->head[1] == 0 && s->head[2] == PRIORITY_LEN;
    return is_priority ? H2_FRAME_HEAD + PRIORITY_LEN : H2_FRAME_HEAD;
}

/* The head is there, and what else is wanted. */
static enum h2_found look(struct h2_strict *s, int32_t *id)
{
    *id = (int32_t)number(s->head + 5);
    if (s->have > H2_FRAME_HEAD)
        return *id == 0 || (int32_t)number(s->head + H2_FRAME_HEAD) == *id ? H2_FOUND_WRONG
                                                                           : H2_FOUND_NOTHING;
    s->skip = (uint32_t)s->head[0] << 16 | (uint32_t)s->head[1] << 8 | s->head[2];
    return s->head[3] == FRAME_DATA ? H2_FOUND_DATA : H2_FOUND_NOTHING;
}

size_t h2_strict_walk(struct h2_strict *s, struct slice in, enum h2_found *found, int32_t *id)
{
    size_t at = 0;
    *found = H2_FOUND_NOTHING;
    while (at < in.len && *found == H2_FOUND_NOTHING) {
        size_t n = s->skip ? s->skip : (size_t)wanted(s) - s->have;
        if (n > in.len - at)
            n = in.len - at;
        if (s->skip) {
            s->skip -= (uint32_t)n;
        } else {
            memcpy(s->head + s->have, in.at + at, n);
            s->have = (uint8_t)(s->have + n);
        }
        at += n;
        if (s->have >= H2_FRAME_HEAD && s->have == wanted(s)) {
            *found = look(s, id);
            s->have = 0;
        }
    }
    return at;
}
