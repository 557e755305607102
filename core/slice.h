/* A slice is a piece of text or bytes that somebody else owns: pointer and length, no terminating NUL.
 * Everything that is read from the wire or from a file is handled as slices; a function that takes one
 * never keeps it beyond the call unless its comment says so. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
    const char *at;
    size_t len;
};

/* For printf's "%.*s". */
#define SLICE_FMT(s) (int)(s).len, (s).at

/* A slice of a string literal, usable in static initialisers. */
#define SLICE(literal)                                                                                       \
    {                                                                                                        \
        (literal), sizeof(literal) - 1                                                                       \
    }
#define S(literal) ((struct slice)SLICE(literal))

static inline struct slice slice_of(const char *at, size_t len)
{
    return (struct slice){at, len};
}

static inline struct slice slice_text(const char *text)
{
    return (struct slice){text, text ? strlen(text) : 0};
}

static inline bool slice_equal(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

/* ASCII only, as RFC 9110 §5.1 (field names) and RFC 3986 §3.1 (schemes) compare. */
bool slice_equal_nocase(struct slice a, struct slice b);

static inline bool slice_begins(struct slice s, struct slice prefix)
{
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.at, prefix.at, prefix.len) == 0);
}

static inline bool slice_ends(struct slice s, struct slice suffix)
{
    return s.len >= suffix.len &&
           (suffix.len == 0 || memcmp(s.at + s.len - suffix.len, suffix.at, suffix.len) == 0);
}

/* What follows the first n bytes; empty when there are fewer. */
static inline struct slice slice_skip(struct slice s, size_t n)
{
    if (n >= s.len)
        return (struct slice){s.len ? s.at + s.len : s.at, 0};
    return (struct slice){s.at + n, s.len - n};
}

/* Index of the first c, or s.len. */
size_t slice_find(struct slice s, char c);

/* Without leading and trailing SP and HTAB (RFC 9110 §5.6.3 OWS). */
struct slice slice_trim(struct slice s);

/* Takes the next element of a list separated by `separator` out of *rest, trimmed of OWS. False at the end.
 * Empty elements are skipped (RFC 9110 §5.6.1.2). */
bool slice_next(struct slice *rest, char separator, struct slice *element);

/* Decimal digits only, all of them, at least one, no sign: 0, or -1 when it is none or does not fit. */
int slice_to_u64(struct slice s, uint64_t *out);

static inline char ascii_lower(char c)
{
    return (c >= 'A' && c <= 'Z') ? (char)(c | 0x20) : c;
}
