#include "cache/control.h"

#include "core/base.h"

#include <stddef.h>

bool cache_is_token_char(char c)
{
    static const char others[] = "!#$%&'*+-.^_`|~";
    char lower = ascii_lower(c);
    return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') ||
           (c && memchr(others, c, sizeof others - 1));
}

static size_t token_length(struct slice s)
{
    size_t len = 0;
    while (len < s.len && cache_is_token_char(s.at[len]))
        len++;
    return len;
}

bool cache_is_token(struct slice s)
{
    return s.len && token_length(s) == s.len;
}

int cache_compare_nocase(struct slice a, struct slice b)
{
    size_t shorter = a.len < b.len ? a.len : b.len;
    for (size_t i = 0; i < shorter; i++) {
        unsigned char x = (unsigned char)ascii_lower(a.at[i]), y = (unsigned char)ascii_lower(b.at[i]);
        if (x != y)
            return x < y ? -1 : 1;
    }
    return (a.len > b.len) - (a.len < b.len);
}

int64_t cache_seconds(struct slice text)
{
    int64_t seconds = 0;
    if (text.len == 0)
        return CACHE_UNSET;
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] < '0' || text.at[i] > '9')
            return CACHE_UNSET;
        seconds = seconds * 10 + (text.at[i] - '0');
        if (seconds > CACHE_SECONDS_MAX)
            seconds = CACHE_SECONDS_MAX;
    }
    return seconds;
}

/* From the quote at the front, the length with its partner; 0 when it has none. */
static size_t quoted_length(struct slice s)
{
    for (size_t i = 1; i < s.len; i++) {
        if (s.at[i] == '\\')
            i++;
        else if (s.at[i] == '"')
            return i + 1;
    }
    return 0;
}

bool cache_control_next(struct slice *rest, struct slice *element, bool *is_broken)
{
    while (rest->len) {
        size_t end = 0;
        bool has_partners = !*is_broken; /* else looking for them could take the square of the length */
        while (end < rest->len && rest->at[end] != ',') {
            size_t quoted = rest->at[end] == '"' && has_partners ? quoted_length(slice_skip(*rest, end)) : 1;
            if (quoted == 0)
                has_partners = false;
            else
                end += quoted;
        }
        if (!has_partners)
            *is_broken = true;
        *element = slice_trim(slice_of(rest->at, end));
        *rest = slice_skip(*rest, end + 1);
        if (element->len)
            return true;
    }
    return false;
}

struct cache_directive cache_control_directive(struct slice element)
{
    size_t len = token_length(element);
    struct cache_directive d = {.name = slice_of(element.at, len)};
    struct slice behind = slice_skip(element, len);
    if (behind.len == 0) {
        d.is_sound = true;
    } else if (behind.at[0] == '=') {
        d.has_argument = true;
        d.argument = slice_skip(behind, 1);
        if (d.argument.len && d.argument.at[0] == '"') {
            d.is_sound = quoted_length(d.argument) == d.argument.len;
            if (d.is_sound)
                d.argument = slice_of(d.argument.at + 1, d.argument.len - 2);
        } else {
            d.is_sound = cache_is_token(d.argument);
        }
    }
    return d;
}

/* One or more names of fields. One that is written with escapes is none. */
static bool is_list_of_names(struct slice list)
{
    struct slice name;
    bool any = false;
    while (slice_next(&list, ',', &name)) {
        if (!cache_is_token(name))
            return false;
        any = true;
    }
    return any;
}

/* §5.2.2.4, §5.2.2.7: of the fields named, or of the whole response. */
static void apply_qualified(const struct cache_directive *d, bool *whole, struct cache_control *out)
{
    if (!d->is_sound || !d->has_argument || !is_list_of_names(d->argument))
        *whole = true;
    else if (out->omitted_count == CACHE_OMITTED_MAX)
        out->is_omitted_too_long = true;
    else
        out->omitted[out->omitted_count++] = d->argument;
}

