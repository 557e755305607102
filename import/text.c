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

/* Bytes of the character; 0 for none that may stand. */
static size_t character(const unsigned char *s)
{
    static const unsigned least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len = s[0] < 0x80             ? 1
                 : (s[0] & 0xe0) == 0xc0 ? 2
                 : (s[0] & 0xf0) == 0xe0 ? 3
                 : (s[0] & 0xf8) == 0xf0 ? 4
                                         : 0;
    if (len <= 1)
        return len;
    unsigned c = s[0] & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (s[i] & 0x3fu);
    }
    bool good = c >= least[len] && c >= 0xa0 && !(c >= 0xd800 && c < 0xe000) && c != 0xfeff && c != 0xfffe &&
                c != 0xffff && c < 0x110000;
    return good ? len : 0;
}

void text_clean(struct text *t, size_t from)
{
    for (size_t i = from, len; i < t->len; i += len ? len : 1)
        if ((len = character((const unsigned char *)t->at + i)) == 0)
            t->at[i] = '?';
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
    if (!s)
        return false;
    size_t len = strlen(s), tail = strlen(suffix);
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
