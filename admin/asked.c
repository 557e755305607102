#include "admin/asked.h"

static int hex_digit(char c)
{
    c = ascii_lower(c);
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static struct slice decode(struct arena *a, struct slice s)
{
    char *out = arena_alloc(a, s.len + 1);
    size_t n = 0;
    for (size_t i = 0; out && i < s.len; i++) {
        int high = -1, low = -1;
        if (s.at[i] != '%') {
            out[n++] = s.at[i] == '+' ? ' ' : s.at[i];
            continue;
        }
        if (i + 2 < s.len) {
            high = hex_digit(s.at[i + 1]);
            low = hex_digit(s.at[i + 2]);
        }
        if (high < 0 || low < 0)
            return slice_of(NULL, 0);
        out[n++] = (char)(high * 16 + low);
        i += 2;
    }
    return slice_of(out, out ? n : 0);
}

struct slice asked_value(struct http_call *c, const char *name)
{
    struct slice query = c->request.query, pair;
    while (slice_next(&query, '&', &pair)) {
        size_t equals = slice_find(pair, '=');
        if (equals < pair.len && slice_equal(slice_of(pair.at, equals), slice_text(name)))
            return decode(&c->arena, slice_skip(pair, equals + 1));
    }
    return slice_of(NULL, 0);
}

size_t asked_number(struct http_call *c, const char *name, size_t otherwise)
{
    struct slice text = asked_value(c, name);
    size_t number = 0;
    if (!text.len || text.len > 9)
        return otherwise;
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] < '0' || text.at[i] > '9')
            return otherwise;
        number = number * 10 + (size_t)(text.at[i] - '0');
    }
    return number;
}

static bool contains(struct slice text, struct slice wanted)
{
    for (size_t i = 0; i + wanted.len <= text.len; i++)
        if (slice_equal_nocase(slice_of(text.at + i, wanted.len), wanted))
            return true;
    return false;
}

bool asked_finds(struct slice wanted, const struct slice *texts, size_t count)
{
    bool found = wanted.len == 0;
    for (size_t i = 0; i < count && !found; i++)
        found = contains(texts[i], wanted);
    return found;
}
