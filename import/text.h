/* Texts that grow, and short-lived texts in an arena, for `weir import`: a command that reads a file, prints
 * and ends. Out of memory ends the program. */
#pragma once

#include <stdarg.h>

#include "core/arena.h"

struct text {
    char *at; /* NUL-terminated; NULL while empty */
    size_t len, room;
};

void text_add(struct text *t, const char *s);
void text_add_bytes(struct text *t, const char *s, size_t len);
void text_printf(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_free(struct text *t);
/* Bytes from `from` on that are no character of UTF-8 which YAML lets stand (YAML 1.2 §5.1) become question
 * marks; all of ASCII stays. */
void text_clean(struct text *t, size_t from);

/* In the arena, never NULL; zeroed. */
void *import_alloc(struct arena *a, size_t size);
const char *import_copy(struct arena *a, const char *s, size_t len);
const char *import_printf(struct arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* NULL-safe. */
bool text_is(const char *a, const char *b);
bool text_begins(const char *s, const char *prefix);
bool text_ends(const char *s, const char *suffix);
bool text_in(const char *s, const char *const *list, size_t count);

/* All of it decimal digits: the number, or -1. */
long long text_number(const char *s);
