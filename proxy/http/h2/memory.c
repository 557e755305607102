#include "proxy/http/h2/memory.h"

static void *give(size_t size, void *recycler)
{
    return recycler_alloc(recycler, size);
}

static void *give_cleared(size_t count, size_t size, void *recycler)
{
    return count && size > SIZE_MAX / count ? NULL : recycler_zalloc(recycler, count * size);
}

static void *resize(void *piece, size_t size, void *recycler)
{
    return recycler_resize(recycler, piece, size);
}

static void take_back(void *piece, void *recycler)
{
    recycler_free(recycler, piece);
}

nghttp2_mem h2_memory(struct worker *w)
{
    return (nghttp2_mem){.mem_user_data = &w->recycler,
                         .malloc = give,
                         .free = take_back,
                         .calloc = give_cleared,
                         .realloc = resize};
}
