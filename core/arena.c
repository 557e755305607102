#include "core/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define ARENA_BLOCK 4096

struct arena_block {
    struct arena_block *next;
    size_t size;
    char bytes[];
};

void arena_init(struct arena *a, void *first, size_t first_size)
{
    size_t gap = (size_t)(-(uintptr_t)first & 7);
    if (gap >= first_size)
        first = NULL;
    *a = (struct arena){0};
    if (first) {
        a->first = (char *)first + gap;
        a->first_size = first_size - gap;
    }
    a->at = a->first;
    a->end = a->first ? a->first + a->first_size : NULL;
}

static void *grow(struct arena *a, size_t size)
{
    size_t bytes = size > ARENA_BLOCK ? size : ARENA_BLOCK;
    if (a->limit && a->total + bytes > a->limit)
        return NULL;
    struct arena_block *block = malloc(sizeof *block + bytes);
    if (!block)
        return NULL;
    block->next = a->blocks;
    block->size = bytes;
    a->blocks = block;
    a->total += bytes;
    /* A large piece must not waste what is left of the current block. */
    if (size > ARENA_BLOCK && a->at)
        return block->bytes;
    a->at = block->bytes + size;
    a->end = block->bytes + bytes;
    return block->bytes;
}

void *arena_grow(struct arena *a, size_t size)
{
    if (size > SIZE_MAX / 2)
        return NULL;
    size = (size + 7) & ~(size_t)7;
    if (a->at && size <= (size_t)(a->end - a->at)) {
        void *piece = a->at;
        a->at += size;
        return piece;
    }
    return grow(a, size);
}

void *arena_zalloc(struct arena *a, size_t size)
{
    void *piece = arena_alloc(a, size);
    if (piece)
        memset(piece, 0, size);
    return piece;
}

struct slice arena_copy(struct arena *a, struct slice s)
{
    char *copy = arena_alloc(a, s.len + 1);
    if (!copy)
        return (struct slice){NULL, 0};
    if (s.len)
        memcpy(copy, s.at, s.len);
    copy[s.len] = 0;
    return slice_of(copy, s.len);
}

char *arena_printf(struct arena *a, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = len < 0 ? NULL : arena_alloc(a, (size_t)len + 1);
    if (text)
        vsnprintf(text, (size_t)len + 1, format, again);
    va_end(again);
    return text;
}

void arena_reset(struct arena *a)
{
    while (a->blocks) {
        struct arena_block *next = a->blocks->next;
        free(a->blocks);
        a->blocks = next;
    }
    a->total = 0;
    a->at = a->first;
    a->end = a->first ? a->first + a->first_size : NULL;
}
