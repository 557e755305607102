#include "core/slice.h"

bool slice_equal_nocase(struct slice a, struct slice b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (ascii_lower(a.at[i]) != ascii_lower(b.at[i]))
            return false;
    return true;
}

size_t slice_find(struct slice s, char c)
{
    const char *hit = s.len ? memchr(s.at, c, s.len) : NULL;
    return hit ? (size_t)(hit - s.at) : s.len;
}

struct slice slice_trim(struct slice s)
{
    while (s.len && (s.at[0] == ' ' || s.at[0] == '\t'))
        s = slice_skip(s, 1);
    while (s.len && (s.at[s.len - 1] == ' ' || s.at[s.len - 1] == '\t'))
        s.len--;
    return s;
}

bool slice_next(struct slice *rest, char separator, struct slice *element)
{
    while (rest->len) {
        size_t end = slice_find(*rest, separator);
        struct slice piece = slice_trim(slice_of(rest->at, end));
        *rest = slice_skip(*rest, end + 1);
        if (piece.len) {
            *element = piece;
            return true;
        }
    }
    return false;
}

int slice_to_u64(struct slice s, uint64_t *out)
{
    uint64_t value = 0;
    if (s.len == 0)
        return -1;
    if (s.len < 20) { /* cannot be too large */
        for (size_t i = 0; i < s.len; i++) {
            unsigned digit = (unsigned char)s.at[i] - (unsigned)'0';
            if (digit > 9)
                return -1;
            value = value * 10 + digit;
        }
        *out = value;
        return 0;
    }
    for (size_t i = 0; i < s.len; i++) {
        unsigned digit = (unsigned char)s.at[i] - (unsigned)'0';
        if (digit > 9 || __builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, digit, &value))
            return -1;
    }
    *out = value;
    return 0;
}
