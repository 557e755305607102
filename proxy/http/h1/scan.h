/* The bytes of a head: the loops that look at every one of them, once in plain C and once for AVX2. They know
 * what a byte may be and how a field line is built, but nothing of what a field means. What they cannot take,
 * for whatever reason, they leave for parse.c to explain; so the reasons are written once, off the fast path.
 *
 * Every function looks at [begin, end) and at nothing outside: `at` lies within, and what stands before it
 * may be loaded, too (a vector that would reach past the end is loaded further back instead). */
#pragma once

#include "proxy/http/message.h"

struct h1_scanner {
    /* The first byte that is not BYTE_TEXT (a CTL but HTAB, or DEL), or end. */
    const char *(*text)(const char *begin, const char *at, const char *end);
    /* The first byte that is not BYTE_TARGET, or end. *question is the first "?" before it, or that byte. */
    const char *(*target)(const char *begin, const char *at, const char *end, const char **question);
    /* Appends whole, valid field lines to *out (all but ids), until out->count == max. Where it stopped: the
     * start of the first line that is none: the empty one, a faulty one, one that is not all there, or one
     * too many. */
    const char *(*fields)(const char *begin, const char *at, const char *end, struct fields *out,
                          uint32_t max);
};

extern const struct h1_scanner h1_scan_scalar;
#ifdef __x86_64__
extern const struct h1_scanner h1_scan_avx2; /* only where __builtin_cpu_supports("avx2") */
#endif

/* Writes the field of the line [line, eol + CRLF) whose ":" is at colon. */
static inline __attribute__((always_inline)) void h1_field_set(struct field *out, const char *line,
                                                               const char *colon, const char *eol)
{
    const char *value = colon + 1;
    const char *value_end = eol;

    if (LIKELY(eol - colon >= 3 && value[0] == ' ')) /* nearly all are "name: value" */
        value++;
    if (UNLIKELY(value == value_end || *value == ' ' || *value == '\t' || value_end[-1] == ' ' ||
                 value_end[-1] == '\t')) {
        struct slice trimmed = slice_trim(slice_of(value, (size_t)(value_end - value)));
        value = trimmed.at;
        value_end = trimmed.at + trimmed.len;
    }
    out->name = slice_of(line, (size_t)(colon - line));
    out->value = slice_of(value, (size_t)(value_end - value));
    out->line_len = (uint32_t)(eol + 2 - line);
    out->id = FIELD_OTHER;
}
