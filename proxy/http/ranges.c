#include "proxy/http/ranges.h"

bool ranges_asked(const struct fields *request, struct slice *value)
{
    unsigned found = 0;
    for (uint32_t i = 0; i < request->count; i++) {
        if (request->at[i].id != FIELD_RANGE)
            continue;
        *value = request->at[i].value;
        found++;
    }
    return found == 1;
}

/* Takes decimal digits, perhaps none; the number of them. What is too large to be told is larger than any
 * file. */
static size_t take_number(struct slice *s, uint64_t *out)
{
    uint64_t value = 0;
    size_t i = 0;
    for (; i < s->len && s->at[i] >= '0' && s->at[i] <= '9'; i++) {
        uint64_t digit = (uint64_t)(s->at[i] - '0');
        value = value > (UINT64_MAX - digit) / 10 ? UINT64_MAX : value * 10 + digit;
    }
    *s = slice_skip(*s, i);
    *out = value;
    return i;
}

/* "4-7", "4-", "-3". False when it is not well-formed; a count of 0 when it lies outside. */
static bool parse_one(struct slice s, uint64_t size, struct byte_range *out)
{
    uint64_t first, last;
    size_t first_digits = take_number(&s, &first);
    if (s.len == 0 || s.at[0] != '-')
        return false;
    s = slice_skip(s, 1);
    size_t last_digits = take_number(&s, &last);
    if (s.len || (!first_digits && !last_digits) || (first_digits && last_digits && last < first))
        return false;

    if (!first_digits) {
        out->count = last < size ? last : size;
        out->first = size - out->count;
    } else if (first >= size) {
        *out = (struct byte_range){0, 0};
    } else {
        uint64_t left = size - first;
        *out = (struct byte_range){first, last_digits && last - first < left ? last - first + 1 : left};
    }
    return true;
}

static bool overlap(const struct byte_range *a, const struct byte_range *b)
{
    return a->first < b->first + b->count && b->first < a->first + a->count;
}

static bool overlaps_any(const struct byte_range *ranges, unsigned count, const struct byte_range *r)
{
    for (unsigned i = 0; i < count; i++)
        if (overlap(&ranges[i], r))
            return true;
    return false;
}

enum ranges_answer ranges_parse(struct slice value, uint64_t size, struct byte_range out[RANGES_MAX],
                                unsigned *count)
{
    static const struct slice unit = SLICE("bytes=");
    struct slice rest = slice_skip(value, unit.len), element;
    unsigned asked = 0, found = 0;
    bool twice = false;
    if (!slice_equal_nocase(slice_of(value.at, value.len < unit.len ? value.len : unit.len), unit))
        return RANGES_WHOLE;

    while (slice_next(&rest, ',', &element)) {
        struct byte_range r;
        if (++asked > RANGES_MAX || !parse_one(element, size, &r))
            return RANGES_WHOLE;
        if (r.count == 0)
            continue;
        twice = twice || overlaps_any(out, found, &r);
        out[found++] = r;
    }
    /* Nothing of nothing cannot be said with Content-Range: the whole says it (a suffix of an empty file,
     * §14.1.2). */
    if (asked == 0 || twice || size == 0)
        return RANGES_WHOLE;
    *count = found;
    return found ? RANGES_SOME : RANGES_UNSATISFIABLE;
}
