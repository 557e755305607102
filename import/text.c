#include "import/text.h"

#include <stdio.h>
#include <stdlib.h>

static _Noreturn void out_of_memory(void)
{
    fputs("weir: out of memory\n", stderr);
    exit(1);
}

void text_add_bytes(struct text *t, const char *s, size_t len)
{
    if (len >= t->room - t->len || !t->at) {
        size_t room = (t->len + len + 1) * 2;
        char *at = realloc(t->at, room);
        if (!at)
            out_of_memory();
        t->at = at;
        t->room = room;
    }
    if (len)
        memcpy(t->at + t->len, s, len);
    t->len += len;
    t->at[t->len] = '\0';
}

void text_add(struct text *t, const char *s)
{
    text_add_bytes(t, s, strlen(s));
}

static char *format_text(const char *format, va_list args)
{
    char *s = NULL;
    if (vasprintf(&s, format, args) < 0)
        out_of_memory();
    return s;
}

void text_printf(struct text *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *s = format_text(format, args);
    va_end(args);
    text_add(t, s);
    free(s);
}

void text_free(struct text *t)
{
    free(t->at);
    *t = (struct text){0};
}

void *import_alloc(struct arena *a, size_t size)
{
    void *piece = arena_zalloc(a, size ? size : 1);
    if (!piece)
        out_of_memory();
    return piece;
}

const char *import_copy(struct arena *a, const char *s, size_t len)
{
    char *copy = import_alloc(a, len + 1);
    if (len)
        memcpy(copy, s, len);
    return copy;
}

const char *import_printf(struct arena *a, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *s = format_text(format, args);
    va_end(args);
    const char *copy = import_copy(a, s, strlen(s));
    free(s);
    return copy;
}

bool text_is(const char *a, const char *b)
{
    return a && b && strcmp(a, b) == 0;
}

bool text_begins(const char *s, const char *prefix)
{
    return s && strncmp(s, prefix, strlen(prefix)) == 0;
}

bool text_ends(const char *s, const char *suffix)
{
    size_t len = s ? strlen(s) : 0, tail = strlen(suffix);
    return len >= tail && strcmp(s + len - tail, suffix) == 0;
}

bool text_in(const char *s, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (text_is(s, list[i]))
            return true;
    return false;
}

long long text_number(const char *s)
{
    uint64_t n;
    return s && strlen(s) < 16 && slice_to_u64(slice_text(s), &n) == 0 ? (long long)n : -1;
}
