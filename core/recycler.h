/* Small pieces of memory that come and go with every request: what was freed is kept by its size for who
 * asks next, and costs a few instructions where the heap's way takes hundreds. One thread's own; as a
 * library's allocator (nghttp2) and for structs that a request cannot keep in its arena.
 *
 * What is kept is bounded by RECYCLER_KEPT bytes; larger pieces than RECYCLER_LARGEST are the heap's. Under
 * AddressSanitizer nothing is kept, so that a use after free is still seen. */
#pragma once

#include "core/base.h"

#define RECYCLER_STEP    64u
#define RECYCLER_SIZES   16u
#define RECYCLER_LARGEST (RECYCLER_STEP * RECYCLER_SIZES)
#define RECYCLER_KEPT    (1u << 20)

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define RECYCLER_KEEPS false
#else
#define RECYCLER_KEEPS true
#endif

/* Begins cleared. */
struct recycler {
    void *free[RECYCLER_SIZES];
    size_t kept; /* bytes */
};

/* Aligned to 16 bytes. NULL when out of memory. Given back to the same recycler. */
void *recycler_alloc(struct recycler *r, size_t size);
/* Cleared. */
void *recycler_zalloc(struct recycler *r, size_t size);
void *recycler_resize(struct recycler *r, void *piece, size_t size);
/* NULL is allowed. */
void recycler_free(struct recycler *r, void *piece);

/* Gives what is kept to the heap. */
void recycler_empty(struct recycler *r);
