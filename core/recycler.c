#include "core/recycler.h"

#include <stdlib.h>
#include <string.h>

/* Before each piece. */
struct head {
    size_t size;       /* that there is room for */
    struct head *next; /* while it is kept */
};
_Static_assert(sizeof(struct head) == 16, "pieces are aligned to 16 bytes");

static struct head *head_of(void *piece)
{
    return (struct head *)piece - 1;
}

void *recycler_alloc(struct recycler *r, size_t size)
{
    size_t slot = size ? (size - 1) / RECYCLER_STEP : 0;
    struct head *h;
    if (LIKELY(slot < RECYCLER_SIZES)) {
        h = r->free[slot];
        size = (slot + 1) * RECYCLER_STEP;
        if (LIKELY(h != NULL)) {
            r->free[slot] = h->next;
            r->kept -= size;
            return h + 1;
        }
    }
    if (size > SIZE_MAX / 2 || !(h = malloc(sizeof *h + size)))
        return NULL;
    h->size = size;
    return h + 1;
}

void *recycler_zalloc(struct recycler *r, size_t size)
{
    void *piece = recycler_alloc(r, size);
    if (piece)
        memset(piece, 0, size);
    return piece;
}

void recycler_free(struct recycler *r, void *piece)
{
    if (!piece)
        return;
    struct head *h = head_of(piece);
    size_t slot = h->size / RECYCLER_STEP - 1;
    if (!RECYCLER_KEEPS || slot >= RECYCLER_SIZES || r->kept + h->size > RECYCLER_KEPT) {
        free(h);
        return;
    }
    h->next = r->free[slot];
    r->free[slot] = h;
    r->kept += h->size;
}

void *recycler_resize(struct recycler *r, void *piece, size_t size)
{
    if (piece && head_of(piece)->size >= size)
        return piece;
    void *other = recycler_alloc(r, size);
    if (!other || !piece)
        return other;
    size_t had = head_of(piece)->size;
    memcpy(other, piece, had < size ? had : size);
    recycler_free(r, piece);
    return other;
}

void recycler_empty(struct recycler *r)
{
    for (size_t slot = 0; slot < RECYCLER_SIZES; slot++) {
        while (r->free[slot]) {
            struct head *h = r->free[slot];
            r->free[slot] = h->next;
            free(h);
        }
    }
    r->kept = 0;
}
