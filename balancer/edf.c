#include "balancer/edf.h"

void edf_init(struct edf *e, void *memory, size_t n)
{
    e->heap = memory;
    e->position = (uint32_t *)(e->heap + n);
    e->count = 0;
    for (size_t i = 0; i < n; i++)
        e->position[i] = EDF_NONE;
}

static inline bool before(const struct edf_entry *a, const struct edf_entry *b)
{
    return a->due < b->due || (a->due == b->due && a->index < b->index);
}

static void put(struct edf *e, size_t at, struct edf_entry entry)
{
    e->heap[at] = entry;
    e->position[entry.index] = (uint32_t)at;
}

static void up(struct edf *e, size_t at, struct edf_entry entry)
{
    while (at > 0 && before(&entry, &e->heap[(at - 1) / 2])) {
        put(e, at, e->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    put(e, at, entry);
}

static void down(struct edf *e, size_t at, struct edf_entry entry)
{
    for (size_t child = 2 * at + 1; child < e->count; child = 2 * at + 1) {
        if (child + 1 < e->count && before(&e->heap[child + 1], &e->heap[child]))
            child++;
        if (!before(&e->heap[child], &entry))
            break;
        put(e, at, e->heap[child]);
        at = child;
    }
    put(e, at, entry);
}

static void settle(struct edf *e, size_t at, struct edf_entry entry)
{
    if (at > 0 && before(&entry, &e->heap[(at - 1) / 2]))
        up(e, at, entry);
    else
        down(e, at, entry);
}

void edf_insert(struct edf *e, uint32_t index, uint64_t due)
{
    up(e, e->count++, (struct edf_entry){due, index});
}

void edf_advance(struct edf *e, uint64_t by)
{
    for (size_t i = 0; i < e->count; i++)
        e->heap[i].due -= by;
}

void edf_move(struct edf *e, uint32_t index, uint64_t due)
{
    settle(e, e->position[index], (struct edf_entry){due, index});
}

void edf_remove(struct edf *e, uint32_t index)
{
    size_t at = e->position[index];
    struct edf_entry last = e->heap[--e->count];
    e->position[index] = EDF_NONE;
    if (at < e->count)
        settle(e, at, last);
}
