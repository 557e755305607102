#include "cache/vary.h"

#include "cache/control.h"
#include "core/base.h"

#define PREFERENCES_MAX 32 /* more of them are written as any other list */

struct text {
    char at[CACHE_VARY_TEXT_MAX];
    size_t len;
    bool is_full;
};

static void put(struct text *t, struct slice s)
{
    if (s.len > sizeof t->at - t->len) {
        t->is_full = true;
        return;
    }
    if (s.len)
        memcpy(t->at + t->len, s.at, s.len);
    t->len += s.len;
}

static void put_lower(struct text *t, struct slice s)
{
    size_t begin = t->len;
    put(t, s);
    for (size_t i = begin; i < t->len; i++)
        t->at[i] = ascii_lower(t->at[i]);
}

/* RFC 9110 §5.3: lines are as one, joined by commas. */
static void put_as_it_is(struct text *t, const struct cache_lines *lines)
{
    for (uint32_t i = 0; i < lines->count; i++) {
        if (i)
            put(t, S(", "));
        put(t, lines->at[i]);
    }
}

static void put_list(struct text *t, const struct cache_lines *lines)
{
    bool is_first = true, is_broken = false;
    for (uint32_t i = 0; i < lines->count; i++) {
        struct slice rest = lines->at[i], element;
        while (cache_control_next(&rest, &element, &is_broken)) {
            if (!is_first)
                put(t, S(", "));
            put(t, element);
            is_first = false;
        }
    }
}

/* A coding or a language, and how much it is wanted. */
struct preference {
    struct slice name;
    unsigned weight; /* in thousandths */
};

struct preferences {
    struct preference at[PREFERENCES_MAX];
    size_t count;
};

/* RFC 9110 §12.4.2: 0, 1, or up to three digits behind the point. */
static bool read_weight(struct slice s, unsigned *out)
{
    unsigned value = 0, unit = 1000;
    if (s.len == 0 || s.len > 5 || (s.at[0] != '0' && s.at[0] != '1') || (s.len > 1 && s.at[1] != '.'))
        return false;
    value = s.at[0] == '1' ? 1000 : 0;
    for (size_t i = 2; i < s.len; i++) {
        if (s.at[i] < '0' || s.at[i] > '9')
            return false;
        unit /= 10;
        value += (unsigned)(s.at[i] - '0') * unit;
    }
    *out = value;
    return value <= 1000;
}

/* name [";" "q=" weight]; false when it is something else. */
static bool read_preference(struct slice element, struct preference *p)
{
    size_t end = slice_find(element, ';');
    struct slice q = slice_trim(slice_skip(element, end + 1));
    p->name = slice_trim(slice_of(element.at, end));
    p->weight = 1000;
    if (!cache_is_token(p->name))
        return false;
    if (end == element.len)
        return true;
    return q.len >= 2 && ascii_lower(q.at[0]) == 'q' && q.at[1] == '=' &&
           read_weight(slice_skip(q, 2), &p->weight);
}

/* Sorted by name; the same twice is there once. False when the lines are not what they should be, name one
 * twice with different weights, or too many. */
static bool read_preferences(const struct cache_lines *lines, struct preferences *out)
{
    out->count = 0;
    for (uint32_t l = 0; l < lines->count; l++) {
        struct slice rest = lines->at[l], element;
        while (slice_next(&rest, ',', &element)) {
            struct preference p;
            size_t i = 0;
            int order = 1;
            if (!read_preference(element, &p))
                return false;
            while (i < out->count && (order = cache_compare_nocase(p.name, out->at[i].name)) > 0)
                i++;
            if (i < out->count && order == 0 && p.weight == out->at[i].weight)
                continue;
            if ((i < out->count && order == 0) || out->count == PREFERENCES_MAX)
                return false;
            memmove(out->at + i + 1, out->at + i, (out->count - i) * sizeof *out->at);
            out->at[i] = p;
            out->count++;
        }
    }
    return true;
}

/* Equal weights say as much as none; but nothing is wanted at all when all are 0. */
static bool are_alike(const struct preferences *p)
{
    for (size_t i = 0; i < p->count; i++)
        if (p->at[i].weight == 0 || p->at[i].weight != p->at[0].weight)
            return false;
    return true;
}

static void put_preferences(struct text *t, const struct preferences *p)
{
    bool is_alike = are_alike(p);
    for (size_t i = 0; i < p->count; i++) {
        if (i)
            put(t, S(","));
        put_lower(t, p->at[i].name);
        if (!is_alike && p->at[i].weight != 1000) {
            unsigned w = p->at[i].weight;
            char q[] = {';', (char)('0' + w / 100), (char)('0' + w / 10 % 10), (char)('0' + w % 10)};
            put(t, slice_of(q, sizeof q));
        }
    }
}

enum kind { KIND_LIST, KIND_PREFERENCES, KIND_ONE };

static enum kind kind_of(struct slice name)
{
    static const struct slice single[] = {SLICE("authorization"), SLICE("cookie"), SLICE("from"),
                                          SLICE("host"),          SLICE("origin"), SLICE("referer"),
                                          SLICE("user-agent")};
    if (slice_equal(name, S("accept-encoding")) || slice_equal(name, S("accept-language")))
        return KIND_PREFERENCES;
    for (size_t i = 0; i < COUNT_OF(single); i++)
        if (slice_equal(name, single[i]))
            return KIND_ONE;
    return KIND_LIST;
}

static void put_value(struct text *t, struct slice name, const struct cache_lines *lines)
{
    struct preferences p;
    enum kind kind = kind_of(name);
    if (kind == KIND_ONE)
        put_as_it_is(t, lines);
    else if (kind == KIND_LIST || !read_preferences(lines, &p))
        put_list(t, lines);
    else
        put_preferences(t, &p);
}

int cache_vary_text(struct slice names, cache_vary_lookup *lookup, void *context, struct arena *a,
                    struct slice *text)
{
    struct text t;
    struct slice name;
    t.len = 0;
    t.is_full = false;
    while (slice_next(&names, ',', &name)) {
        struct cache_lines lines = lookup(context, name);
        put(&t, name);
        if (lines.count) {
            put(&t, S(":"));
            size_t begin = t.len;
            put_value(&t, name, &lines);
            if (slice_find(slice_of(t.at + begin, t.len - begin), '\n') < t.len - begin)
                return -1; /* it could pass for another field's line */
        }
        put(&t, S("\n"));
    }
    if (t.is_full)
        return -1;
    *text = arena_copy(a, slice_of(t.at, t.len));
    return text->at ? 0 : -1;
}