static const struct {
    struct slice name;
    size_t offset;
    bool is_permission; /* counts only when it is sound */
} flags[] = {
    {SLICE("no-store"), offsetof(struct cache_control, no_store), false},
    {SLICE("public"), offsetof(struct cache_control, is_public), true},
    {SLICE("must-revalidate"), offsetof(struct cache_control, must_revalidate), false},
    {SLICE("proxy-revalidate"), offsetof(struct cache_control, proxy_revalidate), false},
    {SLICE("must-understand"), offsetof(struct cache_control, must_understand), true},
    {SLICE("only-if-cached"), offsetof(struct cache_control, only_if_cached), false},
};

static const struct {
    struct slice name;
    size_t offset;
    int64_t alone;   /* without an argument */
    int64_t invalid; /* with one that is no time */
    bool is_minimum; /* the larger one is the stricter one */
} times[] = {
    {SLICE("max-age"), offsetof(struct cache_control, max_age), 0, 0, false},
    {SLICE("s-maxage"), offsetof(struct cache_control, s_maxage), 0, 0, false},
    {SLICE("stale-while-revalidate"), offsetof(struct cache_control, stale_while_revalidate), CACHE_UNSET,
     CACHE_UNSET, false},
    {SLICE("stale-if-error"), offsetof(struct cache_control, stale_if_error), CACHE_UNSET, CACHE_UNSET,
     false},
    {SLICE("min-fresh"), offsetof(struct cache_control, min_fresh), CACHE_UNSET, CACHE_UNSET, true},
    {SLICE("max-stale"), offsetof(struct cache_control, max_stale), CACHE_SECONDS_MAX, CACHE_UNSET, false},
};

static bool apply_flag(const struct cache_directive *d, struct cache_control *out)
{
    for (size_t i = 0; i < COUNT_OF(flags); i++) {
        if (!slice_equal_nocase(d->name, flags[i].name))
            continue;
        if (d->is_sound || !flags[i].is_permission)
            *(bool *)(void *)((char *)out + flags[i].offset) = true;
        return true;
    }
    return false;
}

static void apply_time(const struct cache_directive *d, struct cache_control *out)
{
    for (size_t i = 0; i < COUNT_OF(times); i++) {
        if (!slice_equal_nocase(d->name, times[i].name))
            continue;
        int64_t *time = (int64_t *)(void *)((char *)out + times[i].offset);
        int64_t value = d->is_sound && d->has_argument ? cache_seconds(d->argument) : CACHE_UNSET;
        if (value == CACHE_UNSET)
            value = d->is_sound && !d->has_argument ? times[i].alone : times[i].invalid;
        if (value != CACHE_UNSET &&
            (*time == CACHE_UNSET || (times[i].is_minimum ? value > *time : value < *time)))
            *time = value;
        return;
    }
}

void cache_control_apply(const struct cache_directive *d, struct cache_control *out)
{
    if (slice_equal_nocase(d->name, S("private")))
        apply_qualified(d, &out->is_private, out);
    else if (slice_equal_nocase(d->name, S("no-cache")))
        apply_qualified(d, &out->no_cache, out);
    else if (!apply_flag(d, out))
        apply_time(d, out);
}

void cache_control_init(struct cache_control *out)
{
    *out = (struct cache_control){.max_age = CACHE_UNSET,
                                  .s_maxage = CACHE_UNSET,
                                  .stale_while_revalidate = CACHE_UNSET,
                                  .stale_if_error = CACHE_UNSET,
                                  .min_fresh = CACHE_UNSET,
                                  .max_stale = CACHE_UNSET};
}

void cache_control_parse(const struct cache_lines *lines, struct cache_control *out)
{
    cache_control_init(out);
    for (uint32_t i = 0; i < lines->count; i++) {
        struct slice rest = lines->at[i], element;
        while (cache_control_next(&rest, &element, &out->is_broken)) {
            struct cache_directive d = cache_control_directive(element);
            cache_control_apply(&d, out);
        }
    }
}
